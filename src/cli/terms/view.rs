//! Terms and their acceptances as operators see them.

use std::time::SystemTime;

use proto::admin::{Terms, TermsAcceptance};
use serde::Serialize;

use crate::cli::{
    age,
    table::{self, Page, Row},
};

/// Characters of a version in a list: enough to tell texts apart.
const VERSION_CHARS: usize = 12;

/// Keys of terms in JSON.
#[derive(Debug, Serialize)]
pub(super) struct TermsView {
    pub(super) name: String,
    etag: String,
    title: String,
    /// Not in lists.
    text: String,
    version: String,
    again_after: Option<String>,
    create_time: Option<String>,
    update_time: Option<String>,
    #[serde(skip)]
    changed: Option<prost_types::Timestamp>,
}

impl From<Terms> for TermsView {
    fn from(terms: Terms) -> Self {
        Self {
            name: terms.name,
            etag: terms.etag,
            title: terms.title,
            text: terms.text,
            version: terms.version,
            again_after: terms.again_after.as_ref().map(age::span),
            create_time: age::rfc3339(terms.create_time),
            update_time: age::rfc3339(terms.update_time),
            changed: terms.update_time,
        }
    }
}

fn short(version: &str) -> String {
    version.chars().take(VERSION_CHARS).collect()
}

impl Row for TermsView {
    const COLUMNS: &'static [&'static str] =
        &["TERMS", "TITLE", "VERSION", "AGAIN AFTER", "CHANGED"];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            table::id(&self.name).to_owned(),
            self.title.clone(),
            short(&self.version),
            table::or_dash(self.again_after.as_deref().unwrap_or_default()),
            age::relative(self.changed.as_ref(), now),
        ]
    }
}

impl Page for TermsView {
    fn facts(&self, _now: SystemTime) -> Vec<(&'static str, String)> {
        vec![
            ("terms", table::id(&self.name).to_owned()),
            ("title", self.title.clone()),
            ("version", self.version.clone()),
            (
                "again after",
                self.again_after
                    .clone()
                    .unwrap_or_else(|| "never".to_owned()),
            ),
            ("created", age::to_the_second(self.create_time.as_deref())),
            ("changed", age::to_the_second(self.update_time.as_deref())),
            ("etag", self.etag.clone()),
            ("text", self.text.clone()),
        ]
    }
}

/// Keys of an acceptance in JSON.
#[derive(Debug, Serialize)]
pub(super) struct AcceptanceView {
    terms: String,
    user: String,
    /// Empty: the fabric itself.
    provider: String,
    version: String,
    accept_time: Option<String>,
    client: String,
    request_id: String,
}

impl From<TermsAcceptance> for AcceptanceView {
    fn from(acceptance: TermsAcceptance) -> Self {
        Self {
            terms: acceptance.terms,
            user: acceptance.user,
            provider: acceptance.provider,
            version: acceptance.version,
            accept_time: age::rfc3339(acceptance.accept_time),
            client: acceptance.client,
            request_id: acceptance.request_id,
        }
    }
}

impl Row for AcceptanceView {
    const COLUMNS: &'static [&'static str] =
        &["TERMS", "USER", "PROVIDER", "VERSION", "ACCEPTED", "FROM"];

    fn cells(&self, _now: SystemTime) -> Vec<String> {
        vec![
            table::id(&self.terms).to_owned(),
            table::id(&self.user).to_owned(),
            table::or_dash(table::id(&self.provider)),
            short(&self.version),
            age::to_the_second(self.accept_time.as_deref()),
            self.client.clone(),
        ]
    }
}
