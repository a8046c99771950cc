//! How much an app takes.

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
    /// Bytes per second at which a request's body of known length must come; 0: none is asked for. Not set: each edge's own.
    pub body_pace: Option<u32>,
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
