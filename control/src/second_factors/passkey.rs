//! What an authenticator says and signs (Web Authentication Level 3, section 7), as far as a fabric asks for it.
//!
//! No attestation is asked for: whoever brings a key may, as they have shown who they are before. So nothing is to be learnt from the
//! attestation object that the browser does not say itself (section 5.2.1.1), and what is read here is JSON, and the fixed places of
//! authenticator data (section 6.1). Signatures are checked by aws-lc, as all others are.

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{
        ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
        VerificationAlgorithm,
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use model::host::Hostname;
use proto::{control::PasskeyRecord, fabric::Ceremony};
use serde::Deserialize;

/// Longest client data; browsers make some 200 bytes.
const CLIENT_DATA_BYTES_MAX: usize = 4 * 1024;
/// Longest id of a credential (section 4).
const CREDENTIAL_ID_BYTES_MAX: usize = 1_023;
/// Longest key, as SubjectPublicKeyInfo: RSA of 8,192 bits.
const PUBLIC_KEY_BYTES_MAX: usize = 1_100;
/// Bytes of what is to be signed: twice as many as are asked for (section 13.4.3).
pub(crate) const CHALLENGE_BYTES: usize = 32;

/// Flags of authenticator data (section 6.1).
const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const HAS_CREDENTIAL: u8 = 0x40;

/// Why an authenticator's word does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PasskeyError {
    #[error("the client data is not what was asked for")]
    ClientData,
    #[error("the authenticator data is not for this host")]
    Host,
    #[error("the user was not verified")]
    NotVerified,
    #[error("the credential's id or key cannot be used")]
    Credential,
    #[error("the signature does not hold")]
    Signature,
    #[error("the authenticator counts backwards, as a copy of it would")]
    Counter,
}

/// What a browser says was signed (section 5.8.1).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    r#type: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
}

/// What of authenticator data is looked at.
struct AuthenticatorData<'a> {
    flags: u8,
    sign_count: u32,
    rest: &'a [u8],
}

/// What a use of a passkey says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Used {
    pub sign_count: u32,
    pub synced: bool,
}

/// Checks a new passkey (section 7.1); `id` and `display_name` are the caller's.
pub(crate) fn register(
    ceremony: &Ceremony,
    (algorithm, public_key): (i32, &[u8]),
    host: &Hostname,
) -> Result<PasskeyRecord, PasskeyError> {
    let data = check(ceremony, "webauthn.create", host)?;
    let id = credential_id(&data).ok_or(PasskeyError::Credential)?;
    let is_sound = id == ceremony.credential_id
        && !id.is_empty()
        && id.len() <= CREDENTIAL_ID_BYTES_MAX
        && public_key.len() <= PUBLIC_KEY_BYTES_MAX;
    if !is_sound || parse_key(algorithm, public_key).is_none() {
        return Err(PasskeyError::Credential);
    }
    Ok(PasskeyRecord {
        credential_id: ceremony.credential_id.clone(),
        public_key: public_key.to_vec().into(),
        algorithm,
        sign_count: data.sign_count,
        synced: data.flags & BACKUP_ELIGIBLE != 0,
        ..PasskeyRecord::default()
    })
}

/// Checks a use of a passkey (section 7.2).
pub(crate) fn verify(
    ceremony: &Ceremony,
    signature: &[u8],
    kept: &PasskeyRecord,
    host: &Hostname,
) -> Result<Used, PasskeyError> {
    let data = check(ceremony, "webauthn.get", host)?;
    if kept.credential_id != ceremony.credential_id {
        return Err(PasskeyError::Credential);
    }
    let key = parse_key(kept.algorithm, &kept.public_key).ok_or(PasskeyError::Credential)?;
    let client_data = digest(&SHA256, &ceremony.client_data_json);
    let signed = [&*ceremony.authenticator_data, client_data.as_ref()].concat();
    let verified = key.verify_sig(&signed, signature);
    verified.map_err(|_| PasskeyError::Signature)?;
    // Those that are on several devices do not count, and say 0 (section 6.1.1).
    let counts = data.sign_count != 0 || kept.sign_count != 0;
    if counts && data.sign_count <= kept.sign_count {
        return Err(PasskeyError::Counter);
    }
    Ok(Used {
        sign_count: data.sign_count,
        synced: data.flags & BACKUP_ELIGIBLE != 0,
    })
}

fn parse_key(algorithm: i32, public_key: &[u8]) -> Option<ParsedPublicKey> {
    // RFC 9053, and RFC 8812 for RSA.
    let algorithm: &'static dyn VerificationAlgorithm = match algorithm {
        -7 => &ECDSA_P256_SHA256_ASN1,
        -8 => &ED25519,
        -257 => &RSA_PKCS1_2048_8192_SHA256,
        _ => return None,
    };
    ParsedPublicKey::new(algorithm, public_key).ok()
}

/// What both ceremonies have in common.
fn check<'c>(
    ceremony: &'c Ceremony,
    kind: &str,
    host: &Hostname,
) -> Result<AuthenticatorData<'c>, PasskeyError> {
    if ceremony.client_data_json.len() > CLIENT_DATA_BYTES_MAX {
        return Err(PasskeyError::ClientData);
    }
    let said = serde_json::from_slice::<ClientData>(&ceremony.client_data_json);
    let said = said.map_err(|_| PasskeyError::ClientData)?;
    let challenge = BASE64_URL_SAFE_NO_PAD.decode(&said.challenge);
    let is_asked = said.r#type == kind
        && ceremony.challenge.len() == CHALLENGE_BYTES
        && challenge.is_ok_and(|challenge| challenge == ceremony.challenge)
        && said.origin == ceremony.origin
        && origin_host(&said.origin) == Some(host.as_str())
        && !said.cross_origin;
    if !is_asked {
        return Err(PasskeyError::ClientData);
    }
    let data = &*ceremony.authenticator_data;
    let (digest_of_host, rest) = data.split_first_chunk::<32>().ok_or(PasskeyError::Host)?;
    let (flags, rest) = rest.split_first().ok_or(PasskeyError::Host)?;
    let (sign_count, rest) = rest.split_first_chunk::<4>().ok_or(PasskeyError::Host)?;
    if digest(&SHA256, host.as_str().as_bytes()).as_ref() != digest_of_host {
        return Err(PasskeyError::Host);
    }
    let has = |flag| flags & flag != 0;
    if !has(USER_PRESENT) || !has(USER_VERIFIED) || (has(BACKED_UP) && !has(BACKUP_ELIGIBLE)) {
        return Err(PasskeyError::NotVerified);
    }
    Ok(AuthenticatorData {
        flags: *flags,
        sign_count: u32::from_be_bytes(*sign_count),
        rest,
    })
}

/// Behind the model of the authenticator, which nobody asks for, come the id's length and the id (section 6.5.1).
fn credential_id<'d>(data: &AuthenticatorData<'d>) -> Option<&'d [u8]> {
    if data.flags & HAS_CREDENTIAL == 0 {
        return None;
    }
    let (_model, rest) = data.rest.split_first_chunk::<16>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

fn origin_host(origin: &str) -> Option<&str> {
    let authority = origin.strip_prefix("https://")?;
    Some(
        authority
            .split_once(':')
            .map_or(authority, |(host, _)| host),
    )
}

#[cfg(test)]
pub(crate) mod tests;
