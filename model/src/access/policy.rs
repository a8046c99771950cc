//! What an access rule says: whom, what and when it is about, what it asks for, and what holds for the sessions that it lets through.

use std::{collections::HashSet, time::Duration};

use super::{
    facts::{ClientKind, Facts, Platform, words},
    needs::{Missing, Requirements},
    place::Places,
    schedule::Schedule,
    when::Expression,
};
use crate::{
    name::{AppId, IdentityProviderId, UserId},
    path::{self, PathPrefix},
    terms::TermsInForce,
    user::{User, UserGroup},
};

/// Rules of a fabric.
pub const RULES_MAX: usize = 200;
/// Users, and apps, that one side of a rule may name.
pub const RULE_NAMES_MAX: usize = 1_000;
/// Groups of users that one side of a rule may name.
pub const RULE_GROUPS_MAX: usize = 200;
/// Claims, and providers, that one side of a rule may name.
pub const RULE_CLAIMS_MAX: usize = 50;
/// Path prefixes, methods, and media types that a rule may name.
pub const RULE_PATHS_MAX: usize = 50;
/// Bytes of the name, and of the value, of a claim that a rule asks for.
pub const CLAIM_TEXT_BYTES_MAX: usize = 256;
/// Longest message to those whom a rule refuses, in characters.
pub const MESSAGE_CHARS_MAX: usize = 500;
/// Shortest and longest span of a session control: below, clocks that differ a little would ask again and again.
pub const SPAN: (Duration, Duration) = (
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 24 * 3_600),
);

words!(
    /// Whether a rule counts.
    State, {
        /// It decides.
        On = "on",
        /// It is looked at and counted, and decides nothing.
        ReportOnly = "report-only",
        /// It is kept, and no edge is told.
        Off = "off",
    }
);

/// What a rule says.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Whether it counts.
    pub state: State,
    /// What those whom it refuses are told; may be empty.
    pub message: String,
    /// Whom it is about.
    pub who: Who,
    /// What it is about.
    pub which: Which,
    /// Where they come from.
    pub place: Place,
    /// What their devices run; none: anything.
    pub platforms: Vec<Platform>,
    /// What they use; none: anything.
    pub clients: Vec<ClientKind>,
    /// When; `None`: at all times.
    pub schedule: Option<Schedule>,
    /// What else must hold.
    pub when: Option<Expression>,
    /// What it asks for.
    pub grant: Grant,
    /// What holds for the sessions that it lets through.
    pub controls: Controls,
}

/// Users by any of several marks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct People {
    /// Whoever has signed in.
    pub everyone: bool,
    /// At most [`RULE_NAMES_MAX`].
    pub users: HashSet<UserId>,
    /// At most [`RULE_GROUPS_MAX`].
    pub groups: HashSet<UserGroup>,
    /// Of whom a provider says any of these; at most [`RULE_CLAIMS_MAX`].
    pub claims: Vec<ClaimMatch>,
    /// Who signed in with any of these; `None` is the fabric itself. At most [`RULE_CLAIMS_MAX`].
    pub providers: Vec<Option<IdentityProviderId>>,
}

/// A claim that has a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMatch {
    /// Its name.
    pub name: String,
    /// The value, compared exactly.
    pub value: String,
}

impl People {
    fn holds(&self, user: &User) -> bool {
        self.everyone
            || self.users.contains(&user.id)
            || (!self.groups.is_empty() && user.groups.iter().any(|one| self.groups.contains(one)))
            || self.claims.iter().any(|wanted| {
                let mut claims = user.claims.iter();
                claims
                    .any(|claim| claim.name == wanted.name && claim.values.contains(&wanted.value))
            })
            || self.providers.contains(&user.authentication.provider)
    }
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Who {
    /// These,
    pub include: People,
    /// but not these.
    pub exclude: People,
}

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Which {
    /// Every app for users who have signed in.
    pub all_apps: bool,
    /// These; at most [`RULE_NAMES_MAX`].
    pub apps: HashSet<AppId>,
    /// But not these; at most [`RULE_NAMES_MAX`].
    pub exclude_apps: HashSet<AppId>,
    /// Parts of the apps; none: all of them. At most [`RULE_PATHS_MAX`].
    pub paths: Vec<PathPrefix>,
    /// None: any. At most [`RULE_PATHS_MAX`].
    pub methods: Vec<String>,
}

impl Which {
    pub(super) fn holds_app(&self, app: &AppId) -> bool {
        (self.all_apps || self.apps.contains(app)) && !self.exclude_apps.contains(app)
    }

    fn holds_path(&self, facts: &Facts<'_>) -> bool {
        // Prefixes may have capitals, which lenient readings have not.
        let inside = |prefix: &PathPrefix| {
            let prefix = path::read_leniently(prefix.as_str());
            path::holds(&prefix, &facts.path)
        };
        self.paths.is_empty() || facts.path_is_ambiguous || self.paths.iter().any(inside)
    }

    fn holds_method(&self, facts: &Facts<'_>) -> bool {
        // Methods are told apart by case (RFC 9110, section 9.1), but some servers do not.
        let is = |one: &String, method: &str| one.eq_ignore_ascii_case(method);
        let mut named = self.methods.iter();
        self.methods.is_empty()
            || named.any(|one| {
                let mut others = facts.other_methods.iter();
                is(one, facts.method) || others.any(|other| is(one, other))
            })
    }
}

/// Where users come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// These; empty: anywhere.
    pub include: Places,
    /// But not these.
    pub exclude: Places,
}

/// What a rule asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Nothing; only its controls of the session count.
    Allow,
    /// Nobody whom it is about gets in.
    Block,
    /// More than a session.
    Require(Requirements),
}

/// What holds for sessions that a rule lets through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Controls {
    /// How long after it began a session is good for this.
    pub session_limit: Option<Duration>,
    /// How long somebody may do nothing at the app.
    pub idle_limit: Option<Duration>,
    /// How often they show who they are.
    pub sign_in_every: Option<Duration>,
    /// What they may not take away.
    pub no_download: NoDownload,
}

/// Answers that are kept back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NoDownload {
    /// Media types, such as `application/pdf` and `image/*`, in lower case; at most [`RULE_PATHS_MAX`].
    pub types: Vec<String>,
    /// Whatever the origin says is to be saved (`Content-Disposition: attachment`; RFC 6266).
    pub attachments: bool,
}

impl NoDownload {
    /// Whether it keeps nothing back.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty() && !self.attachments
    }

    /// Whether it keeps back an answer of this media type, in lower case and without parameters.
    pub fn holds(&self, media_type: &str, is_attachment: bool) -> bool {
        (self.attachments && is_attachment)
            || self.types.iter().any(|one| match one.strip_suffix("/*") {
                Some(kind) => media_type.split('/').next() == Some(kind),
                None => one == media_type,
            })
    }
}

words!(
    /// The condition of a rule that a request does not meet.
    Unmet, {
        /// The rule is about other apps.
        Apps = "apps",
        /// The rule excludes the app.
        ExcludedApps = "excluded apps",
        /// The rule is about other users.
        Users = "users",
        /// The rule excludes the user.
        ExcludedUsers = "excluded users",
        /// The rule is about other paths.
        Paths = "paths",
        /// The rule is about other methods.
        Methods = "methods",
        /// The rule is about other clients.
        Clients = "clients",
        /// The rule is about other platforms.
        Platforms = "platforms",
        /// The request comes from elsewhere.
        Places = "places",
        /// The rule excludes where the request comes from.
        ExcludedPlaces = "excluded places",
        /// It is another time.
        Schedule = "schedule",
        /// The expression is false.
        When = "when",
    }
);

impl Policy {
    /// One that is on, is about nobody and asks for nothing.
    pub fn new(grant: Grant) -> Self {
        Self {
            state: State::On,
            message: String::new(),
            who: Who::default(),
            which: Which::default(),
            place: Place::default(),
            platforms: Vec::new(),
            clients: Vec::new(),
            schedule: None,
            when: None,
            grant,
            controls: Controls::default(),
        }
    }

    /// Those of its conditions that stand by themselves; the app is looked at before.
    pub(super) fn applies(&self, user: &User, facts: &Facts<'_>) -> Result<(), Unmet> {
        let unless = |holds: bool, unmet: Unmet| if holds { Ok(()) } else { Err(unmet) };
        unless(self.who.include.holds(user), Unmet::Users)?;
        unless(!self.who.exclude.holds(user), Unmet::ExcludedUsers)?;
        unless(self.which.holds_path(facts), Unmet::Paths)?;
        unless(self.which.holds_method(facts), Unmet::Methods)?;
        let clients = &self.clients;
        unless(
            clients.is_empty() || clients.contains(&facts.client),
            Unmet::Clients,
        )?;
        let platforms = &self.platforms;
        unless(
            platforms.is_empty() || platforms.contains(&facts.platform),
            Unmet::Platforms,
        )?;
        let schedule = self.schedule.as_ref();
        unless(
            schedule.is_none_or(|schedule| schedule.holds(facts.now_ms)),
            Unmet::Schedule,
        )
    }

    /// What the user lacks of what it asks for.
    pub(super) fn missing(
        &self,
        user: &User,
        facts: &Facts<'_>,
        in_force: &TermsInForce,
    ) -> Option<Missing> {
        let grant = match &self.grant {
            Grant::Block => return Some(Missing::Blocked),
            Grant::Allow => None,
            Grant::Require(requirements) => requirements.missing(user, facts, in_force),
        };
        let mut needs = grant.unwrap_or_default();
        needs.add(self.controls.missing(user, facts));
        (!needs.is_empty()).then_some(Missing::Needs(needs))
    }

    /// Whether it tells users apart by their groups.
    pub(super) fn names_groups(&self) -> bool {
        let sides = [&self.who.include, &self.who.exclude];
        sides.into_iter().any(|side| !side.groups.is_empty())
            || self.when.as_ref().is_some_and(Expression::names_groups)
    }

    /// Whether it asks about the certificate of a device.
    pub(super) fn needs_device(&self) -> bool {
        self.when.as_ref().is_some_and(Expression::needs_device)
            || matches!(&self.grant, Grant::Require(asked) if asked.device_certificate)
    }

    /// Whether it tells users apart by a claim.
    pub(super) fn names_claim(&self, claim: &str) -> bool {
        let sides = [&self.who.include, &self.who.exclude];
        let mut claims = sides.into_iter().flat_map(|side| &side.claims);
        claims.any(|one| one.name == claim)
            || self
                .when
                .as_ref()
                .is_some_and(|when| when.names_claim(claim))
    }

    /// Whether what comes of it may change with nothing but time.
    pub(super) fn is_timed(&self) -> bool {
        self.schedule.is_some()
            || self.when.as_ref().is_some_and(Expression::is_timed)
            || self.controls.session_limit.is_some()
            || self.controls.sign_in_every.is_some()
            || matches!(&self.grant, Grant::Require(asked) if asked.is_timed())
    }
}

impl Controls {
    /// How lately the user must have signed in for a session that is past a limit.
    fn missing(&self, user: &User, facts: &Facts<'_>) -> Option<Duration> {
        let age = facts.age(user.authentication.at_ms);
        let every = self.sign_in_every.filter(|every| age > *every);
        let limit = self.session_limit;
        let limit = limit.filter(|limit| facts.age(facts.session_began_ms) > *limit);
        let idle = self.idle_limit;
        let idle = idle.filter(|idle| facts.seen_ms.is_some_and(|seen| facts.age(seen) > *idle));
        [every, limit, idle].into_iter().flatten().min()
    }
}

impl Facts<'_> {
    /// How long ago something was; nothing if a clock is behind.
    pub(super) fn age(&self, unix_ms: i64) -> Duration {
        let age = self.now_ms.saturating_sub(unix_ms);
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_kept_back_by_kind_or_by_name() {
        let rule = NoDownload {
            types: vec!["application/pdf".to_owned(), "image/*".to_owned()],
            attachments: true,
        };
        for (media_type, is_attachment, want) in [
            ("application/pdf", false, true),
            ("application/pdfx", false, false),
            ("image/png", false, true),
            ("imagex/png", false, false),
            ("text/html", false, false),
            ("text/html", true, true),
            ("", false, false),
        ] {
            let held = rule.holds(media_type, is_attachment);
            assert_eq!(held, want, "{media_type} {is_attachment}");
        }
    }
}
