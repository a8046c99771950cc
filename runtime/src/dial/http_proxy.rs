//! The way through an HTTP proxy: CONNECT (RFC 9110, section 9.3.6).

use std::pin::pin;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{ProxyError, Target, proxy::Credentials};

/// Bytes of the head of a proxy's answer; real ones have a few hundred. The least that hyper takes is half of it.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Ways to sign in that are named in an error.
const SCHEMES_NAMED_MAX: usize = 4;
/// Letters of one of them.
const SCHEME_BYTES_MAX: usize = 20;

/// Asks the proxy at the other end of `stream` for a way to `target`; from then on the stream leads there.
///
/// # Errors
/// See [`ProxyError`].
pub async fn ask<S>(
    stream: S,
    target: &Target,
    credentials: Option<&Credentials>,
) -> Result<S, ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = request(target, credentials)?;
    let (mut sender, driver) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(ProxyError::Http)?;
    let mut driver = pin!(driver.with_upgrades());
    let mut answer = pin!(sender.send_request(request));
    let (answer, driven) = tokio::select! {
        answer = &mut answer => (answer, None),
        driven = &mut driver => (answer.await, Some(driven)),
    };
    let answer = answer.map_err(ProxyError::Http)?;
    judge(answer.status(), answer.headers(), credentials.is_some())?;
    match driven {
        Some(driven) => driven,
        None => driver.await,
    }
    .map_err(ProxyError::Http)?;
    let parts = hyper::upgrade::on(answer)
        .await
        .map_err(ProxyError::Http)?
        .downcast::<TokioIo<S>>()
        .map_err(|_| ProxyError::Early)?;
    if !parts.read_buf.is_empty() {
        return Err(ProxyError::Early);
    }
    Ok(parts.io.into_inner())
}

fn request(
    target: &Target,
    credentials: Option<&Credentials>,
) -> Result<Request<Empty<Bytes>>, ProxyError> {
    let target = target.to_string();
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(&target)
        .header(header::HOST, &target);
    if let Some(credentials) = credentials {
        request = request.header(header::PROXY_AUTHORIZATION, basic(credentials)?);
    }
    request.body(Empty::new()).map_err(ProxyError::Request)
}

/// RFC 7617, section 2.
fn basic(credentials: &Credentials) -> Result<HeaderValue, ProxyError> {
    let pair = format!("{}:{}", credentials.user, credentials.password.expose());
    let value = format!("Basic {}", STANDARD.encode(pair));
    let mut value = HeaderValue::try_from(value)
        .map_err(http::Error::from)
        .map_err(ProxyError::Request)?;
    value.set_sensitive(true);
    Ok(value)
}

fn judge(status: StatusCode, fields: &HeaderMap, shown: bool) -> Result<(), ProxyError> {
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            let offered = schemes(fields);
            let speaks_basic = |scheme: &String| scheme.eq_ignore_ascii_case("basic");
            if !offered.is_empty() && !offered.iter().any(speaks_basic) {
                let offered = offered.join(", ");
                return Err(ProxyError::SchemeUnknown { offered });
            }
            Err(if shown {
                ProxyError::CredentialsRefused
            } else {
                ProxyError::CredentialsWanted
            })
        }
        // As tinyproxy says that credentials are wrong, in place of 407.
        StatusCode::UNAUTHORIZED if shown => Err(ProxyError::CredentialsRefused),
        status => Err(ProxyError::Refused(status)),
    }
}

/// The first words of the challenges: the ways to sign in that the proxy knows. They are a stranger's text and are cut to letters.
fn schemes(fields: &HeaderMap) -> Vec<String> {
    fields
        .get_all(header::PROXY_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok()?.split_ascii_whitespace().next())
        .map(|word| {
            word.chars()
                .filter(char::is_ascii_alphanumeric)
                .take(SCHEME_BYTES_MAX)
                .collect()
        })
        .filter(|word: &String| !word.is_empty())
        .take(SCHEMES_NAMED_MAX)
        .collect()
}
