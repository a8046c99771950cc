//! The fields of resources that a file can set, comparable and fit to be shown.

use proto::{access::Area, admin};
use serde::Serialize;
use serde_json::Value;

use crate::cli::{
    access_rule::view::RuleView,
    age,
    app::{
        AppView,
        words::{HealthCheckWords, LimitsWords, TimeoutsWords, identity_line},
    },
    settings::{BrandWords, EdgeLimitsWords, SecondFactorWord},
};

/// The value of a field.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(in crate::cli::apply) struct Field {
    /// Exact, for comparison and JSON.
    value: Value,
    /// One line for people.
    #[serde(skip)]
    pub(in crate::cli::apply) line: String,
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Field {
    fn text(text: &str) -> Self {
        Self {
            value: text.into(),
            line: text.to_owned(),
        }
    }

    fn list(exact: Value, lines: &[String]) -> Self {
        Self {
            value: exact,
            line: lines.join(", "),
        }
    }

    fn of(exact: Value, line: String) -> Self {
        Self { value: exact, line }
    }

    fn switch(is_on: bool) -> Self {
        Self {
            value: is_on.into(),
            line: if is_on { "yes" } else { "" }.to_owned(),
        }
    }

    /// This and another value as text, where their lines are the same: only the keys that differ.
    pub(in crate::cli::apply) fn told_apart(&self, other: &Self) -> (String, String) {
        let differing = |value: &Value, from: &Value| match (value, from) {
            (Value::Object(keys), Value::Object(others)) => {
                let keys = keys
                    .iter()
                    .filter(|(key, value)| others.get(*key) != Some(value));
                let keys = keys.map(|(key, value)| (key.clone(), value.clone()));
                Value::Object(keys.collect()).to_string()
            }
            _ => value.to_string(),
        };
        (
            differing(&self.value, &other.value),
            differing(&other.value, &self.value),
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }
}

pub(super) fn of_settings(settings: &admin::Settings) -> Vec<(&'static str, Field)> {
    let timeouts = TimeoutsWords::from(settings.timeouts.unwrap_or_default());
    let limits = LimitsWords::from(settings.limits.unwrap_or_default());
    let edge_limits = EdgeLimitsWords::from(settings.edge_limits.unwrap_or_default());
    let brand = BrandWords::from(settings.brand.clone().unwrap_or_default());
    vec![
        ("stopped", Field::switch(settings.stopped)),
        ("title_case", Field::switch(settings.title_case)),
        (
            "second_factor",
            Field::text(SecondFactorWord::of(settings.second_factor()).as_str()),
        ),
        (
            "second_factor_groups",
            Field::list(
                settings.second_factor_groups.clone().into(),
                &settings.second_factor_groups,
            ),
        ),
        (
            "sign_in_log_days",
            Field::text(&settings.sign_in_log_days.to_string()),
        ),
        ("timeouts", Field::of(exact(&timeouts), timeouts.line())),
        ("limits", Field::of(exact(&limits), limits.line())),
        (
            "edge_limits",
            Field::of(exact(&edge_limits), edge_limits.line()),
        ),
        ("brand", Field::of(exact(&brand), brand.line())),
    ]
}

pub(super) fn of_group(group: &admin::Group) -> Vec<(&'static str, Field)> {
    vec![("display_name", Field::text(&group.display_name))]
}

pub(super) fn of_location(display_name: &str, area: &Area) -> Vec<(&'static str, Field)> {
    let list = |lines: &[String]| Field::list(lines.to_vec().into(), lines);
    vec![
        ("display_name", Field::text(display_name)),
        ("area.networks", list(&area.networks)),
        ("area.countries", list(&area.countries)),
        ("area.unknown_country", Field::switch(area.unknown_country)),
        ("area.trusted", Field::switch(area.trusted)),
    ]
}

pub(super) fn of_access_rule(rule: &admin::AccessRule) -> Vec<(&'static str, Field)> {
    let parts = RuleView::from(rule.clone()).parts().into_iter();
    parts
        .map(|part| (part.path, Field::of(part.value, part.line)))
        .collect()
}

/// Always the same, so that two lists can be zipped. The credential is none of them, as control does not tell it.
pub(super) fn of_identity_provider(
    provider: &admin::IdentityProvider,
) -> Vec<(&'static str, Field)> {
    let list = |lines: &[String]| Field::list(lines.to_vec().into(), lines);
    let unsaid = (
        admin::ClaimNames::default(),
        admin::Asks::default(),
        admin::ProviderEndpoints::default(),
    );
    let claims = provider.claims.as_ref().unwrap_or(&unsaid.0);
    let asks = provider.asks.as_ref().unwrap_or(&unsaid.1);
    let endpoints = provider.endpoints.as_ref().unwrap_or(&unsaid.2);
    let how = provider.client_authentication().as_str_name();
    let how = word(how, "CLIENT_AUTHENTICATION_");
    let prompt = word(asks.prompt().as_str_name(), "PROMPT_");
    let age = asks.max_age.as_ref().map(age::span).unwrap_or_default();
    let every = provider.refresh_every.as_ref();
    let every = every.map(age::span).unwrap_or_default();
    vec![
        ("display_name", Field::text(&provider.display_name)),
        ("issuer", Field::text(&provider.issuer)),
        ("client_id", Field::text(&provider.client_id)),
        ("client_authentication", Field::text(&how)),
        ("key_id", Field::text(&provider.key_id)),
        (
            "client_certificate_pem",
            Field::text(&provider.client_certificate_pem),
        ),
        ("scopes", list(&provider.scopes)),
        ("algorithms", list(&provider.algorithms)),
        ("claims.user", Field::text(&claims.user)),
        ("claims.display_name", Field::text(&claims.display_name)),
        ("claims.email", Field::text(&claims.email)),
        ("claims.groups", Field::text(&claims.groups)),
        ("claims.kept", list(&claims.kept)),
        ("claims.kept_groups", list(&claims.kept_groups)),
        ("user_domains", list(&provider.user_domains)),
        ("plain_groups", Field::switch(provider.plain_groups)),
        ("asks.classes", list(&asks.classes)),
        ("asks.prompt", Field::text(&prompt)),
        ("asks.max_age", Field::text(&age)),
        (
            "endpoints.authorization",
            Field::text(&endpoints.authorization),
        ),
        ("endpoints.token", Field::text(&endpoints.token)),
        ("endpoints.keys", Field::text(&endpoints.keys)),
        ("endpoints.user_info", Field::text(&endpoints.user_info)),
        ("endpoints.end_session", Field::text(&endpoints.end_session)),
        ("endpoints.groups", Field::text(&endpoints.groups)),
        ("ca_pem", Field::text(&provider.ca_pem)),
        ("private_network", Field::switch(provider.private_network)),
        ("sign_out", Field::switch(provider.sign_out)),
        ("refresh_every", Field::text(&every)),
        ("disabled", Field::switch(provider.disabled)),
    ]
}

/// In the order in which they are shown; always the same fields, so that two lists can be zipped.
pub(super) fn of_app(app: &admin::App) -> Vec<(&'static str, Field)> {
    let mut view = AppView::from(app.clone());
    // Hosts are a set: their order says nothing.
    view.hosts.sort_unstable();
    for segment in &mut view.segments {
        segment.hosts.sort_unstable();
    }
    let origins = view.origins.iter().map(|origin| {
        if origin.line() == origin.url {
            Value::from(origin.url.as_str())
        } else {
            exact(origin)
        }
    });
    let timeout = |words: &Option<String>| Field::text(words.as_deref().unwrap_or_default());
    let check = view.health_check.as_ref().map(HealthCheckWords::line);
    let what = vec![
        ("display_name", Field::text(&view.display_name)),
        ("hosts", Field::list(view.hosts.clone().into(), &view.hosts)),
        ("path", Field::text(&view.path)),
        (
            "origins",
            Field::list(origins.collect(), &view.origin_lines()),
        ),
        (
            "segments",
            Field::list(exact(&view.segments), &view.segment_lines()),
        ),
        ("group", Field::text(&view.group)),
        ("access", Field::text(view.access)),
    ];
    let how = vec![
        ("timeouts.connect", timeout(&view.timeouts.connect)),
        ("timeouts.response", timeout(&view.timeouts.response)),
        ("timeouts.idle", timeout(&view.timeouts.idle)),
        ("timeouts.total", timeout(&view.timeouts.total)),
        ("limits", Field::of(exact(&view.limits), view.limits.line())),
        (
            "translation",
            Field::of(exact(&view.translation), view.translation.line()),
        ),
        (
            "answer_rules",
            Field::of(exact(&view.answer_rules), view.answer_rules.line()),
        ),
        ("cors", Field::list(exact(&view.cors), &view.cors_lines())),
        (
            "maintenance",
            Field::of(exact(&view.maintenance), view.maintenance_line()),
        ),
        ("home_path", Field::text(&view.home_path)),
        ("hide_forwarded", Field::switch(view.hide_forwarded)),
        ("keep_field_case", Field::switch(view.keep_field_case)),
        ("origin_proxy", Field::text(&view.origin_proxy)),
        (
            "health_check",
            Field::of(exact(&view.health_check), check.unwrap_or_default()),
        ),
        ("tile", Field::of(exact(&view.tile), view.tile.line())),
    ];
    [what, who_uses(&view), how].concat()
}

/// Of users, and what is told of them.
fn who_uses(view: &AppView) -> Vec<(&'static str, Field)> {
    vec![
        (
            "assignment",
            Field::of(exact(&view.assign), view.assign.line()),
        ),
        (
            "identity_providers",
            Field::list(
                view.identity_providers.clone().into(),
                &view.identity_providers,
            ),
        ),
        (
            "identity_fields",
            Field::of(
                exact(&view.identity_fields),
                identity_line(&view.identity_fields),
            ),
        ),
        ("assertion_field", Field::text(&view.assertion_field)),
        (
            "single_sign_on",
            Field::of(exact(&view.single_sign_on), view.sso_line()),
        ),
        (
            "session_cookie",
            Field::of(exact(&view.session_cookie), view.session_cookie.line()),
        ),
        ("cross_site_posts", Field::switch(view.cross_site_posts)),
        (
            "token_audiences",
            Field::list(view.token_audiences.clone().into(), &view.token_audiences),
        ),
        (
            "token_scopes",
            Field::list(view.token_scopes.clone().into(), &view.token_scopes),
        ),
        (
            "client_cas",
            Field::list(view.client_cas.clone().into(), &view.client_cas),
        ),
    ]
}

/// As files have it what the API calls `PREFIX_THAT_WORD`; nothing for what is not said.
fn word(name: &str, prefix: &str) -> String {
    let word = name.strip_prefix(prefix).unwrap_or(name);
    let word = word.to_ascii_lowercase().replace('_', "-");
    if word == "unspecified" {
        String::new()
    } else {
        word
    }
}

/// A setting in the form that files have. None of them can fail to be one.
fn exact(words: &impl Serialize) -> Value {
    serde_json::to_value(words).unwrap_or_default()
}
