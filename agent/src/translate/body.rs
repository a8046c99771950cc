//! The body of an answer on its way to the edge, translated if it is a document.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tunnel::frame::DATA_BYTES_MAX;

use super::{
    decode::{Coding, DecodeError, Decoder},
    document::Document,
    encode::Encoder,
};
use crate::origin::{AnswerBody, OriginError};

/// What is decoded at a time.
const BUFFER_BYTES: usize = 32 * 1024;

/// Pieces that are made before others get their turn: a few milliseconds of work.
const PIECES_PER_TURN: u32 = 8;

/// A body as it goes to the edge.
#[derive(Debug)]
pub(crate) enum TranslatedBody {
    /// As it comes.
    AsIs(AnswerBody),
    /// Decoded, translated, encoded.
    Document(Box<Pipeline>),
}

/// A document's way through. What it holds does not grow with the document.
#[derive(Debug)]
pub(crate) struct Pipeline {
    origin: AnswerBody,
    decoder: Decoder,
    document: Document,
    encoder: Encoder,
    buffer: Box<[u8]>,
    translated: Vec<u8>,
    /// Ready to go, in frames.
    ready: Bytes,
    stage: Stage,
    pieces: u32,
    /// The origin was asked in vain: what is there is made visible the next time.
    waited: bool,
}

#[derive(Debug)]
enum Stage {
    /// The decoder has more to give.
    Reading,
    /// The next piece has to come.
    Hungry,
    /// Nothing but trailers is left.
    Ended(Option<HeaderMap>),
}

/// Why a document cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    /// It cannot be read.
    #[error("decoding a document")]
    Decode(#[from] DecodeError),
    /// It cannot be written.
    #[error("encoding a document")]
    Encode(#[from] io::Error),
}

impl Pipeline {
    pub(super) fn new(
        origin: AnswerBody,
        coding: Coding,
        document: Document,
        encoder: Encoder,
    ) -> Self {
        Self {
            origin,
            decoder: Decoder::new(coding),
            document,
            encoder,
            buffer: vec![0; BUFFER_BYTES].into(),
            translated: Vec::new(),
            ready: Bytes::new(),
            stage: Stage::Hungry,
            pieces: 0,
            waited: false,
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        loop {
            if !self.ready.is_empty() {
                let length = self.ready.len().min(DATA_BYTES_MAX as usize);
                return Poll::Ready(Some(Ok(Frame::data(self.ready.split_to(length)))));
            }
            match &mut self.stage {
                Stage::Reading if self.pieces == PIECES_PER_TURN => {
                    self.pieces = 0;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Stage::Reading => self.make_piece()?,
                Stage::Hungry => match self.poll_origin(context)? {
                    Poll::Ready(()) => {}
                    Poll::Pending if self.waited => {
                        self.waited = false;
                        self.encoder.flush().map_err(DocumentError::from)?;
                        self.ready = self.encoder.take();
                        if self.ready.is_empty() {
                            return Poll::Pending;
                        }
                    }
                    Poll::Pending => {
                        self.waited = true;
                        return Poll::Pending;
                    }
                },
                Stage::Ended(trailers) => {
                    return Poll::Ready(
                        trailers
                            .take()
                            .map(|trailers| Ok(Frame::trailers(trailers))),
                    );
                }
            }
        }
    }

    fn make_piece(&mut self) -> Result<(), DocumentError> {
        let read = self.decoder.read(&mut self.buffer)?;
        // Reading is work even where nothing comes of it.
        self.pieces += 1;
        if read == 0 {
            self.stage = Stage::Hungry;
            return Ok(());
        }
        self.document
            .write(&self.buffer[..read], &mut self.translated);
        self.give()
    }

    fn give(&mut self) -> Result<(), DocumentError> {
        self.encoder.write(&mut self.translated)?;
        self.ready = self.encoder.take();
        Ok(())
    }

    fn poll_origin(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, OriginError> {
        let frame = match Pin::new(&mut self.origin).poll_frame(context) {
            Poll::Ready(frame) => frame.transpose()?,
            Poll::Pending => return Ok(Poll::Pending),
        };
        self.waited = false;
        match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                self.decoder.push(data);
                self.stage = Stage::Reading;
            }
            Some(Err(frame)) => self.end(frame.into_trailers().ok())?,
            None => self.end(None)?,
        }
        Ok(Poll::Ready(()))
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), DocumentError> {
        self.decoder.end()?;
        self.document.end(&mut self.translated);
        self.encoder.write(&mut self.translated)?;
        self.encoder.end()?;
        self.ready = self.encoder.take();
        self.stage = Stage::Ended(trailers);
        Ok(())
    }
}

impl Body for TranslatedBody {
    type Data = Bytes;
    type Error = OriginError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        match self.get_mut() {
            Self::AsIs(body) => Pin::new(body).poll_frame(context),
            Self::Document(pipeline) => pipeline.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::AsIs(body) => body.is_end_stream(),
            Self::Document(pipeline) => {
                pipeline.ready.is_empty() && matches!(pipeline.stage, Stage::Ended(None))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::AsIs(body) => body.size_hint(),
            Self::Document(_) => SizeHint::default(),
        }
    }
}
