//! The flags that describe an app, and the message and field mask that they make.
//!
//! Hosts, paths and URLs are checked by control, which tells of everything that is wrong with them at once.

use std::{fs, path::PathBuf, time::Duration};

use clap::ArgGroup;
use model::{
    app::Timeouts,
    name::{AppId, GroupId},
};
use prost_types::FieldMask;
use proto::{admin, time::wire_duration};

use super::{
    assign::Assign, more::More, sso::SsoFlags, tile::TileFlags, words::OriginProtocolWord,
};
use crate::cli::{failure::Failure, parse};

pub(super) const PUBLISH_EXAMPLES: &str = "Examples:
  adit app publish wiki --host wiki.example.com \\
    --origin http://10.0.0.5:8080 --access passthrough
  adit app publish shop --host shop.example.com --path /cart --group office \\
    --origin https://shop.internal --origin-server-name shop \\
    --access passthrough
  adit app publish crm --host crm.example.com --origin http://10.0.0.7 \\
    --access sign-in --assign-user alice --assign-user-group staff
  adit app publish hr --host hr.example.com --origin https://hr.corp.example \
    --access sign-in --assign-user-group staff \
    --sso kerberos --sso-spn HTTP/hr.corp.example --sso-identity-provider entra
  adit app publish admin --host admin.example.com --origin http://127.0.0.1:8000 \\
    --access sign-in --assign-user alice \\
    --sso form --sso-page /login --sso-user-field username --sso-password-field password";

pub(super) const UPDATE_EXAMPLES: &str = "Examples:
  adit app update wiki --origin http://10.0.0.5:8080 \\
    --origin http://10.0.0.6:8080
  adit app update wiki --response-timeout 5m
  adit app update wiki --maintenance \"Back at five.\"
  adit app update wiki --no-maintenance
  adit app update wiki --access sign-in --assign-everyone
  adit app update wiki --sso kerberos --sso-spn HTTP/wiki.corp.example \
    --sso-identity claim:account --sso-identity-provider entra --sso-name-form account
  adit app update legacy --sso basic --sso-shared --sso-charset latin1
  adit app update wiki --no-sso

A flag sets all of its setting: --hsts without subdomains, --maintenance without Retry-After, --health-check with the
default interval and time-out, --origin with equal weights. A file can say more, and has segments, CORS rules and fields
of answers besides: see adit apply --help.";

/// `adit app publish`.
#[derive(Debug, clap::Args)]
pub(crate) struct Publish {
    /// Id of the new app: 1-63 of a-z, 0-9 and -.
    pub(super) id: AppId,
    /// Public hostname, such as wiki.example.com or *.apps.example.com; may be repeated.
    #[arg(long = "host", value_name = "HOST", required = true)]
    hosts: Vec<String>,
    /// Private server, such as http://10.0.0.5:8080; repeated ones share the requests.
    #[arg(long = "origin", value_name = "URL", required = true)]
    origins: Vec<String>,
    /// Who may use the app.
    #[arg(long, value_enum)]
    access: AccessWord,
    /// Group of agents that can reach the origins.
    #[arg(long, default_value = "default")]
    group: GroupId,
    #[command(flatten)]
    details: Details,
    #[command(flatten)]
    assign: Assign,
    #[command(flatten)]
    sso: SsoFlags,
    /// Check everything and change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// `adit app update`.
#[derive(Debug, clap::Args)]
#[command(
    // clap would name all of the group, over several lines.
    override_usage = "adit app update <ID> <SETTING>... [OPTIONS]",
    group = ArgGroup::new("change").required(true).multiple(true).args([
        "hosts", "origins", "access", "assign_users", "assign_user_groups", "assign_services", "assign_programs", "assign_everyone", "assign_nobody", "identity_fields", "no_identity_fields", "identity_providers", "any_identity_provider", "assertion_field", "cookie_same_site", "cookie_persistent", "cross_site_posts", "token_audiences", "token_scopes", "no_tokens", "no_token_scopes", "client_cas", "no_client_cas", "sso", "no_sso", "group", "path", "display_name",
        "connect_timeout", "response_timeout", "idle_timeout", "total_timeout",
        "body_limit", "requests_limit", "rate", "client_rate", "body_pace",
        "head_fields", "head_bytes", "target_bytes", "stall_timeout",
        "host_sent", "inner_path", "keep_fields", "translate_bodies", "translate_json", "translate_scripts",
        "hsts", "content_security_policy", "robots", "maintenance", "no_maintenance",
        "home_path", "hide_forwarded", "keep_field_case", "origin_proxy", "health_check",
        "tile", "tile_description", "tile_category", "tile_host",
    ])
)]
pub(crate) struct Update {
    /// Id of the app.
    pub(super) id: AppId,
    /// Public hostname; all given ones replace those the app has.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Private server; all given ones replace those the app has.
    #[arg(long = "origin", value_name = "URL")]
    origins: Vec<String>,
    /// Who may use the app.
    #[arg(long, value_enum)]
    access: Option<AccessWord>,
    /// Group of agents that can reach the origins.
    #[arg(long)]
    group: Option<GroupId>,
    #[command(flatten)]
    details: Details,
    #[command(flatten)]
    assign: Assign,
    #[command(flatten)]
    sso: SsoFlags,
    /// Update only if the app still has this etag (see `app show`).
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) etag: String,
    /// Check everything and change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Settings that no app needs.
#[derive(Debug, clap::Args)]
struct Details {
    /// Published part of the hosts, by whole path segments, such as /cart.
    #[arg(long)]
    path: Option<String>,
    /// What people see; at most 120 characters.
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// PEM file with the certificates to trust at https origins instead of the agent's system roots.
    #[arg(long, value_name = "FILE", requires = "origins")]
    origin_ca: Option<PathBuf>,
    /// Name expected in the certificates of https origins instead of the URL's host.
    #[arg(long, value_name = "NAME", requires = "origins")]
    origin_server_name: Option<String>,
    /// Accept any certificate of https origins; for tests, and for devices that cannot do better.
    #[arg(long, requires = "origins")]
    origin_insecure: bool,
    /// Time to connect to an origin, such as 10s.
    #[arg(long, value_name = "TIME", value_parser = connect_timeout)]
    connect_timeout: Option<Duration>,
    /// Time from the whole request to the response's head, such as 85s.
    #[arg(long, value_name = "TIME", value_parser = response_timeout)]
    response_timeout: Option<Duration>,
    /// Silence in both directions of a body or WebSocket, such as 5m.
    #[arg(long, value_name = "TIME", value_parser = idle_timeout)]
    idle_timeout: Option<Duration>,
    /// Time from the request's head to the end of the answer; 0s for none.
    #[arg(long, value_name = "TIME", value_parser = total_timeout)]
    total_timeout: Option<Duration>,
    /// What is spoken to the origins.
    #[arg(long, value_enum, requires = "origins")]
    origin_protocol: Option<OriginProtocolWord>,
    /// Write names of fields to HTTP/1.1 origins as Content-Type, not content-type.
    #[arg(long, requires = "origins")]
    origin_title_case: bool,
    #[command(flatten)]
    more: More,
    #[command(flatten)]
    tile: TileFlags,
}

/// Words for who may use an app.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AccessWord {
    /// The fabric asks for nothing; the origin authenticates its users itself.
    Passthrough,
    /// Users sign in at the fabric, and must be assigned to the app.
    SignIn,
}

impl AccessWord {
    /// As the API has it.
    pub(crate) fn wire(self) -> admin::Access {
        match self {
            Self::Passthrough => admin::Access::Passthrough,
            Self::SignIn => admin::Access::SignIn,
        }
    }
}

impl Publish {
    /// The app that the flags describe.
    pub(super) fn app(&self) -> Result<admin::App, Failure> {
        let tls = self.details.tls()?;
        let mut app = admin::App {
            name: self.id.resource_name(),
            hosts: self.hosts.clone(),
            origins: self.details.origins(&self.origins, tls.as_ref()),
            access: self.access.wire().into(),
            group: self.group.resource_name(),
            path: self.details.path.clone().unwrap_or_default(),
            display_name: self.details.display_name.clone().unwrap_or_default(),
            timeouts: Some(self.details.timeouts()),
            ..admin::App::default()
        };
        self.details.more.write(&mut app);
        self.details.tile.write(&mut app);
        self.assign.write(&mut app);
        self.sso.write(&mut app);
        Ok(app)
    }
}

impl Update {
    /// The app's new settings, and which those are.
    pub(super) fn app(&self) -> Result<(admin::App, FieldMask), Failure> {
        let tls = self.details.tls()?;
        let mut app = admin::App {
            name: self.id.resource_name(),
            etag: self.etag.clone(),
            hosts: self.hosts.clone(),
            origins: self.details.origins(&self.origins, tls.as_ref()),
            access: self.access.map_or(0, |access| access.wire().into()),
            group: self
                .group
                .as_ref()
                .map_or_else(String::new, GroupId::resource_name),
            path: self.details.path.clone().unwrap_or_default(),
            display_name: self.details.display_name.clone().unwrap_or_default(),
            timeouts: Some(self.details.timeouts()),
            ..admin::App::default()
        };
        let paths = [
            ("hosts", !self.hosts.is_empty()),
            ("origins", !self.origins.is_empty()),
            ("access", self.access.is_some()),
            ("group", self.group.is_some()),
            ("path", self.details.path.is_some()),
            ("display_name", self.details.display_name.is_some()),
            ("timeouts.connect", self.details.connect_timeout.is_some()),
            ("timeouts.response", self.details.response_timeout.is_some()),
            ("timeouts.idle", self.details.idle_timeout.is_some()),
            ("timeouts.total", self.details.total_timeout.is_some()),
        ];
        let given = paths.into_iter().filter(|(_, given)| *given);
        let mut paths: Vec<_> = given.map(|(path, _)| path.to_owned()).collect();
        let more = self.details.more.write(&mut app);
        let tile = self.details.tile.write(&mut app);
        let assigned = self.assign.write(&mut app);
        let sso = self.sso.write(&mut app);
        let others = more.into_iter().chain(tile).chain(assigned).chain(sso);
        paths.extend(others.map(str::to_owned));
        Ok((app, FieldMask { paths }))
    }
}

impl Details {
    /// How every origin is checked, if anything was said about it.
    fn tls(&self) -> Result<Option<admin::OriginTls>, Failure> {
        let said = self.origin_ca.is_some() || self.origin_server_name.is_some();
        if !said && !self.origin_insecure {
            return Ok(None);
        }
        let ca_pem = match &self.origin_ca {
            None => String::new(),
            Some(path) => fs::read_to_string(path).map_err(|source| Failure::Unreadable {
                path: path.clone(),
                source,
            })?,
        };
        Ok(Some(admin::OriginTls {
            ca_pem,
            server_name: self.origin_server_name.clone().unwrap_or_default(),
            insecure: self.origin_insecure,
        }))
    }

    fn timeouts(&self) -> admin::Timeouts {
        admin::Timeouts {
            connect: self.connect_timeout.map(wire_duration),
            response: self.response_timeout.map(wire_duration),
            idle: self.idle_timeout.map(wire_duration),
            total: self.total_timeout.map(wire_duration),
        }
    }

    fn origins(&self, urls: &[String], tls: Option<&admin::OriginTls>) -> Vec<admin::Origin> {
        let protocol = self.origin_protocol.map_or(0, |word| word.wire().into());
        let urls = urls.iter().cloned();
        urls.map(|url| admin::Origin {
            url,
            tls: tls.cloned(),
            protocol,
            title_case: self.origin_title_case,
            ..admin::Origin::default()
        })
        .collect()
    }
}

fn connect_timeout(text: &str) -> Result<Duration, String> {
    parse::duration_in(text, Timeouts::CONNECT_RANGE)
}

fn response_timeout(text: &str) -> Result<Duration, String> {
    parse::duration_in(text, Timeouts::RESPONSE_RANGE)
}

fn idle_timeout(text: &str) -> Result<Duration, String> {
    parse::duration_in(text, Timeouts::IDLE_RANGE)
}

fn total_timeout(text: &str) -> Result<Duration, String> {
    match runtime::config::duration(text) {
        Ok(Duration::ZERO) => Ok(Duration::ZERO),
        _ => parse::duration_in(text, Timeouts::TOTAL_RANGE),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    enum Line {
        Publish(Box<Publish>),
        Update(Box<Update>),
    }

    fn update(flags: &[&str]) -> Result<Box<Update>, clap::Error> {
        let words = ["app", "update", "wiki"].iter().chain(flags);
        match Line::try_parse_from(words)? {
            Line::Update(update) => Ok(update),
            Line::Publish(_) => unreachable!("the words say update"),
        }
    }

    #[test]
    fn update_names_only_the_given_fields() {
        for (flags, want) in [
            (&["--host", "a.example.com"][..], &["hosts"][..]),
            (&["--path", "/"], &["path"]),
            (&["--display-name", ""], &["display_name"]),
            (
                &["--idle-timeout", "1m", "--group", "office"],
                &["group", "timeouts.idle"],
            ),
            (&["--rate", "100/500"], &["limits.rate"]),
            (&["--maintenance"], &["maintenance"]),
            (&["--no-maintenance"], &["maintenance"]),
            (
                &["--host-sent", "wiki.corp"],
                &["translation.host", "translation.inner_host"],
            ),
            (&["--translate-bodies", "false"], &["translation.bodies"]),
            (&["--access", "sign-in"], &["access"]),
            // Control would refuse to keep who was assigned.
            (
                &["--access", "passthrough"],
                &[
                    "access",
                    "assignment",
                    "identity_fields",
                    "identity_providers",
                    "assertion_field",
                    "session_cookie",
                    "cross_site_posts",
                    "token_audiences",
                    "token_scopes",
                    "client_cas",
                    "single_sign_on",
                ],
            ),
            (&["--no-identity-fields"], &["identity_fields"]),
            (&["--any-identity-provider"], &["identity_providers"]),
            (&["--token-audience", "a"], &["token_audiences"]),
            (&["--token-scope", "a"], &["token_scopes"]),
            (&["--no-token-scopes"], &["token_scopes"]),
            (&["--client-ca", "laptops"], &["client_cas"]),
            (&["--no-client-cas"], &["client_cas"]),
            (&["--no-tokens"], &["token_audiences", "token_scopes"]),
            (&["--identity-provider", "entra"], &["identity_providers"]),
            (&["--assertion-field"], &["assertion_field"]),
            (
                &["--cookie-same-site", "none", "--cookie-persistent"],
                &["session_cookie.same_site", "session_cookie.persistent"],
            ),
            (&["--cross-site-posts", "false"], &["cross_site_posts"]),
            (&["--assertion-field", ""], &["assertion_field"]),
            (&["--identity-field", "x-user=user"], &["identity_fields"]),
            (
                &["--assign-user", "alice", "--assign-everyone", "false"],
                &["assignment.users", "assignment.everyone"],
            ),
            (
                &["--assign-user-group", "staff"],
                &["assignment.user_groups"],
            ),
            (&["--assign-program", "jobs/ci"], &["assignment.programs"]),
            (&["--assign-nobody"], &["assignment"]),
            (
                &["--tile", "hide", "--tile-category", ""],
                &["tile.listing", "tile.category"],
            ),
            (
                &[
                    "--tile-description",
                    "Notes",
                    "--tile-host",
                    "a.example.com",
                ],
                &["tile.description", "tile.host"],
            ),
        ] {
            let (_, mask) = update(flags).unwrap().app().unwrap();
            assert_eq!(mask.paths, want, "{flags:?}");
        }
    }

    #[test]
    fn every_kind_of_single_sign_on_is_one_field() {
        for flags in [
            "--sso kerberos --sso-spn HTTP/w",
            "--sso basic --sso-shared --sso-charset latin1",
            "--sso form --sso-page /login --sso-user-field u --sso-password-field p --sso-field next=/",
            "--no-sso",
        ] {
            let flags: Vec<_> = flags.split(' ').collect();
            let (_, mask) = update(&flags).unwrap().app().unwrap();
            assert_eq!(mask.paths, ["single_sign_on"], "{flags:?}");
        }
    }

    #[test]
    fn update_of_nothing_is_refused() {
        assert!(update(&[]).is_err());
        assert!(update(&["--etag", "5"]).is_err());
        assert!(update(&["--origin-insecure"]).is_err());
    }

    #[test]
    fn publication_says_what_the_flags_say() {
        let line = "app publish wiki --host w.example.com --origin https://w --access passthrough \
                    --origin-server-name wiki --connect-timeout 2s";
        let Line::Publish(publish) = Line::try_parse_from(line.split_whitespace()).unwrap() else {
            unreachable!("the words say publish");
        };
        let app = publish.app().unwrap();
        assert_eq!(
            (app.name.as_str(), app.group.as_str()),
            ("apps/wiki", "groups/default")
        );
        let tls = app.origins[0].tls.clone().unwrap();
        assert_eq!((tls.server_name.as_str(), tls.insecure), ("wiki", false));
        let connect = app.timeouts.and_then(|timeouts| timeouts.connect);
        assert_eq!(connect, Some(wire_duration(Duration::from_secs(2))));
    }

    #[test]
    fn values_out_of_range_are_refused_early() {
        for flags in [
            &["--connect-timeout", "1ms"][..],
            &["--idle-timeout", "25h"],
            &["--response-timeout", "soon"],
            &["--group", "Office"],
            &["--access", "everyone"],
            &["--assign-user", "Alice"],
            &["--assign-nobody", "--assign-everyone"],
            &["--identity-field", "x-user"],
            &["--identity-field", "x-user=user", "--no-identity-fields"],
            &["--rate", "fast"],
            &["--body-limit", "10"],
            &["--hsts", "soon"],
            &["--maintenance", "x", "--no-maintenance"],
            &["--origin-protocol", "http2"],
            &["--tile", "maybe"],
            &["--sso", "kerberos"],
            &["--sso", "form", "--sso-page", "/login"],
            &["--sso-shared"],
            &["--sso", "ntlm", "--sso-spn", "HTTP/w"],
            &["--sso-spn", "HTTP/w"],
            &["--no-sso", "--sso-require-mutual"],
            &["--no-sso", "--sso-shared"],
            &["--sso", "kerberos", "--sso-spn", "HTTP/w", "--no-sso"],
        ] {
            assert!(update(flags).is_err(), "{flags:?}");
        }
    }
}
