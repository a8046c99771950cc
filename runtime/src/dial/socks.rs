//! The way through a SOCKS5 proxy: the three messages of RFC 1928, with user name and password by RFC 1929.

use std::{io, net::IpAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{ProxyError, Target, proxy::Credentials};

/// Version of the protocol (RFC 1928, section 3).
const VERSION: u8 = 5;
/// Version of the exchange of user name and password (RFC 1929, section 2).
const PASSWORD_VERSION: u8 = 1;
/// Ways to sign in (RFC 1928, section 3).
const NO_SIGN_IN: u8 = 0x00;
const BY_PASSWORD: u8 = 0x02;
const NONE_ACCEPTABLE: u8 = 0xff;
/// The command (RFC 1928, section 4).
const CONNECT: u8 = 1;
/// Kinds of addresses (RFC 1928, section 5).
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Asks the proxy at the other end of `stream` for a way to `target`; from then on the stream leads there. Names are the proxy's to
/// look up.
pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    target: &Target,
    credentials: Option<&Credentials>,
) -> Result<S, ProxyError> {
    greet(&mut stream, credentials).await?;
    stream
        .write_all(&request(target)?)
        .await
        .map_err(ProxyError::Socks)?;
    let [version, reply, _, kind] = read(&mut stream).await?;
    if version != VERSION {
        return Err(ProxyError::NotSocks);
    }
    if let Some(refusal) = refusal(reply) {
        return Err(ProxyError::SocksRefused(refusal));
    }
    skip_bound(&mut stream, kind).await?;
    Ok(stream)
}

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    credentials: Option<&Credentials>,
) -> Result<(), ProxyError> {
    let greeting: &[u8] = match credentials {
        None => &[VERSION, 1, NO_SIGN_IN],
        Some(_) => &[VERSION, 2, NO_SIGN_IN, BY_PASSWORD],
    };
    stream
        .write_all(greeting)
        .await
        .map_err(ProxyError::Socks)?;
    let [version, chosen] = read(stream).await?;
    match (version, chosen, credentials) {
        (VERSION, NO_SIGN_IN, _) => Ok(()),
        (VERSION, BY_PASSWORD, Some(credentials)) => sign_in(stream, credentials).await,
        (VERSION, NONE_ACCEPTABLE, None) => Err(ProxyError::CredentialsWanted),
        (VERSION, NONE_ACCEPTABLE, Some(_)) => Err(ProxyError::CredentialsRefused),
        _ => Err(ProxyError::NotSocks),
    }
}

async fn sign_in<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    credentials: &Credentials,
) -> Result<(), ProxyError> {
    let mut message = vec![PASSWORD_VERSION];
    for part in [&credentials.user, credentials.password.expose()] {
        // Each is 1 to 255 bytes long (RFC 1929, section 2).
        let length = u8::try_from(part.len()).map_err(|_| ProxyError::CredentialsRefused)?;
        message.push(length);
        message.extend(part.as_bytes());
    }
    stream
        .write_all(&message)
        .await
        .map_err(ProxyError::Socks)?;
    let [_, status] = read(stream).await?;
    if status != 0 {
        return Err(ProxyError::CredentialsRefused);
    }
    Ok(())
}

fn request(target: &Target) -> Result<Vec<u8>, ProxyError> {
    let mut message = vec![VERSION, CONNECT, 0];
    match target.host().parse() {
        Ok(IpAddr::V4(ip)) => {
            message.push(IPV4);
            message.extend(ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            message.push(IPV6);
            message.extend(ip.octets());
        }
        Err(_) => {
            let name = target.host();
            let length = u8::try_from(name.len()).map_err(|_| ProxyError::NameTooLong)?;
            message.extend([NAME, length]);
            message.extend(name.as_bytes());
        }
    }
    message.extend(target.port().to_be_bytes());
    Ok(message)
}

/// RFC 1928, section 6.
fn refusal(reply: u8) -> Option<&'static str> {
    Some(match reply {
        0 => return None,
        1 => "it failed",
        2 => "its rules do not allow the connection",
        3 => "the network is unreachable",
        4 => "the host is unreachable",
        5 => "the host refused the connection",
        6 => "the connection timed out",
        7 => "it does not know the command",
        8 => "it does not know this kind of address",
        _ => "for a reason that it does not tell",
    })
}

/// Passes over the address that the proxy dials from: nothing here needs it.
async fn skip_bound<S: AsyncRead + Unpin>(stream: &mut S, kind: u8) -> Result<(), ProxyError> {
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => {
            let [length] = read(stream).await?;
            usize::from(length)
        }
        _ => return Err(ProxyError::NotSocks),
    };
    let mut rest = [0; PORT_BYTES + u8::MAX as usize];
    let rest = &mut rest[..length + PORT_BYTES];
    stream
        .read_exact(rest)
        .await
        .map(drop)
        .map_err(ProxyError::Socks)
}

/// A port behind an address.
const PORT_BYTES: usize = 2;

async fn read<const N: usize, S: AsyncRead + Unpin>(stream: &mut S) -> Result<[u8; N], ProxyError> {
    let mut bytes = [0; N];
    match stream.read_exact(&mut bytes).await {
        Ok(_) => Ok(bytes),
        Err(error) => Err(ProxyError::Socks(ended(error))),
    }
}

/// An end in the middle says little by itself.
fn ended(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return io::Error::new(error.kind(), "the proxy closed the connection");
    }
    error
}
