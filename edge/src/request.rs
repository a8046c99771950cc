//! The path of a request, from the user's head to the answer's. Each step takes what the step above made.

use std::{net::IpAddr, panic::AssertUnwindSafe, pin::pin, sync::Arc};

use futures_util::FutureExt as _;
use http::{HeaderValue, Method, StatusCode, header};
use hyper::{Request, Response};
use model::{
    access::{self, Caller, Permit, ruleset::Part},
    app::{Access, App},
    balance::{Failure, Outcome},
    reason::{Reason, Side},
    route::{Route, RouteError},
};
use tokio::time::timeout;
use tunnel::{codes::Code, link::Closed, stream::RecvError};

use crate::{
    access_log::{Asked, Record},
    answer::{self, Form, Refusal},
    authority::{self, Authority},
    bounds,
    cors::{self, Crossing},
    doubt,
    download::Body,
    exchange::{self, Answered, Terms},
    failure::{RequestError, Retry},
    id::RequestId,
    link::Link,
    listener::User,
    neighbours::Network,
    no_download,
    outgoing::{Outgoing, connect_protocol},
    own, page, portal,
    respond::{outcome, respond},
    retries::RETRIES_MAX,
    rule_counts,
    rules::Rules,
    serving::{Shared, Worker},
    sign_in::{
        self, Arrival, bearer,
        circumstances::{Circumstances, Use},
        credential::Credential,
        id_token::Lacking,
        kept,
        leash::{self, Cut},
        reports::{self, Origin},
    },
    stall::Watch,
    ties,
    upload::Upload,
    user_body::UserBody,
    view::View,
    websocket::WEBSOCKET,
};

/// Whoever asks: by what, and how.
type Asker = (Credential, Arc<Circumstances>);

/// One request's surroundings: the worker that it came to, and the user's connection.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// Where it came in.
    pub worker: Arc<Worker>,
    /// Who is at the other end.
    pub user: Arc<User>,
}

/// Answers one request. Whatever goes wrong costs this request only.
pub(crate) async fn answer(visit: Visit, request: Request<UserBody>) -> Response<Body> {
    let id = RequestId::random();
    Watch::current().wait_for(visit.user.limits.stall_timeout);
    let form = Form::of(request.method(), request.headers());
    let mut record = Some(open_record(&visit, id, &request));
    let mut rules = Rules::default();
    let walked = AssertUnwindSafe(walk(&visit, request, &mut record, &mut rules))
        .catch_unwind()
        .await;
    let error = match walked {
        Ok(Ok(response)) => return page::dress(response, &visit.worker.edge.views),
        Ok(Err(error)) => error,
        Err(_) => RequestError::Bug("panic"),
    };
    let mut response = refuse(&error, id, form, record);
    // The session may have ended meanwhile, and the browser have another.
    rules.cookie(None);
    rules.apply_to_own(response.headers_mut());
    page::dress(response, &visit.worker.edge.views)
}

async fn walk(
    visit: &Visit,
    request: Request<UserBody>,
    slot: &mut Option<Record>,
    rules: &mut Rules,
) -> Result<Response<Body>, RequestError> {
    let record = slot
        .as_mut()
        .ok_or(RequestError::Bug("the record is gone"))?;
    let edge = &visit.worker.edge;
    let view = edge.views.current().ok_or(RequestError::NoView)?;
    let limits = &visit.user.limits;
    doubt::check(&request, limits.head_fields)?;
    bounds::check_target(&request, limits.target_bytes)?;
    let authority = read_target(visit, &request, record)?;
    let arrival = Arrival {
        view: &view,
        authority: &authority,
        clock: edge.epoch.clock(),
        address: visit.user.address.ip(),
        guesses: &edge.guesses,
        countries: &edge.countries,
        recall: &visit.user.recall,
        certificate: visit.user.greeted.certificate.as_ref(),
    };
    if let Some(answer) = portal::answer(&arrival, &request, record) {
        return Ok(give(answer?.map(Body::whole), rules, record));
    }
    if view.sign_in_host() == Some(&authority.host) {
        // Boxed: seldom needed, and every request would carry its size.
        let answer = sign_in::host::answer(visit, &view, &authority, record.id(), request);
        return Ok(give(Box::pin(answer).await?, rules, record));
    }
    let site = view.site(&authority.host);
    let site = site.ok_or(RequestError::Route(RouteError::NoApp))?;
    let found = site.find(request.uri().path());
    if let Ok(route) = found {
        record.route(route);
        rules.route(route);
    }
    if let Some(answer) = arrival.answer(&request) {
        let answer = answer?;
        let origin = Origin::of(visit, request.headers(), record.id());
        reports::tell_opened(visit, site, &answer, &origin);
        return Ok(give(answer.map(Body::whole), rules, record));
    }
    if let Some(response) = own::answer(site, &request)? {
        return Ok(give(response, rules, record));
    }
    let route = found.map_err(RequestError::Route)?;
    bounds::check(&request, &route.app().limits)?;
    Watch::current().wait_for(visit.user.stall_timeout(route.app()));
    match cors::judge(route, &request).map_err(RequestError::Crossing)? {
        Crossing::Unruled => {}
        Crossing::Ruled(grant) => rules.grant(grant),
        Crossing::Answered(response) => return Ok(give(response, rules, record)),
    }
    be_open(&view, route.app())?;
    be_asked(visit, &view, &authority, route.app())?;
    pass_on(visit, &arrival, route, request, slot, rules).await
}

/// The request has an app that is open for requests: who asks, may they, and what does the app say?
async fn pass_on(
    visit: &Visit,
    arrival: &Arrival<'_>,
    route: &Route,
    request: Request<UserBody>,
    slot: &mut Option<Record>,
    rules: &mut Rules,
) -> Result<Response<Body>, RequestError> {
    let record = slot
        .as_mut()
        .ok_or(RequestError::Bug("the record is gone"))?;
    let edge = &visit.worker.edge;
    let network = Network::of(visit.user.address.ip());
    let admission = edge.quotas.admit(route.app(), network);
    record.admit(admission.map_err(RequestError::Exceeded)?);
    let asker = identify(visit, arrival, route.app(), &request, record).await?;
    let permit = match decide(edge, arrival.view, route.app(), asker.as_ref(), record.id()) {
        Ok(permit) => permit,
        Err(denial) => {
            tracing::debug!(request.id = %record.id(), %denial, "not permitted");
            let shown = asker.as_ref().map(|(credential, _)| credential);
            let from = (request.headers(), record.id());
            reports::tell_denied(visit, (&denial, shown), &route.app().id, from);
            // Boxed, as there may be a form to read.
            let answer = Box::pin(arrival.deny(route.app(), (denial, shown), request)).await?;
            return Ok(give(answer.map(Body::whole), rules, record));
        }
    };
    // A browser's alone: a token of some minutes would become a cookie that goes on with the session.
    if let Some((Credential::Session(session), _)) = &asker {
        rules.cookie(arrival.renewed(session, permit.idle_limit()));
    }
    let shown = asker.as_ref().map(|(credential, _)| credential);
    // Before a kept form is put as it was: its fields are those of a time before the session.
    let id_token = match arrival.id_token(permit.app(), shown, request.headers()) {
        Ok(id_token) => id_token,
        Err(Lacking) => {
            let answer = arrival.ask_for_id_token(permit.app(), shown, &request)?;
            return Ok(give(answer.map(Body::whole), rules, record));
        }
    };
    let retreat = if id_token.is_some() {
        arrival.retreat(shown, &request)
    } else {
        None
    };
    let request = match permit.caller() {
        Caller::User(_) if kept::is_brought(&request) => {
            Box::pin(kept::restore(arrival, request)).await?
        }
        Caller::Anonymous | Caller::User(_) | Caller::Service(_) | Caller::Program(_) => request,
    };
    let from = (&edge.id, &*visit.user);
    let mut outgoing = Outgoing::new(&permit, route, arrival, from, request, record)?;
    outgoing.show(id_token);
    outgoing.bound_body(visit, &permit.app().limits, network)?;
    let cut = record.cut();
    let answered = {
        // Pinned where it is, as everything that it is handed to would have room for it.
        let asking = pin!(ask(visit, &permit, &mut outgoing, rules, record));
        let asking = unless(cut, asking);
        match permit.app().timeouts.total {
            Some(total) => timeout(total, asking)
                .await
                .map_err(|_| RequestError::TotalTimeout)?,
            None => asking.await,
        }
    };
    let answered = match (answered, retreat) {
        (Err(error), Some(retreat)) if error.reason() == Reason::SsoIdToken => {
            let answer = arrival.lead_back(permit.app(), &retreat)?;
            return Ok(give(answer.map(Body::whole), rules, record));
        }
        (answered, _) => answered?,
    };
    no_download::check(&permit, &answered.head)?;
    respond(visit, permit.app(), answered, outgoing, slot, rules).await
}

/// Where the request is for, if an edge can serve it at all.
fn read_target(
    visit: &Visit,
    request: &Request<UserBody>,
    record: &mut Record,
) -> Result<Arc<Authority>, RequestError> {
    if *request.method() == Method::CONNECT {
        match connect_protocol(request) {
            Some(protocol) if protocol.eq_ignore_ascii_case(WEBSOCKET) => {}
            Some(_) => return Err(RequestError::Protocol),
            None => return Err(RequestError::Target("CONNECT")),
        }
    }
    let uri = request.uri();
    if !uri.path().starts_with('/') {
        return Err(RequestError::Target("no path"));
    }
    let written = authority::written(uri, request.headers()).map_err(RequestError::Host)?;
    let read = || authority::parse(written, visit.worker.edge.public_port);
    let authority = visit.user.recall.authority(written, read);
    let authority = authority.map_err(RequestError::Host)?;
    record.host(&authority);
    Ok(authority)
}

/// Whether the operator lets anybody in at all.
fn be_open(view: &View, app: &App) -> Result<(), RequestError> {
    if view.is_stopped() {
        return Err(RequestError::Stopped);
    }
    if view.is_unusable(&app.id) {
        return Err(RequestError::Unusable);
    }
    match &app.maintenance {
        Some(maintenance) => Err(RequestError::Maintenance(maintenance.clone())),
        None => Ok(()),
    }
}

/// Whether the connection is one on which the host has asked for a certificate, if the app wants one: browsers share a connection among hosts,
/// and keep it when an app changes. On another one they are asked (RFC 9110, section 15.5.20). Whoever names no host cannot be.
fn be_asked(
    visit: &Visit,
    view: &View,
    authority: &Authority,
    app: &App,
) -> Result<(), RequestError> {
    let greeted = &visit.user.greeted;
    let was_asked_here = greeted.was_asked && greeted.server_name.as_ref() == Some(&authority.host);
    if was_asked_here || greeted.server_name.is_none() || !view.wants_certificate(app) {
        return Ok(());
    }
    // Else it is a connection of another host, and the next one is made to this.
    if greeted.server_name.as_ref() == Some(&authority.host) {
        greeted.outlived.cancel();
    }
    Err(RequestError::Misdirected)
}

/// Until a connection shall end when what is under way has: "Connection: close" is a word of HTTP/1 alone. Cancel-safe.
pub(crate) async fn sent_away(worker: &Worker, user: &User) {
    tokio::select! {
        () = worker.leaving.cancelled() => {}
        () = user.greeted.outlived.cancelled() => {}
    }
}

/// An answer of the edge's own that is no failure.
fn give(mut response: Response<Body>, rules: &Rules, record: &mut Record) -> Response<Body> {
    rules.apply_to_own(response.headers_mut());
    record.traffic.down(response.body().bytes_at_hand());
    record.head(response.status().as_u16());
    record.complete();
    response
}

/// Who asks. Where an app leaves that to its origin, nobody is known.
async fn identify(
    visit: &Visit,
    arrival: &Arrival<'_>,
    app: &App,
    request: &Request<UserBody>,
    record: &mut Record,
) -> Result<Option<Asker>, RequestError> {
    match app.access {
        Access::Passthrough => return Ok(None),
        Access::SignIn(_) => {}
    }
    let circumstances = Arc::new(Circumstances::of(arrival, request));
    let shown =
        match bearer::credential(&visit.worker.edge, arrival, app, request.headers()).await? {
            Some(bearer) => Some(bearer),
            None => arrival.credential(request.headers())?,
        };
    // A certificate comes with every request of its connection: whoever shows something else is that.
    let credential = shown.or_else(|| {
        let program = circumstances.program(arrival.view, app, arrival.clock.wall())?;
        Some(Credential::Program(Arc::new(program)))
    });
    let Some(credential) = credential else {
        return Ok(None);
    };
    credential.sign(record);
    let Worker { edge, index, .. } = &*visit.worker;
    let leashes = edge.leashes.get(*index);
    let leashes = leashes.ok_or(RequestError::Bug("a worker without a list of sessions"))?;
    record.hold(leashes.hold(&credential, &app.id, &circumstances));
    // What came in force since the request was routed, and before it was listed.
    if edge.views.revision() != Some(arrival.view.revision()) {
        let view = edge.views.current().ok_or(RequestError::NoView)?;
        let now = arrival.clock.wall();
        if credential.is_over(&view, &app.id, &circumstances, now) {
            return Err(RequestError::SessionEnded);
        }
    }
    Ok(Some((credential, circumstances)))
}

/// Whether the one who asks may use the app, and what access rules had to do with it.
fn decide<'v>(
    edge: &Shared,
    view: &'v View,
    app: &'v App,
    asker: Option<&Asker>,
    id: RequestId,
) -> Result<Permit<'v>, access::Denial> {
    let Some((credential, circumstances)) = asker else {
        let nobody = Caller::Anonymous;
        let facts = || Circumstances::unknown();
        return access::authorise(app, nobody, view.rules(), facts, &mut |_| {});
    };
    let mut watch = |part: Part<'_>| {
        edge.metrics.rules.count(part);
        if rule_counts::would_refuse(part) {
            tracing::info!(request.id = %id, caller = ?credential.caller(), app = %app.id, rule = %part.rule.id(), "an access rule that only reports would have refused");
        }
    };
    let now = || edge.epoch.clock().wall();
    let facts = || credential.facts(circumstances, Use::New, (view, app), now());
    access::authorise(app, credential.caller(), view.rules(), facts, &mut watch)
}

/// What is done, unless the session ends before.
async fn unless<T>(
    cut: Option<Cut>,
    done: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    tokio::select! {
        biased;
        done = done => done,
        () = leash::ended(cut) => Err(RequestError::SessionEnded),
    }
}

/// Asks agents of the app's group, one after another, until one answers.
async fn ask(
    visit: &Visit,
    permit: &Permit<'_>,
    outgoing: &mut Outgoing,
    rules: &Rules,
    record: &mut Record,
) -> Result<Answered, RequestError> {
    let (edge, app) = (&visit.worker.edge, permit.app());
    edge.budgets.deposit(&app.id, record.traffic.start());
    let mut tried = Vec::new();
    let mut failed = RequestError::NoAgent;
    edge.links.arrival(&app.group).await;
    while let Some(link) = next_link(visit, permit, &tried) {
        if let Some(last) = tried.last() {
            if !is_other_way(&link, last) && !edge.budgets.withdraw(&app.id) {
                break;
            }
            edge.metrics.retries.increment(1);
            outgoing.begin_again();
        }
        outgoing.state(edge)?;
        record.attempt(link.agent());
        if outgoing.signs_on {
            visit.user.ties.tie(&app.id, &link, &tried);
        }
        let terms = Terms {
            timeouts: &app.timeouts,
            traffic: &record.traffic,
            rules,
        };
        failed = match attempt(visit, permit, &link, &tried, outgoing, terms).await {
            Ok(answered) => {
                if asks_to_sign_on(&answered) {
                    visit.user.ties.tie(&app.id, &link, &tried);
                }
                return Ok(answered);
            }
            Err(error) => error,
        };
        tracing::debug!(
            request.id = %record.id(),
            agent = link.agent().as_str(),
            reason = failed.reason().as_str(),
            "agent gave no answer"
        );
        tried.push(link);
        if tried.len() > RETRIES_MAX || !may_try_again(&failed, outgoing) {
            break;
        }
    }
    Err(failed)
}

/// Whether it is the same agent, which has come back by another way: it is asked no more than it would have been.
fn is_other_way(link: &Link, last: &Link) -> bool {
    last.is_dark() && link.is_of_same_process(last)
}

/// The link on which the user signed on, if there is one; otherwise one of any agent of the group that was not tried yet.
fn next_link(visit: &Visit, permit: &Permit<'_>, tried: &[Arc<Link>]) -> Option<Arc<Link>> {
    let app = permit.app();
    let tied = if tried.is_empty() {
        visit.user.ties.link(&app.id)
    } else {
        None
    };
    tied.or_else(|| {
        let Worker { edge, index, .. } = &*visit.worker;
        let failing = edge.origins.failing(&app.id, || edge.epoch.since());
        edge.links.pick(&app.group, *index, tried, &failing)
    })
}

fn asks_to_sign_on(answered: &Answered) -> bool {
    let head = &answered.head;
    head.status == u32::from(StatusCode::UNAUTHORIZED.as_u16())
        && tunnel::fields::decode(head.fields.clone())
            .is_ok_and(|fields| ties::asks_to_sign_on(&fields))
}

async fn attempt(
    visit: &Visit,
    permit: &Permit<'_>,
    link: &Arc<Link>,
    tried: &[Arc<Link>],
    outgoing: &mut Outgoing,
    terms: Terms<'_>,
) -> Result<Answered, RequestError> {
    // Not worth waiting for an agent that seems gone, when asking another way as well does no harm.
    let may_move =
        outgoing.upload.is_none() && outgoing.is_idempotent() && tried.len() < RETRIES_MAX;
    let links = &visit.worker.edge.links;
    // Pinned where it is: a `select!` moves what it is given, and this is some kilobytes.
    let mut exchanged = pin!(async {
        let stream = link.open().await?;
        exchange::run(stream, outgoing, terms).await
    });
    let answered = tokio::select! {
        biased;
        answered = &mut exchanged => answered,
        () = links.outlived(link, tried), if may_move => Err(RequestError::Lost(RecvError::ConnectionLost(Closed::Silent))),
    };
    let edge = &visit.worker.edge;
    let said = match &answered {
        Ok(answered) => Some((edge.epoch.at(answered.came_at), outcome(answered))),
        Err(error) => blame(error).map(|failure| (edge.epoch.since(), Outcome::Failure(failure))),
    };
    if let Some((now, outcome)) = said {
        link.load().record(now, outcome);
        edge.origins
            .record(&permit.app().id, link.agent(), now, outcome);
    }
    answered
}

/// What a failed attempt says about the agent; nothing if the agent is not to blame.
fn blame(error: &RequestError) -> Option<Failure> {
    match (error, error.side()) {
        (RequestError::NoStream, _) => Some(Failure::Busy { retry_after: None }),
        (RequestError::Lost(RecvError::Reset(Code::Draining)), _) => None,
        (RequestError::Silent, _) => Some(Failure::Tunnel),
        // It concerns one app, and the agent serves the others as well as ever.
        (
            RequestError::Agent {
                reason: Reason::SsoFailed | Reason::SsoUnavailable,
                ..
            },
            _,
        ) => Some(Failure::Origin),
        (_, Side::Agent) => Some(Failure::Tunnel),
        (_, Side::Origin) => Some(Failure::Origin),
        (_, Side::User | Side::Edge) => None,
    }
}

fn may_try_again(error: &RequestError, outgoing: &Outgoing) -> bool {
    let whole = outgoing.upload.as_ref().is_none_or(Upload::can_begin_again);
    match error.may_retry() {
        Retry::Always => whole,
        Retry::IfIdempotent => whole && outgoing.is_idempotent(),
        Retry::Never => false,
    }
}

fn open_record(visit: &Visit, id: RequestId, request: &Request<UserBody>) -> Record {
    let edge = &visit.worker.edge;
    let peer: IpAddr = visit.user.address.ip().to_canonical();
    let asked = Asked {
        id,
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        version: request.version(),
        peer,
        host: None,
    };
    Record::new(
        asked,
        edge.id.clone(),
        Arc::clone(&edge.metrics),
        edge.epoch.clock().clone(),
    )
}

fn refuse(
    error: &RequestError,
    id: RequestId,
    form: Form,
    record: Option<Record>,
) -> Response<Body> {
    let reason = error.reason();
    log(error, id, reason);
    let refusal = Refusal {
        reason,
        id,
        message: error.message().unwrap_or_default(),
        retry_after: error.retry_after(),
        takes_credentials: record.as_ref().and_then(Record::takes_credentials),
    };
    let mut response = answer::refuse(&refusal, form).map(Body::whole);
    if let Some(mut record) = record {
        record.traffic.down(response.body().bytes_at_hand());
        record.head(error.status().as_u16());
        record.fail(reason);
        record.complete();
    }
    if let Some(challenge) = error.challenge()
        && let Ok(challenge) = HeaderValue::try_from(challenge)
    {
        let fields = response.headers_mut();
        fields.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if matches!(error, RequestError::Coding | RequestError::Misdirected) {
        // Nothing that comes behind such a body can be trusted to be a request; and another connection is what is wanted.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

fn log(error: &RequestError, id: RequestId, reason: Reason) {
    let chain = std::iter::successors(Some(error as &dyn std::error::Error), |error| {
        error.source()
    })
    .map(ToString::to_string)
    .collect::<Vec<_>>()
    .join(": ");
    if reason == Reason::Bug {
        tracing::error!(request.id = %id, reason = reason.as_str(), error = chain, "request failed");
    } else {
        tracing::debug!(request.id = %id, reason = reason.as_str(), error = chain, "request failed");
    }
}
