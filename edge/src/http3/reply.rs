//! What a user is sent on a request's stream.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use quinn::{SendStream, WriteError};

use super::{
    code::Code,
    frame::{Kind, header},
    head,
    qpack::Section,
};
use crate::stall::Watch;

/// Heads and bodies towards the user. Dropped before its end, the stream is reset: quinn alone would finish it, and a cut
/// answer would look whole.
#[derive(Debug)]
pub(super) struct Reply {
    stream: SendStream,
    closed: bool,
}

impl Reply {
    pub(super) const fn new(stream: SendStream) -> Self {
        Self {
            stream,
            closed: false,
        }
    }

    /// A head, informational or final.
    pub(super) async fn head(
        &mut self,
        status: StatusCode,
        fields: &HeaderMap,
    ) -> Result<(), WriteError> {
        let mut section = Section::new();
        section.add(":status", status.as_str().as_bytes());
        self.section(section, fields).await
    }

    /// Trailers.
    pub(super) async fn trailers(&mut self, fields: &HeaderMap) -> Result<(), WriteError> {
        self.section(Section::new(), fields).await
    }

    /// A piece of the body, once the user takes it.
    pub(super) async fn data(&mut self, data: Bytes) -> Result<(), WriteError> {
        self.frame(Kind::Data, data).await
    }

    /// The end. It is in the user's hands once [`Self::stopped`] ends.
    pub(super) fn finish(&mut self) {
        self.closed = true;
        // Fails only after a reset or when the user stopped it: nobody waits for the end then.
        let _ = self.stream.finish();
    }

    /// Breaks the answer off.
    pub(super) fn reset(&mut self, code: Code) {
        self.closed = true;
        // Fails only when it is closed already.
        let _ = self.stream.reset(code.to_wire());
    }

    /// Ends when the user takes no more, by its word or because the connection is gone, or has it all.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let stopped = self.stream.stopped();
        async move {
            // Lost or stopped, nobody reads on.
            let _ = stopped.await;
        }
    }

    /// The stream itself, for a tunnel that resets by itself.
    pub(super) const fn stream(&mut self) -> &mut SendStream {
        &mut self.stream
    }

    async fn section(
        &mut self,
        mut section: Section,
        fields: &HeaderMap,
    ) -> Result<(), WriteError> {
        for (name, value) in fields {
            if head::may_be_sent(name) {
                section.add(name.as_str(), value.as_bytes());
            }
        }
        self.frame(Kind::Headers, section.finish()).await
    }

    async fn frame(&mut self, kind: Kind, payload: Bytes) -> Result<(), WriteError> {
        // Not bodies alone: heads wait for room as well, and nobody asks the body then.
        let watch = Watch::current();
        watch.given();
        let mut parts = [header(kind, payload.len()), payload];
        self.stream.write_all_chunks(&mut parts).await?;
        watch.taken();
        Ok(())
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.closed {
            self.reset(Code::RequestCancelled);
        }
    }
}
