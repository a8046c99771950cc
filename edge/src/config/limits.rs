//! Bounds on what users may cost this edge, where its own file has a word on them: they count more than the fabric's settings.

use std::time::Duration;

use model::settings::EdgeLimits;
use runtime::config::{self, Problems};
use serde::{Deserialize, Serialize};

/// Bounds, as written. Those that are not are the fabric's (`edge_limits` of its settings), or the defaults given here.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawLimits {
    /// Connections of one worker; 10000.
    pub connections: Option<u32>,
    /// Connections of one address, or of one /64 of IPv6, at the whole edge; 1000.
    pub client_connections: Option<u32>,
    /// Requests at once on one connection of HTTP/2, or of HTTP/3, where they are 100 at the most; 250.
    pub streams: Option<u32>,
    /// Requests of one connection of HTTP/2 that were broken off before they were looked at; 20.
    pub resets: Option<u32>,
    /// Time for a TLS handshake; `10s`.
    pub handshake_timeout: Option<String>,
    /// Time for a request's head, from its first byte; `10s`.
    pub head_timeout: Option<String>,
    /// How long a connection without a request is kept; `60s`.
    pub idle_timeout: Option<String>,
    /// Fields of a request's head; 250.
    pub head_fields: Option<u32>,
    /// Bytes of a request's head; `64KiB`.
    pub head_bytes: Option<String>,
    /// Bytes of a path and query; `16KiB`.
    pub target_bytes: Option<String>,
    /// Time that a body may lag behind the pace that its app asks for; `30s`.
    pub body_grace: Option<String>,
    /// Bodies of no known length that may lag behind it all the same, of one address, or of one /64 of IPv6; 1000.
    pub client_resting: Option<u32>,
    /// How long an answer may wait for its user; `60s`.
    pub stall_timeout: Option<String>,
    /// Answers that may wait for more than a few seconds; 256.
    pub stalled_max: Option<u32>,
}

/// Bounds of this edge's own, as meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnLimits {
    /// Connections of one worker.
    pub connections: Option<u32>,
    /// Connections of one address, or of one /64 of IPv6, at the whole edge.
    pub client_connections: Option<u32>,
    /// Requests at once on one connection of HTTP/2, or of HTTP/3, where they are 100 at the most.
    pub streams: Option<u32>,
    /// Requests of one connection of HTTP/2 that were broken off before they were looked at.
    pub resets: Option<u32>,
    /// Time for a TLS handshake.
    pub handshake_timeout: Option<Duration>,
    /// Time for a request's head, from its first byte.
    pub head_timeout: Option<Duration>,
    /// How long a connection without a request is kept.
    pub idle_timeout: Option<Duration>,
    /// Fields of a request's head.
    pub head_fields: Option<u32>,
    /// Bytes of a request's head.
    pub head_bytes: Option<u32>,
    /// Bytes of a path and query.
    pub target_bytes: Option<u32>,
    /// Time that a body may lag behind the pace that its app asks for.
    pub body_grace: Option<Duration>,
    /// Bodies of no known length that may lag behind it all the same, of one address, or of one /64 of IPv6.
    pub client_resting: Option<u32>,
    /// How long an answer may wait for its user.
    pub stall_timeout: Option<Duration>,
    /// Answers that may wait for more than a few seconds.
    pub stalled_max: Option<u32>,
}

impl OwnLimits {
    /// Reads what was written; what is wrong goes to `found`.
    pub(super) fn new(raw: &RawLimits, found: &mut Problems) -> Option<Self> {
        let mut reader = Reader {
            found,
            failed: false,
        };
        let limits = Self {
            connections: reader.count("connections", raw.connections, EdgeLimits::COUNT_RANGE),
            client_connections: reader.count(
                "client_connections",
                raw.client_connections,
                EdgeLimits::COUNT_RANGE,
            ),
            streams: reader.count("streams", raw.streams, EdgeLimits::COUNT_RANGE),
            resets: reader.count("resets", raw.resets, EdgeLimits::COUNT_RANGE),
            handshake_timeout: reader.span("handshake_timeout", raw.handshake_timeout.as_deref()),
            head_timeout: reader.span("head_timeout", raw.head_timeout.as_deref()),
            idle_timeout: reader.span("idle_timeout", raw.idle_timeout.as_deref()),
            head_fields: reader.count(
                "head_fields",
                raw.head_fields,
                EdgeLimits::HEAD_FIELDS_RANGE,
            ),
            head_bytes: reader.size(
                "head_bytes",
                raw.head_bytes.as_deref(),
                EdgeLimits::HEAD_BYTES_RANGE,
            ),
            target_bytes: reader.size(
                "target_bytes",
                raw.target_bytes.as_deref(),
                EdgeLimits::TARGET_BYTES_RANGE,
            ),
            body_grace: reader.span("body_grace", raw.body_grace.as_deref()),
            client_resting: reader.count(
                "client_resting",
                raw.client_resting,
                EdgeLimits::COUNT_RANGE,
            ),
            stall_timeout: reader.span("stall_timeout", raw.stall_timeout.as_deref()),
            stalled_max: reader.count("stalled_max", raw.stalled_max, EdgeLimits::COUNT_RANGE),
        };
        (!reader.failed).then_some(limits)
    }

    /// What holds under the fabric's settings.
    pub(crate) fn over(&self, fabric: &EdgeLimits) -> EdgeLimits {
        EdgeLimits {
            connections: self.connections.unwrap_or(fabric.connections),
            client_connections: self.client_connections.unwrap_or(fabric.client_connections),
            streams: self.streams.unwrap_or(fabric.streams),
            resets: self.resets.unwrap_or(fabric.resets),
            handshake_timeout: self.handshake_timeout.unwrap_or(fabric.handshake_timeout),
            head_timeout: self.head_timeout.unwrap_or(fabric.head_timeout),
            idle_timeout: self.idle_timeout.unwrap_or(fabric.idle_timeout),
            head_fields: self.head_fields.unwrap_or(fabric.head_fields),
            head_bytes: self.head_bytes.unwrap_or(fabric.head_bytes),
            target_bytes: self.target_bytes.unwrap_or(fabric.target_bytes),
            body_grace: self.body_grace.unwrap_or(fabric.body_grace),
            client_resting: self.client_resting.unwrap_or(fabric.client_resting),
            stall_timeout: self.stall_timeout.unwrap_or(fabric.stall_timeout),
            stalled_max: self.stalled_max.unwrap_or(fabric.stalled_max),
        }
    }

    /// As it could have been written.
    pub(super) fn written(&self) -> RawLimits {
        let span = |span: Option<Duration>| span.map(config::written_duration);
        let bytes = |bytes: Option<u32>| bytes.map(|bytes| format!("{bytes}B"));
        RawLimits {
            connections: self.connections,
            client_connections: self.client_connections,
            streams: self.streams,
            resets: self.resets,
            handshake_timeout: span(self.handshake_timeout),
            head_timeout: span(self.head_timeout),
            idle_timeout: span(self.idle_timeout),
            head_fields: self.head_fields,
            head_bytes: bytes(self.head_bytes),
            target_bytes: bytes(self.target_bytes),
            body_grace: span(self.body_grace),
            client_resting: self.client_resting,
            stall_timeout: span(self.stall_timeout),
            stalled_max: self.stalled_max,
        }
    }
}

struct Reader<'a> {
    found: &'a mut Problems,
    failed: bool,
}

impl Reader<'_> {
    fn span(&mut self, key: &str, written: Option<&str>) -> Option<Duration> {
        let span = self.read(key, config::duration(written?))?;
        self.within(key, span, EdgeLimits::SPAN_RANGE, config::written_duration)
    }

    fn count(&mut self, key: &str, written: Option<u32>, range: (u32, u32)) -> Option<u32> {
        self.within(key, written?, range, |count| count.to_string())
    }

    fn size(&mut self, key: &str, written: Option<&str>, range: (u32, u32)) -> Option<u32> {
        let size = self.read(key, config::byte_size(written?))?;
        // One that is too large to count is beyond every range.
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.within(key, size, range, |size| size.to_string())
    }

    fn read<T>(&mut self, key: &str, read: Result<T, config::UnitError>) -> Option<T> {
        let read = self.found.take(&full(key), read);
        self.failed |= read.is_none();
        read
    }

    fn within<T: Copy + PartialOrd>(
        &mut self,
        key: &str,
        value: T,
        (least, most): (T, T),
        show: impl Fn(T) -> String,
    ) -> Option<T> {
        if (least..=most).contains(&value) {
            return Some(value);
        }
        self.failed = true;
        let (least, most) = (show(least), show(most));
        self.found
            .add(full(key), format_args!("must be {least} to {most}"));
        None
    }
}

fn full(key: &str) -> String {
    format!("limits.{key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_out_of_range_is_told_with_its_key() {
        let raw = RawLimits {
            connections: Some(0),
            head_timeout: Some("soon".to_owned()),
            head_fields: Some(251),
            head_bytes: Some("65KiB".to_owned()),
            target_bytes: Some("17KiB".to_owned()),
            stall_timeout: Some("0s".to_owned()),
            ..RawLimits::default()
        };
        let mut problems = Problems::new();
        assert_eq!(OwnLimits::new(&raw, &mut problems), None);
        let keys: Vec<_> = problems.found().iter().map(|found| &found.key).collect();
        let want = [
            "connections",
            "head_timeout",
            "head_fields",
            "head_bytes",
            "target_bytes",
            "stall_timeout",
        ];
        assert_eq!(keys, want.map(full).iter().collect::<Vec<_>>());
    }

    #[test]
    fn bounds_are_written_as_they_are_read() {
        let limits = OwnLimits {
            streams: Some(7),
            head_timeout: Some(Duration::from_secs(3)),
            target_bytes: Some(1_000),
            ..OwnLimits::default()
        };
        for limits in [limits, OwnLimits::default()] {
            let mut problems = Problems::new();
            let read = OwnLimits::new(&limits.written(), &mut problems);
            assert_eq!(read, Some(limits), "{problems}");
        }
    }

    #[test]
    fn an_edges_own_word_counts_more_than_the_fabrics() {
        let own = OwnLimits {
            streams: Some(7),
            ..OwnLimits::default()
        };
        let fabric = EdgeLimits {
            streams: 8,
            head_fields: 100,
            ..EdgeLimits::default()
        };
        let want = EdgeLimits {
            streams: 7,
            ..fabric
        };
        assert_eq!(own.over(&fabric), want);
    }
}
