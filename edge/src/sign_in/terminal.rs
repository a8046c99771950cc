//! What terminals keep of a sign-in, and what they show apps of it.
//!
//! A *terminal token* is good at the sign-in host alone, for as long as its session goes on. There it is traded for *tokens of apps*, each
//! good at one host for some minutes. All are sealed, so any edge can tell who comes without asking anybody.

use std::{sync::Arc, time::Duration, time::SystemTime};

use bytes::Bytes;
use model::{app::SessionCookie, host::Hostname};
use proto::edge;

use super::{
    session::{Session, is_within, milliseconds, open, seal},
    token::TokenError,
};
use crate::{digest::hex, view::View};

/// What every token of a terminal begins with.
pub(crate) const TERMINAL_PREFIX: &str = "adit_tt_";
/// What every token of an app begins with.
pub(crate) const APP_PREFIX: &str = "adit_at_";
/// How long a token of an app is good for: whoever reads it in a list of processes or a log has little of it.
pub(crate) const APP_TOKEN_LIFE: Duration = Duration::from_secs(600);

const TERMINAL: &str = "terminal";
const APP: &str = "app token";
const GRANT: &str = "grant";

/// A session in a terminal, as that of the browser which lets it in. It ends with that, or before.
pub(crate) fn session_of(browser: &Session) -> Session {
    Session {
        id: rand::random(),
        user: Arc::clone(&browser.user),
        began_ms: browser.began_ms,
        parent: Some(browser.id),
        at_provider: browser.at_provider.clone(),
        seen_ms: 0,
        cookie: SessionCookie::default(),
        life_began_ms: browser.life_began_ms,
        proof: Bytes::new(),
        id_token: None,
    }
}

/// What control keeps for a terminal until that asks. Nobody but the edges reads it, and only for this terminal.
pub(crate) fn seal_grant(view: &View, session: &Session, device_sha256: &[u8]) -> Option<Bytes> {
    let wire = edge::TerminalToken {
        session: Some(session.write()),
    };
    let sealed = seal(view, GRANT, &hex(device_sha256), &wire)?;
    Some(sealed.into())
}

/// The session that was granted to this terminal, if it still goes on.
pub(crate) fn open_grant(
    view: &View,
    grant: &[u8],
    device_sha256: &[u8],
    now: SystemTime,
) -> Option<Session> {
    let grant = std::str::from_utf8(grant).ok()?;
    let wire = open::<edge::TerminalToken>(view, GRANT, &hex(device_sha256), grant)?;
    Session::read(wire.session.as_ref()?).filter(|session| session.goes_on(view, now))
}

/// What the terminal keeps.
pub(crate) fn seal_terminal(view: &View, host: &Hostname, session: &Session) -> Option<String> {
    let wire = edge::TerminalToken {
        session: Some(session.write()),
    };
    let sealed = seal(view, TERMINAL, host.as_str(), &wire)?;
    Some(format!("{TERMINAL_PREFIX}{sealed}"))
}

/// The session of a terminal that comes to the sign-in host.
pub(crate) fn open_terminal(
    view: &View,
    host: &Hostname,
    token: &str,
    now: SystemTime,
) -> Result<Session, TokenError> {
    let sealed = token.strip_prefix(TERMINAL_PREFIX);
    let wire = sealed
        .and_then(|sealed| open::<edge::TerminalToken>(view, TERMINAL, host.as_str(), sealed))
        .ok_or(TokenError::Unknown)?;
    let session = wire.session.as_ref().and_then(Session::read);
    going_on(view, session, now)
}

/// What the terminal shows the app at that host.
pub(crate) fn seal_app(
    view: &View,
    host: &Hostname,
    session: &Session,
    now: SystemTime,
) -> Option<String> {
    let wire = edge::AppToken {
        session: Some(session.write()),
        issued_ms: milliseconds(now),
    };
    let sealed = seal(view, APP, host.as_str(), &wire)?;
    Some(format!("{APP_PREFIX}{sealed}"))
}

/// The session that a token shows at the host of an app.
pub(crate) fn open_app(
    view: &View,
    host: &Hostname,
    token: &str,
    now: SystemTime,
) -> Result<Session, TokenError> {
    let sealed = token.strip_prefix(APP_PREFIX);
    let wire = sealed
        .and_then(|sealed| open::<edge::AppToken>(view, APP, host.as_str(), sealed))
        .ok_or(TokenError::Unknown)?;
    if !is_within(wire.issued_ms, APP_TOKEN_LIFE, now) {
        return Err(TokenError::Expired);
    }
    let session = wire.session.as_ref().and_then(Session::read);
    going_on(view, session, now)
}

fn going_on(view: &View, session: Option<Session>, now: SystemTime) -> Result<Session, TokenError> {
    let session = session.ok_or(TokenError::Unknown)?;
    if session.goes_on(view, now) {
        Ok(session)
    } else {
        Err(TokenError::Expired)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{user::SESSION_LIFE, user::User};
    use proto::fabric::{
        Resource, Revocation, SealingKey, SealingKeys, resource::Kind, revocation::Whose,
    };

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
    }

    fn host(name: &str) -> Hostname {
        name.parse().unwrap()
    }

    fn view(revoked: Option<&Session>) -> View {
        let keys = SealingKey {
            name: vec![1; 16].into(),
            key: vec![1; 32].into(),
        };
        let mut kinds = vec![(
            "sessionKeys".to_owned(),
            Kind::SessionKeys(SealingKeys { keys: vec![keys] }),
        )];
        if let Some(session) = revoked {
            let revocation = Revocation {
                whose: Some(Whose::Session(session.id.to_vec().into())),
                before_ms: 0,
            };
            kinds.push((
                "revocations/sessions/x".to_owned(),
                Kind::Revocation(revocation),
            ));
        }
        let resources: BTreeMap<_, _> = kinds
            .into_iter()
            .map(|(name, kind)| {
                let kind = Some(kind);
                (name.clone(), Resource { name, kind })
            })
            .collect();
        View::build(1, &resources)
    }

    fn browser() -> Session {
        Session::begin(User::new("alice".parse().unwrap()), milliseconds(now()))
    }

    #[test]
    fn a_terminal_gets_what_was_granted_to_it_and_no_other_does() {
        let (view, browser) = (view(None), browser());
        let session = session_of(&browser);
        assert_ne!(session.id, browser.id);
        let grant = seal_grant(&view, &session, &[1; 32]).unwrap();
        let opened = open_grant(&view, &grant, &[1; 32], now()).unwrap();
        assert_eq!(opened.id, session.id);
        assert_eq!(opened.parent, Some(browser.id));
        assert!(open_grant(&view, &grant, &[2; 32], now()).is_none());
        assert!(open_grant(&view, &grant[1..], &[1; 32], now()).is_none());
        let late = now() + SESSION_LIFE;
        assert!(open_grant(&view, &grant, &[1; 32], late).is_none());
    }

    #[test]
    fn each_token_is_good_where_it_was_made_for_and_as_what() {
        let (view, session) = (view(None), session_of(&browser()));
        let (auth, wiki, crm) = (
            host("auth.example"),
            host("wiki.example"),
            host("crm.example"),
        );
        let terminal = seal_terminal(&view, &auth, &session).unwrap();
        let app = seal_app(&view, &wiki, &session, now()).unwrap();
        assert!(open_terminal(&view, &auth, &terminal, now()).is_ok());
        assert!(open_app(&view, &wiki, &app, now()).is_ok());
        let swapped = terminal.replace(TERMINAL_PREFIX, APP_PREFIX);
        for (at, token) in [
            (&crm, &app),
            (&auth, &app),
            (&auth, &swapped),
            (&wiki, &terminal),
        ] {
            let opened = open_app(&view, at, token, now());
            assert_eq!(opened.err(), Some(TokenError::Unknown), "{at} {token}");
        }
        let swapped = app.replace(APP_PREFIX, TERMINAL_PREFIX);
        for (at, token) in [(&wiki, &terminal), (&wiki, &swapped), (&auth, &app)] {
            let opened = open_terminal(&view, at, token, now());
            assert_eq!(opened.err(), Some(TokenError::Unknown), "{at} {token}");
        }
    }

    #[test]
    fn tokens_of_apps_are_short_and_end_with_the_session() {
        let (view, session) = (view(None), session_of(&browser()));
        let wiki = host("wiki.example");
        let app = seal_app(&view, &wiki, &session, now()).unwrap();
        let at = |time| open_app(&view, &wiki, &app, time).err();
        assert_eq!(at(now() + APP_TOKEN_LIFE - MINUTE), None);
        assert_eq!(at(now() + APP_TOKEN_LIFE), Some(TokenError::Expired));
        let late = now() + SESSION_LIFE - MINUTE;
        let app = seal_app(&view, &wiki, &session, late).unwrap();
        assert!(open_app(&view, &wiki, &app, late).is_ok());
        let end = late + 2 * MINUTE;
        let opened = open_app(&view, &wiki, &app, end);
        assert_eq!(opened.err(), Some(TokenError::Expired));
    }

    #[test]
    fn signing_out_in_the_browser_or_the_terminal_ends_the_terminals_session() {
        let browser = browser();
        let (session, other) = (session_of(&browser), session_of(&browser));
        let auth = host("auth.example");
        let token = seal_terminal(&view(None), &auth, &session).unwrap();
        for (revoked, goes_on) in [(&browser, false), (&session, false), (&other, true)] {
            let opened = open_terminal(&view(Some(revoked)), &auth, &token, now());
            assert_eq!(opened.is_ok(), goes_on);
        }
        // And the browser's goes on when a terminal's ends.
        assert!(browser.goes_on(&view(Some(&session)), now()));
    }
}
