//! What a provider's token and answers make of a user (OpenID Connect Core, sections 2, 3.1.3.7 and 5.1).

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512, digest};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use issuer::{Claims, seconds, unix_seconds};
use model::{
    app::DISPLAY_NAME_CHARS_MAX,
    identity_provider::{IdentityProvider, SigningAlgorithm, UserNameError},
    user::{
        Authentication, CLAIMS_BYTES_MAX, Claim, EMAIL_BYTES_MAX, USER_GROUPS_MAX, User, UserGroup,
    },
};
use serde_json::{Map, Value};

use super::client::Attempt;

/// Longest name of a provider's for a user (OpenID Connect Core, section 2).
const SUBJECT_BYTES_MAX: usize = 255;
/// Methods of authentication that are kept, and the bytes of one.
const METHODS_MAX: (usize, usize) = (8, 32);
/// Longest class of authentication that is kept.
const CLASS_BYTES_MAX: usize = 256;
/// Claim with the names of claims that are not here (OpenID Connect Core, section 5.6.2).
const ELSEWHERE: &str = "_claim_names";
/// Claim of Entra ID's that stands where groups would, if there are too many for an address.
const MANY_GROUPS: &str = "hasgroups";
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
    /// It is of another user than the one before.
    #[error("it is of another user")]
    OtherUser,
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

/// What a token does not say of its user.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Unsaid {
    /// Groups.
    pub groups: bool,
    /// Of the claims that are kept.
    pub claims: Vec<String>,
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
    check_access_token(&claims, access_token)?;
    prove_within(provider, claims, attempt.max_age_at(provider), now)
}

/// What the token said by which a session began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun<'a> {
    /// The provider's name for the user.
    pub subject: &'a str,
    /// What that token was for.
    pub nonce: &'a str,
}

/// Looks at an ID token that came of a refresh token, whose signature, issuer, audience and time are right (OpenID Connect Core, section
/// 12.2). How and when the user signed in was looked at when the session began.
///
/// # Errors
/// It is not of the same user and sign-in.
pub(crate) fn prove_again(
    provider: &IdentityProvider,
    claims: Claims,
    begun: Begun<'_>,
    access_token: Option<&str>,
) -> Result<Proven, IdentityError> {
    let nonce = claims.all.get("nonce").filter(|nonce| !nonce.is_null());
    if nonce.is_some_and(|nonce| nonce.as_str() != Some(begun.nonce)) {
        return Err(IdentityError::Nonce);
    }
    check_party(provider, &claims)?;
    check_access_token(&claims, access_token)?;
    let proven = proven(claims)?;
    if proven.subject == begun.subject {
        Ok(proven)
    } else {
        Err(IdentityError::OtherUser)
    }
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
    let class = claims.text("acr").unwrap_or_default();
    let wanted = &provider.asks.classes;
    if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == class) {
        return Err(IdentityError::Class(class.chars().take(80).collect()));
    }
    if let Some(most) = max_age {
        check_age(&claims, most, now)?;
    }
    proven(claims)
}

fn proven(claims: Claims) -> Result<Proven, IdentityError> {
    let subject = claims.text("sub").ok_or(IdentityError::Lacks("sub"))?;
    if subject.len() > SUBJECT_BYTES_MAX {
        return Err(IdentityError::Lacks("a short sub"));
    }
    let issued_at = claims.time("iat").ok_or(IdentityError::Lacks("iat"))?;
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

fn check_access_token(claims: &Claims, token: Option<&str>) -> Result<(), IdentityError> {
    match claims.all.get("at_hash").zip(token) {
        Some((said, token)) if said.as_str() != Some(&half_digest(claims.algorithm, token)) => {
            Err(IdentityError::AccessToken)
        }
        Some(_) | None => Ok(()),
    }
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
    let most = i64::try_from(most.as_secs()).unwrap_or(i64::MAX);
    let latest = at
        .saturating_add(most)
        .saturating_add(MAX_AGE_LEEWAY_SECONDS);
    if latest < unix_seconds(now) {
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

    /// What rules may ask for and the token does not say, though it was to be in it.
    pub(crate) fn unsaid(&self, provider: &IdentityProvider) -> Unsaid {
        let names = &provider.claims;
        let is_unsaid = |name: &&String| !name.is_empty() && !self.claims.contains_key(*name);
        Unsaid {
            groups: is_unsaid(&&names.groups),
            claims: names.kept.iter().filter(is_unsaid).cloned().collect(),
        }
    }

    /// Whether the token says that the user is in groups that it does not name.
    pub(crate) fn leaves_groups_out(&self, provider: &IdentityProvider) -> bool {
        leaves_out(&self.claims, &provider.claims.groups)
    }

    /// Puts all groups of the user in place of those that the token says.
    pub(crate) fn set_groups(&mut self, provider: &IdentityProvider, names: Vec<String>) {
        let names = names.into_iter().map(Value::String).collect();
        let claim = &provider.claims.groups;
        self.claims.insert(claim.clone(), Value::Array(names));
        self.claims.remove(MANY_GROUPS);
        let left_out = self.claims.get_mut(ELSEWHERE);
        if let Some(left_out) = left_out.and_then(Value::as_object_mut) {
            left_out.remove(claim);
        }
    }

    /// Adds what the provider says beside its token; what the token says counts more, but where it leaves groups out.
    pub(crate) fn add(&mut self, provider: &IdentityProvider, more: Map<String, Value>) {
        let claim = &provider.claims.groups;
        if self.leaves_groups_out(provider) && !leaves_out(&more, claim) && more.contains_key(claim)
        {
            self.set_groups(provider, texts(more.get(claim)));
        }
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
        if self.leaves_groups_out(provider) {
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
        let kept = &provider.claims.kept_groups;
        let said = texts(self.claims.get(&provider.claims.groups)).into_iter();
        let said: Vec<_> = said
            .filter(|name| kept.is_empty() || kept.contains(name))
            .collect();
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
                let elsewhere = self.claims.get("_claim_names");
                if elsewhere.is_some_and(|names| names.get(name).is_some()) {
                    return Err(IdentityError::Overage);
                }
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
        let at = self.claims.get("auth_time").and_then(seconds);
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

/// Whether claims say that the user is in groups that they do not name.
fn leaves_out(claims: &Map<String, Value>, groups: &str) -> bool {
    let elsewhere = claims.get(ELSEWHERE);
    let is_elsewhere = elsewhere.is_some_and(|names| names.get(groups).is_some());
    let has_many = claims.get(MANY_GROUPS).is_some_and(is_true);
    is_elsewhere || (has_many && !claims.contains_key(groups))
}

/// Some providers write truth values as texts.
fn is_true(value: &Value) -> bool {
    value.as_bool() == Some(true) || value.as_str() == Some("true")
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
mod tests;
