//! A probe of an edge: whether this agent reaches an app's origins now. No origin is asked for anything: a connection that comes about,
//! TLS included, is the answer, and is given up at once. Origins with a health check are as that says.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use model::{app::Sso, reason::Reason};
use proto::tunnel::{End, RequestHead, ResponseHead};
use tokio::time::{Instant, timeout};
use tunnel::{
    codes::Code,
    frame::Frame,
    stream::{RecvHalf, SendError, SendHalf},
};

use crate::{
    origin::{Origin, OriginNumber, Versions, dial},
    request::{Failure, chain, delivered},
    view::{App, Site},
    worker::Worker,
};

/// How long an edge may take to say what it asks for: it is written at once.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an origin may take. Edges wait a second longer.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// So long what was found of an origin is told again: several edges ask, and apps share origins.
const FRESH: Duration = Duration::from_secs(2);
/// Connections that are tried at the same time for one probe.
const AT_ONCE_MAX: usize = 16;
/// Origins of one site that are looked at: the first ones.
const ORIGINS_MAX: usize = 64;
/// "No Content": there is nothing to say but that it works.
const STATUS: u32 = 204;

/// What was found of origins a moment ago; shared by all workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    known: Arc<Mutex<HashMap<OriginNumber, (Instant, Found)>>>,
}

/// Nothing, if the origin can be reached.
type Found = Result<(), (Reason, String)>;

impl Findings {
    fn of(&self, origin: &Origin, now: Instant) -> Option<Found> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, found) = known.get(&origin.number())?;
        (now - *at < FRESH).then(|| found.clone())
    }

    /// Forgets what is old, so there is never more than two seconds bring.
    fn note(&self, origin: &Origin, found: &Found, now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| now - *at < FRESH);
        known.insert(origin.number(), (now, found.clone()));
    }
}

/// Answers one probe.
pub(crate) async fn serve(worker: &Worker, mut send: SendHalf, mut recv: RecvHalf) {
    let outcome = match asked(&mut recv).await {
        Ok(head) => look(worker, &head.app).await,
        Err(failure) => Err(failure),
    };
    let told = match outcome {
        Ok(()) => confirm(&mut send).await,
        Err(failure) => send.error(failure.to_wire()).await,
    };
    match told {
        Ok(()) => delivered(&send).await,
        Err(error) => {
            tracing::debug!(%error, "a probe's answer cannot be told");
            send.reset(Code::Cancelled);
        }
    }
}

async fn asked(recv: &mut RecvHalf) -> Result<Box<RequestHead>, Failure> {
    match timeout(HEAD_TIMEOUT, recv.next()).await {
        Ok(Ok(Some(Frame::Request(head)))) => Ok(head),
        Ok(Ok(_)) | Err(_) => Err(Failure::refusal(
            Reason::TunnelProtocol,
            "a probe that asks for nothing",
        )),
        Ok(Err(error)) => Err(error.into()),
    }
}

async fn confirm(send: &mut SendHalf) -> Result<(), SendError> {
    send.queue(ResponseHead {
        status: STATUS,
        ..ResponseHead::default()
    })?;
    send.end(End::default()).await
}

/// Every site of the app needs one origin that can be reached.
async fn look(worker: &Worker, app: &str) -> Result<(), Failure> {
    let view = worker.views.load();
    let app = view.app(app).ok_or_else(|| {
        Failure::refusal(Reason::AgentRefused, "this agent is told of no such app")
    })?;
    if matches!(app.sso(), Some(Sso::Kerberos(_))) {
        let account = worker.shared.sign_on.kerberos();
        account.map_err(|why| Failure::new(Reason::SsoFailed, why))?;
    }
    // At the same time: an edge does not wait for one after the other.
    let looks = stream::iter(app.sites()).map(|site| reach(worker, app, site));
    let mut looks = std::pin::pin!(looks.buffer_unordered(AT_ONCE_MAX));
    while let Some(reached) = looks.next().await {
        reached?;
    }
    Ok(())
}

async fn reach(worker: &Worker, app: &App, site: &Site) -> Result<(), Failure> {
    let limit = app.timeouts().connect.min(DIAL_TIMEOUT);
    let origins = site.origins().iter().take(ORIGINS_MAX);
    let looks = stream::iter(origins).map(|origin| found(worker, origin, limit));
    let mut looks = std::pin::pin!(looks.buffer_unordered(AT_ONCE_MAX));
    let mut last = (Reason::AgentRefused, "the app has no origin".to_owned());
    while let Some(found) = looks.next().await {
        match found {
            Ok(()) => return Ok(()),
            Err(why) => last = why,
        }
    }
    let (reason, detail) = last;
    Err(Failure::new(reason, detail))
}

async fn found(worker: &Worker, origin: &Origin, limit: Duration) -> Found {
    let url = &origin.published().url;
    if origin.check().is_some() {
        return if origin.is_healthy() {
            Ok(())
        } else {
            let detail = format!("{url} fails its health check");
            Err((Reason::OriginConnect, detail))
        };
    }
    let findings = &worker.shared.findings;
    if let Some(found) = findings.of(origin, worker.clock.now()) {
        return found;
    }
    let dialled = dial(origin, &worker.shared.allow, Versions::AsPublished, limit).await;
    let found = match dialled {
        Ok(_) => Ok(()),
        Err(error) => Err((error.reason(), format!("{url}: {}", chain(&error)))),
    };
    findings.note(origin, &found, worker.clock.now());
    found
}
