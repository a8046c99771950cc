//! One look at an origin, besides the requests that it gets: a connection of its own, one question, and of the answer what is asked for.

use std::{pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, response::Parts};
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
    /// A filled form, which makes it a POST.
    pub(crate) form: Option<Bytes>,
    /// How much of the answer's body is read.
    pub(crate) body_bytes_max: usize,
}

impl<'a> Question<'a> {
    /// For a page, of which the head is enough.
    pub(crate) fn get(host: &'a str, path: &'a str, asker: HeaderValue) -> Self {
        Self {
            host,
            path,
            asker,
            fields: HeaderMap::new(),
            form: None,
            body_bytes_max: 0,
        }
    }

    fn method(&self) -> Method {
        if self.form.is_some() {
            Method::POST
        } else {
            Method::GET
        }
    }

    fn put_into(&self, fields: &mut HeaderMap) {
        fields.insert(header::USER_AGENT, self.asker.clone());
        if let Some(form) = &self.form {
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            fields.insert(header::CONTENT_TYPE, kind);
            fields.insert(header::CONTENT_LENGTH, form.len().into());
        }
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
    pub(crate) body: Bytes,
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
            Speech::Http1 => {
                let request = request(question)?;
                let title_case = published.title_case;
                ask_http1(stream, request, (title_case, question.body_bytes_max)).await
            }
            Speech::Http2 => {
                let request = absolute(question, published.url.scheme)?;
                ask_http2(stream, request, question).await
            }
        };
        asked.map_err(LookError::Exchange)
    }
}

fn request(question: &Question<'_>) -> Result<Request<Full<Bytes>>, LookError> {
    let body = question.form.clone().unwrap_or_default();
    let mut request = Request::builder()
        .method(question.method())
        .uri(question.path)
        .header(header::HOST, question.host)
        .header(header::CONNECTION, "close")
        .body(Full::new(body))
        .map_err(LookError::Request)?;
    question.put_into(request.headers_mut());
    Ok(request)
}

fn absolute(question: &Question<'_>, scheme: Scheme) -> Result<Request<()>, LookError> {
    let Question { host, path, .. } = question;
    let mut request = Request::builder()
        .method(question.method())
        .uri(format!("{}://{host}{path}", scheme.as_str()))
        .version(http::Version::HTTP_2)
        .body(())
        .map_err(LookError::Request)?;
    question.put_into(request.headers_mut());
    Ok(request)
}

async fn ask_http1(
    stream: OriginStream,
    request: Request<Full<Bytes>>,
    (title_case, body_bytes_max): (bool, usize),
) -> Result<Answer, OriginError> {
    let (mut sender, driver) = hyper::client::conn::http1::Builder::new()
        .title_case_headers(title_case)
        .handshake(TokioIo::new(stream))
        .await?;
    let asked = async {
        let (head, mut body) = sender.send_request(request).await?.into_parts();
        let mut read = BytesMut::new();
        while read.len() < body_bytes_max
            && let Some(frame) = body.frame().await
        {
            if let Ok(data) = frame?.into_data() {
                read.extend_from_slice(&data);
            }
        }
        Ok(answer(head, read, body_bytes_max))
    };
    let mut asked = pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        // Why the connection ended is told by the answer.
        _ = driver => asked.await,
    }
}

async fn ask_http2(
    stream: OriginStream,
    request: Request<()>,
    question: &Question<'_>,
) -> Result<Answer, OriginError> {
    let (sender, driver) = h2::client::handshake(stream).await?;
    let body_bytes_max = question.body_bytes_max;
    let asked = async {
        let mut sender = sender.ready().await?;
        let (response, mut upload) = sender.send_request(request, question.form.is_none())?;
        if let Some(form) = &question.form {
            upload.send_data(form.clone(), true)?;
        }
        let (head, mut body) = response.await?.into_parts();
        let mut read = BytesMut::new();
        while read.len() < body_bytes_max
            && let Some(data) = body.data().await
        {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            read.extend_from_slice(&data);
        }
        Ok(answer(head, read, body_bytes_max))
    };
    let mut asked = pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        // Why the connection ended is told by the answer.
        _ = driver => asked.await,
    }
}

fn answer(head: Parts, mut body: BytesMut, body_bytes_max: usize) -> Answer {
    body.truncate(body_bytes_max);
    Answer {
        status: head.status,
        fields: head.headers,
        body: body.freeze(),
    }
}
