//! How much an app takes.

use std::time::Duration;

/// Most of one app, at each edge. What is not set is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Longest request body, in bytes.
    pub body_bytes: Option<u64>,
    /// Requests under way.
    pub requests: Option<u32>,
    /// Requests of all users together.
    pub rate: Option<Rate>,
    /// Requests of one address, or of one /64 of IPv6.
    pub client_rate: Option<Rate>,
    /// Bytes per second at which a request's body of known length must come; 0: none is asked for. Not set: [`Limits::BODY_PACE`].
    pub body_pace: Option<u32>,
    /// Fields of a request's head; none: as many as the edge takes.
    pub head_fields: Option<u32>,
    /// Bytes of those fields; none: as many as the edge takes.
    pub head_bytes: Option<u32>,
    /// Bytes of a path and query; none: as many as the edge takes.
    pub target_bytes: Option<u32>,
    /// How long an answer may wait for its user; none, or longer than the edge's own: that one.
    pub stall_timeout: Option<Duration>,
}

impl Limits {
    /// Modems of the nineties were faster. It ends who feeds thousands of requests a byte at a time.
    pub const BODY_PACE: u32 = 100;
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come, 1 to [`Rate::MAX`].
    pub per_second: u32,
    /// Tokens that it holds, 1 to [`Rate::MAX`].
    pub burst: u32,
}

impl Rate {
    /// Beyond what one edge can serve.
    pub const MAX: u32 = 1_000_000;
}
