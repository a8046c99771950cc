//! Bounds on what users may cost an edge.

use std::{ops::RangeInclusive, time::Duration};

use runtime::config::{self, Problems};
use serde::{Deserialize, Serialize};

/// Any span that is set here: a second is little for a slow line, an hour is as good as never.
const SPAN_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
/// Any number of things that is set here.
const COUNT_RANGE: RangeInclusive<u32> = 1..=1_000_000;
/// Fields: the tunnel carries six more, which the edge adds.
const HEAD_FIELDS_RANGE: RangeInclusive<u64> = 16..=250;
/// Bytes of a head: up to what the tunnel carries.
const HEAD_BYTES_RANGE: RangeInclusive<u64> = 8 * 1024..=64 * 1024;
/// Bytes of a target: up to what leaves room for fields in a head of the tunnel.
const TARGET_BYTES_RANGE: RangeInclusive<u64> = 256..=16 * 1024;
/// Bytes per second of a body.
const PACE_RANGE: RangeInclusive<u32> = 0..=1_000_000;

/// Bounds, as written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawLimits {
    /// Connections of one worker; 10000.
    pub connections: Option<u32>,
    /// Connections of one address, or of one /64 of IPv6, at the whole edge; 1000.
    pub client_connections: Option<u32>,
    /// Requests at once on one connection of HTTP/2; 250.
    pub streams: Option<u32>,
    /// Time for a TLS handshake; `10s`.
    pub handshake_timeout: Option<String>,
    /// Time for a request's head, from its first byte; `10s`.
    pub head_timeout: Option<String>,
    /// How long a connection without a request is kept; `60s`.
    pub idle_timeout: Option<String>,
    /// Fields of a request's head; 250.
    pub head_fields: Option<usize>,
    /// Bytes of a request's head; `64KiB`.
    pub head_bytes: Option<String>,
    /// Bytes of a path and query; `16KiB`.
    pub target_bytes: Option<String>,
    /// Bytes per second at which a request's body comes at the least, until the answer begins; 0: none is asked for; 100.
    pub body_pace: Option<u32>,
    /// Time that a body may lag behind that pace; `30s`.
    pub body_grace: Option<String>,
    /// Bodies of no known length that may lag behind it all the same, of one address, or of one /64 of IPv6; 1000.
    pub client_resting: Option<u32>,
    /// How long an answer may wait for its user; `60s`.
    pub stall_timeout: Option<String>,
    /// Answers that may wait for more than a few seconds; 256.
    pub stalled_max: Option<u32>,
}

/// Bounds, as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of one worker.
    pub connections: u32,
    /// Connections of one address, or of one /64 of IPv6, at the whole edge.
    pub client_connections: u32,
    /// Requests at once on one connection of HTTP/2.
    pub streams: u32,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Time for a request's head, from its first byte.
    pub head_timeout: Duration,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
    /// Fields of a request's head.
    pub head_fields: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Bytes of a path and query.
    pub target_bytes: usize,
    /// Bytes per second at which a request's body comes at the least, until the answer begins; 0: none is asked for.
    pub body_pace: u32,
    /// Time that a body may lag behind that pace.
    pub body_grace: Duration,
    /// Bodies of no known length that may lag behind it all the same, of one address, or of one /64 of IPv6.
    pub client_resting: u32,
    /// How long an answer may wait for its user.
    pub stall_timeout: Duration,
    /// Answers that may wait for more than a few seconds.
    pub stalled_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // At some 50 KB each with TLS buffers, 10,000 take 500 MB.
            connections: 10_000,
            // A company behind one address: some hundred browsers with a few connections each.
            client_connections: 1_000,
            // Browsers ask for 100.
            streams: 250,
            // Slow phones need one or two seconds.
            handshake_timeout: Duration::from_secs(10),
            // Heads come in one write, and within a few round trips on the worst of lines.
            head_timeout: Duration::from_secs(10),
            // Longer than people read between two clicks on the same site; the next one needs no handshake.
            idle_timeout: Duration::from_secs(60),
            // The edge adds up to six of its own and the tunnel carries 256.
            head_fields: 250,
            // What the tunnel can carry.
            head_bytes: 64 * 1024,
            // Browsers and servers agree on about 8 KiB; some apps carry state in twice that.
            target_bytes: 16 * 1024,
            // Modems of the nineties were faster. It ends who feeds thousands of requests a byte at a time.
            body_pace: 100,
            // Several retransmissions, and the time to pick a file.
            body_grace: Duration::from_secs(30),
            // One on each connection that an address may have: more is only for who means to hold on to something.
            client_resting: 1_000,
            // Some 100 KiB of an answer take less even on a bad line. nginx waits as long.
            stall_timeout: Duration::from_secs(60),
            // Each holds up to 1 MiB, so together 256 MiB.
            stalled_max: 256,
        }
    }
}

impl Limits {
    /// Reads what was written; what is wrong goes to `found`.
    #[expect(clippy::too_many_lines, reason = "a statement for each bound")]
    pub(super) fn new(raw: &RawLimits, found: &mut Problems) -> Option<Self> {
        let default = Self::default();
        let mut reader = Reader { found };
        let connections = reader.count(
            "connections",
            raw.connections,
            default.connections,
            COUNT_RANGE,
        );
        let client_connections = reader.count(
            "client_connections",
            raw.client_connections,
            default.client_connections,
            COUNT_RANGE,
        );
        let streams = reader.count("streams", raw.streams, default.streams, COUNT_RANGE);
        let handshake_timeout = reader.span(
            "handshake_timeout",
            raw.handshake_timeout.as_deref(),
            default.handshake_timeout,
        );
        let head_timeout = reader.span(
            "head_timeout",
            raw.head_timeout.as_deref(),
            default.head_timeout,
        );
        let idle_timeout = reader.span(
            "idle_timeout",
            raw.idle_timeout.as_deref(),
            default.idle_timeout,
        );
        let head_fields = reader.size(
            "head_fields",
            raw.head_fields.map(|fields| Ok(fields as u64)),
            default.head_fields,
            HEAD_FIELDS_RANGE,
        );
        let head_bytes = reader.size(
            "head_bytes",
            raw.head_bytes.as_deref().map(config::byte_size),
            default.head_bytes,
            HEAD_BYTES_RANGE,
        );
        let target_bytes = reader.size(
            "target_bytes",
            raw.target_bytes.as_deref().map(config::byte_size),
            default.target_bytes,
            TARGET_BYTES_RANGE,
        );
        let body_pace = reader.count("body_pace", raw.body_pace, default.body_pace, PACE_RANGE);
        let body_grace = reader.span("body_grace", raw.body_grace.as_deref(), default.body_grace);
        let client_resting = reader.count(
            "client_resting",
            raw.client_resting,
            default.client_resting,
            COUNT_RANGE,
        );
        let stall_timeout = reader.span(
            "stall_timeout",
            raw.stall_timeout.as_deref(),
            default.stall_timeout,
        );
        let stalled_max = reader.count(
            "stalled_max",
            raw.stalled_max,
            default.stalled_max,
            COUNT_RANGE,
        );
        Some(Self {
            connections: connections?,
            client_connections: client_connections?,
            streams: streams?,
            handshake_timeout: handshake_timeout?,
            head_timeout: head_timeout?,
            idle_timeout: idle_timeout?,
            head_fields: head_fields?,
            head_bytes: head_bytes?,
            target_bytes: target_bytes?,
            body_pace: body_pace?,
            body_grace: body_grace?,
            client_resting: client_resting?,
            stall_timeout: stall_timeout?,
            stalled_max: stalled_max?,
        })
    }

    /// As it could have been written.
    pub(super) fn written(&self) -> RawLimits {
        let span = |span| Some(config::written_duration(span));
        let bytes = |bytes| Some(format!("{bytes}B"));
        RawLimits {
            connections: Some(self.connections),
            client_connections: Some(self.client_connections),
            streams: Some(self.streams),
            handshake_timeout: span(self.handshake_timeout),
            head_timeout: span(self.head_timeout),
            idle_timeout: span(self.idle_timeout),
            head_fields: Some(self.head_fields),
            head_bytes: bytes(self.head_bytes),
            target_bytes: bytes(self.target_bytes),
            body_pace: Some(self.body_pace),
            body_grace: span(self.body_grace),
            client_resting: Some(self.client_resting),
            stall_timeout: span(self.stall_timeout),
            stalled_max: Some(self.stalled_max),
        }
    }
}

struct Reader<'a> {
    found: &'a mut Problems,
}

impl Reader<'_> {
    fn span(&mut self, key: &str, written: Option<&str>, default: Duration) -> Option<Duration> {
        let span = match written {
            Some(text) => self.found.take(&full(key), config::duration(text))?,
            None => default,
        };
        self.within(key, span, SPAN_RANGE, |span| {
            config::written_duration(*span)
        })
    }

    fn count(
        &mut self,
        key: &str,
        written: Option<u32>,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        self.within(key, written.unwrap_or(default), range, ToString::to_string)
    }

    fn size(
        &mut self,
        key: &str,
        written: Option<Result<u64, config::UnitError>>,
        default: usize,
        range: RangeInclusive<u64>,
    ) -> Option<usize> {
        let size = match written {
            Some(size) => self.found.take(&full(key), size)?,
            None => default as u64,
        };
        let size = self.within(key, size, range, ToString::to_string)?;
        usize::try_from(size).ok()
    }

    fn within<T: PartialOrd>(
        &mut self,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        if range.contains(&value) {
            return Some(value);
        }
        let (least, most) = (show(range.start()), show(range.end()));
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
            body_pace: Some(0),
            stall_timeout: Some("0s".to_owned()),
            ..RawLimits::default()
        };
        let mut problems = Problems::new();
        assert_eq!(Limits::new(&raw, &mut problems), None);
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
        let mut problems = Problems::new();
        let written = Limits::default().written();
        let read = Limits::new(&written, &mut problems);
        assert_eq!(read, Some(Limits::default()), "{problems}");
    }
}
