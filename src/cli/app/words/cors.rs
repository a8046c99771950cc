//! Which other sites' pages may use an app.

use proto::admin;
use serde::{Deserialize, Serialize};

use super::{Reading, is_default, span_words};

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CorsWords {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) path: String,
    pub(crate) origins: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) methods: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) fields: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) exposed_fields: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) credentials: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_age: Option<String>,
}

impl CorsWords {
    pub(crate) fn meant(&self, key: &str, reading: &mut Reading<'_>) -> admin::CorsRule {
        admin::CorsRule {
            path: self.path.clone(),
            origins: self.origins.clone(),
            methods: self.methods.clone(),
            fields: self.fields.clone(),
            exposed_fields: self.exposed_fields.clone(),
            credentials: self.credentials,
            max_age: reading.span(&format!("{key}.max_age"), self.max_age.as_ref()),
        }
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let path = if self.path.is_empty() {
            "/"
        } else {
            &self.path
        };
        format!("{path} for {}", self.origins.join(", "))
    }
}

impl From<admin::CorsRule> for CorsWords {
    fn from(rule: admin::CorsRule) -> Self {
        Self {
            path: rule.path,
            origins: rule.origins,
            methods: rule.methods,
            fields: rule.fields,
            exposed_fields: rule.exposed_fields,
            credentials: rule.credentials,
            max_age: span_words(rule.max_age),
        }
    }
}
