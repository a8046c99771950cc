//! What each condition holds of.

use super::*;
use crate::{
    access::policy::{ClaimMatch, Unmet, Which},
    name::AppId,
    user::Claim,
};

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_condition_by_itself_decides_whether_a_rule_is_about_a_request() {
    let mut alice = user("alice", &["staff"]);
    alice.claims = vec![Claim {
        name: "team".to_owned(),
        values: vec!["red".to_owned(), "blue".to_owned()],
    }];
    let claim = |value: &str| ClaimMatch {
        name: "team".to_owned(),
        value: value.to_owned(),
    };
    let people = |change: &dyn Fn(&mut People)| {
        let mut people = People::default();
        change(&mut people);
        Who {
            include: people,
            exclude: People::default(),
        }
    };
    let facts = Facts {
        path: "/admin/users".into(),
        country: "DE".parse().ok(),
        ..facts()
    };
    type Change<'c> = Box<dyn Fn(&mut Policy) + 'c>;
    let cases: Vec<(Change<'_>, Result<(), Unmet>)> = vec![
        (Box::new(|_| {}), Ok(())),
        (Box::new(|one| one.who = Who::default()), Err(Unmet::Users)),
        (
            Box::new(|one| one.who = people(&|all| all.users = ["alice".parse().unwrap()].into())),
            Ok(()),
        ),
        (
            Box::new(|one| one.who = people(&|all| all.users = ["bob".parse().unwrap()].into())),
            Err(Unmet::Users),
        ),
        (
            Box::new(|one| one.who = people(&|all| all.claims = vec![claim("blue")])),
            Ok(()),
        ),
        (
            Box::new(|one| one.who = people(&|all| all.claims = vec![claim("green")])),
            Err(Unmet::Users),
        ),
        (
            Box::new(|one| one.who = people(&|all| all.providers = vec![None])),
            Ok(()),
        ),
        (
            Box::new(|one| one.who = people(&|all| all.providers = vec!["entra".parse().ok()])),
            Err(Unmet::Users),
        ),
        (
            Box::new(|one| one.who.exclude.users = ["alice".parse().unwrap()].into()),
            Err(Unmet::ExcludedUsers),
        ),
        (
            Box::new(|one| one.who.exclude.groups = ["staff".parse().unwrap()].into()),
            Err(Unmet::ExcludedUsers),
        ),
        (
            Box::new(|one| one.which = Which::default()),
            Err(Unmet::Apps),
        ),
        (
            Box::new(|one| {
                one.which = Which::default();
                one.which.apps = ["wiki".parse().unwrap()].into();
            }),
            Ok(()),
        ),
        (
            Box::new(|one| {
                one.which = Which::default();
                one.which.apps = ["crm".parse().unwrap()].into();
            }),
            Err(Unmet::Apps),
        ),
        (
            Box::new(|one| one.which.exclude_apps = ["wiki".parse().unwrap()].into()),
            Err(Unmet::ExcludedApps),
        ),
        (
            Box::new(|one| one.which.exclude_apps = ["crm".parse().unwrap()].into()),
            Ok(()),
        ),
        (
            Box::new(|one| one.which.paths = vec!["/Admin".parse().unwrap()]),
            Ok(()),
        ),
        (
            Box::new(|one| one.which.paths = vec!["/adm".parse().unwrap()]),
            Err(Unmet::Paths),
        ),
        (
            Box::new(|one| one.which.methods = vec!["POST".to_owned()]),
            Err(Unmet::Methods),
        ),
        (
            Box::new(|one| one.which.methods = vec!["POST".to_owned(), "GET".to_owned()]),
            Ok(()),
        ),
        (
            Box::new(|one| one.clients = vec![ClientKind::Program]),
            Err(Unmet::Clients),
        ),
        (
            Box::new(|one| one.platforms = vec![Platform::Ios, Platform::Linux]),
            Ok(()),
        ),
        (
            Box::new(|one| one.platforms = vec![Platform::Windows]),
            Err(Unmet::Platforms),
        ),
        (
            Box::new(|one| one.place.include.networks = vec!["192.0.2.0/28".parse().unwrap()]),
            Ok(()),
        ),
        (
            Box::new(|one| one.place.include.networks = vec!["10.0.0.0/8".parse().unwrap()]),
            Err(Unmet::Places),
        ),
        (
            Box::new(|one| one.place.include.locations = vec!["germany".parse().unwrap()]),
            Ok(()),
        ),
        (Box::new(|one| one.place.include.trusted = true), Ok(())),
        (
            Box::new(|one| one.place.exclude.trusted = true),
            Err(Unmet::ExcludedPlaces),
        ),
        (
            Box::new(|one| one.place.include.countries = vec!["FR".parse().unwrap()]),
            Err(Unmet::Places),
        ),
        (
            Box::new(|one| one.place.exclude.countries = vec!["DE".parse().unwrap()]),
            Err(Unmet::ExcludedPlaces),
        ),
        (
            Box::new(|one| one.place.include.unknown_country = true),
            Err(Unmet::Places),
        ),
        // What is not known here narrows nothing.
        (
            Box::new(|one| one.place.include.locations = vec!["nowhere".parse().unwrap()]),
            Ok(()),
        ),
        (
            Box::new(|one| one.place.exclude.locations = vec!["nowhere".parse().unwrap()]),
            Ok(()),
        ),
        (
            Box::new(|one| one.when = when::Expression::new("request.method == 'GET'").ok()),
            Ok(()),
        ),
        (
            Box::new(|one| one.when = when::Expression::new("request.method == 'PUT'").ok()),
            Err(Unmet::When),
        ),
        (
            Box::new(|one| {
                one.schedule = Some(schedule::Schedule {
                    days: vec![schedule::Weekday::Thursday],
                    from: 0,
                    until: 60,
                    offset: 0,
                })
            }),
            Ok(()),
        ),
        (
            Box::new(|one| {
                one.schedule = Some(schedule::Schedule {
                    days: vec![schedule::Weekday::Monday],
                    from: 0,
                    until: 60,
                    offset: 0,
                })
            }),
            Err(Unmet::Schedule),
        ),
    ];
    let wiki: AppId = "wiki".parse().unwrap();
    for (number, (change, want)) in cases.into_iter().enumerate() {
        let rule = changed(Grant::Block, change);
        let rules = set(&[rule]);
        let explained = rules.explain(&wiki, &alice, &facts);
        let matched = explained[0].1.clone().map(|outcome| {
            assert_eq!(outcome, Outcome::Blocked);
        });
        assert_eq!(matched, want, "case {number}");
        let through = decide(&rules, &for_everyone("wiki"), &alice, &facts) == "through";
        assert_eq!(through, want.is_err(), "case {number}");
    }
}

#[test]
fn it_is_known_by_what_rules_tell_users_apart() {
    let when = |text: &str| {
        let when = when::Expression::new(text).unwrap();
        changed(Grant::Block, |one| one.when = Some(when.clone()))
    };
    let claim = ClaimMatch {
        name: "team".to_owned(),
        value: "red".to_owned(),
    };
    let rows = [
        (changed(Grant::Block, |_| {}), (false, false)),
        (
            changed(Grant::Block, |one| {
                one.who.include.groups = ["staff".parse().unwrap()].into();
            }),
            (true, false),
        ),
        (
            changed(Grant::Block, |one| {
                one.who.exclude.groups = ["staff".parse().unwrap()].into();
            }),
            (true, false),
        ),
        (
            changed(Grant::Block, |one| {
                one.who.exclude.claims = vec![claim.clone()];
            }),
            (false, true),
        ),
        (when("!('staff' in user.groups)"), (true, false)),
        (
            when("true && !('red' in user.claims['team'])"),
            (false, true),
        ),
        (when("'red' in user.claims['colour']"), (false, false)),
        (when("user.id == 'alice'"), (false, false)),
    ];
    for (rule, want) in rows {
        let text = format!("{rule:?}");
        let rules = set(&[rule]);
        let app = "wiki".parse().unwrap();
        let found = (rules.names_groups(&app), rules.names_claim(&app, "team"));
        assert_eq!(found, want, "{text}");
    }
}

#[test]
fn rules_that_only_report_do_not_ask_what_tokens_say() {
    let mut rule = changed(Grant::Block, |one| {
        one.who.exclude.groups = ["staff".parse().unwrap()].into();
        one.when = Some(when::Expression::new("'red' in user.claims['team']").unwrap());
    });
    let app = "wiki".parse().unwrap();
    for (state, want) in [(State::On, true), (State::ReportOnly, false)] {
        rule.state = state;
        let rules = set(std::slice::from_ref(&rule));
        let found = [rules.names_groups(&app), rules.names_claim(&app, "team")];
        assert_eq!(found, [want; 2], "{state:?}");
    }
}

#[test]
fn certificates_are_looked_at_where_a_rule_goes_by_them() {
    let asks = Grant::Require(Requirements {
        device_certificate: true,
        ..Requirements::default()
    });
    let when = |text: &str| {
        let when = when::Expression::new(text).unwrap();
        changed(Grant::Block, |one| one.when = Some(when))
    };
    for (policy, want) in [
        (policy(Grant::Block), false),
        (policy(Grant::Require(Requirements::default())), false),
        (policy(asks), true),
        (when("request.method == 'GET'"), false),
        (when("true && !device.certificate"), true),
    ] {
        let all = [changed(Grant::Allow, |_| {}), policy.clone()];
        assert_eq!(set(&all).needs_device(), want, "{policy:?}");
    }
}

#[test]
fn paths_are_looked_at_where_a_rule_goes_by_them() {
    let by_path = changed(Grant::Block, |policy| {
        policy.which.paths = vec!["/admin".parse().unwrap()];
    });
    let by_expression = |text: &str| {
        changed(Grant::Block, |policy| {
            policy.when = Some(when::Expression::new(text).unwrap());
        })
    };
    for (policy, want) in [
        (policy(Grant::Block), false),
        (by_path.clone(), true),
        (by_expression("request.method == 'GET'"), false),
        (by_expression("!request.path.startsWith('/a')"), true),
    ] {
        let all = [policy.clone(), changed(Grant::Allow, |_| {})];
        assert_eq!(set(&all).needs_path(), want, "{policy:?}");
    }
    let off = Policy {
        state: State::Off,
        ..by_path
    };
    assert!(!set(&[off]).needs_path());
}
