//! The tunnel over QUIC: endpoints and the settings of both sides.

mod agent;
mod congestion;
mod edge;
mod network;
mod reset;
pub(crate) mod settings;
#[cfg_attr(windows, path = "quic/socket/windows.rs")]
mod socket;

use quinn::ConnectionId;
use rand::RngCore as _;

pub use agent::{AgentEndpoint, ConnectError, Target};
pub use edge::{
    EdgeEndpoint, EndpointError, HANDSHAKES_MAX, HANDSHAKES_UNVALIDATED_MAX, Handshake, Knock,
    USER_HANDSHAKES_MAX, UserHandshake, UserKnock,
};

pub use network::Network;
pub(crate) use network::Underlay;
pub use reset::{RESET_KEY_BYTES, ResetKey};
pub use settings::{KEEP_ALIVE, STREAMS_MAX, USER_STREAMS_MAX};

use crate::steering::Worker;

/// The protocol's name and major version in TLS.
pub const ALPN: &[u8] = b"adit/1";

/// Marks the first connection ID of agents, which share their port with browsers. It chooses the TLS settings of the edge
/// and proves nothing.
const AGENT_MARK: [u8; 4] = *b"adit";

/// Where [`AGENT_MARK`] stands.
const AGENT_MARK_AT: std::ops::Range<usize> = 4..8;

/// First connection IDs: long enough for mark, steering byte and 11 random ones (RFC 9000, section 7.2 asks for 8 in all).
const FIRST_ID_BYTES: usize = 16;

/// Connection IDs that an edge issues: the steering byte and 8 random ones. Of a length that hardly anybody chooses who begins a connection
/// (browsers take 8, or anything up to 20), as that is how steering knows them.
pub(crate) const ISSUED_ID_BYTES: usize = 9;

/// TLS settings that do not suit the tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// [`ALPN`] is not among their protocols.
    #[error("tls settings do not name the tunnel's protocol")]
    Alpn,
    /// They lack TLS 1.3 or the cipher suite of QUIC's first packets.
    #[error("tls settings cannot carry quic")]
    CipherSuite,
}

fn first_id(worker: Option<Worker>) -> ConnectionId {
    let mut id = [0; FIRST_ID_BYTES];
    rand::rng().fill_bytes(&mut id);
    if let Some(worker) = worker {
        id[0] = worker.steering_byte();
    }
    id[AGENT_MARK_AT].copy_from_slice(&AGENT_MARK);
    ConnectionId::new(&id)
}

fn is_agent(first_id: &ConnectionId) -> bool {
    first_id.get(AGENT_MARK_AT) == Some(AGENT_MARK.as_slice())
}

pub(crate) fn issued_id(worker: Worker) -> ConnectionId {
    let mut id = [0; ISSUED_ID_BYTES];
    rand::rng().fill_bytes(&mut id);
    id[0] = worker.steering_byte();
    ConnectionId::new(&id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_mark_and_worker() {
        let worker = Worker::new(2, 3).unwrap();
        for _ in 0..100 {
            let id = first_id(Some(worker));
            assert_eq!((id.len(), id[0] % 3), (FIRST_ID_BYTES, 2));
            assert!(is_agent(&id));
            assert!(is_agent(&first_id(None)));
            assert_eq!(issued_id(worker)[0] % 3, 2);
        }
        assert!(!is_agent(&ConnectionId::new(b"12345678")));
        assert!(!is_agent(&ConnectionId::new(b"1")));
    }
}
