//! A KDC that takes its time.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use kerberos::Kerberos;
use kit::kerberos::{Account, App, Lab};
use tokio::time::Instant;

use super::{ask, crowd, on_runtime, settings};

/// How much longer each exchange takes.
const DELAY: Duration = Duration::from_secs(1);
/// Users who come at once. Each takes three exchanges, two of them with the agent's own ticket.
const CROWD: usize = 8;
/// What an answer of a KDC may be long.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

#[test]
fn users_do_not_wait_for_each_others_exchanges() {
    Lab::within(
        "slow::users_do_not_wait_for_each_others_exchanges",
        &[("LAB_CROWD", "8")],
        |lab| {
            let way = slow_way(lab).display().to_string();
            vec![("KRB5_CONFIG".to_owned(), way)]
        },
        |lab| on_runtime(false, at_once(lab)),
    );
}

async fn at_once(lab: &Lab) {
    let mut settings = settings(lab, Account::Good);
    settings.bounds.deadline = Duration::from_secs(40);
    let kerberos = Kerberos::load(settings).expect("library and keytab are there");
    kerberos.agent_ticket().await.expect("a ticket");
    let began = Instant::now();
    let asked = (0..CROWD).map(|number| {
        let (kerberos, ask) = (kerberos.clone(), ask(&crowd(number), lab.spn(App::App)));
        async move { kerberos.token(ask).await }
    });
    for token in join_all(asked).await {
        token.unwrap_or_else(|failure| panic!("{failure}"));
    }
    let took = began.elapsed();
    assert!(took >= DELAY, "{took:?}: the way is not slow");
    // One after the other it is more than twice that.
    assert!(
        took < DELAY * u32::try_from(CROWD).expect("few"),
        "{took:?}"
    );
    assert_eq!(kerberos.stats().agent_tickets, 1);
}

/// A file for `KRB5_CONFIG` by which the KDC is reached through something that keeps each question for a while.
fn slow_way(lab: &Lab) -> PathBuf {
    let kdc = lab.kdc();
    let listener = TcpListener::bind((kdc.ip(), 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // One that breaks off is asked again.
            thread::spawn(move || relay(stream, kdc));
        }
    });
    let conf = fs::read_to_string(lab.krb5_conf()).expect("the lab has one");
    let direct = format!("kdc = {kdc}");
    assert!(conf.contains(&direct), "{conf}");
    let conf = conf.replace(&direct, &format!("kdc = {address}")).replace(
        "[libdefaults]",
        "[libdefaults]\n    udp_preference_limit = 1",
    );
    let path = lab.folder().join("slow.conf");
    fs::write(&path, conf).expect("the folder is ours");
    path
}

fn relay(mut asker: TcpStream, kdc: SocketAddr) -> io::Result<()> {
    let question = message(&mut asker)?;
    thread::sleep(DELAY);
    let mut kdc = TcpStream::connect(kdc)?;
    kdc.write_all(&question)?;
    let answer = message(&mut kdc)?;
    asker.write_all(&answer)
}

/// One message with its length before it (RFC 4120, section 7.2.2).
fn message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let mut message = length.to_vec();
    message.resize(length.len() + bytes.min(MESSAGE_BYTES_MAX), 0);
    stream.read_exact(&mut message[length.len()..])?;
    Ok(message)
}
