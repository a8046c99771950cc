//! Join tokens against a real store.

use prost_types::Duration;
use proto::admin::{
    CreateJoinTokenRequest, CreateJoinTokenResponse, DeleteJoinTokenRequest, GetJoinTokenRequest,
    NodeRole, RevokeJoinTokenRequest, join_tokens_server::JoinTokens as _,
};
use tonic::{Code, Status};

use crate::{
    admin::{
        join_tokens::JoinTokens,
        tests::{Bench, by_admin, fields, reason},
    },
    tokens::{self, TokenError},
};

fn service(bench: &Bench) -> JoinTokens {
    JoinTokens {
        context: bench.context.clone(),
    }
}

async fn create(
    bench: &Bench,
    request: CreateJoinTokenRequest,
) -> Result<CreateJoinTokenResponse, Status> {
    Ok(service(bench)
        .create_join_token(by_admin(request))
        .await?
        .into_inner())
}

fn for_agents() -> CreateJoinTokenRequest {
    CreateJoinTokenRequest {
        role: NodeRole::Agent.into(),
        group: "groups/office".to_owned(),
        ..CreateJoinTokenRequest::default()
    }
}

#[tokio::test]
async fn a_join_token_works_until_it_is_revoked() {
    let bench = Bench::with_office().await;
    let made = create(&bench, for_agents()).await.unwrap();
    let token = made.join_token.unwrap();
    assert_eq!(
        (token.uses, token.used, token.role()),
        (1, 0, NodeRole::Agent)
    );
    let context = &bench.context;
    let issuer = &context.join_issuer;
    let present = || tokens::use_join(issuer, &*context.store, &context.clock, &made.token);
    assert_eq!(present().await.unwrap().group.unwrap().as_str(), "office");
    let request = RevokeJoinTokenRequest {
        name: token.name.clone(),
        etag: token.etag,
    };
    service(&bench)
        .revoke_join_token(by_admin(request))
        .await
        .unwrap();
    assert!(matches!(present().await, Err(TokenError::Revoked)));
    let request = by_admin(GetJoinTokenRequest { name: token.name });
    assert!(
        service(&bench)
            .get_join_token(request)
            .await
            .unwrap()
            .into_inner()
            .revoked
    );
    assert_eq!(bench.audit().await[0].method, "RevokeJoinToken");
}

#[tokio::test]
async fn a_deleted_join_token_is_gone_at_once_and_its_id_is_free() {
    let bench = Bench::with_office().await;
    let order = || CreateJoinTokenRequest {
        join_token_id: "jt".to_owned(),
        ..for_agents()
    };
    let made = create(&bench, order()).await.unwrap();
    let delete = |etag: &str| {
        let request = DeleteJoinTokenRequest {
            name: "joinTokens/jt".to_owned(),
            etag: etag.to_owned(),
        };
        let service = service(&bench);
        async move { service.delete_join_token(by_admin(request)).await }
    };
    let stale = delete("0").await.unwrap_err();
    assert_eq!(reason(&stale), "ETAG_MISMATCH");
    let etag = made.join_token.as_ref().unwrap().etag.clone();
    delete(&etag).await.unwrap();
    assert_eq!(bench.audit().await[0].method, "DeleteJoinToken");
    assert_eq!(delete("").await.unwrap_err().code(), Code::NotFound);
    // Nor does the next one under its name bring it back.
    create(&bench, order()).await.unwrap();
    let context = &bench.context;
    let issuer = &context.join_issuer;
    let presented = tokens::use_join(issuer, &*context.store, &context.clock, &made.token).await;
    assert!(matches!(presented, Err(TokenError::Unknown)));
}

#[tokio::test]
async fn bad_join_tokens_are_refused_with_every_fault() {
    let bench = Bench::with_office().await;
    let check = |request: CreateJoinTokenRequest, want: &'static [&'static str]| {
        let bench = &bench;
        async move { assert_eq!(fields(&create(bench, request).await.unwrap_err()), want) }
    };
    let everything = CreateJoinTokenRequest {
        join_token_id: "Bad Id".to_owned(),
        group: "groups/nobody".to_owned(),
        uses: 10_001,
        ttl: Some(Duration {
            seconds: 366 * 86_400,
            nanos: 0,
        }),
        ..for_agents()
    };
    check(everything, &["join_token_id", "group", "uses", "ttl"]).await;
    check(
        CreateJoinTokenRequest {
            role: 0,
            ..for_agents()
        },
        &["role"],
    )
    .await;
    check(
        CreateJoinTokenRequest {
            group: String::new(),
            ..for_agents()
        },
        &["group"],
    )
    .await;
    check(
        CreateJoinTokenRequest {
            role: NodeRole::Edge.into(),
            ..for_agents()
        },
        &["group"],
    )
    .await;
}
