//! Flags that say who may use an app.

use model::{
    app::ASSERTION_FIELD,
    client_ca::Program,
    name::{ClientCaId, IdentityProviderId, ServiceTokenId, UserId},
};
use proto::admin;

use super::words::{IdentityFieldWord, SameSiteWord, SessionCookieWords};

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
    /// Program that may, by the id of its service token; may be repeated.
    #[arg(long = "assign-service", value_name = "ID")]
    assign_services: Vec<ServiceTokenId>,
    /// Program that may, by the CA of its certificate and its name there, such as jobs/ci.example.com, or jobs/* for all of the CA; may be
    /// repeated.
    #[arg(long = "assign-program", value_name = "CA/NAME")]
    assign_programs: Vec<Program>,
    /// Everybody who can sign in.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    assign_everyone: Option<bool>,
    /// Nobody, until somebody is assigned.
    #[arg(long, conflicts_with_all = ["assign_users", "assign_user_groups", "assign_services", "assign_programs", "assign_everyone"])]
    assign_nobody: bool,
    /// Field that tells origins of the user, such as x-remote-user=user (or display-name, email, user-groups, claim:NAME, text:TEXT,
    /// certificate-subject, -issuer, -serial, -fingerprint), changed by |lower, |upper, |before-at, |after-at or |prefix:TEXT; may be repeated.
    #[arg(long = "identity-field", value_name = "NAME=VALUE")]
    identity_fields: Vec<IdentityFieldWord>,
    /// Origins are told nothing.
    #[arg(long, conflicts_with = "identity_fields")]
    no_identity_fields: bool,
    /// Identity provider whose users may, or "local" for the fabric's own accounts; may be repeated. Without it: all.
    #[arg(long = "identity-provider", value_name = "ID")]
    identity_providers: Vec<IdentityProviderId>,
    /// Users of all identity providers may.
    #[arg(long, conflicts_with = "identity_providers")]
    any_identity_provider: bool,
    /// Field in which origins get a signed statement of who the user is; empty for none.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = ASSERTION_FIELD)]
    assertion_field: Option<String>,
    /// With which requests from other sites the session's cookie comes; none is for apps that they show in frames.
    #[arg(long, value_enum, value_name = "WHICH")]
    cookie_same_site: Option<SameSiteWord>,
    /// Keep the session's cookie when the browser is closed, until the session ends.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    cookie_persistent: Option<bool>,
    /// Send forms of other sites, such as SAML responses, to the app after the sign-in.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    cross_site_posts: Option<bool>,
    /// Whom access tokens of identity providers must be for to open the app; may be repeated. Without any, such tokens do not count.
    #[arg(long = "token-audience", value_name = "AUDIENCE")]
    token_audiences: Vec<String>,
    /// Scope that such tokens must have; may be repeated, and they must have all.
    #[arg(long = "token-scope", value_name = "SCOPE")]
    token_scopes: Vec<String>,
    /// Access tokens of identity providers do not open the app.
    #[arg(long, conflicts_with_all = ["token_audiences", "token_scopes"])]
    no_tokens: bool,
    /// Such tokens need no scope.
    #[arg(long, conflicts_with = "token_scopes")]
    no_token_scopes: bool,
    /// CA whose certificates browsers and programs are asked for, and which count, by its id (see adit client-ca); may be repeated.
    #[arg(long = "client-ca", value_name = "ID")]
    client_cas: Vec<ClientCaId>,
    /// Nobody is asked for a certificate.
    #[arg(long, conflicts_with = "client_cas")]
    no_client_cas: bool,
}

impl Assign {
    /// Writes what was said into the app, and tells which fields that were, as in a field mask.
    ///
    /// Each flag replaces what the app has of its kind. An app for which nobody signs in any more is assigned to nobody.
    pub(super) fn write(&self, app: &mut admin::App) -> Vec<&'static str> {
        let mut written = self.write_assignment(app);
        let fields = self.identity_fields.iter();
        app.identity_fields = fields.map(IdentityFieldWord::meant).collect();
        let is_open = app.access() == admin::Access::Passthrough;
        if !self.identity_fields.is_empty() || self.no_identity_fields || is_open {
            written.push("identity_fields");
        }
        let providers = self.identity_providers.iter();
        app.identity_providers = providers.map(IdentityProviderId::resource_name).collect();
        if !self.identity_providers.is_empty() || self.any_identity_provider || is_open {
            written.push("identity_providers");
        }
        app.assertion_field = self.assertion_field.clone().unwrap_or_default();
        if self.assertion_field.is_some() || is_open {
            written.push("assertion_field");
        }
        written.extend(self.write_browser(app, is_open));
        written.extend(self.write_tokens(app, is_open));
        let authorities = self.client_cas.iter();
        app.client_cas = authorities.map(ClientCaId::resource_name).collect();
        if !self.client_cas.is_empty() || self.no_client_cas || is_open {
            written.push("client_cas");
        }
        written
    }

    /// Which tokens of identity providers count.
    fn write_tokens(&self, app: &mut admin::App, is_open: bool) -> Vec<&'static str> {
        app.token_audiences.clone_from(&self.token_audiences);
        app.token_scopes.clone_from(&self.token_scopes);
        let none = self.no_tokens || is_open;
        let written = [
            ("token_audiences", !self.token_audiences.is_empty() || none),
            (
                "token_scopes",
                !self.token_scopes.is_empty() || self.no_token_scopes || none,
            ),
        ];
        let written = written.into_iter().filter(|(_, written)| *written);
        written.map(|(path, _)| path).collect()
    }

    /// What browsers do for the app.
    fn write_browser(&self, app: &mut admin::App, is_open: bool) -> Vec<&'static str> {
        app.cross_site_posts = self.cross_site_posts.unwrap_or_default();
        app.session_cookie = SessionCookieWords {
            same_site: self.cookie_same_site.unwrap_or_default(),
            persistent: self.cookie_persistent.unwrap_or_default(),
        }
        .meant();
        let written = [
            ("session_cookie", is_open),
            ("session_cookie.same_site", self.cookie_same_site.is_some()),
            (
                "session_cookie.persistent",
                self.cookie_persistent.is_some(),
            ),
            (
                "cross_site_posts",
                self.cross_site_posts.is_some() || is_open,
            ),
        ];
        let written = written.into_iter().filter(|(_, written)| *written);
        written.map(|(path, _)| path).collect()
    }

    fn write_assignment(&self, app: &mut admin::App) -> Vec<&'static str> {
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
            ("assignment.services", !self.assign_services.is_empty()),
            ("assignment.programs", !self.assign_programs.is_empty()),
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
            services: self
                .assign_services
                .iter()
                .map(ServiceTokenId::resource_name)
                .collect(),
            programs: self
                .assign_programs
                .iter()
                .map(Program::to_string)
                .collect(),
        });
        written.into_iter().map(|(path, _)| *path).collect()
    }
}
