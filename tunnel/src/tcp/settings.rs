//! Settings of HTTP/2.

use std::time::Duration;

use h2::{client, server};

use crate::quic::settings::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, STREAMS_MAX};

/// Streams that an edge may open at once: those that it may over QUIC, and the farewell.
const STREAMS_GRANTED: u32 = STREAMS_MAX + 1;

/// Payload of one DATA frame, as of one of the tunnel's own.
const FRAME_BYTES_MAX: u32 = 64 * 1024;

/// Fields of one head of HTTP/2. Ours are four short ones; the heads of requests travel in frames of the tunnel.
const HEAD_BYTES_MAX: u32 = 4 * 1024;

/// Of one stream, written and not yet taken by the socket.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Streams that the edge reset before they were looked at, which is at once. Far more is an attack (CVE-2023-44487).
const RESETS_WAITING_MAX: usize = STREAMS_MAX as usize;

/// How long a stream that was reset here is remembered: what was on its way arrives within that and is passed over.
const RESET_MEMORY: Duration = Duration::from_secs(5);

/// So many are remembered: users who leave at a rate of 1,600 a second.
const RESETS_REMEMBERED_MAX: usize = 8 * 1024;

/// What comes for streams that are no longer remembered, over the life of a connection; then it is made anew.
const ERRORS_MAX: usize = 64 * 1024;

/// What holding small DATA frames may cost beyond their bytes, 256 for each: windows count bytes alone.
const SMALL_FRAMES_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) fn edge() -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .max_concurrent_streams(0)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(RESETS_REMEMBERED_MAX)
        .reset_stream_duration(RESET_MEMORY)
        .max_local_error_reset_streams(Some(ERRORS_MAX))
        .data_frame_budget(SMALL_FRAMES_BYTES_MAX);
    builder
}

pub(super) fn agent() -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS_GRANTED)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESETS_WAITING_MAX)
        .max_concurrent_reset_streams(RESETS_REMEMBERED_MAX)
        .reset_stream_duration(RESET_MEMORY)
        .max_local_error_reset_streams(Some(ERRORS_MAX))
        .data_frame_budget(SMALL_FRAMES_BYTES_MAX);
    builder
}
