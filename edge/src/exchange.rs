//! One attempt: the request goes out on a stream, and its answer's head comes back.
//!
//! The body goes out while the head is awaited, in the same task: most bodies are over before the head comes.

use std::time::Duration;

use model::app::Timeouts;
use proto::tunnel::{End, ResponseHead};
use tokio::time::{Instant, sleep_until};
use tunnel::{
    codes::Code,
    frame::Frame,
    stream::{RecvHalf, SendError, SendHalf},
};

use crate::{
    access_log::Traffic,
    failure::RequestError,
    link::{OpenStream, StreamGuard},
    outgoing::Outgoing,
    rules::Rules,
    upload::{Upload, UploadError},
};

/// What the edge waits beyond an app's time-out. The agent enforces the time-out and tells more about it; the edge steps in
/// only when the agent does not.
const BACKSTOP: Duration = Duration::from_secs(5);

/// The sending half towards the agent. Dropped before its end, the agent hears that the user is gone.
#[derive(Debug)]
pub(crate) struct Sending(pub SendHalf);

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.0.is_closed() {
            self.0.reset(Code::Cancelled);
        }
    }
}

/// An answer whose head is here.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The final head.
    pub head: ResponseHead,
    /// Towards the agent.
    pub send: Sending,
    /// The rest of the answer.
    pub recv: RecvHalf,
    /// Counts the stream.
    pub guard: StreamGuard,
    /// How far the request's body is.
    pub progress: Progress,
    /// From the whole request sent, as far as it was, to the head.
    pub latency: Duration,
}

/// How far the request is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The head goes; the body waits for CONTINUE.
    Withheld,
    /// The head goes, and the body with it.
    Running,
    /// Everything is sent that will be.
    Done,
}

/// What one attempt depends on besides the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    /// The app's patience.
    pub timeouts: &'a Timeouts,
    /// What moves, and when.
    pub traffic: &'a Traffic,
    /// What becomes of the answer's heads.
    pub rules: &'a Rules,
}

/// Sends the request and waits for the final head of its answer.
pub(crate) async fn run(
    stream: OpenStream<StreamGuard>,
    outgoing: &mut Outgoing,
    terms: Terms<'_>,
) -> Result<Answered, RequestError> {
    let OpenStream { send, recv, guard } = stream;
    let mut attempt = Attempt {
        send: Sending(send),
        recv,
        progress: begin(outgoing),
        asked_at: terms.traffic.touch(),
    };
    queue_head(&mut attempt.send.0, outgoing)?;
    let head = attempt.head(outgoing, terms).await?;
    Ok(Answered {
        head,
        latency: terms.traffic.touch().duration_since(attempt.asked_at),
        send: attempt.send,
        recv: attempt.recv,
        guard,
        progress: attempt.progress,
    })
}

fn begin(outgoing: &Outgoing) -> Progress {
    if outgoing.upload.is_some() && outgoing.expects_continue() {
        Progress::Withheld
    } else {
        Progress::Running
    }
}

/// A request without a body says its END with its head, in one write; unless it may become another protocol.
fn queue_head(send: &mut SendHalf, outgoing: &Outgoing) -> Result<(), RequestError> {
    let bug = |_| RequestError::Bug("the request's head cannot be queued");
    send.queue_request(&outgoing.head)
        .map_err(|error| match error {
            SendError::Encode(_) => RequestError::HeadTooLarge,
            error => bug(error),
        })?;
    if outgoing.upload.is_none() && outgoing.upgrade.is_none() {
        send.queue(Frame::End(End::default())).map_err(bug)?;
    }
    Ok(())
}

/// A stream on which the answer's head is awaited.
struct Attempt {
    send: Sending,
    recv: RecvHalf,
    progress: Progress,
    asked_at: Instant,
}

impl Attempt {
    async fn head(
        &mut self,
        outgoing: &mut Outgoing,
        terms: Terms<'_>,
    ) -> Result<ResponseHead, RequestError> {
        let mut head_is_out = false;
        loop {
            let patience = self.patience(terms.timeouts);
            let body = match self.progress {
                Progress::Withheld | Progress::Done => None,
                Progress::Running => outgoing.upload.as_mut(),
            };
            let may_send = self.progress == Progress::Running || !head_is_out;
            // Every branch is cancel-safe: frames, parts of the body and unwritten bytes are kept where they are.
            tokio::select! {
                biased;
                frame = self.recv.next() => {
                    let frame = frame.map_err(RequestError::Lost)?;
                    if let Some(head) = self.take(frame, outgoing, terms)? {
                        return Ok(head);
                    }
                    terms.traffic.touch();
                }
                sent = push(&mut self.send.0, body), if may_send => {
                    head_is_out = true;
                    if self.progress == Progress::Running {
                        self.progress = Progress::Done;
                    }
                    self.asked_at = terms.traffic.touch();
                    match sent {
                        // What the agent says last tells more than that it reads no more.
                        Ok(()) | Err(UploadError::Send(_)) => {}
                        Err(UploadError::User(error)) => return Err(RequestError::UserBody(error)),
                        Err(UploadError::TooLong) => return Err(RequestError::BodyTooLong),
                        Err(UploadError::Slow) => return Err(RequestError::UserSlow),
                        Err(UploadError::Trailers(error)) => return Err(RequestError::Fields(error)),
                    }
                }
                () = sleep_until(terms.traffic.silent_at(patience)) => {
                    self.judge_silence(outgoing.upload.as_ref(), terms, patience)?;
                }
            }
        }
    }

    fn take(
        &mut self,
        frame: Option<Frame>,
        outgoing: &Outgoing,
        terms: Terms<'_>,
    ) -> Result<Option<ResponseHead>, RequestError> {
        match frame {
            Some(Frame::Continue) => {
                if self.progress == Progress::Withheld {
                    self.progress = Progress::Running;
                }
                Ok(None)
            }
            Some(Frame::Response(head)) if is_informational(&head) => {
                if let Some(hints) = &outgoing.hints {
                    hints.pass_on(&head, terms.rules);
                }
                Ok(None)
            }
            Some(Frame::Response(head)) => Ok(Some(head)),
            Some(Frame::Error(info)) => Err(info.into()),
            Some(Frame::Data(_) | Frame::Trailers(_) | Frame::End(_) | Frame::Request(_)) => {
                Err(RequestError::Answer("frame before the head"))
            }
            None => Err(RequestError::Answer("no head")),
        }
    }

    fn patience(&self, timeouts: &Timeouts) -> Duration {
        let limit = match self.progress {
            Progress::Running => timeouts.idle,
            Progress::Withheld | Progress::Done => timeouts.response,
        };
        limit + BACKSTOP
    }

    fn judge_silence(
        &self,
        upload: Option<&Upload>,
        terms: Terms<'_>,
        patience: Duration,
    ) -> Result<(), RequestError> {
        if !terms.traffic.is_silent(patience) {
            return Ok(());
        }
        let user_owes =
            self.progress == Progress::Running && upload.is_some_and(Upload::waits_for_user);
        Err(if user_owes {
            RequestError::UserSilent
        } else {
            RequestError::Silent
        })
    }
}

async fn push(send: &mut SendHalf, body: Option<&mut Upload>) -> Result<(), UploadError> {
    match body {
        Some(upload) => upload.pump(send).await,
        None => send.flush().await.map_err(UploadError::Send),
    }
}

fn is_informational(head: &ResponseHead) -> bool {
    // 101 is final (RFC 9110, section 15.2.2).
    (100..200).contains(&head.status) && head.status != 101 && !head.upgraded
}
