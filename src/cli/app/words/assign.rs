//! Who may use an app, once they have signed in.

use model::name::{ServiceTokenId, UserId};
use proto::admin;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::cli::table;

/// Whoever is in any of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AssignWords {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) users: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) user_groups: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) everyone: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) services: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) programs: Vec<String>,
}

impl AssignWords {
    /// `None` for nobody, as control has it.
    pub(crate) fn meant(&self) -> Option<admin::Assignment> {
        let name = |id: &String| format!("{}{id}", UserId::COLLECTION);
        let service = |id: &String| format!("{}{id}", ServiceTokenId::COLLECTION);
        (!is_default(self)).then(|| admin::Assignment {
            users: self.users.iter().map(name).collect(),
            user_groups: self.user_groups.clone(),
            everyone: self.everyone,
            services: self.services.iter().map(service).collect(),
            programs: self.programs.clone(),
        })
    }

    /// All of it, for people.
    pub(crate) fn line(&self) -> String {
        let groups = self
            .user_groups
            .iter()
            .map(|group| format!("group {group}"));
        let services = self.services.iter().map(|id| format!("service {id}"));
        let programs = self.programs.iter().map(|name| format!("program {name}"));
        let named = self.users.iter().cloned().chain(groups);
        let named = named.chain(services).chain(programs);
        let everyone = self.everyone.then(|| "everyone".to_owned());
        let all: Vec<_> = everyone.into_iter().chain(named).collect();
        all.join(", ")
    }

    /// How many those are, for a column.
    pub(crate) fn count(&self) -> String {
        let counted = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what}")),
            many => Some(format!("{many} {what}s")),
        };
        let parts: Vec<_> = [
            counted(self.users.len(), "user"),
            counted(self.user_groups.len(), "group"),
            counted(self.services.len(), "service"),
            counted(self.programs.len(), "program"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.everyone {
            "everyone".to_owned()
        } else if parts.is_empty() {
            "nobody".to_owned()
        } else {
            parts.join(", ")
        }
    }
}

impl From<admin::Assignment> for AssignWords {
    fn from(assignment: admin::Assignment) -> Self {
        let users = assignment.users.iter();
        let services = assignment.services.iter();
        Self {
            users: users.map(|name| table::id(name).to_owned()).collect(),
            user_groups: assignment.user_groups,
            everyone: assignment.everyone,
            services: services.map(|name| table::id(name).to_owned()).collect(),
            programs: assignment.programs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_assigned_is_told_in_full_and_counted() {
        for (users, groups, services, everyone, line, count) in [
            (&[][..], &[][..], &[][..], false, "", "nobody"),
            (&["alice"], &[], &[], false, "alice", "1 user"),
            (
                &["alice", "bob"],
                &["staff"],
                &["ci"],
                false,
                "alice, bob, group staff, service ci",
                "2 users, 1 group, 1 service",
            ),
            (&["alice"], &[], &[], true, "everyone, alice", "everyone"),
        ] {
            let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
            let words = AssignWords {
                users: texts(users),
                user_groups: texts(groups),
                everyone,
                services: texts(services),
                programs: Vec::new(),
            };
            assert_eq!((words.line(), words.count()), (line.into(), count.into()));
            let back = words.meant().unwrap_or_default();
            assert_eq!(AssignWords::from(back), words);
        }
        let words = AssignWords {
            programs: vec!["jobs/*".to_owned()],
            ..AssignWords::default()
        };
        assert_eq!(
            (words.line(), words.count()),
            ("program jobs/*".into(), "1 program".into())
        );
        assert_eq!(AssignWords::from(words.meant().unwrap()), words);
    }
}
