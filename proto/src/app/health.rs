//! Reads and writes how agents look after origins by themselves.

use model::app::HealthCheck;

use crate::{
    admin, rules, time,
    violation::{Unit, Violations},
};

/// Reads a health check; what it does not say takes its default.
pub(super) fn read(wire: &admin::HealthCheck, found: &mut Violations) -> Option<HealthCheck> {
    const FIELD: &str = "app.health_check";
    found.take(&format!("{FIELD}.path"), rules::check_path(&wire.path));
    let mut span = |name: &str, wire: Option<_>, default, range| match wire {
        Some(wire) => found.span(&format!("{FIELD}.{name}"), &wire, range, Unit::Milliseconds),
        None => Some(default),
    };
    let interval = span(
        "interval",
        wire.interval,
        HealthCheck::DEFAULT_INTERVAL,
        HealthCheck::INTERVAL_RANGE,
    );
    let timeout = span(
        "timeout",
        wire.timeout,
        HealthCheck::DEFAULT_TIMEOUT,
        HealthCheck::TIMEOUT_RANGE,
    );
    let mut count = |name: &str, wire, default| {
        if wire > HealthCheck::IN_A_ROW_MAX {
            found.add(
                &format!("{FIELD}.{name}"),
                format_args!("must be 1 to {}", HealthCheck::IN_A_ROW_MAX),
            );
        }
        if wire == 0 { default } else { wire }
    };
    Some(HealthCheck {
        path: wire.path.clone(),
        unhealthy_after: count(
            "unhealthy_after",
            wire.unhealthy_after,
            HealthCheck::DEFAULT_UNHEALTHY_AFTER,
        ),
        healthy_after: count(
            "healthy_after",
            wire.healthy_after,
            HealthCheck::DEFAULT_HEALTHY_AFTER,
        ),
        interval: interval?,
        timeout: timeout?,
    })
}

/// Writes a health check.
pub(super) fn write(check: &HealthCheck) -> admin::HealthCheck {
    admin::HealthCheck {
        path: check.path.clone(),
        interval: Some(time::wire_duration(check.interval)),
        timeout: Some(time::wire_duration(check.timeout)),
        unhealthy_after: check.unhealthy_after,
        healthy_after: check.healthy_after,
    }
}
