//! The other end of plain streams: `adit-loadtest quinn-server`, the ceiling that tunnels over quinn are compared with.
//!
//! Each stream brings eight bytes with the length of the answer, then an upload; the answer comes when the upload has ended.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use quinn::{
    Connection, Endpoint, RecvStream, SendStream, ServerConfig,
    crypto::rustls::{NoInitialCipherSuite, QuicServerConfig},
};
use runtime::Scope;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::{
    engine::PLAIN,
    exchange::{
        http1::PIECE,
        quic::{READ_BYTES, transport},
    },
};

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The certificate or its key cannot be read.
    #[error("the certificate or its key cannot be read")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// TLS cannot be set up with them.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// QUIC cannot do with this TLS.
    #[error("QUIC cannot be set up")]
    Quic(#[source] NoInitialCipherSuite),
    /// The address is not free.
    #[error("listening failed")]
    Listen(#[source] io::Error),
}

/// Listens; connections are served by tasks of `scope`. Gives the address that was bound.
pub fn serve(
    listen: SocketAddr,
    certificate_pem: &[u8],
    key_pem: &[u8],
    scope: &Scope,
) -> Result<SocketAddr, ServerError> {
    let config = config(certificate_pem, key_pem)?;
    let endpoint = Endpoint::server(config, listen).map_err(ServerError::Listen)?;
    let addr = endpoint.local_addr().map_err(ServerError::Listen)?;
    let own = scope.child("quinn-server");
    scope.spawn("quinn-accept", async move {
        while let Some(knock) = endpoint.accept().await {
            let streams = own.child("quinn-streams");
            own.spawn("quinn-connection", async move {
                if let Ok(connection) = knock.await {
                    accept(connection, &streams).await;
                }
            });
        }
    });
    Ok(addr)
}

fn config(certificate_pem: &[u8], key_pem: &[u8]) -> Result<ServerConfig, ServerError> {
    let certificates = CertificateDer::pem_slice_iter(certificate_pem).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(ServerError::Pem)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ServerError::Tls)?
        .with_no_client_auth()
        .with_single_cert(certificates.map_err(ServerError::Pem)?, key)
        .map_err(ServerError::Tls)?;
    tls.alpn_protocols = vec![PLAIN.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).map_err(ServerError::Quic)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport());
    Ok(config)
}

async fn accept(connection: Connection, scope: &Scope) {
    while let Ok((down, up)) = connection.accept_bi().await {
        scope.spawn("quinn-stream", async move {
            // A user who breaks off has nobody to tell.
            let _ = answer(down, up).await;
        });
    }
}

async fn answer(mut down: SendStream, mut up: RecvStream) -> io::Result<()> {
    let mut length = [0; 8];
    up.read_exact(&mut length).await.map_err(io::Error::other)?;
    while up.read_chunk(READ_BYTES, true).await?.is_some() {}
    let mut left = u64::from_be_bytes(length);
    while left > 0 {
        let wanted = usize::try_from(left).map_or(PIECE.len(), |left| left.min(PIECE.len()));
        let piece = Bytes::from_static(&PIECE).slice(..wanted);
        down.write_chunk(piece).await?;
        left -= wanted as u64;
    }
    down.finish().map_err(io::Error::other)
}
