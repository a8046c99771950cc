//! The wire between edge and agent.
//!
//! The agent dials, the edge opens every stream. Over QUIC the ALPN is [`quic::ALPN`]; where no UDP goes through, [HTTP/2 over
//! TCP](tcp) carries the same streams. Both sides show certificates. The first stream of a connection is the [`control`] stream;
//! each later one is one request, TCP session, UDP flow or probe.
//!
//! # A stream
//!
//! The edge says `varint kind` (1 control, 2 http, 3 tcp, 4 udp, 5 probe). Frames follow in both directions, each
//! `varint type, varint length, payload`; varints are QUIC's (RFC 9000, section 16).
//!
//! | type | name | payload |
//! |---|---|---|
//! | 0x00 | DATA | 1 byte to 64 KiB; the raw byte stream after an upgrade |
//! | 0x01 | REQUEST | `RequestHead`, at most 64 KiB; first from the edge |
//! | 0x02 | RESPONSE | `ResponseHead`, at most 64 KiB: up to 32 informational ones, then one final |
//! | 0x03 | TRAILERS | a [field block](fields), at most one, after the last DATA |
//! | 0x04 | END | `End`, then the end of the stream |
//! | 0x05 | ERROR | `ErrorInfo`, then the end of the stream; at any point before END |
//! | 0x06 | CONTINUE | nothing; the agent asks for the body, at most once, before its final RESPONSE |
//! | 0x07 | CREDIT | reserved |
//!
//! Types from 0x40 that a peer does not know are skipped, up to 64 KiB each; unknown lower ones break the protocol.
//!
//! # Rules
//!
//! - The end of a stream without END or ERROR is a truncation, never a complete body. A half that is dropped resets.
//! - END counts the body's bytes; a count that differs from what DATA carried breaks the protocol.
//! - A full answer may come before the request's body ends: the agent then stops the upload with BODY_NOT_NEEDED, and the
//!   edge reads on.
//! - After an upgrade (101, or 2xx to CONNECT) DATA is the raw stream in both directions, and END is half-close.
//! - Backpressure is the transport's own. What was REFUSED or DRAINING was not processed and may be tried elsewhere.
//! - A probe is a REQUEST that names an app, and END; RESPONSE with status 204 and END say that the agent reaches the app's origins, and
//!   ERROR says what of it fails. No origin gets a request by it.
//! - A Hello that is a trial gets its Welcome or refusal like any other. No stream is opened on such a link, and it replaces none.
//! - Reset, stop and close codes stand in [`codes`], and nowhere else.
//!
//! # Versions
//!
//! Small changes are new protobuf fields, capability bits and minor versions, agreed on in Hello and Welcome; a change that
//! an old peer cannot pass over gets a new ALPN.
//!
//! - 1: as described here. HTTP/2 over TCP has its own ALPN, and carries the same versions. `RequestHead.identity` holds the edge's
//!   statement of the user where the app has single sign-on, `RequestHead.main_shares_host` whether the user's host is one of the
//!   main part of a segment's app, too, and `RequestHead.id_token` the user's ID token where the app asks for it.

pub mod codes;
pub mod control;
pub mod fields;
pub mod frame;
pub mod link;
pub mod quic;
pub mod silence;
pub mod steering;
pub mod stream;
pub mod tcp;
pub mod varint;

pub use codes::Code;
pub use frame::Frame;
pub use link::{Accepted, Closed, Connection, Transport, Vitals};
pub use stream::{Kind, RecvError, RecvHalf, SendError, SendHalf};
