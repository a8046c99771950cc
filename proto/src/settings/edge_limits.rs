//! Reads and writes what users may cost each edge: as operators write it, and on the way to edges.

use std::time::Duration;

use model::settings::EdgeLimits;

use crate::{
    admin, fabric, time,
    violation::{Unit, Violations},
};

/// Reads limits; those that are not set are the default's.
pub(super) fn read(
    field: &str,
    wire: Option<&admin::EdgeLimits>,
    default: &EdgeLimits,
    found: &mut Violations,
) -> EdgeLimits {
    let wire = wire.copied().unwrap_or_default();
    let mut reader = Reader { field, found };
    EdgeLimits {
        connections: reader.count("connections", wire.connections, default.connections),
        client_connections: reader.count(
            "client_connections",
            wire.client_connections,
            default.client_connections,
        ),
        streams: reader.count("streams", wire.streams, default.streams),
        resets: reader.count("resets", wire.resets, default.resets),
        handshake_timeout: reader.span(
            "handshake_timeout",
            wire.handshake_timeout,
            default.handshake_timeout,
        ),
        head_timeout: reader.span("head_timeout", wire.head_timeout, default.head_timeout),
        idle_timeout: reader.span("idle_timeout", wire.idle_timeout, default.idle_timeout),
        head_fields: reader.number(
            "head_fields",
            wire.head_fields,
            default.head_fields,
            EdgeLimits::HEAD_FIELDS_RANGE,
        ),
        head_bytes: reader.number(
            "head_bytes",
            wire.head_bytes,
            default.head_bytes,
            EdgeLimits::HEAD_BYTES_RANGE,
        ),
        target_bytes: reader.number(
            "target_bytes",
            wire.target_bytes,
            default.target_bytes,
            EdgeLimits::TARGET_BYTES_RANGE,
        ),
        body_grace: reader.span("body_grace", wire.body_grace, default.body_grace),
        client_resting: reader.count(
            "client_resting",
            wire.client_resting,
            default.client_resting,
        ),
        stall_timeout: reader.span("stall_timeout", wire.stall_timeout, default.stall_timeout),
        stalled_max: reader.count("stalled_max", wire.stalled_max, default.stalled_max),
    }
}

struct Reader<'a> {
    field: &'a str,
    found: &'a mut Violations,
}

impl Reader<'_> {
    fn count(&mut self, which: &str, wire: Option<u32>, default: u32) -> u32 {
        self.number(which, wire, default, EdgeLimits::COUNT_RANGE)
    }

    fn number(&mut self, which: &str, wire: Option<u32>, default: u32, range: (u32, u32)) -> u32 {
        let field = format!("{}.{which}", self.field);
        wire.and_then(|number| self.found.number(&field, number, range))
            .unwrap_or(default)
    }

    fn span(
        &mut self,
        which: &str,
        wire: Option<prost_types::Duration>,
        default: Duration,
    ) -> Duration {
        let field = format!("{}.{which}", self.field);
        wire.and_then(|span| {
            let range = EdgeLimits::SPAN_RANGE;
            self.found.span(&field, &span, range, Unit::Milliseconds)
        })
        .unwrap_or(default)
    }
}

/// Writes every limit.
pub(super) fn write(limits: &EdgeLimits) -> admin::EdgeLimits {
    let wire = |span: Duration| Some(time::wire_duration(span));
    admin::EdgeLimits {
        connections: Some(limits.connections),
        client_connections: Some(limits.client_connections),
        streams: Some(limits.streams),
        resets: Some(limits.resets),
        handshake_timeout: wire(limits.handshake_timeout),
        head_timeout: wire(limits.head_timeout),
        idle_timeout: wire(limits.idle_timeout),
        head_fields: Some(limits.head_fields),
        head_bytes: Some(limits.head_bytes),
        target_bytes: Some(limits.target_bytes),
        body_grace: wire(limits.body_grace),
        client_resting: Some(limits.client_resting),
        stall_timeout: wire(limits.stall_timeout),
        stalled_max: Some(limits.stalled_max),
    }
}

/// Those of `limits` that were `said`.
pub(super) fn said(
    limits: &EdgeLimits,
    said: Option<&admin::EdgeLimits>,
) -> Option<admin::EdgeLimits> {
    let (said, all) = (said?, write(limits));
    let own = admin::EdgeLimits {
        connections: said.connections.and(all.connections),
        client_connections: said.client_connections.and(all.client_connections),
        streams: said.streams.and(all.streams),
        resets: said.resets.and(all.resets),
        handshake_timeout: said.handshake_timeout.and(all.handshake_timeout),
        head_timeout: said.head_timeout.and(all.head_timeout),
        idle_timeout: said.idle_timeout.and(all.idle_timeout),
        head_fields: said.head_fields.and(all.head_fields),
        head_bytes: said.head_bytes.and(all.head_bytes),
        target_bytes: said.target_bytes.and(all.target_bytes),
        body_grace: said.body_grace.and(all.body_grace),
        client_resting: said.client_resting.and(all.client_resting),
        stall_timeout: said.stall_timeout.and(all.stall_timeout),
        stalled_max: said.stalled_max.and(all.stalled_max),
    };
    (own != admin::EdgeLimits::default()).then_some(own)
}

/// Stored limits, and the default's where they say nothing.
pub(super) fn filled(stored: Option<admin::EdgeLimits>, default: &EdgeLimits) -> admin::EdgeLimits {
    let (stored, default) = (stored.unwrap_or_default(), write(default));
    admin::EdgeLimits {
        connections: stored.connections.or(default.connections),
        client_connections: stored.client_connections.or(default.client_connections),
        streams: stored.streams.or(default.streams),
        resets: stored.resets.or(default.resets),
        handshake_timeout: stored.handshake_timeout.or(default.handshake_timeout),
        head_timeout: stored.head_timeout.or(default.head_timeout),
        idle_timeout: stored.idle_timeout.or(default.idle_timeout),
        head_fields: stored.head_fields.or(default.head_fields),
        head_bytes: stored.head_bytes.or(default.head_bytes),
        target_bytes: stored.target_bytes.or(default.target_bytes),
        body_grace: stored.body_grace.or(default.body_grace),
        client_resting: stored.client_resting.or(default.client_resting),
        stall_timeout: stored.stall_timeout.or(default.stall_timeout),
        stalled_max: stored.stalled_max.or(default.stalled_max),
    }
}

/// Writes limits for edges.
pub fn write_edge_limits(limits: &EdgeLimits) -> fabric::EdgeLimits {
    let millis = |span: Duration| u64::try_from(span.as_millis()).ok();
    fabric::EdgeLimits {
        connections: Some(limits.connections),
        client_connections: Some(limits.client_connections),
        streams: Some(limits.streams),
        resets: Some(limits.resets),
        handshake_timeout_ms: millis(limits.handshake_timeout),
        head_timeout_ms: millis(limits.head_timeout),
        idle_timeout_ms: millis(limits.idle_timeout),
        head_fields: Some(limits.head_fields),
        head_bytes: Some(limits.head_bytes),
        target_bytes: Some(limits.target_bytes),
        body_grace_ms: millis(limits.body_grace),
        client_resting: Some(limits.client_resting),
        stall_timeout_ms: millis(limits.stall_timeout),
        stalled_max: Some(limits.stalled_max),
    }
}

/// Reads what an edge is told. What is missing, as it is from an older control, or cannot be used, is the product's own; the
/// names of the latter are given back too.
pub fn read_edge_limits(wire: Option<&fabric::EdgeLimits>) -> (EdgeLimits, Vec<&'static str>) {
    let (wire, own) = (wire.copied().unwrap_or_default(), EdgeLimits::default());
    let mut told = Told::default();
    let limits = EdgeLimits {
        connections: told.count("connections", wire.connections, own.connections),
        client_connections: told.count(
            "client_connections",
            wire.client_connections,
            own.client_connections,
        ),
        streams: told.count("streams", wire.streams, own.streams),
        resets: told.count("resets", wire.resets, own.resets),
        handshake_timeout: told.span(
            "handshake_timeout",
            wire.handshake_timeout_ms,
            own.handshake_timeout,
        ),
        head_timeout: told.span("head_timeout", wire.head_timeout_ms, own.head_timeout),
        idle_timeout: told.span("idle_timeout", wire.idle_timeout_ms, own.idle_timeout),
        head_fields: told.value(
            "head_fields",
            wire.head_fields,
            own.head_fields,
            EdgeLimits::HEAD_FIELDS_RANGE,
        ),
        head_bytes: told.value(
            "head_bytes",
            wire.head_bytes,
            own.head_bytes,
            EdgeLimits::HEAD_BYTES_RANGE,
        ),
        target_bytes: told.value(
            "target_bytes",
            wire.target_bytes,
            own.target_bytes,
            EdgeLimits::TARGET_BYTES_RANGE,
        ),
        body_grace: told.span("body_grace", wire.body_grace_ms, own.body_grace),
        client_resting: told.count("client_resting", wire.client_resting, own.client_resting),
        stall_timeout: told.span("stall_timeout", wire.stall_timeout_ms, own.stall_timeout),
        stalled_max: told.count("stalled_max", wire.stalled_max, own.stalled_max),
    };
    (limits, told.unusable)
}

/// Reads what an edge is told, and notes what it cannot use.
#[derive(Default)]
struct Told {
    unusable: Vec<&'static str>,
}

impl Told {
    fn count(&mut self, which: &'static str, wire: Option<u32>, own: u32) -> u32 {
        self.value(which, wire, own, EdgeLimits::COUNT_RANGE)
    }

    fn span(&mut self, which: &'static str, ms: Option<u64>, own: Duration) -> Duration {
        let span = ms.map(Duration::from_millis);
        self.value(which, span, own, EdgeLimits::SPAN_RANGE)
    }

    fn value<T: PartialOrd>(
        &mut self,
        which: &'static str,
        wire: Option<T>,
        own: T,
        (least, most): (T, T),
    ) -> T {
        match wire {
            Some(value) if (least..=most).contains(&value) => value,
            Some(_) => {
                self.unusable.push(which);
                own
            }
            None => own,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary;

    #[test]
    fn what_an_edge_cannot_use_is_named_and_the_products_own() {
        let wire = fabric::EdgeLimits {
            streams: Some(0),
            resets: Some(7),
            head_timeout_ms: Some(u64::MAX),
            ..Default::default()
        };
        let want = EdgeLimits {
            resets: 7,
            ..EdgeLimits::default()
        };
        assert_eq!(
            read_edge_limits(Some(&wire)),
            (want, vec!["streams", "head_timeout"])
        );
        assert_eq!(read_edge_limits(None), (EdgeLimits::default(), Vec::new()));
    }

    proptest! {
        #[test]
        fn edges_are_told_what_was_set(limits in arbitrary::edge_limits()) {
            let wire = write_edge_limits(&limits);
            prop_assert_eq!(read_edge_limits(Some(&wire)), (limits, Vec::new()));
        }
    }
}
