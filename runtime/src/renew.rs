//! Renews the identity at half its life, for as long as the node lives.
//!
//! The other half is for trying: of a certificate of 24 h, control may be away for 12 h before anyone is hurt. Lines that are open
//! keep the old certificate; the next ones use the new. When half of the time for trying is over, each failure is an ERROR: without a
//! certificate the node is refused by the others. When none is left, the node asks to be taken back by its key, for which control gives it a month.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{task::spawn_blocking, time::sleep};

use crate::{
    backoff::Backoff,
    clock::Clock,
    control_client::{self, ConnectError, ControlAddresses},
    identity::{CurrentIdentity, Identity, IdentityError},
    join::{EnrolmentError, recovered, renewed},
    scope::Scope,
    sync::Turn,
    telemetry::{Kind, Metric},
    tls::{self, ALPN_H2, TlsError},
};

/// Metric: when the identity's certificate ends, in seconds since the Unix epoch.
pub const IDENTITY_EXPIRY_SECONDS: &str = "runtime_identity_expiry_seconds";
/// All metrics of this module. The label `role` is `agent` or `edge`.
pub const METRICS: &[Metric] = &[Metric {
    kind: Kind::Gauge,
    name: IDENTITY_EXPIRY_SECONDS,
    help: "when the certificate of this node ends, in seconds since the Unix epoch",
}];

/// Wall time can be set at any moment, so it is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// First wait after a failed renewal.
const RETRY_BASE: Duration = Duration::from_secs(5);
/// Longest wait: there are some hours for trying.
const RETRY_CAP: Duration = Duration::from_secs(300);

/// What a renewal needs.
#[derive(Debug)]
pub struct RenewConfig {
    /// The identity to keep fresh.
    pub identity: CurrentIdentity,
    /// Where control is.
    pub control: ControlAddresses,
    /// Where the identity is kept; `None`: in memory alone.
    pub data_directory: Option<PathBuf>,
    /// When this process is the one that renews.
    pub turn: Turn,
    /// The time.
    pub clock: Clock,
}

/// Why a renewal failed; it is tried again.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error("cannot use the identity for TLS")]
    Tls(#[source] TlsError),
    #[error(transparent)]
    Connect(ConnectError),
    #[error(transparent)]
    Answer(EnrolmentError),
    #[error("cannot store the identity")]
    Store(#[source] IdentityError),
}

/// Starts renewing as a standing task.
pub fn start(config: RenewConfig, scope: &Scope) {
    let own = scope.child("renew");
    let turn = config.turn.clone();
    scope.spawn_standing("renew", async move {
        loop {
            tokio::select! {
                () = own.cancelled() => return,
                () = turn.begun() => {}
            }
            tokio::select! {
                () = own.cancelled() => return,
                () = turn.over() => {}
                // Dropped at any point: files are replaced whole.
                () = renew_for_ever(&config) => {}
            }
        }
    });
}

async fn renew_for_ever(config: &RenewConfig) {
    let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
    loop {
        wait_until_due(config).await;
        match renew(config).await {
            Ok(()) => backoff.reset(),
            Err(error) => {
                report(config, &error);
                let asked = match &error {
                    RenewError::Answer(error) => error.retry_after(),
                    _ => Duration::ZERO,
                };
                sleep(asked + RETRY_BASE.max(backoff.after_failure())).await;
            }
        }
    }
}

async fn wait_until_due(config: &RenewConfig) {
    loop {
        let identity = config.identity.current();
        show_expiry(&identity);
        let Ok(left) = identity.renew_at().duration_since(config.clock.wall()) else {
            return;
        };
        sleep(left.min(LOOK_INTERVAL)).await;
    }
}

async fn renew(config: &RenewConfig) -> Result<(), RenewError> {
    let identity = config.identity.current();
    let fresh = if identity.is_expired(config.clock.wall()) {
        // No line opens by this certificate any more: control was away, or this machine slept.
        let recovered = recovered(&identity, &config.control, &config.clock).await;
        recovered.map_err(RenewError::Answer)?
    } else {
        ask(config, &identity).await?
    };
    let fresh = match config.data_directory.clone() {
        Some(directory) => spawn_blocking(move || fresh.store(&directory).map(|()| fresh))
            .await
            .expect("storing an identity does not panic and is not cancelled")
            .map_err(RenewError::Store)?,
        None => fresh,
    };
    show_expiry(&fresh);
    tracing::info!(identity = %fresh.name(), "identity renewed");
    config.identity.replace(fresh);
    Ok(())
}

async fn ask(config: &RenewConfig, identity: &Identity) -> Result<Identity, RenewError> {
    let tls = tls::node_client_config(identity, &[ALPN_H2]).map_err(RenewError::Tls)?;
    let channel = control_client::connect(&config.control, Arc::new(tls))
        .await
        .map_err(RenewError::Connect)?;
    renewed(identity, channel, &config.clock)
        .await
        .map_err(RenewError::Answer)
}

fn report(config: &RenewConfig, error: &RenewError) {
    let identity = config.identity.current();
    let source = std::error::Error::source(error).map(tracing::field::display);
    let now = config.clock.wall();
    let left_s = identity
        .expires_at()
        .duration_since(now)
        .map(|left| left.as_secs());
    match Urgency::of(&identity, now) {
        Urgency::Early => tracing::warn!(%error, source, "cannot renew the identity yet"),
        Urgency::Late => tracing::error!(
            %error,
            source,
            identity.left_s = left_s.unwrap_or(0),
            "the identity ends soon and cannot be renewed; without it this node serves nobody and cannot start: bring control back"
        ),
        Urgency::Over => {
            tracing::error!(%error, source, "the identity has expired and cannot be recovered yet; if control does not take its key any more, join this node again by a new token");
        }
    }
}

/// How bad it is that a renewal failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// Most of the time for trying is left.
    Early,
    /// Less than half of it is.
    Late,
    /// None is.
    Over,
}

impl Urgency {
    fn of(identity: &Identity, now: SystemTime) -> Self {
        let left = identity.expires_at().duration_since(now);
        let trying = identity.expires_at().duration_since(identity.renew_at());
        match (left, trying) {
            (Ok(left), Ok(trying)) if left > trying / 2 => Self::Early,
            (Ok(left), _) if !left.is_zero() => Self::Late,
            _ => Self::Over,
        }
    }
}

fn show_expiry(identity: &Identity) {
    let seconds = identity
        .expires_at()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    let role = identity.name().role().as_str();
    metrics::gauge!(IDENTITY_EXPIRY_SECONDS, "role" => role).set(seconds);
}

#[cfg(test)]
mod tests;
