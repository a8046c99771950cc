//! Probes: whether each app can be reached from here, through each of its agents, to an origin of its own.
//!
//! A probe is a stream of its own kind on a link, every few seconds, for each app and agent. What fails is told to control with its part
//! and its reason; what is not told works. The rate has a bound, so with very many apps each is asked less often.

mod board;
mod counts;

use std::{sync::Arc, time::Duration};

use model::{
    app::App,
    name::AppId,
    reason::{Reason, Side},
};
use proto::{
    fabric::AppPart,
    tunnel::{End, ErrorInfo, RequestHead},
};
use rand::seq::SliceRandom as _;
use runtime::{Clock, Scope};
use tokio::{
    sync::Semaphore,
    time::{sleep, sleep_until, timeout},
};
use tunnel::{frame::Frame, stream::RecvError};

pub(crate) use board::Board;
use board::Fault;
use counts::Counts;
pub(crate) use counts::{APPS_FAILING, PROBES_TOTAL};

use crate::{failure::RequestError, link::Link, links::Links, view::Views};

/// Each app is asked about so often, if there are not too many.
const INTERVAL: Duration = Duration::from_secs(3);
/// The probes of an interval are spread over so many steps.
const STEPS: usize = 12;
/// Probes of one step: 400 a second cost an edge a few hundredths of a core. With more apps and agents, each is asked less often.
const PER_STEP_MAX: usize = 100;
/// Agents of one app that are asked in one interval; of more, others each time.
const AGENTS_MAX: usize = 8;
/// Probes under way at the same time.
const AT_ONCE_MAX: usize = 512;
/// Characters of an agent's words that are kept, as control keeps them: a thousand faults fit into one message to it.
const DETAIL_CHARS_MAX: usize = 512;
/// How long one may take: the agent gives an origin 3 s.
const TIMEOUT: Duration = Duration::from_secs(4);

/// What a probe needs.
#[derive(Clone, Debug)]
struct Prober {
    views: Views,
    links: Arc<Links>,
    board: Arc<Board>,
    counts: Arc<Counts>,
    places: Arc<Semaphore>,
    clock: Clock,
}

/// Begins to probe, as a standing task; what fails stands on the board.
pub(crate) fn start(views: Views, links: Arc<Links>, clock: Clock, scope: &Scope) -> Arc<Board> {
    let board = Arc::new(Board::default());
    let prober = Prober {
        views,
        links,
        board: Arc::clone(&board),
        counts: Arc::new(Counts::new()),
        places: Arc::new(Semaphore::new(AT_ONCE_MAX)),
        clock,
    };
    let own = scope.child("probes");
    scope.spawn_standing("probes", async move {
        tokio::select! {
            () = own.cancelled() => {}
            () = prober.run(&own) => {}
        }
    });
    board
}

impl Prober {
    async fn run(&self, scope: &Scope) {
        // Probes of the round before: this one is spread over as many steps.
        let mut before = usize::MAX;
        loop {
            let next = self.clock.now() + INTERVAL;
            let apps = self.views.current().map(|view| view.all_apps());
            let mut apps = apps.unwrap_or_default();
            self.board.keep(&apps);
            self.counts.failing(&self.board);
            // Otherwise those of many that come last would always be asked late.
            apps.shuffle(&mut rand::rng());
            let of_step = before.div_ceil(STEPS).clamp(1, PER_STEP_MAX);
            let (mut sent, mut of_this_step) = (0, 0);
            for app in &apps {
                let count = self.probe(app, scope);
                sent += count;
                of_this_step += count;
                if of_this_step >= of_step {
                    of_this_step = 0;
                    sleep(INTERVAL / u32::try_from(STEPS).unwrap_or(1)).await;
                }
            }
            before = sent;
            sleep_until(next).await;
        }
    }

    /// Begins to probe an app; gives how many probes that takes.
    fn probe(&self, app: &Arc<App>, scope: &Scope) -> usize {
        let mut links = self.links.of_group(&app.group);
        self.board.agents(&app.id, &links, || Fault {
            part: AppPart::Agent,
            reason: Reason::NoAgent,
            detail: format!("no agent of {} has a link here", app.group.resource_name()),
            since: self.clock.wall(),
        });
        links.shuffle(&mut rand::rng());
        links.truncate(AGENTS_MAX);
        let count = links.len();
        for link in links {
            // Without a place it is asked the next time.
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                break;
            };
            let (own, app) = (self.clone(), app.id.clone());
            scope.spawn("probe", async move {
                let outcome = ask(&link, &app).await;
                own.note(&app, &link, outcome);
                drop(place);
            });
        }
        count
    }

    fn note(&self, app: &AppId, link: &Link, outcome: Outcome) {
        self.counts.probe(outcome.as_str());
        let fault = match outcome {
            Outcome::Works => None,
            Outcome::Unknown => return,
            Outcome::Fails(part, reason, detail) => Some(Fault {
                part,
                reason,
                detail,
                since: self.clock.wall(),
            }),
        };
        self.board.set(app, link.agent(), fault);
    }
}

/// What came of one probe.
enum Outcome {
    Works,
    /// It says nothing about the app: the link was full, or is being replaced.
    Unknown,
    Fails(AppPart, Reason, String),
}

impl Outcome {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Works => "ok",
            Self::Unknown => "unknown",
            Self::Fails(AppPart::Origin, ..) => "origin",
            Self::Fails(AppPart::Agent | AppPart::Edge | AppPart::Unspecified, ..) => "agent",
        }
    }
}

async fn ask(link: &Arc<Link>, app: &AppId) -> Outcome {
    match timeout(TIMEOUT, exchange(link, app)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Outcome::Unknown,
        Err(_) => Outcome::Fails(
            AppPart::Agent,
            Reason::AgentLost,
            format!("the agent does not answer within {TIMEOUT:?}"),
        ),
    }
}

async fn exchange(link: &Arc<Link>, app: &AppId) -> Result<Outcome, RequestError> {
    let mut stream = link.probe().await?;
    let head = RequestHead {
        app: app.to_string(),
        ..RequestHead::default()
    };
    let asked = stream.send.queue(head);
    if asked.is_err() || stream.send.end(End::default()).await.is_err() {
        return Ok(Outcome::Unknown);
    }
    loop {
        return Ok(match stream.recv.next().await {
            Ok(Some(Frame::End(_))) => Outcome::Works,
            Ok(Some(Frame::Error(error))) => fails(&error),
            Ok(Some(_)) => continue,
            // Broken off by a link that ends, or by an agent with too much to do: another probe comes soon.
            Ok(None) | Err(RecvError::Reset(_) | RecvError::ConnectionLost(_)) => Outcome::Unknown,
            Err(error) => Outcome::Fails(AppPart::Agent, Reason::TunnelProtocol, error.to_string()),
        });
    }
}

/// Which part it is that fails follows from the reason. An agent that gives none of docs/reasons.md has broken the protocol.
fn fails(error: &ErrorInfo) -> Outcome {
    let mut known = Reason::ALL.iter();
    let known = known.find(|known| known.as_str() == error.reason);
    let reason = known.copied().unwrap_or(Reason::TunnelProtocol);
    let part = match reason.side() {
        Side::Origin => AppPart::Origin,
        Side::User | Side::Edge | Side::Agent => AppPart::Agent,
    };
    let detail = error.detail.chars().take(DETAIL_CHARS_MAX).collect();
    Outcome::Fails(part, reason, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(reason: &str, detail: &str) -> (AppPart, Reason, String) {
        let error = ErrorInfo {
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            ..ErrorInfo::default()
        };
        match fails(&error) {
            Outcome::Fails(part, reason, detail) => (part, reason, detail),
            Outcome::Works | Outcome::Unknown => panic!("it fails"),
        }
    }

    #[test]
    fn an_agent_is_kept_with_a_word_that_is_known_and_few_of_its_own() {
        for (reason, part, kept) in [
            ("origin_tls", AppPart::Origin, Reason::OriginTls),
            ("agent_refused", AppPart::Agent, Reason::AgentRefused),
            ("made_up", AppPart::Agent, Reason::TunnelProtocol),
            ("", AppPart::Agent, Reason::TunnelProtocol),
        ] {
            assert_eq!(told(reason, "why"), (part, kept, "why".to_owned()));
        }
        let (_, reason, detail) = told(&"x".repeat(4_096), &"\u{e9}".repeat(4_096));
        assert_eq!(reason, Reason::TunnelProtocol);
        assert_eq!(detail, "\u{e9}".repeat(DETAIL_CHARS_MAX));
    }
}
