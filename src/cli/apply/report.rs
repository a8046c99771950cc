//! Shows what an apply changes.

use serde::Serialize;

use super::plan::{Action, Change, Field, FieldChange, Plan};
use crate::cli::{
    failure::Failure,
    screen::{Output, Screen, Shade},
};

/// All that is shown; its keys in JSON.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    dry_run: bool,
    created: usize,
    updated: usize,
    deleted: usize,
    /// In the fabric and not in the file.
    unnamed: usize,
    changes: Vec<ChangeView<'a>>,
}

#[derive(Debug, Serialize)]
struct ChangeView<'a> {
    action: Action,
    resource: &'a str,
    fields: Vec<FieldView<'a>>,
}

#[derive(Debug, Serialize)]
struct FieldView<'a> {
    field: &'static str,
    from: Option<&'a Field>,
    to: &'a Field,
}

impl<'a> Report<'a> {
    pub(super) fn of(plan: &'a Plan, dry_run: bool) -> Self {
        let count = |action| {
            let of_kind = plan.changes.iter().filter(|change| change.action == action);
            of_kind.count()
        };
        Self {
            dry_run,
            created: count(Action::Create),
            updated: count(Action::Update),
            deleted: count(Action::Delete),
            unnamed: plan.unnamed,
            changes: plan.changes.iter().map(ChangeView::of).collect(),
        }
    }

    pub(super) fn show(&self, screen: &mut Screen) -> Result<(), Failure> {
        if screen.output == Output::Json {
            return screen.json(self);
        }
        for change in &self.changes {
            change.show(screen)?;
        }
        if self.unnamed > 0 {
            screen.note(format_args!(
                "{} in the fabric but not in the file; --prune deletes them",
                resources(self.unnamed)
            ))?;
        }
        screen.line(self.summary())
    }

    fn summary(&self) -> String {
        let Self {
            created,
            updated,
            deleted,
            ..
        } = self;
        let total = created + updated + deleted;
        if total == 0 {
            return "Nothing to do.".to_owned();
        }
        let plural = if total == 1 { "change" } else { "changes" };
        if self.dry_run {
            return format!(
                "{total} {plural} to make: {created} to create, {updated} to update, {deleted} to delete. Nothing was changed."
            );
        }
        format!("{total} {plural} made: {created} created, {updated} updated, {deleted} deleted.")
    }
}

fn resources(count: usize) -> String {
    if count == 1 {
        "1 resource is".to_owned()
    } else {
        format!("{count} resources are")
    }
}

impl<'a> ChangeView<'a> {
    fn of(change: &'a Change) -> Self {
        Self {
            action: change.action,
            resource: change.resource.name(),
            fields: change.fields.iter().map(FieldView::of).collect(),
        }
    }

    fn show(&self, screen: &mut Screen) -> Result<(), Failure> {
        let (sign, shade) = match self.action {
            Action::Create => ('+', Shade::Green),
            Action::Update => ('~', Shade::Yellow),
            Action::Delete => ('-', Shade::Red),
        };
        screen.line(screen.shaded(shade, &format!("{sign} {}", self.resource)))?;
        for field in &self.fields {
            screen.line(field.line(screen))?;
        }
        Ok(())
    }
}

impl<'a> FieldView<'a> {
    fn of(change: &'a FieldChange) -> Self {
        Self {
            field: change.path,
            from: change.from.as_ref(),
            to: &change.to,
        }
    }

    fn line(&self, screen: &Screen) -> String {
        let Self { field, from, to } = self;
        if let Some(from) = from.filter(|from| from.line == to.line) {
            let (from, to) = from.told_apart(to);
            return screen.shaded(Shade::Yellow, &format!("    ~ {field}: {from} -> {to}"));
        }
        match from.map(|from| from.line.as_str()) {
            None | Some("") => screen.shaded(Shade::Green, &format!("    + {field}: {}", to.line)),
            Some(from) if to.line.is_empty() => {
                screen.shaded(Shade::Red, &format!("    - {field}: {from}"))
            }
            Some(from) => screen.shaded(
                Shade::Yellow,
                &format!("    ~ {field}: {from} -> {}", to.line),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(dry_run: bool, counts: [usize; 3]) -> Report<'static> {
        let [created, updated, deleted] = counts;
        Report {
            dry_run,
            created,
            updated,
            deleted,
            unnamed: 0,
            changes: Vec::new(),
        }
    }

    #[test]
    fn summary_says_how_many_changes() {
        for (dry_run, counts, want) in [
            (false, [0, 0, 0], "Nothing to do."),
            (true, [0, 0, 0], "Nothing to do."),
            (
                false,
                [1, 0, 0],
                "1 change made: 1 created, 0 updated, 0 deleted.",
            ),
            (
                true,
                [2, 1, 0],
                "3 changes to make: 2 to create, 1 to update, 0 to delete. Nothing was changed.",
            ),
        ] {
            assert_eq!(report(dry_run, counts).summary(), want);
        }
    }
}
