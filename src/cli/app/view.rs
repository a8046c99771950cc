//! An app as operators see it.

use std::time::SystemTime;

use proto::admin;
use serde::Serialize;

use crate::cli::{
    age,
    table::{self, Page, Row},
};

/// Keys of an app in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AppView {
    pub(crate) name: String,
    pub(crate) etag: String,
    pub(crate) display_name: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) path: String,
    pub(crate) origins: Vec<OriginView>,
    pub(crate) group: String,
    pub(crate) access: &'static str,
    pub(crate) timeouts: TimeoutsView,
    pub(crate) create_time: Option<String>,
    pub(crate) update_time: Option<String>,
    #[serde(skip)]
    changed: Option<prost_types::Timestamp>,
}

/// Keys of an origin in JSON; those of its TLS are left out where nothing was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct OriginView {
    pub(crate) url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) ca_pem: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) server_name: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) insecure: bool,
}

/// Keys of time-outs in JSON; spans as in flags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TimeoutsView {
    pub(crate) connect: String,
    pub(crate) response: String,
    pub(crate) idle: String,
}

impl From<admin::App> for AppView {
    fn from(app: admin::App) -> Self {
        let timeouts = app.timeouts.unwrap_or_default();
        let span = |wire: Option<prost_types::Duration>| wire.as_ref().map(age::span);
        Self {
            access: match app.access() {
                admin::Access::Unspecified => "unspecified",
                admin::Access::Passthrough => "passthrough",
            },
            name: app.name,
            etag: app.etag,
            display_name: app.display_name,
            hosts: app.hosts,
            path: app.path,
            origins: app.origins.into_iter().map(OriginView::from).collect(),
            group: app.group,
            timeouts: TimeoutsView {
                connect: span(timeouts.connect).unwrap_or_default(),
                response: span(timeouts.response).unwrap_or_default(),
                idle: span(timeouts.idle).unwrap_or_default(),
            },
            create_time: age::rfc3339(app.create_time),
            update_time: age::rfc3339(app.update_time),
            changed: app.update_time,
        }
    }
}

impl From<admin::Origin> for OriginView {
    fn from(origin: admin::Origin) -> Self {
        let tls = origin.tls.unwrap_or_default();
        Self {
            url: origin.url,
            ca_pem: tls.ca_pem,
            server_name: tls.server_name,
            insecure: tls.insecure,
        }
    }
}

impl OriginView {
    /// One line: the URL and whatever differs from a plain check of its certificate.
    pub(crate) fn line(&self) -> String {
        let mut line = self.url.clone();
        if !self.server_name.is_empty() {
            line.push_str(" as ");
            line.push_str(&self.server_name);
        }
        if !self.ca_pem.is_empty() {
            line.push_str(&format!(" (own CA, {} bytes)", self.ca_pem.len()));
        }
        if self.insecure {
            line.push_str(" (any certificate)");
        }
        line
    }
}

impl AppView {
    /// Where users find it: one URL for each host.
    pub(super) fn addresses(&self) -> String {
        let urls = self.hosts.iter();
        let urls: Vec<_> = urls
            .map(|host| format!("https://{host}{}", self.path))
            .collect();
        urls.join(", ")
    }

    /// One origin a line.
    pub(crate) fn origin_lines(&self) -> Vec<String> {
        self.origins.iter().map(OriginView::line).collect()
    }
}

impl Row for AppView {
    const COLUMNS: &'static [&'static str] = &[
        "APP", "HOSTS", "PATH", "ORIGINS", "GROUP", "ACCESS", "CHANGED",
    ];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        let urls: Vec<_> = self.origins.iter().map(|o| o.url.as_str()).collect();
        vec![
            table::id(&self.name).to_owned(),
            self.hosts.join(", "),
            self.path.clone(),
            urls.join(", "),
            table::id(&self.group).to_owned(),
            self.access.to_owned(),
            age::relative(self.changed.as_ref(), now),
        ]
    }
}

impl Page for AppView {
    fn facts(&self, now: SystemTime) -> Vec<(&'static str, String)> {
        let changed = age::to_the_second(self.update_time.as_deref());
        let ago = age::relative(self.changed.as_ref(), now);
        vec![
            ("app", table::id(&self.name).to_owned()),
            ("display name", self.display_name.clone()),
            ("hosts", self.hosts.join("\n")),
            ("path", self.path.clone()),
            ("origins", self.origin_lines().join("\n")),
            ("group", table::id(&self.group).to_owned()),
            ("access", self.access.to_owned()),
            ("connect timeout", self.timeouts.connect.clone()),
            ("response timeout", self.timeouts.response.clone()),
            ("idle timeout", self.timeouts.idle.clone()),
            ("created", age::to_the_second(self.create_time.as_deref())),
            ("changed", format!("{changed} ({ago})")),
            ("etag", self.etag.clone()),
        ]
    }
}
