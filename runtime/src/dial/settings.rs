//! The way out as it is configured, or as the usual variables say.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{ClientConfig, version};

use super::{
    Proxy, ProxyProtocol, ProxyUrlError, Through, Unproxied, UnproxiedError, WayOut,
    proxy::Credentials,
};
use crate::{config::Problems, secret::Secret, tls};

/// In place of a proxy's URL: no proxy, whatever the variables say.
const OFF: &str = "off";
/// Largest file with a password; the password itself may have 255 bytes.
const PASSWORD_FILE_BYTES_MAX: u64 = 4 * 1024;
/// Protocols inside TLS with a proxy (RFC 7301, section 6).
const ALPN_HTTP1: &[u8] = b"http/1.1";
/// Variables that name a proxy for what is encrypted, the first that is set counts; as curl has it.
const PROXY_VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// Variables that say what does without it.
const UNPROXIED_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The way out, as written in configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawWayOut<'a> {
    /// `proxy`: a URL, or "off".
    pub proxy: Option<&'a str>,
    /// `proxy_password_file`.
    pub password_file: Option<&'a Path>,
    /// `proxy_password_env`.
    pub password_env: Option<&'a str>,
    /// `no_proxy`.
    pub unproxied: Option<&'a [String]>,
}

/// The way out, as meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WayOutSettings {
    /// As the usual variables say; directly where they say nothing.
    #[default]
    Environment,
    /// Directly.
    Direct,
    /// Through a proxy.
    Proxy {
        /// Which one.
        proxy: Proxy,
        /// Where the password of its user is.
        password: Option<PasswordSource>,
        /// What does without it.
        unproxied: Unproxied,
    },
}

/// Where a password is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// A file; one line break at its end is not part of the password.
    File(PathBuf),
    /// An environment variable of this name.
    Variable(String),
}

/// Why there is no way out.
#[derive(Debug, thiserror::Error)]
pub enum WayOutError {
    /// The file with the password cannot be read.
    #[error("cannot read the proxy's password file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The variable with the password is not there.
    #[error("environment variable {name} with the proxy's password is not set")]
    Variable {
        /// Its name.
        name: String,
    },
    /// The password cannot be shown to a proxy.
    #[error("the proxy's password cannot be used: it")]
    Password(#[source] ProxyUrlError),
    /// A usual variable holds something else.
    #[error("environment variable {name} cannot be used: it {source}")]
    Proxy {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        source: ProxyUrlError,
    },
    /// A usual variable holds no text.
    #[error("environment variable {name} cannot be used: it is not UTF-8")]
    NoText {
        /// Its name.
        name: &'static str,
    },
    /// The list of what does without the proxy cannot be used.
    #[error("environment variable {name} cannot be used: it {source}")]
    Unproxied {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        source: UnproxiedError,
    },
    /// TLS with the proxy cannot be set up.
    #[error("cannot set up tls with the proxy")]
    Tls(#[source] rustls::Error),
}

impl WayOutSettings {
    /// Reads what was written.
    ///
    /// Notes everything that is wrong with it in `found`.
    pub fn new(raw: RawWayOut<'_>, found: &mut Problems) -> Option<Self> {
        let password = password(raw, found);
        let Some(text) = raw.proxy.filter(|text| *text != OFF) else {
            let left_over = raw.password_file.is_some()
                || raw.password_env.is_some()
                || raw.unproxied.is_some_and(|entries| !entries.is_empty());
            if left_over {
                found.add("proxy", "is required by the other settings of a proxy");
                return None;
            }
            return Some(match raw.proxy {
                Some(_) => Self::Direct,
                None => Self::Environment,
            });
        };
        let unproxied = Unproxied::new(raw.unproxied.unwrap_or_default());
        let unproxied = found.take("no_proxy", unproxied);
        let proxy = proxy(text, found)?;
        let password = password?;
        if proxy.user().is_none() && password.is_some() {
            found.add(
                "proxy",
                "has no user, such as http://user@proxy:3128, for the password",
            );
            return None;
        }
        Some(Self::Proxy {
            proxy,
            password,
            unproxied: unproxied?,
        })
    }

    /// `proxy`, as it could have been written.
    #[must_use]
    pub fn written_proxy(&self) -> Option<String> {
        match self {
            Self::Environment => None,
            Self::Direct => Some(OFF.to_owned()),
            Self::Proxy { proxy, .. } => Some(proxy.to_string()),
        }
    }

    /// File and variable of the password, as they could have been written.
    #[must_use]
    pub fn written_password(&self) -> (Option<PathBuf>, Option<String>) {
        match self {
            Self::Environment | Self::Direct | Self::Proxy { password: None, .. } => (None, None),
            Self::Proxy {
                password: Some(PasswordSource::File(path)),
                ..
            } => (Some(path.clone()), None),
            Self::Proxy {
                password: Some(PasswordSource::Variable(name)),
                ..
            } => (None, Some(name.clone())),
        }
    }

    /// `no_proxy`, as it could have been written.
    #[must_use]
    pub fn written_unproxied(&self) -> Option<Vec<String>> {
        match self {
            Self::Environment | Self::Direct => None,
            Self::Proxy { unproxied, .. } => unproxied.written(),
        }
    }

    /// Reads the password, or the usual variables, and gets ready to dial.
    ///
    /// # Errors
    /// See [`WayOutError`].
    pub fn way_out(&self) -> Result<WayOut, WayOutError> {
        match self {
            Self::Environment => of_variables(&|name| env::var_os(name)),
            Self::Direct => Ok(WayOut::default()),
            Self::Proxy {
                proxy,
                password,
                unproxied,
            } => {
                let password = password.as_ref().map(PasswordSource::read).transpose()?;
                WayOut::through(proxy.clone(), password, unproxied.clone())
            }
        }
    }
}

fn password(raw: RawWayOut<'_>, found: &mut Problems) -> Option<Option<PasswordSource>> {
    match (raw.password_file, raw.password_env) {
        (Some(_), Some(_)) => {
            let message = "give one of proxy_password_file and proxy_password_env";
            found.add("proxy_password_file", message);
            None
        }
        (Some(path), None) => Some(Some(PasswordSource::File(path.to_owned()))),
        (None, Some(name)) => Some(Some(PasswordSource::Variable(name.to_owned()))),
        (None, None) => Some(None),
    }
}

/// Configuration is copied and shown, and command lines are seen by others, so neither holds the password.
fn proxy(text: &str, found: &mut Problems) -> Option<Proxy> {
    let (proxy, password) = found.take("proxy", Proxy::with_password(text))?;
    if password.is_some() {
        let message = "must hold no password: use proxy_password_file or proxy_password_env";
        found.add("proxy", message);
        return None;
    }
    Some(proxy)
}

impl PasswordSource {
    fn read(&self) -> Result<Secret<String>, WayOutError> {
        match self {
            Self::File(path) => read_file(path).map_err(|source| WayOutError::File {
                path: path.clone(),
                source,
            }),
            Self::Variable(name) => env::var(name)
                .map(Secret::new)
                .map_err(|_| WayOutError::Variable { name: name.clone() }),
        }
    }
}

fn read_file(path: &Path) -> io::Result<Secret<String>> {
    if fs::metadata(path)?.len() > PASSWORD_FILE_BYTES_MAX {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let text = fs::read_to_string(path)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    Ok(Secret::new(line.to_owned()))
}

/// The way that the usual variables say; empty ones say nothing.
pub(super) fn of_variables(
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<WayOut, WayOutError> {
    let Some((name, url)) = first_set(&PROXY_VARIABLES, variable)? else {
        return Ok(WayOut::default());
    };
    let (proxy, password) =
        Proxy::with_password(&url).map_err(|source| WayOutError::Proxy { name, source })?;
    let unproxied = first_set(&UNPROXIED_VARIABLES, variable)?;
    let (name, list) = unproxied.unwrap_or_default();
    let unproxied =
        Unproxied::of_variable(&list).map_err(|source| WayOutError::Unproxied { name, source })?;
    WayOut::through(proxy, password, unproxied)
}

/// The first of these variables that says something, and what. One that cannot be read is no leave to go directly.
fn first_set(
    names: &[&'static str],
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<(&'static str, String)>, WayOutError> {
    for &name in names {
        let Some(value) = variable(name) else {
            continue;
        };
        let value = value
            .into_string()
            .map_err(|_| WayOutError::NoText { name })?;
        if !value.trim().is_empty() {
            return Ok(Some((name, value)));
        }
    }
    Ok(None)
}

impl WayOut {
    fn through(
        proxy: Proxy,
        password: Option<Secret<String>>,
        unproxied: Unproxied,
    ) -> Result<Self, WayOutError> {
        let password = password.unwrap_or_else(|| Secret::new(String::new()));
        let credentials = proxy
            .user()
            .map(|user| Credentials::new(user, password))
            .transpose()
            .map_err(WayOutError::Password)?;
        let tls = match proxy.protocol() {
            ProxyProtocol::Https => Some(Arc::new(proxy_tls().map_err(WayOutError::Tls)?)),
            ProxyProtocol::Http | ProxyProtocol::Socks5 => None,
        };
        Ok(Self {
            through: Some(Arc::new(Through {
                proxy,
                credentials,
                unproxied,
                tls,
            })),
        })
    }
}

/// A proxy is trusted as websites are: by the system's roots, or those in the file that `SSL_CERT_FILE` names.
fn proxy_tls() -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_root_certificates(tls::system_roots())
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests;
