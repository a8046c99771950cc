//! Rules for other sites' pages, on the way to edges.

use std::time::Duration;

use model::app::CorsRule;

use super::{Reader, ResourceError};
use crate::{
    fabric,
    rules::{self, ANY},
};

/// What an error says.
const WHAT: &str = "a CORS rule";

pub(super) fn write(rule: &CorsRule) -> fabric::CorsRule {
    fabric::CorsRule {
        path: rule.path.as_str().to_owned(),
        origins: rule.origins.clone(),
        methods: rule.methods.clone(),
        fields: rule.fields.clone(),
        exposed_fields: rule.exposed_fields.clone(),
        credentials: rule.credentials,
        max_age_s: rule.max_age.as_secs(),
    }
}

impl Reader<'_> {
    pub(super) fn cors(&self, wire: &[fabric::CorsRule]) -> Result<Vec<CorsRule>, ResourceError> {
        self.all("CORS rules", (0, CorsRule::RULES_MAX), wire, |rule| {
            self.cors_rule(rule)
        })
    }

    fn cors_rule(&self, wire: &fabric::CorsRule) -> Result<CorsRule, ResourceError> {
        let origins = (1, CorsRule::ORIGINS_MAX);
        let methods = (0, CorsRule::ORIGINS_MAX);
        let fields = (0, CorsRule::FIELDS_MAX);
        let rule = CorsRule {
            path: self.path(&wire.path)?,
            origins: self.all("CORS origins", origins, &wire.origins, |origin| {
                self.setting(WHAT, rules::cors_origin_or_any(origin))?;
                Ok(origin.clone())
            })?,
            methods: self.all("CORS methods", methods, &wire.methods, |method| {
                self.holds(WHAT, rules::is_token(method))?;
                Ok(method.clone())
            })?,
            fields: self.all("CORS fields", fields, &wire.fields, |name| {
                self.setting(WHAT, rules::field_name(name))
            })?,
            exposed_fields: self.all("CORS fields", fields, &wire.exposed_fields, |name| {
                self.setting(WHAT, rules::field_name(name))
            })?,
            credentials: wire.credentials,
            max_age: Duration::from_secs(wire.max_age_s),
        };
        let any = rule.origins.iter().any(|origin| origin == ANY);
        let alone = rule.origins.len() == 1 && !rule.credentials;
        self.holds(WHAT, !any || alone)?;
        self.holds(WHAT, rule.max_age <= CorsRule::MAX_AGE_MAX)?;
        Ok(rule)
    }
}
