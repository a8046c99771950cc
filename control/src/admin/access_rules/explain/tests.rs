//! What-if against a real store, where an edge looks at more than the request.

use proto::{
    access::{Grant, GrantKind, People, Policy, Requirement, RuleState, Which, Who},
    admin::{
        AccessRule, Assignment, ClientCa, ClientCaHolders, CreateAccessRuleRequest,
        CreateClientCaRequest, access_rules_server::AccessRules as _,
        client_cas_server::ClientCas as _,
    },
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};

use super::*;
use crate::admin::{
    access_rules::AccessRules,
    client_cas::ClientCas,
    tests::{Bench, app as app_at, by_admin},
};

async fn create_ca(bench: &Bench, id: &str, holders: ClientCaHolders) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let request = CreateClientCaRequest {
        client_ca_id: id.to_owned(),
        client_ca: Some(ClientCa {
            holders: holders.into(),
            ca_pem: certificate.pem(),
            ..ClientCa::default()
        }),
        validate_only: false,
    };
    let service = ClientCas {
        context: bench.context.clone(),
    };
    service.create_client_ca(by_admin(request)).await.unwrap();
}

async fn create_app(bench: &Bench, id: &str, client_cas: &[&str]) {
    let app = admin::App {
        access: admin::Access::SignIn.into(),
        assignment: Some(Assignment {
            everyone: true,
            ..Assignment::default()
        }),
        client_cas: client_cas.iter().map(ToString::to_string).collect(),
        ..app_at(&format!("{id}.example.test"))
    };
    bench.create_app(id, app).await.unwrap();
}

async fn create_rule(bench: &Bench, change: impl FnOnce(&mut Policy)) {
    let mut policy = Policy {
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
        ..Policy::default()
    };
    change(&mut policy);
    let request = CreateAccessRuleRequest {
        access_rule_id: "rule".to_owned(),
        access_rule: Some(AccessRule {
            policy: Some(policy),
            ..AccessRule::default()
        }),
        validate_only: false,
    };
    let service = AccessRules {
        context: bench.context.clone(),
    };
    service.create_access_rule(by_admin(request)).await.unwrap();
}

async fn ask(bench: &Bench, app: &str, method: &str) -> (AccessDecision, String) {
    let request = GetAccessExplanationRequest {
        user: "users/alice".to_owned(),
        app: format!("apps/{app}"),
        address: "192.0.2.7".to_owned(),
        method: method.to_owned(),
        device_certificate: true,
        ..GetAccessExplanationRequest::default()
    };
    let explained = explain(&bench.context, &request).await.unwrap();
    (explained.decision(), explained.summary)
}

#[tokio::test]
async fn certificates_of_devices_count_where_the_app_names_a_ca_of_theirs() {
    let bench = Bench::with_office().await;
    create_ca(&bench, "laptops", ClientCaHolders::Devices).await;
    create_ca(&bench, "jobs", ClientCaHolders::Programs).await;
    create_rule(&bench, |policy| {
        policy.grant = Some(Grant {
            kind: GrantKind::Require.into(),
            requirements: vec![Requirement::DeviceCertificate.into()],
            ..Grant::default()
        });
    })
    .await;
    for (app, client_cas, want) in [
        ("both", &["clientCas/jobs", "clientCas/laptops"][..], true),
        ("programs", &["clientCas/jobs"], false),
        ("none", &[], false),
    ] {
        create_app(&bench, app, client_cas).await;
        let (decision, summary) = ask(&bench, app, "GET").await;
        assert_eq!(decision == AccessDecision::Through, want, "{app} {summary}");
        assert_eq!(summary.ends_with(NO_DEVICES), !want, "{app} {summary}");
    }
}

#[tokio::test]
async fn a_method_counts_in_capitals_too() {
    let bench = Bench::with_office().await;
    create_app(&bench, "wiki", &[]).await;
    create_rule(&bench, |policy| {
        policy.when = "request.method == 'DELETE'".to_owned();
        policy.grant = Some(Grant {
            kind: GrantKind::Block.into(),
            ..Grant::default()
        });
    })
    .await;
    for (method, want) in [
        ("GET", AccessDecision::Through),
        ("DELETE", AccessDecision::Blocked),
        ("delete", AccessDecision::Blocked),
    ] {
        let (decision, _) = ask(&bench, "wiki", method).await;
        assert_eq!(decision, want, "{method}");
    }
}
