//! Users who are signed on by Kerberos: whom the app shall take the request for, by a token that the agent makes, and what the app says to
//! that. A token is of one request and is never sent twice.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kerberos::{
    Ask, Blame, Failure as Refusal, Kerberos, Kind, Mutual, Pending, Spn, Stage, UserName,
};
use model::{
    app::{KerberosSso, SendWhen},
    identity_provider::LOCAL,
    name::{AppId, EdgeId, IdentityProviderId, UserId},
    reason::Reason,
};

use super::{
    Exchange, Failure,
    head::{BodyKind, Head},
    replay::REPLAY_BYTES_MAX,
    sign_on::Heed,
    upload::Upload,
};
use crate::{
    origin::{AnswerBody, Connection, Origin, Owner},
    sign_on::{
        Asker, Attempt, asked,
        challenge::{self, Offer, Taken},
    },
    statement::Statement,
    worker::Worker,
};

/// Bytes of a token from which on a web server may refuse it for its length alone: Apache takes 8190 in a line.
const LONG_TOKEN_BYTES: usize = 8_000;

/// A user who is signed on by tokens.
#[derive(Debug)]
pub(super) struct ByKerberos<'a> {
    worker: &'a Worker,
    sso: &'a KerberosSso,
    app: &'a AppId,
    /// Id of the request.
    request: String,
    kerberos: Kerberos,
    user: UserName,
    /// Who it is to the fabric, and which edge says so.
    sub: UserId,
    edge: EdgeId,
    pub(super) owner: Owner,
    /// Whether the next try brings a token.
    brings_token: bool,
    /// The app has refused one.
    was_refused: bool,
    /// The token of the try under way.
    presented: Option<Presented>,
}

/// A token that is on its way to an app.
struct Presented {
    spn: Spn,
    /// Gone once it was written.
    header: Option<HeaderValue>,
    bytes: usize,
    pending: Pending,
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presented")
            .field("spn", &self.spn)
            .finish_non_exhaustive()
    }
}

/// Whether an app may ask for a token before it gets one.
fn may_be_asked_twice(head: &Head) -> bool {
    let is_kept = match head.body {
        BodyKind::None => true,
        BodyKind::Length(bytes) => {
            usize::try_from(bytes).is_ok_and(|bytes| bytes <= REPLAY_BYTES_MAX)
        }
        BodyKind::Streamed => false,
    };
    is_kept && head.upgrade.is_none()
}

impl<'a> ByKerberos<'a> {
    /// Finds out whom the app shall take the request for.
    pub(super) fn new(
        exchange: &Exchange<'a>,
        sso: &'a KerberosSso,
        statement: &Statement,
    ) -> Result<Self, Failure> {
        let provider = statement.provider.as_ref();
        if !sso.names_users_of(provider) {
            let whose = provider.map_or(LOCAL, IdentityProviderId::as_str);
            let detail =
                format!("the app's sign-on is for users of another identity provider than {whose}");
            return Err(Failure::new(Reason::SsoNoIdentity, detail));
        }
        let name = statement.name.as_deref().ok_or_else(|| {
            Failure::new(
                Reason::SsoNoIdentity,
                "the edge states no name of the user that the app is to be told",
            )
        })?;
        let (worker, app) = (exchange.worker, exchange.app.id());
        let kerberos = worker.shared.sign_on.kerberos();
        let kerberos = kerberos.map_err(|why| Failure::refusal(Reason::SsoFailed, why))?;
        let user = asked::user(sso, name, kerberos.realm());
        let user = user.map_err(|error| {
            let detail = format!("what the edge states is no name of a user: {error}");
            Failure::new(Reason::SsoNoIdentity, detail)
        })?;
        Ok(Self {
            owner: Owner::new(app, format!("{:?} {user}", sso.name_form)),
            brings_token: sso.send == SendWhen::Always || !may_be_asked_twice(&exchange.head),
            was_refused: false,
            presented: None,
            request: exchange.head.id.clone(),
            sub: statement.user.clone(),
            edge: statement.edge.clone(),
            worker,
            sso,
            app,
            kerberos,
            user,
        })
    }

    /// Makes the token for a try on this connection, if it takes one.
    pub(super) async fn present(&mut self, connection: &Connection) -> Result<(), Failure> {
        self.presented = None;
        if !self.brings_token {
            return Ok(());
        }
        let spn = self.spn(connection.origin())?;
        let ask = self.ask(&spn, connection);
        let sign_on = &self.worker.shared.sign_on;
        let token = sign_on.token(&self.kerberos, ask, self.asker()).await;
        let token = token.map_err(|refusal| self.told(Some(&spn), &refusal))?;
        let bytes = token.header.len();
        let mut header = HeaderValue::try_from(token.header)
            .map_err(|_| Failure::bug("a token that is no value of a field"))?;
        header.set_sensitive(true);
        self.presented = Some(Presented {
            spn,
            header: Some(header),
            bytes,
            pending: token.pending,
        });
        Ok(())
    }

    /// Nothing that the request brings signs anybody on: the agent does.
    pub(super) fn put_into(&mut self, fields: &mut HeaderMap) {
        fields.remove(header::AUTHORIZATION);
        let header = self.presented.as_mut().and_then(|it| it.header.take());
        if let Some(header) = header {
            fields.insert(header::AUTHORIZATION, header);
        }
    }

    /// Looks at what the app says of the token, or of having got none, and keeps that from the user.
    pub(super) fn heed(
        &mut self,
        response: &mut Response<AnswerBody>,
        upload: &Upload,
    ) -> Result<Heed, Failure> {
        let taken = challenge::take(response.headers_mut());
        let presented = self.presented.take();
        if response.status() == StatusCode::UNAUTHORIZED {
            match taken.offer {
                Offer::Kerberos => return self.heed_refusal(presented, &taken, upload),
                Offer::OthersOnly => return Err(self.not_kerberos(presented.as_ref())),
                // It is the app's own matter.
                Offer::Nothing => {}
            }
        }
        let Some(presented) = presented else {
            return Ok(Heed::PassOn);
        };
        self.heed_length(presented.bytes, response.status());
        let checked = presented.pending.finish(taken.token.as_deref());
        self.count(checked.as_ref().err());
        match checked {
            Ok(_) => Ok(Heed::PassOn),
            Err(refusal) => Err(self.told(Some(&presented.spn), &refusal)),
        }
    }

    fn heed_length(&self, token_bytes: usize, status: StatusCode) {
        if token_bytes >= LONG_TOKEN_BYTES && is_of_length(status) {
            tracing::warn!(
                app = %self.app,
                status = status.as_u16(),
                token_bytes,
                hint = "tickets of users in many groups are long: raise the limit of the web server's header lines (LimitRequestFieldSize of Apache, MaxFieldLength of http.sys)",
                "an app answers a long token with an error"
            );
        }
    }

    /// The app asks for a token, or refuses the one that it got.
    fn heed_refusal(
        &mut self,
        presented: Option<Presented>,
        taken: &Taken,
        upload: &Upload,
    ) -> Result<Heed, Failure> {
        let Some(presented) = presented else {
            if !upload.can_begin_again() {
                let refusal = Refusal {
                    hint: "let a ticket go with every request to this app",
                    ..refused(
                        "the app asks for a ticket in the midst of a body that cannot be sent twice",
                    )
                };
                return Err(self.told(None, &refusal));
            }
            self.brings_token = true;
            return Ok(Heed::AskAgain);
        };
        let refusal = refusal_of(presented.pending.finish(taken.token.as_deref()));
        self.count(refusal.as_ref());
        let Some(refusal) = refusal else {
            return Ok(Heed::PassOn);
        };
        if self.was_refused || !upload.can_begin_again() {
            return Err(self.told(Some(&presented.spn), &refusal));
        }
        // Perhaps the app has other keys than when the ticket was made.
        self.was_refused = true;
        self.kerberos.forget(&self.user, &presented.spn);
        Ok(Heed::AskAgain)
    }

    fn not_kerberos(&self, presented: Option<&Presented>) -> Failure {
        let refusal = Refusal {
            kind: Kind::NotKerberos,
            hint: "the app offers other sign-ins only: turn on Negotiate (Integrated Windows Authentication) there",
            ..refused("the application does not accept Kerberos")
        };
        self.count(Some(&refusal));
        self.told(presented.map(|it| &it.spn), &refusal)
    }

    /// The service that `origin` is to the domain.
    fn spn(&self, origin: &Origin) -> Result<Spn, Failure> {
        let service = asked::service(self.sso, origin);
        service.map_err(|error| Failure::refusal(Reason::SsoFailed, error.to_string()))
    }

    fn ask(&self, spn: &Spn, connection: &Connection) -> Ask {
        asked::ask(self.sso, &self.user, spn, connection.certificate())
    }

    fn asker(&self) -> Asker<'_> {
        Asker {
            app: self.app,
            edge: &self.edge,
            sub: &self.sub,
        }
    }

    fn count(&self, refusal: Option<&Refusal>) {
        let kind = refusal.map(|refusal| refusal.kind);
        let metrics = self.worker.shared.sign_on.metrics();
        metrics.count(Stage::App, kind);
    }

    /// Tells operators.
    fn told(&self, spn: Option<&Spn>, refusal: &Refusal) -> Failure {
        let attempt = Attempt {
            request: &self.request,
            asker: self.asker(),
            user: &self.user,
            spn,
        };
        let told = self.worker.shared.sign_on.told();
        told.tell(attempt, refusal, self.worker.clock.now());
        failure(refusal)
    }
}

/// What the edge is told: the words are for its log.
fn failure(refusal: &Refusal) -> Failure {
    let detail = refusal.to_string();
    match (refusal.blame(), refusal.stage) {
        (Blame::User, _) => Failure::new(Reason::SsoUserRefused, detail),
        (Blame::Kdc, _) => Failure::new(Reason::SsoUnavailable, detail),
        // Another agent has an account of its own.
        (Blame::Setup, Stage::Agent) => Failure::refusal(Reason::SsoFailed, detail),
        (Blame::Setup, Stage::SelfTicket | Stage::Proxy | Stage::App) => {
            Failure::new(Reason::SsoFailed, detail)
        }
    }
}

/// What a 401 means after a token. An app that proves itself has taken it: users who are signed on and may not come here are told so by
/// 401 at Apache (`Require`) and IIS (401.3), as the app's own answer, which no other token changes.
fn refusal_of(checked: Result<Mutual, Refusal>) -> Option<Refusal> {
    match checked {
        Ok(Mutual::Verified) => None,
        Ok(Mutual::Absent) => Some(refused("the app answered 401 all the same")),
        Err(refusal) => Some(refusal),
    }
}

fn refused(text: &str) -> Refusal {
    Refusal {
        stage: Stage::App,
        kind: Kind::Refused,
        number: None,
        text: text.to_owned(),
        hint: "look into the application's own log",
    }
}

/// Whether a server may mean by this that the head is too long for it.
fn is_of_length(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_401_of_an_app_that_has_taken_the_token_is_its_own() {
        assert_eq!(refusal_of(Ok(Mutual::Verified)), None);
        assert!(refusal_of(Ok(Mutual::Absent)).is_some());
        let refusal = refused("no");
        assert_eq!(refusal_of(Err(refusal.clone())), Some(refusal));
    }

    #[test]
    fn each_failure_has_the_reason_of_who_can_mend_it() {
        for (stage, kind, reason, is_safe) in [
            (
                Stage::SelfTicket,
                Kind::NoUser,
                Reason::SsoUserRefused,
                false,
            ),
            (
                Stage::SelfTicket,
                Kind::Policy,
                Reason::SsoUserRefused,
                false,
            ),
            (
                Stage::Proxy,
                Kind::NotAllowed,
                Reason::SsoUserRefused,
                false,
            ),
            (
                Stage::SelfTicket,
                Kind::Revoked,
                Reason::SsoUserRefused,
                false,
            ),
            (Stage::Proxy, Kind::NoService, Reason::SsoFailed, false),
            (Stage::Agent, Kind::Credential, Reason::SsoFailed, true),
            (Stage::App, Kind::Refused, Reason::SsoFailed, false),
            (Stage::App, Kind::Unproven, Reason::SsoFailed, false),
            (
                Stage::Proxy,
                Kind::Unreachable,
                Reason::SsoUnavailable,
                false,
            ),
            (Stage::Agent, Kind::Broken, Reason::SsoUnavailable, false),
            (Stage::SelfTicket, Kind::Busy, Reason::SsoUnavailable, false),
            (
                Stage::SelfTicket,
                Kind::Timeout,
                Reason::SsoUnavailable,
                false,
            ),
        ] {
            let refusal = Refusal {
                stage,
                kind,
                ..refused("words")
            };
            let wire = failure(&refusal).to_wire();
            assert_eq!(
                (wire.reason.as_str(), wire.retry_safe),
                (reason.as_str(), is_safe),
                "{stage:?} {kind:?}"
            );
        }
    }
}
