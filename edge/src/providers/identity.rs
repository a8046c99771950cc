//! What a provider's token and answers make of a user (OpenID Connect Core, sections 2, 3.1.3.7 and 5.1).

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512, digest};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use model::{
    app::DISPLAY_NAME_CHARS_MAX,
    identity_provider::{IdentityProvider, SigningAlgorithm, UserNameError},
    user::{
        Authentication, CLAIMS_BYTES_MAX, Claim, EMAIL_BYTES_MAX, USER_GROUPS_MAX, User, UserGroup,
    },
};
use serde_json::{Map, Value};

use super::{client::Attempt, token::Claims};

/// Longest name of a provider's for a user (OpenID Connect Core, section 2).
const SUBJECT_BYTES_MAX: usize = 255;
/// Methods of authentication that are kept, and the bytes of one.
const METHODS_MAX: (usize, usize) = (8, 32);
/// Longest class of authentication that is kept.
const CLASS_BYTES_MAX: usize = 256;
/// How much later than it said a user may have signed in at the provider.
const MAX_AGE_LEEWAY_SECONDS: i64 = 30;

/// Why a token says nothing of a user that we could use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// It is of another attempt.
    #[error("its nonce is another")]
    Nonce,
    /// It was given to somebody else.
    #[error("it was given to another client")]
    Party,
    /// It came with another access token.
    #[error("its access token is another")]
    AccessToken,
    /// It lacks what every such token has.
    #[error("it lacks {0}")]
    Lacks(&'static str),
    /// The user signed in there in another way than was asked for.
    #[error("the class of the sign-in is {0:?}, which was not asked for")]
    Class(String),
    /// The user signed in there too long ago, or it does not say when.
    #[error("the user signed in there too long ago")]
    Old,
    /// Nothing says who the user is.
    #[error("no claim says who the user is: {0}")]
    Nameless(&'static str),
    /// The provider does not speak for that user.
    #[error("taking the provider's name for the user")]
    Name(#[from] UserNameError),
    /// Not all of the groups that the user is in, or of the claims that rules may ask for, can be kept: a rule that lets nobody through who
    /// has one of those left out would not hold.
    #[error(
        "the user is in more groups, or has longer claims, than the provider says or a session holds"
    )]
    Overage,
}

/// What is known after a token was looked at.
#[derive(Debug)]
pub(crate) struct Proven {
    /// The provider's own name for the user, which it gives to no other.
    pub subject: String,
    /// The provider's name for the user's session there.
    pub session: Option<String>,
    /// When the token was made, in seconds since 1970.
    pub issued_at: i64,
    claims: Map<String, Value>,
}

/// Looks at an ID token whose signature, issuer, audience and time are right.
///
/// # Errors
/// It is not of this attempt, or the sign-in there is not as was asked for.
pub(crate) fn prove(
    provider: &IdentityProvider,
    claims: Claims,
    attempt: &Attempt<'_>,
    access_token: Option<&str>,
    now: SystemTime,
) -> Result<Proven, IdentityError> {
    if claims.text("nonce") != Some(attempt.nonce) {
        return Err(IdentityError::Nonce);
    }
    check_party(provider, &claims)?;
    if let Some(said) = claims.all.get("at_hash")
        && let Some(token) = access_token
        && said.as_str() != Some(&half_digest(claims.algorithm, token))
    {
        return Err(IdentityError::AccessToken);
    }
    prove_within(provider, claims, attempt.max_age_at(provider), now)
}

/// Looks at an access token whose signature, kind, issuer, audience and time are right (RFC 9068, section 2.2).
///
/// # Errors
/// The sign-in there is not as is asked for, or the token lacks what every one has.
pub(crate) fn prove_access(
    provider: &IdentityProvider,
    claims: Claims,
    now: SystemTime,
) -> Result<Proven, IdentityError> {
    prove_within(provider, claims, provider.asks.max_age, now)
}

fn prove_within(
    provider: &IdentityProvider,
    claims: Claims,
    max_age: Option<Duration>,
    now: SystemTime,
) -> Result<Proven, IdentityError> {
    let subject = claims.text("sub").ok_or(IdentityError::Lacks("sub"))?;
    if subject.len() > SUBJECT_BYTES_MAX {
        return Err(IdentityError::Lacks("a short sub"));
    }
    let issued_at = claims.time("iat").ok_or(IdentityError::Lacks("iat"))?;
    let class = claims.text("acr").unwrap_or_default();
    let wanted = &provider.asks.classes;
    if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == class) {
        return Err(IdentityError::Class(class.chars().take(80).collect()));
    }
    if let Some(most) = max_age {
        check_age(&claims, most, now)?;
    }
    Ok(Proven {
        subject: subject.to_owned(),
        session: claims
            .text("sid")
            .filter(|sid| sid.len() <= SUBJECT_BYTES_MAX)
            .map(str::to_owned),
        issued_at,
        // What is null is not said.
        claims: claims
            .all
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect(),
    })
}

fn check_party(provider: &IdentityProvider, claims: &Claims) -> Result<(), IdentityError> {
    let several = claims.all.get("aud").and_then(Value::as_array);
    let several = several.is_some_and(|audience| audience.len() > 1);
    match claims.all.get("azp") {
        Some(party) if party.as_str() == Some(&provider.client_id) => Ok(()),
        Some(_) => Err(IdentityError::Party),
        None if several => Err(IdentityError::Lacks("azp, for several audiences")),
        None => Ok(()),
    }
}

fn check_age(claims: &Claims, most: Duration, now: SystemTime) -> Result<(), IdentityError> {
    let at = claims.time("auth_time").ok_or(IdentityError::Old)?;
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let now = since.map_or(0, |since| since.as_secs());
    let most = i64::try_from(most.as_secs()).unwrap_or(i64::MAX);
    let latest = at
        .saturating_add(most)
        .saturating_add(MAX_AGE_LEEWAY_SECONDS);
    if latest < i64::try_from(now).unwrap_or(i64::MAX) {
        return Err(IdentityError::Old);
    }
    Ok(())
}

/// The left half of a token's digest (OpenID Connect Core, section 3.1.3.6).
fn half_digest(algorithm: SigningAlgorithm, token: &str) -> String {
    use SigningAlgorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    let with: &digest::Algorithm = match algorithm {
        Rs256 | Ps256 | Es256 => &SHA256,
        Rs384 | Ps384 | Es384 => &SHA384,
        Rs512 | Ps512 | EdDsa => &SHA512,
    };
    let whole = digest(with, token.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(&whole.as_ref()[..whole.as_ref().len() / 2])
}

impl Proven {
    /// Whether the provider has to be asked more: something that its publication names is not in the token.
    pub(crate) fn lacks(&self, provider: &IdentityProvider) -> bool {
        let names = &provider.claims;
        let user = match &*names.user {
            "" => "preferred_username",
            name => name,
        };
        let wanted = [user, &names.display_name, &names.email, &names.groups];
        let kept = names.kept.iter().map(String::as_str);
        let mut wanted = wanted.into_iter().chain(kept);
        wanted.any(|name| !self.claims.contains_key(name))
    }

    /// Adds what the provider says beside its token; what the token says counts more.
    pub(crate) fn add(&mut self, more: Map<String, Value>) {
        for (name, value) in more {
            self.claims.entry(name).or_insert(value);
        }
    }

    /// The user.
    ///
    /// # Errors
    /// The provider does not say who it is, or may not say that, or leaves groups out.
    pub(crate) fn user(&self, provider: &IdentityProvider) -> Result<User, IdentityError> {
        let names = &provider.claims;
        let left_out = self.claims.get("_claim_names");
        if left_out.is_some_and(|left_out| left_out.get(&names.groups).is_some()) {
            // Going on with none could let somebody in whom a rule for a group keeps out.
            return Err(IdentityError::Overage);
        }
        let id = provider.user_id(self.name(provider)?)?;
        let email = self.text(&names.email);
        Ok(User {
            display_name: self
                .text(&names.display_name)
                .chars()
                .filter(|char| !char.is_control())
                .take(DISPLAY_NAME_CHARS_MAX)
                .collect(),
            email: if email.len() <= EMAIL_BYTES_MAX && !email.contains(char::is_control) {
                email.to_owned()
            } else {
                String::new()
            },
            groups: self.groups(provider)?,
            claims: self.kept(provider)?,
            authentication: self.authentication(provider),
            ..User::new(id)
        })
    }

    fn text(&self, name: &str) -> &str {
        let value = self.claims.get(name).and_then(Value::as_str);
        value.unwrap_or_default()
    }

    /// By the claim that the operator says; an e-mail only unless the provider says that it is not the user's.
    fn name(&self, provider: &IdentityProvider) -> Result<&str, IdentityError> {
        let verified = self.claims.get("email_verified");
        let is = |wanted: bool| {
            // Some providers write it as a text.
            verified.is_some_and(|value| match value {
                Value::Bool(said) => *said == wanted,
                Value::String(said) => said == if wanted { "true" } else { "false" },
                _ => false,
            })
        };
        let name = match &*provider.claims.user {
            "" => match self.text("preferred_username") {
                "" if is(true) => self.text("email"),
                "" => "",
                name => name,
            },
            "email" if is(false) => {
                return Err(IdentityError::Nameless("the e-mail is not verified"));
            }
            claim => self.text(claim),
        };
        if name.is_empty() {
            return Err(IdentityError::Nameless("it is missing, or no text"));
        }
        Ok(name)
    }

    fn groups(&self, provider: &IdentityProvider) -> Result<Vec<UserGroup>, IdentityError> {
        let said = texts(self.claims.get(&provider.claims.groups));
        let count = said.len();
        let mut groups: Vec<_> = said
            .iter()
            .filter_map(|name| provider.user_group(name).ok())
            .collect();
        groups.sort_unstable();
        groups.dedup();
        if groups.len() > USER_GROUPS_MAX {
            return Err(IdentityError::Overage);
        }
        if groups.len() < count {
            // No rule can name those.
            tracing::warn!(provider = %provider.id, count, kept = groups.len(), "some of a user's groups are left out: they cannot be read, or are there twice");
        }
        Ok(groups)
    }

    fn kept(&self, provider: &IdentityProvider) -> Result<Vec<Claim>, IdentityError> {
        let mut rest = CLAIMS_BYTES_MAX;
        let mut kept = Vec::new();
        for name in &provider.claims.kept {
            let values = texts(self.claims.get(name));
            let bytes = name.len() + values.iter().map(String::len).sum::<usize>();
            if values.is_empty() {
                continue;
            }
            if bytes > rest {
                tracing::warn!(provider = %provider.id, claim = name, bytes, "a claim is too long: all together have at most {CLAIMS_BYTES_MAX} bytes");
                return Err(IdentityError::Overage);
            }
            rest -= bytes;
            let name = name.clone();
            kept.push(Claim { name, values });
        }
        Ok(kept)
    }

    fn authentication(&self, provider: &IdentityProvider) -> Authentication {
        let (count, bytes) = METHODS_MAX;
        let methods = texts(self.claims.get("amr")).into_iter();
        let class = self.text("acr");
        let at = self.claims.get("auth_time").and_then(Value::as_i64);
        Authentication {
            provider: Some(provider.id.clone()),
            methods: methods
                .filter(|method| method.len() <= bytes)
                .take(count)
                .collect(),
            class: if class.len() <= CLASS_BYTES_MAX {
                class.to_owned()
            } else {
                String::new()
            },
            // A token that was just made says nothing of how long ago the user did something for it.
            at_ms: at.unwrap_or_default().saturating_mul(1_000),
        }
    }
}

/// The texts of a claim; numbers and truth values as JSON writes them, and nothing of what is within.
fn texts(value: Option<&Value>) -> Vec<String> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match value {
        None => Vec::new(),
        Some(Value::Array(several)) => several.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::issuer::tests::provider;

    const ISSUER: &str = "https://login.example.com";

    fn claims(change: impl FnOnce(&mut Value)) -> Claims {
        let mut all = json!({
            "aud": "adit",
            "sub": "1",
            "iat": 1_000,
            "nonce": "n",
            "preferred_username": "alice",
        });
        change(&mut all);
        let Value::Object(all) = all else {
            panic!("claims are an object");
        };
        Claims {
            all,
            algorithm: SigningAlgorithm::Es256,
        }
    }

    fn attempt(max_age: Option<Duration>) -> Attempt<'static> {
        Attempt {
            redirect_uri: "",
            state: "",
            nonce: "n",
            code_verifier: "",
            max_age,
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn fault<T>(result: Result<T, IdentityError>) -> String {
        result
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn a_token_is_of_this_attempt_and_for_us() {
        type Change = fn(&mut Value);
        // RFC 6749's example of an access token, and its digest.
        let token = "2YotnFZFEjr1zCsicMWpAA";
        let rows: [(&str, Change, &str); 10] = [
            ("good", |_| {}, ""),
            ("foreign nonce", |c| c["nonce"] = "m".into(), "nonce"),
            ("no nonce", |c| c["nonce"] = Value::Null, "nonce"),
            ("given to us", |c| c["azp"] = "adit".into(), ""),
            (
                "given to another",
                |c| c["azp"] = "other".into(),
                "another client",
            ),
            ("several", |c| c["aud"] = json!(["adit", "b"]), "lacks azp"),
            (
                "wrong at_hash",
                |c| c["at_hash"] = "AAAA".into(),
                "access token",
            ),
            ("no subject", |c| c["sub"] = "".into(), "lacks sub"),
            (
                "long subject",
                |c| c["sub"] = "x".repeat(256).into(),
                "short sub",
            ),
            ("no time", |c| c["iat"] = "x".into(), "lacks iat"),
        ];
        let provider = provider(ISSUER);
        for (name, change, want) in rows {
            let proven = prove(
                &provider,
                claims(change),
                &attempt(None),
                Some(token),
                at(1_000),
            );
            let fault = fault(proven);
            assert_eq!(fault.is_empty(), want.is_empty(), "{name}: {fault}");
            assert!(fault.contains(want), "{name}: {fault}");
        }
        let right = half_digest(SigningAlgorithm::Es256, token);
        let with = claims(|claims| claims["at_hash"] = right.into());
        assert!(prove(&provider, with, &attempt(None), Some(token), at(1_000)).is_ok());
    }

    #[test]
    fn a_sign_in_there_is_as_was_asked_for() {
        let mut provider = provider(ISSUER);
        provider.asks.classes = vec!["mfa".to_owned()];
        provider.asks.max_age = Some(Duration::from_secs(600));
        let check = |class: &str, at_time: Value, now| {
            let said = claims(|claims| {
                claims["acr"] = class.into();
                claims["auth_time"] = at_time;
            });
            fault(prove(&provider, said, &attempt(None), None, at(now)))
        };
        assert_eq!(check("mfa", json!(1_000), 1_600), "");
        assert_eq!(
            check("mfa", json!(1_000), 1_631),
            "the user signed in there too long ago"
        );
        assert_eq!(
            check("mfa", Value::Null, 1_000),
            "the user signed in there too long ago"
        );
        assert!(check("pwd", json!(1_000), 1_000).contains("pwd"));
        assert!(check("", json!(1_000), 1_000).contains("class"));
    }

    #[test]
    fn what_a_user_comes_for_may_ask_for_a_newer_sign_in_than_the_provider_has_to() {
        let within = |seconds| Some(Duration::from_secs(seconds));
        let old = "the user signed in there too long ago";
        for (own, wanted, at_time, want) in [
            (None, None, Value::Null, ""),
            (None, within(300), json!(1_000), ""),
            (None, within(299), json!(969), old),
            (None, within(300), Value::Null, old),
            (within(900), within(300), json!(600), old),
            (within(300), within(900), json!(600), old),
        ] {
            let mut provider = provider(ISSUER);
            provider.asks.max_age = own;
            let said = claims(|claims| claims["auth_time"] = at_time.clone());
            let found = prove(&provider, said, &attempt(wanted), None, at(1_300));
            assert_eq!(fault(found), want, "{own:?} {wanted:?} {at_time}");
        }
    }

    #[test]
    fn a_provider_that_does_not_say_when_the_user_signed_in_has_not_said_that_it_was_now() {
        let user = user(|_| {}, |_| {}).unwrap();
        assert_eq!(user.authentication.at_ms, 0);
    }

    #[expect(clippy::unwrap_in_result, reason = "of a test")]
    fn user(
        change: impl FnOnce(&mut IdentityProvider),
        said: impl FnOnce(&mut Value),
    ) -> Result<User, IdentityError> {
        let mut provider = provider(ISSUER);
        provider.user_domains = vec!["example.com".parse().unwrap()];
        change(&mut provider);
        let proven = prove(&provider, claims(said), &attempt(None), None, at(1_000));
        proven.unwrap().user(&provider)
    }

    #[test]
    fn a_user_is_named_by_the_claim_that_the_operator_says() {
        let check = |claim: &str, said: Value| {
            let user = user(
                |provider| provider.claims.user = claim.to_owned(),
                |claims| {
                    claims["preferred_username"] = Value::Null;
                    for (name, value) in said.as_object().unwrap() {
                        claims[name] = value.clone();
                    }
                },
            );
            user.map(|user| user.id.to_string())
                .map_err(|error| error.to_string())
        };
        let good = |id: &str| Ok(id.to_owned());
        assert_eq!(
            check("", json!({"preferred_username": "Alice"})),
            good("alice@entra")
        );
        let verified = json!({"email": "alice@example.com", "email_verified": true});
        assert_eq!(check("", verified.clone()), good("alice@example.com"));
        assert_eq!(check("email", verified), good("alice@example.com"));
        for bad in [
            json!({"email": "alice@example.com"}),
            json!({"email": "alice@example.com", "email_verified": false}),
            json!({"email": "alice@example.com", "email_verified": "false"}),
            json!({"email": "alice@evil.example", "email_verified": true}),
            json!({"preferred_username": ["alice"]}),
            json!({"preferred_username": "alice@evil.example"}),
            json!({"preferred_username": "alice\r\nX: y"}),
        ] {
            assert!(check("", bad.clone()).is_err(), "{bad}");
        }
        assert_eq!(check("upn", json!({"upn": "bob"})), good("bob@entra"));
        assert!(check("upn", json!({"preferred_username": "bob"})).is_err());
        let unverified = json!({"email": "alice@example.com", "email_verified": false});
        assert!(check("email", unverified).is_err());
    }

    #[test]
    fn groups_claims_and_how_it_was_found_out_are_kept_within_bounds() {
        let said = |claims: &mut Value| {
            claims["groups"] = json!(["staff", "ops", "staff", "", 7, {"x": 1}]);
            claims["name"] = "Alice\u{7} Adams".into();
            claims["email"] = "alice@example.com".into();
            claims["level"] = json!([3, true]);
            claims["amr"] = json!(["pwd", "otp"]);
            claims["acr"] = "2".into();
            claims["auth_time"] = 900.into();
        };
        let change = |provider: &mut IdentityProvider| {
            provider.claims.kept = ["level", "absent"].map(str::to_owned).into();
        };
        let user = user(change, said).unwrap();
        let groups: Vec<_> = user.groups.iter().map(ToString::to_string).collect();
        assert_eq!(groups, ["entra:7", "entra:ops", "entra:staff"]);
        assert_eq!(user.display_name, "Alice Adams");
        let [level] = &user.claims[..] else {
            panic!("one claim fits: {:?}", user.claims);
        };
        assert_eq!(level.values, ["3", "true"]);
        let Authentication {
            provider,
            methods,
            class,
            at_ms,
        } = user.authentication;
        assert_eq!(provider.unwrap().as_str(), "entra");
        assert_eq!(
            (methods.join(" "), class, at_ms),
            ("pwd otp".to_owned(), "2".to_owned(), 900_000)
        );
    }

    #[test]
    fn whose_groups_or_claims_would_be_cut_is_refused() {
        for (count, is_good) in [(USER_GROUPS_MAX, true), (USER_GROUPS_MAX + 1, false)] {
            let many = |claims: &mut Value| {
                let names: Vec<_> = (0..count).map(|n| n.to_string()).collect();
                claims["groups"] = json!(names);
            };
            match user(|_| {}, many) {
                Ok(user) => assert!(is_good && user.groups.len() == count, "{count}"),
                Err(error) => assert!(!is_good && matches!(error, IdentityError::Overage)),
            }
        }
        let long = |claims: &mut Value| claims["long"] = "x".repeat(CLAIMS_BYTES_MAX).into();
        let keep = |provider: &mut IdentityProvider| {
            provider.claims.kept = ["long".to_owned()].into();
        };
        assert!(matches!(user(keep, long), Err(IdentityError::Overage)));
        let overage = |claims: &mut Value| {
            claims["_claim_names"] = json!({"groups": "src1"});
        };
        assert!(matches!(user(|_| {}, overage), Err(IdentityError::Overage)));
        let other = |claims: &mut Value| claims["_claim_names"] = json!({"roles": "src1"});
        assert!(user(|_| {}, other).is_ok());
    }

    #[test]
    fn what_the_token_says_counts_more_than_what_is_said_beside() {
        let provider = provider(ISSUER);
        let mut proven = prove(&provider, claims(|_| {}), &attempt(None), None, at(1_000)).unwrap();
        assert!(proven.lacks(&provider));
        let Value::Object(more) =
            json!({"preferred_username": "mallory", "name": "Alice", "email": "", "groups": []})
        else {
            panic!("an object");
        };
        proven.add(more);
        assert!(!proven.lacks(&provider));
        let user = proven.user(&provider).unwrap();
        assert_eq!(
            (user.id.as_str(), &*user.display_name),
            ("alice@entra", "Alice")
        );
    }
}
