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

use http::HeaderMap;
use model::{
    access::ruleset::RuleSet,
    app::{Access, App},
    name::AppId,
};

use super::{
    Arrival,
    credential::Credential,
    session::{AtProvider, Session, digest_at_provider, milliseconds},
    token::{self, TokenError},
};
use crate::{
    digest::{self, Sha256},
    failure::RequestError,
    providers::{
        self, Claims, ClientError, Expected, IdentityError, IssuerError, LEEWAY_SECONDS, Published,
        Roll, Unsaid,
    },
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
type Key = Sha256;

/// A token that holds.
#[derive(Clone, Debug)]
struct Known {
    token: Arc<ProviderToken>,
    /// By whose word.
    published: Arc<Published>,
    until: SystemTime,
}

/// What a token of a provider says that decides whether it opens an app: asked with each request, and of what is under way whenever the app or the
/// rules change.
#[derive(Debug)]
pub(crate) struct ProviderToken {
    /// That it is as good as.
    pub(crate) session: Arc<Session>,
    /// Those of the app's that it was made for, when it was looked at.
    audiences: Vec<String>,
    /// What it is good for, with spaces between.
    scope: String,
    /// What rules may ask for and it does not say.
    unsaid: Unsaid,
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
    /// Several providers call themselves that, and it was made for the client of none of them, or of several.
    #[error("its issuer is that of several providers, and its client is not that of one")]
    Several,
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
            && view
                .providers()
                .get(id)
                .is_some_and(|one| Arc::ptr_eq(one, &self.published) || *one == self.published)
    }
}

impl ProviderToken {
    /// Whether it may be used for the app, as that is published now, and under these rules. An app that is open to all asks for none.
    pub(super) fn opens(&self, app: &App, rules: &RuleSet) -> bool {
        let mut wanted = app.token_audiences.iter();
        match app.access {
            Access::Passthrough => true,
            Access::SignIn(_) => {
                wanted.any(|wanted| self.audiences.contains(wanted))
                    && self.has_scopes(app)
                    && !self.lacks_for(rules, &app.id)
            }
        }
    }

    fn has_scopes(&self, app: &App) -> bool {
        has_scopes(&self.scope, &app.token_scopes)
    }

    /// Whether a rule tells users apart by something that the token does not say: who is in no group by such a token may be kept out by a group
    /// that they are in.
    fn lacks_for(&self, rules: &RuleSet, app: &AppId) -> bool {
        let mut claims = self.unsaid.claims.iter();
        (self.unsaid.groups && rules.names_groups(app))
            || claims.any(|claim| rules.names_claim(app, claim))
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
    let token = known.token;
    if !token.session.goes_on(arrival.view, now) {
        return Err(arrival.refused(TokenError::Expired));
    }
    if token.lacks_for(arrival.view.rules(), &app.id) {
        let user = &token.session.user.id;
        tracing::debug!(app = %app.id, %user, unsaid = ?token.unsaid, "a provider's token does not say what access rules ask for");
        return Err(arrival.refused(TokenError::Refused));
    }
    if !token.has_scopes(app) {
        return Err(RequestError::Scope(app.token_scopes.join(" ")));
    }
    Ok(Some(Credential::ByProvider(token)))
}

/// Everything that decides whether the token holds, beside what is asked each time.
fn key(app: &App, token: &str) -> Key {
    let mut all = digest::Texts::new();
    all.add(app.id.as_str());
    for words in [&app.token_audiences, &app.token_scopes] {
        all.add_all(words.iter().map(String::as_str));
    }
    all.add(token);
    all.finish()
}

/// Holds a token against the provider's keys, of which it may have to be asked.
async fn look(
    edge: &Shared,
    arrival: &Arrival<'_>,
    app: &App,
    token: &str,
) -> Result<Known, RequestError> {
    let held = match by_whose_word(arrival.view.providers(), app, token) {
        Ok(published) => hold(edge, published, app, token, arrival.clock.wall()).await,
        Err(refusal) => Err(refusal),
    };
    let refusal = match held {
        Ok(known) => return Ok(known),
        Err(refusal) => refusal,
    };
    let error = &refusal as &dyn std::error::Error;
    tracing::debug!(app = %app.id, client = %arrival.address, error, "a provider's token is not taken");
    Err(match refusal {
        Refusal::Client(
            ClientError::Published(_)
            | ClientError::Issuer(
                IssuerError::Pause | IssuerError::Description(_) | IssuerError::Keys(_),
            ),
        ) => RequestError::ProviderUnavailable,
        Refusal::Issuer | Refusal::Several | Refusal::Client(_) | Refusal::Identity(_) => {
            arrival.refused(TokenError::Refused)
        }
    })
}

/// The provider by whose word a token is to be taken. Where several are of one issuer, and so have the same keys, it is the one for whose client
/// the token was made: who its user is, and under what name, must not hang on chance.
fn by_whose_word<'r>(
    roll: &'r Roll,
    app: &App,
    token: &str,
) -> Result<&'r Arc<Published>, Refusal> {
    let issuer = providers::unproven_issuer(token).unwrap_or_default();
    let of_issuer = roll.of_issuer(&issuer);
    let taken: Vec<_> = of_issuer
        .filter(|one| app.takes_word_of(Some(&one.settings.id)))
        .collect();
    match &taken[..] {
        [] => Err(Refusal::Issuer),
        [only] => Ok(only),
        several => {
            let client = providers::unproven_client(token).unwrap_or_default();
            let mut of_client = several
                .iter()
                .filter(|one| one.settings.client_id == client);
            match (of_client.next(), of_client.next()) {
                (Some(only), None) => Ok(only),
                (Some(_), Some(_)) | (None, _) => Err(Refusal::Several),
            }
        }
    }
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
    let audiences = app.token_audiences.iter();
    let audiences = audiences.filter(|wanted| claims.is_for(wanted));
    let audiences = audiences.cloned().collect();
    let scope = claims.text("scope").unwrap_or_default().to_owned();
    let until = known_until(&claims, now);
    let proven = providers::prove_access(settings, claims, now)?;
    let user = proven.user(settings)?;
    let began_ms = began_ms(proven.issued_at, now);
    let session = proven.session.as_deref();
    let at_provider = AtProvider {
        session: session.map(|name| digest_at_provider("sid", name)),
        user: digest_at_provider("sub", &proven.subject),
    };
    Ok(Known {
        token: Arc::new(ProviderToken {
            session: Arc::new(Session::begin_by(user, began_ms, at_provider)),
            audiences,
            scope,
            unsaid: proven.unsaid(settings),
        }),
        published: Arc::clone(published),
        until,
    })
}

/// When the session of a token began that was made then. The provider's clock may be ahead, and what ends the session between now and then by its
/// clock is to hold also when the token is looked at again, here or at another edge: so it began earlier by as much as that may be.
fn began_ms(issued_at: i64, now: SystemTime) -> i64 {
    let issued_at = issued_at.saturating_sub(LEEWAY_SECONDS);
    milliseconds(now).min(issued_at.saturating_mul(1_000))
}

/// A list with spaces between (RFC 9068, section 2.2.3; RFC 8693, section 4.2).
fn has_scopes(given: &str, wanted: &[String]) -> bool {
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
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use model::{
        app::{Access, Assignment},
        identity_provider::SigningAlgorithm,
        user::User,
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::providers::tests::published;

    impl ProviderToken {
        /// One that says nothing but whose it is.
        pub(in crate::sign_in) fn of(session: Arc<Session>) -> Arc<Self> {
            Arc::new(Self {
                session,
                audiences: Vec::new(),
                scope: String::new(),
                unsaid: Unsaid::default(),
            })
        }
    }

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
    fn of_several_providers_of_one_issuer_it_is_the_one_for_whose_client_a_token_is() {
        let token = |claims: Value| {
            let part = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
            let head = part(&json!({"alg": "ES256", "typ": "at+jwt"}));
            format!("{head}.{}.c2ln", part(&claims))
        };
        let of = |client: Value| {
            let mut claims = json!({"iss": "https://a.example"});
            for (name, value) in client.as_object().unwrap() {
                claims[name] = value.clone();
            }
            token(claims)
        };
        let mut roll = Roll::default();
        roll.add(&published("a", |one| one.client_id = "one".to_owned()));
        let found = |roll: &Roll, app: &App, token: &str| {
            let found = by_whose_word(roll, app, token);
            found.map(|one| one.settings.id.to_string())
        };
        let any = app(&["api"], &[]);
        let native = of(json!({"client_id": "native"}));
        assert_eq!(found(&roll, &any, &native).unwrap(), "a", "one is one");
        for (id, client) in [("b", "two"), ("c", "three"), ("d", "three")] {
            roll.add(&published(id, |one| {
                one.issuer = "https://a.example".to_owned();
                one.client_id = client.to_owned();
            }));
        }
        for (client, want) in [
            (json!({"client_id": "one"}), Some("a")),
            (json!({"client_id": "two"}), Some("b")),
            (json!({"azp": "two"}), Some("b")),
            (json!({"client_id": "one", "azp": "two"}), Some("a")),
            (json!({"client_id": "native"}), None),
            (json!({"client_id": "three"}), None),
            (json!({}), None),
        ] {
            let found = found(&roll, &any, &of(client.clone()));
            assert_eq!(found.ok().as_deref(), want, "{client}");
        }
        let mut named = app(&["api"], &[]);
        named.identity_providers = vec!["c".parse().unwrap()];
        assert_eq!(found(&roll, &named, &native).unwrap(), "c");
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
            let claims = claims(given.clone());
            let scope = claims.text("scope").unwrap_or_default();
            assert_eq!(has_scopes(scope, &wanted(asked)), want, "{given}");
        }
    }

    #[test]
    fn a_token_that_was_made_ahead_of_time_does_not_outlive_a_revocation() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        // The provider's clock is 20 s ahead; the user's sessions end 10 s after the token was made.
        let (issued_at, ended_ms) = (1_020, 1_010_000);
        for looked_at in [1_000, 1_015, 1_300] {
            assert!(began_ms(issued_at, at(looked_at)) < ended_ms, "{looked_at}");
        }
        assert_eq!(began_ms(1_020, at(900)), 900_000);
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
            token: ProviderToken::of(Arc::new(Session::begin(
                User::new("alice".parse().unwrap()),
                0,
            ))),
            published: published("entra", |_| {}),
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
