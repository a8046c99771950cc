//! One line per request, written when the last byte of its answer is gone or its user is.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, Version};
use model::{
    app::App,
    client_ca::Program,
    name::{AgentId, AppId, EdgeId, SegmentId, ServiceTokenId, UserId},
    reason::Reason,
    route::Route,
};
use runtime::{Clock, telemetry};
use tokio::time::Instant;

use crate::{
    authority::Authority,
    id::RequestId,
    metrics::Metrics,
    quotas::Admission,
    sign_in::{
        host::credentials::takes_credentials,
        leash::{Cut, Leash},
    },
};

/// What moved in both directions of one request, and when something moved last.
#[derive(Debug)]
pub(crate) struct Traffic {
    clock: Clock,
    start: Instant,
    up: AtomicU64,
    down: AtomicU64,
    moved_after_ms: AtomicU64,
}

impl Traffic {
    fn new(clock: Clock) -> Self {
        Self {
            start: clock.now(),
            clock,
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            moved_after_ms: AtomicU64::new(0),
        }
    }

    /// Bytes came from the user.
    pub(crate) fn up(&self, bytes: usize) {
        self.up.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// Bytes went to the user.
    pub(crate) fn down(&self, bytes: usize) {
        self.down.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// Something other than bytes shows that both ends live; the time now.
    pub(crate) fn touch(&self) -> Instant {
        let now = self.clock.now();
        let after = now.duration_since(self.start).as_millis();
        let after = u64::try_from(after).unwrap_or(u64::MAX);
        self.moved_after_ms.store(after, Ordering::Relaxed);
        now
    }

    /// The time now.
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Whether nothing moved for `limit`.
    pub(crate) fn is_silent(&self, limit: Duration) -> bool {
        self.silent_at(limit) <= self.clock.now()
    }

    /// When the silence will have lasted `limit`, if nothing moves.
    pub(crate) fn silent_at(&self, limit: Duration) -> Instant {
        let moved = Duration::from_millis(self.moved_after_ms.load(Ordering::Relaxed));
        self.start + moved + limit
    }

    /// When the request will have lasted `limit`.
    pub(crate) fn ends_at(&self, limit: Duration) -> Instant {
        self.start + limit
    }

    /// When the request's head came.
    pub(crate) const fn start(&self) -> Instant {
        self.start
    }

    /// Since the request's head came.
    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.now().duration_since(self.start)
    }
}

/// What is known of a request as it goes. Dropped, it becomes a line in the log and counts in the metrics: so each
/// request has exactly one line, however it ends.
#[derive(Debug)]
pub(crate) struct Record {
    /// Bytes and time.
    pub traffic: Arc<Traffic>,
    attempts: u32,
    /// The agent that was asked last.
    agent: Option<AgentId>,
    request: Asked,
    route: Option<Route>,
    edge: EdgeId,
    metrics: Arc<Metrics>,
    status: Option<u16>,
    head_after: Option<Duration>,
    reason: Option<Reason>,
    complete: bool,
    /// Under way for the app's quota for as long as this lives.
    admission: Option<Admission>,
    /// Who asked, if they have signed in.
    user: Option<UserId>,
    /// Which program asked, if it has shown a token.
    service: Option<ServiceTokenId>,
    /// Which program asked, if it has shown a certificate.
    program: Option<Arc<Program>>,
    /// Under way for the user's session for as long as this lives.
    leash: Option<Leash>,
}

/// What was asked.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Id of the request.
    pub id: RequestId,
    /// Its method.
    pub method: Method,
    /// Its path, without the query: queries carry personal data.
    pub path: String,
    /// As the user spoke to the edge.
    pub version: Version,
    /// The user's address.
    pub peer: IpAddr,
    /// Host as it was written; none: it could not be read.
    pub host: Option<Arc<Authority>>,
}

impl Record {
    /// Opens the record of a request that came just now.
    pub(crate) fn new(request: Asked, edge: EdgeId, metrics: Arc<Metrics>, clock: Clock) -> Self {
        metrics.streams.increment(1.0);
        Self {
            traffic: Arc::new(Traffic::new(clock)),
            attempts: 0,
            agent: None,
            request,
            route: None,
            edge,
            metrics,
            status: None,
            head_after: None,
            reason: None,
            complete: false,
            admission: None,
            user: None,
            service: None,
            program: None,
            leash: None,
        }
    }

    /// Id of the request.
    pub(crate) const fn id(&self) -> RequestId {
        self.request.id
    }

    /// The host is known.
    pub(crate) fn host(&mut self, host: &Arc<Authority>) {
        self.request.host = Some(Arc::clone(host));
    }

    /// The app, and the segment of it, is known.
    pub(crate) fn route(&mut self, route: &Route) {
        self.route = Some(route.clone());
    }

    /// The app takes the request.
    pub(crate) fn admit(&mut self, admission: Option<Admission>) {
        self.admission = admission;
    }

    /// The user is known.
    pub(crate) fn user(&mut self, user: &UserId) {
        self.user = Some(user.clone());
    }

    /// The program is known.
    pub(crate) fn service(&mut self, service: &ServiceTokenId) {
        self.service = Some(service.clone());
    }

    /// The program is known by its certificate.
    pub(crate) fn program(&mut self, program: &Arc<Program>) {
        self.program = Some(Arc::clone(program));
    }

    /// The request is of a session, and ends with it.
    pub(crate) fn hold(&mut self, leash: Leash) {
        self.leash = Some(leash);
    }

    /// Says when the session ends that the request is of.
    pub(crate) fn cut(&self) -> Option<Cut> {
        self.leash.as_ref().map(Leash::cut)
    }

    /// An agent is asked.
    pub(crate) fn attempt(&mut self, agent: &AgentId) {
        self.attempts += 1;
        self.agent = Some(agent.clone());
    }

    /// The answer's head goes to the user.
    pub(crate) fn head(&mut self, status: u16) {
        self.status = Some(status);
        self.head_after = Some(self.traffic.elapsed());
    }

    /// The same, of a head that was here then.
    pub(crate) fn head_of(&mut self, status: u16, came_at: Instant) {
        self.status = Some(status);
        self.head_after = Some(came_at.duration_since(self.traffic.start));
    }

    /// The request failed; the first cause counts.
    pub(crate) fn fail(&mut self, reason: Reason) {
        self.reason.get_or_insert(reason);
    }

    /// The answer is whole.
    pub(crate) const fn complete(&mut self) {
        self.complete = true;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.complete {
            self.fail(Reason::Cancelled);
        }
        let took = self.traffic.elapsed();
        let status = self.status.unwrap_or_else(|| Reason::Cancelled.status());
        self.count(status, took);
        self.write(status, took);
    }
}

impl Record {
    fn count(&self, status: u16, took: Duration) {
        let metrics = &self.metrics;
        metrics.streams.decrement(1.0);
        metrics
            .bytes_up
            .increment(self.traffic.up.load(Ordering::Relaxed));
        metrics
            .bytes_down
            .increment(self.traffic.down.load(Ordering::Relaxed));
        if let Some(reason) = self.reason {
            metrics.failure(reason);
        }
        metrics
            .app(self.app().map(|app| &app.id))
            .count(status, took);
    }

    /// The app, if it is one that users enter credentials of their own for.
    pub(crate) fn takes_credentials(&self) -> Option<&AppId> {
        let app = self.app().filter(|app| takes_credentials(app));
        app.map(|app| &app.id)
    }

    fn app(&self) -> Option<&App> {
        self.route.as_ref().map(|route| &**route.app())
    }

    fn segment(&self) -> Option<&SegmentId> {
        let segment = self.route.as_ref()?.segment()?;
        Some(&segment.id)
    }

    fn write(&self, status: u16, took: Duration) {
        if !tracing::enabled!(target: "access", tracing::Level::INFO) {
            return;
        }
        let line = self.line(status, took);
        match telemetry::lines() {
            Some(lines) => lines.add("access", "request", |json| line.write(json)),
            None => line.trace(),
        }
    }

    fn line(&self, status: u16, took: Duration) -> Line<'_> {
        let request = &self.request;
        Line {
            request_id: request.id,
            app: self.app().map(|app| app.id.as_str()),
            segment: self.segment().map(SegmentId::as_str),
            group: self.app().map(|app| app.group.as_str()),
            agent: self.agent.as_ref().map(AgentId::as_str),
            edge: self.edge.as_str(),
            user_address: request.peer,
            user_id: self.user.as_ref().map(UserId::as_str),
            service: self.service.as_ref().map(ServiceTokenId::as_str),
            program: self.program.as_ref().map(|program| program.as_str()),
            http_version: version(request.version),
            http_method: request.method.as_str(),
            http_host: request.host.as_ref().map_or("", |host| &host.text),
            http_path: &request.path,
            http_status: status,
            reason: self.reason.map(Reason::as_str),
            side: self.reason.map(|reason| reason.side().as_str()),
            bytes_up: self.traffic.up.load(Ordering::Relaxed),
            bytes_down: self.traffic.down.load(Ordering::Relaxed),
            attempts: self.attempts,
            head: self.head_after,
            duration: took,
        }
    }
}

/// What the log says of one request.
struct Line<'a> {
    request_id: RequestId,
    app: Option<&'a str>,
    segment: Option<&'a str>,
    group: Option<&'a str>,
    agent: Option<&'a str>,
    edge: &'a str,
    user_address: IpAddr,
    user_id: Option<&'a str>,
    service: Option<&'a str>,
    program: Option<&'a str>,
    http_version: &'static str,
    http_method: &'a str,
    http_host: &'a str,
    http_path: &'a str,
    http_status: u16,
    reason: Option<&'static str>,
    side: Option<&'static str>,
    bytes_up: u64,
    bytes_down: u64,
    attempts: u32,
    head: Option<Duration>,
    duration: Duration,
}

impl Line<'_> {
    fn write(&self, json: &mut telemetry::Line) {
        json.text("request.id", self.request_id.digits().as_str());
        json.text_if_any("app", self.app);
        json.text_if_any("segment", self.segment);
        json.text_if_any("group", self.group);
        json.text_if_any("agent", self.agent);
        json.text("edge", self.edge);
        json.address("user.address", self.user_address);
        json.text_if_any("user.id", self.user_id);
        json.text_if_any("service", self.service);
        json.text_if_any("program", self.program);
        json.text("http.version", self.http_version);
        json.text("http.method", self.http_method);
        json.text("http.host", self.http_host);
        json.text("http.path", self.http_path);
        json.number("http.status", self.http_status);
        json.text_if_any("reason", self.reason);
        json.text_if_any("side", self.side);
        json.number("bytes.up", self.bytes_up);
        json.number("bytes.down", self.bytes_down);
        json.number("attempts", self.attempts);
        if let Some(head) = self.head {
            json.millis("head_ms", head);
        }
        json.millis("duration_ms", self.duration);
    }

    /// The same for people, and for whoever else listens to events of this process.
    fn trace(&self) {
        tracing::info!(
            target: "access",
            {
            request.id = %self.request_id,
            app = self.app,
            segment = self.segment,
            group = self.group,
            agent = self.agent,
            edge = self.edge,
            user.address = %self.user_address,
            user.id = self.user_id,
            service = self.service,
            program = self.program,
            http.version = self.http_version,
            http.method = self.http_method,
            http.host = self.http_host,
            http.path = self.http_path,
            http.status = self.http_status,
            reason = self.reason,
            side = self.side,
            bytes.up = self.bytes_up,
            bytes.down = self.bytes_down,
            attempts = self.attempts,
            head_ms = self.head.map(millis),
            duration_ms = millis(self.duration)
            },
            "request"
        );
    }
}

/// As `http` writes it.
const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// Milliseconds with three digits behind the point: finer is noise, and the digits of a float.
fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_to_the_microsecond() {
        for (nanos, want) in [
            (0, "0"),
            (158_024, "0.158"),
            (14_689_299, "14.689"),
            (85_000_000_500, "85000.001"),
            (3_600_000_000_000, "3600000"),
        ] {
            assert_eq!(millis(Duration::from_nanos(nanos)).to_string(), want);
        }
    }
}
