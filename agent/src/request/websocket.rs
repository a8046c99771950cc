//! The WebSocket handshake of HTTP/1.1 (RFC 6455, section 4) in place of users whose version of HTTP has none: they say
//! CONNECT with a protocol (RFC 8441, RFC 9220), and the origin is asked to upgrade.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};
use model::reason::Reason;
use rand::RngCore as _;

use super::Failure;

/// The only protocol that CONNECT may name.
const WEBSOCKET: &[u8] = b"websocket";

/// The only version there is; users of CONNECT may leave it out.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// Bytes of the key (RFC 6455, section 4.1).
const KEY_BYTES: usize = 16;

/// What a server shows that it knows (RFC 6455, section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A handshake that the agent makes itself.
#[derive(Debug)]
pub(crate) struct Handshake {
    key: String,
}

impl Handshake {
    /// For a user who said CONNECT with `protocol`; none if there is no such handshake.
    pub(super) fn of(protocol: &[u8]) -> Option<Self> {
        if !protocol.eq_ignore_ascii_case(WEBSOCKET) {
            return None;
        }
        let mut key = [0; KEY_BYTES];
        rand::rng().fill_bytes(&mut key);
        Some(Self {
            key: STANDARD.encode(key),
        })
    }

    /// Adds what HTTP/1.1 asks for beyond `Upgrade`. A key of the user's own would be answered to the agent.
    pub(super) fn put_into(&self, fields: &mut HeaderMap) {
        if let Ok(key) = HeaderValue::from_str(&self.key) {
            fields.insert(header::SEC_WEBSOCKET_KEY, key);
        }
        fields
            .entry(header::SEC_WEBSOCKET_VERSION)
            .or_insert(VERSION);
    }

    /// Takes the proof out of a 101's fields: the origin did read the handshake, and speaks WebSocket from here on.
    pub(super) fn check(&self, fields: &mut HeaderMap) -> Result<(), Failure> {
        let accept = fields.remove(header::SEC_WEBSOCKET_ACCEPT);
        let upgrade = fields.get(header::UPGRADE);
        if upgrade.is_none_or(|upgrade| !upgrade.as_bytes().eq_ignore_ascii_case(WEBSOCKET)) {
            return Err(broken("the origin switched to another protocol"));
        }
        if accept.is_none_or(|accept| accept.as_bytes().trim_ascii() != self.accept().as_bytes()) {
            return Err(broken("the origin's sec-websocket-accept is wrong"));
        }
        Ok(())
    }

    /// What a server answers to the key.
    fn accept(&self) -> String {
        let text = [self.key.as_bytes(), ACCEPT_SUFFIX].concat();
        STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
    }
}

/// With CONNECT, success means that the tunnel is there: a page in its place cannot be passed on (RFC 8441, section 5).
pub(super) fn refuse_success() -> Failure {
    broken("the origin answered the handshake without switching")
}

fn broken(detail: &str) -> Failure {
    Failure::new(Reason::OriginProtocol, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_the_one_of_rfc_6455() {
        let handshake = Handshake {
            key: "dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
        };
        assert_eq!(handshake.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys_are_made_anew_and_a_version_of_the_users_own_stays() {
        let mut fields = HeaderMap::new();
        fields.insert("sec-websocket-key", HeaderValue::from_static("mine"));
        fields.insert("sec-websocket-version", HeaderValue::from_static("8"));
        let handshake = Handshake::of(b"WebSocket").unwrap();
        handshake.put_into(&mut fields);
        assert_eq!(fields["sec-websocket-key"], handshake.key);
        assert_eq!(STANDARD.decode(&handshake.key).unwrap().len(), KEY_BYTES);
        assert_eq!(fields["sec-websocket-version"], "8");
        assert!(Handshake::of(b"connect-udp").is_none());
    }

    #[test]
    fn only_the_right_proof_of_the_right_protocol_counts() {
        let handshake = Handshake::of(b"websocket").unwrap();
        for (upgrade, accept, good) in [
            (Some("WebSocket"), Some(handshake.accept()), true),
            (Some("chat"), Some(handshake.accept()), false),
            (None, Some(handshake.accept()), false),
            (Some("websocket"), Some("x".to_owned()), false),
            (Some("websocket"), None, false),
        ] {
            let mut fields = HeaderMap::new();
            if let Some(upgrade) = upgrade {
                fields.insert("upgrade", HeaderValue::from_static(upgrade));
            }
            if let Some(accept) = &accept {
                fields.insert("sec-websocket-accept", accept.parse().unwrap());
            }
            let checked = handshake.check(&mut fields);
            assert_eq!(checked.is_ok(), good, "{upgrade:?} {accept:?}");
            assert!(!fields.contains_key("sec-websocket-accept"));
        }
    }
}
