//! The calls under way on one connection, and the silence between them.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    Response,
    body::{Bytes, Frame, SizeHint},
};
use tokio::{sync::watch, time::sleep};
use tonic::{Status, body::Body};

/// How many calls are under way.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    under_way: watch::Sender<usize>,
}

/// One call, until the last byte of its answer.
#[derive(Debug)]
pub(super) struct Call {
    under_way: watch::Sender<usize>,
}

impl Calls {
    pub(super) fn none() -> Self {
        Self {
            under_way: watch::Sender::new(0),
        }
    }

    /// Counts a call.
    pub(super) fn begin(&self) -> Call {
        self.under_way.send_modify(|calls| *calls += 1);
        Call {
            under_way: self.under_way.clone(),
        }
    }

    /// Waits until no call has been under way for so long.
    pub(super) async fn silence(&self, lasting: Duration) {
        let mut under_way = self.under_way.subscribe();
        loop {
            let is_silent = *under_way.borrow_and_update() == 0;
            tokio::select! {
                // The sender is ours, so it cannot be gone.
                _ = under_way.changed() => {}
                () = sleep(lasting), if is_silent => return,
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.under_way.send_modify(|calls| *calls -= 1);
    }
}

impl Call {
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
