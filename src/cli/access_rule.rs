//! `adit access-rule`: what requests for apps with sign-in must meet.

pub(crate) mod flags;
pub(crate) mod view;
mod what_if;

use model::name::AccessRuleId;
use prost_types::FieldMask;
use proto::admin::{
    AccessRule, CreateAccessRuleRequest, DeleteAccessRuleRequest, GetAccessRuleRequest,
    ListAccessRulesRequest, UpdateAccessRuleRequest,
};

use self::{flags::RuleFlags, view::RuleView, what_if::WhatIf};
use super::{
    client::{Control, PAGE_SIZE},
    failure::Failure,
    screen::Screen,
    table,
};

/// What to do with access rules.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AccessRuleCommand {
    /// Create a rule. Edges hold every request against it within a second.
    #[command(after_help = flags::EXAMPLES)]
    Create(Box<RuleFlags>),
    /// List all rules.
    #[command(after_help = "Example:\n  adit access-rule list")]
    List,
    /// Show one rule.
    #[command(after_help = "Example:\n  adit access-rule show mfa-off-site")]
    Show {
        /// Id of the rule.
        id: AccessRuleId,
    },
    /// Change a rule. Flags of one kind that are given (whom, what, where, grant, controls) replace all of that kind.
    #[command(after_help = "Example:\n  adit access-rule update mfa-off-site --state on")]
    Update {
        #[command(flatten)]
        rule: Box<RuleFlags>,
        /// Update only if the rule still has this etag (see `access-rule show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Delete a rule.
    #[command(after_help = "Example:\n  adit access-rule delete mfa-off-site")]
    Delete {
        /// Id of the rule.
        id: AccessRuleId,
        /// Delete only if the rule still has this etag (see `access-rule show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Explain what would become of a request, and each rule's part in it.
    #[command(after_help = what_if::EXAMPLES)]
    WhatIf(Box<WhatIf>),
}

impl AccessRuleCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Create(rule) => create(*rule, control, screen).await,
            Self::List => {
                let views: Vec<_> = all(control)
                    .await?
                    .into_iter()
                    .map(RuleView::from)
                    .collect();
                let empty =
                    "There are no access rules. `adit access-rule create --help` shows how.";
                table::list(screen, &views, empty, control.clock.wall())
            }
            Self::Show { id } => show(&id, control, screen).await,
            Self::Update { rule, etag } => update(*rule, etag, control, screen).await,
            Self::Delete { id, etag } => delete(&id, etag, control, screen).await,
            Self::WhatIf(what_if) => what_if.run(control, screen).await,
        }
    }
}

/// All that the fabric has.
pub(crate) async fn all(control: &Control) -> Result<Vec<AccessRule>, Failure> {
    let fetch = async |page_token| {
        let request = ListAccessRulesRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let mut rules = control.access_rules();
        let page = rules.list_access_rules(request).await?.into_inner();
        Ok((page.access_rules, page.next_page_token))
    };
    control.pages("list access rules", fetch).await
}

async fn create(rule: RuleFlags, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let id = rule.id.clone();
    let doing = format!("create {}", id.resource_name());
    let request = CreateAccessRuleRequest {
        access_rule_id: id.to_string(),
        access_rule: Some(rule.read().0),
        validate_only: false,
    };
    let mut access_rules = control.access_rules();
    let created = control.call(doing, Box::pin(access_rules.create_access_rule(request)));
    written(created.await?, "created", screen)
}

async fn update(
    rule: RuleFlags,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let doing = format!("update {}", rule.id.resource_name());
    let (rule, paths) = rule.read();
    let request = UpdateAccessRuleRequest {
        access_rule: Some(AccessRule { etag, ..rule }),
        update_mask: Some(FieldMask { paths }),
        allow_missing: false,
        validate_only: false,
    };
    let mut access_rules = control.access_rules();
    let updated = control.call(doing, Box::pin(access_rules.update_access_rule(request)));
    written(updated.await?, "updated", screen)
}

fn written(rule: AccessRule, what: &str, screen: &mut Screen) -> Result<(), Failure> {
    let view = RuleView::from(rule);
    table::written(screen, &view, &view.name, what)
}

async fn show(id: &AccessRuleId, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let name = id.resource_name();
    let doing = format!("show {name}");
    let request = GetAccessRuleRequest { name };
    let mut access_rules = control.access_rules();
    let rule = control.call(doing, access_rules.get_access_rule(request));
    let view = RuleView::from(rule.await?);
    table::show(screen, &view, control.clock.wall())
}

async fn delete(
    id: &AccessRuleId,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = id.resource_name();
    let request = DeleteAccessRuleRequest {
        name: name.clone(),
        etag,
    };
    let mut rules = control.access_rules();
    let deletion = rules.delete_access_rule(request);
    control.delete(&name, deletion, screen).await
}
