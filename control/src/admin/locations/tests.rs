//! Locations and rules against a real store.

use proto::{
    access::{
        Area, Controls, Grant, GrantKind, People, Place, Places, Policy, Requirement, RuleState,
        Which, Who,
    },
    admin::{
        AccessDecision, AccessRule, CreateAccessRuleRequest, CreateLocationRequest,
        DeleteAccessRuleRequest, DeleteLocationRequest, GetAccessExplanationRequest, Location,
        RulePart, UpdateAccessRuleRequest, UpdateLocationRequest,
        access_rules_server::AccessRules as _, locations_server::Locations as _,
    },
};
use tonic::{Code, Status};

use super::Locations;
use crate::admin::{
    access_rules::AccessRules,
    tests::{Bench, app, by_admin, fields},
};

impl Bench {
    fn locations(&self) -> Locations {
        Locations {
            context: self.context.clone(),
        }
    }

    fn rules(&self) -> AccessRules {
        AccessRules {
            context: self.context.clone(),
        }
    }

    async fn create_location(&self, id: &str, networks: &[&str]) -> Result<Location, Status> {
        let request = CreateLocationRequest {
            location_id: id.to_owned(),
            location: Some(Location {
                area: Some(Area {
                    networks: networks.iter().map(ToString::to_string).collect(),
                    ..Area::default()
                }),
                ..Location::default()
            }),
            validate_only: false,
        };
        let created = self.locations().create_location(by_admin(request)).await?;
        Ok(created.into_inner())
    }

    async fn delete_location(&self, id: &str) -> Result<(), Status> {
        let request = DeleteLocationRequest {
            name: format!("locations/{id}"),
            etag: String::new(),
        };
        self.locations()
            .delete_location(by_admin(request))
            .await
            .map(drop)
    }

    async fn create_rule(&self, id: &str, policy: Policy) -> Result<AccessRule, Status> {
        let request = CreateAccessRuleRequest {
            access_rule_id: id.to_owned(),
            access_rule: Some(AccessRule {
                policy: Some(policy),
                ..AccessRule::default()
            }),
            validate_only: false,
        };
        let created = self.rules().create_access_rule(by_admin(request)).await?;
        Ok(created.into_inner())
    }
}

/// For everyone and all apps: more than one factor off these locations.
fn policy(off: &[&str]) -> Policy {
    Policy {
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
        place: Some(Place {
            include: None,
            exclude: Some(Places {
                locations: off.iter().map(ToString::to_string).collect(),
                ..Places::default()
            }),
        }),
        grant: Some(Grant {
            kind: GrantKind::Require.into(),
            requirements: vec![Requirement::Mfa.into()],
            ..Grant::default()
        }),
        ..Policy::default()
    }
}

#[tokio::test]
async fn a_location_that_a_rule_names_is_not_deleted() {
    let bench = Bench::new();
    bench
        .create_location("office", &["192.0.2.0/24"])
        .await
        .unwrap();
    bench
        .create_rule("mfa", policy(&["locations/office"]))
        .await
        .unwrap();
    let refused = bench.delete_location("office").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("accessRules/mfa"));
    let request = DeleteAccessRuleRequest {
        name: "accessRules/mfa".to_owned(),
        etag: String::new(),
    };
    bench
        .rules()
        .delete_access_rule(by_admin(request))
        .await
        .unwrap();
    bench.delete_location("office").await.unwrap();
    let gone = bench.delete_location("office").await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test]
async fn a_location_that_an_expression_names_is_there_and_stays() {
    let bench = Bench::new();
    let badnet = || Policy {
        when: "!('badnet' in client.locations) || user.id == 'bob'".to_owned(),
        ..policy(&[])
    };
    let refused = bench.create_rule("mfa", badnet()).await.unwrap_err();
    assert_eq!(fields(&refused), ["access_rule.policy.when"]);
    bench
        .create_location("badnet", &["192.0.2.0/24"])
        .await
        .unwrap();
    bench.create_rule("mfa", badnet()).await.unwrap();
    let refused = bench.delete_location("badnet").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_rule_names_only_what_is_there() {
    let bench = Bench::new();
    let mut unknown = policy(&["locations/office"]);
    unknown.which = Some(Which {
        apps: vec!["apps/wiki".to_owned()],
        ..Which::default()
    });
    let refused = bench.create_rule("mfa", unknown).await.unwrap_err();
    assert_eq!(
        fields(&refused),
        [
            "access_rule.policy.which.apps[0]",
            "access_rule.policy.place.exclude.locations[0]"
        ]
    );
}

#[tokio::test]
async fn an_update_writes_the_parts_that_it_names_and_checks_the_whole() {
    let bench = Bench::new();
    let rule = bench.create_rule("mfa", policy(&[])).await.unwrap();
    let update = async |policy: Policy, paths: &[&str]| {
        let request = UpdateAccessRuleRequest {
            access_rule: Some(AccessRule {
                name: rule.name.clone(),
                policy: Some(policy),
                ..AccessRule::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.iter().map(ToString::to_string).collect(),
            }),
            ..UpdateAccessRuleRequest::default()
        };
        let updated = bench.rules().update_access_rule(by_admin(request)).await;
        updated.map(tonic::Response::into_inner)
    };
    let off = Policy {
        state: RuleState::Off.into(),
        ..Policy::default()
    };
    let updated = update(off, &["policy.state"]).await.unwrap();
    let want = Policy {
        state: RuleState::Off.into(),
        ..rule.policy.clone().unwrap()
    };
    assert_eq!(updated.policy, Some(want));
    let nothing = Policy {
        controls: Some(Controls::default()),
        ..Policy::default()
    };
    let refused = update(nothing, &["policy.grant", "policy.who"])
        .await
        .unwrap_err();
    assert_eq!(
        fields(&refused),
        [
            "access_rule.policy.who.include",
            "access_rule.policy.grant.kind"
        ]
    );
}

#[tokio::test]
async fn a_location_is_changed_by_its_parts() {
    let bench = Bench::new();
    let made = bench
        .create_location("office", &["192.0.2.0/24"])
        .await
        .unwrap();
    let request = UpdateLocationRequest {
        location: Some(Location {
            name: made.name.clone(),
            area: Some(Area {
                trusted: true,
                ..Area::default()
            }),
            ..Location::default()
        }),
        ..UpdateLocationRequest::default()
    };
    let changed = bench.locations().update_location(by_admin(request)).await;
    let area = changed.unwrap().into_inner().area.unwrap();
    assert!(area.trusted);
    assert_eq!(area.networks, ["192.0.2.0/24"]);
}

#[tokio::test]
async fn what_if_decides_as_edges_do_and_says_why() {
    let bench = Bench::with_office().await;
    let mut wiki = app("wiki.example.test");
    wiki.access = proto::admin::Access::SignIn.into();
    wiki.assignment = Some(proto::admin::Assignment {
        everyone: true,
        ..proto::admin::Assignment::default()
    });
    bench.create_app("wiki", wiki).await.unwrap();
    bench
        .create_location("office", &["192.0.2.0/24"])
        .await
        .unwrap();
    bench
        .create_rule("mfa", policy(&["locations/office"]))
        .await
        .unwrap();
    let ask = async |address: &str, methods: &[&str]| {
        let request = GetAccessExplanationRequest {
            user: "users/alice".to_owned(),
            app: "apps/wiki".to_owned(),
            address: address.to_owned(),
            methods: methods.iter().map(ToString::to_string).collect(),
            ..GetAccessExplanationRequest::default()
        };
        let explained = bench
            .rules()
            .get_access_explanation(by_admin(request))
            .await;
        let explained = explained.unwrap().into_inner();
        let rule = explained.rules[0].clone();
        (explained.decision(), rule.part(), rule.detail)
    };
    let (through, step_up) = (AccessDecision::Through, AccessDecision::StepUp);
    let inside = ask("192.0.2.7", &[]).await;
    assert_eq!(
        inside,
        (
            through,
            RulePart::NoMatch,
            "other excluded places".to_owned()
        )
    );
    let outside = ask("203.0.113.9", &[]).await;
    assert_eq!(
        outside,
        (step_up, RulePart::Lacks, "more than one factor".to_owned())
    );
    let strong = ask("203.0.113.9", &["pwd", "otp"]).await;
    assert_eq!(strong, (through, RulePart::Met, String::new()));
    let request = GetAccessExplanationRequest {
        user: "alice".to_owned(),
        country: "Germany".to_owned(),
        ..GetAccessExplanationRequest::default()
    };
    let refused = bench
        .rules()
        .get_access_explanation(by_admin(request))
        .await;
    assert_eq!(
        fields(&refused.unwrap_err()),
        ["user", "app", "address", "country"]
    );
}
