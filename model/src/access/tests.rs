//! Decisions: who gets in, under which rules.

mod conditions;
mod doubt;
mod properties;

use std::{cell::RefCell, collections::HashMap};

use super::{
    facts::{ClientKind, Platform},
    needs::Requirements,
    place::{Location, Places},
    policy::{Controls, Grant, NoDownload, People, Policy, State, Who},
    ruleset::{Outcome, Unreadable},
    *,
};
use crate::{
    app::Assignment,
    name::{LocationId, TermsId},
    terms::{Acceptance, Terms, TermsInForce, TermsVersion},
};

const NOW: i64 = 1_795_651_200_000;
const MINUTE: Duration = Duration::from_secs(60);

/// A GET by a browser in the documentation's network.
pub(super) fn facts() -> Facts<'static> {
    Facts {
        host: "wiki.example.com",
        method: "GET",
        other_methods: &[],
        path: "/".into(),
        path_is_ambiguous: false,
        address: "192.0.2.1".parse().unwrap(),
        country: None,
        client: ClientKind::Browser,
        platform: Platform::Linux,
        has_device_certificate: false,
        now_ms: NOW,
        session_began_ms: NOW,
        seen_ms: None,
    }
}

pub(super) fn user(id: &str, groups: &[&str]) -> User {
    let mut user = User::new(id.parse().unwrap());
    user.groups = groups.iter().map(|group| group.parse().unwrap()).collect();
    user.authentication.methods = vec!["pwd".to_owned()];
    user.authentication.at_ms = NOW;
    user
}

pub(super) fn location(networks: &[&str]) -> Location {
    Location {
        networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
        ..Location::default()
    }
}

fn app(id: &str, access: Access) -> App {
    App::new(id.parse().unwrap(), "office".parse().unwrap(), access)
}

fn for_everyone(id: &str) -> App {
    let assignment = Assignment {
        everyone: true,
        ..Assignment::default()
    };
    app(id, Access::SignIn(assignment))
}

/// About everyone and every app.
fn policy(grant: Grant) -> Policy {
    let mut policy = Policy::new(grant);
    policy.who.include.everyone = true;
    policy.which.all_apps = true;
    policy
}

fn changed(grant: Grant, change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = policy(grant);
    change(&mut policy);
    policy
}

fn require(requirements: Requirements) -> Grant {
    Grant::Require(requirements)
}

fn mfa() -> Grant {
    require(Requirements {
        mfa: true,
        ..Requirements::default()
    })
}

fn within(span: Duration) -> Grant {
    require(Requirements {
        sign_in_within: Some(span),
        ..Requirements::default()
    })
}

/// "office" is trusted; "germany" is a country.
fn locations() -> HashMap<LocationId, Location> {
    let office = Location {
        trusted: true,
        ..location(&["192.0.2.0/24", "2001:db8::/32"])
    };
    let germany = Location {
        countries: vec!["DE".parse().unwrap()],
        ..Location::default()
    };
    HashMap::from([
        ("office".parse().unwrap(), office),
        ("germany".parse().unwrap(), germany),
    ])
}

fn set(policies: &[Policy]) -> RuleSet {
    let rules = policies.iter().enumerate().map(|(number, policy)| {
        let id = format!("r{number:03}").parse().unwrap();
        (id, Arc::new(policy.clone()))
    });
    RuleSet::new(rules, &locations(), Unreadable::default())
}

/// What a decision comes to, in one word; with what is needed, those of it that are.
fn decide(rules: &RuleSet, app: &App, user: &User, facts: &Facts<'_>) -> String {
    let caller = Caller::User(Arc::new(user.clone()));
    let decided = authorise(app, caller, rules, || facts.clone(), &mut |_| {});
    match decided {
        Ok(_) => "through".to_owned(),
        Err(Denial::NotSignedIn) => "not signed in".to_owned(),
        Err(Denial::OtherProvider) => "other provider".to_owned(),
        Err(
            Denial::NotAssigned(_) | Denial::ServiceNotAssigned(_) | Denial::ProgramNotAssigned(_),
        ) => "not assigned".to_owned(),
        Err(Denial::Blocked(denial)) => format!("blocked {}", denial.rule),
        Err(Denial::Lacking { needs, denial }) => {
            let mut words = vec![denial.rule.to_string()];
            words.extend(needs.mfa.then(|| "mfa".to_owned()));
            words.extend(needs.classes);
            let span = needs.sign_in_within;
            words.extend(span.map(|span| format!("{}s", span.as_secs())));
            words.extend(needs.device_certificate.then(|| "device".to_owned()));
            words.join(" ")
        }
        Err(Denial::UnreadableRule) => "unreadable".to_owned(),
    }
}

fn verdict(policies: &[Policy], user: &User, facts: &Facts<'_>) -> String {
    decide(&set(policies), &for_everyone("wiki"), user, facts)
}

fn from(address: &str) -> Facts<'static> {
    Facts {
        address: address.parse().unwrap(),
        ..facts()
    }
}

#[test]
fn only_the_assigned_get_a_permit_and_only_when_signed_in() {
    let someone = |id: &str| Arc::new(User::new(id.parse().unwrap()));
    let user = |id| Caller::User(someone(id));
    let open = app("wiki", Access::Passthrough);
    let closed = app(
        "wiki",
        Access::SignIn(Assignment {
            users: ["alice".parse().unwrap()].into(),
            ..Assignment::default()
        }),
    );
    let rules = RuleSet::default();
    for (app, caller, want) in [
        (&open, Caller::Anonymous, None),
        (&open, user("bob"), None),
        (&closed, Caller::Anonymous, Some(Denial::NotSignedIn)),
        (
            &closed,
            user("bob"),
            Some(Denial::NotAssigned(someone("bob"))),
        ),
        (&closed, user("alice"), None),
    ] {
        let decided = authorise(app, caller.clone(), &rules, facts, &mut |_| {});
        assert_eq!(decided.err(), want, "{caller:?}");
    }
}

#[test]
fn an_app_takes_the_word_of_the_providers_that_it_names() {
    let rules = RuleSet::default();
    let mut app = for_everyone("wiki");
    for (named, provider, is_good) in [
        (&[][..], None, true),
        (&[], Some("entra"), true),
        (&["local"], None, true),
        (&["local"], Some("entra"), false),
        (&["entra"], None, false),
        (&["entra"], Some("entra"), true),
        (&["entra"], Some("keycloak"), false),
        (&["entra", "local"], None, true),
    ] {
        app.identity_providers = named.iter().map(|id| id.parse().unwrap()).collect();
        let mut alice = user("alice", &[]);
        alice.authentication.provider = provider.map(|id: &str| id.parse().unwrap());
        let want = if is_good { "through" } else { "other provider" };
        let said = decide(&rules, &app, &alice, &facts());
        assert_eq!(said, want, "{named:?} {provider:?}");
    }
}

#[test]
fn rules_come_after_sign_in_and_assignment_and_leave_open_apps_alone() {
    let rules = set(&[policy(Grant::Block)]);
    let alice = user("alice", &[]);
    let nobodys = app("wiki", Access::SignIn(Assignment::default()));
    let open = app("wiki", Access::Passthrough);
    assert_eq!(decide(&rules, &nobodys, &alice, &facts()), "not assigned");
    assert_eq!(decide(&rules, &open, &alice, &facts()), "through");
    let unsigned = authorise(
        &nobodys,
        Caller::Anonymous,
        &rules,
        || unreachable!("nobody needs facts of whom there is nothing to decide"),
        &mut |_| {},
    );
    assert_eq!(unsigned.err(), Some(Denial::NotSignedIn));
}

/// The form that conditional access of published apps took in 2015: for each app, for all or for groups with exceptions, ask for two
/// factors, ask for them off the work network, or block off the work network.
#[test]
fn the_three_rules_of_2015_hold_for_all_or_groups_with_exceptions() {
    let off_site =
        |policy: &mut Policy| policy.place.exclude.locations = vec!["office".parse().unwrap()];
    let audience = |policy: &mut Policy| {
        policy.who.include = People {
            groups: ["staff".parse().unwrap()].into(),
            ..People::default()
        };
        policy.who.exclude.groups = ["operators".parse().unwrap()].into();
    };
    let rules = [
        policy(mfa()),
        changed(mfa(), off_site),
        changed(Grant::Block, off_site),
        changed(mfa(), audience),
        changed(Grant::Block, |policy| {
            off_site(policy);
            audience(policy);
        }),
    ];
    let mut alice = user("alice", &["staff"]);
    let operator = user("olga", &["staff", "operators"]);
    let guest = user("gus", &[]);
    let (inside, outside) = (from("192.0.2.7"), from("203.0.113.9"));
    for (who, place, want) in [
        (
            &alice,
            &inside,
            ["mfa", "through", "through", "mfa", "through"],
        ),
        (
            &alice,
            &outside,
            ["mfa", "mfa", "blocked", "mfa", "blocked"],
        ),
        (
            &operator,
            &inside,
            ["mfa", "through", "through", "through", "through"],
        ),
        (
            &operator,
            &outside,
            ["mfa", "mfa", "blocked", "through", "through"],
        ),
        (
            &guest,
            &outside,
            ["mfa", "mfa", "blocked", "through", "through"],
        ),
    ] {
        for (rule, want) in rules.iter().zip(want) {
            let said = verdict(std::slice::from_ref(rule), who, place);
            assert!(said.contains(want), "{} {rule:?}: {said}", who.id);
        }
    }
    alice.authentication.methods.push("otp".to_owned());
    for (rule, want) in rules
        .iter()
        .zip(["through", "through", "blocked", "through", "blocked"])
    {
        let said = verdict(std::slice::from_ref(rule), &alice, &outside);
        assert!(said.contains(want), "{rule:?}: {said}");
    }
}

#[test]
fn grants_are_held_against_how_the_user_signed_in() {
    let asked = |one_of| Requirements {
        mfa: true,
        classes: vec!["gold".to_owned(), "silver".to_owned()],
        sign_in_within: Some(10 * MINUTE),
        device_certificate: true,
        terms: Vec::new(),
        one_of,
    };
    let (all, any) = (policy(require(asked(false))), policy(require(asked(true))));
    let mut alice = user("alice", &[]);
    alice.authentication.at_ms = NOW - 601_000;
    let with = |user: &User, device| {
        let facts = Facts {
            has_device_certificate: device,
            ..facts()
        };
        [&all, &any].map(|rule| verdict(std::slice::from_ref(rule), user, &facts))
    };
    assert_eq!(
        with(&alice, false),
        ["r000 mfa gold silver 600s device", "r000 600s"]
    );
    assert_eq!(with(&alice, true), ["r000 mfa gold silver 600s", "through"]);
    alice.authentication.class = "silver".to_owned();
    assert_eq!(with(&alice, false), ["r000 mfa 600s device", "through"]);
    alice.authentication.methods.push("otp".to_owned());
    alice.authentication.at_ms = NOW - 600_000;
    assert_eq!(with(&alice, false), ["r000 device", "through"]);
    assert_eq!(with(&alice, true), ["through", "through"]);
    let never = User {
        authentication: crate::user::Authentication::default(),
        ..alice
    };
    assert_eq!(
        verdict(&[policy(within(MINUTE))], &never, &facts()),
        "r000 60s"
    );
}

#[test]
fn terms_are_asked_for_until_their_text_of_now_is_accepted() {
    let [aup, guests]: [TermsId; 2] = ["aup", "guests"].map(|id| id.parse().unwrap());
    let asks = |mfa, one_of| {
        policy(require(Requirements {
            mfa,
            terms: vec![aup.clone(), guests.clone()],
            one_of,
            ..Requirements::default()
        }))
    };
    let in_force = |again_after| {
        let terms = |byte| Terms {
            version: TermsVersion([byte; 32]),
            again_after,
        };
        TermsInForce::from([(aup.clone(), terms(1)), (guests.clone(), terms(2))])
    };
    let accepts = |user: &mut User, terms: &TermsId, byte| {
        user.accepted.push(Acceptance {
            terms: terms.clone(),
            version: TermsVersion([byte; 32]),
            at_ms: NOW - 60_000,
        });
    };
    let lacks = |rule: Policy, in_force: TermsInForce, user: &User| {
        let rule = ("r".parse().unwrap(), Arc::new(rule));
        let rules = RuleSet::new([rule], &HashMap::new(), Unreadable::default());
        let rules = rules.with_terms(in_force);
        assert!(rules.is_timed(&"wiki".parse().unwrap()));
        let caller = Caller::User(Arc::new(user.clone()));
        let wiki = for_everyone("wiki");
        match authorise(&wiki, caller, &rules, facts, &mut |_| {}) {
            Ok(_) => Vec::new(),
            Err(Denial::Lacking { needs, .. }) => {
                assert_eq!(needs.are_terms_alone(), !needs.mfa && !needs.is_empty());
                let mfa = needs.mfa.then(|| "mfa".to_owned()).into_iter();
                mfa.chain(needs.terms.iter().map(ToString::to_string))
                    .collect()
            }
            Err(other) => panic!("{other}"),
        }
    };
    let mut alice = user("alice", &[]);
    assert_eq!(
        lacks(asks(true, false), in_force(None), &alice),
        ["mfa", "aup", "guests"]
    );
    assert_eq!(
        lacks(asks(true, true), in_force(None), &alice),
        ["aup", "guests"],
        "nothing is easier"
    );
    accepts(&mut alice, &aup, 1);
    accepts(&mut alice, &guests, 1);
    assert_eq!(
        lacks(asks(false, false), in_force(None), &alice),
        ["guests"]
    );
    accepts(&mut alice, &guests, 2);
    let none: [&str; 0] = [];
    assert_eq!(lacks(asks(true, true), in_force(None), &alice), none);
    assert_eq!(
        lacks(asks(false, false), in_force(Some(MINUTE)), &alice),
        none
    );
    assert_eq!(
        lacks(asks(false, false), in_force(Some(MINUTE / 2)), &alice),
        ["aup", "guests"]
    );
    assert_eq!(
        lacks(asks(false, false), TermsInForce::new(), &alice),
        ["aup", "guests"]
    );
}

#[test]
fn every_rule_that_matches_must_be_met_and_a_block_wins() {
    let alice = user("alice", &["staff"]);
    let stale = Facts {
        now_ms: NOW + 3_600_000,
        ..facts()
    };
    let rules = [
        policy(Grant::Allow),
        policy(mfa()),
        policy(within(30 * MINUTE)),
        policy(within(5 * MINUTE)),
    ];
    assert_eq!(verdict(&rules, &alice, &stale), "r001 mfa 300s");
    let mut blocked = rules.to_vec();
    blocked.push(policy(Grant::Block));
    assert_eq!(verdict(&blocked, &alice, &stale), "blocked r004");
    assert_eq!(verdict(&rules[..1], &alice, &stale), "through");
}

#[test]
fn sessions_are_as_long_as_the_strictest_rule_has_it() {
    let alice = user("alice", &[]);
    let control =
        |change: &dyn Fn(&mut Controls)| changed(Grant::Allow, |one| change(&mut one.controls));
    let rules = [
        control(&|one| one.session_limit = Some(60 * MINUTE)),
        control(&|one| one.sign_in_every = Some(30 * MINUTE)),
        control(&|one| one.idle_limit = Some(10 * MINUTE)),
    ];
    let at = |minutes: i64, seen: Option<i64>| Facts {
        now_ms: NOW + minutes * 60_000,
        seen_ms: seen.map(|seen| NOW + seen * 60_000),
        ..facts()
    };
    for (facts, want) in [
        (at(5, Some(0)), "through"),
        (at(11, Some(0)), "r002 600s"),
        (at(11, Some(5)), "through"),
        (at(31, Some(31)), "r001 1800s"),
        (at(61, Some(61)), "r000 1800s"),
        (at(61, None), "r000 1800s"),
    ] {
        assert_eq!(
            verdict(&rules, &alice, &facts),
            want,
            "{}",
            facts.now_ms - NOW
        );
    }
    let set = set(&rules);
    let app = for_everyone("wiki");
    let caller = Caller::User(Arc::new(alice));
    let permit = authorise(&app, caller, &set, facts, &mut |_| {}).unwrap();
    assert_eq!(permit.idle_limit(), Some(10 * MINUTE));
    assert!(set.is_timed(&app.id));
}

#[test]
fn what_may_not_be_taken_away_is_on_the_permit() {
    let rule = changed(Grant::Allow, |one| {
        one.controls.no_download = NoDownload {
            types: vec!["application/pdf".to_owned()],
            attachments: false,
        };
    });
    let rules = set(&[rule]);
    let app = for_everyone("wiki");
    let caller = Caller::User(Arc::new(user("alice", &[])));
    let permit = authorise(&app, caller, &rules, facts, &mut |_| {}).unwrap();
    assert!(permit.strings().keep_back("application/pdf", false));
    assert!(!permit.strings().keep_back("text/html", true));
}

#[test]
fn what_cannot_be_read_lets_nobody_in() {
    let rules = |all_apps, apps: &[&str]| {
        let unreadable = Unreadable {
            all_apps,
            apps: apps.iter().map(|app| app.parse().unwrap()).collect(),
            locations: false,
        };
        RuleSet::new([], &HashMap::new(), unreadable)
    };
    let alice = user("alice", &[]);
    let said = |rules: &RuleSet, app: &str| decide(rules, &for_everyone(app), &alice, &facts());
    assert_eq!(said(&rules(true, &[]), "wiki"), "unreadable");
    assert_eq!(said(&rules(false, &["wiki"]), "wiki"), "unreadable");
    assert_eq!(said(&rules(false, &["wiki"]), "crm"), "through");
}

#[test]
fn a_location_that_is_not_known_makes_no_rule_let_more_through() {
    let alice = user("alice", &[]);
    let app = for_everyone("wiki");
    let block = |when: &str| {
        let when = when::Expression::new(when).unwrap();
        changed(Grant::Block, |policy| policy.when = Some(when.clone()))
    };
    for (when, want) in [
        ("'germany' in client.locations", "through"),
        ("'office' in client.locations", "blocked r000"),
        ("'gone' in client.locations", "blocked r000"),
        ("!('gone' in client.locations)", "blocked r000"),
        (
            "false && ('gone' in client.locations) == true",
            "blocked r000",
        ),
    ] {
        let rules = set(&[block(when)]);
        let said = decide(&rules, &app, &alice, &from("192.0.2.7"));
        assert_eq!(said, want, "{when}");
    }
    // One that cannot be read may be one of those that are trusted.
    let trusted = changed(Grant::Block, |policy| policy.place.include.trusted = true);
    for (locations_unreadable, want) in [(false, "through"), (true, "blocked r000")] {
        let unreadable = Unreadable {
            locations: locations_unreadable,
            ..Unreadable::default()
        };
        let rule = ("r000".parse().unwrap(), Arc::new(trusted.clone()));
        let rules = RuleSet::new([rule], &locations(), unreadable);
        let said = decide(&rules, &app, &alice, &from("203.0.113.9"));
        assert_eq!(said, want, "{locations_unreadable}");
    }
}

#[test]
fn report_only_is_told_and_decides_nothing() {
    let mut reported = policy(Grant::Block);
    reported.state = State::ReportOnly;
    let mut off = policy(Grant::Block);
    off.state = State::Off;
    let rules = set(&[reported, off, policy(Grant::Allow)]);
    let told = RefCell::new(Vec::new());
    let app = for_everyone("wiki");
    let caller = Caller::User(Arc::new(user("alice", &[])));
    let decided = authorise(&app, caller, &rules, facts, &mut |part| {
        let outcome = part.outcome.clone();
        told.borrow_mut()
            .push((part.rule.id().to_string(), outcome));
    });
    assert!(decided.is_ok());
    let want = [
        ("r000".to_owned(), Outcome::Blocked),
        ("r002".to_owned(), Outcome::Met),
    ];
    assert_eq!(told.into_inner(), want);
}
