//! One look at an origin, besides the requests that it gets: a connection of its own, one question, the head of the answer.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use model::app::Scheme;
use tokio::time::timeout;

use crate::{
    allow::AllowList,
    origin::{DialError, Origin, OriginError, OriginStream, Speech, Versions, dial},
};

/// What an origin is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    /// Host that it is asked for.
    pub(crate) host: &'a str,
    /// Path and query.
    pub(crate) path: &'a str,
    /// Who asks, in the origin's log.
    pub(crate) asker: HeaderValue,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    /// It cannot be connected to.
    #[error("no connection")]
    Dial(#[source] DialError),
    /// It does not answer as HTTP asks for.
    #[error("no answer")]
    Exchange(#[source] OriginError),
    /// Nothing that can be asked.
    #[error("the check's host or path cannot be asked for")]
    Request(#[source] http::Error),
    /// It is silent.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// Asks an origin, and gives the status of its answer.
///
/// # Errors
/// See [`LookError`].
pub(crate) async fn look(
    origin: &Origin,
    allow: &AllowList,
    question: &Question<'_>,
    limit: Duration,
) -> Result<StatusCode, LookError> {
    let asked = async {
        let (transport, speech) = dial(origin, allow, Versions::AsPublished, limit)
            .await
            .map_err(LookError::Dial)?;
        let stream = OriginStream::aside(transport);
        let asked = match speech {
            Speech::Http1 => {
                let title_case = origin.published().title_case;
                ask_http1(stream, request(question)?, title_case).await
            }
            Speech::Http2 => {
                let scheme = origin.published().url.scheme;
                ask_http2(stream, absolute(question, scheme)?).await
            }
        };
        asked.map_err(LookError::Exchange)
    };
    timeout(limit, asked)
        .await
        .unwrap_or(Err(LookError::TimedOut(limit)))
}

fn request(question: &Question<'_>) -> Result<Request<Empty<Bytes>>, LookError> {
    Request::get(question.path)
        .header(header::HOST, question.host)
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, question.asker.clone())
        .body(Empty::new())
        .map_err(LookError::Request)
}

fn absolute(question: &Question<'_>, scheme: Scheme) -> Result<Request<()>, LookError> {
    let Question { host, path, asker } = question;
    Request::get(format!("{}://{host}{path}", scheme.as_str()))
        .version(http::Version::HTTP_2)
        .header(header::USER_AGENT, asker.clone())
        .body(())
        .map_err(LookError::Request)
}

/// The head of the answer is enough.
async fn ask_http1(
    stream: OriginStream,
    request: Request<Empty<Bytes>>,
    title_case: bool,
) -> Result<StatusCode, OriginError> {
    let (mut sender, driver) = hyper::client::conn::http1::Builder::new()
        .title_case_headers(title_case)
        .handshake(TokioIo::new(stream))
        .await?;
    let mut answer = pin!(sender.send_request(request));
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // Why the connection ended is told by the answer.
        _ = driver => answer.await,
    };
    Ok(answer?.status())
}

async fn ask_http2(stream: OriginStream, request: Request<()>) -> Result<StatusCode, OriginError> {
    let (sender, driver) = h2::client::handshake(stream).await?;
    let asked = async {
        let (answer, _) = sender.ready().await?.send_request(request, true)?;
        Ok(answer.await?.status())
    };
    let mut asked = pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        // Why the connection ended is told by the answer.
        _ = driver => asked.await,
    }
}
