//! `adit apply`: makes a fabric publish what a file says, and nothing happens the second time.
//!
//! First everything is compared and checked by control, which shows all that is wrong at once; only then is anything
//! changed. A change made by others in between is refused by its etag.

mod access_rule;
mod carry_out;
mod file;
mod lines;
mod location;
mod plan;
mod provider;
mod report;

use std::path::PathBuf;

pub(crate) use self::file::FileError;
use self::{
    plan::{Current, Unnamed},
    report::Report,
};
use super::{
    access_rule as rule_command, app, client::Control, failure::Failure, group, identity_provider,
    location as location_command, screen::Screen, settings,
};

pub(crate) const EXAMPLES: &str = "A key that the file leaves out takes its default. Deletes nothing unless --prune is given, and access rules and locations only if the file has a table of them. A dry run checks all, changes nothing, and says how many changes there are.

Examples:
  adit apply -f fabric.toml --dry-run
  adit apply -f fabric.toml --prune

A file:
  [group.office]
  display_name = \"Head office\"

  [app.wiki]
  hosts = [\"wiki.example.com\"]
  origins = [\"http://10.0.0.5:8080\"]
  group = \"office\"
  access = \"passthrough\"
  timeouts = { response = \"5m\" }

  [location.office]
  networks = [\"192.0.2.0/24\"]

  [access_rule.mfa-off-site]
  everyone = true
  all_apps = true
  exclude_locations = [\"office\"]
  require = [\"mfa\"]

docs/operating.md has all keys (\"Apps in a file\"), those of [settings] too.";

/// `adit apply`.
#[derive(Debug, clap::Args)]
pub(crate) struct Apply {
    /// TOML file with groups, identity providers, locations, access rules, apps and the fabric's settings.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Show and check every change, and make none.
    #[arg(long)]
    dry_run: bool,
    /// Delete the apps, groups, access rules and locations that the file does not name.
    #[arg(long)]
    prune: bool,
}

impl Apply {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let desired = file::read(&self.file)?;
        let current = Current {
            settings: settings::get(control).await?,
            groups: group::all(control).await?,
            providers: identity_provider::all(control).await?,
            locations: location_command::all(control).await?,
            access_rules: rule_command::all(control).await?,
            apps: app::all(control).await?,
        };
        let unnamed = if self.prune {
            Unnamed::Prune
        } else {
            Unnamed::Keep
        };
        let plan = plan::plan(&current, &desired, unnamed);
        carry_out::check(&plan, &current, &desired.lines, control).await?;
        let report = Report::of(&plan, self.dry_run);
        if !self.dry_run {
            carry_out::make(&plan, control).await?;
        }
        report.show(screen)
    }
}
