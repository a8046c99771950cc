//! The calls under way on one connection, which of them a caller was admitted for, and the pauses between them.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    Response,
    body::{Bytes, Frame, SizeHint},
};
use tokio::{sync::watch, time::timeout};
use tonic::{Status, body::Body};

/// How many calls are under way.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    tallies: watch::Sender<Tallies>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tallies {
    all: Tally,
    admitted: Tally,
}

/// Of one kind.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    under_way: usize,
    /// Those that are over included.
    begun: u64,
}

impl Tally {
    const fn begin(&mut self) {
        self.under_way += 1;
        self.begun += 1;
    }

    const fn end(&mut self) {
        self.under_way -= 1;
    }
}

/// One call, until the last byte of its answer.
#[derive(Debug)]
pub(crate) struct Call {
    admission: Admission,
}

/// Where a service says that the caller has proven who it is, and may call. Rides in the extensions of each request.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    tallies: watch::Sender<Tallies>,
    stage: Arc<Mutex<Stage>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begun,
    Admitted,
    Over,
}

impl Calls {
    pub(crate) fn none() -> Self {
        Self {
            tallies: watch::Sender::default(),
        }
    }

    /// Counts a call.
    pub(crate) fn begin(&self) -> Call {
        self.tallies.send_modify(|tallies| tallies.all.begin());
        Call {
            admission: Admission {
                tallies: self.tallies.clone(),
                stage: Arc::new(Mutex::new(Stage::Begun)),
            },
        }
    }

    /// Waits until no call has been under way for so long.
    pub(super) async fn silence(&self, lasting: Duration) {
        self.pause(lasting, |tallies| tallies.all).await;
    }

    /// Waits until no call that its caller was admitted for has been under way for so long.
    pub(super) async fn estrangement(&self, lasting: Duration) {
        self.pause(lasting, |tallies| tallies.admitted).await;
    }

    async fn pause(&self, lasting: Duration, of: fn(&Tallies) -> Tally) {
        let mut tallies = self.tallies.subscribe();
        loop {
            let quiet = tallies.wait_for(|tallies| of(tallies).under_way == 0).await;
            // The sender is ours, so it cannot be gone.
            let Ok(begun) = quiet.map(|tallies| of(&tallies).begun) else {
                return;
            };
            let next = tallies.wait_for(|tallies| of(tallies).begun != begun);
            if timeout(lasting, next).await.is_err() {
                return;
            }
        }
    }

    /// How many calls a caller was ever admitted for.
    #[cfg(test)]
    pub(crate) fn admitted(&self) -> u64 {
        self.tallies.borrow().admitted.begun
    }
}

impl Admission {
    /// The caller may call: for as long as this call lasts, its connection is no stranger's.
    pub(crate) fn grant(&self) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if *stage == Stage::Begun {
            *stage = Stage::Admitted;
            self.tallies.send_modify(|tallies| tallies.admitted.begin());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Admission { tallies, stage } = &self.admission;
        let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
        let was_admitted = *stage == Stage::Admitted;
        *stage = Stage::Over;
        tallies.send_modify(|tallies| {
            tallies.all.end();
            if was_admitted {
                tallies.admitted.end();
            }
        });
    }
}

impl Call {
    /// What the service gets to say whether it knows the caller.
    pub(crate) fn admission(&self) -> Admission {
        self.admission.clone()
    }

    /// Goes on for as long as the body of the answer.
    pub(super) fn answered(self, response: Response<Body>) -> Response<Body> {
        response.map(|body| Body::new(Answer { body, _call: self }))
    }
}

struct Answer {
    body: Body,
    _call: Call,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);
    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn a_call_under_way_is_no_silence() {
        let calls = Calls::none();
        let call = calls.begin();
        let early = timeout(LONG, calls.silence(PAUSE)).await;
        assert!(early.is_err());
        drop(call);
        let begun = Instant::now();
        calls.silence(PAUSE).await;
        assert_eq!(begun.elapsed(), PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_admitted_call_is_no_estrangement_and_that_while_it_lasts() {
        let calls = Calls::none();
        let _stranger = calls.begin();
        let begun = Instant::now();
        calls.estrangement(PAUSE).await;
        assert_eq!(begun.elapsed(), PAUSE);
        let call = calls.begin();
        call.admission().grant();
        call.admission().grant();
        let early = timeout(LONG, calls.estrangement(PAUSE)).await;
        assert!(early.is_err());
        let late = call.admission();
        drop(call);
        // As a service might that answered already.
        late.grant();
        let begun = Instant::now();
        calls.estrangement(PAUSE).await;
        assert_eq!((begun.elapsed(), calls.admitted()), (PAUSE, 1));
    }
}
