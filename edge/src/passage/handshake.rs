//! How far a handshake between a node and control is, seen from outside: by the order and the lengths of what they say.
//!
//! TLS tells a carrier nothing more (RFC 8446, section 5.2: records are of one type once keys are there). Who would deceive it gains a
//! place for one more connection that control itself ends within its own time.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

/// Control's part of a handshake has a certificate and, mostly, a post-quantum key; a request to say hello again is a tenth as long.
const CONTROLS_PART_BYTES_MIN: usize = 600;
/// The end of a node's part has at least a Finished of 36 bytes and its record's 22; a change of cipher, which means nothing, has 6.
const NODES_END_BYTES_MIN: usize = 58;

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    by_control: AtomicUsize,
    /// By the node, since control's part.
    by_node: AtomicUsize,
    over: Notify,
}

impl Handshake {
    /// Notes what the node said.
    pub(super) fn node_said(&self, bytes: usize) {
        if self.by_control.load(Relaxed) >= CONTROLS_PART_BYTES_MIN {
            self.by_node.fetch_add(bytes, Relaxed);
        }
    }

    /// Notes what control said. It answers the node's end of the handshake only if it has taken it: else it closes.
    pub(super) fn control_said(&self, bytes: usize) {
        if self.by_node.load(Relaxed) >= NODES_END_BYTES_MIN {
            self.over.notify_one();
        }
        self.by_control.fetch_add(bytes, Relaxed);
    }

    /// Waits for the end. For one who waits; cancel-safe.
    pub(super) async fn over(&self) {
        self.over.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// What one of both said.
    enum Said {
        Node(usize),
        Control(usize),
    }

    #[test]
    fn it_is_over_once_control_goes_on_after_the_nodes_end() {
        use Said::{Control, Node};
        for (said, is_over) in [
            (&[Node(1_700), Control(2_600)][..], false),
            (&[Node(1_700), Control(2_600), Node(900)], false),
            (&[Node(1_700), Control(2_600), Node(900), Control(1)], true),
            // Its part in pieces, with a change of cipher between them.
            (&[Control(1_400), Node(6), Control(1_200)], false),
            // It wants another hello.
            (&[Control(99), Node(1_700), Control(2_600)], false),
            (&[Node(9_000), Control(2_600), Control(9)], false),
        ] {
            let handshake = Handshake::default();
            for one in said {
                match one {
                    Node(bytes) => handshake.node_said(*bytes),
                    Control(bytes) => handshake.control_said(*bytes),
                }
            }
            assert_eq!(handshake.over().now_or_never().is_some(), is_over);
        }
    }
}
