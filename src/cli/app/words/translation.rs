//! How inner names and public ones are turned into one another.

use proto::admin;
use serde::{Deserialize, Serialize};

use super::{Reading, is_default};

/// What agents translate for an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TranslationWords {
    /// `inner` (default) or `public`; or `inner_host` says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<HostSentWord>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) inner_host: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) keep_fields: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) bodies: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) json: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) scripts: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) inner_path: String,
}

/// Host that origins get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HostSentWord {
    Inner,
    Public,
}

impl TranslationWords {
    pub(crate) fn meant(&self, key: &str, reading: &mut Reading<'_>) -> admin::Translation {
        if self.host.is_some() && !self.inner_host.is_empty() {
            let key = format!("{key}.host");
            reading
                .problems
                .add(key, "must be left out where inner_host says it");
        }
        let host = match self.host {
            _ if !self.inner_host.is_empty() => admin::HostSent::Named,
            Some(HostSentWord::Public) => admin::HostSent::Public,
            Some(HostSentWord::Inner) | None => admin::HostSent::Inner,
        };
        admin::Translation {
            host: host.into(),
            inner_host: self.inner_host.clone(),
            keep_fields: self.keep_fields,
            bodies: self.bodies,
            json: self.json,
            scripts: self.scripts,
            inner_path: self.inner_path.clone(),
        }
    }

    /// One line for people: only what differs from the default.
    pub(crate) fn line(&self) -> String {
        let mut parts = Vec::new();
        if self.host == Some(HostSentWord::Public) {
            parts.push("origins get the public host".to_owned());
        }
        if !self.inner_host.is_empty() {
            parts.push(format!("origins get the host {}", self.inner_host));
        }
        if !self.inner_path.is_empty() {
            parts.push(format!("path {} inside", self.inner_path));
        }
        for (is_on, what) in [
            (self.keep_fields, "fields kept"),
            (self.bodies, "HTML and CSS"),
            (self.json, "JSON"),
            (self.scripts, "scripts"),
        ] {
            if is_on {
                parts.push(what.to_owned());
            }
        }
        parts.join(", ")
    }
}

impl From<admin::Translation> for TranslationWords {
    fn from(translation: admin::Translation) -> Self {
        let host = match translation.host() {
            admin::HostSent::Public => Some(HostSentWord::Public),
            admin::HostSent::Unspecified | admin::HostSent::Inner | admin::HostSent::Named => None,
        };
        Self {
            host,
            inner_host: translation.inner_host,
            keep_fields: translation.keep_fields,
            bodies: translation.bodies,
            json: translation.json,
            scripts: translation.scripts,
            inner_path: translation.inner_path,
        }
    }
}
