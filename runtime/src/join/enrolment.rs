//! The exchange with control that gives an identity, first and renewed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use model::name::IdError;
use proto::fabric::{
    EnrolRequest, EnrolResponse, RecoverRequest, RenewRequest, fabric_client::FabricClient,
};
use rustls::{pki_types::UnixTime, server::WebPkiClientVerifier};
use rustls_pki_types::CertificateDer;
use tokio::task::spawn_blocking;
use tonic::{Code, transport::Channel};

use super::token::{JoinToken, TokenError, TokenSource};
use crate::{
    clock::Clock,
    control_client::{self, ConnectError, ControlAddresses},
    dial::WayOut,
    file,
    identity::{Identity, IdentityError, NodeKey},
    node::{NodeIdentity, Role},
    tls::{self, ALPN_H2, CaPin, TlsError},
};

/// Holds control's addresses, one a line, because the token is gone after the first start.
const CONTROL_FILE: &str = "control.addresses";
/// Time for control to answer: it signs one certificate and commits one transaction.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// How far the node's clock may be behind or ahead before a token's end is believed.
const CLOCK_LEEWAY: Duration = Duration::from_secs(60);

/// Why a node has no identity.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// It was never enrolled, or its certificate has ended, and no token was given.
    #[error("this node has no valid identity in {}; give it a join token", directory.display())]
    NoToken {
        /// Its data directory.
        directory: PathBuf,
    },
    /// It keeps none, and no token was given.
    #[error("a node that keeps no identity needs a join token at every start")]
    NothingKept,
    /// The token cannot be read.
    #[error("cannot use the join token")]
    Token(#[source] TokenError),
    /// The token's time is over.
    #[error("the join token has expired; ask for a new one")]
    Expired,
    /// The token, or the identity on disk, is for another kind of node.
    #[error(
        "the token, or the identity in the data directory, is for an {found}, not for an {wanted}"
    )]
    RoleMismatch {
        /// What it is for.
        found: Role,
        /// What this node is.
        wanted: Role,
    },
    /// The node's id is none.
    #[error("the node's id is not valid")]
    Id(#[source] IdError),
    /// No control node answers.
    #[error("cannot reach control")]
    Unreachable(#[source] ConnectError),
    /// Control says no.
    #[error("control refused: {reason}")]
    Refused {
        /// In control's words.
        reason: String,
        /// As a gRPC code.
        code: Code,
    },
    /// Control could not answer just now; trying again may help.
    #[error("control did not answer: {reason}")]
    Unanswered {
        /// In gRPC's words.
        reason: String,
        /// How long control asks to wait.
        retry_after: Duration,
    },
    /// Control answered something that it should not.
    #[error("control's answer is not what was asked for: {what}")]
    WrongAnswer {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The identity cannot be made, read or stored.
    #[error("cannot set up the identity")]
    Identity(#[source] IdentityError),
    /// No TLS settings can be made of the identity.
    #[error("cannot use the identity for TLS")]
    Tls(#[source] TlsError),
    /// Control's addresses cannot be kept.
    #[error("cannot use {}", path.display())]
    Addresses {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl EnrolmentError {
    /// How long control asks to wait before the next try.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        match self {
            Self::Unanswered { retry_after, .. } => *retry_after,
            _ => Duration::ZERO,
        }
    }
}

/// What a node needs to talk to control.
#[derive(Debug)]
pub struct Enrolled {
    /// Who it is.
    pub identity: Identity,
    /// Where control is.
    pub control: ControlAddresses,
}

/// What a node brings to its enrolment.
#[derive(Debug)]
pub struct Enrolment<'a> {
    /// The token, if one was given. Not needed while a valid identity is on disk.
    pub token: Option<&'a TokenSource>,
    /// What this node is.
    pub role: Role,
    /// Its id at the first start; an identity on disk has one already, and so has a token for one node.
    pub id: &'a str,
    /// Where identity and addresses are kept; `None`: in memory alone.
    pub data_directory: Option<&'a Path>,
    /// How control is reached.
    pub way_out: &'a WayOut,
    /// Version of this program.
    pub version: &'a str,
}

/// The node's identity: from its disk if that is still valid, else by the key on the disk, else by its token.
///
/// # Errors
/// See [`EnrolmentError`].
pub async fn enrolled(enrolment: Enrolment<'_>, clock: &Clock) -> Result<Enrolled, EnrolmentError> {
    enrolment.data_directory.map(file::warn_of_open_directory);
    let mut id = enrolment.id.to_owned();
    if let Some(directory) = enrolment.data_directory
        && let Some(known) = kept(directory, enrolment.way_out)?
    {
        let found = known.identity.name().role();
        if found != enrolment.role {
            let wanted = enrolment.role;
            return Err(EnrolmentError::RoleMismatch { found, wanted });
        }
        if !known.identity.is_expired(clock.wall()) {
            tracing::info!(identity = %known.identity.name(), "identity loaded");
            return Ok(known);
        }
        tracing::warn!(identity = %known.identity.name(), "the certificate on disk has expired");
        // It comes back as what it was.
        known.identity.name().id().clone_into(&mut id);
        match come_back(known, directory, clock).await {
            Ok(enrolled) => return Ok(enrolled),
            Err(error) if enrolment.token.is_none() => return Err(error),
            Err(error) => {
                let source = std::error::Error::source(&error).map(tracing::field::display);
                tracing::warn!(%error, source, "the identity cannot be recovered by its key");
            }
        }
    }
    let Some(source) = enrolment.token else {
        return Err(match enrolment.data_directory {
            Some(directory) => EnrolmentError::NoToken {
                directory: directory.to_owned(),
            },
            None => EnrolmentError::NothingKept,
        });
    };
    let token = source.read().map_err(EnrolmentError::Token)?;
    let enrolled = enrol(&token, &id, &enrolment, clock).await?;
    tracing::info!(identity = %enrolled.identity.name(), "enrolled");
    Ok(enrolled)
}

async fn come_back(
    known: Enrolled,
    directory: &Path,
    clock: &Clock,
) -> Result<Enrolled, EnrolmentError> {
    let identity = recovered(&known.identity, &known.control, clock).await?;
    let enrolled = store(identity, known.control, directory).await?;
    tracing::info!(identity = %enrolled.identity.name(), "identity recovered by its key");
    Ok(enrolled)
}

async fn enrol(
    token: &JoinToken,
    id: &str,
    enrolment: &Enrolment<'_>,
    clock: &Clock,
) -> Result<Enrolled, EnrolmentError> {
    if clock.wall() > token.expires_at() + CLOCK_LEEWAY {
        return Err(EnrolmentError::Expired);
    }
    if token.role() != enrolment.role {
        return Err(EnrolmentError::RoleMismatch {
            found: token.role(),
            wanted: enrolment.role,
        });
    }
    // A token for one node says which: its data directory is gone, or it would need none.
    let id = token.node().unwrap_or(id);
    let name = NodeIdentity::new(token.domain().clone(), enrolment.role, id)
        .map_err(EnrolmentError::Id)?;
    // Kept before the call: if its answer is lost, the same key gets it again.
    let key = match enrolment.data_directory {
        Some(directory) => kept_key(directory).await?,
        None => NodeKey::generate().map_err(EnrolmentError::Identity)?,
    };
    let key = Arc::new(key);
    let request = EnrolRequest {
        token: token.text().expose().clone(),
        csr: key.request(&name).map_err(EnrolmentError::Identity)?.into(),
        version: enrolment.version.to_owned(),
        ephemeral: enrolment.data_directory.is_none(),
    };
    let tls = Arc::new(tls::pinned_client_config(token.pin(), &[ALPN_H2]));
    let control = ControlAddresses {
        addresses: token.control().to_vec(),
        way_out: enrolment.way_out.clone(),
    };
    let channel = control_client::connect(&control, tls)
        .await
        .map_err(EnrolmentError::Unreachable)?;
    let answer = call(FabricClient::new(channel).enrol(request)).await?;
    let identity = accept(answer, key, &name, clock)?;
    if !identity
        .roots()
        .iter()
        .any(|root| CaPin::of(root) == token.pin())
    {
        let what = "the pinned CA is not among the roots";
        return Err(EnrolmentError::WrongAnswer { what });
    }
    match enrolment.data_directory {
        Some(directory) => store(identity, control, directory).await,
        None => Ok(Enrolled { identity, control }),
    }
}

async fn kept_key(directory: &Path) -> Result<NodeKey, EnrolmentError> {
    let directory = directory.to_owned();
    spawn_blocking(move || NodeKey::load_or_create(&directory))
        .await
        .expect("keeping a key does not panic and is not cancelled")
        .map_err(EnrolmentError::Identity)
}

/// A fresh certificate for an identity, over a line that the identity itself opened. Stores nothing.
///
/// # Errors
/// See [`EnrolmentError`].
pub async fn renewed(
    identity: &Identity,
    channel: Channel,
    clock: &Clock,
) -> Result<Identity, EnrolmentError> {
    let key = identity.node_key();
    let csr = key
        .request(identity.name())
        .map_err(EnrolmentError::Identity)?
        .into();
    let answer = call(FabricClient::new(channel).renew(RenewRequest { csr })).await?;
    accept(answer, key, identity.name(), clock)
}

/// A fresh certificate for an identity whose own has run out, by its key. Stores nothing.
///
/// # Errors
/// See [`EnrolmentError`].
pub async fn recovered(
    identity: &Identity,
    control: &ControlAddresses,
    clock: &Clock,
) -> Result<Identity, EnrolmentError> {
    let key = identity.node_key();
    let csr = key
        .request(identity.name())
        .map_err(EnrolmentError::Identity)?
        .into();
    let tls = tls::anonymous_client_config(identity.roots(), &[ALPN_H2]);
    let tls = Arc::new(tls.map_err(EnrolmentError::Tls)?);
    let channel = control_client::connect(control, tls)
        .await
        .map_err(EnrolmentError::Unreachable)?;
    let answer = call(FabricClient::new(channel).recover(RecoverRequest { csr })).await?;
    accept(answer, key, identity.name(), clock)
}

async fn call(
    answer: impl Future<Output = Result<tonic::Response<EnrolResponse>, tonic::Status>>,
) -> Result<EnrolResponse, EnrolmentError> {
    match tokio::time::timeout(CALL_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(refusal(&status)),
        Err(_) => Err(EnrolmentError::Unanswered {
            reason: format!("no answer within {CALL_TIMEOUT:?}"),
            retry_after: Duration::ZERO,
        }),
    }
}

fn refusal(status: &tonic::Status) -> EnrolmentError {
    let reason = status.message().to_owned();
    match status.code() {
        Code::Unavailable
        | Code::Unknown
        | Code::Internal
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Aborted
        | Code::ResourceExhausted => EnrolmentError::Unanswered {
            reason,
            retry_after: control_client::retry_after(status),
        },
        code => EnrolmentError::Refused { reason, code },
    }
}

/// Takes an answer only if it is what was asked for: our name, our key, a chain to the roots that is valid now.
fn accept(
    answer: EnrolResponse,
    key: Arc<NodeKey>,
    name: &NodeIdentity,
    clock: &Clock,
) -> Result<Identity, EnrolmentError> {
    let chain = certificates(answer.certificate_chain);
    let roots = certificates(answer.roots);
    let wrong = |what| EnrolmentError::WrongAnswer { what };
    if chain.is_empty() {
        return Err(wrong("it holds no certificate"));
    }
    verify(&chain, &roots, clock.wall())?;
    let identity = Identity::new(key, chain, roots).map_err(|error| match error {
        IdentityError::KeyMismatch(_) => wrong("the certificate is for another key"),
        other => EnrolmentError::Identity(other),
    })?;
    if identity.name() != name {
        return Err(wrong("the certificate is for another name"));
    }
    Ok(identity)
}

fn verify(
    chain: &[CertificateDer<'static>],
    roots: &[CertificateDer<'static>],
    now: SystemTime,
) -> Result<(), EnrolmentError> {
    let wrong = |what| EnrolmentError::WrongAnswer { what };
    let roots = Arc::new(tls::store(roots).map_err(EnrolmentError::Tls)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, tls::provider())
        .build()
        .map_err(|_| wrong("it holds no root"))?;
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    verifier
        .verify_client_cert(&chain[0], &chain[1..], UnixTime::since_unix_epoch(now))
        .map(|_| ())
        .map_err(|_| wrong("the certificate is not valid under the roots now"))
}

fn certificates(der: Vec<bytes::Bytes>) -> Vec<CertificateDer<'static>> {
    der.into_iter()
        .map(|der| CertificateDer::from(Vec::from(der)))
        .collect()
}

async fn store(
    identity: Identity,
    control: ControlAddresses,
    directory: &Path,
) -> Result<Enrolled, EnrolmentError> {
    let directory = directory.to_owned();
    let stored = spawn_blocking(move || {
        let path = directory.join(CONTROL_FILE);
        let lines = control.addresses.join("\n");
        let addresses = file::make_private_directory(&directory)
            .and_then(|()| file::replace(&path, lines.as_bytes(), file::PUBLIC));
        addresses.map_err(|source| EnrolmentError::Addresses { path, source })?;
        // Last, because with it the node counts as enrolled.
        identity
            .store(&directory)
            .map_err(EnrolmentError::Identity)?;
        Ok(Enrolled { identity, control })
    });
    stored
        .await
        .expect("storing an identity does not panic and is not cancelled")
}

/// The identity that is kept in a directory, whether it is still valid or not; none if the node was never enrolled.
///
/// # Errors
/// What is kept cannot be read.
pub fn kept(directory: &Path, way_out: &WayOut) -> Result<Option<Enrolled>, EnrolmentError> {
    let Some(identity) = Identity::load(directory).map_err(EnrolmentError::Identity)? else {
        return Ok(None);
    };
    let path = directory.join(CONTROL_FILE);
    let text =
        fs::read_to_string(&path).map_err(|source| EnrolmentError::Addresses { path, source })?;
    let control = ControlAddresses {
        addresses: text.lines().map(str::to_owned).collect(),
        way_out: way_out.clone(),
    };
    Ok(Some(Enrolled { identity, control }))
}

#[cfg(test)]
mod tests;
