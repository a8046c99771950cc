//! Expressions, from text to truth.

use super::*;
use crate::{
    access::tests::{facts, location, user},
    user::Claim,
};

fn holds(text: &str) -> bool {
    let mut alice = user("alice", &["staff", "ops"]);
    alice.claims = vec![Claim {
        name: "department".to_owned(),
        values: vec!["R&D".to_owned(), "IT".to_owned()],
    }];
    alice.authentication.methods = vec!["pwd".to_owned(), "otp".to_owned()];
    alice.authentication.class = "silver".to_owned();
    // A quarter past one, on a Thursday.
    let facts = Facts {
        path: "/admin/users".into(),
        country: "DE".parse().ok(),
        now_ms: 1_795_651_200_000 + 75 * 60_000,
        ..facts()
    };
    alice.authentication.at_ms = facts.now_ms - 600_500;
    let locations = [
        ("office".parse().unwrap(), location(&["192.0.2.0/24"])),
        ("home".parse().unwrap(), location(&["198.51.100.0/24"])),
    ];
    let rules = RuleSet::new([], &locations.into(), Default::default());
    let expression = Expression::new(text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    expression.holds(&rules, &"wiki".parse().unwrap(), &alice, &facts)
}

#[test]
fn every_attribute_and_operator_has_its_meaning() {
    for (text, want) in [
        ("true", true),
        ("false || true && false", false),
        ("true || true && false", true),
        ("!(true && false)", true),
        ("!!true", true),
        ("true == !false", true),
        ("true != false", true),
        ("user.id == 'alice'", true),
        ("user.id != \"alice\"", false),
        ("user.id < 'bob'", true),
        ("user.provider == 'local'", true),
        ("'staff' in user.groups", true),
        ("'lab' in user.groups", false),
        ("user.id in ['bob', 'alice']", true),
        ("user.id in []", false),
        ("'IT' in user.claims['department']", true),
        ("'IT' in user.claims[\"other\"]", false),
        ("app.id == 'wiki'", true),
        ("request.method == 'GET'", true),
        ("request.path.startsWith('/admin')", true),
        ("request.path.endsWith('/users')", true),
        ("request.path.contains('min/us')", true),
        ("request.path.contains(request.host)", false),
        ("request.host == 'wiki.example.com'", true),
        ("client.country == 'DE'", true),
        ("client.country in ['FR', 'US']", false),
        ("'office' in client.locations", true),
        ("'home' in client.locations", false),
        ("'nowhere' in client.locations", false),
        ("client.platform == 'linux'", true),
        ("client.kind == 'browser'", true),
        ("device.certificate", false),
        ("auth.age == 600", true),
        ("auth.age <= 599", false),
        ("auth.age > -1", true),
        ("'otp' in auth.amr", true),
        ("auth.acr >= 'silver'", true),
        (
            "time.weekday == 4 && time.hour == 1 && time.minute in [0, 15]",
            true,
        ),
        ("time.hour in [0, 2]", false),
        ("'a\\'b\\\\' == \"a'b\\\\\"", true),
        ("'ü' == 'ü'", true),
    ] {
        assert_eq!(holds(text), want, "{text}");
    }
}

#[test]
fn faults_are_told_with_their_place() {
    let deep = format!(
        "{}true{}",
        "(".repeat(DEPTH_MAX + 1),
        ")".repeat(DEPTH_MAX + 1)
    );
    let negations = format!("{}true", "!".repeat(DEPTH_MAX + 1));
    let long = format!("true{}", " ".repeat(EXPRESSION_BYTES_MAX));
    for (text, want) in [
        ("", &[(1, "there is the end where a value must be")][..]),
        ("user.id", &[(1, "must be true or false, and is a string")]),
        ("'ü' == user.name", &[(8, "no attribute \"user.name\"")]),
        (
            "user.id == 1",
            &[(1, "a string and a number cannot be compared by ==")],
        ),
        (
            "user.groups == 'a'",
            &[(1, "a list of strings and a string")],
        ),
        ("true < false", &[(1, "cannot be compared by <")]),
        (
            "1 in user.groups",
            &[(1, "a number cannot be in a list of strings")],
        ),
        ("true &&", &[(8, "the end where a value")]),
        ("(true", &[(6, "the end where \")\"")]),
        ("true true", &[(6, "\"true\" where an operator or the end")]),
        ("1 < 2 < 3", &[(7, "do not chain")]),
        ("user.id = 'a'", &[(9, "\"=\" has no meaning")]),
        ("'abc", &[(1, "no end")]),
        ("'a\\x'", &[(3, "backslash")]),
        ("99999999999999999999 == 1", &[(1, "no whole number")]),
        ("1.5 == 1", &[(1, "no whole number")]),
        ("user.id.matches('a')", &[(1, "no function \"matches\"")]),
        ("user.id.startsWith('a', 'b')", &[(1, "takes one string")]),
        ("user.id in client.locations", &[(1, "only be a string")]),
        ("'No One' in client.locations", &[(1, "names no location")]),
        ("user.claims == 'a'", &[(1, "must be followed by")]),
        ("'a' in user.claims[1]", &[(20, "must be a string")]),
        ("user.groups[0] == 'a'", &[(1, "only user.claims")]),
        ("['a', 1] == 1", &[(7, "must be a string")]),
        (
            "user.x == 'a' || user.y == 'b'",
            &[(1, "user.x"), (18, "user.y")],
        ),
        ("true ? true : false", &[(6, "\"?\" where an operator")]),
        (&deep, &[(DEPTH_MAX + 2, "nested")]),
        (&negations, &[(DEPTH_MAX + 2, "nested")]),
        (&long, &[(1, "longer")]),
    ] {
        let faults = Expression::new(text).expect_err(text);
        assert_eq!(faults.len(), want.len(), "{text}: {faults:?}");
        for (fault, (character, what)) in faults.iter().zip(want) {
            assert_eq!(fault.character, *character, "{text}: {fault}");
            assert!(fault.what.contains(what), "{text}: {fault}");
        }
    }
}

#[test]
fn what_depends_on_time_or_country_is_known() {
    for (text, timed, country) in [
        ("user.id == 'a'", false, false),
        ("!(user.id == 'a' || auth.age > 5)", true, false),
        ("time.hour in [1]", true, false),
        ("client.country == ''", false, true),
        ("true && 'office' in client.locations", false, true),
    ] {
        let expression = Expression::new(text).unwrap();
        let read = (expression.is_timed(), expression.needs_country(true));
        assert_eq!(read, (timed, country), "{text}");
        let of_itself = country && text.contains("country");
        assert_eq!(expression.needs_country(false), of_itself, "{text}");
    }
}
