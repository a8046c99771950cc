//! Service tokens against a real store.

use aws_lc_rs::digest::{SHA256, digest};
use prost::Message as _;
use proto::{
    admin::{
        CreateServiceTokenRequest, CreateServiceTokenResponse, DeleteServiceTokenRequest,
        ListServiceTokensRequest, ServiceToken, UpdateServiceTokenRequest,
        service_tokens_server::ServiceTokens as _,
    },
    control::ServiceTokenRecord,
};
use tonic::{Code, Status};

use super::ServiceTokens;
use crate::admin::tests::{Bench, by_admin, fields, reason};

fn service(bench: &Bench) -> ServiceTokens {
    ServiceTokens {
        context: bench.context.clone(),
    }
}

async fn create(
    bench: &Bench,
    id: &str,
    ttl: Option<i64>,
) -> Result<CreateServiceTokenResponse, Status> {
    let request = CreateServiceTokenRequest {
        service_token_id: id.to_owned(),
        display_name: "CI".to_owned(),
        ttl: ttl.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
    };
    let made = service(bench).create_service_token(by_admin(request)).await;
    Ok(made?.into_inner())
}

async fn update(
    bench: &Bench,
    token: ServiceToken,
    paths: &[&str],
) -> Result<ServiceToken, Status> {
    let request = UpdateServiceTokenRequest {
        service_token: Some(token),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(ToString::to_string).collect(),
        }),
    };
    let updated = service(bench).update_service_token(by_admin(request)).await;
    Ok(updated?.into_inner())
}

async fn delete(bench: &Bench, name: &str, etag: &str) -> Result<(), Status> {
    let request = DeleteServiceTokenRequest {
        name: name.to_owned(),
        etag: etag.to_owned(),
    };
    let deleted = service(bench).delete_service_token(by_admin(request)).await;
    deleted.map(drop)
}

async fn list(bench: &Bench) -> Vec<ServiceToken> {
    let request = by_admin(ListServiceTokensRequest::default());
    let listed = service(bench).list_service_tokens(request).await;
    listed.unwrap().into_inner().service_tokens
}

#[tokio::test]
async fn the_token_is_shown_once_and_its_hash_is_kept() {
    let bench = Bench::new();
    let made = create(&bench, "ci", Some(60)).await.unwrap();
    assert!(made.token.starts_with("adit_st_"), "{}", made.token);
    assert!(!format!("{made:?}").contains(&made.token));
    let entry = bench.context.store.get("serviceTokens/ci").await.unwrap();
    let record = ServiceTokenRecord::decode(entry.unwrap().value).unwrap();
    let hash = digest(&SHA256, made.token.as_bytes());
    assert_eq!(record.token_sha256, hash.as_ref());
    assert!(!format!("{record:?}").contains(&made.token));
    let again = create(&bench, "ci", None).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    assert_eq!(list(&bench).await, [made.service_token.unwrap()]);
}

#[tokio::test]
async fn a_token_is_disabled_enabled_and_deleted_and_the_log_has_all_of_it() {
    let bench = Bench::new();
    let made = create(&bench, "ci", None).await.unwrap();
    let made = made.service_token.unwrap();
    let wanted = |disabled| ServiceToken {
        name: made.name.clone(),
        disabled,
        ..ServiceToken::default()
    };
    let disabled = update(&bench, wanted(true), &["disabled"]).await.unwrap();
    assert!(disabled.disabled);
    assert_eq!(disabled.display_name, "CI", "what is not named stays");
    let stale = ServiceToken {
        etag: made.etag.clone(),
        ..wanted(false)
    };
    let refused = update(&bench, stale, &["disabled"]).await.unwrap_err();
    assert_eq!(reason(&refused), "ETAG_MISMATCH");
    let enabled = update(&bench, wanted(false), &["disabled"]).await.unwrap();
    let same = update(&bench, wanted(false), &["disabled"]).await.unwrap();
    assert_eq!(enabled, same, "nothing is written where nothing changes");
    let refused = delete(&bench, &made.name, &made.etag).await.unwrap_err();
    assert_eq!(reason(&refused), "ETAG_MISMATCH");
    delete(&bench, &made.name, &same.etag).await.unwrap();
    let gone = delete(&bench, &made.name, "").await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert!(list(&bench).await.is_empty());
    let methods: Vec<_> = bench
        .audit()
        .await
        .into_iter()
        .map(|row| row.method)
        .collect();
    assert_eq!(
        methods,
        [
            "DeleteServiceToken",
            "UpdateServiceToken",
            "UpdateServiceToken",
            "CreateServiceToken"
        ]
    );
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let bench = Bench::new();
    let refused = create(&bench, "CI", Some(0)).await.unwrap_err();
    assert_eq!(fields(&refused), ["service_token_id", "ttl"]);
    create(&bench, "ci", None).await.unwrap();
    let wanted = ServiceToken {
        name: "serviceTokens/ci".to_owned(),
        display_name: "a\nb".to_owned(),
        ..ServiceToken::default()
    };
    let refused = update(&bench, wanted, &["expire_time"]).await.unwrap_err();
    let want = ["update_mask", "service_token.display_name"];
    assert_eq!(fields(&refused), want);
    let refused = delete(&bench, "apiTokens/ci", "").await.unwrap_err();
    assert_eq!(fields(&refused), ["name"]);
}
