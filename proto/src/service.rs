//! Reads service tokens as operators write them, and as control sends them to edges.

use std::time::{Duration, SystemTime};

use model::{
    name::{IdError, ServiceTokenId},
    service::{SERVICE_TOKEN_LIFE_MAX, Service},
};

use crate::{
    admin, fabric,
    time::{self, TimeError},
    violation::{Violation, Violations},
};

/// Shortest life of a service token: what is below a second is lost on the way.
const LIFE_MIN: Duration = Duration::from_secs(1);

/// Checks an order for a service token; on failure says everything that is wrong with it. Gives its id, and how long it is to live.
pub fn check_order(
    request: &admin::CreateServiceTokenRequest,
) -> Result<(ServiceTokenId, Option<Duration>), Vec<Violation>> {
    let mut found = Violations::default();
    let id = found.parse("service_token_id", &request.service_token_id);
    found.display_name("display_name", &request.display_name);
    let range = (LIFE_MIN, SERVICE_TOKEN_LIFE_MAX);
    let ttl = request
        .ttl
        .as_ref()
        .and_then(|ttl| found.span("ttl", ttl, range, crate::violation::Unit::Milliseconds));
    match id {
        Some(id) if found.is_empty() => Ok((id, ttl)),
        Some(_) | None => Err(found.into_vec()),
    }
}

/// Checks what an operator would change of one.
pub fn check_change(token: &admin::ServiceToken) -> Vec<Violation> {
    let mut found = Violations::default();
    found.display_name("service_token.display_name", &token.display_name);
    found.into_vec()
}

/// Why an edge cannot use a service token that control sent.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Its id.
    #[error("reading the id of a service token")]
    Id(#[source] IdError),
    /// The digest of the token.
    #[error("the digest of a service token has 32 bytes")]
    Digest,
    /// When it ends.
    #[error("reading the end of a service token")]
    End,
}

impl TryFrom<&fabric::ServiceToken> for Service {
    type Error = ServiceError;

    fn try_from(wire: &fabric::ServiceToken) -> Result<Self, ServiceError> {
        let digest = wire.token_sha256.as_ref().try_into();
        let end = |ms: i64| {
            let since = u64::try_from(ms).map_err(|_| ServiceError::End)?;
            let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(since));
            end.ok_or(ServiceError::End)
        };
        Ok(Self {
            id: wire.id.parse().map_err(ServiceError::Id)?,
            display_name: wire.display_name.clone(),
            token_sha256: digest.map_err(|_| ServiceError::Digest)?,
            expires: match wire.expires_ms {
                0 => None,
                ms => Some(end(ms)?),
            },
        })
    }
}

/// What edges are told of a service token; nothing of one that is disabled, or that makes no sense: no edge lets it in then.
pub fn told(token: &admin::ServiceToken, token_sha256: &[u8]) -> Option<fabric::ServiceToken> {
    if token.disabled {
        return None;
    }
    let id = token.name.strip_prefix(ServiceTokenId::COLLECTION)?;
    let expires = token.expire_time.as_ref().map(milliseconds).transpose();
    Some(fabric::ServiceToken {
        id: id.to_owned(),
        display_name: token.display_name.clone(),
        token_sha256: token_sha256.to_vec().into(),
        expires_ms: expires.ok()?.unwrap_or_default(),
    })
}

/// At least 1: 0 would be no end at all.
fn milliseconds(time: &prost_types::Timestamp) -> Result<i64, TimeError> {
    let since = time::system_time(time)?.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.map_err(|_| TimeError::OutOfRange)?.as_millis();
    i64::try_from(since)
        .map(|since| since.max(1))
        .map_err(|_| TimeError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: [u8; 32] = [7; 32];

    #[test]
    fn everything_wrong_with_an_order_is_said_at_once() {
        let order = |id: &str, name: &str, seconds| admin::CreateServiceTokenRequest {
            service_token_id: id.to_owned(),
            display_name: name.to_owned(),
            ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
        };
        let good = check_order(&order("ci", "CI", 60));
        let life = Some(Duration::from_secs(60));
        assert_eq!(good, Ok(("ci".parse().unwrap(), life)));
        for seconds in [0, -1, 11 * 365 * 86_400] {
            let fields: Vec<_> = check_order(&order("CI", "a\nb", seconds))
                .unwrap_err()
                .into_iter()
                .map(|fault| fault.field)
                .collect();
            assert_eq!(fields, ["service_token_id", "display_name", "ttl"]);
        }
    }

    #[test]
    fn edges_read_what_control_tells() {
        let token = admin::ServiceToken {
            name: "serviceTokens/ci".to_owned(),
            display_name: "CI".to_owned(),
            expire_time: Some(prost_types::Timestamp {
                seconds: 60,
                nanos: 0,
            }),
            ..admin::ServiceToken::default()
        };
        let read = Service::try_from(&told(&token, &DIGEST).unwrap()).unwrap();
        let want = Service {
            display_name: "CI".to_owned(),
            token_sha256: DIGEST,
            expires: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(60)),
            ..Service::new("ci".parse().unwrap())
        };
        assert_eq!(read, want);
    }

    #[test]
    fn what_is_disabled_or_makes_no_sense_is_told_to_nobody() {
        let token = |name: &str, disabled, seconds: Option<i64>| admin::ServiceToken {
            name: name.to_owned(),
            disabled,
            expire_time: seconds.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
            ..admin::ServiceToken::default()
        };
        for token in [
            token("serviceTokens/ci", true, None),
            token("apps/ci", false, None),
            token("serviceTokens/ci", false, Some(-1)),
            token("serviceTokens/ci", false, Some(i64::MAX)),
        ] {
            assert_eq!(told(&token, &DIGEST), None, "{token:?}");
        }
        // The epoch itself is an end, and not none.
        let ended = told(&token("serviceTokens/ci", false, Some(0)), &DIGEST);
        assert_eq!(ended.map(|told| told.expires_ms), Some(1));
    }

    #[test]
    fn edges_refuse_what_they_cannot_read() {
        let good = fabric::ServiceToken {
            id: "ci".to_owned(),
            token_sha256: DIGEST.to_vec().into(),
            ..fabric::ServiceToken::default()
        };
        assert!(Service::try_from(&good).is_ok());
        for bad in [
            fabric::ServiceToken {
                id: "CI".to_owned(),
                ..good.clone()
            },
            fabric::ServiceToken {
                token_sha256: vec![7; 31].into(),
                ..good.clone()
            },
            fabric::ServiceToken {
                token_sha256: Vec::new().into(),
                ..good.clone()
            },
            fabric::ServiceToken {
                expires_ms: -1,
                ..good
            },
        ] {
            assert!(Service::try_from(&bad).is_err(), "{bad:?}");
        }
    }
}
