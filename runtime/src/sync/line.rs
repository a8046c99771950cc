//! The line to control: opened, held, opened again.

use std::{fmt, sync::Arc, time::Duration};

use metrics::Gauge;
use proto::fabric::{SyncHello, SyncRequest, fabric_client::FabricClient, sync_request};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    SyncConfig, measures,
    replica::Replica,
    session::{OUTBOUND_MAX, SILENCE_MAX, Session, SessionError},
};
use crate::{
    backoff::{Backoff, STANDARD_CAP},
    control_client::{self, ConnectError},
    node::Role,
    tls::{self, ALPN_H2, TlsError},
};

/// Largest message from control; chunks hold about 256 KiB and a delta one change, unless that is a huge import.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How control says that it knows no such node.
const NODE_UNKNOWN: &str = "NODE_UNKNOWN";

#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error("cannot use the identity for TLS")]
    Tls(#[source] TlsError),
    #[error(transparent)]
    Connect(ConnectError),
    #[error(transparent)]
    Session(SessionError),
}

/// What the operator was told last; every change is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Connected,
    Away,
    Refused,
}

pub(super) struct Line {
    config: SyncConfig,
    connected: watch::Sender<bool>,
    unknown: watch::Sender<bool>,
    connected_gauge: Gauge,
    told: Told,
    backoff: Backoff,
    /// How long control asks to wait.
    asked: Duration,
    opened: Option<Instant>,
    /// What is here does not lead to what control has: ask for everything.
    needs_all: bool,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}

impl Line {
    pub(super) fn new(
        config: SyncConfig,
        connected: watch::Sender<bool>,
        unknown: watch::Sender<bool>,
        role: Role,
    ) -> Self {
        let connected_gauge = measures::connected(role);
        connected_gauge.set(0.0);
        Self {
            config,
            connected,
            unknown,
            connected_gauge,
            told: Told::Nothing,
            backoff: Backoff::standard(),
            asked: Duration::ZERO,
            opened: None,
            needs_all: false,
        }
    }

    /// Opens the line and holds it until it breaks.
    pub(super) async fn hold_once(&mut self, replica: &mut Replica) {
        self.asked = Duration::ZERO;
        let Err(error) = self.hold(replica).await;
        if matches!(error, LineError::Session(SessionError::Renewed)) {
            tracing::debug!("opening a line with the new certificate");
            return;
        }
        if matches!(
            error,
            LineError::Session(SessionError::Gap | SessionError::Protocol(_))
        ) {
            self.needs_all = true;
        } else if self.opened.is_some() {
            self.needs_all = false;
        }
        self.tell_away(&error);
    }

    /// Notes that the line is gone, for whatever reason.
    pub(super) fn closed(&mut self) {
        if let Some(opened) = self.opened.take() {
            let lasted = self.config.clock.now() - opened;
            self.backoff.after_success(lasted);
        }
        self.connected.send_replace(false);
        self.connected_gauge.set(0.0);
    }

    /// Waits before the next try.
    pub(super) async fn pause(&mut self) {
        let wait = match self.told {
            // Only an operator can change this answer.
            Told::Refused => STANDARD_CAP,
            Told::Nothing | Told::Connected | Told::Away => self.backoff.after_failure(),
        };
        sleep(self.asked + wait).await;
    }

    async fn hold(&mut self, replica: &mut Replica) -> Result<Never, LineError> {
        let mut current = self.config.identity.subscribe();
        let identity = Arc::clone(&current.borrow_and_update());
        let tls = tls::node_client_config(&identity, &[ALPN_H2]).map_err(LineError::Tls)?;
        let channel = control_client::connect(&self.config.control, Arc::new(tls))
            .await
            .map_err(LineError::Connect)?;
        let (outbound, requests) = mpsc::channel(OUTBOUND_MAX);
        outbound
            .try_send(self.hello(replica))
            .map_err(|_| LineError::Session(SessionError::Ended))?;
        let mut client = FabricClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let inbound = timeout(SILENCE_MAX, client.sync(ReceiverStream::new(requests)))
            .await
            .map_err(|_| LineError::Session(SessionError::Silent))?
            .map_err(|status| LineError::Session(SessionError::Status(Box::new(status))))?
            .into_inner();
        self.tell_connected();
        let mut presence = self.config.presence.clone();
        if let Some(reports) = &mut presence {
            // Control forgets a node's presence with its line: say it again.
            reports.mark_changed();
        }
        let session = Session {
            replica,
            outbound,
            presence,
            questions: self.config.questions.clone(),
            identity: current,
            clock: &self.config.clock,
        };
        Err(LineError::Session(session.run(inbound).await))
    }

    fn hello(&self, replica: &Replica) -> SyncRequest {
        let (store_id, revision) = if self.needs_all {
            (String::new(), 0)
        } else {
            (replica.store_id().to_owned(), replica.revision())
        };
        SyncRequest {
            kind: Some(sync_request::Kind::Hello(SyncHello {
                store_id,
                revision,
                version: self.config.version.clone(),
                tunnel_address: self.config.tunnel_address.clone(),
                tcp_address: self.config.tcp_address.clone(),
                workers: self.config.workers,
            })),
        }
    }

    fn tell_connected(&mut self) {
        self.opened = Some(self.config.clock.now());
        self.connected.send_replace(true);
        self.unknown.send_replace(false);
        self.connected_gauge.set(1.0);
        if self.told != Told::Connected {
            tracing::info!("control is on the line");
        }
        self.told = Told::Connected;
    }

    fn tell_away(&mut self, error: &LineError) {
        self.unknown.send_replace(is_unknown(error));
        self.asked = status(error).map_or(Duration::ZERO, control_client::retry_after);
        let now = if is_refusal(error) {
            Told::Refused
        } else {
            Told::Away
        };
        if self.told == now {
            tracing::debug!(%error, "control is still away");
        } else if now == Told::Refused {
            tracing::error!(%error, "control refuses this node; it runs on with what it has");
        } else {
            tracing::warn!(%error, "control is away; this node runs on with what it has");
        }
        self.told = now;
    }
}

/// There is no good end of a line.
type Never = std::convert::Infallible;

fn status(error: &LineError) -> Option<&Status> {
    match error {
        LineError::Session(SessionError::Status(status)) => Some(status),
        LineError::Session(_) | LineError::Tls(_) | LineError::Connect(_) => None,
    }
}

/// Control's word, of the contract with nodes.
fn is_unknown(error: &LineError) -> bool {
    let info = status(error).and_then(|status| status.get_details_error_info());
    info.is_some_and(|info| info.reason == NODE_UNKNOWN)
}

fn is_refusal(error: &LineError) -> bool {
    status(error).is_some_and(|status| {
        matches!(
            status.code(),
            Code::PermissionDenied | Code::Unauthenticated
        )
    })
}
