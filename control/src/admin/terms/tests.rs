//! Terms against a real store, as operators see them.

use prost::Message as _;
use proto::{
    access::{Grant, GrantKind, People, Policy, Requirement, RuleState, Which, Who},
    admin::{
        AccessRule, CreateAccessRuleRequest, access_rules_server::AccessRules as _,
        terms_of_use_server::TermsOfUse as _,
    },
    control::TermsAcceptanceRecord,
};
use tonic::Code;

use super::*;
use crate::{
    admin::{
        access_rules::AccessRules,
        tests::{Bench, by_admin, fields},
    },
    store::Op,
};

impl Bench {
    fn terms(&self) -> TermsOfUse {
        TermsOfUse {
            context: self.context.clone(),
        }
    }

    async fn create_terms(&self, id: &str, title: &str, text: &str) -> Result<Terms, Status> {
        let request = CreateTermsRequest {
            terms_id: id.to_owned(),
            terms: Some(Terms {
                title: title.to_owned(),
                text: text.to_owned(),
                ..Terms::default()
            }),
            validate_only: false,
        };
        let created = self.terms().create_terms(by_admin(request)).await?;
        Ok(created.into_inner())
    }

    async fn update_terms(&self, terms: Terms, paths: &[&str]) -> Result<Terms, Status> {
        let paths = paths.iter().map(ToString::to_string).collect();
        let request = UpdateTermsRequest {
            terms: Some(terms),
            update_mask: Some(prost_types::FieldMask { paths }),
            ..UpdateTermsRequest::default()
        };
        let updated = self.terms().update_terms(by_admin(request)).await?;
        Ok(updated.into_inner())
    }

    async fn delete_terms(&self, id: &str) -> Result<(), Status> {
        let request = DeleteTermsRequest {
            name: format!("terms/{id}"),
            etag: String::new(),
        };
        let deleted = self.terms().delete_terms(by_admin(request)).await;
        deleted.map(drop)
    }

    async fn ask_for(&self, terms: &str) -> Result<(), Status> {
        let policy = Policy {
            state: RuleState::On.into(),
            who: Some(Who {
                include: Some(People {
                    everyone: true,
                    ..People::default()
                }),
                exclude: None,
            }),
            which: Some(Which {
                all_apps: true,
                ..Which::default()
            }),
            grant: Some(Grant {
                kind: GrantKind::Require.into(),
                requirements: vec![Requirement::Terms.into()],
                terms: vec![terms.to_owned()],
                ..Grant::default()
            }),
            ..Policy::default()
        };
        let request = CreateAccessRuleRequest {
            access_rule_id: "aup".to_owned(),
            access_rule: Some(AccessRule {
                policy: Some(policy),
                ..AccessRule::default()
            }),
            validate_only: false,
        };
        let rules = AccessRules {
            context: self.context.clone(),
        };
        rules.create_access_rule(by_admin(request)).await.map(drop)
    }
}

#[tokio::test]
async fn another_text_is_another_version_and_another_title_is_not() {
    let bench = Bench::new();
    let made = bench.create_terms("aup", "Use", "Be kind.").await.unwrap();
    // As `sha256sum` says it.
    let version = "5499befb38dbf3fcc08107141cb2a9e7f42a6aae403361dc3601b8296d7967ea";
    assert_eq!(made.version, version);
    let titled = Terms {
        title: "Acceptable use".to_owned(),
        ..made.clone()
    };
    let titled = bench.update_terms(titled, &["title"]).await.unwrap();
    assert_eq!(titled.version, made.version);
    let other = Terms {
        text: "Be very kind.".to_owned(),
        ..titled.clone()
    };
    let other = bench.update_terms(other, &["text"]).await.unwrap();
    assert_ne!(other.version, made.version);
    assert_eq!(other.title, "Acceptable use");
    let service = bench.terms();
    let listed = service.list_terms(by_admin(ListTermsRequest::default()));
    let listed = listed.await.unwrap().into_inner().terms;
    assert_eq!((listed.len(), &*listed[0].text), (1, ""));
    let stale = bench.update_terms(titled, &["title"]).await.unwrap_err();
    assert_eq!(stale.code(), Code::Aborted);
    let bad = bench.create_terms("bad", "", "").await.unwrap_err();
    assert_eq!(fields(&bad), ["terms.title", "terms.text"]);
    let again = bench.create_terms("aup", "Use", "x").await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn a_rule_asks_only_for_terms_that_are_there_and_keeps_them() {
    let bench = Bench::new();
    let missing = bench.ask_for("terms/aup").await.unwrap_err();
    assert_eq!(fields(&missing), ["access_rule.policy.grant.terms[0]"]);
    bench.create_terms("aup", "Use", "Be kind.").await.unwrap();
    bench.ask_for("terms/aup").await.unwrap();
    let refused = bench.delete_terms("aup").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("accessRules/aup"), "{refused:?}");
    bench.create_terms("other", "Use", "x").await.unwrap();
    bench.delete_terms("other").await.unwrap();
}

#[tokio::test]
async fn there_are_only_so_many() {
    let bench = Bench::new();
    for number in 0..TERMS_MAX {
        let made = bench.create_terms(&format!("t{number}"), "T", "x").await;
        made.unwrap();
    }
    let refused = bench.create_terms("more", "T", "x").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn acceptances_are_listed_by_terms_and_by_user() {
    let bench = Bench::new();
    for (terms, provider, user) in [
        ("aup", "", "alice"),
        ("aup", "entra", "alice"),
        ("aup", "", "bob"),
        ("guests", "", "bob"),
    ] {
        let record = TermsAcceptanceRecord {
            terms: terms.to_owned(),
            user: user.to_owned(),
            provider: provider.to_owned(),
            version: vec![7; 32].into(),
            accepted_ms: 1_800_000_000_000,
            client: "192.0.2.1".to_owned(),
            request_id: "r".to_owned(),
        };
        let key = format!("termsAcceptances/{terms}/{provider}-/{user}/0");
        let put = Op::Put(key.into(), record.encode_to_vec().into());
        bench
            .context
            .store
            .txn(Vec::new(), vec![put])
            .await
            .unwrap();
    }
    let list = async |terms: &str, user: &str, page_size| {
        let request = ListTermsAcceptancesRequest {
            page_size,
            page_token: String::new(),
            terms: terms.to_owned(),
            user: user.to_owned(),
        };
        let listed = bench
            .terms()
            .list_terms_acceptances(by_admin(request))
            .await;
        listed.map(Response::into_inner)
    };
    for (terms, user, count) in [
        ("", "", 4),
        ("terms/aup", "", 3),
        ("terms/aup", "users/alice", 2),
        ("", "users/bob", 2),
        ("terms/none", "", 0),
    ] {
        let listed = list(terms, user, 0).await.unwrap();
        assert_eq!(listed.acceptances.len(), count, "{terms} {user}");
    }
    let first = list("terms/aup", "", 1).await.unwrap();
    assert!(!first.next_page_token.is_empty());
    let one = &first.acceptances[0];
    assert_eq!(one.version, "07".repeat(32));
    assert_eq!(one.accept_time.unwrap().seconds, 1_800_000_000);
    for (terms, user) in [("aup", ""), ("", "alice")] {
        let refused = list(terms, user, 0).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}
