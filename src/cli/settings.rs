//! `adit settings`: what holds for the whole fabric.

use std::time::{Duration, SystemTime};

use clap::ArgGroup;
use model::settings::SignInLogDays;
use prost_types::FieldMask;
use proto::{
    admin::{GetSettingsRequest, Settings, UpdateSettingsRequest},
    time::wire_duration,
};
use serde::Serialize;

use super::{
    age,
    app::words::{LimitsWords, RateWords, TimeoutsWords},
    client::Control,
    failure::Failure,
    parse,
    screen::{Output, Screen},
    table::{self, Page},
};

mod brand;
mod edge_limits;
mod second_factor;

pub(crate) use brand::BrandWords;
pub(crate) use edge_limits::EdgeLimitsWords;
pub(crate) use second_factor::SecondFactorWord;

use brand::BrandFlags;
use edge_limits::EdgeLimitWord;

/// What to do with the settings of the fabric.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum SettingsCommand {
    /// Show what holds for the whole fabric.
    #[command(after_help = "Example:\n  adit settings show")]
    Show,
    /// Change some settings and leave the others.
    #[command(
        after_help = "Examples:\n  adit settings update --stopped true\n  adit settings update --response-timeout 2m --client-rate 50/200\n  adit settings update --second-factor-group admins --second-factor-group finance"
    )]
    Update(Box<Update>),
}

/// `adit settings update`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "adit settings update <SETTING>... [OPTIONS]",
    group = ArgGroup::new("change").required(true).multiple(true).args([
        "stopped", "title_case", "second_factor", "second_factor_groups", "no_second_factor_groups", "sign_in_log_days", "connect_timeout", "response_timeout", "idle_timeout", "total_timeout",
        "body_limit", "requests_limit", "rate", "client_rate", "body_pace",
        "head_fields", "head_bytes", "target_bytes", "stall_timeout", "edge_limits",
        "brand_name", "brand_accent", "brand_help", "brand_help_url", "brand_links", "no_brand_links",
    ])
)]
pub(crate) struct Update {
    /// Answer every request with a notice, and keep what is published.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    stopped: Option<bool>,
    /// Write names of fields to users of HTTP/1.1 as Content-Type, not content-type.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    title_case: Option<bool>,
    /// What users with accounts of the fabric's own are asked for besides their password.
    #[arg(long, value_name = "WHEN")]
    second_factor: Option<SecondFactorWord>,
    /// Group of users who need a second factor where others may do without: who has none sets one up at the next sign-in; may be repeated.
    #[arg(long = "second-factor-group", value_name = "NAME")]
    second_factor_groups: Vec<String>,
    /// Name no such group any more.
    #[arg(long, conflicts_with = "second_factor_groups")]
    no_second_factor_groups: bool,
    /// How many days it is kept who came (see `adit signins`), 1 to 3650; 0 for the default.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=i64::from(SignInLogDays::MAX)))]
    sign_in_log_days: Option<u32>,
    /// Time to connect to an origin, for apps that say nothing else.
    #[arg(long, value_name = "TIME", value_parser = runtime::config::duration)]
    connect_timeout: Option<Duration>,
    /// Time from the whole request to the response's head, for apps that say nothing else.
    #[arg(long, value_name = "TIME", value_parser = runtime::config::duration)]
    response_timeout: Option<Duration>,
    /// Silence in both directions, for apps that say nothing else.
    #[arg(long, value_name = "TIME", value_parser = runtime::config::duration)]
    idle_timeout: Option<Duration>,
    /// Time from the request's head to the end of the answer, for apps that say nothing else; 0s for none.
    #[arg(long, value_name = "TIME", value_parser = runtime::config::duration)]
    total_timeout: Option<Duration>,
    /// Longest request body, for apps that say nothing else; 0B for no limit.
    #[arg(long, value_name = "SIZE", value_parser = runtime::config::byte_size)]
    body_limit: Option<u64>,
    /// Requests of one app that may be under way at one edge, for apps that say nothing else; 0 for no limit.
    #[arg(long, value_name = "NUMBER")]
    requests_limit: Option<u32>,
    /// Requests a second to one app at one edge, and how many may come at once: 100 or 100/500; 0 for no limit.
    #[arg(long, value_name = "RATE")]
    rate: Option<RateWords>,
    /// The same for each address.
    #[arg(long, value_name = "RATE")]
    client_rate: Option<RateWords>,
    /// Bytes a second at which a body of known length must come, for apps that say nothing else; 0 for none.
    #[arg(long, value_name = "BYTES")]
    body_pace: Option<u32>,
    /// Fields of a request's head, for apps that say nothing else; 0 for as many as the edge takes.
    #[arg(long, value_name = "NUMBER")]
    head_fields: Option<u32>,
    /// Bytes of those fields, such as 16KiB, for apps that say nothing else; 0B for as many as the edge takes.
    #[arg(long, value_name = "SIZE", value_parser = parse::small_size)]
    head_bytes: Option<u32>,
    /// Bytes of a path and query, such as 2KiB, for apps that say nothing else; 0B for as many as the edge takes.
    #[arg(long, value_name = "SIZE", value_parser = parse::small_size)]
    target_bytes: Option<u32>,
    /// How long an answer may wait for a user who takes nothing of it, for apps that say nothing else; 0s for as long as the edge waits.
    #[arg(long, value_name = "TIME", value_parser = runtime::config::duration)]
    stall_timeout: Option<Duration>,
    /// What users may cost each edge, such as streams=100 or head_timeout=5s; nothing behind the sign for the default; may be
    /// repeated.
    #[arg(long = "edge-limit", value_name = "LIMIT=VALUE", value_parser = EdgeLimitWord::read)]
    edge_limits: Vec<EdgeLimitWord>,
    #[command(flatten)]
    brand: BrandFlags,
    /// Update only if the settings still have this etag (see `settings show`).
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl SettingsCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Show => {
                let settings = get(control).await?;
                table::show(screen, &SettingsView::from(settings), control.clock.wall())
            }
            Self::Update(change) => update(&change, control, screen).await,
        }
    }
}

/// The settings in force, defaults filled in.
pub(crate) async fn get(control: &Control) -> Result<Settings, Failure> {
    let mut settings = control.settings();
    let answer = settings.get_settings(GetSettingsRequest {});
    control.call("show the settings", answer).await
}

async fn update(change: &Update, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let (settings, update_mask) = change.settings();
    let request = UpdateSettingsRequest {
        settings: Some(settings),
        update_mask: Some(update_mask),
        validate_only: change.dry_run,
    };
    let settings = control
        .call(
            "update the settings",
            control.settings().update_settings(request),
        )
        .await
        .map_err(Failure::naming_flags)?;
    let view = SettingsView::from(settings);
    match screen.output {
        Output::Json => screen.json(&view),
        Output::Table if change.dry_run => screen.line("settings would be updated"),
        Output::Table => screen.line("settings are updated"),
    }
}

impl Update {
    fn settings(&self) -> (Settings, FieldMask) {
        let (brand, of_brand) = self.brand.said();
        let settings = Settings {
            etag: self.etag.clone(),
            stopped: self.stopped.unwrap_or_default(),
            title_case: self.title_case.unwrap_or_default(),
            second_factor: self.second_factor.map_or(0, |word| word.meant().into()),
            second_factor_groups: self.second_factor_groups.clone(),
            sign_in_log_days: self.sign_in_log_days.unwrap_or_default(),
            timeouts: Some(proto::admin::Timeouts {
                connect: self.connect_timeout.map(wire_duration),
                response: self.response_timeout.map(wire_duration),
                idle: self.idle_timeout.map(wire_duration),
                total: self.total_timeout.map(wire_duration),
            }),
            limits: Some(proto::admin::Limits {
                body_bytes: self.body_limit,
                requests: self.requests_limit,
                rate: self.rate.map(Into::into),
                client_rate: self.client_rate.map(Into::into),
                body_pace: self.body_pace,
                head_fields: self.head_fields,
                head_bytes: self.head_bytes,
                target_bytes: self.target_bytes,
                stall_timeout: self.stall_timeout.map(wire_duration),
            }),
            edge_limits: Some(edge_limits::together(&self.edge_limits)),
            brand: Some(brand),
            ..Settings::default()
        };
        let are_groups_given =
            self.no_second_factor_groups || !self.second_factor_groups.is_empty();
        let paths = [
            ("stopped", self.stopped.is_some()),
            ("title_case", self.title_case.is_some()),
            ("second_factor", self.second_factor.is_some()),
            ("second_factor_groups", are_groups_given),
            ("sign_in_log_days", self.sign_in_log_days.is_some()),
            ("timeouts.connect", self.connect_timeout.is_some()),
            ("timeouts.response", self.response_timeout.is_some()),
            ("timeouts.idle", self.idle_timeout.is_some()),
            ("timeouts.total", self.total_timeout.is_some()),
            ("limits.body_bytes", self.body_limit.is_some()),
            ("limits.requests", self.requests_limit.is_some()),
            ("limits.rate", self.rate.is_some()),
            ("limits.client_rate", self.client_rate.is_some()),
            ("limits.body_pace", self.body_pace.is_some()),
            ("limits.head_fields", self.head_fields.is_some()),
            ("limits.head_bytes", self.head_bytes.is_some()),
            ("limits.target_bytes", self.target_bytes.is_some()),
            ("limits.stall_timeout", self.stall_timeout.is_some()),
        ];
        let given = paths.into_iter().filter(|(_, given)| *given);
        let given = given.map(|(path, _)| path.to_owned());
        let edge_limits = self.edge_limits.iter();
        let edge_limits = edge_limits.map(|word| format!("edge_limits.{}", word.key));
        let of_brand = of_brand.into_iter().map(str::to_owned);
        let paths = given.chain(edge_limits).chain(of_brand).collect();
        (settings, FieldMask { paths })
    }
}

/// Keys of the settings in JSON.
#[derive(Debug, Serialize)]
struct SettingsView {
    name: String,
    etag: String,
    stopped: bool,
    title_case: bool,
    second_factor: SecondFactorWord,
    second_factor_groups: Vec<String>,
    sign_in_log_days: u32,
    timeouts: TimeoutsWords,
    limits: LimitsWords,
    edge_limits: EdgeLimitsWords,
    brand: BrandWords,
    update_time: Option<String>,
}

impl From<Settings> for SettingsView {
    fn from(settings: Settings) -> Self {
        Self {
            second_factor: SecondFactorWord::of(settings.second_factor()),
            second_factor_groups: settings.second_factor_groups,
            sign_in_log_days: settings.sign_in_log_days,
            name: settings.name,
            etag: settings.etag,
            stopped: settings.stopped,
            title_case: settings.title_case,
            timeouts: settings.timeouts.unwrap_or_default().into(),
            limits: settings.limits.unwrap_or_default().into(),
            edge_limits: settings.edge_limits.unwrap_or_default().into(),
            brand: settings.brand.unwrap_or_default().into(),
            update_time: age::rfc3339(settings.update_time),
        }
    }
}

impl Page for SettingsView {
    fn facts(&self, _now: SystemTime) -> Vec<(&'static str, String)> {
        let span = |words: &Option<String>| words.clone().unwrap_or_default();
        let total = match self.timeouts.total.as_deref() {
            None | Some("0s") => "none".to_owned(),
            Some(total) => total.to_owned(),
        };
        let limits = match self.limits.line() {
            line if line.is_empty() => "none".to_owned(),
            line => line,
        };
        let edge_limits = match self.edge_limits.line() {
            line if line.is_empty() => "defaults".to_owned(),
            line => line,
        };
        vec![
            (
                "apps",
                if self.stopped { "stopped" } else { "served" }.to_owned(),
            ),
            ("connect timeout", span(&self.timeouts.connect)),
            ("response timeout", span(&self.timeouts.response)),
            ("idle timeout", span(&self.timeouts.idle)),
            ("total timeout", total),
            (
                "title case",
                if self.title_case { "yes" } else { "no" }.to_owned(),
            ),
            ("second factor", self.second_factor.as_str().to_owned()),
            (
                "needed by groups",
                table::or_dash(&self.second_factor_groups.join(", ")),
            ),
            ("log of sign-ins", format!("{} days", self.sign_in_log_days)),
            ("limits of each app", limits),
            ("limits of each edge", edge_limits),
            ("brand", table::or_dash(&self.brand.line())),
            ("changed", age::to_the_second(self.update_time.as_deref())),
            ("etag", self.etag.clone()),
        ]
    }
}
