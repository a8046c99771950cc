//! In which line of the file each key is, so that whatever is wrong is told with its place.

use std::{collections::HashMap, path::Path};

use model::name::{AccessRuleId, AppId, GroupId, IdentityProviderId, LocationId};
use toml::de::{DeTable, DeValue};

use super::{access_rule, plan::Resource};
use crate::cli::failure::Answer;

/// Lines of a file by dotted key, such as `app.wiki.hosts[0]`. By default of no file.
#[derive(Debug, Default)]
pub(super) struct Lines {
    file: String,
    lines: HashMap<String, usize>,
}

impl Lines {
    /// Of a file with this text; without any if it cannot be read, which is told elsewhere.
    pub(super) fn new(path: &Path, text: &str) -> Self {
        let mut lines = HashMap::new();
        if let Ok(table) = DeTable::parse(text) {
            let starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
            let line = |at: usize| starts.partition_point(|start| *start < at) + 1;
            gather("", table.get_ref(), &line, &mut lines);
        }
        let file = path.file_name().unwrap_or(path.as_os_str());
        Self {
            file: file.to_string_lossy().into_owned(),
            lines,
        }
    }

    /// The line of a key, or of the nearest around it that is written.
    pub(super) fn of(&self, key: &str) -> Option<usize> {
        let mut key = key;
        loop {
            if let Some(line) = self.lines.get(key) {
                return Some(*line);
            }
            (key, _) = key.rsplit_once(['.', '['])?;
        }
    }

    /// An answer of control, of which each violation says where in the file it is due to something.
    pub(super) fn located(&self, mut answer: Answer, resource: &Resource) -> Answer {
        for (field, _) in &mut answer.violations {
            let key = file_key(field, resource);
            if let Some(line) = self.of(&key) {
                *field = format!("{}:{line}: {key}", self.file);
            }
        }
        answer
    }
}

fn gather(
    prefix: &str,
    table: &DeTable<'_>,
    line: &dyn Fn(usize) -> usize,
    lines: &mut HashMap<String, usize>,
) {
    for (name, value) in table {
        let key = match prefix {
            "" => name.get_ref().to_string(),
            prefix => format!("{prefix}.{}", name.get_ref()),
        };
        lines.insert(key.clone(), line(name.span().start));
        match value.get_ref() {
            DeValue::Table(table) => gather(&key, table, line, lines),
            DeValue::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    let key = format!("{key}[{at}]");
                    lines.insert(key.clone(), line(item.span().start));
                    if let DeValue::Table(table) = item.get_ref() {
                        gather(&key, table, line, lines);
                    }
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}

/// What control calls `app.hosts[0]` is `app.wiki.hosts[0]` in the file.
fn file_key(field: &str, resource: &Resource) -> String {
    let (table, collection) = match resource {
        Resource::Settings(_) => return field.to_owned(),
        Resource::Group(_) => ("group", GroupId::COLLECTION),
        Resource::IdentityProvider(_) => ("identity_provider", IdentityProviderId::COLLECTION),
        Resource::Location(_) => ("location", LocationId::COLLECTION),
        Resource::AccessRule(_) => ("access_rule", AccessRuleId::COLLECTION),
        Resource::App(_) => ("app", AppId::COLLECTION),
    };
    let id = resource.name().strip_prefix(collection).unwrap_or_default();
    let Some(within) = field
        .strip_prefix(table)
        .and_then(|rest| rest.strip_prefix('.'))
    else {
        return format!("{table}.{id}");
    };
    let within = match resource {
        Resource::AccessRule(_) => access_rule::key_of(within),
        Resource::Location(_) => within.strip_prefix("area.").unwrap_or(within).to_owned(),
        Resource::Settings(_)
        | Resource::Group(_)
        | Resource::IdentityProvider(_)
        | Resource::App(_) => within.to_owned(),
    };
    format!("{table}.{id}.{within}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[app.wiki]\nhosts = [\n  \"a\",\n  \"b\",\n]\norigins = [{ url = \"x\" }]\n\n[access_rule.a]\napps = [\"wiki\"]\n[[other]]\nx = 1\n";

    #[test]
    fn a_key_is_found_or_the_nearest_around_it() {
        let lines = Lines::new(Path::new("/etc/fabric.toml"), TEXT);
        for (key, line) in [
            ("app.wiki", Some(1)),
            ("app.wiki.hosts", Some(2)),
            ("app.wiki.hosts[1]", Some(4)),
            ("app.wiki.hosts[7]", Some(2)),
            ("app.wiki.origins[0].url", Some(6)),
            ("app.wiki.origins[0].ca_file", Some(6)),
            ("app.wiki.timeouts.idle", Some(1)),
            ("access_rule.a.apps[0]", Some(9)),
            ("other[0].x", Some(11)),
            ("settings.limits", None),
        ] {
            assert_eq!(lines.of(key), line, "{key}");
        }
        assert_eq!(Lines::default().of("app.wiki"), None);
        assert_eq!(Lines::new(Path::new("x"), "[").of("app"), None);
    }

    #[test]
    fn what_control_finds_wrong_is_placed_in_the_file() {
        let rule = proto::admin::AccessRule {
            name: "accessRules/a".to_owned(),
            ..Default::default()
        };
        let rule = Resource::AccessRule(Box::new(rule));
        for (field, key) in [
            ("access_rule.policy.which.apps[0]", "access_rule.a.apps[0]"),
            ("access_rule_id", "access_rule.a"),
        ] {
            assert_eq!(file_key(field, &rule), key);
        }
    }
}
