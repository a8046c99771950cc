//! Any path, and any set of rules for pages of other sites: a page is let in only by the rule that holds for every reading of the
//! path.

#![no_main]

#[path = "../src/readings.rs"]
mod readings;
#[path = "../src/supply.rs"]
mod supply;

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use model::{
    app::CorsRule,
    cors::{Verdict, judge},
};
use readings::{longest, readings};
use supply::Supply;

const RULES_MAX: u8 = 5;

const PAGES: [&str; 3] = ["https://a.example", "https://b.example", "*"];

fuzz_target!(|input: &[u8]| {
    let mut supply = Supply::new(input);
    let rules = rules(&mut supply);
    let page = PAGES[usize::from(supply.byte() % 2)];
    check(&rules, &format!("/{}", supply.text()), page);
});

fn rules(supply: &mut Supply<'_>) -> Vec<CorsRule> {
    let count = supply.byte() % RULES_MAX;
    let rule = |_| {
        let path = supply.prefix().parse().ok()?;
        let page = PAGES[usize::from(supply.byte()) % PAGES.len()];
        Some(CorsRule {
            path,
            origins: vec![page.to_owned()],
            methods: Vec::new(),
            fields: Vec::new(),
            exposed_fields: Vec::new(),
            credentials: false,
            max_age: Duration::ZERO,
        })
    };
    (0..count).filter_map(rule).collect()
}

fn check(rules: &[CorsRule], path: &str, page: &str) {
    let prefixes = || rules.iter().map(|rule| rule.path.as_str());
    let plain = longest(prefixes(), path, false);
    match judge(rules, path, page) {
        Verdict::Refused => {}
        Verdict::Unruled => assert_eq!(plain, None, "{path}"),
        Verdict::Allowed(rule) => {
            assert_eq!(Some(rule.path.as_str()), plain, "{path}");
            assert!(rule.origins.iter().any(|one| one == page || one == "*"));
            for reading in readings(path) {
                let there = longest(prefixes(), &reading, true);
                let lower = |prefix: &str| prefix.to_lowercase();
                assert_eq!(
                    there.map(lower),
                    plain.map(lower),
                    "{path} read as {reading}"
                );
            }
        }
    }
}
