//! Users who have come to the edge and stay, as those of browsers do between two pages.

use std::{fs, net::Ipv4Addr};

use anyhow::{Context as _, anyhow};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::sleep,
};

use super::{
    Options,
    fabric::{DOMAIN, Fabric},
    outcome::{Users, seconds},
    process::Process,
};
use crate::{
    exchange::socket::{Dialler, Socket},
    target::{Sessions, Target},
};

/// Users who connect at once.
const CONNECTING_MAX: usize = 64;
/// Connections from one address; an edge takes twice as many by default.
const USERS_PER_ADDRESS: usize = 500;
/// The first of their addresses; all of 127.0.0.0/8 is this machine.
const ADDRESSES_FROM: u32 = Ipv4Addr::new(127, 1, 0, 1).to_bits();

/// Connects all users over TLS, each with a request of HTTP/1.1 that the edge answers alone, and looks at what they cost while they
/// wait. They are gone afterwards.
pub(super) async fn measure(
    edge: &Process,
    fabric: &Fabric,
    options: &Options,
) -> anyhow::Result<Users> {
    let host = format!("nobody.{DOMAIN}");
    let address = fabric.edge_address();
    let url = format!("https://{host}:{}/", address.port());
    let roots = fs::read(fabric.roots()).context("reading control's roots")?;
    let target = Target::new(url.parse()?, address, &roots)?;
    let dialler = Dialler::new(&target, b"http/1.1", Sessions::Fresh)?;
    let request = format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", target.authority());
    let (began, before) = (fabric.clock.now(), edge.usage()?);
    let connected: Vec<Socket> = stream::iter(0..options.users)
        .map(|number| visit(&dialler, number, request.as_bytes()))
        .buffer_unordered(CONNECTING_MAX)
        .try_collect()
        .await?;
    let took = fabric.clock.now() - began;
    let cpu = edge.usage()?.cpu - before.cpu;
    sleep(options.settle).await;
    let after = edge.usage()?;
    Ok(Users {
        users: connected.len(),
        seconds: seconds(took),
        edge_cpu_seconds: seconds(cpu),
        before_bytes: before.resident_bytes,
        after_bytes: after.resident_bytes,
    })
}

async fn visit(dialler: &Dialler, number: usize, request: &[u8]) -> anyhow::Result<Socket> {
    let from = ADDRESSES_FROM + u32::try_from(number / USERS_PER_ADDRESS)?;
    let dialled = dialler.dial_from(Ipv4Addr::from_bits(from)).await;
    let mut socket = dialled.map_err(|failure| anyhow!("user {number}: {failure:?}"))?;
    socket.write_all(request).await?;
    socket.flush().await?;
    let mut answer = [0; 1024];
    let read = socket.read(&mut answer).await?;
    anyhow::ensure!(read > 0, "user {number} got no answer");
    Ok(socket)
}
