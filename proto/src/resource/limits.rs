//! How much an app takes, on the way to edges. 0 stands for no limit.

use std::time::Duration;

use model::{
    app::{Limits, Rate},
    settings::EdgeLimits,
};

use super::{Reader, ResourceError, millis};
use crate::fabric;

pub(super) fn write(limits: &Limits) -> fabric::Limits {
    fabric::Limits {
        body_bytes: limits.body_bytes.unwrap_or_default(),
        requests: limits.requests.unwrap_or_default(),
        rate: limits.rate.map(write_rate),
        client_rate: limits.client_rate.map(write_rate),
        body_pace: limits.body_pace,
        head_fields: limits.head_fields.unwrap_or_default(),
        head_bytes: limits.head_bytes.unwrap_or_default(),
        target_bytes: limits.target_bytes.unwrap_or_default(),
        stall_timeout_ms: limits.stall_timeout.map_or(0, millis),
    }
}

fn write_rate(rate: Rate) -> fabric::Rate {
    fabric::Rate {
        per_second: rate.per_second,
        burst: rate.burst,
    }
}

impl Reader<'_> {
    /// Without the message nothing is limited.
    pub(super) fn limits(&self, wire: Option<&fabric::Limits>) -> Result<Limits, ResourceError> {
        let Some(wire) = wire else {
            return Ok(Limits::default());
        };
        Ok(Limits {
            body_bytes: (wire.body_bytes != 0).then_some(wire.body_bytes),
            requests: (wire.requests != 0).then_some(wire.requests),
            rate: wire.rate.map(|rate| self.rate(rate)).transpose()?,
            client_rate: wire.client_rate.map(|rate| self.rate(rate)).transpose()?,
            body_pace: wire.body_pace,
            head_fields: self.bound(
                "a bound of fields",
                wire.head_fields,
                EdgeLimits::HEAD_FIELDS_RANGE,
            )?,
            head_bytes: self.bound(
                "a bound of a head's bytes",
                wire.head_bytes,
                EdgeLimits::HEAD_BYTES_RANGE,
            )?,
            target_bytes: self.bound(
                "a bound of a target's bytes",
                wire.target_bytes,
                EdgeLimits::TARGET_BYTES_RANGE,
            )?,
            stall_timeout: self.bound(
                "a stall time-out",
                Duration::from_millis(wire.stall_timeout_ms),
                EdgeLimits::SPAN_RANGE,
            )?,
        })
    }

    fn bound<T: Default + PartialOrd>(
        &self,
        what: &'static str,
        value: T,
        (least, most): (T, T),
    ) -> Result<Option<T>, ResourceError> {
        if value == T::default() {
            return Ok(None);
        }
        self.holds(what, (least..=most).contains(&value))?;
        Ok(Some(value))
    }

    fn rate(&self, wire: fabric::Rate) -> Result<Rate, ResourceError> {
        let range = 1..=Rate::MAX;
        let is_rate = range.contains(&wire.per_second) && range.contains(&wire.burst);
        self.holds("a rate", is_rate)?;
        Ok(Rate {
            per_second: wire.per_second,
            burst: wire.burst,
        })
    }
}
