//! From the request's head to the head of the answer: a connection, the request on it, what comes before the answer.

use std::{pin::pin, sync::Arc, time::Duration};

use http::{HeaderMap, Response, StatusCode};
use model::reason::Reason;
use tokio::time::{Instant, sleep_until};
use tunnel::{frame::Frame, stream::SendHalf};

use super::{
    Exchange, Failure, answer,
    failure::chain,
    sign_on::{self, Heed, SignOn},
    upload::Progress,
};
use crate::{
    origin::{
        AnswerBody, Connection, Informational, PinKey, Repeat, Reuse, SendFailure, SigningOn,
        Versions, Wish,
    },
    translate::Translation,
};

/// How long an origin may think about `Expect: 100-continue` before it gets the body unasked: many never answer it, and
/// RFC 9110, section 10.1.1 tells clients not to wait for ever. curl waits as long.
const PERMISSION_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections on which one request is tried, at most: one that may be closing, one that refuses, and a last one.
const TRIES_MAX: u32 = 3;

/// A wait for a token after which a connection is taken to have been closed meanwhile: less than servers keep them for.
const STALE_AFTER: Duration = Duration::from_secs(1);

/// What the next connection must be.
#[derive(Clone, Copy, Debug)]
struct Terms {
    reuse: Reuse,
    versions: Versions,
    /// An origin has died with the request, and another is to be asked.
    has_moved: bool,
}

impl Exchange<'_> {
    /// Asks the app's origins until one answers or nothing is left to try.
    pub(super) async fn ask(
        &mut self,
        send: &mut SendHalf,
    ) -> Result<(Connection, Response<AnswerBody>), Failure> {
        if self.head.body.is_empty() && self.head.upgrade.is_none() {
            self.upload.whole().await?;
        }
        let answered = self.ask_until_answered(send).await?;
        self.upload.settle();
        Ok(answered)
    }

    async fn ask_until_answered(
        &mut self,
        send: &mut SendHalf,
    ) -> Result<(Connection, Response<AnswerBody>), Failure> {
        let mut terms = Terms {
            reuse: Reuse::Allowed,
            versions: if self.head.upgrade.is_some() || self.head.leg.is_some() {
                Versions::Http1
            } else {
                Versions::AsPublished
            },
            has_moved: false,
        };
        if self.head.leg.is_some() {
            // Nobody else's sign-in can be on it.
            terms.reuse = Reuse::Never;
        }
        let mut tries = 0;
        loop {
            tries += 1;
            self.enter().await?;
            let mut connection = self.ready_connection(tries, terms).await?;
            let failure = match self.ask_on(&mut connection, send).await? {
                Ok(mut response) => match self.heed_sign_on(&mut response)? {
                    Heed::PassOn => return Ok((connection, response)),
                    Heed::AskAgain => {
                        terms.reuse = Reuse::Never;
                        continue;
                    }
                },
                Err(failure) => failure,
            };
            if failure.closed_idle() {
                self.worker.pool.note_surprise(connection.origin());
            }
            if tries >= TRIES_MAX || !self.may_repeat(&failure, &connection, &mut terms) {
                return Err(self.failed(&failure));
            }
            tracing::debug!(
                error = chain(&failure.error),
                "asking on another connection"
            );
        }
    }

    /// Whether an answer is the user's, or is about the sign-on.
    fn heed_sign_on(&mut self, response: &mut Response<AnswerBody>) -> Result<Heed, Failure> {
        match &mut self.sign_on {
            Some(sign_on) => sign_on.heed(response, (&self.upload, self.translation.as_ref())),
            None => Ok(Heed::PassOn),
        }
    }

    /// A connection for a try, with the token that goes on it.
    async fn ready_connection(&mut self, tries: u32, terms: Terms) -> Result<Connection, Failure> {
        let mut connection = match self.own_connection(tries).await {
            Some(connection) => {
                self.activity.touch(&self.worker.clock);
                connection
            }
            None => self.connect(terms).await?,
        };
        if !matches!(self.sign_on, Some(SignOn::Kerberos(_))) {
            return Ok(connection);
        }
        let began = self.worker.clock.now();
        self.present(&connection).await?;
        if self.worker.clock.now() - began >= STALE_AFTER {
            // It lay idle all the while; what is needed for another token is at hand now.
            connection = self
                .connect(Terms {
                    reuse: Reuse::Never,
                    ..terms
                })
                .await?;
            self.present(&connection).await?;
        }
        Ok(connection)
    }

    /// Makes the token that goes on a connection.
    async fn present(&mut self, connection: &Connection) -> Result<(), Failure> {
        if let Some(SignOn::Kerberos(own)) = &mut self.sign_on {
            own.present(connection).await?;
            // Nobody was late with anything while this waited for a domain controller.
            self.activity.moved(self.worker.clock.now());
        }
        Ok(())
    }

    /// What broke the upload broke the request too, and tells more.
    fn failed(&self, failure: &SendFailure) -> Failure {
        self.upload.failure().unwrap_or_else(|| {
            if failure.unprocessed {
                Failure::from_origin(&failure.error, false).unprocessed()
            } else {
                Failure::from_origin(&failure.error, false)
            }
        })
    }

    /// The user's own connection for this, at the first try: what comes later is the user's to repeat.
    async fn own_connection(&mut self, tries: u32) -> Option<Connection> {
        if self.sign_on.is_some() {
            // What is signed on belongs to the app's user, on whatever connection they come.
            return None;
        }
        if tries > 1 {
            if self.head.leg.is_none() {
                self.pin = None;
            }
            return None;
        }
        let pins = &self.worker.pool.pins;
        if self.head.leg.is_none() && pins.is_empty() {
            return None;
        }
        let (key, patience) = (self.pin_key()?, self.app.timeouts().response / 2);
        let Some(leg) = self.head.leg else {
            return self.signed_on(&key, patience).await;
        };
        let what = SigningOn {
            leg,
            is_alone: !self.head.has_siblings,
        };
        let (connection, pin) = pins.sign_on(&key, what, patience).await?;
        self.pin = Some(pin);
        connection.filter(|connection| self.is_of_site(connection))
    }

    /// A connection that the user signed on.
    async fn signed_on(&mut self, key: &PinKey, patience: Duration) -> Option<Connection> {
        let is_alone = !self.head.has_siblings;
        let pins = &self.worker.pool.pins;
        let (connection, pin) = pins.take(key, is_alone, patience).await?;
        if !self.is_of_site(&connection) {
            return None;
        }
        self.pin = Some(pin);
        Some(connection)
    }

    /// Whether the app has not moved elsewhere since.
    fn is_of_site(&self, connection: &Connection) -> bool {
        let mut origins = self.site.origins().iter();
        origins.any(|origin| Arc::ptr_eq(origin, connection.origin()))
    }

    async fn connect(&mut self, terms: Terms) -> Result<Connection, Failure> {
        let began = self.worker.clock.now();
        let wish = Wish {
            owner: self.sign_on.as_ref().map(SignOn::owner),
            reuse: terms.reuse,
            repeat: if self.head.idempotent {
                Repeat::Harmless
            } else {
                Repeat::Forbidden
            },
            versions: terms.versions,
            connect_limit: self.app.timeouts().connect,
        };
        let acquired = self.worker.pool.acquire(self.site.origins(), wish).await;
        let now = self.worker.clock.now();
        self.dial += now - began;
        // Nobody was late with anything while this waited for a turn or a connection.
        self.activity.moved(now);
        Ok(acquired?)
    }

    /// An idle connection may have been closed by its origin while the request was on its way, or one of several origins may have
    /// died with it. If the origin did nothing with the request, or it may be done twice and not a byte came back, nobody needs to know.
    fn may_repeat(
        &self,
        failure: &SendFailure,
        connection: &Connection,
        terms: &mut Terms,
    ) -> bool {
        // Once: a request that origins die of is not carried to all of them.
        let elsewhere = failure.unheard && !terms.has_moved && self.site.origins().len() > 1;
        let twice = self.head.idempotent && (failure.closed_idle() || elsewhere);
        if !(failure.unprocessed || twice) || !self.upload.can_begin_again() {
            return false;
        }
        if twice && !failure.closed_idle() {
            terms.has_moved = true;
            self.worker.pool.note_loss(connection.origin());
        }
        if failure.wants_http1() {
            terms.versions = Versions::Http1;
        }
        terms.reuse = Reuse::Never;
        connection.retire();
        true
    }

    async fn ask_on(
        &mut self,
        connection: &mut Connection,
        send: &mut SendHalf,
    ) -> Result<Result<Response<AnswerBody>, SendFailure>, Failure> {
        let heard = Arc::new(Informational::default());
        let mut request = self.head.request(connection, self.upload.body());
        let mut translation =
            Translation::new(self.app, self.site, connection.origin(), &self.head.public);
        translation.request(&mut request)?;
        if let Some(sign_on) = &mut self.sign_on {
            sign_on.put_into(&mut request);
        }
        self.translation = Some(translation);
        let mut outcome = pin!(connection.send(request, Arc::clone(&heard)));
        // Something moved just before.
        let permission = self.activity.last() + PERMISSION_TIMEOUT;
        loop {
            tokio::select! {
                biased;
                () = heard.came() => self.pass_on(&heard, send).await?,
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

    /// 100 opens the upload; the other 1xx heads go to the user.
    async fn pass_on(&self, heard: &Informational, send: &mut SendHalf) -> Result<(), Failure> {
        if heard.is_flood() {
            let detail = "the origin sends 1xx heads without end";
            return Err(Failure::new(Reason::OriginProtocol, detail));
        }
        let heads = heard.take();
        if heads.is_empty() {
            return Ok(());
        }
        for (status, mut fields) in heads {
            if status != StatusCode::CONTINUE {
                if self.sign_on.is_some() {
                    sign_on::keep_back(&mut fields);
                }
                self.translate(&mut fields);
                send.queue(answer::informational(status, fields)?)?;
            } else if self.upload.awaits_permission() {
                self.permit(send).await?;
            }
        }
        // Without a wait for the final head: 103 is of use only while the origin still works.
        Ok(send.flush().await?)
    }

    /// Gives the fields of an answer the names that the user knows.
    pub(super) fn translate(&self, fields: &mut HeaderMap) {
        if let Some(translation) = &self.translation {
            translation.answer(fields);
        }
    }

    async fn permit(&self, send: &mut SendHalf) -> Result<(), Failure> {
        self.upload.permit();
        Ok(send.send(Frame::Continue).await?)
    }

    /// Waits until one side took too long before the answer's head.
    async fn overdue(&self) -> Failure {
        loop {
            let end = self.head_deadline(self.upload.progress());
            tokio::select! {
                () = sleep_until(end) => {
                    let progress = self.upload.progress();
                    if self.head_deadline(progress) <= end {
                        return self.lateness(progress);
                    }
                }
                // The origin's time begins.
                () = self.upload.completed() => {}
            }
        }
    }

    /// While the body is on its way only silence counts; once the origin has it all it has its time to answer.
    fn head_deadline(&self, progress: Progress) -> Instant {
        match progress {
            Progress::Complete(at) => at + self.response_limit(),
            Progress::Flowing | Progress::Starved => {
                self.activity.last() + self.app.timeouts().idle
            }
        }
    }

    fn lateness(&self, progress: Progress) -> Failure {
        match progress {
            Progress::Complete(_) => Failure::new(
                Reason::OriginTimeout,
                format!("no answer within {:?}", self.response_limit()),
            ),
            Progress::Flowing => Failure::new(
                Reason::OriginTimeout,
                "the origin takes no more of the body",
            ),
            Progress::Starved => Failure::new(Reason::UserTimeout, "no more of the body comes"),
        }
    }

    fn response_limit(&self) -> Duration {
        let response = self.app.timeouts().response;
        self.head
            .patience
            .map_or(response, |patience| response.min(patience))
    }
}
