//! An app as operators see it.

use std::time::SystemTime;

use proto::admin;
use serde::Serialize;

use super::words::{
    AnswerRulesWords, AssignWords, CorsWords, HealthCheckWords, IdentityWords, LimitsWords,
    MaintenanceWords, OriginWords, SegmentWords, SessionCookieWords, SsoWords, TileWords,
    TimeoutsWords, TranslationWords, identity_line, identity_words, is_default,
};
use crate::cli::{
    age,
    table::{self, Page, Row},
};

/// As flags and files have it.
const SIGN_IN: &str = "sign-in";

/// Keys of an app in JSON. Settings that few apps need are left out where they have their defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AppView {
    pub(crate) name: String,
    pub(crate) etag: String,
    pub(crate) display_name: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) path: String,
    pub(crate) origins: Vec<OriginWords>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) segments: Vec<SegmentWords>,
    pub(crate) group: String,
    pub(crate) access: &'static str,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) assign: AssignWords,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) identity_fields: IdentityWords,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) identity_providers: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) assertion_field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) single_sign_on: Option<SsoWords>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) session_cookie: SessionCookieWords,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) cross_site_posts: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) token_audiences: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) token_scopes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) client_cas: Vec<String>,
    pub(crate) timeouts: TimeoutsWords,
    pub(crate) limits: LimitsWords,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) translation: TranslationWords,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) answer_rules: AnswerRulesWords,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cors: Vec<CorsWords>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) maintenance: Option<MaintenanceWords>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) home_path: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) hide_forwarded: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) keep_field_case: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) origin_proxy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check: Option<HealthCheckWords>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) tile: TileWords,
    pub(crate) create_time: Option<String>,
    pub(crate) update_time: Option<String>,
    #[serde(skip)]
    changed: Option<prost_types::Timestamp>,
}

impl From<admin::App> for AppView {
    fn from(app: admin::App) -> Self {
        Self {
            access: match app.access() {
                admin::Access::SignIn => SIGN_IN,
                admin::Access::Unspecified => "unspecified",
                admin::Access::Passthrough => "passthrough",
            },
            assign: app.assignment.unwrap_or_default().into(),
            identity_fields: identity_words(app.identity_fields),
            identity_providers: app.identity_providers,
            assertion_field: app.assertion_field,
            single_sign_on: app.single_sign_on.map(Into::into),
            session_cookie: app.session_cookie.unwrap_or_default().into(),
            cross_site_posts: app.cross_site_posts,
            token_audiences: app.token_audiences,
            token_scopes: app.token_scopes,
            client_cas: app.client_cas,
            name: app.name,
            etag: app.etag,
            display_name: app.display_name,
            hosts: app.hosts,
            path: app.path,
            origins: app.origins.into_iter().map(Into::into).collect(),
            segments: app.segments.into_iter().map(Into::into).collect(),
            group: app.group,
            timeouts: app.timeouts.unwrap_or_default().into(),
            limits: app.limits.unwrap_or_default().into(),
            translation: app.translation.unwrap_or_default().into(),
            answer_rules: app.answer_rules.unwrap_or_default().into(),
            cors: app.cors.into_iter().map(Into::into).collect(),
            maintenance: app.maintenance.map(Into::into),
            home_path: app.home_path,
            hide_forwarded: app.hide_forwarded,
            keep_field_case: app.keep_field_case,
            origin_proxy: app.origin_proxy,
            health_check: app.health_check.map(Into::into),
            tile: app.tile.unwrap_or_default().into(),
            create_time: age::rfc3339(app.create_time),
            update_time: age::rfc3339(app.update_time),
            changed: app.update_time,
        }
    }
}

impl AppView {
    /// Where users find it: one URL for each host.
    pub(super) fn addresses(&self) -> String {
        let own = self.hosts.iter().map(|host| (host, &self.path));
        let others = self
            .segments
            .iter()
            .flat_map(|segment| segment.hosts.iter().map(|host| (host, &segment.path)));
        let urls: Vec<_> = own
            .chain(others)
            .map(|(host, path)| format!("https://{host}{path}"))
            .collect();
        urls.join(", ")
    }

    /// One origin a line.
    pub(crate) fn origin_lines(&self) -> Vec<String> {
        self.origins.iter().map(OriginWords::line).collect()
    }

    /// One segment a line.
    pub(crate) fn segment_lines(&self) -> Vec<String> {
        let line = |segment: &SegmentWords| {
            let origins: Vec<_> = segment.origins.iter().map(OriginWords::line).collect();
            let (hosts, origins) = (segment.hosts.join(", "), origins.join(", "));
            let inside = match segment.inner_path.as_str() {
                "" => String::new(),
                path => format!(", path {path} inside"),
            };
            let told = match &*identity_line(&segment.identity_fields) {
                "" => String::new(),
                fields => format!(", with {fields}"),
            };
            format!(
                "{}: {hosts} {} to {origins}{inside}{told}",
                segment.id, segment.path
            )
        };
        self.segments.iter().map(line).collect()
    }

    /// One rule a line.
    pub(crate) fn cors_lines(&self) -> Vec<String> {
        self.cors.iter().map(CorsWords::line).collect()
    }

    /// Settings that few apps need, by name; only those that are not at their defaults.
    fn more_facts(&self) -> Vec<(&'static str, String)> {
        let check = self.health_check.as_ref().map(HealthCheckWords::line);
        let yes = |is_on: bool| if is_on { "yes" } else { "" }.to_owned();
        let mut facts = vec![
            ("assigned to", self.assigned_line()),
            ("identity fields", identity_line(&self.identity_fields)),
            ("identity providers", self.identity_providers.join(", ")),
            ("assertion field", self.assertion_field.clone()),
            ("single sign-on", self.sso_line()),
            ("session cookie", self.session_cookie.line()),
            ("cross-site posts", yes(self.cross_site_posts)),
            ("token audiences", self.token_audiences.join(", ")),
            ("token scopes", self.token_scopes.join(", ")),
            ("client CAs", self.client_cas.join(", ")),
            ("segments", self.segment_lines().join("\n")),
            ("limits", self.limits.line()),
            ("translation", self.translation.line()),
            ("answer rules", self.answer_rules.line()),
            ("cors", self.cors_lines().join("\n")),
            ("maintenance", self.maintenance_line()),
            ("home path", self.home_path.clone()),
            ("hide forwarded", yes(self.hide_forwarded)),
            ("keep field case", yes(self.keep_field_case)),
            ("origin proxy", self.origin_proxy.clone()),
            ("health check", check.unwrap_or_default()),
            ("tile", self.tile.line()),
        ];
        facts.retain(|(_, value)| !value.is_empty());
        facts
    }

    /// Who may use the app, in short.
    fn access_line(&self) -> String {
        if self.access == SIGN_IN {
            return format!("{SIGN_IN}: {}", self.assign.count());
        }
        self.access.to_owned()
    }

    /// Who may use the app of those who have signed in; empty where nobody signs in.
    fn assigned_line(&self) -> String {
        let line = self.assign.line();
        match (self.access == SIGN_IN, line.is_empty()) {
            (true, true) => "nobody".to_owned(),
            (true, false) | (false, _) => line,
        }
    }

    /// How users are signed on; empty if they do it themselves.
    pub(crate) fn sso_line(&self) -> String {
        self.single_sign_on
            .as_ref()
            .map(SsoWords::line)
            .unwrap_or_default()
    }

    /// What users see in place of the app; empty if they see the app.
    pub(crate) fn maintenance_line(&self) -> String {
        match &self.maintenance {
            None => String::new(),
            Some(notice) if notice.message.is_empty() => "on".to_owned(),
            Some(notice) => format!("on: {}", notice.message),
        }
    }
}

impl Row for AppView {
    const COLUMNS: &'static [&'static str] = &[
        "APP", "HOSTS", "PATH", "ORIGINS", "GROUP", "ACCESS", "CHANGED",
    ];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        let segments = || self.segments.iter();
        let origins = segments().flat_map(|segment| &segment.origins);
        let urls: Vec<_> = self
            .origins
            .iter()
            .chain(origins)
            .map(|o| o.url.as_str())
            .collect();
        // PATH is the main part's.
        let others = segments().flat_map(|segment| {
            let hosts = segment.hosts.iter();
            hosts.map(|host| format!("{host}{}", segment.path))
        });
        let hosts: Vec<_> = self.hosts.iter().cloned().chain(others).collect();
        vec![
            table::id(&self.name).to_owned(),
            hosts.join(", "),
            self.path.clone(),
            urls.join(", "),
            table::id(&self.group).to_owned(),
            self.access_line(),
            age::relative(self.changed.as_ref(), now),
        ]
    }
}

impl Page for AppView {
    fn facts(&self, now: SystemTime) -> Vec<(&'static str, String)> {
        let changed = age::to_the_second(self.update_time.as_deref());
        let ago = age::relative(self.changed.as_ref(), now);
        let span = |words: &Option<String>| words.clone().unwrap_or_default();
        let mut facts = vec![
            ("app", table::id(&self.name).to_owned()),
            ("display name", self.display_name.clone()),
            ("hosts", self.hosts.join("\n")),
            ("path", self.path.clone()),
            ("origins", self.origin_lines().join("\n")),
            ("group", table::id(&self.group).to_owned()),
            ("access", self.access.to_owned()),
            ("connect timeout", span(&self.timeouts.connect)),
            ("response timeout", span(&self.timeouts.response)),
            ("idle timeout", span(&self.timeouts.idle)),
        ];
        if let Some(total) = self.timeouts.total.as_ref().filter(|&total| total != "0s") {
            facts.push(("total timeout", total.clone()));
        }
        facts.extend(self.more_facts());
        facts.extend([
            ("created", age::to_the_second(self.create_time.as_deref())),
            ("changed", format!("{changed} ({ago})")),
            ("etag", self.etag.clone()),
        ]);
        facts
    }
}
