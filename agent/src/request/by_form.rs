//! Users who are signed on by the app's own form: it is filled in with what is kept for them, and the app's cookies stay at the agent.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Request, Response, header};
use model::{app::FormSso, reason::Reason, translate::Public};
use tokio::time::timeout_at;

use super::{
    Exchange, Failure, UploadBody,
    form_step::FormSteps,
    kept::{Kept, resting, who},
    sign_on::{Heed, SignOn},
    upload::Upload,
};
use crate::{
    form::{Address, Attempt, Because, Judged, Place, SignIn, Use, leads_to, put_cookies, walk},
    metrics::KeptOutcome,
    origin::{AnswerBody, Owner},
    statement::Statement,
    translate::Translation,
    view::View,
};

/// How long a sign-in by a form may take, the wait for another of the same user included.
const SIGN_IN_MAX: Duration = Duration::from_secs(20);

/// A user who is signed on by a form.
#[derive(Debug)]
pub(super) struct ByForm<'a> {
    pub(super) sso: &'a FormSso,
    kept: Kept<'a>,
    by: Use,
    pub(super) owner: Owner,
    pub(super) sign_in: Arc<SignIn>,
    /// What of the app the user asks for, by which host and path, and how.
    segment: String,
    public: Public,
    /// The host is one of the app's main part.
    is_at_main_host: bool,
    public_path: String,
    /// The sign-in by which the app said that the user is out.
    expired: Option<u64>,
    /// The one that the try under way goes by.
    tried: u64,
    /// What that asks the origin for, without a query.
    path: String,
}

impl<'a> ByForm<'a> {
    /// Finds what was kept of the user's sign-in, and what the next one goes by.
    pub(super) fn new(
        exchange: &Exchange<'a>,
        view: &View,
        sso: &'a FormSso,
        statement: &Statement,
    ) -> Result<Self, Failure> {
        let (app, who) = (exchange.app.id(), who(statement));
        let kept = Kept::find(exchange, view, sso.credential, &who)?;
        let now = exchange.worker.clock.now();
        let by = (&kept.name, &kept.sealed);
        Ok(Self {
            sign_in: kept.sign_ins().of((app, &who), by, now),
            by: Use::new((kept.name.clone(), kept.sealed.clone()), (app, &who)),
            owner: Owner::new(app, format!("{who:?}")),
            segment: exchange.head.segment.clone(),
            public: exchange.head.public.clone(),
            is_at_main_host: exchange.head.is_at_main_host,
            public_path: exchange.head.path().to_owned(),
            kept,
            sso,
            expired: None,
            tried: 0,
            path: String::new(),
        })
    }

    /// What the user asks for, as cookies see it.
    fn own_place(&self) -> Place<'_> {
        Place {
            segment: &self.segment,
            host: self.public.host(),
            is_main_host: self.is_at_main_host,
            path: &self.public_path,
            inner_path: None,
            secure: self.public.is_secure(),
            now: self.kept.worker.clock.wall(),
        }
    }

    /// Nothing that the request brings signs anybody on: the app's cookies do.
    pub(super) fn put_into(&mut self, request: &mut Request<UploadBody>) {
        request.uri().path().clone_into(&mut self.path);
        let fields = request.headers_mut();
        fields.remove(header::AUTHORIZATION);
        // The app's cookies, and the user's own of other names.
        let sent = fields.get_all(header::COOKIE).iter();
        let sent: Vec<_> = sent.map(HeaderValue::as_bytes).collect();
        let sent = sent.join(&b"; "[..]);
        let cookies = self.sign_in.cookies(self.own_place(), &sent);
        put_cookies(fields, cookies.as_ref().map(|text| text.as_slice()));
    }

    fn is_to_begin(&self) -> bool {
        let begun = self.sign_in.begun();
        begun == 0 || self.expired == Some(begun)
    }

    /// Looks whether the app has let the user in, and keeps its cookies.
    pub(super) fn heed(
        &mut self,
        response: &mut Response<AnswerBody>,
        (upload, translation): (&Upload, Option<&Translation<'_>>),
    ) -> Result<Heed, Failure> {
        if !leads_to(self.sso, &self.path, response.status(), response.headers()) {
            self.keep_cookies(response.headers_mut(), translation);
            self.sign_in.is_shown(self.tried);
            return Ok(Heed::PassOn);
        }
        let now = self.kept.worker.clock.now();
        if self.sign_in.is_doubtful(self.tried, now) {
            // A wrong password, or a page that is not for this user. A password is not tried twice to find out.
            let sign_ins = self.kept.sign_ins();
            sign_ins.doubted(&self.by, now);
            tracing::warn!(credential = %self.kept.name, "the app asks for a sign-in right after one that it took: there is no other for a while");
            self.keep_cookies(response.headers_mut(), translation);
            return Ok(Heed::PassOn);
        }
        if self.expired.replace(self.tried).is_some() {
            let detail = "the app asks for a sign-in right after one that it took";
            return Err(Failure::new(Reason::SsoFailed, detail));
        }
        if !upload.can_begin_again() {
            self.sign_in.expire(self.tried);
            let detail = "the sign-in at the app has ended in the midst of a body that cannot be sent twice: the next request signs in anew";
            return Err(Failure::new(Reason::SsoFailed, detail));
        }
        Ok(Heed::AskAgain)
    }

    /// What an app sets stays here, but what its scripts read.
    fn keep_cookies(&self, fields: &mut HeaderMap, translation: Option<&Translation<'_>>) {
        let header::Entry::Occupied(set) = fields.entry(header::SET_COOKIE) else {
            return;
        };
        let (_, values) = set.remove_entry_mult();
        let values: Vec<HeaderValue> = values.collect();
        let set = (values.iter(), translation);
        self.sign_in
            .take_in_public(self.own_place(), self.tried, set);
        for value in values {
            let name = value.as_bytes().split(|byte| *byte == b'=').next();
            let name = name.unwrap_or_default().trim_ascii();
            let mut known = self.sso.user_cookies.iter();
            if known.any(|known| known.as_bytes() == name) {
                fields.append(header::SET_COOKIE, value);
            }
        }
    }
}

impl Exchange<'_> {
    /// Signs the user in by the app's form, if that is to be done before the app is asked.
    pub(super) async fn enter(&mut self) -> Result<(), Failure> {
        let Some(SignOn::Form(own)) = &self.sign_on else {
            return Ok(());
        };
        if own.is_to_begin() {
            self.enter_in_turn(own).await?;
            // Nobody was late with anything while this waited for the app.
            self.activity.moved(self.worker.clock.now());
        }
        if let Some(SignOn::Form(own)) = &mut self.sign_on {
            own.tried = own.sign_in.begun();
        }
        Ok(())
    }

    /// One at a time of each credential: of one user, who waited finds it done.
    async fn enter_in_turn(&self, own: &ByForm<'_>) -> Result<(), Failure> {
        let end = self.worker.clock.now() + SIGN_IN_MAX;
        let turn = timeout_at(end, own.sign_in.turn.lock()).await;
        let _turn = turn.map_err(|_| {
            own.kept.count(KeptOutcome::Failed);
            took_too_long()
        })?;
        if !own.is_to_begin() {
            return Ok(());
        }
        let kept = &own.kept;
        let credential = kept.open()?;
        let begun = kept.sign_ins().begin(&own.by, self.worker.clock.now());
        let mut attempt = begun.map_err(resting)?;
        let address = Address {
            app: self.app,
            sso: own.sso,
            public: &own.public,
            authority: self.head.authority(),
            is_main_host: own.is_at_main_host,
            said: &self.head.said(),
            now: self.worker.clock.wall(),
        };
        let steps = FormSteps {
            exchange: self,
            own,
            address: &address,
        };
        let walked = walk(&steps, (&address, &own.sign_in), &credential, &mut attempt);
        let outcome = timeout_at(end, walked).await;
        let outcome = outcome.unwrap_or_else(|_| Err(took_too_long()));
        self.conclude(own, attempt, outcome)
    }

    /// Keeps in mind what came of a sign-in.
    fn conclude(
        &self,
        own: &ByForm<'_>,
        attempt: Attempt<'_>,
        outcome: Result<Judged, Failure>,
    ) -> Result<(), Failure> {
        let (name, now) = (&own.kept.name, self.worker.clock.now());
        match outcome {
            Ok(Judged::In) => {
                own.kept.count(KeptOutcome::In);
                own.sign_in.has_begun(now);
                attempt.ended(Ok(()), now);
                tracing::info!(credential = %name, "signed in by the app's form");
                Ok(())
            }
            Ok(Judged::Refused) => {
                own.kept.count(KeptOutcome::Refused);
                attempt.ended(Err(Because::Refused), now);
                tracing::warn!(credential = %name, "the app refuses a credential: it is not sent again for a while");
                Err(resting(Because::Refused))
            }
            Ok(Judged::Failed(why)) => {
                own.kept.count(KeptOutcome::Failed);
                attempt.ended(Err(Because::Failed), now);
                tracing::warn!(credential = %name, why, "signing in by the app's form came to nothing");
                Err(Failure::new(Reason::SsoFailed, why))
            }
            Err(failure) => {
                own.kept.count(KeptOutcome::Failed);
                attempt.ended(Err(Because::Failed), now);
                Err(failure)
            }
        }
    }
}

fn took_too_long() -> Failure {
    let detail = format!("signing in by the form took more than {SIGN_IN_MAX:?}");
    Failure::new(Reason::SsoUnavailable, detail)
}
