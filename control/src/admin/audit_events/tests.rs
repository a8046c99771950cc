//! What is found of the audit trail, a page at a time.

use std::time::Duration;

use audit_server::Audit as _;
use runtime::Clock;
use tonic::Code;

use super::*;
use crate::admin::tests::{Bench, by_admin};

/// Writes an event, a second after the one before.
async fn write(
    bench: &Bench,
    (actor, method, resource): (&str, &'static str, &str),
    refused: bool,
) {
    bench.context.clock.move_wall(Duration::from_secs(1));
    let event = audit::Event {
        actor: actor.to_owned(),
        method,
        resource: resource.to_owned(),
        refused,
        ..audit::Event::default()
    };
    let ops = vec![audit::op(event, &bench.context.clock)];
    bench.context.store.txn(Vec::new(), ops).await.unwrap();
}

async fn list(bench: &Bench, request: ListAuditEventsRequest) -> ListAuditEventsResponse {
    let service = AuditEvents {
        context: bench.context.clone(),
    };
    let page = service.list_audit_events(by_admin(request)).await.unwrap();
    page.into_inner()
}

/// Method and resource of each.
fn seen(page: &ListAuditEventsResponse) -> Vec<String> {
    let events = page.audit_events.iter();
    events
        .map(|event| format!("{} {}", event.method, event.resource))
        .collect()
}

async fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.context.clock = Clock::starting_at(bench.context.clock.wall());
    let (olga, ci) = ("apiTokens/olga", "apiTokens/ci");
    write(&bench, (olga, "CreateApp", "apps/wiki"), false).await;
    write(&bench, (ci, "UpdateApp", "apps/wiki"), false).await;
    write(&bench, (ci, "DeleteApp", "apps/crm"), true).await;
    write(&bench, (olga, "UpdateApp", "apps/crm"), false).await;
    bench
}

#[tokio::test]
async fn filters_hold_together() {
    let bench = bench().await;
    let all = ListAuditEventsRequest::default();
    let own = |actor: &str| ListAuditEventsRequest {
        actor: actor.to_owned(),
        ..ListAuditEventsRequest::default()
    };
    let last = bench.context.clock.wall();
    for (request, want) in [
        (
            own("apiTokens/ci"),
            &["DeleteApp apps/crm", "UpdateApp apps/wiki"][..],
        ),
        (own("apiTokens/c"), &[]),
        (
            ListAuditEventsRequest {
                method: "UpdateApp".to_owned(),
                ..own("apiTokens/ci")
            },
            &["UpdateApp apps/wiki"],
        ),
        (
            ListAuditEventsRequest {
                method: "UpdateApp".to_owned(),
                resource: "apps/crm".to_owned(),
                ..all.clone()
            },
            &["UpdateApp apps/crm"],
        ),
        (
            ListAuditEventsRequest {
                refused: true,
                ..all.clone()
            },
            &["DeleteApp apps/crm"],
        ),
        (
            ListAuditEventsRequest {
                since: Some(wire_timestamp(last - Duration::from_millis(1_500))),
                ..all.clone()
            },
            &["UpdateApp apps/crm", "DeleteApp apps/crm"],
        ),
    ] {
        let page = list(&bench, request.clone()).await;
        assert_eq!(seen(&page), want, "{request:?}");
        let read_time = system_time(&page.read_time.unwrap()).unwrap();
        assert!(read_time >= last, "it is said when that was");
    }
    assert_eq!(list(&bench, all).await.audit_events.len(), 4);
}

#[tokio::test]
async fn pages_are_of_one_filter() {
    let bench = bench().await;
    let page = |actor: &str, page_token: &str| ListAuditEventsRequest {
        page_size: 1,
        page_token: page_token.to_owned(),
        actor: actor.to_owned(),
        ..ListAuditEventsRequest::default()
    };
    let first = list(&bench, page("apiTokens/ci", "")).await;
    assert_eq!(seen(&first), ["DeleteApp apps/crm"]);
    let token = &first.next_page_token;
    let second = list(&bench, page("apiTokens/ci", token)).await;
    assert_eq!(seen(&second), ["UpdateApp apps/wiki"]);
    let service = AuditEvents {
        context: bench.context.clone(),
    };
    let of_another = by_admin(page("apiTokens/olga", token));
    let refused = service.list_audit_events(of_another).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
