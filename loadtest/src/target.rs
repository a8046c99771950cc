//! What is put under load: where it is, and whom to trust there.

use std::{fmt, net::SocketAddr, sync::Arc};

use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

/// A URL, the address it is really at, and the roots that its certificate is checked against.
#[derive(Clone)]
pub struct Target {
    uri: Uri,
    authority: Authority,
    addr: SocketAddr,
    tls: Option<(Arc<RootCertStore>, ServerName<'static>)>,
    cookie: Option<HeaderValue>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("uri", &self.uri)
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No scheme or host, or a scheme other than http and https.
    #[error("not an http or https URL with a host: {0}")]
    Url(Uri),
    /// The host of an https URL cannot be in a certificate.
    #[error("the host is no server name")]
    ServerName(#[source] rustls::pki_types::InvalidDnsNameError),
    /// https without certificates to trust.
    #[error("no usable certificate in the CA file")]
    Ca(#[source] Option<rustls::pki_types::pem::Error>),
    /// TLS cannot be set up at all.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// Whether new connections go on from the TLS session of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// They do, as a browser's.
    Resumed,
    /// Each is that of a user who was never here.
    Fresh,
}

impl Target {
    /// A target at `addr`, whatever its host resolves to. `ca_pem` holds the roots for https.
    pub fn new(uri: Uri, addr: SocketAddr, ca_pem: &[u8]) -> Result<Self, TargetError> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority().cloned()) else {
            return Err(TargetError::Url(uri));
        };
        let tls = if *scheme == Scheme::HTTP {
            None
        } else if *scheme == Scheme::HTTPS {
            let name = ServerName::try_from(authority.host().to_owned());
            Some((roots(ca_pem)?, name.map_err(TargetError::ServerName)?))
        } else {
            return Err(TargetError::Url(uri));
        };
        Ok(Self {
            uri,
            authority,
            addr,
            tls,
            cookie: None,
        })
    }

    /// The same, asked by a user who shows this cookie.
    #[must_use]
    pub fn shown(self, cookie: Option<HeaderValue>) -> Self {
        Self { cookie, ..self }
    }

    /// What each request shows.
    pub(crate) fn cookie(&self) -> Option<&HeaderValue> {
        self.cookie.as_ref()
    }

    pub(crate) fn path(&self) -> PathAndQuery {
        let path = self.uri.path_and_query().cloned();
        path.unwrap_or_else(|| PathAndQuery::from_static("/"))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Host and port, as they stand in requests.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The URL of another path at the same place.
    pub(crate) fn at(&self, path: &PathAndQuery) -> Uri {
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(path.clone());
        Uri::from_parts(parts).expect("scheme, authority and path make a URL")
    }

    /// The name in the certificate; `None` without TLS.
    pub(crate) fn server_name(&self) -> Option<&ServerName<'static>> {
        self.tls.as_ref().map(|(_, name)| name)
    }

    /// Settings of TLS for one protocol; `None` without TLS.
    pub(crate) fn tls(
        &self,
        protocol: &[u8],
        sessions: Sessions,
    ) -> Result<Option<ClientConfig>, TargetError> {
        let Some((roots, _)) = &self.tls else {
            return Ok(None);
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TargetError::Tls)?
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        if sessions == Sessions::Fresh {
            config.resumption = Resumption::disabled();
        }
        Ok(Some(config))
    }
}

fn roots(ca_pem: &[u8]) -> Result<Arc<RootCertStore>, TargetError> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(ca_pem) {
        let root = root.map_err(|error| TargetError::Ca(Some(error)))?;
        roots.add(root).map_err(TargetError::Tls)?;
    }
    if roots.is_empty() {
        return Err(TargetError::Ca(None));
    }
    Ok(Arc::new(roots))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_http_with_trust_are_targets() {
        let addr: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let check = |url: &str, expected: &str| {
            let made = Target::new(url.parse().unwrap(), addr, b"");
            let said = made.map_or_else(|error| error.to_string(), |_| "fine".to_owned());
            assert_eq!(said, expected, "{url}");
        };
        check("http://a/", "fine");
        check("https://a/", "no usable certificate in the CA file");
        check("ftp://a/", "not an http or https URL with a host: ftp://a/");
        check("/a", "not an http or https URL with a host: /a");
    }

    #[test]
    fn a_path_is_put_in_the_place_of_the_urls() {
        let addr = "127.0.0.1:1".parse().unwrap();
        let target = Target::new("http://a:7/b?c".parse().unwrap(), addr, b"").unwrap();
        assert_eq!(target.path(), "/b?c");
        let other = target.at(&PathAndQuery::from_static("/d?e"));
        assert_eq!(other, "http://a:7/d?e");
    }
}
