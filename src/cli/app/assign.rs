//! Flags that say who may use an app.

use model::name::UserId;
use proto::admin;

/// Who may use the app, once they have signed in.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Who may use an app with --access sign-in")]
pub(super) struct Assign {
    /// Id of a user who may; may be repeated.
    #[arg(long = "assign-user", value_name = "ID")]
    assign_users: Vec<UserId>,
    /// Group of users who may; may be repeated.
    #[arg(long = "assign-user-group", value_name = "NAME")]
    assign_user_groups: Vec<String>,
    /// Everybody who can sign in.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    assign_everyone: Option<bool>,
    /// Nobody, until somebody is assigned.
    #[arg(long, conflicts_with_all = ["assign_users", "assign_user_groups", "assign_everyone"])]
    assign_nobody: bool,
}

impl Assign {
    /// Writes what was said into the app, and tells which fields that were, as in a field mask.
    ///
    /// Each flag replaces what the app has of its kind. An app for which nobody signs in any more is assigned to nobody.
    pub(super) fn write(&self, app: &mut admin::App) -> Vec<&'static str> {
        if self.assign_nobody {
            return vec!["assignment"];
        }
        let said = [
            ("assignment.users", !self.assign_users.is_empty()),
            (
                "assignment.user_groups",
                !self.assign_user_groups.is_empty(),
            ),
            ("assignment.everyone", self.assign_everyone.is_some()),
        ];
        let written: Vec<_> = said.iter().filter(|(_, said)| *said).collect();
        if written.is_empty() {
            let is_open = app.access() == admin::Access::Passthrough;
            return if is_open {
                vec!["assignment"]
            } else {
                Vec::new()
            };
        }
        app.assignment = Some(admin::Assignment {
            users: self
                .assign_users
                .iter()
                .map(UserId::resource_name)
                .collect(),
            user_groups: self.assign_user_groups.clone(),
            everyone: self.assign_everyone.unwrap_or_default(),
        });
        written.into_iter().map(|(path, _)| *path).collect()
    }
}
