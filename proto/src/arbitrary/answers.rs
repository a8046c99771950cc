//! Rules for answers, notices and CORS rules.

use std::{collections::BTreeMap, time::Duration};

use model::app::{AnswerRules, CorsRule, Hsts, Maintenance, Robots};
use proptest::{collection, option, prelude::*};

use super::{HOST, path};

const TEXT: &str = "[a-zA-Z0-9 äö\n.,:]{0,40}";
/// Fields that are set and those that are removed have different names.
const SET: &str = "x-s[a-z]{1,6}";
const REMOVE: &str = "x-r[a-z]{1,6}";
const VALUE: &str = "([!-~]([ -~]{0,20}[!-~])?)?";

pub(super) fn answer_rules() -> impl Strategy<Value = AnswerRules> {
    let robots = prop_oneof![
        Just(Robots::Disallow),
        Just(Robots::Origin),
        "User-agent: [a-z*]{1,8}\nAllow: /\n".prop_map(Robots::Text),
    ];
    let policy = "default-src '[a-z]{1,8}'( https:)?";
    (
        option::of(hsts()),
        option::of(policy),
        collection::btree_map(SET, VALUE, 0..4),
        collection::btree_set(REMOVE, 0..4),
        robots,
    )
        .prop_map(|(hsts, content_security_policy, set, remove, robots)| {
            let set: BTreeMap<_, _> = set;
            AnswerRules {
                hsts,
                content_security_policy,
                set: set.into_iter().collect(),
                remove: remove.into_iter().collect(),
                robots,
            }
        })
}

fn hsts() -> impl Strategy<Value = Hsts> {
    let max_age = 0..=Hsts::MAX_AGE_MAX.as_secs();
    (max_age, any::<bool>(), any::<bool>()).prop_map(|(max_age, include_subdomains, preload)| {
        let max_age = Duration::from_secs(max_age);
        Hsts {
            max_age,
            include_subdomains,
            preload: preload && include_subdomains && max_age >= Hsts::PRELOAD_MAX_AGE_MIN,
        }
    })
}

pub(super) fn maintenance() -> impl Strategy<Value = Maintenance> {
    let seconds = 1..=Maintenance::RETRY_AFTER_MAX.as_secs();
    (TEXT, option::of(seconds)).prop_map(|(message, seconds)| Maintenance {
        message,
        retry_after: seconds.map(Duration::from_secs),
    })
}

/// Rules for different paths, in no order.
pub(super) fn cors() -> impl Strategy<Value = Vec<CorsRule>> {
    let rules = collection::btree_map(path(), rule(), 0..4);
    rules.prop_map(|rules| {
        rules
            .into_iter()
            .map(|(path, rule)| CorsRule { path, ..rule })
            .collect()
    })
}

fn rule() -> impl Strategy<Value = CorsRule> {
    let origin = HOST.prop_map(|host| format!("https://{host}"));
    let origins = prop_oneof![Just(vec!["*".to_owned()]), collection::vec(origin, 1..4),];
    let methods = prop_oneof![
        Just(vec!["*".to_owned()]),
        collection::vec("[A-Z]{3,8}", 0..4),
    ];
    let fields = || collection::vec("\\*|x-[a-z]{1,6}\\*?", 0..4);
    let max_age = 0..=CorsRule::MAX_AGE_MAX.as_secs();
    (
        path(),
        origins,
        methods,
        fields(),
        fields(),
        any::<bool>(),
        max_age,
    )
        .prop_map(
            |(path, origins, methods, fields, exposed_fields, credentials, max_age)| CorsRule {
                path,
                credentials: credentials && origins[0] != "*",
                origins,
                methods,
                fields,
                exposed_fields,
                max_age: Duration::from_secs(max_age),
            },
        )
}
