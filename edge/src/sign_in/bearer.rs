//! Access tokens of identity providers (RFC 9068): programs and native apps have got them there, and show them in place of a cookie.
//!
//! A token opens an app that names its audience, as if its user had signed in by that provider when it was made: the same names, groups and
//! claims, the same rules, the same revocations. It is a session without a cookie. The signature is looked at once in a while, and
//! everything that may change meanwhile each time.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest::{Context, SHA256};
use http::HeaderMap;
use model::app::App;

use super::{
    Arrival,
    credential::Credential,
    session::{AtProvider, Session, digest_at_provider, milliseconds},
    token::{self, TokenError},
};
use crate::{
    failure::RequestError,
    providers::{self, Claims, ClientError, Expected, IdentityError, IssuerError, Published},
    serving::Shared,
    view::View,
};

/// Tokens that are known to hold, in each of two generations: the older one goes when the younger is full.
const GENERATION_MAX: usize = 2_048;
/// How long a token is known to hold before its signature is looked at again: the provider may have given up the key.
const KNOWN_MAX: Duration = Duration::from_secs(300);
/// The kind of an access token (RFC 9068, section 2.1). An ID token, which says that a user is there and gives nobody leave, has another.
const KIND: &str = "at+jwt";

/// What a token is known by, of one app as that is published.
type Key = [u8; 32];

/// A token that holds.
#[derive(Clone, Debug)]
struct Known {
    session: Arc<Session>,
    /// By whose word.
    published: Arc<Published>,
    /// It has every scope that the app asks for.
    has_scopes: bool,
    until: SystemTime,
}

/// Tokens that were looked at a moment ago and hold.
#[derive(Debug, Default)]
pub(crate) struct Bearers(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Key, Known>,
    old: HashMap<Key, Known>,
}

/// Why a token of a provider is not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// No provider whose word the app takes calls itself that.
    #[error("the app takes no token of its issuer")]
    Issuer,
    /// It does not hold, or cannot be looked at.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It names no user that the provider may speak for, or not as the operator asks.
    #[error("looking at what the token says")]
    Identity(#[from] IdentityError),
}

impl Bearers {
    fn find(&self, key: &Key) -> Option<Known> {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = generations.young.get(key) {
            return Some(known.clone());
        }
        let known = generations.old.remove(key)?;
        generations.keep(*key, known.clone());
        Some(known)
    }

    fn keep(&self, key: Key, known: Known) {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        generations.keep(key, known);
    }
}

impl Generations {
    fn keep(&mut self, key: Key, known: Known) {
        if self.young.len() == GENERATION_MAX && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, known);
    }
}

impl Known {
    /// Whether what it was held against is as it was.
    fn is_current(&self, view: &View, app: &App, now: SystemTime) -> bool {
        let id = &self.published.settings.id;
        now < self.until
            && app.takes_word_of(Some(id))
            && view.providers().get(id) == Some(&self.published)
    }
}

/// Whoever shows a token of a provider to an app that takes such; `None`: none is shown. One that does not hold is refused, whatever cookies
/// come with it.
pub(crate) async fn credential(
    edge: &Shared,
    arrival: &Arrival<'_>,
    app: &App,
    fields: &HeaderMap,
) -> Result<Option<Credential>, RequestError> {
    let shown = token::of_provider(app, fields).map_err(|error| arrival.refused(error))?;
    let Some(token) = shown else {
        return Ok(None);
    };
    let now = arrival.clock.wall();
    let key = key(app, token);
    let known = edge.bearers.find(&key);
    let known = match known.filter(|known| known.is_current(arrival.view, app, now)) {
        Some(known) => known,
        None => {
            // Boxed: seldom needed, and every request would carry its size.
            let known = Box::pin(look(edge, arrival, app, token)).await?;
            edge.bearers.keep(key, known.clone());
            known
        }
    };
    if !known.session.goes_on(arrival.view, now) {
        return Err(arrival.refused(TokenError::Expired));
    }
    if !known.has_scopes {
        return Err(RequestError::Scope(app.token_scopes.join(" ")));
    }
    Ok(Some(Credential::Bearer(known.session)))
}

/// Everything that decides whether the token holds, beside what is asked each time.
fn key(app: &App, token: &str) -> Key {
    let mut context = Context::new(&SHA256);
    let mut add = |text: &str| {
        // With its length, so that no two lists are written alike.
        context.update(&text.len().to_be_bytes());
        context.update(text.as_bytes());
    };
    add(app.id.as_str());
    for words in [&app.token_audiences, &app.token_scopes] {
        add(&words.len().to_string());
        words.iter().for_each(|word| add(word));
    }
    add(token);
    let mut key = Key::default();
    key.copy_from_slice(context.finish().as_ref());
    key
}

/// Holds a token against the provider's keys, of which it may have to be asked.
async fn look(
    edge: &Shared,
    arrival: &Arrival<'_>,
    app: &App,
    token: &str,
) -> Result<Known, RequestError> {
    let issuer = providers::unproven_issuer(token).unwrap_or_default();
    let published = arrival.view.providers().of_issuer(&issuer);
    let mut refusal = Refusal::Issuer;
    for published in published.filter(|one| app.takes_word_of(Some(&one.settings.id))) {
        match hold(edge, published, app, token, arrival.clock.wall()).await {
            Ok(known) => return Ok(known),
            Err(error) => refusal = error,
        }
    }
    let error = &refusal as &dyn std::error::Error;
    tracing::debug!(app = %app.id, client = %arrival.address, error, "a provider's token is not taken");
    Err(match refusal {
        Refusal::Client(
            ClientError::Published(_)
            | ClientError::Issuer(
                IssuerError::Pause | IssuerError::Description(_) | IssuerError::Keys(_),
            ),
        ) => RequestError::ProviderUnavailable,
        Refusal::Issuer | Refusal::Client(_) | Refusal::Identity(_) => {
            arrival.refused(TokenError::Refused)
        }
    })
}

async fn hold(
    edge: &Shared,
    published: &Arc<Published>,
    app: &App,
    token: &str,
    now: SystemTime,
) -> Result<Known, Refusal> {
    let settings = &published.settings;
    let client = edge.clients.of(published)?;
    let audiences: Vec<_> = app.token_audiences.iter().map(String::as_str).collect();
    let expected = Expected {
        audiences: &audiences,
        types: &[KIND],
        may_be_untyped: false,
    };
    let claims = client.issuer().verify(token, &expected).await;
    let claims = claims.map_err(ClientError::Issuer)?;
    let has_scopes = has_scopes(&claims, &app.token_scopes);
    let until = known_until(&claims, now);
    let proven = providers::prove_access(settings, claims, now)?;
    let user = proven.user(settings)?;
    // Of the two clocks the one that is behind: what either ends later is over.
    let began_ms = milliseconds(now).min(proven.issued_at.saturating_mul(1_000));
    let session = proven.session.as_deref();
    let at_provider = AtProvider {
        session: session.map(|name| digest_at_provider("sid", name)),
        user: digest_at_provider("sub", &proven.subject),
    };
    Ok(Known {
        session: Arc::new(Session::begin_by(user, began_ms, at_provider)),
        published: Arc::clone(published),
        has_scopes,
        until,
    })
}

/// A list with spaces between (RFC 9068, section 2.2.3; RFC 8693, section 4.2).
fn has_scopes(claims: &Claims, wanted: &[String]) -> bool {
    let given = claims.text("scope").unwrap_or_default();
    let is_given = |wanted: &String| given.split(' ').any(|given| given == wanted);
    wanted.iter().all(is_given)
}

/// Not longer than the token is good for.
fn known_until(claims: &Claims, now: SystemTime) -> SystemTime {
    let ends = claims.time("exp").and_then(|ends| u64::try_from(ends).ok());
    let ends = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(ends.unwrap_or(0)));
    let latest = now + KNOWN_MAX;
    ends.map_or(now, |ends| ends.min(latest))
}

#[cfg(test)]
mod tests {
    use model::{
        app::{Access, Assignment},
        identity_provider::SigningAlgorithm,
        user::User,
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::providers::tests::published;

    fn app(audiences: &[&str], scopes: &[&str]) -> App {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        App {
            token_audiences: texts(audiences),
            token_scopes: texts(scopes),
            ..App::new(
                "wiki".parse().unwrap(),
                "office".parse().unwrap(),
                Access::SignIn(Assignment::default()),
            )
        }
    }

    fn claims(all: Value) -> Claims {
        let Value::Object(all) = all else {
            panic!("claims are an object");
        };
        Claims {
            all,
            algorithm: SigningAlgorithm::Es256,
        }
    }

    #[test]
    fn whatever_decides_is_in_the_key() {
        let other_app = App {
            id: "crm".parse().unwrap(),
            ..app(&["a"], &["s"])
        };
        let keys = [
            key(&app(&["a"], &["s"]), "token"),
            key(&app(&["a"], &["s"]), "token2"),
            key(&app(&["a", "s"], &[]), "token"),
            key(&app(&["a"], &[]), "token"),
            key(&app(&["as"], &[]), "token"),
            key(&app(&["s"], &["a"]), "token"),
            key(&app(&["a"], &["s", "t"]), "token"),
            key(&other_app, "token"),
        ];
        let different: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert_eq!(keys[0], key(&app(&["a"], &["s"]), "token"));
    }

    #[test]
    fn every_scope_is_asked_for_whole() {
        let wanted = |texts: &[&str]| {
            texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
        };
        for (given, asked, want) in [
            (json!({}), &[][..], true),
            (json!({}), &["read"], false),
            (json!({"scope": "read"}), &["read"], true),
            (json!({"scope": "write read"}), &["read", "write"], true),
            (json!({"scope": "read"}), &["read", "write"], false),
            (json!({"scope": "readwrite"}), &["read"], false),
            (json!({"scope": "READ"}), &["read"], false),
            (json!({"scope": "a,read"}), &["read"], false),
            // Not as the standard writes it.
            (json!({"scope": ["read"]}), &["read"], false),
            (json!({"scp": "read"}), &["read"], false),
        ] {
            assert_eq!(
                has_scopes(&claims(given.clone()), &wanted(asked)),
                want,
                "{given}"
            );
        }
    }

    #[test]
    fn a_token_is_not_known_for_longer_than_it_is_good() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let after = |exp: Value| {
            let until = known_until(&claims(json!({ "exp": exp })), now);
            until.duration_since(now).unwrap_or_default().as_secs()
        };
        assert_eq!(after(json!(1_060)), 60);
        assert_eq!(after(json!(9_000)), 300);
        assert_eq!(after(json!(i64::MAX)), 300);
        assert_eq!(after(json!(990)), 0);
    }

    #[test]
    fn what_is_known_is_bounded_and_what_is_used_stays() {
        let known = Known {
            session: Arc::new(Session::begin(User::new("alice".parse().unwrap()), 0)),
            published: published("entra", |_| {}),
            has_scopes: true,
            until: SystemTime::UNIX_EPOCH,
        };
        let bearers = Bearers::default();
        let key = |number: usize| {
            let mut key = Key::default();
            key[..8].copy_from_slice(&number.to_be_bytes());
            key
        };
        for number in 0..5 * GENERATION_MAX {
            bearers.keep(key(number), known.clone());
            assert!(bearers.find(&key(0)).is_some(), "{number}");
        }
        let generations = bearers.0.lock().unwrap();
        assert!(generations.young.len() <= GENERATION_MAX);
        assert!(generations.old.len() <= GENERATION_MAX);
        assert!(!generations.young.contains_key(&key(1)) && !generations.old.contains_key(&key(1)));
    }
}
