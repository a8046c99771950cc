//! How much an app takes, on the way to edges. 0 stands for no limit.

use model::app::{Limits, Rate};

use super::{Reader, ResourceError};
use crate::fabric;

pub(super) fn write(limits: &Limits) -> fabric::Limits {
    fabric::Limits {
        body_bytes: limits.body_bytes.unwrap_or_default(),
        requests: limits.requests.unwrap_or_default(),
        rate: limits.rate.map(write_rate),
        client_rate: limits.client_rate.map(write_rate),
        body_pace: limits.body_pace,
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
        })
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
