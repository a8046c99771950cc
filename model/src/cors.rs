//! What an app's rules say about pages of other sites: the decisions of the Fetch standard's CORS protocol.
//!
//! The rule with the longest path counts. A path that servers may read in several ways is allowed to nobody, unless every
//! reading comes to the same rule.

use crate::{app::CorsRule, path};

/// Methods that any page may use without asking (Fetch, "CORS-safelisted method").
pub const SIMPLE_METHODS: [&str; 3] = ["GET", "HEAD", "POST"];

/// The field that `*` does not stand for (Fetch, "CORS non-wildcard request-header name").
const NEVER_BY_STAR: &str = "authorization";

/// What the rules of a site say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// No rule holds for the path: the app itself decides.
    Unruled,
    /// This rule allows it.
    Allowed(&'a CorsRule),
    /// Rules hold for the path, and none of them allows it.
    Refused,
}

/// Whether pages of the site `page`, such as `https://shop.example.com`, may use `path`.
pub fn judge<'a>(rules: &'a [CorsRule], path: &str, page: &str) -> Verdict<'a> {
    if rules.is_empty() {
        return Verdict::Unruled;
    }
    let is_scoped = rules.iter().any(|rule| rule.path.as_str() != "/");
    if is_scoped && !path::reads_one_way(path, rules.iter().map(|rule| &rule.path)) {
        return Verdict::Refused;
    }
    let Some(longest) = longest(rules, path) else {
        return Verdict::Unruled;
    };
    rules
        .iter()
        .filter(|rule| rule.path.as_str() == longest)
        .find(|rule| rule.allows_page(page))
        .map_or(Verdict::Refused, Verdict::Allowed)
}

fn longest<'a>(rules: &'a [CorsRule], path: &str) -> Option<&'a str> {
    let holding = rules.iter().filter(|rule| rule.path.holds(path));
    holding
        .map(|rule| rule.path.as_str())
        .max_by_key(|prefix| prefix.len())
}

impl CorsRule {
    /// Whether pages of every site are allowed.
    pub fn allows_every_page(&self) -> bool {
        self.origins.iter().any(|origin| origin == "*")
    }

    /// Whether pages of the site `page` are allowed.
    pub fn allows_page(&self, page: &str) -> bool {
        self.allows_every_page() || self.origins.iter().any(|origin| origin == page)
    }

    /// Whether they may use `method`. Case counts, as it does in HTTP.
    pub fn allows_method(&self, method: &str) -> bool {
        SIMPLE_METHODS.contains(&method)
            || self
                .methods
                .iter()
                .any(|allowed| allowed == "*" || allowed == method)
    }

    /// Whether they may send the field `name`, given in lower case.
    pub fn allows_field(&self, name: &str) -> bool {
        self.fields.iter().any(|allowed| match &**allowed {
            "*" => name != NEVER_BY_STAR,
            allowed => match allowed.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => allowed == name,
            },
        })
    }

    /// Whether cookies and `Authorization` come along. Never for every site at once.
    pub fn allows_credentials(&self) -> bool {
        self.credentials && !self.allows_every_page()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = "https://shop.example";

    fn rule(path: &str, origins: &[&str]) -> CorsRule {
        CorsRule {
            path: path.parse().expect("a good path"),
            origins: owned(origins),
            methods: owned(&["PUT"]),
            fields: owned(&["content-type", "x-app-*"]),
            exposed_fields: Vec::new(),
            credentials: true,
            max_age: CorsRule::DEFAULT_MAX_AGE,
        }
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_longest_path_decides() {
        let rules = [
            rule("/", &["*"]),
            rule("/api", &[SHOP]),
            rule("/api", &["https://crm.example", "null"]),
            rule("/api/open", &["*"]),
        ];
        for (path, page, want) in [
            ("/", SHOP, Some(0)),
            ("/apis", "https://evil.example", Some(0)),
            ("/api", SHOP, Some(1)),
            ("/api/x", "https://crm.example", Some(2)),
            ("/api/x", "null", Some(2)),
            ("/api/x", "https://evil.example", None),
            // Compared exactly: case, port and scheme count.
            ("/api/x", "https://Shop.example", None),
            ("/api/x", "https://shop.example:8443", None),
            ("/api/x", "http://shop.example", None),
            ("/api/x", "https://shop.example.evil.example", None),
            ("/api/open/x", "https://evil.example", Some(3)),
            // Whoever reads this as /api decides otherwise.
            ("/%61pi/x", SHOP, None),
            ("/api/open/..;/x", "https://evil.example", None),
            ("/api/open/..%2fx", "https://evil.example", None),
            ("/x;a/y", SHOP, Some(0)),
        ] {
            let want = want.map_or(Verdict::Refused, |index: usize| {
                Verdict::Allowed(&rules[index])
            });
            assert_eq!(judge(&rules, path, page), want, "{path} {page}");
        }
    }

    #[test]
    fn where_no_rule_holds_the_app_decides() {
        assert_eq!(judge(&[], "/x//..", SHOP), Verdict::Unruled);
        let rules = [rule("/api", &[SHOP])];
        assert_eq!(judge(&rules, "/x", SHOP), Verdict::Unruled);
        assert_eq!(judge(&rules, "/x/../api", SHOP), Verdict::Refused);
    }

    #[test]
    fn methods_and_fields_are_those_listed_and_the_simple_ones() {
        let rule = rule("/", &[SHOP]);
        for (method, want) in [
            ("GET", true),
            ("POST", true),
            ("PUT", true),
            ("put", false),
            ("DELETE", false),
        ] {
            assert_eq!(rule.allows_method(method), want, "{method}");
        }
        for (field, want) in [
            ("content-type", true),
            ("x-app-", true),
            ("x-app-one", true),
            ("x-ap", false),
            ("authorization", false),
        ] {
            assert_eq!(rule.allows_field(field), want, "{field}");
        }
    }

    #[test]
    fn a_star_stands_for_all_but_authorization_and_never_goes_with_credentials() {
        let mut rule = rule("/", &["*"]);
        rule.methods = owned(&["*"]);
        rule.fields = owned(&["*"]);
        assert!(rule.allows_method("DELETE") && rule.allows_field("x-any"));
        assert!(!rule.allows_field("authorization"));
        rule.fields.push("authorization".to_owned());
        assert!(rule.allows_field("authorization"));
        assert!(!rule.allows_credentials());
    }
}
