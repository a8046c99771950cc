//! What an operator's rules make of every answer to a request, whoever gives it.
//!
//! Fields are removed first, then set; what pages of other sites may do comes last. Fields that frame the message or
//! speak of the connection are never touched.

use std::{fmt::Write as _, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use model::{
    app::{App, Hsts},
    route::Route,
};

use crate::{cors::Grant, fields};

/// The rules for one request, as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    app: Option<Arc<App>>,
    grant: Option<Grant>,
    cookie: Option<HeaderValue>,
}

impl Rules {
    /// The app is known.
    pub(crate) fn route(&mut self, route: &Route) {
        self.app = Some(Arc::clone(route.app()));
    }

    /// What pages of other sites may do is known.
    pub(crate) fn grant(&mut self, grant: Grant) {
        self.grant = Some(grant);
    }

    /// A cookie that the user's browser is to keep.
    pub(crate) fn cookie(&mut self, cookie: Option<HeaderValue>) {
        self.cookie = cookie;
    }

    /// To an answer of the origin. A 304 gets the same as the 200 that it stands for: browsers take its fields over.
    pub(crate) fn apply_to_origins(&self, fields: &mut HeaderMap) {
        if let Some(app) = &self.app {
            let rules = &app.answer_rules;
            for name in &rules.remove {
                if let Some(name) = changeable(name) {
                    fields.remove(name);
                }
            }
            for (name, value) in &rules.set {
                set(fields, changeable(name), value);
            }
            if let Some(policy) = &rules.content_security_policy {
                set(fields, Some(header::CONTENT_SECURITY_POLICY), policy);
            }
        }
        self.apply_to_own(fields);
    }

    /// To an answer of the edge's own.
    pub(crate) fn apply_to_own(&self, fields: &mut HeaderMap) {
        let hsts = self.app.as_ref().and_then(|app| app.answer_rules.hsts);
        if let Some(hsts) = hsts {
            set(
                fields,
                Some(header::STRICT_TRANSPORT_SECURITY),
                &hsts_value(hsts),
            );
        }
        if let Some(grant) = &self.grant {
            grant.apply(fields);
        }
        if let Some(cookie) = &self.cookie {
            fields.append(header::SET_COOKIE, cookie.clone());
        }
    }
}

/// The name, unless the message would be another one without the field as it is. Control refuses such rules; this edge
/// does not depend on it.
fn changeable(name: &str) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    (!fields::is_of_connection(&name)).then_some(name)
}

fn set(fields: &mut HeaderMap, name: Option<HeaderName>, text: &str) {
    if let (Some(name), Ok(value)) = (name, HeaderValue::from_str(text)) {
        fields.insert(name, value);
    }
}

/// RFC 6797, section 6.1.
fn hsts_value(hsts: Hsts) -> String {
    let mut value = format!("max-age={}", hsts.max_age.as_secs());
    // Writing to a String cannot fail.
    if hsts.include_subdomains {
        let _ = write!(value, "; includeSubDomains");
    }
    if hsts.preload {
        let _ = write!(value, "; preload");
    }
    value
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::app::{Access, AnswerRules};

    use super::*;

    fn applied(rules: AnswerRules, origin: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in origin {
            fields.append(*name, HeaderValue::from_static(value));
        }
        rules_of(rules).apply_to_origins(&mut fields);
        fields
    }

    fn rules_of(answer_rules: AnswerRules) -> Rules {
        let (id, group) = ("wiki".parse().unwrap(), "office".parse().unwrap());
        Rules {
            app: Some(Arc::new(App {
                answer_rules,
                ..App::new(id, group, Access::Passthrough)
            })),
            ..Rules::default()
        }
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn fields_are_removed_and_then_set() {
        let fields = applied(
            AnswerRules {
                remove: vec!["server".to_owned(), "x-frame-options".to_owned()],
                set: vec![
                    pair("x-frame-options", "DENY"),
                    pair("referrer-policy", "no-referrer"),
                ],
                ..AnswerRules::default()
            },
            &[
                ("server", "old/1.0"),
                ("x-frame-options", "ALLOWALL"),
                ("x-frame-options", "SAMEORIGIN"),
                ("etag", "\"1\""),
            ],
        );
        assert!(!fields.contains_key("server"));
        let framing: Vec<_> = fields.get_all("x-frame-options").iter().collect();
        assert_eq!(framing, ["DENY"]);
        assert_eq!(fields["referrer-policy"], "no-referrer");
        assert_eq!(fields["etag"], "\"1\"");
    }

    #[test]
    fn security_fields_replace_the_origins() {
        let fields = applied(
            AnswerRules {
                hsts: Some(Hsts {
                    max_age: Duration::from_secs(31_536_000),
                    include_subdomains: true,
                    preload: true,
                }),
                content_security_policy: Some("default-src 'self'".to_owned()),
                remove: vec!["strict-transport-security".to_owned()],
                ..AnswerRules::default()
            },
            &[
                ("strict-transport-security", "max-age=1"),
                ("content-security-policy", "default-src *"),
                ("content-security-policy", "script-src *"),
            ],
        );
        assert_eq!(
            fields["strict-transport-security"],
            "max-age=31536000; includeSubDomains; preload"
        );
        let policies: Vec<_> = fields.get_all("content-security-policy").iter().collect();
        assert_eq!(policies, ["default-src 'self'"]);
    }

    #[test]
    fn framing_and_connection_fields_are_left_alone() {
        let named = [
            "content-length",
            "transfer-encoding",
            "connection",
            "upgrade",
            "trailer",
            "te",
            "keep-alive",
        ];
        let fields = applied(
            AnswerRules {
                remove: vec!["content-length".to_owned()],
                set: named.map(|name| pair(name, "7")).to_vec(),
                ..AnswerRules::default()
            },
            &[("content-length", "5"), ("trailer", "grpc-status")],
        );
        assert_eq!(fields["content-length"], "5");
        assert_eq!(fields["trailer"], "grpc-status");
        assert_eq!(fields.len(), 2, "{fields:?}");
    }

    #[test]
    fn the_edges_own_pages_get_no_rules_but_transport_security() {
        let rules = rules_of(AnswerRules {
            hsts: Some(Hsts {
                max_age: Duration::ZERO,
                include_subdomains: false,
                preload: false,
            }),
            content_security_policy: Some("default-src *".to_owned()),
            set: vec![pair("x-any", "1")],
            ..AnswerRules::default()
        });
        let mut fields = HeaderMap::new();
        rules.apply_to_own(&mut fields);
        assert_eq!(fields["strict-transport-security"], "max-age=0");
        assert_eq!(fields.len(), 1, "{fields:?}");
    }

    #[test]
    fn without_rules_nothing_changes() {
        let fields = applied(AnswerRules::default(), &[("server", "x"), ("vary", "*")]);
        assert_eq!(fields.len(), 2);
    }
}
