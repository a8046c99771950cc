//! What a browser brings along on the way to a second factor: sealed, for this browser and a few minutes, and no session.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use model::{host::Hostname, user::User};
use proto::{edge, fabric};

use super::session::{Browser, Session, is_within, milliseconds, open, seal};
use crate::view::View;

const OFFER: &str = "authenticator";
const CHALLENGE: &str = "challenge";

/// Bytes of the key of an authenticator app (RFC 4226, section 4, R6).
const KEY_BYTES: usize = 20;
/// Bytes of what a passkey signs.
const CHALLENGE_BYTES: usize = 32;

/// RFC 8176: a password.
pub(crate) const PASSWORD: &str = "pwd";
/// RFC 8176: two factors.
pub(crate) const MULTIPLE: &str = "mfa";

/// What a user has to have shown for what they want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A second factor, whichever.
    SecondFactor,
}

/// Whether a session is not enough for what is wanted of it, and one more factor would be.
pub(crate) fn needs_second_factor(session: &Session, wanted: Wanted) -> bool {
    match wanted {
        Wanted::SecondFactor => {
            let authentication = &session.user.authentication;
            // Who has signed in elsewhere shows it there.
            let is_own = authentication.provider.is_none();
            is_own && !has(&authentication.methods, MULTIPLE)
        }
    }
}

pub(crate) fn has(methods: &[String], method: &str) -> bool {
    methods.iter().any(|known| known == method)
}

/// What it was made for; it is good for nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    /// A session, once the second factor is shown.
    SignIn,
    /// A change of what the account asks for: the password was typed for it.
    Change,
}

impl Aim {
    const fn kind(self) -> &'static str {
        match self {
            Self::SignIn => "halfway",
            Self::Change => "change",
        }
    }

    const fn life(self) -> Duration {
        match self {
            // A code is at hand, or it is not.
            Self::SignIn => Duration::from_secs(5 * 60),
            // To find an app for codes, and to put a key into it.
            Self::Change => CHANGE_LIFE,
        }
    }
}

/// Time for a change.
const CHANGE_LIFE: Duration = Duration::from_secs(15 * 60);

/// What control lets somebody in with.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    /// Whom.
    pub user: User,
    /// When control looked at the account, by its clock, in milliseconds since 1970.
    pub as_of_ms: i64,
    /// Control's word for both, and for what was shown.
    pub proof: Bytes,
}

impl Granted {
    /// The session that begins.
    pub(crate) fn begin(self) -> Session {
        Session {
            proof: self.proof,
            ..Session::begin(self.user, self.as_of_ms)
        }
    }
}

/// What was shown for a session, for control.
pub(crate) fn shown_before(session: &Session) -> fabric::ShownBefore {
    fabric::ShownBefore {
        as_of_ms: session.began_ms,
        methods: session.user.authentication.methods.clone(),
        proof: session.proof.clone(),
    }
}

/// What somebody has shown so far.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Halfway(edge::Halfway);

impl Halfway {
    /// After a right password.
    pub(crate) fn after_password(half: &fabric::HalfProven) -> Self {
        Self(edge::Halfway {
            user: half.user.clone(),
            as_of_ms: half.as_of_ms,
            methods: vec![PASSWORD.to_owned()],
            authenticator: half.authenticator,
            passkeys: half.passkeys.clone(),
            proof: half.proof.clone(),
            ..edge::Halfway::default()
        })
    }

    /// After a right password that is enough, with what was shown before.
    pub(crate) fn of_account(granted: &Granted) -> Self {
        Self(edge::Halfway {
            user: granted.user.id.to_string(),
            as_of_ms: granted.as_of_ms,
            methods: granted.user.authentication.methods.clone(),
            proof: granted.proof.clone(),
            ..edge::Halfway::default()
        })
    }

    /// Of a session that goes on.
    pub(crate) fn of_session(session: &Session, account: &fabric::ShowAccountResponse) -> Self {
        let passkeys = account.passkeys.iter();
        Self(edge::Halfway {
            user: session.user.id.to_string(),
            as_of_ms: session.began_ms,
            methods: session.user.authentication.methods.clone(),
            authenticator: account.authenticator_ms != 0,
            passkeys: passkeys.map(|one| one.credential_id.clone()).collect(),
            life_began_ms: session.life_began_ms,
            authenticated_ms: session.user.authentication.at_ms,
            proof: session.proof.clone(),
            ..edge::Halfway::default()
        })
        .within(session)
    }

    /// The session that a code makes of it. A code alone is no new sign-in: where the password was typed for a session before, the one that
    /// follows is as old as that.
    pub(crate) fn complete(&self, mut granted: Granted) -> Session {
        if self.0.life_began_ms == 0 {
            return granted.begin();
        }
        granted.user.authentication.at_ms = self.0.authenticated_ms;
        let as_of_ms = granted.as_of_ms;
        Session {
            life_began_ms: self.0.life_began_ms.min(as_of_ms),
            ..granted.begin()
        }
    }

    /// The same for a change in a session that goes on, and for no other.
    pub(crate) fn within(mut self, session: &Session) -> Self {
        self.0.session = Bytes::copy_from_slice(&session.id);
        self
    }

    /// Id of the session that it was made in; empty: there was none.
    pub(crate) fn session(&self) -> &[u8] {
        &self.0.session
    }

    pub(crate) fn user(&self) -> &str {
        &self.0.user
    }

    pub(crate) fn has_authenticator(&self) -> bool {
        self.0.authenticator
    }

    /// Ids of the user's passkeys.
    pub(crate) fn passkeys(&self) -> &[Bytes] {
        &self.0.passkeys
    }

    /// What control is told of it.
    pub(crate) fn shown(&self, client: &str, request_id: &str) -> fabric::Shown {
        fabric::Shown {
            user: self.0.user.clone(),
            as_of_ms: self.0.as_of_ms,
            methods: self.0.methods.clone(),
            client: client.to_owned(),
            request_id: request_id.to_owned(),
            proof: self.0.proof.clone(),
        }
    }

    pub(crate) fn seal(
        &self,
        (view, host): (&View, &Hostname),
        aim: Aim,
        browser: &Browser,
        now: SystemTime,
    ) -> Option<String> {
        let halfway = edge::Halfway {
            browser_sha256: browser.sha256().into(),
            // Another try does not prolong it.
            issued_ms: match self.0.issued_ms {
                0 => milliseconds(now),
                issued_ms => issued_ms,
            },
            ..self.0.clone()
        };
        seal(view, aim.kind(), host.as_str(), &halfway)
    }

    /// One that was made for this browser and for this, a few minutes ago.
    pub(crate) fn open(
        view: &View,
        (host, fields): (&Hostname, &HeaderMap),
        sealed: &str,
        now: SystemTime,
        aim: Aim,
    ) -> Option<Self> {
        let halfway = open::<edge::Halfway>(view, aim.kind(), host.as_str(), sealed)?;
        let is_of_browser = Browser::of(fields)?.is(&halfway.browser_sha256);
        (is_of_browser && is_within(halfway.issued_ms, aim.life(), now)).then_some(Self(halfway))
    }
}

/// A key that a user is about to put into an authenticator app.
#[derive(Debug)]
pub(crate) struct Offer(edge::AuthenticatorOffer);

impl Offer {
    pub(crate) fn new(user: &str) -> Self {
        Self(edge::AuthenticatorOffer {
            user: user.to_owned(),
            key: Bytes::copy_from_slice(&rand::random::<[u8; KEY_BYTES]>()),
            ..edge::AuthenticatorOffer::default()
        })
    }

    pub(crate) fn key(&self) -> &Bytes {
        &self.0.key
    }

    pub(crate) fn seal(
        &self,
        view: &View,
        host: &Hostname,
        browser: &Browser,
        now: SystemTime,
    ) -> Option<String> {
        let offer = edge::AuthenticatorOffer {
            browser_sha256: browser.sha256().into(),
            issued_ms: milliseconds(now),
            ..self.0.clone()
        };
        seal(view, OFFER, host.as_str(), &offer)
    }

    /// One that was made for this user in this browser.
    pub(crate) fn open(
        view: &View,
        (host, fields): (&Hostname, &HeaderMap),
        sealed: &str,
        now: SystemTime,
        user: &str,
    ) -> Option<Self> {
        let offer = open::<edge::AuthenticatorOffer>(view, OFFER, host.as_str(), sealed)?;
        let is_theirs = Browser::of(fields)?.is(&offer.browser_sha256) && offer.user == user;
        let is_young = is_within(offer.issued_ms, CHANGE_LIFE, now);
        (is_theirs && is_young).then_some(Self(offer))
    }
}

/// What a passkey is to sign.
#[derive(Debug)]
pub(crate) struct Challenge(edge::Challenge);

impl Challenge {
    /// As long as control takes it.
    pub(crate) const LIFE: Duration = Duration::from_secs(5 * 60);

    pub(crate) fn new(browser: &Browser, now: SystemTime) -> Self {
        Self(edge::Challenge {
            challenge: Bytes::copy_from_slice(&rand::random::<[u8; CHALLENGE_BYTES]>()),
            browser_sha256: browser.sha256().into(),
            issued_ms: milliseconds(now),
        })
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0.challenge
    }

    pub(crate) fn issued_ms(&self) -> i64 {
        self.0.issued_ms
    }

    pub(crate) fn seal(&self, view: &View, host: &Hostname) -> Option<String> {
        seal(view, CHALLENGE, host.as_str(), &self.0)
    }

    /// One that was made for this browser.
    pub(crate) fn open(
        view: &View,
        host: &Hostname,
        fields: &HeaderMap,
        sealed: &str,
        now: SystemTime,
    ) -> Option<Self> {
        let challenge = open::<edge::Challenge>(view, CHALLENGE, host.as_str(), sealed)?;
        let is_of_browser = Browser::of(fields)?.is(&challenge.browser_sha256);
        let is_young = is_within(challenge.issued_ms, Self::LIFE, now);
        (is_of_browser && is_young).then_some(Self(challenge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_alone_makes_no_session_younger() {
        let user = |at_ms| {
            let mut user = User::new("alice".parse().unwrap());
            user.authentication.at_ms = at_ms;
            user
        };
        let granted = || Granted {
            user: user(9_000),
            as_of_ms: 9_000,
            proof: Bytes::from_static(b"word"),
        };
        let times = |session: Session| {
            let at_ms = session.user.authentication.at_ms;
            (session.began_ms, session.life_began_ms, at_ms)
        };
        let before = Session::begin(user(1_000), 1_000).anew(2_000, Bytes::new());
        let account = fabric::ShowAccountResponse::default();
        let more = Halfway::of_session(&before, &account);
        assert_eq!(more.complete(granted()).proof, "word");
        assert_eq!(times(more.complete(granted())), (9_000, 1_000, 1_000));
        let half = fabric::HalfProven::default();
        let whole = Halfway::after_password(&half);
        assert_eq!(times(whole.complete(granted())), (9_000, 9_000, 9_000));
    }

    #[test]
    fn a_password_alone_is_not_enough_where_a_second_factor_is_wanted() {
        for (provider, methods, needs) in [
            (None, &["pwd"][..], true),
            (None, &["pwd", "otp", "mfa"], false),
            (None, &["hwk", "user", "mfa"], false),
            (Some("corp"), &["pwd"], false),
        ] {
            let mut user = User::new("alice".parse().unwrap());
            user.authentication.provider = provider.map(|id| id.parse().unwrap());
            user.authentication.methods = methods.iter().map(|one| (*one).to_owned()).collect();
            let session = Session::begin(user, 1);
            let found = needs_second_factor(&session, Wanted::SecondFactor);
            assert_eq!(found, needs, "{provider:?} {methods:?}");
        }
    }
}
