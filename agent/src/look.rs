//! One look at an origin, besides the requests that it gets: a connection of its own, one question, and of the answer what is asked for.

use std::{pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
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
    /// What else is said, such as in whose name.
    pub(crate) fields: HeaderMap,
}

impl<'a> Question<'a> {
    /// For a page, of which the head is enough.
    pub(crate) fn get(host: &'a str, path: &'a str, asker: HeaderValue) -> Self {
        Self {
            host,
            path,
            asker,
            fields: HeaderMap::new(),
        }
    }

    fn put_into(&self, fields: &mut HeaderMap) {
        fields.insert(header::USER_AGENT, self.asker.clone());
        for (name, value) in &self.fields {
            fields.append(name, value.clone());
        }
    }
}

/// An answer, as far as it was read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    /// As much of the body as was asked for.
    pub(crate) body: Bytes,
    /// There was more of it than that.
    pub(crate) is_cut: bool,
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
        let opened = open(origin, allow, Versions::AsPublished, limit).await?;
        opened.ask(question).await
    };
    let answer = timeout(limit, asked)
        .await
        .unwrap_or(Err(LookError::TimedOut(limit)))?;
    Ok(answer.status)
}

/// A connection to an origin, before anything is asked.
pub(crate) struct Opened<'a> {
    origin: &'a Origin,
    transport: Transport,
    speech: Speech,
    certificate: Option<Vec<u8>>,
}

/// Connects to an origin, as a request would that may go by these versions.
///
/// # Errors
/// [`LookError::Dial`].
pub(crate) async fn open<'a>(
    origin: &'a Origin,
    allow: &AllowList,
    versions: Versions,
    limit: Duration,
) -> Result<Opened<'a>, LookError> {
    let (transport, speech) = dial(origin, allow, versions, limit)
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

    /// Asks, once, and reads the head of the answer. As long as it takes.
    ///
    /// # Errors
    /// See [`LookError`].
    pub(crate) async fn ask(self, question: &Question<'_>) -> Result<Answer, LookError> {
        match self.speech {
            Speech::Http1 => self.send(request(question)?, 0).await,
            Speech::Http2 => {
                let request = absolute(question, self.origin.published().url.scheme)?;
                let asked = ask_http2(OriginStream::aside(self.transport), request).await;
                asked.map_err(LookError::Exchange)
            }
        }
    }

    /// Sends a request over HTTP/1.1, once, and reads so much of the answer. As long as it takes.
    ///
    /// # Errors
    /// See [`LookError`].
    pub(crate) async fn send(
        self,
        request: Request<Full<Bytes>>,
        body_bytes_max: usize,
    ) -> Result<Answer, LookError> {
        let title_case = self.origin.published().title_case;
        let stream = OriginStream::aside(self.transport);
        let asked = ask_http1(stream, request, (title_case, body_bytes_max)).await;
        asked.map_err(LookError::Exchange)
    }
}

/// Reads the beginning of a body, and says whether there is more.
pub(crate) async fn read<B>(mut body: B, bytes_max: usize) -> Result<(Bytes, bool), B::Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut read = BytesMut::new();
    while read.len() <= bytes_max
        && bytes_max > 0
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame?.into_data() {
            read.extend_from_slice(&data);
        }
    }
    let is_cut = read.len() > bytes_max;
    read.truncate(bytes_max);
    Ok((read.freeze(), is_cut))
}

fn request(question: &Question<'_>) -> Result<Request<Full<Bytes>>, LookError> {
    let mut request = Request::get(question.path)
        .header(header::HOST, question.host)
        .body(Full::default())
        .map_err(LookError::Request)?;
    question.put_into(request.headers_mut());
    Ok(request)
}

fn absolute(question: &Question<'_>, scheme: Scheme) -> Result<Request<()>, LookError> {
    let Question { host, path, .. } = question;
    let mut request = Request::get(format!("{}://{host}{path}", scheme.as_str()))
        .version(http::Version::HTTP_2)
        .body(())
        .map_err(LookError::Request)?;
    question.put_into(request.headers_mut());
    Ok(request)
}

async fn ask_http1(
    stream: OriginStream,
    mut request: Request<Full<Bytes>>,
    (title_case, body_bytes_max): (bool, usize),
) -> Result<Answer, OriginError> {
    let (mut sender, driver) = hyper::client::conn::http1::Builder::new()
        .title_case_headers(title_case)
        .handshake(TokioIo::new(stream))
        .await?;
    let close = HeaderValue::from_static("close");
    request.headers_mut().insert(header::CONNECTION, close);
    let asked = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let (body, is_cut) = read(body, body_bytes_max).await?;
        Ok(Answer {
            status: head.status,
            fields: head.headers,
            body,
            is_cut,
        })
    };
    let mut asked = pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        // Why the connection ended is told by the answer.
        _ = driver => asked.await,
    }
}

async fn ask_http2(stream: OriginStream, request: Request<()>) -> Result<Answer, OriginError> {
    let (sender, driver) = h2::client::handshake(stream).await?;
    let asked = async {
        let mut sender = sender.ready().await?;
        let (response, _) = sender.send_request(request, true)?;
        let head = response.await?.into_parts().0;
        Ok(Answer {
            status: head.status,
            fields: head.headers,
            body: Bytes::new(),
            is_cut: false,
        })
    };
    let mut asked = pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        // Why the connection ended is told by the answer.
        _ = driver => asked.await,
    }
}
