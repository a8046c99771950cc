//! API tokens against a real store.

use prost_types::Duration;
use proto::admin::{
    CreateApiTokenRequest, CreateApiTokenResponse, DeleteApiTokenRequest, ListApiTokensRequest,
    OperatorRole, api_tokens_server::ApiTokens as _,
};
use tonic::{Code, Status};

use crate::{
    admin::{
        api_tokens::ApiTokens,
        tests::{Bench, by_admin, fields},
    },
    tokens::{self, AuthenticateError},
};

fn service(bench: &Bench) -> ApiTokens {
    ApiTokens {
        context: bench.context.clone(),
    }
}

fn request(id: &str, role: OperatorRole, ttl: Option<i64>) -> CreateApiTokenRequest {
    CreateApiTokenRequest {
        api_token_id: id.to_owned(),
        display_name: String::new(),
        role: role.into(),
        ttl: ttl.map(|seconds| Duration { seconds, nanos: 0 }),
    }
}

async fn create(
    bench: &Bench,
    request: CreateApiTokenRequest,
) -> Result<CreateApiTokenResponse, Status> {
    Ok(service(bench)
        .create_api_token(by_admin(request))
        .await?
        .into_inner())
}

async fn delete(bench: &Bench, name: &str) -> Result<(), Status> {
    let request = DeleteApiTokenRequest {
        name: name.to_owned(),
        etag: String::new(),
    };
    service(bench)
        .delete_api_token(by_admin(request))
        .await
        .map(drop)
}

#[tokio::test]
async fn a_token_works_until_it_is_deleted() {
    let bench = Bench::new();
    let made = create(&bench, request("ci", OperatorRole::Publisher, Some(60)))
        .await
        .unwrap();
    let context = &bench.context;
    let authenticate = || tokens::authenticate_api(&*context.store, &context.clock, &made.token);
    let found = authenticate().await.unwrap();
    assert_eq!(
        (found.name.as_str(), found.role),
        ("apiTokens/ci", OperatorRole::Publisher)
    );
    delete(&bench, "apiTokens/ci").await.unwrap();
    assert!(matches!(
        authenticate().await,
        Err(AuthenticateError::Unknown)
    ));
}

#[tokio::test]
async fn the_secret_is_shown_once_and_not_stored() {
    let bench = Bench::new();
    let made = create(&bench, request("ci", OperatorRole::Admin, None))
        .await
        .unwrap();
    let list = by_admin(ListApiTokensRequest::default());
    let listed = service(&bench)
        .list_api_tokens(list)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.api_tokens, [made.api_token.unwrap()]);
    let everything = bench.context.store.snapshot(&[""]).await.unwrap();
    for entry in everything.entries {
        let held = entry
            .value
            .windows(made.token.len())
            .any(|bytes| bytes == made.token.as_bytes());
        assert!(!held, "{}", entry.key);
    }
}

#[tokio::test]
async fn everything_wrong_with_a_token_is_told_at_once() {
    let bench = Bench::new();
    let bad = CreateApiTokenRequest {
        display_name: "x".repeat(121),
        ..request("Bad Id", OperatorRole::Unspecified, Some(-1))
    };
    let refused = create(&bench, bad).await.unwrap_err();
    assert_eq!(
        fields(&refused),
        ["display_name", "api_token_id", "role", "ttl"]
    );
    create(&bench, request("ci", OperatorRole::Viewer, None))
        .await
        .unwrap();
    let again = create(&bench, request("ci", OperatorRole::Viewer, None))
        .await
        .unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn the_last_lasting_admin_token_stays() {
    let bench = Bench::new();
    create(&bench, request("root", OperatorRole::Admin, None))
        .await
        .unwrap();
    create(&bench, request("guest", OperatorRole::Admin, Some(60)))
        .await
        .unwrap();
    create(&bench, request("viewer", OperatorRole::Viewer, None))
        .await
        .unwrap();
    let refused = delete(&bench, "apiTokens/root").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    create(&bench, request("second", OperatorRole::Admin, None))
        .await
        .unwrap();
    let (one, two) = tokio::join!(
        delete(&bench, "apiTokens/root"),
        delete(&bench, "apiTokens/second")
    );
    assert_ne!(one.is_ok(), two.is_ok(), "{one:?} {two:?}");
}
