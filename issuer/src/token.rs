//! Whether a token is a provider's, for us, and good now (RFC 7519; RFC 8725 on what goes wrong with that).

use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use model::identity_provider::SigningAlgorithm;
use serde_json::{Map, Value};

/// Longest token.
const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// How far the provider's clock may be from ours.
pub const LEEWAY_SECONDS: i64 = 30;
/// Longest word of a provider's that is told.
const WORD_CHARS_MAX: usize = 200;
/// What is before the name of a kind of token where it is written whole (RFC 8725, section 3.11).
const TYPE_PREFIX: &str = "application/";

/// What a token must be. By whom it is, and how it may be signed, says the provider's publication.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Whom it must be for: one of these.
    pub audiences: &'a [&'a str],
    /// Kinds that it may say it is (`typ`): "JWT", "at+jwt".
    pub types: &'a [&'a str],
    /// It need not say what kind it is.
    pub may_be_untyped: bool,
}

/// Why a token is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is longer than any token of use.
    #[error("it is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// It is no signed token, or says that it is signed in a way that nobody should take.
    #[error("reading it")]
    Malformed(#[source] jsonwebtoken::errors::Error),
    /// It is signed in a way that is not allowed.
    #[error("it is signed by {0:?}, which is not among the provider's algorithms")]
    Algorithm(Algorithm),
    /// It asks for something that must be understood and is not (RFC 7515, section 4.1.11).
    #[error("it has critical parameters")]
    Critical,
    /// It is of another kind.
    #[error("it is of the kind {0:?}")]
    Type(Option<String>),
    /// No key of the provider can have signed it.
    #[error("the provider has no key {0:?} for it")]
    Key(Option<String>),
    /// No key of the provider has signed it.
    #[error("its signature does not hold")]
    Signature(#[source] jsonwebtoken::errors::Error),
    /// It is somebody else's.
    #[error("its issuer is another")]
    Issuer,
    /// It is for somebody else.
    #[error("it is for somebody else")]
    Audience,
    /// It does not say until when it is good.
    #[error("it does not say when it ends")]
    Endless,
    /// It was given to somebody else.
    #[error("it was given to another client")]
    Party,
    /// It does not say when it was made.
    #[error("it does not say when it was made")]
    Undated,
    /// It was made too long ago.
    #[error("it was made {0} s ago, which is too long")]
    Old(i64),
    /// It is of no sign-in.
    #[error("it is no id token of a sign-in: those have a nonce, and no events")]
    OtherKind,
    /// Its time is over.
    #[error("it ended {0} s ago")]
    Expired(i64),
    /// Its time is to come.
    #[error("it is good only in {0} s")]
    Early(i64),
}

/// What a token says.
#[derive(Clone, Debug)]
pub struct Claims {
    /// All of it. The names are those of the token.
    pub all: Map<String, Value>,
    /// How it was signed.
    pub algorithm: SigningAlgorithm,
}

impl Claims {
    /// The one text that a claim has, by itself or as a list; of several none is more right than the others. Numbers and truth values are as
    /// JSON writes them.
    pub fn one(&self, name: &str) -> Option<String> {
        let value = match self.all.get(name)? {
            Value::Array(several) => match &several[..] {
                [one] => one,
                _ => return None,
            },
            one => one,
        };
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// Whether the token was made for an audience.
    pub fn is_for(&self, audience: &str) -> bool {
        let named = self.all.get("aud");
        named.is_some_and(|named| names_one_of(named, &[audience]))
    }

    /// A text that is not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let text = self.all.get(name)?.as_str()?;
        (!text.is_empty()).then_some(text)
    }

    /// A time, in seconds since 1970.
    pub fn time(&self, name: &str) -> Option<i64> {
        seconds(self.all.get(name)?)
    }
}

/// What a token says of itself, before anything of it is proven.
#[derive(Debug)]
pub struct Unproven<'a> {
    token: &'a str,
    header: Header,
    algorithm: SigningAlgorithm,
}

impl<'a> Unproven<'a> {
    /// Reads its head, and refuses what no signature could mend.
    ///
    /// # Errors
    /// It is too long, no token, of another kind, or signed in a way that is not among `algorithms`.
    pub fn read(
        token: &'a str,
        algorithms: &[SigningAlgorithm],
        expected: &Expected<'_>,
    ) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let header = jsonwebtoken::decode_header(token).map_err(TokenError::Malformed)?;
        let known = algorithms.iter().copied();
        let algorithm = known
            .into_iter()
            .find(|known| library_name(*known) == header.alg)
            .ok_or(TokenError::Algorithm(header.alg))?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        if !is_of_kind(header.typ.as_deref(), expected) {
            return Err(TokenError::Type(header.typ.as_deref().map(printable)));
        }
        Ok(Self {
            token,
            header,
            algorithm,
        })
    }

    /// The name of the key that has signed it, as it says.
    pub fn key_name(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// How it is signed; among what is allowed.
    pub const fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// What it says, if one of these keys has signed it.
    ///
    /// # Errors
    /// None of them has.
    pub fn prove<'k>(
        &self,
        keys: impl Iterator<Item = &'k DecodingKey>,
    ) -> Result<Claims, TokenError> {
        let mut validation = Validation::new(library_name(self.algorithm));
        // Looked at below, by the process's own clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let mut failed = TokenError::Key(self.header.kid.as_deref().map(printable));
        for key in keys {
            match jsonwebtoken::decode(self.token, key, &validation) {
                Ok(token) => {
                    return Ok(Claims {
                        all: token.claims,
                        algorithm: self.algorithm,
                    });
                }
                Err(error) => failed = TokenError::Signature(error),
            }
        }
        Err(failed)
    }
}

/// Whether what a token says holds for us now.
///
/// # Errors
/// It is another's, for somebody else, or not of this time.
pub fn check(
    claims: &Claims,
    issuer: &str,
    expected: &Expected<'_>,
    now: SystemTime,
) -> Result<(), TokenError> {
    check_scope(claims, issuer, expected)?;
    let now = unix_seconds(now);
    let ends = claims.time("exp").ok_or(TokenError::Endless)?;
    if ends.saturating_add(LEEWAY_SECONDS) <= now {
        return Err(TokenError::Expired(now.saturating_sub(ends)));
    }
    check_begun(claims, now, LEEWAY_SECONDS)
}

/// The same of an ID token that was taken when it was new and is shown again, perhaps after its end: it must have been made for `client`, no
/// longer than `age_max` ago, and in a sign-in. What else a provider signs for the client, as logout tokens, passes for none: it has events
/// (OpenID Connect Back-Channel Logout 1.0, section 2.4), and no nonce.
///
/// It may be of a time to come by twice the leeway: whoever took it had a clock of their own.
///
/// # Errors
/// It is another's, for somebody else, no ID token of a sign-in, too old, or of a time to come.
pub fn check_made(
    claims: &Claims,
    issuer: &str,
    (client, age_max): (&str, Duration),
    now: SystemTime,
) -> Result<(), TokenError> {
    let expected = Expected {
        audiences: &[client],
        types: &[],
        may_be_untyped: true,
    };
    check_scope(claims, issuer, &expected)?;
    let is_shared = claims.all.get("aud").and_then(Value::as_array);
    let is_shared = is_shared.is_some_and(|audience| audience.len() > 1);
    match claims.all.get("azp") {
        Some(party) if party.as_str() != Some(client) => return Err(TokenError::Party),
        None if is_shared => return Err(TokenError::Party),
        Some(_) | None => {}
    }
    if claims.text("nonce").is_none() || claims.all.contains_key("events") {
        return Err(TokenError::OtherKind);
    }
    let now = unix_seconds(now);
    let made = claims.time("iat").ok_or(TokenError::Undated)?;
    let age_max = i64::try_from(age_max.as_secs()).unwrap_or(i64::MAX);
    let latest = made.saturating_add(age_max).saturating_add(LEEWAY_SECONDS);
    if latest <= now {
        return Err(TokenError::Old(now.saturating_sub(made)));
    }
    check_begun(claims, now, 2 * LEEWAY_SECONDS)
}

fn check_scope(claims: &Claims, issuer: &str, expected: &Expected<'_>) -> Result<(), TokenError> {
    if claims.text("iss") != Some(issuer) {
        return Err(TokenError::Issuer);
    }
    let audience = claims.all.get("aud");
    if !audience.is_some_and(|audience| names_one_of(audience, expected.audiences)) {
        return Err(TokenError::Audience);
    }
    Ok(())
}

fn check_begun(claims: &Claims, now: i64, leeway: i64) -> Result<(), TokenError> {
    for name in ["nbf", "iat"] {
        let Some(value) = claims.all.get(name) else {
            continue;
        };
        // One that cannot be read is as one that never comes.
        let begins = seconds(value).unwrap_or(i64::MAX);
        if begins.saturating_sub(leeway) > now {
            return Err(TokenError::Early(begins.saturating_sub(now)));
        }
    }
    Ok(())
}

/// Whose a token says it is: to know whose keys it is to be held against.
pub fn unproven_issuer(token: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Issuer {
        iss: String,
    }
    let said = jsonwebtoken::dangerous::insecure_decode_claims::<Issuer>(token);
    said.ok().map(|said| said.iss)
}

/// For which client a token says that it was made (RFC 9068, section 2.2; `azp` is what others call it).
pub fn unproven_client(token: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Client {
        client_id: Option<String>,
        azp: Option<String>,
    }
    let said = jsonwebtoken::dangerous::insecure_decode_claims::<Client>(token);
    said.ok().and_then(|said| said.client_id.or(said.azp))
}

fn is_of_kind(said: Option<&str>, expected: &Expected<'_>) -> bool {
    let Some(said) = said else {
        return expected.may_be_untyped;
    };
    let said = said.to_ascii_lowercase();
    let said = said.strip_prefix(TYPE_PREFIX).unwrap_or(&said);
    let mut types = expected.types.iter();
    types.any(|known| known.eq_ignore_ascii_case(said))
}

/// A text, or a list with it in (RFC 7519, section 4.1.3).
fn names_one_of(audience: &Value, wanted: &[&str]) -> bool {
    match audience {
        Value::String(one) => wanted.contains(&one.as_str()),
        Value::Array(several) => several
            .iter()
            .filter_map(Value::as_str)
            .any(|one| wanted.contains(&one)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

/// Seconds since 1970, perhaps with a fraction (RFC 7519, section 2); `None` before that, and beyond what there is.
pub fn seconds(value: &Value) -> Option<i64> {
    let whole = value.as_i64();
    whole.or_else(|| {
        let since = Duration::try_from_secs_f64(value.as_f64()?).ok()?;
        i64::try_from(since.as_secs()).ok()
    })
}

/// Seconds since 1970, as tokens count them (RFC 7519, section 2); 0 for a clock set before it.
pub fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or(Duration::ZERO).as_secs()).unwrap_or(i64::MAX)
}

/// What others say, for the log.
pub fn printable(text: &str) -> String {
    let plain = |char: char| if char.is_control() { ' ' } else { char };
    text.chars().take(WORD_CHARS_MAX).map(plain).collect()
}

/// The same algorithm in the words of the library.
fn library_name(algorithm: SigningAlgorithm) -> Algorithm {
    match algorithm {
        SigningAlgorithm::Rs256 => Algorithm::RS256,
        SigningAlgorithm::Rs384 => Algorithm::RS384,
        SigningAlgorithm::Rs512 => Algorithm::RS512,
        SigningAlgorithm::Ps256 => Algorithm::PS256,
        SigningAlgorithm::Ps384 => Algorithm::PS384,
        SigningAlgorithm::Ps512 => Algorithm::PS512,
        SigningAlgorithm::Es256 => Algorithm::ES256,
        SigningAlgorithm::Es384 => Algorithm::ES384,
        SigningAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}
