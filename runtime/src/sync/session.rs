//! One conversation with control, from Hello until it breaks.

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};
use proto::fabric::{
    Ack, Delta, Nack, PresenceReport, SnapshotChunk, SyncRequest, SyncResponse, sync_request,
    sync_response,
};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        watch,
    },
    time::{sleep_until, timeout},
};
use tonic::Status;

use super::{
    Asked,
    assembly::Assembly,
    replica::{Replica, Taken},
};
use crate::{clock::Clock, identity::Identity};

/// Control sends a heartbeat every 10 s; three missed and the line is dead.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Answers that wait to be sent; control reads them as they come.
pub(super) const OUTBOUND_MAX: usize = 16;

/// Answers to questions that wait until they are sent: control asks for one at a time.
const ANSWERS_MAX: usize = 2;

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// Control closed it.
    #[error("control ended the conversation")]
    Ended,
    /// Control said so, or the line broke.
    #[error("{}", .0.message())]
    Status(Box<Status>),
    /// Nothing came for too long.
    #[error("control was silent for {SILENCE_MAX:?}")]
    Silent,
    /// Control does not read.
    #[error("control does not read answers")]
    Unread,
    /// Control sent what it may not.
    #[error("control broke the protocol: {0}")]
    Protocol(&'static str),
    /// The node has a new certificate, and control ends conversations with the one that they began with.
    #[error("the identity was renewed")]
    Renewed,
    /// A delta does not follow from what the node has; everything must come anew.
    #[error("a delta does not follow from what this node has")]
    Gap,
}

/// The ends of one conversation.
pub(super) struct Session<'a> {
    pub(super) replica: &'a mut Replica,
    pub(super) outbound: mpsc::Sender<SyncRequest>,
    pub(super) presence: Option<watch::Receiver<PresenceReport>>,
    /// Where questions go.
    pub(super) questions: Option<mpsc::Sender<Asked>>,
    /// Tells of a successor of the identity that opened the conversation.
    pub(super) identity: watch::Receiver<Arc<Identity>>,
    pub(super) clock: &'a Clock,
}

impl Session<'_> {
    /// Takes what control sends until the conversation ends.
    pub(super) async fn run<I>(mut self, mut inbound: I) -> SessionError
    where
        I: Stream<Item = Result<SyncResponse, Status>> + Unpin,
    {
        let (answering, mut answers) = mpsc::channel(ANSWERS_MAX);
        let mut assembly = None;
        let mut heard = self.clock.now();
        loop {
            let step = tokio::select! {
                message = inbound.next() => {
                    heard = self.clock.now();
                    match message {
                        Some(Ok(SyncResponse {
                            kind: Some(sync_response::Kind::SignOn(question)),
                        })) => {
                            self.ask(Asked::new(question, answering.clone(), heard));
                            Ok(())
                        }
                        Some(Ok(message)) => self.take(message, &mut assembly).await,
                        Some(Err(status)) => Err(SessionError::Status(Box::new(status))),
                        None => Err(SessionError::Ended),
                    }
                }
                () = sleep_until(heard + SILENCE_MAX) => Err(SessionError::Silent),
                report = next_report(&mut self.presence) => {
                    self.send(sync_request::Kind::Presence(report)).await
                }
                Some(answer) = answers.recv() => {
                    self.send(sync_request::Kind::SignOn(answer)).await
                }
                () = renewed(&mut self.identity) => Err(SessionError::Renewed),
                () = self.replica.write_when_due() => Ok(()),
            };
            if let Err(error) = step {
                return error;
            }
        }
    }

    /// Hands a question on. Without an answer control gives up by itself.
    fn ask(&self, asked: Asked) {
        let Some(questions) = &self.questions else {
            tracing::warn!("control asks what this node does not answer");
            return;
        };
        // Who answers is gone when the node ends.
        if let Err(TrySendError::Full(asked)) = questions.try_send(asked) {
            tracing::warn!("control asks for more than this node answers at a time");
            asked.answer_busy();
        }
    }

    async fn take(
        &mut self,
        message: SyncResponse,
        assembly: &mut Option<Assembly>,
    ) -> Result<(), SessionError> {
        match message.kind {
            Some(sync_response::Kind::Snapshot(chunk)) => self.take_chunk(chunk, assembly).await,
            Some(sync_response::Kind::Delta(delta)) if assembly.is_none() => {
                self.take_delta(delta).await
            }
            Some(sync_response::Kind::Delta(_)) => {
                Err(SessionError::Protocol("a delta within a snapshot"))
            }
            // An unknown kind comes from a newer control that may send it to anyone.
            Some(sync_response::Kind::Heartbeat(_) | sync_response::Kind::SignOn(_)) | None => {
                Ok(())
            }
        }
    }

    async fn take_chunk(
        &mut self,
        chunk: SnapshotChunk,
        assembly: &mut Option<Assembly>,
    ) -> Result<(), SessionError> {
        let mut whole = assembly.take().unwrap_or_else(|| Assembly::of(&chunk));
        if chunk.store_id.is_empty() || !whole.fits(&chunk) {
            return Err(SessionError::Protocol("a chunk of another snapshot"));
        }
        whole.add(chunk.resources).map_err(SessionError::Protocol)?;
        if !chunk.last {
            *assembly = Some(whole);
            return Ok(());
        }
        let state = whole
            .finish(&chunk.digest)
            .map_err(SessionError::Protocol)?;
        let taken = self.replica.take_snapshot(state);
        self.answer(taken).await
    }

    async fn take_delta(&mut self, delta: Delta) -> Result<(), SessionError> {
        let taken = self.replica.take_delta(delta);
        self.answer(taken).await
    }

    async fn answer(&mut self, taken: Taken) -> Result<(), SessionError> {
        match taken {
            Taken::Applied(revision) => {
                tracing::debug!(revision, "applied");
                self.send(sync_request::Kind::Ack(Ack { revision })).await
            }
            Taken::Refused(revision, reason) => {
                tracing::error!(revision, %reason, "cannot use what control sent; going on with what there was");
                self.send(sync_request::Kind::Nack(Nack { revision, reason }))
                    .await
            }
            Taken::Gap => Err(SessionError::Gap),
        }
    }

    async fn send(&self, kind: sync_request::Kind) -> Result<(), SessionError> {
        let request = SyncRequest { kind: Some(kind) };
        match timeout(SILENCE_MAX, self.outbound.send(request)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(SessionError::Ended),
            Err(_) => Err(SessionError::Unread),
        }
    }
}

/// The next report that was not sent yet; never, if there is nobody to report. Cancel-safe.
async fn next_report(presence: &mut Option<watch::Receiver<PresenceReport>>) -> PresenceReport {
    if let Some(reports) = presence
        && reports.changed().await.is_ok()
    {
        return reports.borrow_and_update().clone();
    }
    std::future::pending().await
}

/// Waits for a renewal; never, if nobody can renew any more. Cancel-safe.
async fn renewed(identity: &mut watch::Receiver<Arc<Identity>>) {
    if identity.changed().await.is_err() {
        std::future::pending().await
    }
}
