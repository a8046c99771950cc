//! The body of a request on its way from the edge to the origin.
//!
//! hyper pulls it from the connection's own task, so both sides share it; both live on one thread. It is read only as fast as
//! the origin takes it. Without END from the edge it fails, so that hyper breaks the request off: half a body is never
//! sent as a whole one.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame as BodyFrame, SizeHint};
use metrics::Counter;
use model::reason::Reason;
use runtime::Clock;
use tokio::{sync::Notify, time::Instant};
use tunnel::{codes::Code, frame::Frame, stream::RecvHalf};

use super::{Activity, BodyKind, Failure, Head, Stalls, replay::Replay, stall::Standing};

/// The request's side of the upload. Dropped, it stops the edge.
#[derive(Debug)]
pub(super) struct Upload {
    shared: Rc<RefCell<Shared>>,
    completed: Rc<Notify>,
}

/// The origin connection's side of it.
pub(crate) struct UploadBody {
    shared: Rc<RefCell<Shared>>,
    /// Which try it belongs to; an older one gets nothing more.
    attempt: u32,
}

impl fmt::Debug for UploadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadBody")
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Shared {
    /// `None` once it was stopped, or an upgrade took it.
    recv: Option<RecvHalf>,
    kind: BodyKind,
    taken_bytes: u64,
    /// Of `taken_bytes`, what the try under way was given.
    given_bytes: u64,
    replay: Replay,
    attempt: u32,
    gate: Gate,
    state: State,
    reader: Option<Waker>,
    completed: Rc<Notify>,
    activity: Activity,
    clock: Clock,
    bytes: Counter,
}

/// Whether the user was given permission to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Closed,
    Open,
}

#[derive(Debug)]
enum State {
    Flowing {
        /// The last look found nothing: it is the user who keeps us waiting.
        starved: bool,
    },
    Complete {
        at: Instant,
    },
    Failed(Option<Failure>),
    /// The origin needs no more of it.
    Stopped,
}

/// Where the upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The user is behind.
    Starved,
    /// The origin is behind.
    Flowing,
    /// All was taken, then.
    Complete(Instant),
}

/// Why hyper gets no more of a body; what it means stands in the upload.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request's body broke off")]
pub(crate) struct BrokenOff;

impl Upload {
    pub(super) fn new(
        recv: RecvHalf,
        head: &Head,
        activity: Activity,
        clock: Clock,
        bytes: Counter,
    ) -> Self {
        let gate = if head.expects_continue {
            Gate::Closed
        } else {
            Gate::Open
        };
        let completed = Rc::<Notify>::default();
        let shared = Shared {
            recv: Some(recv),
            kind: head.body,
            taken_bytes: 0,
            given_bytes: 0,
            replay: Replay::new(),
            attempt: 0,
            gate,
            state: State::Flowing { starved: false },
            reader: None,
            completed: Rc::clone(&completed),
            activity,
            clock,
            bytes,
        };
        Self {
            shared: Rc::new(RefCell::new(shared)),
            completed,
        }
    }

    /// A request of the agent's own, with a body that is whole already, or none.
    pub(super) fn of(
        body: Option<&Bytes>,
        activity: Activity,
        clock: Clock,
        bytes: Counter,
    ) -> Self {
        let kind = body.map_or(BodyKind::None, |body| BodyKind::Length(body.len() as u64));
        let mut replay = Replay::new();
        if let Some(body) = body {
            replay.note_data(body);
        }
        let completed = Rc::<Notify>::default();
        let shared = Shared {
            recv: None,
            kind,
            taken_bytes: 0,
            given_bytes: 0,
            replay,
            attempt: 0,
            gate: Gate::Open,
            state: State::Complete { at: clock.now() },
            reader: None,
            completed: Rc::clone(&completed),
            activity,
            clock,
            bytes,
        };
        Self {
            shared: Rc::new(RefCell::new(shared)),
            completed,
        }
    }

    /// The body for another try; the one of the try before fails from here on.
    pub(super) fn body(&self) -> UploadBody {
        let mut shared = self.shared.borrow_mut();
        shared.attempt += 1;
        shared.given_bytes = 0;
        shared.replay.begin_again();
        UploadBody {
            shared: Rc::clone(&self.shared),
            attempt: shared.attempt,
        }
    }

    /// For a request without body bytes: waits for its END, so that a request is known to be whole before it is sent.
    pub(super) async fn whole(&self) -> Result<(), Failure> {
        let read = poll_fn(|context| self.shared.borrow_mut().poll_frame(context)).await;
        match read {
            None => Ok(()),
            Some(Ok(_)) => Err(Failure::refusal(
                Reason::TunnelProtocol,
                "the edge sent a body that its head does not tell of",
            )),
            Some(Err(BrokenOff)) => Err(self.failure().unwrap_or_else(Failure::broken_off)),
        }
    }

    /// Why it broke off, if it did; told once.
    pub(super) fn failure(&self) -> Option<Failure> {
        match &mut self.shared.borrow_mut().state {
            State::Failed(failure) => Some(failure.take().unwrap_or_else(Failure::broken_off)),
            State::Flowing { .. } | State::Complete { .. } | State::Stopped => None,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        match self.shared.borrow().state {
            State::Flowing { starved: true } => Progress::Starved,
            State::Flowing { starved: false } | State::Failed(_) | State::Stopped => {
                Progress::Flowing
            }
            State::Complete { at } => Progress::Complete(at),
        }
    }

    /// Ends when the origin takes nothing and too many others do likewise.
    pub(super) fn crowded_out(&self, stalls: &Stalls) -> impl Future<Output = Failure> + use<> {
        let shared = Rc::clone(&self.shared);
        let crowded_out = stalls
            .clone()
            .crowded_out(move || shared.borrow().standing());
        async move {
            crowded_out.await;
            Failure::new(
                Reason::OriginTimeout,
                "the origin takes no more of the body, and too many others wait likewise",
            )
        }
    }

    /// Waits until all was taken; tells of it once. Cancel-safe.
    pub(super) async fn completed(&self) {
        self.completed.notified().await;
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self.shared.borrow().state, State::Complete { .. })
    }

    /// Whether another try can send the same.
    pub(super) fn can_begin_again(&self) -> bool {
        let shared = self.shared.borrow();
        match shared.state {
            State::Flowing { .. } | State::Complete { .. } => shared.replay.is_whole(),
            State::Failed(_) | State::Stopped => false,
        }
    }

    /// The answer begins: no other try follows.
    pub(super) fn settle(&self) {
        self.shared.borrow_mut().replay.forget();
    }

    /// Whether the user waits for permission.
    pub(super) fn awaits_permission(&self) -> bool {
        self.shared.borrow().gate == Gate::Closed
    }

    /// Lets it flow; the caller tells the user.
    pub(super) fn permit(&self) {
        let mut shared = self.shared.borrow_mut();
        shared.gate = Gate::Open;
        shared.wake();
    }

    /// No more of it is wanted. If it was not whole yet, those who read it fail.
    pub(super) fn stop(&self, code: Code) {
        let mut shared = self.shared.borrow_mut();
        if let Some(mut recv) = shared.recv.take() {
            recv.stop(code);
        }
        if matches!(shared.state, State::Flowing { .. }) {
            shared.state = State::Stopped;
            shared.wake();
        }
    }

    /// The edge's half for an upgraded connection.
    pub(super) fn take(&self) -> Option<RecvHalf> {
        self.shared.borrow_mut().recv.take()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.stop(Code::Cancelled);
    }
}

impl Shared {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn standing(&self) -> Standing {
        match self.state {
            _ if self.kind.is_empty() => Standing::Over,
            State::Complete { .. } | State::Failed(_) | State::Stopped => Standing::Over,
            State::Flowing { starved: true } => Standing::Starved,
            State::Flowing { starved: false } if self.gate == Gate::Closed => Standing::Starved,
            State::Flowing { starved: false } => Standing::Behind(self.taken_bytes),
        }
    }

    fn fail(&mut self, failure: Failure) -> BrokenOff {
        self.state = State::Failed(Some(failure));
        BrokenOff
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, BrokenOff>>> {
        if matches!(self.state, State::Failed(_) | State::Stopped) {
            return Poll::Ready(Some(Err(BrokenOff)));
        }
        if let Some(frame) = self.replay.next() {
            self.given_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            return Poll::Ready(Some(Ok(frame)));
        }
        if matches!(self.state, State::Complete { .. }) {
            return Poll::Ready(None);
        }
        self.reader = Some(context.waker().clone());
        if self.gate == Gate::Closed {
            return Poll::Pending;
        }
        let Some(recv) = &mut self.recv else {
            return Poll::Ready(Some(Err(BrokenOff)));
        };
        self.state = State::Flowing { starved: true };
        let frame = ready!(recv.poll_next(context));
        self.state = State::Flowing { starved: false };
        self.activity.touch(&self.clock);
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Poll::Ready(Some(Err(self.fail(error.into())))),
        };
        Poll::Ready(self.accept(frame).transpose())
    }

    fn accept(&mut self, frame: Option<Frame>) -> Result<Option<BodyFrame<Bytes>>, BrokenOff> {
        match frame {
            Some(Frame::Data(data)) => self.data(data).map(Some),
            Some(Frame::Trailers(trailers)) => {
                self.replay.note_trailers(&trailers);
                self.complete();
                Ok(Some(BodyFrame::trailers(trailers)))
            }
            Some(Frame::End(_)) => self.end().map(|()| None),
            Some(Frame::Error(error)) => {
                let detail = format!("the edge gave up: {}", error.reason);
                Err(self.fail(Failure::new(Reason::Cancelled, detail)))
            }
            // The tunnel's own order lets none of these through.
            Some(Frame::Request(_) | Frame::Response(_) | Frame::Continue) | None => {
                Err(self.fail(Failure::broken_off()))
            }
        }
    }

    fn data(&mut self, data: Bytes) -> Result<BodyFrame<Bytes>, BrokenOff> {
        self.taken_bytes += data.len() as u64;
        self.given_bytes += data.len() as u64;
        self.replay.note_data(&data);
        self.bytes.increment(data.len() as u64);
        match self.kind {
            BodyKind::None => Err(self.fail(unannounced())),
            BodyKind::Length(length) if self.taken_bytes > length => Err(self.fail(unannounced())),
            BodyKind::Length(length) => {
                if self.taken_bytes == length {
                    self.complete();
                }
                Ok(BodyFrame::data(data))
            }
            BodyKind::Streamed => Ok(BodyFrame::data(data)),
        }
    }

    fn end(&mut self) -> Result<(), BrokenOff> {
        if let BodyKind::Length(length) = self.kind
            && length != self.taken_bytes
        {
            return Err(self.fail(unannounced()));
        }
        self.complete();
        Ok(())
    }

    /// The body is whole. hyper asks for nothing more then, so END may stay unread.
    fn complete(&mut self) {
        let at = self.clock.now();
        self.state = State::Complete { at };
        self.completed.notify_one();
    }
}

fn unannounced() -> Failure {
    Failure::new(
        Reason::TunnelProtocol,
        "the edge sent another body than its head tells of",
    )
}

impl Failure {
    fn broken_off() -> Self {
        Self::new(Reason::Cancelled, "the request's body broke off")
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, BrokenOff>>> {
        let mut shared = self.shared.borrow_mut();
        if shared.attempt != self.attempt {
            return Poll::Ready(Some(Err(BrokenOff)));
        }
        shared.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.borrow();
        // Of an upgrade nothing is said to end: its bytes come after the answer.
        shared.kind == BodyKind::None
            || (shared.attempt == self.attempt
                && matches!(shared.state, State::Complete { .. })
                && shared.replay.is_exhausted())
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.shared.borrow();
        match shared.kind {
            BodyKind::None => SizeHint::with_exact(0),
            BodyKind::Length(length) => {
                SizeHint::with_exact(length.saturating_sub(shared.given_bytes))
            }
            BodyKind::Streamed => SizeHint::default(),
        }
    }
}
