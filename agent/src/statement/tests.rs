use std::time::Duration;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;

const REQUEST: &str = "0123456789abcdef0123456789abcdef";
/// When all of this happens, in Unix seconds.
const NOW: i64 = 1_800_000_000;

/// A key of an edge's, and its public half.
struct Pair {
    signing: EncodingKey,
    point: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref());
        Self {
            signing: EncodingKey::from_ec_der(made.as_ref()),
            point: pair.unwrap().public_key().as_ref().to_vec(),
        }
    }

    fn name(&self) -> String {
        Key::read(&self.point).unwrap().name
    }

    fn head(&self) -> Header {
        Header {
            typ: Some(KIND.to_owned()),
            kid: Some(self.name()),
            ..Header::new(Algorithm::ES256)
        }
    }

    fn sign(&self, claims: &Value) -> Vec<u8> {
        encode(&self.head(), claims, &self.signing)
            .unwrap()
            .into_bytes()
    }
}

fn keys(pairs: &[&Pair]) -> StatementKeys {
    let keys = pairs.iter().map(|pair| fabric::StatementKey {
        public_key: pair.point.clone().into(),
    });
    let wire = fabric::StatementKeys {
        keys: keys.collect(),
        group: "office".to_owned(),
    };
    StatementKeys::new(&"example.com".parse().unwrap(), &wire)
}

fn claims() -> Value {
    json!({
        "iss": "https://auth.example.com",
        "aud": "wiki",
        "jti": REQUEST,
        "att": 0,
        "grp": "office",
        "iat": NOW,
        "exp": NOW + 60,
        "sub": "alice@corp.example",
        "idp": "entra",
        "edge": "e1",
        "name": "alice@lab.test",
    })
}

fn seen() -> Seen {
    Seen::new(at(NOW))
}

fn at(seconds: i64) -> (SystemTime, Instant) {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap());
    (SystemTime::UNIX_EPOCH + since, Instant::now())
}

fn asked<'a>((app, edge): &'a (AppId, EdgeId)) -> Asked<'a> {
    Asked {
        app,
        request_id: REQUEST,
        attempt: 0,
        edge,
    }
}

fn wiki() -> (AppId, EdgeId) {
    let app = "wiki".parse().expect("a good id");
    (app, "e1".parse().expect("a good id"))
}

/// What becomes of a statement that is shown now, for the first time.
fn shown(keys: &StatementKeys, token: &[u8]) -> Result<Statement, StatementError> {
    let app = wiki();
    keys.check(token, &asked(&app), &seen(), at(NOW))
}

/// The error of a statement that says something else than a good one, though it is well signed.
fn said(change: impl FnOnce(&mut Value)) -> Result<Statement, StatementError> {
    let pair = Pair::new();
    let mut claims = claims();
    change(&mut claims);
    shown(&keys(&[&pair]), &pair.sign(&claims))
}

#[tokio::test]
async fn a_good_statement_says_who_it_is() {
    let statement = said(|_| ()).unwrap();
    let want = Statement {
        user: "alice@corp.example".parse().unwrap(),
        provider: Some("entra".parse().unwrap()),
        name: Some("alice@lab.test".to_owned()),
        edge: "e1".parse().unwrap(),
    };
    assert_eq!(statement, want);
    let statement = said(|claims| {
        let claims = claims.as_object_mut().unwrap();
        claims.remove("idp");
        claims.remove("name");
        claims.insert("later".to_owned(), json!({}));
    });
    let statement = statement.unwrap();
    assert_eq!((statement.provider, statement.name), (None, None));
}

#[tokio::test]
async fn a_statement_for_somebody_or_something_else_is_refused() {
    for (claim, other, what) in [
        ("iss", json!("https://auth.evil.example"), "fabric"),
        ("aud", json!("shop"), "app"),
        ("grp", json!("plant"), "group"),
        ("jti", json!("f".repeat(32)), "request"),
        ("jti", json!(""), "request"),
        ("att", json!(1), "attempt"),
        ("sub", json!("Alice Liddell"), "kind of user"),
        ("idp", json!(""), "kind of provider"),
        ("edge", json!("../e1"), "edge"),
        ("edge", json!("e2"), "edge"),
        ("edge", json!("E1"), "edge"),
    ] {
        match said(|claims| claims[claim] = other.clone()) {
            Err(StatementError::Foreign(found)) => assert_eq!(found, what),
            refused => panic!("{claim} {other}: {refused:?}"),
        }
    }
    for (claim, other) in [
        ("aud", json!(["wiki", "shop"])),
        ("jti", json!([REQUEST])),
        ("att", json!("0")),
        ("iat", json!("now")),
        ("name", json!(["alice", "bob"])),
        ("sub", Value::Null),
    ] {
        let refused = said(|claims| claims[claim] = other.clone());
        assert!(
            matches!(refused, Err(StatementError::Signature(_))),
            "{claim} {other}: {refused:?}"
        );
    }
    for claim in [
        "iss", "aud", "jti", "att", "grp", "iat", "exp", "sub", "edge",
    ] {
        let refused = said(|claims| {
            claims.as_object_mut().unwrap().remove(claim);
        });
        assert!(refused.is_err(), "without {claim}");
    }
}

#[tokio::test]
async fn a_statement_holds_for_its_minute_and_what_clocks_may_differ() {
    let pair = Pair::new();
    let (keys, app) = (keys(&[&pair]), wiki());
    let token = pair.sign(&claims());
    for (late, want) in [
        (-31, "early"),
        (-30, "good"),
        (0, "good"),
        (60, "good"),
        (89, "good"),
        (90, "expired"),
        (86_400, "expired"),
    ] {
        let checked = keys.check(&token, &asked(&app), &seen(), at(NOW + late));
        let found = match checked {
            Ok(_) => "good",
            Err(StatementError::Early(_)) => "early",
            Err(StatementError::Expired(_)) => "expired",
            Err(error) => panic!("{late}: {error:?}"),
        };
        assert_eq!(found, want, "{late}");
    }
    let lasting = said(|claims| claims["exp"] = json!(NOW + 61));
    assert!(matches!(lasting, Err(StatementError::Lasting)));
    for (iat, exp) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (0, i64::MAX)] {
        let refused = said(|claims| {
            claims["iat"] = json!(iat);
            claims["exp"] = json!(exp);
        });
        assert!(refused.is_err(), "{iat} {exp}");
    }
}

#[tokio::test]
async fn a_statement_counts_once_and_each_attempt_has_its_own() {
    let pair = Pair::new();
    let (keys, app, seen) = (keys(&[&pair]), wiki(), seen());
    let first = pair.sign(&claims());
    assert!(keys.check(&first, &asked(&app), &seen, at(NOW)).is_ok());
    // Signed once more, the bytes differ, and the request is the same.
    for token in [first.clone(), pair.sign(&claims())] {
        let again = keys.check(&token, &asked(&app), &seen, at(NOW));
        assert!(matches!(again, Err(StatementError::Replayed)), "{again:?}");
    }
    let retry = Asked {
        attempt: 1,
        ..asked(&app)
    };
    let old = keys.check(&first, &retry, &seen, at(NOW));
    assert!(matches!(old, Err(StatementError::Foreign("attempt"))));
    let mut later = claims();
    later["att"] = json!(1);
    assert!(
        keys.check(&pair.sign(&later), &retry, &seen, at(NOW))
            .is_ok()
    );
    // One that does not hold uses up nothing.
    let (fresh, mut foreign) = (Seen::new(at(NOW)), claims());
    foreign["aud"] = json!("shop");
    let refused = keys.check(&pair.sign(&foreign), &asked(&app), &fresh, at(NOW));
    assert!(refused.is_err());
    assert!(keys.check(&first, &asked(&app), &fresh, at(NOW)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_lets_nothing_be_shown_twice() {
    let pair = Pair::new();
    let (keys, app, seen) = (keys(&[&pair]), wiki(), seen());
    let token = pair.sign(&claims());
    assert!(keys.check(&token, &asked(&app), &seen, at(NOW)).is_ok());
    tokio::time::advance(Duration::from_secs(600)).await;
    let again = keys.check(&token, &asked(&app), &seen, at(NOW));
    assert!(matches!(again, Err(StatementError::Forgotten)), "{again:?}");
}

#[tokio::test]
async fn only_es256_by_a_key_that_control_publishes_counts() {
    let (pair, other) = (Pair::new(), Pair::new());
    let both = keys(&[&other, &pair]);
    let token = pair.sign(&claims());
    assert!(shown(&both, &token).is_ok());
    assert!(both.know(&token));

    // A key that is gone, or was never there.
    let retired = keys(&[&other]);
    assert!(!retired.know(&token));
    for keys in [retired, StatementKeys::default()] {
        let refused = shown(&keys, &token);
        assert!(
            matches!(refused, Err(StatementError::UnknownKey)),
            "{refused:?}"
        );
    }
    // Another key under the name of a known one.
    let head = pair.head();
    let forged = encode(&head, &claims(), &other.signing).unwrap();
    let refused = shown(&both, forged.as_bytes());
    assert!(
        matches!(refused, Err(StatementError::Signature(_))),
        "{refused:?}"
    );

    // The public half as a secret, though it is known to everybody.
    let secret = EncodingKey::from_secret(&pair.point);
    let head = Header {
        alg: Algorithm::HS256,
        ..pair.head()
    };
    let confused = encode(&head, &claims(), &secret).unwrap();
    let refused = shown(&both, confused.as_bytes());
    assert!(matches!(refused, Err(StatementError::Kind)), "{refused:?}");
    // The same under the right name of the algorithm.
    let signature = confused.rsplit('.').next().unwrap();
    let text = String::from_utf8(token).unwrap();
    let (signed, _) = text.rsplit_once('.').unwrap();
    for signature in [signature, "", "AAAA"] {
        let refused = shown(&both, format!("{signed}.{signature}").as_bytes());
        assert!(
            matches!(refused, Err(StatementError::Signature(_))),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_statement_is_refused() {
    let pair = Pair::new();
    let keys = keys(&[&pair]);
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    // Unsigned, as some libraries once took it.
    let none = json!({ "alg": "none", "typ": KIND, "kid": pair.name() });
    let unsigned = format!("{}.{}.", part(&none), part(&claims()));
    assert!(shown(&keys, unsigned.as_bytes()).is_err());
    // An assertion, which origins get, and one that asks for more than is understood.
    let heads = [
        Header {
            typ: Some("JWT".to_owned()),
            ..pair.head()
        },
        Header {
            typ: None,
            ..pair.head()
        },
        Header {
            crit: Some(vec!["b64".to_owned()]),
            ..pair.head()
        },
    ];
    for head in heads {
        let token = encode(&head, &claims(), &pair.signing).unwrap();
        let refused = shown(&keys, token.as_bytes());
        assert!(
            matches!(
                refused,
                Err(StatementError::Kind | StatementError::Malformed(_))
            ),
            "{head:?}: {refused:?}"
        );
    }
    assert!(matches!(shown(&keys, b""), Err(StatementError::Missing)));
    let whole = pair.sign(&claims());
    for end in 1..whole.len() {
        assert!(shown(&keys, &whole[..end]).is_err(), "{end}");
    }
    for bad in [&b"."[..], b"..", b"...", b"\xff\xfe.a.b", b"a.b.c.d"] {
        assert!(shown(&keys, bad).is_err(), "{bad:?}");
    }
    let mut long = claims();
    long["later"] = json!("x".repeat(STATEMENT_BYTES_MAX));
    let refused = shown(&keys, &pair.sign(&long));
    assert!(matches!(refused, Err(StatementError::TooLong)));
    for name in [String::new(), "x".repeat(SSO_NAME_BYTES_MAX + 1)] {
        let refused = said(|claims| claims["name"] = json!(name));
        assert!(matches!(refused, Err(StatementError::Name)), "{refused:?}");
    }
}

#[test]
fn keys_that_are_none_are_left_out_and_few_are_kept() {
    let pair = Pair::new();
    let mut compressed = pair.point.clone();
    compressed[0] = 2;
    for bad in [&[][..], &[4], &pair.point[..64], &compressed] {
        assert!(Key::read(bad).is_none(), "{bad:?}");
    }
    let many = vec![&pair; KEYS_MAX + 1];
    assert_eq!(keys(&many).keys.len(), KEYS_MAX);
}
