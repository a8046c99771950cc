//! Makes the users of one thread: each protocol with each thing that is done over it.

use std::rc::Rc;

use tokio::sync::{mpsc, oneshot};

use super::{CrewError, Order, Share, work};
use crate::{
    exchange::{
        Protocol,
        echo::Echo,
        grpc::Call,
        http1::{self, Http1},
        http2::{self, Http2},
        http3::{self, Http3},
        quic::{self, Quic, QuicDialler},
        socket::Dialler,
        transfer::{Events, Transfer},
    },
    scenario::{Ask, Load, Speaks},
    target::Sessions,
};

/// The protocols as TLS calls them: the registry of ALPN, and ours for plain streams.
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";
const HTTP3: &[u8] = b"h3";
pub(crate) const PLAIN: &[u8] = b"adit-load";

type Connected = oneshot::Sender<Result<(), CrewError>>;

/// Makes the users of a share and lets them work.
pub(super) async fn serve(share: Share, orders: mpsc::Receiver<Order>, connected: Connected) {
    // Boxed: each branch is a state machine of its own, and there is one per thread.
    let served = match share.load.protocol {
        Speaks::Http1 => Box::pin(over_http1(share, orders, connected)) as Served,
        Speaks::Http2 | Speaks::Grpc => Box::pin(over_http2(share, orders, connected)),
        Speaks::Http3 => Box::pin(over_http3(share, orders, connected)),
        Speaks::Quinn => Box::pin(over_quic(share, orders, connected)),
    };
    served.await;
}

type Served = std::pin::Pin<Box<dyn Future<Output = ()>>>;

impl Share {
    /// A number for the chance of each user.
    fn seed_of(&self, user: usize) -> u64 {
        let (thread, threads) = self.thread;
        self.seed.wrapping_add((user * threads + thread) as u64)
    }

    fn sessions(&self) -> Sessions {
        if self.load.resume {
            Sessions::Resumed
        } else {
            Sessions::Fresh
        }
    }

    /// Makes the users of each connection.
    fn users<L, E>(&self, link: impl Fn() -> L, user: impl Fn(&L, usize) -> E) -> Vec<E> {
        let streams = self.load.streams.get();
        (0..self.connections)
            .flat_map(|connection| {
                let (link, user) = (link(), &user);
                (0..streams).map(move |stream| user(&link, connection * streams + stream))
            })
            .collect()
    }
}

async fn over_http1(share: Share, orders: mpsc::Receiver<Order>, connected: Connected) {
    let dialler = match Dialler::new(&share.target, HTTP1, share.sessions()) {
        Ok(dialler) => Rc::new(dialler),
        Err(error) => return refuse(connected, CrewError::Target(error)),
    };
    if share.load.ask == Ask::WebSocket {
        let users = share.users(|| (), |(), _| Echo::new(&dialler, &share.load));
        return work(share, users, orders, connected).await;
    }
    let requests = Rc::new(http1::Requests::new(&share.load, &dialler));
    let user = |(): &(), _| Http1::new(&dialler, &requests);
    of_http(share, || (), user, orders, connected).await;
}

async fn over_http2(share: Share, orders: mpsc::Receiver<Order>, connected: Connected) {
    let dialler = match Dialler::new(&share.target, HTTP2, share.sessions()) {
        Ok(dialler) => Rc::new(dialler),
        Err(error) => return refuse(connected, CrewError::Target(error)),
    };
    let link = || http2::Link::new(&dialler);
    if share.load.ask == Ask::Grpc {
        let requests = Rc::new(Call::requests(&share.load, &dialler));
        let users = share.users(link, |link, _| Call::new(link, &requests, &share.load));
        return work(share, users, orders, connected).await;
    }
    let requests = Rc::new(http2::Requests::new(&share.load, &dialler));
    let user = |link: &Rc<http2::Link>, _| Http2::new(link, &requests);
    of_http(share, link, user, orders, connected).await;
}

async fn over_http3(share: Share, orders: mpsc::Receiver<Order>, connected: Connected) {
    let sessions = share.sessions();
    let (Some(quic), Ok(names)) = (
        QuicDialler::new(&share.target, HTTP3, sessions),
        Dialler::new(&share.target, HTTP3, sessions),
    ) else {
        return refuse(connected, CrewError::Quic);
    };
    let quic = Rc::new(quic);
    let requests = Rc::new(http3::Requests::new(&share.load, &names));
    let link = || quic::Link::new(&quic);
    let user = |link: &Rc<quic::Link<http3::Http3Speaker>>, _| Http3::new(link, &requests);
    of_http(share, link, user, orders, connected).await;
}

async fn over_quic(share: Share, orders: mpsc::Receiver<Order>, connected: Connected) {
    let Some(quic) = QuicDialler::new(&share.target, PLAIN, share.sessions()) else {
        return refuse(connected, CrewError::Quic);
    };
    let quic = Rc::new(quic);
    let users = share.users(
        || quic::Link::new(&quic),
        |link, _| Quic::new(link, &share.load),
    );
    work(share, users, orders, connected).await;
}

/// Users of what every version of HTTP has.
async fn of_http<L, P: Protocol + 'static>(
    share: Share,
    link: impl Fn() -> L,
    protocol: impl Fn(&L, usize) -> P,
    orders: mpsc::Receiver<Order>,
    connected: Connected,
) {
    if share.load.ask == Ask::Events {
        let user = |link: &L, user| Events::new(protocol(link, user), &share.clock);
        let users = share.users(&link, user);
        return work(share, users, orders, connected).await;
    }
    let transfer = |load: &Load, link: &L, user| {
        Transfer::new(protocol(link, user), load, share.seed_of(user))
    };
    let users = share.users(&link, |link, user| transfer(&share.load, link, user));
    work(share, users, orders, connected).await;
}

fn refuse(connected: Connected, error: CrewError) {
    // Whoever assembled the crew may have given up.
    let _ = connected.send(Err(error));
}
