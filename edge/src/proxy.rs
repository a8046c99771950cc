//! Load balancers in front, which say whom they speak for in a header before everything else: the PROXY protocol, in its
//! versions 1 (text) and 2 (binary).
//!
//! A listener believes that header from the networks that its operator named, and takes no other connections: anybody could
//! write one.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};

/// The shortest header: "PROXY UNKNOWN" and an end of line. Read first, so that not a byte behind the header is taken.
const SHORTEST_BYTES: usize = 15;
/// The longest header of version 1, by its specification.
const TEXT_BYTES_MAX: usize = 107;
/// Bytes of version 2 before what its length tells of.
const BINARY_HEAD_BYTES: usize = 16;
/// What is taken of version 2 behind that: addresses take 216 at most, the rest are notes of the balancer, which are not read.
const BINARY_REST_BYTES_MAX: usize = 4 * 1024;

/// How version 2 begins; version 1 begins with a letter.
const BINARY_MARK: u8 = b'\r';

/// Who may speak for others on a listener; none: nobody, and no header is expected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Arc<[IpNet]>);

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// It does not come from a network that the operator named.
    #[error("connection does not come from a trusted proxy")]
    Stranger,
    /// It ended, or did not say in time whom it speaks for.
    #[error("reading the header of the proxy protocol")]
    Read(#[source] io::Error),
    /// What it says is no header.
    #[error("header of the proxy protocol is not valid")]
    Invalid(#[source] proxy_header::Error),
    /// The header is longer than any that is of use.
    #[error("header of the proxy protocol is too long")]
    TooLong,
    /// It speaks for something other than a stream.
    #[error("proxied connection is no stream")]
    NoStream,
}

impl Proxies {
    /// Believes these networks.
    pub(crate) fn new(trusted: &[IpNet]) -> Self {
        Self(trusted.into())
    }

    /// Where the user is who came from `socket`. Takes the header from `stream`, and not a byte more, within `patience`.
    pub(crate) async fn user<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        socket: SocketAddr,
        patience: Duration,
    ) -> Result<SocketAddr, ProxyError> {
        if self.0.is_empty() {
            return Ok(socket);
        }
        let source = socket.ip().to_canonical();
        if !self.0.iter().any(|network| network.contains(&source)) {
            return Err(ProxyError::Stranger);
        }
        let announced = timeout(patience, announced(stream)).await;
        let announced = announced.map_err(|late| ProxyError::Read(late.into()))??;
        // A balancer that asks on its own account, or does not know, names nobody.
        Ok(announced.unwrap_or(socket))
    }
}

async fn announced<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<SocketAddr>, ProxyError> {
    let mut header = vec![0; SHORTEST_BYTES];
    read(stream, &mut header).await?;
    if header.first() == Some(&BINARY_MARK) {
        read_binary(stream, &mut header).await?;
    } else {
        read_text(stream, &mut header).await?;
    }
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    let (header, _) = ProxyHeader::parse(&header, config).map_err(ProxyError::Invalid)?;
    match header.proxied_address() {
        None => Ok(None),
        Some(proxied) if proxied.protocol == Protocol::Stream => Ok(Some(proxied.source)),
        Some(_) => Err(ProxyError::NoStream),
    }
}

/// To the end of the line.
async fn read_text<S: AsyncRead + Unpin>(
    stream: &mut S,
    header: &mut Vec<u8>,
) -> Result<(), ProxyError> {
    while header.last() != Some(&b'\n') {
        if header.len() == TEXT_BYTES_MAX {
            return Err(ProxyError::TooLong);
        }
        let mut byte = [0];
        read(stream, &mut byte).await?;
        header.extend(byte);
    }
    Ok(())
}

/// To the end that the length tells of.
async fn read_binary<S: AsyncRead + Unpin>(
    stream: &mut S,
    header: &mut Vec<u8>,
) -> Result<(), ProxyError> {
    header.resize(BINARY_HEAD_BYTES, 0);
    read(stream, &mut header[SHORTEST_BYTES..]).await?;
    let rest = u16::from_be_bytes([header[BINARY_HEAD_BYTES - 2], header[BINARY_HEAD_BYTES - 1]]);
    let rest = usize::from(rest);
    if rest > BINARY_REST_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    header.resize(BINARY_HEAD_BYTES + rest, 0);
    read(stream, &mut header[BINARY_HEAD_BYTES..]).await
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut [u8]) -> Result<(), ProxyError> {
    let read = stream.read_exact(bytes).await;
    read.map(drop).map_err(ProxyError::Read)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// What comes of `bytes` from `source` on a listener that believes 10.0.0.0/8 and one network of IPv6, with what is left.
    async fn user(source: &str, bytes: &[u8]) -> (Result<SocketAddr, ProxyError>, Vec<u8>) {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap());
        let mut stream = bytes;
        let source = source.parse().unwrap();
        let user = Proxies::new(&trusted)
            .user(&mut stream, source, PATIENCE)
            .await;
        (user, stream.to_vec())
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = b"\r\n\r\n\x00\r\nQUIT\n".to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    const ADDRESSES: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0x01, 0xbb];

    #[tokio::test]
    async fn a_trusted_proxy_is_believed_and_what_follows_is_left() {
        let with_notes = [ADDRESSES.as_slice(), &[0x04, 0, 2, 0, 0]].concat();
        for (header, want) in [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 443\r\n".to_vec(),
                "192.0.2.7:8080",
            ),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 8080 443\r\n".to_vec(),
                "[2001:db8::7]:8080",
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), "10.1.2.3:4"),
            (b"PROXY UNKNOWN ::1 ::1 1 2\r\n".to_vec(), "10.1.2.3:4"),
            (binary(0x21, 0x11, &ADDRESSES), "192.0.2.7:8080"),
            (binary(0x21, 0x11, &with_notes), "192.0.2.7:8080"),
            (binary(0x20, 0x11, &ADDRESSES), "10.1.2.3:4"),
            (binary(0x20, 0x00, &[]), "10.1.2.3:4"),
            (binary(0x21, 0x00, &[]), "10.1.2.3:4"),
        ] {
            let bytes = [header.as_slice(), b"\x16\x03\x01"].concat();
            let (user, left) = user("10.1.2.3:4", &bytes).await;
            assert_eq!(user.unwrap().to_string(), want, "{header:?}");
            assert_eq!(left, b"\x16\x03\x01");
        }
    }

    #[tokio::test]
    async fn others_are_not_believed() {
        let header = b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 443\r\n";
        for source in ["11.0.0.1:1", "[2001:db9::1]:1", "[::1]:1"] {
            let (refused, left) = user(source, header).await;
            assert!(matches!(refused, Err(ProxyError::Stranger)), "{source}");
            assert_eq!(left, header);
        }
        // A socket for both families shows IPv4 like this.
        let (user, _) = user("[::ffff:10.0.0.1]:1", header).await;
        assert!(user.is_ok());
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".as_slice(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 70000\r\n",
            b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            b"PROXY UDP4 192.0.2.7 10.0.0.1 8080 443\r\n",
            b"PROXY TCP4 192.0.2.7",
            b"",
            &endless,
            &binary(0x21, 0x12, &ADDRESSES),
            &binary(0x31, 0x11, &ADDRESSES),
            &binary(0x21, 0x21, &ADDRESSES),
            &binary(0x21, 0x11, &[0; BINARY_REST_BYTES_MAX + 1]),
        ] {
            let (refused, _) = user("10.1.2.3:4", bytes).await;
            assert!(refused.is_err(), "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_says_nothing_is_not_waited_for() {
        let (mut near, _far) = tokio::io::duplex(16);
        let trusted = ["127.0.0.0/8".parse().unwrap()];
        let source = "127.0.0.1:1".parse().unwrap();
        let refused = Proxies::new(&trusted)
            .user(&mut near, source, PATIENCE)
            .await;
        assert!(matches!(refused, Err(ProxyError::Read(_))));
    }
}
