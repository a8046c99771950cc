//! What a browser keeps of a sign-in, and what goes with it on the way from one host to another: sealed, so that any edge can tell who
//! comes without asking anybody, and nobody else can say it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::HeaderMap;
use model::{
    app::SessionCookie,
    host::Hostname,
    terms::{Acceptance, TERMS_MAX, TermsInForce},
    user::{Authentication, Claim, SESSION_ID_BYTES, SESSION_LIFE, USER_GROUPS_MAX, User},
};
use prost::Message;
use proto::{edge, terms};
use runtime::Secret;

use super::{Arrival, cookie};
use crate::{
    cookies,
    digest::{Sha256, sha256},
    sealing::Purpose,
    view::View,
};

/// Bytes of the secret that tells browsers apart.
const BROWSER_BYTES: usize = 16;
/// Longest sealed text that is opened; browsers keep 4 KiB, addresses are bounded by themselves.
const SEALED_BYTES_MAX: usize = 16 * 1024;
/// How much of a session fits into a cookie beside its name and attributes, before it is sealed: browsers keep 4,096 bytes.
const SESSION_BYTES_MAX: usize = 2_800;
/// What a session has at an app alone: its parent, and when it was seen; or at the sign-in host alone: control's word for it.
const PART_BYTES: usize = 40;
/// How far clocks of edges may be apart.
const SKEW: Duration = Duration::from_secs(60);

/// One sign-in of one browser.
pub(crate) type SessionId = [u8; SESSION_ID_BYTES];

/// A session at the host of an app.
const APP: &str = "app";
/// A session at the sign-in host.
const HOME: &str = "session";
const ERRAND: &str = "errand";
const PASS: &str = "pass";
const FORM: &str = "form";
const PROVIDER_ERRAND: &str = "provider errand";

/// A sign-in that goes on.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub user: Arc<User>,
    /// In milliseconds since 1970.
    pub began_ms: i64,
    /// The one by which it was granted, and with which it ends.
    pub parent: Option<SessionId>,
    /// What it is known by at the identity provider that has said who the user is.
    pub at_provider: Option<AtProvider>,
    /// When the user was last seen at the app that it is shown to, give or take a minute; 0: not kept.
    pub seen_ms: i64,
    /// How the browser keeps it at the app's host: as the strictest app there wanted it when it came.
    pub cookie: SessionCookie,
    /// When its life began, which is before that if it went on while all others of the user ended; in milliseconds since 1970.
    pub life_began_ms: i64,
    /// At the sign-in host: control's word for what was shown; empty: of nobody with an account there.
    pub proof: Bytes,
    /// Where it has just begun by the word of a provider: the ID token that says so, if it is kept.
    pub id_token: Option<Secret<String>>,
}

/// SHA-256 of what a provider calls something.
pub(crate) type Digest = Sha256;

/// Names of a session and its user at an identity provider, by which the provider may end it.
#[derive(Clone, Debug)]
pub(crate) struct AtProvider {
    /// Of the session there, if it has one.
    pub session: Option<Digest>,
    /// Of the user there.
    pub user: Digest,
}

/// The digest by which something is known of which a provider's name is not kept. `kind` keeps sessions and users apart.
pub(crate) fn digest_at_provider(kind: &str, name: &str) -> Digest {
    sha256(format!("{kind}:{name}").as_bytes())
}

impl Session {
    /// One that began then: when control looked at the account, by control's clock, as revocations go by that as well.
    pub(crate) fn begin(user: User, as_of_ms: i64) -> Self {
        Self {
            id: rand::random(),
            user: Arc::new(user),
            began_ms: as_of_ms,
            parent: None,
            at_provider: None,
            seen_ms: 0,
            cookie: SessionCookie::default(),
            life_began_ms: as_of_ms,
            proof: Bytes::new(),
            id_token: None,
        }
    }

    /// The same user's that goes on when all from before `as_of_ms` end: another session by its id, and no longer in its life.
    pub(crate) fn anew(&self, as_of_ms: i64, proof: Bytes) -> Self {
        Self {
            life_began_ms: self.life_began_ms,
            proof,
            ..Self::begin((*self.user).clone(), as_of_ms)
        }
    }

    /// The same with one more text that the user has accepted, and without those that count no more.
    pub(crate) fn accepting(&self, acceptance: Acceptance, in_force: &TermsInForce) -> Self {
        let mut user = (*self.user).clone();
        user.accepted.retain(|known| {
            let terms = in_force.get(&known.terms);
            let counts = terms.is_some_and(|terms| terms.version == known.version);
            counts && known.terms != acceptance.terms
        });
        user.accepted.push(acceptance);
        Self {
            user: Arc::new(user),
            ..self.clone()
        }
    }

    /// One that began then by the word of an identity provider.
    pub(crate) fn begin_by(user: User, as_of_ms: i64, at_provider: AtProvider) -> Self {
        Self {
            at_provider: Some(at_provider),
            ..Self::begin(user, as_of_ms)
        }
    }

    /// Whether it ended before its time, or who has said who the user is may not say that any more.
    pub(crate) fn is_revoked(&self, view: &View) -> bool {
        let revocations = view.revocations();
        let provider = self.user.authentication.provider.as_ref();
        revocations.hold(&self.id, &self.user.id, self.began_ms)
            || self
                .parent
                .as_ref()
                .is_some_and(|parent| revocations.hold(parent, &self.user.id, self.began_ms))
            || !view.providers().stand_by(provider, self.began_ms)
            || provider
                .zip(self.at_provider.as_ref())
                .is_some_and(|(provider, at)| {
                    let mut names = std::iter::once(&at.user).chain(&at.session);
                    names.any(|name| revocations.hold_at(provider, name, self.began_ms))
                })
    }

    /// The session that the request shows at the host of an app, if it goes on.
    pub(crate) fn at_app(
        arrival: &Arrival<'_>,
        fields: &HeaderMap,
        now: SystemTime,
    ) -> Option<Arc<Self>> {
        let sealed = cookies::get(fields, cookies::APP)?;
        let (view, host) = (arrival.view, &arrival.authority.host);
        let open = || Self::unseal(view, APP, host, sealed);
        let session = arrival
            .recall
            .session(view.session_keys(), host, sealed, open);
        session.filter(|session| session.goes_on(view, now))
    }

    /// The same at the sign-in host.
    pub(crate) fn at_home(
        view: &View,
        host: &Hostname,
        fields: &HeaderMap,
        now: SystemTime,
    ) -> Option<Self> {
        let sealed = cookies::get(fields, cookies::SESSION)?;
        let session = Self::unseal(view, HOME, host, sealed);
        session.filter(|session| session.goes_on(view, now))
    }

    fn unseal(view: &View, kind: &'static str, host: &Hostname, sealed: &str) -> Option<Self> {
        Self::read(&open(view, kind, host.as_str(), sealed)?)
    }

    /// What it says to an app's host.
    pub(crate) fn seal_at_app(&self, view: &View, host: &Hostname) -> Option<String> {
        let session = edge::Session {
            seen_ms: self.seen_ms,
            cookie: cookie::write(self.cookie),
            ..self.write()
        };
        seal(view, APP, host.as_str(), &session)
    }

    /// What it says to the sign-in host.
    pub(crate) fn seal_at_home(&self, view: &View, host: &Hostname) -> Option<String> {
        let session = edge::Session {
            proof: self.proof.clone(),
            ..self.write()
        };
        seal(view, HOME, host.as_str(), &session)
    }

    /// Whether it is neither past its life nor ended before.
    pub(crate) fn goes_on(&self, view: &View, now: SystemTime) -> bool {
        is_within(self.life_began_ms, SESSION_LIFE, now) && !self.is_revoked(view)
    }

    /// When it is past its life.
    pub(crate) fn ends_ms(&self) -> i64 {
        let life = i64::try_from(SESSION_LIFE.as_millis()).unwrap_or(i64::MAX);
        self.life_began_ms.saturating_add(life)
    }

    /// How long it still goes on, at the most.
    pub(crate) fn rest(&self, now: SystemTime) -> Duration {
        let rest = self.ends_ms().saturating_sub(milliseconds(now));
        Duration::from_millis(u64::try_from(rest).unwrap_or(0))
    }

    pub(super) fn read(wire: &edge::Session) -> Option<Self> {
        let user = read_user(
            &wire.user,
            &wire.display_name,
            &wire.email,
            &wire.user_groups,
        );
        let mut user = user?;
        user.claims = wire.claims.iter().map(read_claim).collect();
        let accepted = wire.accepted.iter().filter_map(terms::read_accepted);
        user.accepted = accepted.take(TERMS_MAX).collect();
        user.authentication = Authentication {
            provider: match &*wire.provider {
                "" => None,
                provider => Some(provider.parse().ok()?),
            },
            methods: wire.methods.clone(),
            class: wire.class.clone(),
            at_ms: wire.authenticated_ms,
        };
        Some(Self {
            id: wire.id.as_ref().try_into().ok()?,
            user: Arc::new(user),
            began_ms: wire.began_ms,
            parent: match &*wire.parent {
                [] => None,
                parent => Some(parent.try_into().ok()?),
            },
            at_provider: match &*wire.provider {
                "" => None,
                _ => Some(AtProvider {
                    session: match &*wire.provider_sid_sha256 {
                        [] => None,
                        digest => Some(digest.try_into().ok()?),
                    },
                    user: wire.provider_sub_sha256.as_ref().try_into().ok()?,
                }),
            },
            seen_ms: wire.seen_ms,
            cookie: cookie::read(wire.cookie.as_ref()),
            life_began_ms: match wire.life_began_ms {
                0 => wire.began_ms,
                began_ms => began_ms.min(wire.began_ms),
            },
            proof: wire.proof.clone(),
            id_token: None,
        })
    }

    /// Whether a cookie holds it, at an app too. Nothing is left out of one that it does not: a rule that blocks a group would not hold
    /// for a user whose session does not say it.
    pub(super) fn fits(&self) -> bool {
        self.write().encoded_len() + PART_BYTES <= SESSION_BYTES_MAX
    }

    pub(super) fn write(&self) -> edge::Session {
        let authentication = &self.user.authentication;
        let provider = authentication.provider.as_ref();
        let at_provider = self.at_provider.as_ref();
        let digest = |digest: Option<&Digest>| {
            digest.map_or_else(Bytes::new, |digest| Bytes::copy_from_slice(digest))
        };
        edge::Session {
            id: self.id.to_vec().into(),
            user: self.user.id.to_string(),
            display_name: self.user.display_name.clone(),
            email: self.user.email.clone(),
            user_groups: self.user.groups.iter().map(ToString::to_string).collect(),
            began_ms: self.began_ms,
            life_began_ms: self.life_began_ms,
            methods: authentication.methods.clone(),
            provider: provider.map(ToString::to_string).unwrap_or_default(),
            class: authentication.class.clone(),
            authenticated_ms: authentication.at_ms,
            claims: self.user.claims.iter().map(write_claim).collect(),
            parent: self.parent.map(|id| id.to_vec().into()).unwrap_or_default(),
            provider_sid_sha256: digest(at_provider.and_then(|at| at.session.as_ref())),
            provider_sub_sha256: digest(at_provider.map(|at| &at.user)),
            accepted: self
                .user
                .accepted
                .iter()
                .map(terms::write_accepted)
                .collect(),
            // Said to apps alone.
            seen_ms: 0,
            cookie: None,
            // Said to the sign-in host alone.
            proof: Bytes::new(),
        }
    }
}

/// A user as messages have them; `None` if the id or the name of a group is none.
pub(super) fn read_user(
    id: &str,
    display_name: &str,
    email: &str,
    groups: &[String],
) -> Option<User> {
    let groups = groups.iter().take(USER_GROUPS_MAX);
    Some(User {
        display_name: display_name.to_owned(),
        email: email.to_owned(),
        groups: groups
            .map(|group| group.parse())
            .collect::<Result<_, _>>()
            .ok()?,
        ..User::new(id.parse().ok()?)
    })
}

fn read_claim(wire: &edge::Claim) -> Claim {
    Claim {
        name: wire.name.clone(),
        values: wire.values.clone(),
    }
}

fn write_claim(claim: &Claim) -> edge::Claim {
    edge::Claim {
        name: claim.name.clone(),
        values: claim.values.clone(),
    }
}

/// What a sign-in is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Errand(pub edge::Errand);

impl Errand {
    /// Longest time from the first request to the end of the sign-in: who leaves the page open over night still comes to the app.
    const LIFE: Duration = Duration::from_secs(24 * 3_600);

    pub(crate) fn seal(&self, view: &View) -> Option<String> {
        seal(view, ERRAND, "", &self.0)
    }

    pub(crate) fn open(view: &View, sealed: &str, now: SystemTime) -> Option<Self> {
        let errand = open::<edge::Errand>(view, ERRAND, "", sealed)?;
        is_within(errand.issued_ms, Self::LIFE, now).then_some(Self(errand))
    }
}

/// How a session comes to an app's host.
#[derive(Debug)]
pub(crate) struct Pass {
    /// The session; none if the pass is for another browser, or for this one before it got another secret.
    pub session: Option<Session>,
    /// Path and query to go on to.
    pub target: String,
    /// Id of the app that the user came by; empty: the target tells.
    pub app: String,
    /// The ID token by which the session began; empty: the app asks for none, or the session has none.
    pub id_token: Secret<String>,
}

impl Pass {
    /// It is on its way in the browser alone.
    const LIFE: Duration = Duration::from_secs(60);

    /// For the host and the browser that the errand is for.
    pub(crate) fn seal(
        view: &View,
        host: &Hostname,
        (session, id_token): (&Session, Option<Secret<String>>),
        errand: &Errand,
        now: SystemTime,
    ) -> Option<String> {
        let pass = edge::Pass {
            session: Some(session.write()),
            target: errand.0.target.clone(),
            browser_sha256: errand.0.browser_sha256.clone(),
            issued_ms: milliseconds(now),
            app: errand.0.app.clone(),
            id_token: id_token.map(Secret::into_exposed).unwrap_or_default(),
        };
        seal(view, PASS, host.as_str(), &pass)
    }

    /// Opens one that was made for this host, a moment ago, and is shown by a browser that has been here.
    pub(crate) fn open(
        view: &View,
        host: &Hostname,
        fields: &HeaderMap,
        sealed: &str,
        now: SystemTime,
    ) -> Option<Self> {
        let pass = open::<edge::Pass>(view, PASS, host.as_str(), sealed)?;
        let browser = Browser::of(fields)?;
        if !is_within(pass.issued_ms, Self::LIFE, now) {
            return None;
        }
        let session = Session::read(pass.session.as_ref()?)?;
        session.goes_on(view, now).then(|| Self {
            session: browser.is(&pass.browser_sha256).then_some(session),
            target: pass.target,
            app: pass.app,
            id_token: Secret::new(pass.id_token),
        })
    }
}

/// Shows that a form was made here, for the browser that sends it: pages of other sites cannot sign anybody in.
#[derive(Debug)]
pub(crate) struct FormToken;

impl FormToken {
    const LIFE: Duration = Duration::from_secs(24 * 3_600);

    pub(crate) fn seal(
        view: &View,
        host: &Hostname,
        browser: &Browser,
        now: SystemTime,
    ) -> Option<String> {
        let token = edge::FormToken {
            browser_sha256: browser.sha256().into(),
            issued_ms: milliseconds(now),
        };
        seal(view, FORM, host.as_str(), &token)
    }

    pub(crate) fn holds(
        view: &View,
        host: &Hostname,
        fields: &HeaderMap,
        sealed: &str,
        now: SystemTime,
    ) -> bool {
        let token = open::<edge::FormToken>(view, FORM, host.as_str(), sealed);
        token.is_some_and(|token| {
            is_within(token.issued_ms, Self::LIFE, now)
                && Browser::of(fields).is_some_and(|browser| browser.is(&token.browser_sha256))
        })
    }
}

/// A secret of one browser at one host. What is made for a browser names it by its digest.
#[derive(Debug)]
pub(crate) struct Browser([u8; BROWSER_BYTES]);

impl Browser {
    /// One that is not known yet.
    fn new() -> Self {
        Self(rand::random())
    }

    /// The one that a request comes from, and whether it is to be told that it is this.
    pub(crate) fn of_or_new(fields: &HeaderMap) -> (Self, bool) {
        let known = Self::of(fields);
        let is_new = known.is_none();
        (known.unwrap_or_else(Self::new), is_new)
    }

    /// The one that a request comes from, if it has been here.
    pub(crate) fn of(fields: &HeaderMap) -> Option<Self> {
        Self::kept(fields, cookies::BROWSER)
    }

    fn kept(fields: &HeaderMap, cookie: &str) -> Option<Self> {
        let text = cookies::get(fields, cookie)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The secret of the attempts of this browser to sign in at providers, and whether it is to be told of it.
    pub(crate) fn attempt_or_new(fields: &HeaderMap) -> (Self, bool) {
        let known = Self::attempt(fields);
        let is_new = known.is_none();
        (known.unwrap_or_else(Self::new), is_new)
    }

    /// The same, if there is any under way.
    pub(crate) fn attempt(fields: &HeaderMap) -> Option<Self> {
        Self::kept(fields, cookies::ATTEMPT)
    }

    /// What it is to keep.
    pub(crate) fn secret(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What others may know of it.
    pub(crate) fn sha256(&self) -> Vec<u8> {
        sha256(&self.0).to_vec()
    }

    pub(super) fn is(&self, sha256: &[u8]) -> bool {
        // Of a digest that whoever compares could compute: time tells nothing.
        self.sha256() == sha256
    }
}

/// What a sign-in at an identity provider has to come back with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProviderErrand(pub edge::ProviderErrand);

impl ProviderErrand {
    /// Time for a sign-in there: who has to find a second factor first, or to set one up, takes some.
    const LIFE: Duration = Duration::from_secs(3_600);

    pub(crate) fn seal(&self, view: &View, host: &Hostname) -> Option<String> {
        seal(view, PROVIDER_ERRAND, host.as_str(), &self.0)
    }

    pub(crate) fn open(
        view: &View,
        host: &Hostname,
        sealed: &str,
        now: SystemTime,
    ) -> Option<Self> {
        let errand = open::<edge::ProviderErrand>(view, PROVIDER_ERRAND, host.as_str(), sealed)?;
        is_within(errand.issued_ms, Self::LIFE, now).then_some(Self(errand))
    }
}

pub(super) fn seal<M: Message>(
    view: &View,
    kind: &'static str,
    place: &str,
    message: &M,
) -> Option<String> {
    let purpose = Purpose { kind, place };
    let sealed = view
        .session_keys()
        .seal(purpose, &message.encode_to_vec())?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(sealed))
}

pub(super) fn open<M: Message + Default>(
    view: &View,
    kind: &'static str,
    place: &str,
    sealed: &str,
) -> Option<M> {
    open_of(view, kind, place, sealed, SEALED_BYTES_MAX)
}

/// What was sealed, if it is no longer than that.
pub(super) fn open_of<M: Message + Default>(
    view: &View,
    kind: &'static str,
    place: &str,
    sealed: &str,
    bytes_max: usize,
) -> Option<M> {
    if sealed.len() > bytes_max {
        return None;
    }
    let sealed = BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let plain = view.session_keys().open(Purpose { kind, place }, &sealed)?;
    M::decode(&*plain).ok()
}

/// Milliseconds since 1970.
pub(crate) fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or(Duration::ZERO).as_millis()).unwrap_or(i64::MAX)
}

/// Whether less than `life` has passed since; what comes from another edge may be a little ahead.
pub(super) fn is_within(since_ms: i64, life: Duration, now: SystemTime) -> bool {
    let age = milliseconds(now).saturating_sub(since_ms);
    let milliseconds = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    (-milliseconds(SKEW)..milliseconds(life)).contains(&age)
}

#[cfg(test)]
mod tests;
