//! From the request's head to the head of the answer: a connection, the request on it, what comes before the answer.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, Request, Response, StatusCode};
use hyper::{body::Incoming, client::conn::TrySendError};
use model::reason::Reason;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tunnel::{
    frame::{Frame, INFORMATIONAL_MAX},
    stream::SendHalf,
};

use super::{Exchange, Failure, UploadBody, answer, upload::Progress};
use crate::origin::{Connection, Reuse};

/// How long an origin may think about `Expect: 100-continue` before it gets the body unasked: many never answer it, and
/// RFC 9110, section 10.1.1 tells clients not to wait for ever. curl waits as long.
const PERMISSION_TIMEOUT: Duration = Duration::from_secs(1);

/// A failed try.
type SendFailure = TrySendError<Request<UploadBody>>;

impl Exchange<'_> {
    /// Asks the app's origins until one answers or nothing is left to try.
    pub(super) async fn ask(
        &mut self,
        send: &mut SendHalf,
    ) -> Result<(Connection, Response<Incoming>), Failure> {
        if self.head.body.is_empty() && self.head.upgrade.is_none() {
            self.upload.whole().await?;
        }
        let mut reuse = Reuse::Allowed;
        loop {
            let mut connection = self.connect(reuse).await?;
            match self.ask_on(&mut connection, send).await? {
                Ok(response) => return Ok((connection, response)),
                Err(error) if self.may_repeat(&error, &connection) => {
                    tracing::debug!(error = %error.error(), "idle connection was closed; asking on a new one");
                    reuse = Reuse::Never;
                }
                Err(error) => {
                    let broken = self.upload.failure();
                    return Err(
                        broken.unwrap_or_else(|| Failure::from_origin(error.error(), false))
                    );
                }
            }
        }
    }

    async fn connect(&mut self, reuse: Reuse) -> Result<Connection, Failure> {
        let began = self.worker.clock.now();
        let app = self.app;
        let acquired = self
            .worker
            .pool
            .acquire(app.origins(), app.timeouts().connect, reuse)
            .await;
        self.dial += self.worker.clock.now() - began;
        Ok(acquired?)
    }

    /// An idle connection may have been closed by its origin while the request was on its way. If the request was never
    /// written, or may be done twice and not a byte moved in either direction, nobody needs to know.
    fn may_repeat(&self, error: &SendFailure, connection: &Connection) -> bool {
        connection.is_reused()
            && self.upload.is_untouched()
            && (error.message().is_some() || (self.head.idempotent && !connection.heard()))
    }

    async fn ask_on(
        &mut self,
        connection: &mut Connection,
        send: &mut SendHalf,
    ) -> Result<Result<Response<Incoming>, SendFailure>, Failure> {
        let heard = Arc::new(Informational::default());
        let mut request = self.head.request(self.upload.body());
        let listener = Arc::clone(&heard);
        hyper::ext::on_informational(&mut request, move |response| {
            listener.add(response.status(), response.headers());
        });
        let mut outcome = pin!(connection.send(request));
        let permission = self.worker.clock.now() + PERMISSION_TIMEOUT;
        loop {
            tokio::select! {
                biased;
                () = heard.came.notified() => self.pass_on(&heard, send).await?,
                outcome = &mut outcome => {
                    self.pass_on(&heard, send).await?;
                    return Ok(outcome);
                }
                () = sleep_until(permission), if self.upload.awaits_permission() => {
                    self.permit(send).await?;
                }
                failure = self.overdue() => return Err(failure),
            }
        }
    }

    /// 100 opens the upload; the other 1xx heads go to the user as they are.
    async fn pass_on(&self, heard: &Informational, send: &mut SendHalf) -> Result<(), Failure> {
        let heads = heard.take();
        if heads.is_empty() {
            return Ok(());
        }
        for (status, fields) in heads {
            if status != StatusCode::CONTINUE {
                send.queue(answer::informational(status, fields)?)?;
            } else if self.upload.awaits_permission() {
                self.permit(send).await?;
            }
        }
        // Without a wait for the final head: 103 is of use only while the origin still works.
        Ok(send.flush().await?)
    }

    async fn permit(&self, send: &mut SendHalf) -> Result<(), Failure> {
        self.upload.permit();
        Ok(send.send(Frame::Continue).await?)
    }

    /// Waits until one side took too long before the answer's head.
    async fn overdue(&self) -> Failure {
        loop {
            let (end, failure) = self.head_deadline();
            if self.worker.clock.now() >= end {
                return failure;
            }
            tokio::select! {
                () = sleep_until(end) => {}
                // The origin's time begins.
                () = self.upload.completed() => {}
            }
        }
    }

    /// While the body is on its way only silence counts; once the origin has it all it has its time to answer.
    fn head_deadline(&self) -> (Instant, Failure) {
        let limits = self.app.timeouts();
        let response = self
            .head
            .patience
            .map_or(limits.response, |patience| limits.response.min(patience));
        match self.upload.progress() {
            Progress::Complete(at) => (
                at + response,
                Failure::new(
                    Reason::OriginTimeout,
                    format!("no answer within {response:?}"),
                ),
            ),
            Progress::Flowing => (
                self.activity.last() + limits.idle,
                Failure::new(
                    Reason::OriginTimeout,
                    "the origin takes no more of the body",
                ),
            ),
            Progress::Starved => (
                self.activity.last() + limits.idle,
                Failure::new(Reason::UserTimeout, "no more of the body comes"),
            ),
        }
    }
}

/// 1xx heads of the origin. Filled by hyper, on the connection's task.
#[derive(Debug, Default)]
struct Informational {
    heads: Mutex<Heads>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Heads {
    /// Came and were not passed on yet.
    waiting: Vec<(StatusCode, HeaderMap)>,
    /// How many there were in all.
    count: u8,
}

impl Informational {
    fn add(&self, status: StatusCode, fields: &HeaderMap) {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        // What is more than the tunnel carries is left out: 1xx heads are hints.
        if heads.count < INFORMATIONAL_MAX {
            heads.count += 1;
            heads.waiting.push((status, fields.clone()));
            self.came.notify_one();
        }
    }

    fn take(&self) -> Vec<(StatusCode, HeaderMap)> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut heads.waiting)
    }
}
