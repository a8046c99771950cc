//! The fields of resources that a file can set, comparable and fit to be shown.

use proto::admin;
use serde::Serialize;
use serde_json::Value;

use crate::cli::app::AppView;

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

    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }
}

pub(super) fn of_group(group: &admin::Group) -> Vec<(&'static str, Field)> {
    vec![("display_name", Field::text(&group.display_name))]
}

/// In the order in which they are shown; always the same fields, so that two lists can be zipped.
pub(super) fn of_app(app: &admin::App) -> Vec<(&'static str, Field)> {
    let mut view = AppView::from(app.clone());
    // Hosts are a set: their order says nothing.
    view.hosts.sort_unstable();
    let origins = view.origins.iter().map(|origin| {
        let table = serde_json::json!({
            "url": origin.url,
            "ca_pem": origin.ca_pem,
            "server_name": origin.server_name,
            "insecure": origin.insecure,
        });
        if origin.line() == origin.url {
            Value::from(origin.url.as_str())
        } else {
            table
        }
    });
    vec![
        ("display_name", Field::text(&view.display_name)),
        ("hosts", Field::list(view.hosts.clone().into(), &view.hosts)),
        ("path", Field::text(&view.path)),
        (
            "origins",
            Field::list(origins.collect(), &view.origin_lines()),
        ),
        ("group", Field::text(&view.group)),
        ("access", Field::text(view.access)),
        ("timeouts.connect", Field::text(&view.timeouts.connect)),
        ("timeouts.response", Field::text(&view.timeouts.response)),
        ("timeouts.idle", Field::text(&view.timeouts.idle)),
    ]
}
