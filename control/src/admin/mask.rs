//! Field masks (AIP-134): which fields of a message an update writes.

use prost_types::FieldMask;
use proto::violation::Violation;

use super::refusal::violation;

/// One field that an update may write.
pub(crate) struct Field<T: 'static> {
    /// As written in a mask: `hosts`, `timeouts.response`.
    pub(crate) path: &'static str,
    /// Whether the message says anything about it.
    pub(crate) is_set: fn(&T) -> bool,
    /// Takes it over from another message.
    pub(crate) copy: fn(&mut T, &T),
}

/// Everything an update may write, and what it may not.
pub(crate) struct Fields<T: 'static> {
    /// Leaves only: a parent such as `timeouts` stands for all of its children.
    pub(crate) leaves: &'static [Field<T>],
    /// Fields that exist but are not the caller's to write.
    pub(crate) output_only: &'static [&'static str],
}

/// `old` with the chosen fields of `wanted`; all of `wanted` where nothing was before.
pub(crate) fn merged<T: Clone>(old: Option<&T>, wanted: &T, chosen: &[&Field<T>]) -> T {
    let Some(old) = old else {
        return wanted.clone();
    };
    let mut merged = old.clone();
    for field in chosen {
        (field.copy)(&mut merged, wanted);
    }
    merged
}

/// Most paths that one mask may name: far more than any resource has fields.
const PATHS_MAX: usize = 64;

impl<T> Fields<T> {
    /// The fields that `mask` selects in `message` (without a mask those that are set), and what is wrong with the mask.
    pub(crate) fn select(
        &self,
        mask: Option<&FieldMask>,
        message: &T,
    ) -> (Vec<&'static Field<T>>, Vec<Violation>) {
        let Some(mask) = mask else {
            let set = self.leaves.iter().filter(|leaf| (leaf.is_set)(message));
            return (set.collect(), Vec::new());
        };
        if mask.paths == ["*"] {
            return (self.leaves.iter().collect(), Vec::new());
        }
        let chosen = |leaf: &&Field<T>| mask.paths.iter().any(|path| holds(path, leaf.path));
        let chosen = self.leaves.iter().filter(chosen).collect();
        (chosen, self.violations(&mask.paths))
    }

    fn violations(&self, paths: &[String]) -> Vec<Violation> {
        if paths.len() > PATHS_MAX {
            return vec![violation(
                "update_mask",
                format!("must not have more than {PATHS_MAX} paths"),
            )];
        }
        paths
            .iter()
            .filter_map(|path| self.violation(path))
            .collect()
    }

    fn violation(&self, path: &str) -> Option<Violation> {
        let what = if self.leaves.iter().any(|leaf| holds(path, leaf.path)) {
            return None;
        } else if path == "*" {
            "* must be the only path".to_owned()
        } else if self.output_only.contains(&path) {
            format!("{path} cannot be changed")
        } else {
            format!("\"{path}\" is not a field of the resource")
        };
        Some(violation("update_mask", what))
    }
}

/// Whether `path` is the leaf itself or one of its parents.
fn holds(path: &str, leaf: &str) -> bool {
    leaf.strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || (rest.starts_with('.') && !path.is_empty()))
}

impl<T: Clone + PartialEq> Fields<T> {
    /// Paths of the fields in which two messages differ.
    pub(crate) fn changed(&self, before: &T, after: &T) -> Vec<String> {
        let differs = |leaf: &&Field<T>| {
            let mut probe = before.clone();
            (leaf.copy)(&mut probe, after);
            probe != *before
        };
        let changed = self.leaves.iter().filter(differs);
        changed.map(|leaf| leaf.path.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Message {
        name: String,
        short: u32,
        long: u32,
    }

    static FIELDS: Fields<Message> = Fields {
        leaves: &[
            Field {
                path: "name",
                is_set: |message| !message.name.is_empty(),
                copy: |to, from| to.name.clone_from(&from.name),
            },
            Field {
                path: "waits.short",
                is_set: |message| message.short != 0,
                copy: |to, from| to.short = from.short,
            },
            Field {
                path: "waits.long",
                is_set: |message| message.long != 0,
                copy: |to, from| to.long = from.long,
            },
        ],
        output_only: &["etag"],
    };

    fn select(paths: Option<&[&str]>) -> (Vec<&'static str>, Vec<String>) {
        let mask = paths.map(|paths| FieldMask {
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        });
        let message = Message {
            short: 1,
            ..Message::default()
        };
        let (chosen, violations) = FIELDS.select(mask.as_ref(), &message);
        (
            chosen.iter().map(|field| field.path).collect(),
            violations
                .into_iter()
                .map(|found| found.description)
                .collect(),
        )
    }

    #[test]
    fn masks_choose_fields() {
        for (paths, want) in [
            (None, &["waits.short"][..]),
            (Some(&[][..]), &[]),
            (Some(&["*"]), &["name", "waits.short", "waits.long"]),
            (Some(&["name"]), &["name"]),
            (Some(&["waits"]), &["waits.short", "waits.long"]),
            (Some(&["waits.long", "name"]), &["name", "waits.long"]),
        ] {
            assert_eq!(select(paths), (want.to_vec(), Vec::new()), "{paths:?}");
        }
    }

    #[test]
    fn bad_paths_are_named() {
        for (path, want) in [
            ("etag", "etag cannot be changed"),
            ("nam", "\"nam\" is not a field of the resource"),
            ("waits.", "\"waits.\" is not a field of the resource"),
            ("", "\"\" is not a field of the resource"),
        ] {
            assert_eq!(
                select(Some(&[path])),
                (Vec::new(), vec![want.to_owned()]),
                "{path:?}"
            );
        }
        let (_, found) = select(Some(&["*", "name"]));
        assert_eq!(found, ["* must be the only path"]);
    }

    #[test]
    fn changed_fields_are_named() {
        let before = Message {
            name: "a".to_owned(),
            short: 1,
            long: 2,
        };
        let after = Message {
            long: 3,
            ..before.clone()
        };
        assert_eq!(FIELDS.changed(&before, &after), ["waits.long"]);
        assert!(FIELDS.changed(&before, &before).is_empty());
    }
}
