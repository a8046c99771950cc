//! What users may cost each edge.

use std::time::Duration;

/// Bounds that hold at each edge before an app is known, or for all apps together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeLimits {
    /// Connections of one worker and listener.
    pub connections: u32,
    /// Connections of one address, or of one /64 of IPv6, at the whole edge.
    pub client_connections: u32,
    /// Requests at once on one connection of HTTP/2 or HTTP/3.
    pub streams: u32,
    /// Requests of one connection of HTTP/2 that were broken off before they were looked at.
    pub resets: u32,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Time for a request's head, from its first byte.
    pub head_timeout: Duration,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
    /// Fields of a request's head.
    pub head_fields: u32,
    /// Bytes of a request's head.
    pub head_bytes: u32,
    /// Bytes of a path and query.
    pub target_bytes: u32,
    /// Time that a body may lag behind the pace that its app asks for.
    pub body_grace: Duration,
    /// Bodies of no known length that may lag behind it all the same, of one address, or of one /64 of IPv6.
    pub client_resting: u32,
    /// How long an answer may wait for its user.
    pub stall_timeout: Duration,
    /// Answers that may wait for more than a few seconds.
    pub stalled_max: u32,
}

impl EdgeLimits {
    /// Any span that is set here: a second is little for a slow line, an hour is as good as never.
    pub const SPAN_RANGE: (Duration, Duration) =
        (Duration::from_secs(1), Duration::from_secs(3_600));
    /// Any number of things that is set here.
    pub const COUNT_RANGE: (u32, u32) = (1, 1_000_000);
    /// Fields: the tunnel carries six more, which the edge adds.
    pub const HEAD_FIELDS_RANGE: (u32, u32) = (16, 250);
    /// Bytes of a head: up to what the tunnel carries.
    pub const HEAD_BYTES_RANGE: (u32, u32) = (8 * 1024, 64 * 1024);
    /// Bytes of a target: up to what leaves room for fields in a head of the tunnel.
    pub const TARGET_BYTES_RANGE: (u32, u32) = (256, 16 * 1024);
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            // At some 50 KB each with TLS buffers, 10,000 take 500 MB.
            connections: 10_000,
            // A company behind one address: some hundred browsers with a few connections each.
            client_connections: 1_000,
            // Browsers ask for 100.
            streams: 250,
            // They are looked at within the same turn of the worker: only a flood (CVE-2023-44487) gets ahead by so many.
            resets: 20,
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
