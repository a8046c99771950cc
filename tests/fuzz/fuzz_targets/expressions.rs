//! Any text as the expression of an access rule: reading it never panics and ends, every fault has a place in the text, and what is read
//! holds or not of any request, twice alike.

#![no_main]

use std::{collections::HashMap, sync::Arc};

use libfuzzer_sys::fuzz_target;
use model::{
    access::{
        Caller, authorise,
        facts::{ClientKind, Facts, Platform},
        policy::{Grant, Policy},
        ruleset::{RuleSet, Unreadable},
        when::Expression,
    },
    app::{Access, App, Assignment},
    user::User,
};

fuzz_target!(|text: &str| {
    let when = match Expression::new(text) {
        Ok(when) => when,
        Err(faults) => {
            assert!(!faults.is_empty());
            let characters = text.chars().count();
            for fault in faults {
                assert!((1..=characters + 1).contains(&fault.character), "{fault}");
            }
            return;
        }
    };
    let mut policy = Policy::new(Grant::Block);
    policy.who.include.everyone = true;
    policy.which.all_apps = true;
    policy.when = Some(when);
    let rule = ("r".parse().expect("an id"), Arc::new(policy));
    let rules = RuleSet::new([rule], &HashMap::new(), Unreadable::default());
    let assignment = Assignment {
        everyone: true,
        ..Assignment::default()
    };
    let (id, group) = ("wiki".parse(), "office".parse());
    let app = App::new(
        id.expect("an id"),
        group.expect("an id"),
        Access::SignIn(assignment),
    );
    let user = Arc::new(User::new("alice".parse().expect("an id")));
    let decide = || {
        let caller = Caller::User(Arc::clone(&user));
        authorise(&app, caller, &rules, facts, &mut |_| {}).is_ok()
    };
    assert_eq!(decide(), decide());
});

fn facts() -> Facts<'static> {
    Facts {
        host: "wiki.example.com",
        method: "GET",
        other_methods: &[],
        path: "/a".into(),
        path_is_ambiguous: false,
        address: [192, 0, 2, 1].into(),
        country: None,
        client: ClientKind::Browser,
        platform: Platform::Linux,
        has_device_certificate: false,
        now_ms: 1_795_651_200_000,
        session_began_ms: 0,
        seen_ms: None,
    }
}
