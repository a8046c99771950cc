//! Programs that use apps, each by a service token that an operator made.

use std::time::{Duration, SystemTime};

use crate::name::ServiceTokenId;

/// Bytes of the digest (SHA-256) that is all that anybody but the program keeps of a token.
pub const TOKEN_DIGEST_BYTES: usize = 32;
/// Longest life of a service token that expires; who wants more wants one that does not.
pub const SERVICE_TOKEN_LIFE_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
/// What every service token begins with, so that people and scanners see what was leaked.
pub const SERVICE_TOKEN_PREFIX: &str = "adit_st_";

/// A program, as far as its service token tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Which one.
    pub id: ServiceTokenId,
    /// What people call it; may be empty.
    pub display_name: String,
    /// SHA-256 of the token. Another one under the same id is another program's.
    pub token_sha256: [u8; TOKEN_DIGEST_BYTES],
    /// When the token stops to hold; `None`: never.
    pub expires: Option<SystemTime>,
}

impl Service {
    /// One of which nothing but the id is known, and that no token leads to.
    pub fn new(id: ServiceTokenId) -> Self {
        Self {
            id,
            display_name: String::new(),
            token_sha256: [0; TOKEN_DIGEST_BYTES],
            expires: None,
        }
    }

    /// Whether its token holds at that time.
    pub fn holds_at(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|end| now < end)
    }

    /// What origins and people are told in place of a user's id; no user's has a colon.
    pub fn principal(&self) -> String {
        format!("service:{}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::UserId;

    #[test]
    fn a_token_holds_until_its_end() {
        let (end, second) = (SystemTime::UNIX_EPOCH, Duration::from_secs(1));
        let service = |expires| Service {
            expires,
            ..Service::new("ci".parse().unwrap())
        };
        assert!(service(None).holds_at(end + SERVICE_TOKEN_LIFE_MAX));
        assert!(service(Some(end + second)).holds_at(end));
        assert!(!service(Some(end + second)).holds_at(end + second));
    }

    #[test]
    fn no_user_is_called_like_a_service() {
        let principal = Service::new("ci".parse().unwrap()).principal();
        assert_eq!(principal, "service:ci");
        assert!(principal.parse::<UserId>().is_err());
    }
}
