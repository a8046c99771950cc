//! The file that says what a fabric shall publish.
//!
//! ```toml
//! [group.office]
//! display_name = "Head office"
//!
//! [app.wiki]
//! hosts = ["wiki.example.com"]
//! origins = ["http://10.0.0.5:8080"]
//! group = "office"
//! access = "passthrough"
//! timeouts = { response = "5m" }
//!
//! [app.shop]
//! hosts = ["shop.example.com"]
//! path = "/cart"
//! origins = [{ url = "https://shop.internal", ca_file = "shop-ca.pem" }]
//! group = "office"
//! access = "sign-in"
//! assign = { users = ["alice"], user_groups = ["staff"] }
//! identity_fields = { x-remote-user = "user" }
//! tile = { category = "Sales", description = "Baskets and orders" }
//!
//! [location.office]
//! networks = ["192.0.2.0/24"]
//!
//! [access_rule.mfa-off-site]
//! everyone = true
//! all_apps = true
//! exclude_locations = ["office"]
//! require = ["mfa"]
//!
//! [settings.limits]
//! client_rate = { per_second = 100 }
//! ```
//!
//! What is left out takes its default, also where the fabric has something else now. Only without `[settings]` do the fabric's
//! own stay.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    str::FromStr,
};

use model::{
    name::{AccessRuleId, AppId, ClientCaId, GroupId, IdentityProviderId, LocationId},
    settings::SignInLogDays,
};
use proto::admin;
use runtime::config::{self, Problems, ReadError};
use serde::Deserialize;

use super::{
    access_rule::{self, RawRule},
    lines::Lines,
    location::{self, RawLocation},
    provider::{self, Provider, RawProvider},
};
use crate::cli::{
    app::{
        AccessWord,
        words::{
            AnswerRulesWords, AssignWords, CorsWords, HealthCheckWords, IdentityWords, LimitsWords,
            MaintenanceWords, OriginWords, Reading, SegmentWords, SessionCookieWords, SsoWords,
            TileWords, TimeoutsWords, TranslationWords, all_meant, identity_meant,
        },
    },
    settings::{BrandWords, EdgeLimitsWords, SecondFactorWord},
};

/// Group of an app for which the file names none.
const DEFAULT_GROUP: &str = "default";

/// Why a file cannot be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be read, is no TOML, or has a key that is not known.
    #[error("cannot apply the file")]
    Read(#[source] ReadError),
    /// It is well-formed and yet makes no sense.
    #[error("cannot apply the file")]
    Invalid(#[source] Problems),
}

/// All that the file asks for. Apps that can be read are written the way control keeps them.
#[derive(Debug, Default)]
pub(super) struct Desired {
    /// None: what the fabric has stays.
    pub(super) settings: Option<admin::Settings>,
    pub(super) groups: BTreeMap<GroupId, admin::Group>,
    pub(super) providers: BTreeMap<IdentityProviderId, Provider>,
    /// None: the file says nothing of them.
    pub(super) locations: Option<BTreeMap<LocationId, admin::Location>>,
    /// None: the file says nothing of them.
    pub(super) access_rules: Option<BTreeMap<AccessRuleId, admin::AccessRule>>,
    pub(super) apps: BTreeMap<AppId, admin::App>,
    /// Where in the file all this is.
    pub(super) lines: Lines,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    settings: Option<RawSettings>,
    #[serde(default)]
    group: BTreeMap<String, RawGroup>,
    #[serde(default)]
    identity_provider: BTreeMap<String, RawProvider>,
    location: Option<BTreeMap<String, RawLocation>>,
    access_rule: Option<BTreeMap<String, RawRule>>,
    #[serde(default)]
    app: BTreeMap<String, RawApp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawSettings {
    stopped: bool,
    title_case: bool,
    second_factor: SecondFactorWord,
    second_factor_groups: Vec<String>,
    sign_in_log_days: u32,
    timeouts: TimeoutsWords,
    limits: LimitsWords,
    edge_limits: EdgeLimitsWords,
    brand: BrandWords,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    #[serde(default)]
    display_name: String,
}

/// What an app cannot be without has a default too: control then tells of it, with everything else that is wrong.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApp {
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    path: String,
    #[serde(default)]
    origins: Vec<OriginWords>,
    #[serde(default)]
    segments: Vec<SegmentWords>,
    group: Option<String>,
    access: Option<AccessWord>,
    #[serde(default)]
    assign: AssignWords,
    #[serde(default)]
    identity_fields: IdentityWords,
    #[serde(default)]
    identity_providers: Vec<String>,
    #[serde(default)]
    assertion_field: String,
    single_sign_on: Option<SsoWords>,
    #[serde(default)]
    session_cookie: SessionCookieWords,
    #[serde(default)]
    cross_site_posts: bool,
    #[serde(default)]
    token_audiences: Vec<String>,
    #[serde(default)]
    token_scopes: Vec<String>,
    #[serde(default)]
    client_cas: Vec<String>,
    #[serde(default)]
    timeouts: TimeoutsWords,
    #[serde(default)]
    limits: LimitsWords,
    #[serde(default)]
    translation: TranslationWords,
    #[serde(default)]
    answer_rules: AnswerRulesWords,
    #[serde(default)]
    cors: Vec<CorsWords>,
    maintenance: Option<MaintenanceWords>,
    #[serde(default)]
    home_path: String,
    #[serde(default)]
    hide_forwarded: bool,
    #[serde(default)]
    keep_field_case: bool,
    #[serde(default)]
    origin_proxy: String,
    health_check: Option<HealthCheckWords>,
    #[serde(default)]
    tile: TileWords,
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<Desired, FileError> {
    let (raw, text): (RawFile, _) = config::read_with_text(path).map_err(FileError::Read)?;
    let lines = Lines::new(path, &text);
    let mut problems = Problems::of_file(path);
    let beside = path.parent().unwrap_or_else(|| Path::new(""));
    let settings = raw.settings.map(|raw| {
        let mut reading = Reading {
            beside,
            problems: &mut problems,
        };
        settings_as_control_keeps(raw.meant(&mut reading))
    });
    let mut desired = Desired {
        settings,
        ..Desired::default()
    };
    for (id, raw) in raw.group {
        let key = format!("group.{id}");
        if let Some(id) = problems.take(&key, GroupId::from_str(&id)) {
            let group = raw.meant(&id);
            desired.groups.insert(id, group);
        }
    }
    let mut reading = Reading {
        beside,
        problems: &mut problems,
    };
    desired.providers = provider::all_meant(raw.identity_provider, &mut reading);
    let locations = raw.location;
    desired.locations = locations.map(|raw| location::all_meant(raw, &mut reading));
    let rules = raw.access_rule;
    desired.access_rules = rules.map(|raw| access_rule::all_meant(raw, &mut reading));
    for (id, raw) in raw.app {
        let key = format!("app.{id}");
        if let Some(id) = problems.take(&key, AppId::from_str(&id)) {
            let mut reading = Reading {
                beside,
                problems: &mut problems,
            };
            let app = raw.meant(&id, &key, &mut reading);
            desired.apps.insert(id, as_control_keeps(app));
        }
    }
    refuse_repeated_hosts(&desired.apps, &mut problems);
    problems.locate(|key| lines.of(key));
    desired.lines = lines;
    problems.finish(Some(desired)).map_err(FileError::Invalid)
}

impl RawSettings {
    fn meant(&self, reading: &mut Reading<'_>) -> admin::Settings {
        admin::Settings {
            name: proto::settings::NAME.to_owned(),
            stopped: self.stopped,
            title_case: self.title_case,
            second_factor: self.second_factor.meant().into(),
            second_factor_groups: self.second_factor_groups.clone(),
            // As control tells it, so that nothing seems to change. It refuses what is too much.
            sign_in_log_days: match self.sign_in_log_days {
                0 => SignInLogDays::default().days(),
                said => said,
            },
            timeouts: Some(self.timeouts.meant("settings.timeouts", reading)),
            limits: Some(self.limits.meant("settings.limits", reading)),
            edge_limits: Some(self.edge_limits.meant("settings.edge_limits", reading)),
            brand: self.brand.meant(),
            ..admin::Settings::default()
        }
    }
}

impl RawGroup {
    fn meant(self, id: &GroupId) -> admin::Group {
        admin::Group {
            name: id.resource_name(),
            display_name: self.display_name,
            ..admin::Group::default()
        }
    }
}

impl RawApp {
    fn meant(self, id: &AppId, key: &str, reading: &mut Reading<'_>) -> admin::App {
        let group = self.group.as_deref().unwrap_or(DEFAULT_GROUP);
        let key = |field: &str| format!("{key}.{field}");
        admin::App {
            name: id.resource_name(),
            display_name: self.display_name,
            hosts: self.hosts,
            path: self.path,
            origins: all_meant(&self.origins, &key("origins"), reading, OriginWords::meant),
            segments: all_meant(
                &self.segments,
                &key("segments"),
                reading,
                SegmentWords::meant,
            ),
            group: format!("{}{group}", GroupId::COLLECTION),
            access: self.access.map_or(0, |access| access.wire().into()),
            assignment: self.assign.meant(),
            identity_fields: identity_meant(&self.identity_fields),
            identity_providers: self
                .identity_providers
                .iter()
                .map(|id| format!("{}{id}", IdentityProviderId::COLLECTION))
                .collect(),
            assertion_field: self.assertion_field,
            single_sign_on: self.single_sign_on.as_ref().map(SsoWords::meant),
            session_cookie: self.session_cookie.meant(),
            cross_site_posts: self.cross_site_posts,
            token_audiences: self.token_audiences,
            token_scopes: self.token_scopes,
            client_cas: self
                .client_cas
                .iter()
                .map(|id| format!("{}{id}", ClientCaId::COLLECTION))
                .collect(),
            timeouts: Some(self.timeouts.meant(&key("timeouts"), reading)),
            limits: Some(self.limits.meant(&key("limits"), reading)),
            translation: Some(self.translation.meant(&key("translation"), reading)),
            answer_rules: Some(self.answer_rules.meant(&key("answer_rules"), reading)),
            cors: all_meant(&self.cors, &key("cors"), reading, CorsWords::meant),
            maintenance: self
                .maintenance
                .map(|notice| notice.meant(&key("maintenance"), reading)),
            home_path: self.home_path,
            hide_forwarded: self.hide_forwarded,
            keep_field_case: self.keep_field_case,
            origin_proxy: self.origin_proxy,
            health_check: self
                .health_check
                .map(|check| check.meant(&key("health_check"), reading)),
            tile: self.tile.meant(),
            ..admin::App::default()
        }
    }
}

/// With names in their one spelling, and what is left to the fabric's settings left to them, so that it can be compared with
/// what control has. What cannot be read stays as it is; control says what is wrong with it.
fn as_control_keeps(app: admin::App) -> admin::App {
    let id = app.name.strip_prefix(AppId::COLLECTION).unwrap_or_default();
    match proto::app::publication(id, &app) {
        Ok(publication) => proto::app::stored_app(&publication, &app),
        Err(_) => app,
    }
}

/// As [`as_control_keeps`]: a burst that is left out, for one, is written out.
fn settings_as_control_keeps(settings: admin::Settings) -> admin::Settings {
    match proto::settings::settings(&settings) {
        Ok(read) => proto::settings::stored_settings(&read, &settings),
        Err(_) => settings,
    }
}

/// Control sees one app at a time, so only here can two new ones be found to want the same place.
fn refuse_repeated_hosts(apps: &BTreeMap<AppId, admin::App>, problems: &mut Problems) {
    let mut holders: HashMap<(&str, &str), &AppId> = HashMap::new();
    for (id, app) in apps {
        let own = app.hosts.iter().map(|host| (host, &app.path));
        let others = app
            .segments
            .iter()
            .flat_map(|segment| segment.hosts.iter().map(|host| (host, &segment.path)));
        for (host, path) in own.chain(others) {
            let holder = *holders.entry((host, path)).or_insert(id);
            if holder != id {
                problems.add(
                    format!("app.{id}.hosts"),
                    format_args!("{host} with path {path} belongs to app {holder} too"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, fs};

    use super::*;

    fn written(text: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("fabric.toml"), text).unwrap();
        fs::write(directory.path().join("ca.pem"), "PEM").unwrap();
        directory
    }

    fn read_text(text: &str) -> Result<Desired, FileError> {
        read(&written(text).path().join("fabric.toml"))
    }

    const WIKI: &str = "[app.wiki]\nhosts = [\"Wiki.Example.com.\"]\norigins = [\"http://wiki:80/\"]\naccess = \"passthrough\"\n";

    #[test]
    fn defaults_are_filled_in_and_names_have_one_spelling() {
        let desired = read_text(WIKI).unwrap();
        let app = &desired.apps["wiki"];
        assert_eq!(app.hosts, ["wiki.example.com"]);
        assert_eq!(app.origins[0].url, "http://wiki");
        assert_eq!(
            (app.path.as_str(), app.group.as_str()),
            ("/", "groups/default")
        );
        // Left to the fabric's settings.
        assert_eq!(app.timeouts, None);
    }

    #[test]
    fn who_is_assigned_is_written_the_way_control_keeps_it() {
        let text = WIKI.replace(
            "\"passthrough\"",
            "\"sign-in\"\nassign = { users = [\"bob\", \"alice\"], user_groups = [\"staff\"], everyone = true }",
        );
        let app = read_text(&text).unwrap().apps["wiki"].clone();
        assert_eq!(app.access(), admin::Access::SignIn);
        let assigned = app.assignment.unwrap();
        assert_eq!(assigned.users, ["users/alice", "users/bob"]);
        assert_eq!(assigned.user_groups, ["staff"]);
        assert!(assigned.everyone);
        let nobody = WIKI.replace("passthrough", "sign-in");
        assert_eq!(read_text(&nobody).unwrap().apps["wiki"].assignment, None);
    }

    #[test]
    fn settings_are_written_the_way_control_keeps_them() {
        let text = "[settings.limits]\nrate = { per_second = 10 }\n[settings.edge_limits]\nhead_bytes = \"16KiB\"";
        let settings = read_text(text).unwrap().settings.unwrap();
        let edge_limits = admin::EdgeLimits {
            head_bytes: Some(16 * 1024),
            ..admin::EdgeLimits::default()
        };
        assert_eq!(settings.edge_limits, Some(edge_limits));
        let burst = settings.limits.and_then(|limits| limits.rate);
        assert_eq!(burst.map(|rate| rate.burst), Some(10));
        assert_eq!((settings.stopped, settings.timeouts), (false, None));
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        for (text, line, key) in [
            ("[app.wiki]\nhostz = []", "line 2", "hostz"),
            ("[apps.wiki]\n", "line 1", "apps"),
            ("[group.a]\nname = \"\"", "line 2", "name"),
            (
                "[app.wiki]\norigins = [\n{ url = \"http://a\", ca = \"x\" }]",
                "line 3",
                "ca",
            ),
            ("[app.wiki]\naccess = \"everyone\"", "line 2", "everyone"),
            ("[app.wiki.timeouts]\nread = \"1s\"", "line 2", "read"),
        ] {
            let error = read_text(text).unwrap_err();
            let cause = error.source().and_then(|read| read.source()).unwrap();
            let cause = cause.to_string();
            assert!(
                cause.contains(line) && cause.contains(key),
                "{text}: {cause}"
            );
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let text = "[group.Office]\n[app.a]\ntimeouts = { idle = \"soon\" }\norigins = [{ url = \"https://a\", ca_file = \"none.pem\" }]";
        let text = read_text(text).unwrap_err().source().unwrap().to_string();
        for key in [
            "group.Office",
            "app.a.timeouts.idle",
            "app.a.origins[0].ca_file",
        ] {
            assert!(text.contains(key), "{text}");
        }
    }

    #[test]
    fn same_host_in_two_apps_is_refused_unless_paths_differ() {
        let other = WIKI.replace("app.wiki", "app.other");
        let both = read_text(&format!("{WIKI}{other}")).unwrap_err();
        let text = both.source().unwrap().to_string();
        assert!(
            text.contains("wiki.example.com with path / belongs to app other too"),
            "{text}"
        );
        let elsewhere = format!("{WIKI}{other}path = \"/other\"");
        assert_eq!(read_text(&elsewhere).unwrap().apps.len(), 2);
    }

    #[test]
    fn files_are_found_beside_the_file() {
        let text = WIKI.replace(
            "\"http://wiki:80/\"",
            "{ url = \"https://wiki\", ca_file = \"ca.pem\", server_name = \"w\" }",
        );
        let desired = read_text(&text).unwrap();
        let tls = desired.apps["wiki"].origins[0].tls.clone().unwrap();
        assert_eq!(
            (tls.ca_pem.as_str(), tls.server_name.as_str()),
            ("PEM", "w")
        );
    }
}
