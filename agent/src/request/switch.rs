//! After an upgrade: bytes both ways until both sides have ended.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use model::reason::Reason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tunnel::{
    codes::Code,
    frame::{DATA_BYTES_MAX, Frame},
    stream::{RecvHalf, SendHalf},
};

use super::{Exchange, Failure, answer, failure::chain};
use crate::origin::{AnswerBody, OriginStream};

/// Read buffer of a connection that says little: thousands of WebSockets lie idle at a time.
const BUFFER_BYTES_MIN: usize = 4 * 1024;

impl Exchange<'_> {
    /// Answers 101, or 200 to CONNECT, and carries bytes from then on.
    pub(super) async fn switch(
        &mut self,
        send: &mut SendHalf,
        response: Response<AnswerBody>,
    ) -> Result<(), Failure> {
        let Some(wish) = &self.head.upgrade else {
            return Err(Failure::new(
                Reason::OriginProtocol,
                "the origin switched protocols unasked",
            ));
        };
        let mut fields = response.headers().clone();
        let protocol = chosen(wish, &fields)?;
        self.translate(&mut fields);
        let head = match &self.head.handshake {
            Some(handshake) => {
                handshake.check(&mut fields)?;
                let mut head = answer::informational(StatusCode::OK, fields)?;
                head.upgraded = true;
                head
            }
            None => answer::switching(StatusCode::SWITCHING_PROTOCOLS, fields, protocol)?,
        };
        let (origin, early) = upgraded(response).await?;
        let recv = self
            .upload
            .take()
            .ok_or_else(|| Failure::bug("an upgraded request has no stream"))?;
        send.queue(head)?;
        if !early.is_empty() {
            send.queue(Frame::Data(early))?;
        }
        self.in_time(send.flush()).await?;
        self.splice(send, recv, origin).await
    }

    /// Each direction ends by itself; an error in one ends both.
    async fn splice(
        &self,
        send: &mut SendHalf,
        mut recv: RecvHalf,
        origin: OriginStream,
    ) -> Result<(), Failure> {
        let (reader, writer) = split(origin.raw());
        let both = async {
            tokio::try_join!(self.down(send, reader), self.up(&mut recv, writer)).map(drop)
        };
        let outcome = tokio::select! {
            outcome = both => outcome,
            () = self.silence() => Err(Failure::new(
                Reason::OriginTimeout,
                "the upgraded connection was silent for too long",
            )),
        };
        if outcome.is_err() {
            recv.stop(Code::Cancelled);
        }
        outcome
    }

    async fn down(
        &self,
        send: &mut SendHalf,
        mut reader: ReadHalf<OriginStream>,
    ) -> Result<(), Failure> {
        let mut buffer = BytesMut::new();
        let mut reserve = BUFFER_BYTES_MIN;
        loop {
            buffer.reserve(reserve);
            let read = reader
                .read_buf(&mut buffer)
                .await
                .map_err(|error| broken(&error))?;
            self.activity.touch(&self.worker.clock);
            if read == 0 {
                return Ok(send.end(self.end()).await?);
            }
            reserve = if read < reserve {
                BUFFER_BYTES_MIN
            } else {
                DATA_BYTES_MAX as usize
            };
            self.worker.metrics.from_origin_bytes.increment(read as u64);
            send.data(buffer.split().freeze()).await?;
        }
    }

    async fn up(
        &self,
        recv: &mut RecvHalf,
        mut writer: WriteHalf<OriginStream>,
    ) -> Result<(), Failure> {
        loop {
            match recv.next().await? {
                Some(Frame::Data(mut data)) => {
                    let bytes = data.len() as u64;
                    while data.has_remaining() {
                        writer
                            .write_buf(&mut data)
                            .await
                            .map_err(|error| broken(&error))?;
                        self.activity.touch(&self.worker.clock);
                    }
                    writer.flush().await.map_err(|error| broken(&error))?;
                    self.worker.metrics.to_origin_bytes.increment(bytes);
                }
                Some(Frame::End(_)) | None => {
                    // The origin may have closed both directions by now.
                    let _ = writer.shutdown().await;
                    return Ok(());
                }
                Some(Frame::Error(error)) => {
                    let detail = format!("the edge gave up: {}", error.reason);
                    return Err(Failure::new(Reason::Cancelled, detail));
                }
                Some(
                    Frame::Request(_) | Frame::Response(_) | Frame::Trailers(_) | Frame::Continue,
                ) => {
                    return Err(Failure::new(
                        Reason::TunnelProtocol,
                        "a frame that has no place in an upgraded stream",
                    ));
                }
            }
        }
    }
}

/// The protocol that the origin goes on with: of those that were wished for (RFC 9110, section 7.8), the one that it names.
fn chosen(wish: &HeaderValue, fields: &HeaderMap) -> Result<HeaderValue, Failure> {
    let wished = |one: &HeaderValue| {
        let mut wishes = wish.as_bytes().split(|byte| *byte == b',');
        wishes.any(|wish| wish.trim_ascii().eq_ignore_ascii_case(one.as_bytes()))
    };
    let mut named = fields.get_all(header::UPGRADE).iter();
    match (named.next(), named.next()) {
        // Not allowed, but it was clear to both what was meant.
        (None, _) => Ok(wish.clone()),
        (Some(one), None) if wished(one) => Ok(one.clone()),
        (Some(_), _) => Err(Failure::new(
            Reason::OriginProtocol,
            "the origin switched to a protocol that nobody asked for",
        )),
    }
}

/// The connection itself, and what the origin said already in the new protocol.
async fn upgraded(response: Response<AnswerBody>) -> Result<(OriginStream, Bytes), Failure> {
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|error| Failure::from_origin(&error.into(), false))?;
    let parts = upgraded
        .downcast::<TokioIo<OriginStream>>()
        .map_err(|_| Failure::bug("an upgraded connection of an unknown kind"))?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::new(Reason::OriginReset, chain(error))
}
