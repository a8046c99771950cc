//! One request, from its stream to its end: read the head, find the app, connect to an origin that the allow-list holds, ask, answer.

mod activity;
mod answer;
mod ask;
mod by_basic;
mod by_form;
mod by_kerberos;
mod failure;
mod form_step;
mod head;
mod kept;
mod replay;
mod sign_on;
mod stall;
mod switch;
mod upload;
mod websocket;

use std::{panic::AssertUnwindSafe, pin::pin, time::Duration};

use futures_util::{FutureExt as _, future::poll_immediate};
use model::{app::Sso, name::EdgeId, reason::Reason};
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, Span, field::Empty};
use tunnel::{
    codes::Code,
    stream::{RecvHalf, SendHalf},
};

use activity::Activity;
pub(crate) use failure::{Failure, chain};
use head::{BodyKind, Head};
use sign_on::SignOn;
pub(crate) use stall::Stalls;
use upload::Upload;
pub(crate) use upload::UploadBody;

use crate::{
    id_token::IdTokenError,
    origin::{PinKey, PinTurn, SignIn},
    statement::{Asked, Statement, StatementError},
    translate::Translation,
    view::{App, Site, View},
    worker::Worker,
};

/// How long a stream may take to say what it is for: the edge writes the head at once.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How much later than an edge an agent may learn of an app; control tells both at once.
const NEWS_PATIENCE: Duration = Duration::from_secs(1);

/// How long a failure may take to be told before the stream is reset instead.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a stream is kept for the last bytes of its answer to arrive: some round trips with losses.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves one request. Whatever happens in it costs this stream and nothing else.
pub(crate) async fn serve(worker: &Worker, edge: &EdgeId, send: SendHalf, recv: RecvHalf) {
    let span = tracing::debug_span!("request", request.id = Empty, app = Empty);
    serve_in_span(worker, edge, send, recv)
        .instrument(span)
        .await;
}

async fn serve_in_span(worker: &Worker, edge: &EdgeId, mut send: SendHalf, recv: RecvHalf) {
    let began = worker.clock.now();
    worker.metrics.uplink_streams.increment(1.0);
    let gone = stopped(&send);
    let outcome = {
        // Pinned where it is: a `select!` moves what it is given, and this is some kilobytes.
        let walked = walk((worker, edge), &mut send, recv, began);
        let mut walked = pin!(AssertUnwindSafe(walked).catch_unwind());
        tokio::select! {
            biased;
            outcome = &mut walked => {
                outcome.unwrap_or_else(|_| Err(Failure::bug("the agent's task panicked")))
            }
            code = gone => Err(Failure::cancelled(code)),
        }
    };
    let told = match outcome {
        Ok(()) => {
            let took = worker.clock.now() - began;
            worker.metrics.request_ok(took);
            tracing::debug!(took_us = took.as_micros(), "request answered");
            true
        }
        Err(failure) => {
            worker.metrics.request_failed(failure.reason());
            log(&failure);
            tell(&mut send, &failure).await
        }
    };
    worker.metrics.uplink_streams.decrement(1.0);
    if told {
        delivered(&send).await;
    }
}

/// Waits for the edge to have it all: a link that closes before takes back what was sent.
pub(crate) async fn delivered(send: &SendHalf) {
    // An edge that confirms nothing for so long is gone.
    let _ = timeout(DELIVERY_TIMEOUT, send.stopped()).await;
}

/// The path of a request; each step needs what the one before gave.
async fn walk(
    (worker, edge): (&Worker, &EdgeId),
    send: &mut SendHalf,
    mut recv: RecvHalf,
    began: Instant,
) -> Result<(), Failure> {
    let head = {
        let mut read = pin!(head::read(&mut recv));
        // Nearly always it came with the stream, and nothing needs to be timed.
        match poll_immediate(&mut read).await {
            Some(head) => head?,
            None => timeout(HEAD_TIMEOUT, read)
                .await
                .map_err(|_| Failure::refusal(Reason::TunnelProtocol, "no head came"))??,
        }
    };
    Span::current().record("request.id", head.id.as_str());
    Span::current().record("app", head.app.as_str());
    let knows_app = |view: &View| view.app(&head.app).is_some();
    let view = worker.views.with(knows_app, NEWS_PATIENCE).await;
    let app = view.app(&head.app).ok_or_else(|| {
        Failure::refusal(Reason::AgentRefused, "the agent's snapshot has no such app")
    })?;
    let site = app.site(&head.segment).ok_or_else(|| {
        Failure::refusal(
            Reason::AgentRefused,
            "the agent's snapshot has no such segment of the app",
        )
    })?;
    let signed_on = match app.sso() {
        Some(sso) => {
            let stated = stated((worker, edge), &view, app, &head).await?;
            Some((sso, vouched(worker, (&view, sso), &head, stated).await?))
        }
        None => None,
    };
    let mut exchange = Exchange::new(worker, (app, site), head, recv, began);
    if let Some((sso, statement)) = &signed_on {
        exchange.identify(&view, sso, statement)?;
    }
    let crowded_out = exchange.upload.crowded_out(&worker.stalls);
    let mut answered = pin!(async {
        let (connection, response) = exchange.ask(send).await?;
        exchange.answer(send, connection, response).await
    });
    tokio::select! {
        biased;
        answered = &mut answered => answered,
        failure = crowded_out => Err(failure),
    }
}

/// Who the request is from, by what its edge states. It counts once, so it is looked at once.
async fn stated(
    (worker, edge): (&Worker, &EdgeId),
    view: &View,
    app: &App,
    head: &Head,
) -> Result<Statement, StatementError> {
    let token = &head.statement;
    let check = |view: &View| {
        let asked = Asked {
            app: app.id(),
            request_id: &head.id,
            attempt: head.attempt,
            edge,
        };
        let now = (worker.clock.wall(), worker.clock.now());
        let keys = view.statement_keys();
        keys.check(token, &asked, &worker.shared.seen, now)
    };
    match check(view) {
        Err(StatementError::UnknownKey) => {
            let knows_key = |view: &View| view.statement_keys().know(token);
            check(&*worker.views.with(knows_key, NEWS_PATIENCE).await)
        }
        checked => checked,
    }
}

/// The same in the words of the user's identity provider, if the app asks for those. Users of others are not signed on anyway.
async fn vouched(
    worker: &Worker,
    (view, sso): (&View, &Sso),
    head: &Head,
    statement: Statement,
) -> Result<Statement, IdTokenError> {
    let Sso::Kerberos(sso) = sso else {
        return Ok(statement);
    };
    if !sso.require_id_token || !sso.names_users_of(statement.provider.as_ref()) {
        return Ok(statement);
    }
    let stated = statement.name.as_deref();
    let name = |view: &View| {
        let (keys, now) = (view.provider_keys(), worker.clock.wall());
        keys.name(sso, head.id_token.expose(), stated, now)
    };
    let name = match name(view) {
        Err(error) if error.may_be_news() => {
            let is_news = |view: &View| !matches!(name(view), Err(error) if error.may_be_news());
            name(&*worker.views.with(is_news, NEWS_PATIENCE).await)?
        }
        looked => looked?,
    };
    Ok(Statement {
        name: Some(name),
        ..statement
    })
}

/// A request under way.
#[derive(Debug)]
struct Exchange<'a> {
    worker: &'a Worker,
    app: &'a App,
    site: &'a Site,
    head: Head,
    upload: Upload,
    /// How its user is signed on by the agent, if the app's are.
    sign_on: Option<SignOn<'a>>,
    /// Between the names of the origin that is asked and those of the user.
    translation: Option<Translation<'a>>,
    /// Held while the exchange is on the user's own connection.
    pin: Option<PinTurn>,
    /// How far the sign-in of that connection is.
    sign_in: SignIn,
    activity: Activity,
    began: Instant,
    /// Spent on getting connections.
    dial: Duration,
    /// When the answer's head was there.
    head_came: Option<Instant>,
}

impl<'a> Exchange<'a> {
    fn new(
        worker: &'a Worker,
        (app, site): (&'a App, &'a Site),
        head: Head,
        recv: RecvHalf,
        began: Instant,
    ) -> Self {
        let activity = Activity::new(&worker.clock);
        let upload = Upload::new(
            recv,
            &head,
            activity.clone(),
            worker.clock.clone(),
            worker.metrics.to_origin_bytes.clone(),
        );
        Self {
            worker,
            app,
            site,
            head,
            upload,
            sign_on: None,
            translation: None,
            pin: None,
            sign_in: SignIn::Done,
            activity,
            began,
            dial: Duration::ZERO,
            head_came: None,
        }
    }

    /// Whose connection this is about, if the edge says.
    fn pin_key(&self) -> Option<PinKey> {
        Some(PinKey {
            user: self.head.user_connection?,
            app: self.head.app.clone(),
            segment: self.head.segment.clone(),
        })
    }
}

/// Waits until the edge reads no more; never ends for a stream that was read to its end.
fn stopped(send: &SendHalf) -> impl Future<Output = Code> + use<> {
    let stopped = send.stopped();
    async move {
        match stopped.await {
            Some(code) => code,
            None => std::future::pending().await,
        }
    }
}

/// Tells the edge in words if they go out soon (true), in a code otherwise.
async fn tell(send: &mut SendHalf, failure: &Failure) -> bool {
    let told = failure.reason() != Reason::Cancelled
        && matches!(
            timeout(FAREWELL_TIMEOUT, send.error(failure.to_wire())).await,
            Ok(Ok(()))
        );
    if !told {
        send.reset(failure.code());
    }
    told
}

fn log(failure: &Failure) {
    let (reason, detail) = (failure.reason().as_str(), failure.detail());
    match failure.reason() {
        Reason::Bug => tracing::error!(reason, detail, "request failed"),
        Reason::TunnelProtocol | Reason::SsoStatement | Reason::SsoIdToken => {
            tracing::warn!(reason, detail, "request failed");
        }
        _ => tracing::debug!(reason, detail, "request failed"),
    }
}
