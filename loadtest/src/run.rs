//! A run: requests at a constant rate for a while.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use runtime::{Clock, Scope};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    report::{Failure, Report},
    target::Target,
};

/// How long after its start a request is given up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests that may be under way at once; a start that finds them all taken is counted as a failure, not delayed.
const IN_FLIGHT_MAX: usize = 10_000;

/// What to do to a target.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Requests started per second.
    pub rate: NonZeroU32,
    /// For how long they are started.
    pub duration: Duration,
}

/// Puts `load` on `target` and waits until every request has ended.
pub async fn run(target: Target, load: Load, clock: &Clock, scope: &Scope) -> Report {
    let scope = scope.child("loadtest");
    let shared = Arc::new(Shared {
        target,
        idle: Mutex::default(),
        report: Mutex::new(Report::new()),
        places: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        scope: scope.clone(),
    });
    let begin = clock.now();
    let period = Duration::from_secs(1) / load.rate.get();
    let total = load.duration.as_nanos() / period.as_nanos().max(1);
    for count in 0..u32::try_from(total).unwrap_or(u32::MAX) {
        let intended = begin + period * count;
        tokio::time::sleep_until(intended).await;
        shared.begin_one(intended, clock.clone());
    }
    // Every request has its own time-out, so all the places come back.
    let all = u32::try_from(IN_FLIGHT_MAX).unwrap_or(u32::MAX);
    let _all = shared.places.acquire_many(all).await;
    scope.cancel();
    shared
        .report
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

struct Shared {
    target: Target,
    /// Connections that wait for a request; the last one used goes first.
    idle: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
    report: Mutex<Report>,
    places: Arc<Semaphore>,
    scope: Scope,
}

impl Shared {
    fn begin_one(self: &Arc<Self>, intended: Instant, clock: Clock) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return self.count(Err(Failure::NoPlace));
        };
        let shared = self.clone();
        self.scope.spawn("loadtest-request", async move {
            let outcome =
                match tokio::time::timeout_at(intended + REQUEST_TIMEOUT, shared.one()).await {
                    Ok(outcome) => outcome.map(|()| clock.now() - intended),
                    Err(_) => Err(Failure::Timeout),
                };
            shared.count(outcome);
            drop(place);
        });
    }

    fn count(&self, outcome: Result<Duration, Failure>) {
        self.report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .count(outcome);
    }

    async fn one(&self) -> Result<(), Failure> {
        let mut sender = self.connection().await?;
        let request = request(&self.target).map_err(|_| Failure::Request)?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|_| Failure::Broken)?;
        let status = response.status();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|_| Failure::Truncated)?;
        }
        if !status.is_success() {
            return Err(Failure::Status(status.as_u16()));
        }
        // The connection takes a new request a moment after the body's end, or never.
        if sender.ready().await.is_ok() {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(sender);
        }
        Ok(())
    }

    async fn connection(&self) -> Result<SendRequest<Empty<Bytes>>, Failure> {
        loop {
            let idle = self
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            match idle {
                Some(sender) if sender.is_ready() => return Ok(sender),
                Some(_) => {}
                None => {
                    return self
                        .target
                        .connect(&self.scope)
                        .await
                        .map_err(|_| Failure::Connect);
                }
            }
        }
    }
}

fn request(target: &Target) -> Result<Request<Empty<Bytes>>, http::Error> {
    let uri = target.uri();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    Request::get(path)
        .header(header::HOST, authority)
        .body(Empty::new())
}
