//! Private servers, and how they are looked after, on the way to agents.

use std::time::Duration;

use model::app::{HealthCheck, ORIGINS_MAX, Origin, OriginProtocol, OriginTls};

use super::{Reader, ResourceError, millis};
use crate::{fabric, rules};

pub(super) fn write(origin: &Origin) -> fabric::Origin {
    let tls = &origin.tls;
    fabric::Origin {
        url: origin.url.to_string(),
        ca_pem: tls.ca_pem.as_deref().unwrap_or_default().to_owned(),
        server_name: tls
            .server_name
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        insecure: tls.insecure,
        weight: origin.weight,
        protocol: match origin.protocol {
            OriginProtocol::Auto => fabric::OriginProtocol::Auto,
            OriginProtocol::Http1 => fabric::OriginProtocol::Http1,
            OriginProtocol::Http2 => fabric::OriginProtocol::Http2,
        }
        .into(),
        title_case: origin.title_case,
    }
}

pub(super) fn write_health_check(check: &HealthCheck) -> fabric::HealthCheck {
    fabric::HealthCheck {
        path: check.path.clone(),
        interval_ms: millis(check.interval),
        timeout_ms: millis(check.timeout),
        unhealthy_after: check.unhealthy_after,
        healthy_after: check.healthy_after,
    }
}

impl Reader<'_> {
    pub(super) fn origins(
        &self,
        min: usize,
        wire: &[fabric::Origin],
    ) -> Result<Vec<Origin>, ResourceError> {
        self.all("origins", (min, ORIGINS_MAX), wire, |origin| {
            self.origin(origin)
        })
    }

    fn origin(&self, wire: &fabric::Origin) -> Result<Origin, ResourceError> {
        let url = wire.url.parse().map_err(|source| ResourceError::Origin {
            resource: self.resource(),
            source,
        })?;
        let server_name = match wire.server_name.as_str() {
            "" => None,
            name => Some(self.host(name)?),
        };
        // Snapshots on disks are older than weights and protocols: what is not said has its default.
        let weight = wire.weight.max(1);
        self.holds("an origin's weight", weight <= Origin::WEIGHT_MAX)?;
        Ok(Origin {
            url,
            tls: OriginTls {
                ca_pem: (!wire.ca_pem.is_empty()).then(|| wire.ca_pem.as_str().into()),
                server_name,
                insecure: wire.insecure,
            },
            weight,
            protocol: self.protocol(wire.protocol)?,
            title_case: wire.title_case,
        })
    }

    fn protocol(&self, wire: i32) -> Result<OriginProtocol, ResourceError> {
        let read = match fabric::OriginProtocol::try_from(wire) {
            Ok(fabric::OriginProtocol::Unspecified | fabric::OriginProtocol::Auto) => {
                Ok(OriginProtocol::Auto)
            }
            Ok(fabric::OriginProtocol::Http1) => Ok(OriginProtocol::Http1),
            Ok(fabric::OriginProtocol::Http2) => Ok(OriginProtocol::Http2),
            Err(_) => Err(()),
        };
        self.setting("an origin's protocol", read)
    }

    pub(super) fn health_check(
        &self,
        wire: &fabric::HealthCheck,
    ) -> Result<HealthCheck, ResourceError> {
        const WHAT: &str = "a health check";
        let check = HealthCheck {
            path: wire.path.clone(),
            interval: Duration::from_millis(wire.interval_ms),
            timeout: Duration::from_millis(wire.timeout_ms),
            unhealthy_after: wire.unhealthy_after,
            healthy_after: wire.healthy_after,
        };
        self.setting(WHAT, rules::check_path(&check.path))?;
        let within =
            |span, (shortest, longest): (Duration, Duration)| (shortest..=longest).contains(&span);
        self.holds(WHAT, within(check.interval, HealthCheck::INTERVAL_RANGE))?;
        self.holds(WHAT, within(check.timeout, HealthCheck::TIMEOUT_RANGE))?;
        let counts = 1..=HealthCheck::IN_A_ROW_MAX;
        self.holds(WHAT, counts.contains(&check.unhealthy_after))?;
        self.holds(WHAT, counts.contains(&check.healthy_after))?;
        Ok(check)
    }
}
