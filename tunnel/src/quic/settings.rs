//! Settings of the transport.

use std::{sync::Arc, time::Duration};

use quinn::{
    EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt,
    congestion::CubicConfig,
};

use super::congestion::PatientConfig;

/// Streams that an agent may open: none is defined. quinn keeps state for each that is granted, and an edge has many agents.
const EDGE_STREAMS_GRANTED: u32 = 8;

/// Streams that an edge may open at once: requests, sessions and probes of one uplink. Granted and idle they cost 250 KB.
pub const STREAMS_MAX: u32 = 1024;

/// 80 Mbit/s for one stream at 100 ms.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// Room for every stream that nobody reads, so that none of them holds up another. quinn tells of new room only once it is
/// an eighth of the window, hence a quarter more. Nothing is allocated for it: what is pinned is bounded by those who read,
/// each of whom is given up after a time.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = STREAMS_MAX * (STREAM_WINDOW_BYTES / 4 * 5);

/// Sent and not yet acknowledged: 1.2 Gbit/s at 100 ms.
const SEND_WINDOW_BYTES: u64 = 16 * 1024 * 1024;

/// Requests that a user may have under way on one connection; browsers ask for 100, which RFC 9114, section 6.1 calls the least.
/// quinn keeps room for each that is granted.
pub const USER_STREAMS_MAX: u32 = 100;

/// Streams in one direction that a user may open: three that HTTP/3 defines, and some that it makes peers pass over.
const USER_UNI_STREAMS_GRANTED: u32 = 8;

/// What a user may send before it is read, for all its uploads together; as over HTTP/2.
const USER_CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Answers that wait for one user, sent or not: 320 Mbit/s at 100 ms.
const USER_SEND_WINDOW_BYTES: u64 = 4 * 1024 * 1024;

/// Mappings of address translators live longer than this, and an origin may think for longer than users would wait.
const USER_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Two of those may be lost.
const USER_IDLE_TIMEOUT_MS: u32 = 60_000;

/// From the agent, over TCP as well: both sides know by it that the other lives, and QUIC's idle time-out is a net below that. It
/// keeps mappings of address translators, which forget UDP after 30 s at the least. An edge that was started
/// again answers it with a reset, so that it has its agents back after so long; and an agent learns by it that a network lets no more
/// UDP through.
pub const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Nine keep-alives may be lost.
const IDLE_TIMEOUT_MS: u32 = 20_000;

/// Largest packet that is tried between edge and agent, where the path has room for it: jumbo frames, as clouds and data centres
/// have them, cost a third of the time for each byte. quinn sends ten packets in a call, and this is a tenth of what a call takes.
pub(super) const LINK_MTU_BYTES_MAX: u16 = 6_500;

/// What may be sent before anything is acknowledged (RFC 9002, section 7.2).
const INITIAL_WINDOW_BYTES: u64 = 14_720;
/// And at the least so many of the largest packets: quinn counts each packet as one of these, also the one that says why a connection is
/// closed, which would wait behind those that try a size out and be too late. The RFC has two of them in mind.
const INITIAL_PACKETS: u64 = 6;

/// Largest packet that is tried towards users: an Ethernet frame less the headers of IPv6, UDP and some tunnel below.
const USER_MTU_BYTES_MAX: u16 = 1452;

pub(super) fn edge() -> TransportConfig {
    link(EDGE_STREAMS_GRANTED)
}

pub(super) fn agent() -> TransportConfig {
    let mut config = link(STREAMS_MAX);
    config.keep_alive_interval(Some(KEEP_ALIVE));
    config
}

fn link(streams_granted: u32) -> TransportConfig {
    let mut config = common(streams_granted, LINK_MTU_BYTES_MAX);
    let patient = PatientConfig::new(cubic(LINK_MTU_BYTES_MAX));
    config.congestion_controller_factory(Arc::new(patient));
    config
}

/// Settings towards users: no 0-RTT, few privileges.
pub(super) fn users(streams: u32) -> TransportConfig {
    let mut config = common(streams, USER_MTU_BYTES_MAX);
    config
        .max_concurrent_uni_streams(VarInt::from_u32(USER_UNI_STREAMS_GRANTED))
        .receive_window(VarInt::from_u32(USER_CONNECTION_WINDOW_BYTES))
        .send_window(USER_SEND_WINDOW_BYTES)
        .keep_alive_interval(Some(USER_KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(
            USER_IDLE_TIMEOUT_MS,
        ))));
    config
}

/// Takes packets of the size that the other side may try.
pub(super) fn take_large_packets(endpoint: &mut EndpointConfig) {
    // Fails for sizes below 1,200 only.
    let _ = endpoint.max_udp_payload_size(LINK_MTU_BYTES_MAX);
}

fn common(streams_granted: u32, mtu_bytes_max: u16) -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(mtu_bytes_max);
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(streams_granted))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .mtu_discovery_config(Some(mtu))
        .congestion_controller_factory(Arc::new(cubic(mtu_bytes_max)))
        .enable_segmentation_offload(true)
        // The spin bit lets observers measure the path; nobody here needs it.
        .allow_spin(false)
        .datagram_receive_buffer_size(None);
    config
}

fn cubic(mtu_bytes_max: u16) -> CubicConfig {
    let mut cubic = CubicConfig::default();
    let largest = INITIAL_PACKETS * u64::from(mtu_bytes_max);
    cubic.initial_window(INITIAL_WINDOW_BYTES.max(largest));
    cubic
}
