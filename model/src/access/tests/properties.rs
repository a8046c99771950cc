//! What holds of any rules and any request.

use proptest::prelude::*;

use super::*;
use crate::access::facts::Country;

fn any_people() -> impl Strategy<Value = People> {
    let users = prop::collection::hash_set(prop::sample::select(vec!["alice", "bob"]), 0..2);
    let groups = prop::collection::hash_set(prop::sample::select(vec!["staff", "ops"]), 0..2);
    let of_provider = prop::bool::weighted(0.2);
    (any::<bool>(), users, groups, of_provider).prop_map(|(everyone, users, groups, own)| People {
        everyone,
        providers: own.then_some(None).into_iter().collect(),
        users: users.into_iter().map(|id| id.parse().unwrap()).collect(),
        groups: groups.into_iter().map(|id| id.parse().unwrap()).collect(),
        ..People::default()
    })
}

fn any_places() -> impl Strategy<Value = Places> {
    let locations = prop::collection::vec(
        prop::sample::select(vec!["office", "germany", "gone"]),
        0..2,
    );
    let networks = prop::collection::vec(
        prop::sample::select(vec![
            "192.0.2.0/25",
            "192.0.2.1/32",
            "203.0.113.0/24",
            "::/0",
        ]),
        0..3,
    );
    (networks, locations, any::<bool>(), any::<bool>()).prop_map(
        |(networks, locations, trusted, unknown)| Places {
            networks: networks
                .into_iter()
                .map(|text| text.parse().unwrap())
                .collect(),
            locations: locations
                .into_iter()
                .map(|id| id.parse().unwrap())
                .collect(),
            trusted,
            unknown_country: unknown,
            ..Places::default()
        },
    )
}

fn any_grant() -> impl Strategy<Value = Grant> {
    prop_oneof![
        Just(Grant::Allow),
        Just(Grant::Block),
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(mfa, class, fresh, one_of)| require(Requirements {
                mfa,
                classes: if class {
                    vec!["gold".to_owned()]
                } else {
                    vec![]
                },
                sign_in_within: fresh.then_some(10 * MINUTE),
                device_certificate: !(mfa || class || fresh),
                terms: Vec::new(),
                one_of,
            })
        ),
    ]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let state = prop::sample::select(State::ALL.to_vec());
    let apps = prop::collection::hash_set(prop::sample::select(vec!["wiki", "crm"]), 0..2);
    let who = (any_people(), any_people());
    let place = (any_places(), any_places());
    (state, who, (any::<bool>(), apps), place, any_grant()).prop_map(
        |(state, (include, exclude), (all_apps, apps), (inside, outside), grant)| {
            let mut policy = Policy::new(grant);
            policy.state = state;
            policy.who = Who { include, exclude };
            policy.which.all_apps = all_apps;
            policy.which.apps = apps.into_iter().map(|id| id.parse().unwrap()).collect();
            policy.place.include = inside;
            policy.place.exclude = outside;
            policy
        },
    )
}

fn any_request() -> impl Strategy<Value = (User, Facts<'static>)> {
    let address = prop::sample::select(vec!["192.0.2.1", "203.0.113.1", "2001:db8::7"]);
    let country = prop::sample::select(vec![None, Some("DE"), Some("FR")]);
    let id = prop::sample::select(vec!["alice", "bob"]);
    let age = prop::sample::select(vec![0, 3_600_000]);
    (id, any::<bool>(), any::<bool>(), age, address, country).prop_map(
        |(id, staff, strong, age, address, country)| {
            let mut user = user(id, if staff { &["staff"] } else { &[] });
            if strong {
                user.authentication.methods.push("otp".to_owned());
            }
            user.authentication.at_ms = NOW - age;
            let facts = Facts {
                country: country.and_then(|code| code.parse::<Country>().ok()),
                ..from(address)
            };
            (user, facts)
        },
    )
}

proptest! {
    #[test]
    fn one_more_rule_never_lets_anybody_in(
        policies in prop::collection::vec(any_policy(), 0..5),
        more in any_policy(),
        (user, facts) in any_request(),
    ) {
        let before = verdict(&policies, &user, &facts);
        let mut all = policies;
        all.push(more);
        let after = verdict(&all, &user, &facts);
        prop_assert!(before == "through" || after != "through", "{before} {after}");
        prop_assert!(!before.starts_with("blocked") || after == before, "{before} {after}");
    }

    #[test]
    fn a_rule_that_only_reports_changes_nothing(
        policies in prop::collection::vec(any_policy(), 0..5),
        more in any_policy(),
        (user, facts) in any_request(),
    ) {
        let before = verdict(&policies, &user, &facts);
        let mut all = policies;
        all.push(Policy { state: State::ReportOnly, ..more });
        prop_assert_eq!(verdict(&all, &user, &facts), before);
    }

    #[test]
    fn the_order_of_rules_makes_no_difference_to_who_gets_in(
        policies in prop::collection::vec(any_policy(), 0..5),
        (user, facts) in any_request(),
    ) {
        let mut other = policies.clone();
        other.reverse();
        let word = |policies: &[Policy]| {
            let said = verdict(policies, &user, &facts);
            (said == "through", said.starts_with("blocked"))
        };
        prop_assert_eq!(word(&policies), word(&other));
    }

    #[test]
    fn an_explanation_says_what_the_decision_does(
        policies in prop::collection::vec(any_policy(), 0..5),
        (user, facts) in any_request(),
    ) {
        let rules = set(&policies);
        let wiki = for_everyone("wiki");
        let explained = rules.explain(&wiki.id, &user, &facts);
        let counts = explained.iter().filter(|(rule, _)| rule.policy().state == State::On);
        let outcomes: Vec<_> = counts.filter_map(|(_, part)| part.as_ref().ok()).collect();
        let said = decide(&rules, &wiki, &user, &facts);
        let is_blocked = outcomes.iter().any(|one| **one == Outcome::Blocked);
        let is_met = outcomes.iter().all(|one| **one == Outcome::Met);
        prop_assert_eq!(said.starts_with("blocked"), is_blocked);
        prop_assert_eq!(said == "through", is_met);
    }

    /// More rules than one word of an index marks.
    #[test]
    fn no_rule_that_is_about_a_request_is_passed_over(
        policies in prop::collection::vec(any_policy(), 0..150),
        (user, facts) in any_request(),
    ) {
        let rules = set(&policies);
        let wiki = for_everyone("wiki");
        let explained = rules.explain(&wiki.id, &user, &facts);
        let explained = explained.into_iter().filter(|(_, part)| part.is_ok());
        let explained: Vec<_> = explained.map(|(rule, _)| rule.id().clone()).collect();
        let mut seen = Vec::new();
        let caller = Caller::User(Arc::new(user));
        let mut watch = |part: Part<'_>| seen.push(part.rule.id().clone());
        let _ = authorise(&wiki, caller, &rules, || facts.clone(), &mut watch);
        prop_assert_eq!(seen, explained);
    }
}
