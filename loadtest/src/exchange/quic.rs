//! Connections of QUIC that users share, and the plainest use of them: a stream for each request, without HTTP.
//!
//! What [`crate::quinn_server`] is asked: eight bytes with the length of the answer, then the upload. It is the ceiling of what a
//! tunnel over quinn can do.

use std::{
    cell::RefCell,
    future::Future,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use quinn::{
    Endpoint, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt, congestion::CubicConfig,
    crypto::rustls::QuicClientConfig,
};
use tokio::task::JoinSet;

use super::{Exchange, http1::PIECE, socket::CONNECT_TIMEOUT};
use crate::{
    scenario::Load,
    tally::{Answer, Failure},
    target::{Sessions, Target},
};

/// Read at once, as the fabric's own tunnel does.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// The settings of the fabric's tunnel, `tunnel/src/quic/settings.rs`: else the ceiling would be of another house.
pub(crate) fn transport() -> Arc<TransportConfig> {
    const STREAMS_MAX: u32 = 1024;
    const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
    const CONNECTION_WINDOW_BYTES: u32 = STREAMS_MAX * (STREAM_WINDOW_BYTES / 4 * 5);
    const SEND_WINDOW_BYTES: u64 = 16 * 1024 * 1024;
    const KEEP_ALIVE: Duration = Duration::from_secs(5);
    const IDLE_TIMEOUT_MS: u32 = 20_000;
    const MTU_BYTES_MAX: u16 = 1452;
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU_BYTES_MAX);
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .mtu_discovery_config(Some(mtu))
        .congestion_controller_factory(Arc::new(CubicConfig::default()))
        .enable_segmentation_offload(true)
        .allow_spin(false)
        .datagram_receive_buffer_size(None);
    Arc::new(config)
}

/// Makes connections to one target, all from one socket.
pub(crate) struct QuicDialler {
    target: Target,
    endpoint: Endpoint,
    config: quinn::ClientConfig,
}

impl QuicDialler {
    /// Only on a runtime. `None` for a target without TLS, or a machine without a socket.
    pub(crate) fn new(target: &Target, protocol: &[u8], sessions: Sessions) -> Option<Self> {
        let tls = target.tls(protocol, sessions).ok()??;
        let crypto = QuicClientConfig::try_from(tls).ok()?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport());
        let own: SocketAddr = if target.addr().is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        Some(Self {
            target: target.clone(),
            endpoint: Endpoint::client(own).ok()?,
            config,
        })
    }

    async fn dial(&self) -> Option<quinn::Connection> {
        let host = self.target.authority().host();
        let connecting = self
            .endpoint
            .connect_with(self.config.clone(), self.target.addr(), host);
        let connection = tokio::time::timeout(CONNECT_TIMEOUT, connecting.ok()?);
        connection.await.ok()?.ok()
    }
}

/// What is spoken on a connection.
pub(crate) trait Speaker {
    /// What users open requests with.
    type Opener: Clone;

    /// Begins to speak; the future is what the connection needs to be driven by.
    fn begin(
        connection: quinn::Connection,
    ) -> impl Future<Output = Result<(Self::Opener, impl Future<Output = ()> + 'static), Failure>>;
}

/// Nothing but streams.
pub(crate) struct Plain;

impl Speaker for Plain {
    type Opener = quinn::Connection;

    async fn begin(
        connection: quinn::Connection,
    ) -> Result<(Self::Opener, impl Future<Output = ()> + 'static), Failure> {
        Ok((connection, std::future::ready(())))
    }
}

/// A connection that users share.
pub(crate) struct Link<S: Speaker> {
    dialler: Rc<QuicDialler>,
    dialling: tokio::sync::Mutex<()>,
    state: RefCell<State<S::Opener>>,
}

struct State<O> {
    opener: Option<(O, quinn::Connection)>,
    /// Counts connections, so that a user who failed on an old one does not end the new one.
    generation: u64,
    driver: JoinSet<()>,
}

impl<S: Speaker> Link<S> {
    pub(crate) fn new(dialler: &Rc<QuicDialler>) -> Rc<Self> {
        Rc::new(Self {
            dialler: dialler.clone(),
            dialling: tokio::sync::Mutex::new(()),
            state: RefCell::new(State {
                opener: None,
                generation: 0,
                driver: JoinSet::new(),
            }),
        })
    }

    fn standing(&self) -> Option<(S::Opener, u64)> {
        let state = self.state.borrow();
        let (opener, connection) = state.opener.as_ref()?;
        // One that has ended costs no request.
        connection
            .close_reason()
            .is_none()
            .then(|| (opener.clone(), state.generation))
    }

    pub(crate) async fn opener(&self) -> Result<(S::Opener, u64), Failure> {
        let _dialling = self.dialling.lock().await;
        if let Some(standing) = self.standing() {
            return Ok(standing);
        }
        let connection = self.dialler.dial().await.ok_or(Failure::Connect)?;
        let (opener, driver) = S::begin(connection.clone()).await?;
        let mut state = self.state.borrow_mut();
        state.driver = JoinSet::new();
        state.driver.spawn_local(driver);
        state.generation += 1;
        state.opener = Some((opener.clone(), connection));
        Ok((opener, state.generation))
    }

    pub(crate) fn forget(&self, generation: u64) {
        let mut state = self.state.borrow_mut();
        if state.generation == generation {
            if let Some((_, connection)) = state.opener.take() {
                connection.close(VarInt::from_u32(0), b"");
            }
            state.driver = JoinSet::new();
        }
    }
}

/// A user of a plain connection.
pub(crate) struct Quic {
    link: Rc<Link<Plain>>,
    connection: Option<(quinn::Connection, u64)>,
    upload_bytes: u64,
    answer_bytes: u64,
}

impl Quic {
    pub(crate) fn new(link: &Rc<Link<Plain>>, load: &Load) -> Self {
        Self {
            link: link.clone(),
            connection: None,
            upload_bytes: load.upload_bytes(),
            answer_bytes: load.answer_bytes().unwrap_or(0),
        }
    }
}

impl Exchange for Quic {
    async fn connect(&mut self) -> Result<(), Failure> {
        if self.connection.is_none() {
            self.connection = Some(self.link.opener().await?);
        }
        Ok(())
    }

    async fn exchange(&mut self) -> Result<Answer, Failure> {
        self.connect().await?;
        let (connection, _) = self.connection.as_ref().ok_or(Failure::Connect)?;
        let (mut up, mut down) = connection.open_bi().await.map_err(|_| Failure::Broken)?;
        let sent = async {
            up.write_all(&self.answer_bytes.to_be_bytes()).await?;
            let mut left = self.upload_bytes;
            while left > 0 {
                let wanted =
                    usize::try_from(left).map_or(PIECE.len(), |left| left.min(PIECE.len()));
                up.write_chunk(Bytes::from_static(&PIECE).slice(..wanted))
                    .await?;
                left -= wanted as u64;
            }
            Ok::<_, quinn::WriteError>(())
        };
        sent.await.map_err(|_| Failure::Broken)?;
        up.finish().map_err(|_| Failure::Broken)?;
        let mut received = 0;
        while let Some(chunk) = down
            .read_chunk(READ_BYTES, true)
            .await
            .map_err(|_| Failure::Truncated)?
        {
            received += chunk.bytes.len() as u64;
        }
        if received != self.answer_bytes {
            return Err(Failure::Length);
        }
        Ok(Answer {
            body_bytes: self.upload_bytes + received,
            took: None,
        })
    }

    fn give_up(&mut self) {
        if let Some((_, generation)) = self.connection.take() {
            self.link.forget(generation);
        }
    }
}
