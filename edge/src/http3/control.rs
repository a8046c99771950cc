//! The streams in one direction: the edge's control stream, and those that a user opens (RFC 9114, section 6.2).

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use quinn::{Connection, RecvStream, SendStream, WriteError};
use tokio::time::timeout;
use tunnel::varint;

use super::{
    code::Code,
    frame::{
        self, CONTROL_STREAM, DECODER_STREAM, ENCODER_STREAM, Header, Kind, PUSH_STREAM,
        read_header,
    },
    source::Source,
};

/// Bytes of a frame on the control stream: a dozen settings, and some to spare.
const PAYLOAD_BYTES_MAX: u64 = 1024;

/// Time for a user's stream to say what it is.
const KIND_TIMEOUT: Duration = Duration::from_secs(10);

/// The only instruction that a table without room allows: that it has none (RFC 9204, section 4.3.1).
const NO_CAPACITY: u8 = 0x20;

/// The edge's control stream. It must stay open for as long as the connection.
#[derive(Debug)]
pub(super) struct Control(SendStream);

impl Control {
    /// Opens it and says the settings.
    pub(super) async fn open(
        connection: &Connection,
        section_bytes_max: usize,
    ) -> Result<Self, WriteError> {
        let mut stream = connection.open_uni().await?;
        let section_bytes_max = u32::try_from(section_bytes_max).unwrap_or(u32::MAX);
        stream
            .write_chunk(frame::settings(section_bytes_max))
            .await?;
        Ok(Self(stream))
    }

    /// Says that requests from `stream` on are not taken.
    pub(super) async fn go_away(&mut self, stream: u64) -> Result<(), WriteError> {
        self.0.write_chunk(frame::go_away(stream)).await
    }
}

/// Which streams a user has opened so far, one bit for each kind of which there may be one.
#[derive(Debug, Default)]
pub(super) struct Opened(AtomicU8);

impl Opened {
    /// Notes one; false if it was there before.
    fn note(&self, kind: u64) -> bool {
        let bit = 1_u8 << kind;
        self.0.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }
}

/// A breach of HTTP/3, for which the whole connection is closed.
struct Breach(Code, &'static str);

/// Serves one stream that a user opened, for as long as it lasts.
pub(super) async fn listen(connection: Connection, stream: RecvStream, opened: &Opened) {
    let mut source = Source::new(stream);
    if let Err(Breach(code, why)) = hear(&mut source, opened).await {
        connection.close(code.to_wire(), why.as_bytes());
    }
}

async fn hear(source: &mut Source, opened: &Opened) -> Result<(), Breach> {
    let Ok(Some(kind)) = timeout(KIND_TIMEOUT, stream_kind(source)).await else {
        return Ok(());
    };
    match kind {
        CONTROL_STREAM | ENCODER_STREAM | DECODER_STREAM if !opened.note(kind) => {
            Err(Breach(Code::StreamCreation, "stream of this kind twice"))
        }
        CONTROL_STREAM => hear_control(source).await,
        ENCODER_STREAM => hear_encoder(source).await,
        DECODER_STREAM => hear_decoder(source).await,
        PUSH_STREAM => Err(Breach(Code::StreamCreation, "clients do not push")),
        _ => {
            source.stop(Code::StreamCreation);
            Ok(())
        }
    }
}

async fn stream_kind(source: &mut Source) -> Option<u64> {
    loop {
        if let Some((kind, bytes)) = varint::decode(source.waiting()) {
            source.skip(bytes);
            return Some(kind);
        }
        if source.is_ended() || source.more().await.is_err() {
            return None;
        }
    }
}

/// RFC 9114, sections 6.2.1 and 7.2.
async fn hear_control(source: &mut Source) -> Result<(), Breach> {
    let mut settled = false;
    loop {
        let header = control_header(source).await?;
        match header.kind {
            Kind::Settings if !settled => {
                let payload = control_payload(source, header).await?;
                if !frame::are_settings(&payload) {
                    return Err(Breach(Code::Settings, "settings"));
                }
                settled = true;
            }
            Kind::Data | Kind::Headers | Kind::Settings | Kind::Forbidden => {
                return Err(Breach(Code::FrameUnexpected, "frame on the control stream"));
            }
            Kind::GoAway | Kind::Push | Kind::Unknown if !settled => {
                return Err(Breach(Code::MissingSettings, "no settings"));
            }
            // There are no pushes that it could be about.
            Kind::GoAway | Kind::Push => {
                control_payload(source, header).await?;
            }
            Kind::Unknown => pass_over(source, header.length).await?,
        }
    }
}

async fn control_header(source: &mut Source) -> Result<Header, Breach> {
    loop {
        if let Some(header) = read_header(source.waiting()) {
            source.skip(header.bytes);
            return Ok(header);
        }
        critical(source).await?;
    }
}

async fn control_payload(source: &mut Source, header: Header) -> Result<bytes::Bytes, Breach> {
    if header.length > PAYLOAD_BYTES_MAX {
        return Err(Breach(Code::ExcessiveLoad, "frame is too large"));
    }
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    while source.waiting().len() < length {
        critical(source).await?;
    }
    Ok(source.take(length))
}

async fn pass_over(source: &mut Source, bytes: u64) -> Result<(), Breach> {
    let mut left = bytes;
    loop {
        let waiting = source.waiting().len();
        let passed = usize::try_from(left).unwrap_or(usize::MAX).min(waiting);
        source.skip(passed);
        left -= passed as u64;
        if left == 0 {
            return Ok(());
        }
        critical(source).await?;
    }
}

async fn hear_encoder(source: &mut Source) -> Result<(), Breach> {
    loop {
        if source.waiting().iter().any(|byte| *byte != NO_CAPACITY) {
            return Err(Breach(Code::EncoderStream, "the dynamic table has no room"));
        }
        source.skip(source.waiting().len());
        critical(source).await?;
    }
}

async fn hear_decoder(source: &mut Source) -> Result<(), Breach> {
    loop {
        // The edge's sections refer to nothing, so nothing said of them matters.
        source.skip(source.waiting().len());
        critical(source).await?;
    }
}

/// More of a stream that must not end before its connection does.
async fn critical(source: &mut Source) -> Result<(), Breach> {
    let more = source.more().await;
    if more.is_err() || source.is_ended() {
        return Err(Breach(Code::ClosedCriticalStream, "critical stream ended"));
    }
    Ok(())
}
