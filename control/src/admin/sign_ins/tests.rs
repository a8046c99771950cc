//! Pages of the log, and following it.

use proto::fabric::{SignInEvent, SignInKind};
use sign_ins_server::SignIns as _;
use tonic::Code;

use super::*;
use crate::admin::tests::{Bench, by_admin};

async fn append(bench: &Bench, numbers: std::ops::RangeInclusive<u8>) {
    let events = numbers.map(|number| SignInEvent {
        id: vec![number; 16].into(),
        kind: SignInKind::SignedIn.into(),
        user: "alice".to_owned(),
        request_id: number.to_string(),
        ..SignInEvent::default()
    });
    let (edge, now) = ("e1".parse().unwrap(), bench.context.clock.wall());
    let log = &bench.context.sign_ins;
    log.append(&edge, events.collect(), now).await.unwrap();
}

async fn list(bench: &Bench, request: ListSignInsRequest) -> (Vec<String>, String, String) {
    let service = SignIns {
        context: bench.context.clone(),
    };
    let page = service.list_sign_ins(by_admin(request)).await.unwrap();
    let page = page.into_inner();
    let newest = page.sign_ins.first().map(|newest| newest.name.clone());
    let ids = page.sign_ins.into_iter().map(|one| one.request_id);
    (
        ids.collect(),
        page.next_page_token,
        newest.unwrap_or_default(),
    )
}

#[tokio::test]
async fn pages_lead_back_and_the_newest_name_leads_on() {
    let bench = Bench::new();
    append(&bench, 1..=5).await;
    let page = |page_token| ListSignInsRequest {
        page_size: 2,
        page_token,
        ..ListSignInsRequest::default()
    };
    let (ids, token, newest) = list(&bench, page(String::new())).await;
    assert_eq!(ids, ["5", "4"]);
    // What comes meanwhile moves nothing.
    append(&bench, 6..=6).await;
    let (ids, token, _) = list(&bench, page(token)).await;
    assert_eq!(ids, ["3", "2"]);
    let (ids, token, _) = list(&bench, page(token)).await;
    assert_eq!((ids, &*token), (vec!["1".to_owned()], ""));
    let follow = |after| ListSignInsRequest {
        after,
        ..ListSignInsRequest::default()
    };
    let (ids, _, newest) = list(&bench, follow(newest)).await;
    assert_eq!(ids, ["6"]);
    assert!(list(&bench, follow(newest)).await.0.is_empty());
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let bench = Bench::new();
    let service = SignIns {
        context: bench.context.clone(),
    };
    for request in [
        ListSignInsRequest {
            page_token: "x".to_owned(),
            ..ListSignInsRequest::default()
        },
        ListSignInsRequest {
            after: "5".to_owned(),
            ..ListSignInsRequest::default()
        },
        ListSignInsRequest {
            result: 99,
            ..ListSignInsRequest::default()
        },
    ] {
        let status = service.list_sign_ins(by_admin(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
}
