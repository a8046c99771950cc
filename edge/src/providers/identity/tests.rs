//! Tokens and answers, good and bad.

use model::identity_provider::{Asks, ClaimNames, ClientAuthentication, Endpoints};
use serde_json::json;

use super::*;

fn provider(issuer: &str) -> IdentityProvider {
    IdentityProvider {
        id: "entra".parse().unwrap(),
        display_name: String::new(),
        issuer: issuer.parse().unwrap(),
        client_id: "adit".to_owned(),
        client_authentication: ClientAuthentication::SecretBasic,
        key_id: String::new(),
        client_certificate_pem: String::new(),
        scopes: Vec::new(),
        algorithms: vec![SigningAlgorithm::Es256],
        claims: ClaimNames::default(),
        user_domains: Vec::new(),
        plain_groups: false,
        asks: Asks::default(),
        endpoints: Endpoints::default(),
        ca_pem: String::new(),
        private_network: false,
        sign_out: false,
        refresh_every: None,
        disabled: false,
    }
}

const ISSUER: &str = "https://login.example.com";

fn claims(change: impl FnOnce(&mut Value)) -> Claims {
    let mut all = json!({
        "aud": "adit",
        "sub": "1",
        "iat": 1_000,
        "nonce": "n",
        "preferred_username": "alice",
    });
    change(&mut all);
    let Value::Object(all) = all else {
        panic!("claims are an object");
    };
    Claims {
        all,
        algorithm: SigningAlgorithm::Es256,
    }
}

fn attempt(max_age: Option<Duration>) -> Attempt<'static> {
    Attempt {
        redirect_uri: "",
        state: "",
        nonce: "n",
        code_verifier: "",
        max_age,
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn fault<T>(result: Result<T, IdentityError>) -> String {
    result
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

#[test]
fn a_token_is_of_this_attempt_and_for_us() {
    type Change = fn(&mut Value);
    // RFC 6749's example of an access token, and its digest.
    let token = "2YotnFZFEjr1zCsicMWpAA";
    let rows: [(&str, Change, &str); 10] = [
        ("good", |_| {}, ""),
        ("foreign nonce", |c| c["nonce"] = "m".into(), "nonce"),
        ("no nonce", |c| c["nonce"] = Value::Null, "nonce"),
        ("given to us", |c| c["azp"] = "adit".into(), ""),
        (
            "given to another",
            |c| c["azp"] = "other".into(),
            "another client",
        ),
        ("several", |c| c["aud"] = json!(["adit", "b"]), "lacks azp"),
        (
            "wrong at_hash",
            |c| c["at_hash"] = "AAAA".into(),
            "access token",
        ),
        ("no subject", |c| c["sub"] = "".into(), "lacks sub"),
        (
            "long subject",
            |c| c["sub"] = "x".repeat(256).into(),
            "short sub",
        ),
        ("no time", |c| c["iat"] = "x".into(), "lacks iat"),
    ];
    let provider = provider(ISSUER);
    for (name, change, want) in rows {
        let proven = prove(
            &provider,
            claims(change),
            &attempt(None),
            Some(token),
            at(1_000),
        );
        let fault = fault(proven);
        assert_eq!(fault.is_empty(), want.is_empty(), "{name}: {fault}");
        assert!(fault.contains(want), "{name}: {fault}");
    }
    let right = half_digest(SigningAlgorithm::Es256, token);
    let with = claims(|claims| claims["at_hash"] = right.into());
    assert!(prove(&provider, with, &attempt(None), Some(token), at(1_000)).is_ok());
}

#[test]
fn a_sign_in_there_is_as_was_asked_for() {
    let mut provider = provider(ISSUER);
    provider.asks.classes = vec!["mfa".to_owned()];
    provider.asks.max_age = Some(Duration::from_secs(600));
    let check = |class: &str, at_time: Value, now| {
        let said = claims(|claims| {
            claims["acr"] = class.into();
            claims["auth_time"] = at_time;
        });
        fault(prove(&provider, said, &attempt(None), None, at(now)))
    };
    assert_eq!(check("mfa", json!(1_000), 1_600), "");
    assert_eq!(
        check("mfa", json!(1_000), 1_631),
        "the user signed in there too long ago"
    );
    assert_eq!(
        check("mfa", Value::Null, 1_000),
        "the user signed in there too long ago"
    );
    assert!(check("pwd", json!(1_000), 1_000).contains("pwd"));
    assert!(check("", json!(1_000), 1_000).contains("class"));
}

#[test]
fn what_a_user_comes_for_may_ask_for_a_newer_sign_in_than_the_provider_has_to() {
    let within = |seconds| Some(Duration::from_secs(seconds));
    let old = "the user signed in there too long ago";
    for (own, wanted, at_time, want) in [
        (None, None, Value::Null, ""),
        (None, within(300), json!(1_000), ""),
        (None, within(299), json!(969), old),
        (None, within(300), Value::Null, old),
        (within(900), within(300), json!(600), old),
        (within(300), within(900), json!(600), old),
    ] {
        let mut provider = provider(ISSUER);
        provider.asks.max_age = own;
        let said = claims(|claims| claims["auth_time"] = at_time.clone());
        let found = prove(&provider, said, &attempt(wanted), None, at(1_300));
        assert_eq!(fault(found), want, "{own:?} {wanted:?} {at_time}");
    }
}

#[test]
fn a_provider_that_does_not_say_when_the_user_signed_in_has_not_said_that_it_was_now() {
    let user = user(|_| {}, |_| {}).unwrap();
    assert_eq!(user.authentication.at_ms, 0);
}

#[expect(clippy::unwrap_in_result, reason = "of a test")]
fn user(
    change: impl FnOnce(&mut IdentityProvider),
    said: impl FnOnce(&mut Value),
) -> Result<User, IdentityError> {
    let mut provider = provider(ISSUER);
    provider.user_domains = vec!["example.com".parse().unwrap()];
    change(&mut provider);
    let proven = prove(&provider, claims(said), &attempt(None), None, at(1_000));
    proven.unwrap().user(&provider)
}

#[test]
fn a_user_is_named_by_the_claim_that_the_operator_says() {
    let check = |claim: &str, said: Value| {
        let user = user(
            |provider| provider.claims.user = claim.to_owned(),
            |claims| {
                claims["preferred_username"] = Value::Null;
                for (name, value) in said.as_object().unwrap() {
                    claims[name] = value.clone();
                }
            },
        );
        user.map(|user| user.id.to_string())
            .map_err(|error| error.to_string())
    };
    let good = |id: &str| Ok(id.to_owned());
    assert_eq!(
        check("", json!({"preferred_username": "Alice"})),
        good("alice@entra")
    );
    let verified = json!({"email": "alice@example.com", "email_verified": true});
    assert_eq!(check("", verified.clone()), good("alice@example.com"));
    assert_eq!(check("email", verified), good("alice@example.com"));
    for bad in [
        json!({"email": "alice@example.com"}),
        json!({"email": "alice@example.com", "email_verified": false}),
        json!({"email": "alice@example.com", "email_verified": "false"}),
        json!({"email": "alice@evil.example", "email_verified": true}),
        json!({"preferred_username": ["alice"]}),
        json!({"preferred_username": "alice@evil.example"}),
        json!({"preferred_username": "alice\r\nX: y"}),
    ] {
        assert!(check("", bad.clone()).is_err(), "{bad}");
    }
    assert_eq!(check("upn", json!({"upn": "bob"})), good("bob@entra"));
    assert!(check("upn", json!({"preferred_username": "bob"})).is_err());
    let unverified = json!({"email": "alice@example.com", "email_verified": false});
    assert!(check("email", unverified).is_err());
}

#[test]
fn groups_claims_and_how_it_was_found_out_are_kept_within_bounds() {
    let said = |claims: &mut Value| {
        claims["groups"] = json!(["staff", "ops", "staff", "", 7, {"x": 1}]);
        claims["name"] = "Alice\u{7} Adams".into();
        claims["email"] = "alice@example.com".into();
        claims["level"] = json!([3, true]);
        claims["amr"] = json!(["pwd", "otp"]);
        claims["acr"] = "2".into();
        claims["auth_time"] = 900.into();
    };
    let change = |provider: &mut IdentityProvider| {
        provider.claims.kept = ["level", "absent"].map(str::to_owned).into();
    };
    let user = user(change, said).unwrap();
    let groups: Vec<_> = user.groups.iter().map(ToString::to_string).collect();
    assert_eq!(groups, ["entra:7", "entra:ops", "entra:staff"]);
    assert_eq!(user.display_name, "Alice Adams");
    let [level] = &user.claims[..] else {
        panic!("one claim fits: {:?}", user.claims);
    };
    assert_eq!(level.values, ["3", "true"]);
    let Authentication {
        provider,
        methods,
        class,
        at_ms,
    } = user.authentication;
    assert_eq!(provider.unwrap().as_str(), "entra");
    assert_eq!(
        (methods.join(" "), class, at_ms),
        ("pwd otp".to_owned(), "2".to_owned(), 900_000)
    );
}

#[test]
fn whose_groups_or_claims_would_be_cut_is_refused() {
    for (count, is_good) in [(USER_GROUPS_MAX, true), (USER_GROUPS_MAX + 1, false)] {
        let many = |claims: &mut Value| {
            let names: Vec<_> = (0..count).map(|n| n.to_string()).collect();
            claims["groups"] = json!(names);
        };
        match user(|_| {}, many) {
            Ok(user) => assert!(is_good && user.groups.len() == count, "{count}"),
            Err(error) => assert!(!is_good && matches!(error, IdentityError::Overage)),
        }
    }
    let long = |claims: &mut Value| claims["long"] = "x".repeat(CLAIMS_BYTES_MAX).into();
    let keep = |provider: &mut IdentityProvider| {
        provider.claims.kept = ["long".to_owned()].into();
    };
    assert!(matches!(user(keep, long), Err(IdentityError::Overage)));
    let overage = |claims: &mut Value| {
        claims["_claim_names"] = json!({"groups": "src1"});
    };
    assert!(matches!(user(|_| {}, overage), Err(IdentityError::Overage)));
    let other = |claims: &mut Value| claims["_claim_names"] = json!({"roles": "src1"});
    assert!(user(|_| {}, other).is_ok());
    // Nor is a kept claim taken for absent that is elsewhere.
    let keep = |provider: &mut IdentityProvider| {
        provider.claims.kept = ["roles".to_owned()].into();
    };
    assert!(matches!(user(keep, other), Err(IdentityError::Overage)));
    let said_too = |claims: &mut Value| {
        claims["_claim_names"] = json!({"roles": "src1"});
        claims["roles"] = json!(["clerk"]);
    };
    assert!(user(keep, said_too).is_ok());
}

#[test]
fn what_the_token_says_counts_more_than_what_is_said_beside() {
    let provider = provider(ISSUER);
    let mut proven = prove(&provider, claims(|_| {}), &attempt(None), None, at(1_000)).unwrap();
    assert!(proven.lacks(&provider));
    let Value::Object(more) =
        json!({"preferred_username": "mallory", "name": "Alice", "email": "", "groups": []})
    else {
        panic!("an object");
    };
    proven.add(&provider, more);
    assert!(!proven.lacks(&provider));
    let user = proven.user(&provider).unwrap();
    assert_eq!(
        (user.id.as_str(), &*user.display_name),
        ("alice@entra", "Alice")
    );
}

#[test]
fn groups_that_a_token_leaves_out_are_taken_whole_from_elsewhere_or_not_at_all() {
    let provider = provider(ISSUER);
    let marks: [fn(&mut Value); 3] = [
        |claims| claims["_claim_names"] = json!({"groups": "src1", "roles": "src1"}),
        |claims| claims["hasgroups"] = true.into(),
        |claims| claims["hasgroups"] = "true".into(),
    ];
    for mark in marks {
        let proven = || prove(&provider, claims(mark), &attempt(None), None, at(1_000)).unwrap();
        assert!(proven().leaves_groups_out(&provider));
        // By a list of its own.
        let mut listed = proven();
        listed.set_groups(&provider, vec!["staff".to_owned()]);
        let user = listed.user(&provider).unwrap();
        assert_eq!(user.groups, ["entra:staff".parse().unwrap()]);
        // By what is said beside: all of them, or none.
        for (said, is_good) in [
            (json!({"groups": ["staff"]}), true),
            (json!({"name": "Alice"}), false),
            (
                json!({"groups": ["staff"], "_claim_names": {"groups": "src1"}}),
                false,
            ),
        ] {
            let Value::Object(more) = said.clone() else {
                panic!("an object");
            };
            let mut proven = proven();
            proven.add(&provider, more);
            let user = proven.user(&provider);
            assert_eq!(user.is_ok(), is_good, "{said}: {user:?}");
        }
    }
    // Who is in none has none to be left out.
    let few = |claims: &mut Value| {
        claims["hasgroups"] = true.into();
        claims["groups"] = json!(["staff"]);
    };
    assert!(user(|_| {}, few).is_ok());
}

#[test]
fn an_operator_may_keep_some_groups_of_many() {
    let keep = |provider: &mut IdentityProvider| {
        provider.claims.kept_groups = ["7", "staff"].map(str::to_owned).into();
    };
    let many = |claims: &mut Value| {
        let names: Vec<_> = (0..2 * USER_GROUPS_MAX).map(|n| n.to_string()).collect();
        claims["groups"] = json!(names);
    };
    let user = user(keep, many).unwrap();
    assert_eq!(user.groups, ["entra:7".parse().unwrap()]);
}
