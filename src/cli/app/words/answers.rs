//! Fields of answers that the edge sets or removes, and the notice in place of an app.

use std::collections::BTreeMap;

use proto::admin;
use serde::{Deserialize, Serialize};

use super::{Reading, is_default, span_words};

/// What the edge changes in an app's answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AnswerRulesWords {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hsts: Option<HstsWords>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) content_security_policy: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) set: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) robots: Option<RobotsWord>,
    /// The text that the edge answers with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) robots_text: String,
}

/// Strict-Transport-Security.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HstsWords {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_age: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) include_subdomains: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) preload: bool,
}

/// Who answers /robots.txt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RobotsWord {
    /// The edge, keeping search engines out.
    Disallow,
    /// The origin.
    Origin,
}

impl RobotsWord {
    /// As the API has it.
    pub(crate) fn wire(self) -> admin::Robots {
        match self {
            Self::Disallow => admin::Robots::Disallow,
            Self::Origin => admin::Robots::Origin,
        }
    }
}

impl AnswerRulesWords {
    pub(crate) fn meant(&self, key: &str, reading: &mut Reading<'_>) -> admin::AnswerRules {
        if self.robots.is_some() && !self.robots_text.is_empty() {
            let key = format!("{key}.robots");
            reading
                .problems
                .add(key, "must be left out where robots_text is given");
        }
        let robots = if self.robots_text.is_empty() {
            self.robots.unwrap_or(RobotsWord::Disallow).wire()
        } else {
            admin::Robots::Text
        };
        let set = self.set.iter().map(|(name, value)| admin::Field {
            name: name.clone(),
            value: value.clone(),
        });
        admin::AnswerRules {
            hsts: self.hsts.as_ref().map(|hsts| admin::Hsts {
                max_age: reading.span(&format!("{key}.hsts.max_age"), hsts.max_age.as_ref()),
                include_subdomains: hsts.include_subdomains,
                preload: hsts.preload,
            }),
            content_security_policy: self.content_security_policy.clone(),
            set: set.collect(),
            remove: self.remove.clone(),
            robots: robots.into(),
            robots_text: self.robots_text.clone(),
        }
    }

    /// One line for people: only what differs from the default.
    pub(crate) fn line(&self) -> String {
        let mut parts = Vec::new();
        if let Some(age) = self.hsts.as_ref().and_then(|hsts| hsts.max_age.as_ref()) {
            parts.push(format!("HSTS for {age}"));
        }
        if !self.content_security_policy.is_empty() {
            parts.push("own Content-Security-Policy".to_owned());
        }
        if !self.set.is_empty() {
            let names: Vec<_> = self.set.keys().map(String::as_str).collect();
            parts.push(format!("sets {}", names.join(" ")));
        }
        if !self.remove.is_empty() {
            parts.push(format!("removes {}", self.remove.join(" ")));
        }
        if self.robots == Some(RobotsWord::Origin) {
            parts.push("robots.txt of the origin".to_owned());
        }
        if !self.robots_text.is_empty() {
            parts.push("own robots.txt".to_owned());
        }
        parts.join(", ")
    }
}

impl From<admin::AnswerRules> for AnswerRulesWords {
    fn from(rules: admin::AnswerRules) -> Self {
        let robots = match rules.robots() {
            admin::Robots::Origin => Some(RobotsWord::Origin),
            admin::Robots::Unspecified | admin::Robots::Disallow | admin::Robots::Text => None,
        };
        let set = rules.set.into_iter().map(|field| (field.name, field.value));
        Self {
            hsts: rules.hsts.map(|hsts| HstsWords {
                max_age: span_words(hsts.max_age),
                include_subdomains: hsts.include_subdomains,
                preload: hsts.preload,
            }),
            content_security_policy: rules.content_security_policy,
            set: set.collect(),
            remove: rules.remove,
            robots,
            robots_text: rules.robots_text,
        }
    }
}

/// A notice in place of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MaintenanceWords {
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<String>,
}

impl MaintenanceWords {
    pub(crate) fn meant(&self, key: &str, reading: &mut Reading<'_>) -> admin::Maintenance {
        admin::Maintenance {
            message: self.message.clone(),
            retry_after: reading.span(&format!("{key}.retry_after"), self.retry_after.as_ref()),
        }
    }
}

impl From<admin::Maintenance> for MaintenanceWords {
    fn from(maintenance: admin::Maintenance) -> Self {
        Self {
            message: maintenance.message,
            retry_after: span_words(maintenance.retry_after),
        }
    }
}
