//! Rules as operators write them.

use std::time::Duration;

use prost::Message as _;

use super::*;
use crate::location;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn span(seconds: u64) -> Option<prost_types::Duration> {
    Some(time::wire_duration(Duration::from_secs(seconds)))
}

/// With everything that a rule may have.
fn full() -> access::Policy {
    access::Policy {
        state: RuleState::ReportOnly.into(),
        message: "Use the office network,\nplease.".to_owned(),
        who: Some(access::Who {
            include: Some(access::People {
                everyone: false,
                users: texts(&["users/alice", "users/bob"]),
                user_groups: texts(&["Leute im Büro"]),
                claims: vec![access::ClaimMatch {
                    name: "department".to_owned(),
                    value: "R&D".to_owned(),
                }],
                providers: texts(&["identityProviders/entra", "local"]),
            }),
            exclude: Some(access::People {
                users: texts(&["users/olga"]),
                ..access::People::default()
            }),
        }),
        which: Some(access::Which {
            all_apps: false,
            apps: texts(&["apps/crm", "apps/wiki"]),
            exclude_apps: texts(&["apps/status"]),
            paths: texts(&["/admin"]),
            methods: texts(&["POST", "M-SEARCH"]),
        }),
        place: Some(access::Place {
            include: Some(access::Places {
                networks: texts(&["192.0.2.0/24", "2001:db8::/32"]),
                locations: texts(&["locations/office"]),
                trusted: true,
                countries: texts(&["DE"]),
                unknown_country: true,
            }),
            exclude: Some(access::Places::default()),
        }),
        platforms: texts(&["android", "unknown"]),
        clients: texts(&["browser"]),
        schedule: Some(access::Schedule {
            days: texts(&["mon", "sun"]),
            from_minute: 480,
            until_minute: 1_440,
            offset_minutes: -90,
        }),
        when: "'otp' in auth.amr".to_owned(),
        grant: Some(access::Grant {
            kind: GrantKind::Require.into(),
            requirements: vec![
                Requirement::Mfa.into(),
                Requirement::Class.into(),
                Requirement::FreshSignIn.into(),
                Requirement::DeviceCertificate.into(),
                Requirement::Terms.into(),
            ],
            classes: texts(&["urn:gold"]),
            sign_in_within: span(600),
            one_of: true,
            terms: texts(&["terms/aup", "terms/guests"]),
        }),
        controls: Some(access::Controls {
            session_limit: span(3_600),
            idle_limit: span(900),
            sign_in_every: span(7_200),
            no_download_types: texts(&["application/pdf", "image/*"]),
            no_attachments: true,
        }),
    }
}

fn faults(change: impl FnOnce(&mut access::Policy)) -> Vec<String> {
    let mut wire = full();
    change(&mut wire);
    match policy(&wire) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn all_that_a_rule_says_is_read_and_written_alike() {
    let wire = full();
    assert_eq!(write_policy(&policy(&wire).expect("good")), wire);
}

#[test]
fn terms_are_named_exactly_where_they_are_asked_for() {
    let field = "policy.grant.terms";
    let grant = |terms: &[&str], is_asked: bool| {
        faults(|wire| {
            let grant = wire.grant.get_or_insert_default();
            grant.terms = texts(terms);
            if !is_asked {
                let asked = i32::from(Requirement::Terms);
                grant.requirements.retain(|one| *one != asked);
            }
        })
    };
    assert_eq!(grant(&["terms/aup"], true).len(), 0);
    assert_eq!(grant(&[], false).len(), 0);
    let five = ["terms/a", "terms/b", "terms/c", "terms/d", "terms/e"];
    for (terms, is_asked) in [
        (&[][..], true),
        (&["terms/aup"], false),
        (&["aup"], true),
        (&["terms/A"], true),
        (&five, true),
    ] {
        let found = grant(terms, is_asked);
        assert!(found.iter().any(|one| one.contains(field)), "{found:?}");
    }
}

#[test]
fn everything_wrong_with_a_rule_is_said_at_once() {
    let rule = admin::AccessRule {
        display_name: "\u{1b}".to_owned(),
        policy: None,
        ..admin::AccessRule::default()
    };
    let found = check("Rule", &rule).expect_err("nothing is right");
    let fields: Vec<_> = found.iter().map(|one| one.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "access_rule_id",
            "access_rule.display_name",
            "access_rule.policy.state",
            "access_rule.policy.who.include",
            "access_rule.policy.which",
            "access_rule.policy.grant.kind",
        ]
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_fault_has_its_field_and_says_what_is_wanted() {
    type Change = fn(&mut access::Policy);
    let cases: [(Change, &str); 22] = [
        (|one| one.state = 9, "policy.state must be on"),
        (
            |one| one.message = "a\u{7}".to_owned(),
            "policy.message must not have control",
        ),
        (
            |one| one.message = "a".repeat(501),
            "policy.message must not be longer than 500",
        ),
        (
            |one| one.who.as_mut().unwrap().include = None,
            "policy.who.include must name somebody",
        ),
        (
            |one| one.who.as_mut().unwrap().exclude.as_mut().unwrap().users = texts(&["alice"]),
            "policy.who.exclude.users[0] must be of the form users/{id}",
        ),
        (
            |one| {
                one.who
                    .as_mut()
                    .unwrap()
                    .exclude
                    .as_mut()
                    .unwrap()
                    .providers = texts(&["entra"])
            },
            "policy.who.exclude.providers[0] must be of the form identityProviders/{id}",
        ),
        (
            |one| {
                one.who.as_mut().unwrap().include.as_mut().unwrap().claims[0]
                    .name
                    .clear()
            },
            "policy.who.include.claims[0] must have a name",
        ),
        (
            |one| one.which.as_mut().unwrap().all_apps = true,
            "policy.which must have either",
        ),
        (
            |one| one.which.as_mut().unwrap().paths = texts(&["admin"]),
            "policy.which.paths[0] must start with /",
        ),
        (
            |one| one.which.as_mut().unwrap().methods = texts(&["get"]),
            "policy.which.methods[0] must be a method",
        ),
        (
            |one| {
                one.place
                    .as_mut()
                    .unwrap()
                    .exclude
                    .as_mut()
                    .unwrap()
                    .networks = texts(&["10.0.0.1/8"])
            },
            "policy.place.exclude.networks[0] has bits behind its prefix: 10.0.0.0/8",
        ),
        (
            |one| {
                one.place
                    .as_mut()
                    .unwrap()
                    .include
                    .as_mut()
                    .unwrap()
                    .countries = texts(&["Germany"])
            },
            "policy.place.include.countries[0] must be a country's code",
        ),
        (
            |one| one.platforms = texts(&["beos"]),
            "policy.platforms[0] must be one of android, ios",
        ),
        (
            |one| one.schedule.as_mut().unwrap().days.clear(),
            "policy.schedule.days must not be empty",
        ),
        (
            |one| one.schedule.as_mut().unwrap().from_minute = 1_440,
            "policy.schedule.from_minute must be 0 to 1439",
        ),
        (
            |one| one.schedule.as_mut().unwrap().offset_minutes = 900,
            "policy.schedule.offset_minutes must be -840 to 840",
        ),
        (
            |one| one.when = "user.id".to_owned(),
            "policy.when at character 1: must be true or false",
        ),
        (
            |one| one.grant.as_mut().unwrap().requirements.push(77),
            "policy.grant.requirements must not be more than 5",
        ),
        (
            |one| one.grant.as_mut().unwrap().requirements = vec![77],
            "policy.grant.requirements[0] is not a requirement",
        ),
        (
            |one| one.grant.as_mut().unwrap().sign_in_within = None,
            "policy.grant.sign_in_within must be set",
        ),
        (
            |one| one.grant.as_mut().unwrap().kind = GrantKind::Block.into(),
            "policy.grant must not require",
        ),
        (
            |one| one.controls.as_mut().unwrap().idle_limit = span(10),
            "policy.controls.idle_limit must be between 5m and 30d",
        ),
    ];
    for (change, want) in cases {
        let found = faults(change);
        let is_told = found.iter().any(|fault| fault.starts_with(want));
        assert!(is_told, "{want}: {found:?}");
    }
}

#[test]
fn a_rule_that_asks_for_nothing_and_controls_nothing_is_refused() {
    let allow = access::Grant {
        kind: GrantKind::Allow.into(),
        ..access::Grant::default()
    };
    let found = faults(|one| {
        one.grant = Some(allow.clone());
        one.controls = None;
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("policy.grant must block or require"));
    assert_eq!(faults(|one| one.grant = Some(allow)), [""; 0]);
}

#[test]
fn a_rule_may_name_countries_and_the_unknown_one() {
    let rule = admin::AccessRule {
        policy: Some(full()),
        ..admin::AccessRule::default()
    };
    let (_, policy) = check("rule", &rule).expect("countries can be named");
    let include = policy.place.include;
    let countries: Vec<_> = include.countries.iter().map(ToString::to_string).collect();
    assert_eq!((countries, include.unknown_country), (texts(&["DE"]), true));
}

/// What a later version would write: `inner` with a field that nobody here knows, in a message that is field 2 of `outer`.
fn of_a_later_version(inner: &impl prost::Message, told: &impl prost::Message) -> Vec<u8> {
    /// Field 100, a number, 1.
    const UNKNOWN: [u8; 3] = [0xa0, 0x06, 0x01];
    let mut written = inner.encode_to_vec();
    written.extend(UNKNOWN);
    let mut outer = vec![0x12];
    prost::encode_length_delimiter(written.len(), &mut outer).unwrap();
    outer.extend(&written);
    // Field 3: their length.
    outer.push(0x18);
    prost::encode_length_delimiter(written.len(), &mut outer).unwrap();
    [told.encode_to_vec(), outer].concat()
}

#[test]
fn what_reaches_a_reader_without_a_field_that_it_does_not_know_is_not_whole() {
    let rule = told("mfa", Some(full()));
    let same = fabric::AccessRule::decode(&*rule.encode_to_vec()).unwrap();
    assert!(is_whole(&same));
    let named = fabric::AccessRule {
        id: "mfa".to_owned(),
        ..fabric::AccessRule::default()
    };
    let later = of_a_later_version(&full(), &named);
    let read = fabric::AccessRule::decode(&*later).unwrap();
    assert_eq!(read.policy, Some(full()), "the field is dropped");
    assert!(!is_whole(&read));

    let area = access::Area {
        networks: texts(&["192.0.2.0/24"]),
        ..access::Area::default()
    };
    let place = location::told("office", Some(area.clone()));
    assert!(location::is_whole(&place));
    let named = fabric::Location {
        id: "office".to_owned(),
        ..fabric::Location::default()
    };
    let later = of_a_later_version(&area, &named);
    let read = fabric::Location::decode(&*later).unwrap();
    assert_eq!(read.area, Some(area));
    assert!(!location::is_whole(&read));
}
