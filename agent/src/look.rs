//! One look at an origin, besides the requests that it gets: a connection of its own, one question, the head of the answer.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use model::app::Scheme;
use tokio::time::timeout;

use crate::{
    allow::AllowList,
    origin::{DialError, Origin, OriginError, OriginStream, Speech, Transport, Versions, dial},
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
    /// In whose name, if that matters.
    pub(crate) authorization: Option<HeaderValue>,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
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
        let opened = open(origin, allow, limit).await?;
        opened.ask(question).await
    };
    let answer = timeout(limit, asked)
        .await
        .unwrap_or(Err(LookError::TimedOut(limit)))?;
    Ok(answer.status)
}

impl Answer {
    fn of<B>(response: Response<B>) -> Self {
        let (head, _) = response.into_parts();
        Self {
            status: head.status,
            fields: head.headers,
        }
    }
}

/// A connection to an origin, before anything is asked.
pub(crate) struct Opened<'a> {
    origin: &'a Origin,
    transport: Transport,
    speech: Speech,
    certificate: Option<Vec<u8>>,
}

/// Connects to an origin.
///
/// # Errors
/// [`LookError::Dial`].
pub(crate) async fn open<'a>(
    origin: &'a Origin,
    allow: &AllowList,
    limit: Duration,
) -> Result<Opened<'a>, LookError> {
    let (transport, speech) = dial(origin, allow, Versions::AsPublished, limit)
        .await
        .map_err(LookError::Dial)?;
    let certificate = transport.certificate();
    Ok(Opened {
        origin,
        transport,
        speech,
        certificate,
    })
}

impl Opened<'_> {
    /// What the origin showed in the handshake, in DER.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    /// Asks, once. As long as it takes.
    ///
    /// # Errors
    /// See [`LookError`].
    pub(crate) async fn ask(self, question: &Question<'_>) -> Result<Answer, LookError> {
        let published = self.origin.published();
        let stream = OriginStream::aside(self.transport);
        let asked = match self.speech {
            Speech::Http1 => ask_http1(stream, request(question)?, published.title_case).await,
            Speech::Http2 => ask_http2(stream, absolute(question, published.url.scheme)?).await,
        };
        asked.map_err(LookError::Exchange)
    }
}

fn request(question: &Question<'_>) -> Result<Request<Empty<Bytes>>, LookError> {
    let mut request = Request::get(question.path)
        .header(header::HOST, question.host)
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, question.asker.clone());
    if let Some(authorization) = &question.authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    request.body(Empty::new()).map_err(LookError::Request)
}

fn absolute(question: &Question<'_>, scheme: Scheme) -> Result<Request<()>, LookError> {
    let Question { host, path, .. } = question;
    let mut request = Request::get(format!("{}://{host}{path}", scheme.as_str()))
        .version(http::Version::HTTP_2)
        .header(header::USER_AGENT, question.asker.clone());
    if let Some(authorization) = &question.authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    request.body(()).map_err(LookError::Request)
}

/// The head of the answer is enough.
async fn ask_http1(
    stream: OriginStream,
    request: Request<Empty<Bytes>>,
    title_case: bool,
) -> Result<Answer, OriginError> {
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
    Ok(Answer::of(answer?))
}

async fn ask_http2(stream: OriginStream, request: Request<()>) -> Result<Answer, OriginError> {
    let (sender, driver) = h2::client::handshake(stream).await?;
    let asked = async {
        let (answer, _) = sender.ready().await?.send_request(request, true)?;
        Ok(Answer::of(answer.await?))
    };
    let mut asked = pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        // Why the connection ended is told by the answer.
        _ = driver => asked.await,
    }
}
