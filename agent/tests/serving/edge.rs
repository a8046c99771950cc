//! The scripted edge, and an agent that hangs on it.

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use agent::{
    agent::{Serving, serve},
    allow::AllowList,
    config::{ServingConfig, Transports},
    origin::SystemRoots,
    view::{Edge, View, ViewBuilder, Views},
};
use bytes::Bytes;
use http::HeaderMap;
use model::app::{AgentApp, Origin, Timeouts};
use proto::tunnel::{ErrorInfo, Hello, RequestHead, ResponseHead, Welcome};
use runtime::{
    Clock, Scope, admin_port::Readiness, identity::CurrentIdentity, tls::agents_server_config,
    worker::Threads,
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tunnel::{
    Transport,
    codes::Code,
    control::{ControlReceiver, ControlSender, HandshakeError, Refusal, edge_handshake},
    fields,
    frame::Frame,
    link::Connection,
    quic::{ALPN, EdgeEndpoint, Knock, ResetKey},
    steering::bind_group,
    stream::{Kind, RecvError, RecvHalf, SendHalf},
    tcp,
};

use crate::ca::Ca;

/// Nothing on loopback takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it hangs")
}

/// An edge of one worker.
pub(crate) struct ScriptedEdge {
    endpoint: EdgeEndpoint,
    listener: (TcpListener, TlsAcceptor),
    pub(crate) address: SocketAddr,
    /// How often its links over TCP were frozen.
    frozen: watch::Sender<u32>,
    scope: Scope,
}

/// A link as the edge holds it.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) hello: Hello,
    pub(crate) sender: Arc<Mutex<ControlSender>>,
    pub(crate) receiver: ControlReceiver,
}

impl ScriptedEdge {
    pub(crate) fn start(ca: &Ca, name: &str) -> Self {
        let socket = bind_group(
            "127.0.0.1:0".parse().unwrap(),
            1,
            tunnel::steering::Generation::Even,
        )
        .unwrap()
        .remove(0);
        let address = socket.local_addr().unwrap();
        let identity = ca.identity(&format!("spiffe://fabric.test/edge/{name}"));
        let tls = agents_server_config(&identity, &[ALPN]).unwrap();
        let over_tcp = Arc::new(agents_server_config(&identity, &[tcp::ALPN]).unwrap());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        Self {
            endpoint: EdgeEndpoint::new(socket, Arc::new(tls), &ResetKey::random()).unwrap(),
            listener: (listener, TlsAcceptor::from(over_tcp)),
            address,
            frozen: watch::Sender::new(0),
            scope: Scope::root(),
        }
    }

    /// Where agents dial over QUIC, and over TCP.
    pub(crate) fn addresses(&self) -> (SocketAddr, Option<SocketAddr>) {
        let (listener, _) = &self.listener;
        (self.address, listener.local_addr().ok())
    }

    /// Welcomes the next agent.
    pub(crate) async fn welcome(&self) -> Link {
        self.welcome_over(tested_transport()).await
    }

    /// Sends the next agent away for so long.
    pub(crate) async fn send_away(&self, retry_after: Duration) {
        let connection = soon(self.accept_over(tested_transport())).await;
        let refusal = Refusal {
            code: Code::Refused,
            reason: "the test has no room".to_owned(),
            retry_after: Some(retry_after),
        };
        let refused = soon(edge_handshake(&connection, |_| Err(refusal))).await;
        assert!(matches!(refused, Err(HandshakeError::Refused(_))));
    }

    /// Welcomes the next agent that comes over this transport.
    pub(crate) async fn welcome_over(&self, transport: Transport) -> Link {
        soon(self.next_over(transport)).await
    }

    /// The same, for as long as it takes.
    pub(crate) async fn next_over(&self, transport: Transport) -> Link {
        let connection = self.accept_over(transport).await;
        let welcome = Welcome {
            edge: "e1".to_owned(),
            workers: 1,
            ..Welcome::default()
        };
        let (hello, sender, receiver) = soon(edge_handshake(&connection, |_| Ok(welcome)))
            .await
            .unwrap();
        Link {
            connection,
            hello,
            sender: Arc::new(Mutex::new(sender)),
            receiver,
        }
    }
}

impl ScriptedEdge {
    async fn accept_over(&self, transport: Transport) -> Connection {
        match transport {
            Transport::Quic => self.accept_over_quic().await,
            Transport::Tcp => self.accept_over_tcp().await,
        }
    }

    /// Attempts that were given up, as another transport was faster, are passed over.
    async fn accept_over_quic(&self) -> Connection {
        loop {
            let knock = self.endpoint.accept().await;
            let handshake = knock.and_then(Knock::agent).unwrap();
            if let Ok(connection) = handshake.finish().await {
                return connection;
            }
        }
    }

    async fn accept_over_tcp(&self) -> Connection {
        let (listener, tls) = &self.listener;
        let (stream, address) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = tls.accept(stream).await.unwrap();
        let certificates = stream.get_ref().1.peer_certificates().unwrap().to_vec();
        let peer = tcp::Peer {
            address,
            certificates,
        };
        let (connection, driver) = tcp::edge(stream, peer).await.unwrap();
        let mut frozen = self.frozen.subscribe();
        self.scope.spawn("tcp link", async move {
            let mut driver = std::pin::pin!(driver);
            tokio::select! {
                () = &mut driver => {}
                _ = frozen.changed() => std::future::pending().await,
            }
        });
        connection
    }

    /// Nothing comes any more on the links over TCP that there are, and they stay open: as of a machine that sleeps.
    pub(crate) fn freeze_tcp(&self) {
        self.frozen.send_modify(|times| *times += 1);
    }
}

/// What carries the links of tests that are about something else: QUIC, unless the environment says `tcp`.
fn tested_transport() -> Transport {
    match std::env::var("ADIT_TEST_TRANSPORT").as_deref() {
        Ok("tcp") => Transport::Tcp,
        _ => Transport::Quic,
    }
}

/// An agent with one link to a scripted edge.
pub(crate) struct Bench {
    pub(crate) agent: Serving,
    pub(crate) edge: ScriptedEdge,
    pub(crate) link: Link,
    pub(crate) views: Views,
    pub(crate) readiness: Readiness,
    pub(crate) scope: Scope,
    pub(crate) ca: Ca,
}

impl Bench {
    /// Serves `app` at `origin`.
    pub(crate) async fn of(origin: &str) -> Self {
        Self::with(vec![app("app", &[origin])]).await
    }

    pub(crate) async fn with(apps: Vec<AgentApp>) -> Self {
        Self::allowing(apps, AllowList::all()).await
    }

    pub(crate) async fn allowing(apps: Vec<AgentApp>, allow: AllowList) -> Self {
        let config = ServingConfig {
            allow,
            ..ServingConfig::default()
        };
        Box::pin(Self::configured(apps, config)).await
    }

    /// Of one worker, over the transport that is tested; the rest is as told.
    pub(crate) async fn configured(apps: Vec<AgentApp>, config: ServingConfig) -> Self {
        runtime::tls::install_provider();
        let ca = Ca::new();
        let edge = ScriptedEdge::start(&ca, "e1");
        let views = Views::new(view(apps, &[("e1", edge.addresses())]));
        let config = ServingConfig {
            transports: Transports::Only(tested_transport()),
            workers: Threads::Own(NonZeroUsize::MIN),
            ..config
        };
        let (scope, readiness) = (Scope::root(), Readiness::new());
        let identity = CurrentIdentity::new(ca.identity("spiffe://fabric.test/agent/a1"));
        let agent = serve(
            config,
            identity,
            views.clone(),
            &readiness,
            Clock::system(),
            &scope,
        )
        .await
        .unwrap();
        let link = edge.welcome().await;
        Self {
            agent,
            edge,
            link,
            views,
            readiness,
            scope,
            ca,
        }
    }

    /// Opens a stream and says the head; what follows is up to the test.
    pub(crate) async fn open(&self, head: RequestHead) -> (SendHalf, RecvHalf) {
        let (mut send, recv) = soon(self.link.connection.open(Kind::Http)).await.unwrap();
        send.queue(head).unwrap();
        soon(send.flush()).await.unwrap();
        (send, recv)
    }

    /// A whole request with a whole answer.
    pub(crate) async fn ask(&self, head: RequestHead, body: &'static [u8]) -> Answer {
        let (mut send, mut recv) = soon(self.link.connection.open(Kind::Http)).await.unwrap();
        send.queue(head).unwrap();
        if !body.is_empty() {
            send.queue(Frame::Data(Bytes::from_static(body))).unwrap();
        }
        soon(send.end(Default::default())).await.unwrap();
        soon(answer(&mut recv)).await
    }

    pub(crate) async fn get(&self, path: &'static str) -> Answer {
        self.ask(get(path), b"").await
    }
}

pub(crate) fn app(id: &str, origins: &[&str]) -> AgentApp {
    let origins = origins
        .iter()
        .map(|url| Origin::new(url.parse().unwrap()))
        .collect();
    AgentApp {
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            ..Timeouts::default()
        },
        ..AgentApp::new(id.parse().unwrap(), origins)
    }
}

/// Of agents that know edges where these are, over QUIC and over TCP.
pub(crate) fn view(
    apps: Vec<AgentApp>,
    edges: &[(&str, (SocketAddr, Option<SocketAddr>))],
) -> View {
    view_of_workers(1, apps, edges)
}

/// The same of edges with so many workers.
pub(crate) fn view_of_workers(
    workers: u32,
    apps: Vec<AgentApp>,
    edges: &[(&str, (SocketAddr, Option<SocketAddr>))],
) -> View {
    let edges = edges
        .iter()
        .map(|(id, (address, tcp_address))| Edge {
            id: id.parse().unwrap(),
            address: address.to_string(),
            tcp_address: tcp_address.map(|address| address.to_string()),
            workers,
        })
        .collect();
    ViewBuilder::new(SystemRoots::default())
        .of_apps(apps, edges)
        .unwrap()
}

pub(crate) fn get(path: &'static str) -> RequestHead {
    RequestHead {
        request_id: vec![7; 16].into(),
        app: "app".to_owned(),
        method: "GET".into(),
        scheme: "https".into(),
        authority: "app.example.com".into(),
        path_and_query: path.into(),
        http_version: 11,
        flags: Some(proto::tunnel::RequestFlags {
            idempotent: true,
            ..Default::default()
        }),
        ..RequestHead::default()
    }
}

pub(crate) fn post(path: &'static str, length: Option<u64>) -> RequestHead {
    RequestHead {
        method: "POST".into(),
        body_length: length,
        body_streamed: length.is_none(),
        flags: None,
        ..get(path)
    }
}

/// All that came back.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) informational: Vec<ResponseHead>,
    pub(crate) head: Option<ResponseHead>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) end: Ending,
    pub(crate) continues: usize,
}

/// How a stream ended.
#[derive(Debug, Default)]
pub(crate) enum Ending {
    #[default]
    Nothing,
    End,
    Error(ErrorInfo),
    Broken(RecvError),
}

impl Answer {
    #[track_caller]
    pub(crate) fn status(&self) -> u32 {
        assert!(matches!(self.end, Ending::End), "{self:?}");
        self.head.as_ref().expect("a head").status
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn fields(&self) -> HeaderMap {
        fields::decode(self.head.as_ref().expect("a head").fields.clone()).unwrap()
    }

    #[track_caller]
    pub(crate) fn error(&self) -> &ErrorInfo {
        let Ending::Error(error) = &self.end else {
            panic!("no error: {self:?}");
        };
        error
    }
}

pub(crate) async fn answer(recv: &mut RecvHalf) -> Answer {
    let mut answer = Answer::default();
    loop {
        match recv.next().await {
            Ok(Some(Frame::Response(head))) if head.status < 200 && !head.upgraded => {
                answer.informational.push(head);
            }
            Ok(Some(Frame::Response(head))) => answer.head = Some(head),
            Ok(Some(Frame::Data(data))) => answer.body.extend_from_slice(&data),
            Ok(Some(Frame::Trailers(trailers))) => answer.trailers = Some(trailers),
            Ok(Some(Frame::End(_))) => answer.end = Ending::End,
            Ok(Some(Frame::Error(error))) => answer.end = Ending::Error(error),
            Ok(Some(Frame::Continue)) => answer.continues += 1,
            Ok(Some(Frame::Request(_))) => panic!("an agent sent REQUEST"),
            Ok(None) => return answer,
            Err(error) => {
                answer.end = Ending::Broken(error);
                return answer;
            }
        }
    }
}

/// Reads up to the final head.
pub(crate) async fn final_head(recv: &mut RecvHalf) -> ResponseHead {
    loop {
        match soon(recv.next()).await.unwrap() {
            Some(Frame::Response(head)) if head.status >= 200 || head.upgraded => return head,
            Some(_) => {}
            None => panic!("no final head"),
        }
    }
}

/// Waits until the agent wants no more of what is sent.
pub(crate) async fn stopped(send: &SendHalf) -> Option<Code> {
    soon(send.stopped()).await
}
