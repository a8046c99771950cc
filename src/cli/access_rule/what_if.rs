//! `adit access-rule what-if`: what would become of a request that nobody makes.

use std::time::{Duration, SystemTime};

use model::name::{AppId, UserId};
use proto::{
    access::ClaimMatch,
    admin::{AccessDecision, GetAccessExplanationRequest, RuleExplanation, RulePart},
    time::wire_timestamp,
};
use serde::Serialize;

use super::{flags, view::state_word};
use crate::cli::{
    client::Control,
    failure::Failure,
    parse,
    screen::{Output, Screen},
    table::{self, Row},
};

pub(super) const EXAMPLES: &str = "Examples:
  adit access-rule what-if --user alice --app wiki --ip 203.0.113.9
  adit access-rule what-if --user alice --app wiki --ip 203.0.113.9 --country DE
  adit access-rule what-if --user alice --app wiki --ip 192.0.2.7 --path /admin --amr pwd --amr otp --age 20m --output json";

/// The request.
#[derive(Debug, clap::Args)]
pub(crate) struct WhatIf {
    /// Who asks.
    #[arg(long, value_name = "ID")]
    user: UserId,
    /// A group that the user is in, besides those of the account; may be repeated.
    #[arg(long = "user-group", value_name = "NAME")]
    user_groups: Vec<String>,
    /// What a provider says of the user; may be repeated.
    #[arg(long = "claim", value_parser = flags::claim, value_name = "NAME=VALUE")]
    claims: Vec<ClaimMatch>,
    /// With which identity provider the user signed in [default: the fabric itself]
    #[arg(long, value_name = "ID")]
    provider: Option<String>,
    /// For which app.
    #[arg(long, value_name = "ID")]
    app: AppId,
    /// From which address.
    #[arg(long, value_name = "ADDRESS")]
    ip: String,
    /// From which country: what an edge's list would say of the address [default: unknown]
    #[arg(long, value_name = "CODE")]
    country: Option<String>,
    /// For which path.
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,
    /// By which method.
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// By what: browser or program.
    #[arg(long, value_name = "KIND", default_value = "browser")]
    client: String,
    /// On which platform.
    #[arg(long, value_name = "PLATFORM", default_value = "unknown")]
    platform: String,
    /// With a certificate of the user's device.
    #[arg(long)]
    device_certificate: bool,
    /// A method by which the user signed in (RFC 8176); may be repeated [default: pwd]
    #[arg(long = "amr", value_name = "METHOD")]
    methods: Vec<String>,
    /// Class of the sign-in.
    #[arg(
        long = "acr",
        value_name = "CLASS",
        default_value = "",
        hide_default_value = true
    )]
    class: String,
    /// How long ago the user signed in [default: just now]
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    age: Option<Duration>,
    /// When, such as 2026-01-31T08:00:00Z [default: now]
    #[arg(long, value_parser = parse::since, value_name = "TIME")]
    time: Option<SystemTime>,
}

impl WhatIf {
    pub(super) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let time = self.time.unwrap_or_else(|| control.clock.wall());
        let signed_in = self
            .age
            .and_then(|age| time.checked_sub(age))
            .unwrap_or(time);
        let provider = self.provider.map(|id| format!("identityProviders/{id}"));
        let request = GetAccessExplanationRequest {
            user: self.user.resource_name(),
            user_groups: self.user_groups,
            claims: self.claims,
            provider: provider.unwrap_or_default(),
            app: self.app.resource_name(),
            address: self.ip,
            country: self.country.unwrap_or_default(),
            host: String::new(),
            path: self.path,
            method: self.method,
            client: self.client,
            platform: self.platform,
            device_certificate: self.device_certificate,
            methods: self.methods,
            class: self.class,
            sign_in_time: Some(wire_timestamp(signed_in)),
            time: Some(wire_timestamp(time)),
        };
        let mut rules = control.access_rules();
        let explained = rules.get_access_explanation(request);
        let explained = control.call("explain access", explained).await?;
        let view = WhatIfView {
            decision: decision_word(explained.decision()),
            summary: explained.summary,
            rules: explained.rules.into_iter().map(PartView::from).collect(),
        };
        match screen.output {
            Output::Json => screen.json(&view),
            Output::Table => {
                screen.line(format_args!("{}: {}", view.decision, view.summary))?;
                let now = control.clock.wall();
                let rows = view.rules.iter().map(|rule| rule.cells(now));
                table::columns(screen, PartView::COLUMNS, rows)
            }
        }
    }
}

/// Keys of an explanation in JSON.
#[derive(Debug, Serialize)]
struct WhatIfView {
    decision: &'static str,
    summary: String,
    rules: Vec<PartView>,
}

/// A rule's part.
#[derive(Debug, Serialize)]
struct PartView {
    name: String,
    state: &'static str,
    part: &'static str,
    detail: String,
}

fn decision_word(decision: AccessDecision) -> &'static str {
    match decision {
        AccessDecision::Unspecified => "unknown",
        AccessDecision::Through => "through",
        AccessDecision::NotAssigned => "not-assigned",
        AccessDecision::Blocked => "blocked",
        AccessDecision::StepUp => "step-up",
    }
}

impl From<RuleExplanation> for PartView {
    fn from(rule: RuleExplanation) -> Self {
        Self {
            state: state_word(rule.state()),
            part: match rule.part() {
                RulePart::Unspecified => "unknown",
                RulePart::NoMatch => "no-match",
                RulePart::Met => "met",
                RulePart::Blocks => "blocks",
                RulePart::Lacks => "lacks",
            },
            name: rule.name,
            detail: rule.detail,
        }
    }
}

impl Row for PartView {
    const COLUMNS: &'static [&'static str] = &["RULE", "STATE", "PART", "DETAIL"];

    fn cells(&self, _now: SystemTime) -> Vec<String> {
        vec![
            table::id(&self.name).to_owned(),
            self.state.to_owned(),
            self.part.to_owned(),
            table::or_dash(&self.detail),
        ]
    }
}
