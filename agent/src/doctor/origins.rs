//! Every origin of the agent's group, down to the status of an answer.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use http::HeaderValue;
use proto::fabric::Resource;
use runtime::{
    Clock,
    doctor::{self, Check, Fault, Finding, Report},
};

use crate::{
    allow::AllowList,
    look::{LookError, Question, look as ask},
    origin::{DialError, Origin, SystemRoots},
    view::ViewBuilder,
};

/// Origins that are asked.
const ORIGINS_MAX: usize = 200;
/// Those that are asked at the same time.
const AT_ONCE_MAX: usize = 16;
/// Time for connection and answer.
pub(super) const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Who asks, in the origin's log.
pub(super) const ASKER: HeaderValue =
    HeaderValue::from_static(concat!("adit-doctor/", env!("CARGO_PKG_VERSION")));
/// What is asked of an origin that is published without a health check.
const PATH: &str = "/";

/// Asks every origin that the snapshot names.
pub(super) async fn look(
    snapshot: &BTreeMap<String, Resource>,
    allow: &AllowList,
    clock: &Clock,
    report: &mut Report<'_>,
) {
    if snapshot.is_empty() {
        let why = "what is published is not known before the agent has been connected to control";
        return report.add(Finding::skipped(Check::Origin, "", why));
    }
    let view = match ViewBuilder::new(SystemRoots::default()).build(snapshot.values()) {
        Ok(view) => view,
        Err(error) => {
            let found = format!(
                "what is published cannot be used: {}",
                doctor::causes(&error)
            );
            return report.add(Finding::failed(Check::Origin, Fault::OriginTls, "", found));
        }
    };
    let mut seen = HashSet::new();
    let mut origins: Vec<_> = view
        .origins()
        .filter(|origin| seen.insert(origin.number()))
        .cloned()
        .collect();
    if origins.is_empty() {
        return report.add(Finding::ok(
            Check::Origin,
            "",
            "no app is published for this group",
        ));
    }
    origins.sort_by_key(|origin| origin.published().url.to_string());
    let count = origins.len();
    origins.truncate(ORIGINS_MAX);
    let looks = stream::iter(origins).map(|origin| one(origin, allow, clock));
    let findings: Vec<_> = looks.buffered(AT_ONCE_MAX).collect().await;
    for finding in findings {
        report.add(finding);
    }
    if count > ORIGINS_MAX {
        let why = format!("{} more origins were not asked", count - ORIGINS_MAX);
        report.add(Finding::skipped(Check::Origin, "", why));
    }
}

async fn one(origin: Arc<Origin>, allow: &AllowList, clock: &Clock) -> Finding {
    let subject = origin.published().url.to_string();
    let (host, path) = asked_for(&origin);
    let question = Question::get(&host, path, ASKER);
    let began = clock.now();
    let answer = ask(&origin, allow, &question, LOOK_TIMEOUT).await;
    let took = (clock.now() - began).as_millis();
    match answer {
        Ok(status) if status.is_server_error() => {
            let found = format!("answers {status} to GET {path}");
            Finding::warning(Check::Origin, Fault::OriginAnswer, subject, found)
        }
        Ok(status) => {
            let found = format!("answers {} to GET {path} in {took} ms", status.as_u16());
            Finding::ok(Check::Origin, subject, found)
        }
        Err(error) => Finding::failed(
            Check::Origin,
            fault(&error),
            subject,
            doctor::causes(&error),
        ),
    }
}

/// Host and path.
fn asked_for(origin: &Origin) -> (String, &str) {
    let host = match origin.check() {
        Some(check) => check.host.clone(),
        None => origin.published().url.authority(),
    };
    let path = origin.check().map_or(PATH, |check| &check.terms.path);
    (host, path)
}

pub(super) fn fault(error: &LookError) -> Fault {
    match error {
        LookError::Dial(DialError::Lookup(_) | DialError::NoAddress) => Fault::OriginDns,
        LookError::Dial(DialError::NotAllowed) => Fault::OriginNotAllowed,
        LookError::Dial(
            DialError::Proxy(_)
            | DialError::Unnamed(_)
            | DialError::Connect(_)
            | DialError::TimedOut(_),
        ) => Fault::OriginConnect,
        LookError::Dial(DialError::Tls(_)) => Fault::OriginTls,
        LookError::Dial(DialError::NotHttp2 | DialError::Http(_))
        | LookError::Exchange(_)
        | LookError::Request(_)
        | LookError::TimedOut(_) => Fault::OriginAnswer,
    }
}
