//! Flags of a rule.

use std::time::Duration;

use model::name::AccessRuleId;
use proto::{
    access::{
        ClaimMatch, Controls, Grant, GrantKind, People, Place, Places, Policy, Requirement,
        RuleState, Schedule, Which, Who,
    },
    admin::AccessRule,
    time::wire_duration,
};

use crate::cli::{client, parse};

pub(super) const EXAMPLES: &str = "Examples:
  adit access-rule create mfa-off-site --everyone --all-apps --exclude-location office --require mfa
  adit access-rule create no-crm-at-night --user-group sales --exclude-user olga --app crm --schedule \"mon,tue,wed,thu,fri 20:00-06:00 +01:00\" --block
  adit access-rule create fresh-admin --everyone --app wiki --path /admin --sign-in-within 15m --message \"Administration asks for a new sign-in.\"
  adit access-rule create look-only --everyone --all-apps --client browser --no-download application/pdf --no-attachments --state report-only";

/// Flags of a rule.
#[derive(Debug, clap::Args)]
pub(crate) struct RuleFlags {
    /// Id of the rule: 1-63 of a-z, 0-9 and -.
    pub(crate) id: AccessRuleId,
    /// What operators see.
    #[arg(long, value_name = "TEXT")]
    pub(crate) display_name: Option<String>,
    /// What those whom it refuses are told.
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Whether it counts: on, report-only or off [default for a new rule: on]
    #[arg(long, value_parser = state, value_name = "STATE")]
    pub(crate) state: Option<RuleState>,
    #[command(flatten)]
    pub(crate) who: WhoFlags,
    #[command(flatten)]
    pub(crate) which: WhichFlags,
    #[command(flatten)]
    pub(crate) place: PlaceFlags,
    /// About this platform: android, ios, windows, macos, linux, chromeos or unknown; may be repeated. Advisory.
    #[arg(long = "platform", value_name = "PLATFORM", help_heading = "How")]
    pub(crate) platforms: Vec<String>,
    /// About this kind of client: browser or program; may be repeated.
    #[arg(long = "client", value_name = "KIND", help_heading = "How")]
    pub(crate) clients: Vec<String>,
    /// When: days, times and offset, such as "mon,tue 08:00-18:00 +01:00".
    #[arg(long, value_parser = schedule, value_name = "TIMES", help_heading = "How")]
    pub(crate) schedule: Option<Schedule>,
    /// What else must hold, in a subset of CEL; see docs/access-rules.md.
    #[arg(long, value_name = "EXPRESSION", help_heading = "How")]
    pub(crate) when: Option<String>,
    #[command(flatten)]
    pub(crate) grant: GrantFlags,
    #[command(flatten)]
    pub(crate) controls: ControlFlags,
}

/// Whom a rule is about.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Whom")]
pub(crate) struct WhoFlags {
    /// About everyone.
    #[arg(long)]
    pub(crate) everyone: bool,
    /// About this user; may be repeated.
    #[arg(long = "user", value_name = "ID")]
    pub(crate) users: Vec<String>,
    /// About this group of users; may be repeated.
    #[arg(long = "user-group", value_name = "NAME")]
    pub(crate) user_groups: Vec<String>,
    /// About users of whom a provider says this; may be repeated.
    #[arg(long = "claim", value_parser = claim, value_name = "NAME=VALUE")]
    pub(crate) claims: Vec<ClaimMatch>,
    /// About users of this identity provider, or `local`; may be repeated.
    #[arg(long = "provider", value_name = "ID")]
    pub(crate) providers: Vec<String>,
    /// But not this user; may be repeated.
    #[arg(long = "exclude-user", value_name = "ID")]
    pub(crate) exclude_users: Vec<String>,
    /// But not this group of users; may be repeated.
    #[arg(long = "exclude-user-group", value_name = "NAME")]
    pub(crate) exclude_user_groups: Vec<String>,
}

/// What a rule is about.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "What")]
pub(crate) struct WhichFlags {
    /// About all apps.
    #[arg(long)]
    pub(crate) all_apps: bool,
    /// About this app; may be repeated.
    #[arg(long = "app", value_name = "ID")]
    pub(crate) apps: Vec<String>,
    /// But not this app; may be repeated.
    #[arg(long = "exclude-app", value_name = "ID")]
    pub(crate) exclude_apps: Vec<String>,
    /// About this part of the apps; may be repeated.
    #[arg(long = "path", value_name = "PREFIX")]
    pub(crate) paths: Vec<String>,
    /// About this method; may be repeated.
    #[arg(long = "method", value_name = "METHOD")]
    pub(crate) methods: Vec<String>,
}

/// Where from.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Where")]
pub(crate) struct PlaceFlags {
    /// From this network; may be repeated.
    #[arg(long = "network", value_name = "CIDR")]
    pub(crate) networks: Vec<String>,
    /// From this location; may be repeated.
    #[arg(long = "location", value_name = "ID")]
    pub(crate) locations: Vec<String>,
    /// From this country, by its code (ISO 3166-1), such as DE; may be repeated. Edges need a --country-file to know.
    #[arg(long = "country", value_name = "CODE")]
    pub(crate) countries: Vec<String>,
    /// From any address of which the edge does not know the country.
    #[arg(long)]
    pub(crate) unknown_country: bool,
    /// From any trusted location.
    #[arg(long)]
    pub(crate) trusted_locations: bool,
    /// But not from this network; may be repeated.
    #[arg(long = "exclude-network", value_name = "CIDR")]
    pub(crate) exclude_networks: Vec<String>,
    /// But not from this location; may be repeated.
    #[arg(long = "exclude-location", value_name = "ID")]
    pub(crate) exclude_locations: Vec<String>,
    /// But not from this country; may be repeated.
    #[arg(long = "exclude-country", value_name = "CODE")]
    pub(crate) exclude_countries: Vec<String>,
    /// But not from any address of which the edge does not know the country.
    #[arg(long)]
    pub(crate) exclude_unknown_country: bool,
    /// But not from any trusted location.
    #[arg(long)]
    pub(crate) exclude_trusted_locations: bool,
}

/// What a rule asks for.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Grant")]
pub(crate) struct GrantFlags {
    /// Let nobody through.
    #[arg(long, conflicts_with_all = ["requirements", "classes", "sign_in_within", "terms", "one_of"])]
    pub(crate) block: bool,
    /// Ask for mfa or device-certificate; may be repeated.
    #[arg(long = "require", value_parser = requirement, value_name = "WHAT")]
    pub(crate) requirements: Vec<Requirement>,
    /// Ask for a sign-in of this class (`acr`); of several, any.
    #[arg(long = "require-class", value_name = "CLASS")]
    pub(crate) classes: Vec<String>,
    /// Ask for a sign-in that is no older: 5m to 30d.
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    pub(crate) sign_in_within: Option<Duration>,
    /// Ask that these terms of use are accepted (see `adit terms`); may be repeated.
    #[arg(long = "require-terms", value_name = "ID")]
    pub(crate) terms: Vec<String>,
    /// One of what is asked for is enough.
    #[arg(long)]
    pub(crate) one_of: bool,
}

/// What a rule attaches to a session.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Controls of the session")]
pub(crate) struct ControlFlags {
    /// How long a session is good for this: 5m to 30d.
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    pub(crate) session_limit: Option<Duration>,
    /// How long somebody may do nothing at the app: 5m to 30d.
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    pub(crate) idle_limit: Option<Duration>,
    /// How often users sign in: 5m to 30d.
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    pub(crate) sign_in_every: Option<Duration>,
    /// Keep back answers of this media type, such as application/pdf or image/*; may be repeated.
    #[arg(long = "no-download", value_name = "TYPE")]
    pub(crate) no_download: Vec<String>,
    /// Keep back what the origin says is to be saved.
    #[arg(long)]
    pub(crate) no_attachments: bool,
}

fn named(collection: &str, ids: Vec<String>) -> Vec<String> {
    let ids = ids.into_iter();
    ids.map(|id| format!("{collection}{id}")).collect()
}

/// The id of a provider, or the word for the fabric's own accounts.
fn provider(id: String) -> String {
    if id == "local" {
        id
    } else {
        format!("identityProviders/{id}")
    }
}

impl WhoFlags {
    fn read(self) -> Who {
        Who {
            include: Some(People {
                everyone: self.everyone,
                users: named("users/", self.users),
                user_groups: self.user_groups,
                claims: self.claims,
                providers: self.providers.into_iter().map(provider).collect(),
            }),
            exclude: Some(People {
                users: named("users/", self.exclude_users),
                user_groups: self.exclude_user_groups,
                ..People::default()
            }),
        }
    }
}

impl WhichFlags {
    fn read(self) -> Which {
        Which {
            all_apps: self.all_apps,
            apps: named("apps/", self.apps),
            exclude_apps: named("apps/", self.exclude_apps),
            paths: self.paths,
            methods: self.methods,
        }
    }
}

impl PlaceFlags {
    fn read(self) -> Place {
        Place {
            include: Some(Places {
                networks: self.networks,
                locations: named("locations/", self.locations),
                trusted: self.trusted_locations,
                countries: self.countries,
                unknown_country: self.unknown_country,
            }),
            exclude: Some(Places {
                networks: self.exclude_networks,
                locations: named("locations/", self.exclude_locations),
                trusted: self.exclude_trusted_locations,
                countries: self.exclude_countries,
                unknown_country: self.exclude_unknown_country,
            }),
        }
    }
}

impl GrantFlags {
    fn is_given(&self) -> bool {
        self.block
            || !self.requirements.is_empty()
            || !self.classes.is_empty()
            || self.sign_in_within.is_some()
            || !self.terms.is_empty()
            || self.one_of
    }

    fn read(self) -> Grant {
        let mut requirements = self.requirements;
        if !self.classes.is_empty() {
            requirements.push(Requirement::Class);
        }
        if self.sign_in_within.is_some() {
            requirements.push(Requirement::FreshSignIn);
        }
        if !self.terms.is_empty() {
            requirements.push(Requirement::Terms);
        }
        let kind = match (self.block, requirements.is_empty()) {
            (true, _) => GrantKind::Block,
            (false, true) => GrantKind::Allow,
            (false, false) => GrantKind::Require,
        };
        Grant {
            kind: kind.into(),
            requirements: requirements.into_iter().map(i32::from).collect(),
            classes: self.classes,
            sign_in_within: self.sign_in_within.map(wire_duration),
            one_of: self.one_of,
            terms: named("terms/", self.terms),
        }
    }
}

impl ControlFlags {
    fn read(self) -> Controls {
        Controls {
            session_limit: self.session_limit.map(wire_duration),
            idle_limit: self.idle_limit.map(wire_duration),
            sign_in_every: self.sign_in_every.map(wire_duration),
            no_download_types: self.no_download,
            no_attachments: self.no_attachments,
        }
    }
}

impl RuleFlags {
    /// The rule, and which parts of it were given.
    pub(crate) fn read(self) -> (AccessRule, Vec<String>) {
        let is_grant_given = self.grant.is_given();
        let (who, which) = (self.who.read(), self.which.read());
        let (place, controls) = (self.place.read(), self.controls.read());
        let nobody = Who {
            include: Some(People::default()),
            exclude: Some(People::default()),
        };
        let nowhere = Place {
            include: Some(Places::default()),
            exclude: Some(Places::default()),
        };
        let given = [
            ("display_name", self.display_name.is_some()),
            ("policy.message", self.message.is_some()),
            ("policy.state", self.state.is_some()),
            ("policy.who", who != nobody),
            ("policy.which", which != Which::default()),
            ("policy.place", place != nowhere),
            ("policy.platforms", !self.platforms.is_empty()),
            ("policy.clients", !self.clients.is_empty()),
            ("policy.schedule", self.schedule.is_some()),
            ("policy.when", self.when.is_some()),
            ("policy.grant", is_grant_given),
            ("policy.controls", controls != Controls::default()),
        ];
        let paths = client::given(&given);
        let policy = Policy {
            state: self.state.unwrap_or(RuleState::On).into(),
            message: self.message.unwrap_or_default(),
            who: Some(who),
            which: Some(which),
            place: Some(place),
            platforms: self.platforms,
            clients: self.clients,
            schedule: self.schedule,
            when: self.when.unwrap_or_default(),
            grant: Some(self.grant.read()),
            controls: Some(controls),
        };
        let rule = AccessRule {
            name: self.id.resource_name(),
            display_name: self.display_name.unwrap_or_default(),
            policy: Some(policy),
            ..AccessRule::default()
        };
        (rule, paths)
    }
}

pub(crate) fn state(word: &str) -> Result<RuleState, String> {
    match word {
        "on" => Ok(RuleState::On),
        "report-only" => Ok(RuleState::ReportOnly),
        "off" => Ok(RuleState::Off),
        _ => Err("must be on, report-only or off".to_owned()),
    }
}

pub(crate) fn requirement(word: &str) -> Result<Requirement, String> {
    match word {
        "mfa" => Ok(Requirement::Mfa),
        "device-certificate" => Ok(Requirement::DeviceCertificate),
        _ => Err("must be mfa or device-certificate".to_owned()),
    }
}

pub(crate) fn claim(text: &str) -> Result<ClaimMatch, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("must be of the form NAME=VALUE")?;
    Ok(ClaimMatch {
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

/// `mon,tue 08:00-18:00 +01:00`; without an offset by UTC.
pub(crate) fn schedule(text: &str) -> Result<Schedule, String> {
    const FORM: &str = "must be of the form \"mon,tue 08:00-18:00 +01:00\"";
    let mut words = text.split_whitespace();
    let (days, times) = (words.next().ok_or(FORM)?, words.next().ok_or(FORM)?);
    let (from, until) = times.split_once('-').ok_or(FORM)?;
    let offset = match words.next().unwrap_or("+00:00").split_at_checked(1) {
        Some(("+", offset)) => i32::try_from(minutes(offset).ok_or(FORM)?),
        Some(("-", offset)) => i32::try_from(minutes(offset).ok_or(FORM)?).map(|minutes| -minutes),
        _ => return Err(FORM.to_owned()),
    };
    if words.next().is_some() {
        return Err(FORM.to_owned());
    }
    Ok(Schedule {
        days: days.split(',').map(str::to_owned).collect(),
        from_minute: minutes(from).ok_or(FORM)?,
        until_minute: minutes(until).ok_or(FORM)?,
        offset_minutes: offset.map_err(|_| FORM)?,
    })
}

/// `08:30`, up to `24:00`
fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str, most: u32| {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: u32 = text.parse().ok()?;
        (is_plain && number <= most).then_some(number)
    };
    Some(two(hours, 24)? * 60 + two(minutes, 59)?)
}

/// As the flag has it.
pub(super) fn written_schedule(schedule: &Schedule) -> String {
    let time = |minutes: u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
    let sign = if schedule.offset_minutes < 0 {
        '-'
    } else {
        '+'
    };
    format!(
        "{} {}-{} {sign}{}",
        schedule.days.join(","),
        time(schedule.from_minute),
        time(schedule.until_minute),
        time(schedule.offset_minutes.unsigned_abs())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_written_as_they_are_read() {
        for text in [
            "mon,tue 08:00-18:00 +01:00",
            "sun 22:30-06:00 -09:30",
            "sat 00:00-24:00 +00:00",
        ] {
            assert_eq!(
                schedule(text).map(|read| written_schedule(&read)),
                Ok(text.to_owned())
            );
        }
        assert_eq!(
            schedule("mon 08:00-18:00").map(|read| read.offset_minutes),
            Ok(0)
        );
        for bad in [
            "",
            "mon",
            "mon 8-18",
            "mon 8:00-18:00",
            "mon 08:00-18:60",
            "mon 08:00-18:00 01:00",
            "mon 08:00-18:00 +01:00 x",
        ] {
            assert!(schedule(bad).is_err(), "{bad}");
        }
    }
}
