//! Flags that say how agents sign users on to an app.

use model::name::IdentityProviderId;
use proto::admin;

use super::{
    kept::KeptFlags,
    words::{FramingWord, KerberosWords, NameFormWord, SsoIdentityWord, SsoWords},
};

/// How users are signed on.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Single sign-on to an app with --access sign-in")]
pub(super) struct SsoFlags {
    /// How agents sign users on to the app. It replaces all that was said of single sign-on.
    #[arg(long, value_enum, value_name = "KIND")]
    sso: Option<SsoKindWord>,
    /// Name of the app's service, such as HTTP/wiki.corp.example or HTTP/wiki.corp.example@CORP.EXAMPLE; HTTP/*.corp.example is that of the
    /// origin that is asked.
    #[arg(
        long,
        value_name = "SPN",
        requires = "sso",
        required_if_eq("sso", "kerberos")
    )]
    sso_spn: Option<String>,
    /// Which value names the user: claim:NAME, as the identity provider says it, user or email. Without it: claim:upn.
    #[arg(long, value_name = "VALUE", requires = "sso")]
    sso_identity: Option<SsoIdentityWord>,
    /// Whose users it names: an identity provider, or "local" for the fabric's own accounts. Needed unless the app takes users of one alone, or
    /// user names them.
    #[arg(long, value_name = "ID", requires = "sso")]
    sso_identity_provider: Option<IdentityProviderId>,
    /// What kind of a name that is. Without it: upn.
    #[arg(long, value_enum, value_name = "FORM", requires = "sso")]
    sso_name_form: Option<NameFormWord>,
    /// What tickets are wrapped in. Without it: spnego.
    #[arg(long, value_enum, value_name = "FRAMING", requires = "sso")]
    sso_framing: Option<FramingWord>,
    /// Send a ticket only where the app asks for one: for apps that keep a session of their own.
    #[arg(long, requires = "sso")]
    sso_on_challenge: bool,
    /// Refuse answers by which the app does not show that it has the service's key.
    #[arg(long, requires = "sso")]
    sso_require_mutual: bool,
    /// Sign nobody on whose ID token the agent has not seen: the identity provider's own word, with the name in it. Needs
    /// --sso-identity-provider, and a claim that names the user. Such as: --sso-identity-provider entra --sso-require-id-token.
    #[arg(long, requires = "sso", requires = "sso_identity_provider")]
    sso_require_id_token: bool,
    #[command(flatten)]
    kept: KeptFlags,
    /// Users sign on to the app by themselves.
    // What is required by a flag is not asked for where it conflicts with another, so each flag says by itself that it does.
    #[arg(long, conflicts_with_all = [
        "sso", "sso_spn", "sso_identity", "sso_name_form", "sso_framing", "sso_on_challenge", "sso_require_mutual", "sso_require_id_token", "sso_shared", "sso_page", "sso_action", "sso_user_field", "sso_password_field", "sso_field", "sso_success_status", "sso_success_redirect", "sso_success_cookie", "sso_success_text", "sso_failure_text", "sso_expired_status", "sso_expired_redirect", "sso_user_cookie", "sso_charset",
    ])]
    no_sso: bool,
}

/// What an agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SsoKindWord {
    /// Get a ticket for the user by an account of its own, and show it.
    Kerberos,
    /// Fill in the app's own form with a credential that is kept.
    Form,
    /// Send a credential that is kept with each request.
    Basic,
}

impl SsoFlags {
    /// Writes what was said into the app, and tells which fields that were, as in a field mask.
    pub(super) fn write(&self, app: &mut admin::App) -> Vec<&'static str> {
        let words = self.sso.map(|kind| match kind {
            SsoKindWord::Kerberos => SsoWords {
                kerberos: Some(self.kerberos()),
                ..SsoWords::default()
            },
            SsoKindWord::Form => SsoWords {
                form: Some(self.kept.form()),
                ..SsoWords::default()
            },
            SsoKindWord::Basic => SsoWords {
                basic: Some(self.kept.basic()),
                ..SsoWords::default()
            },
        });
        app.single_sign_on = words.map(|words| words.meant());
        let is_open = app.access() == admin::Access::Passthrough;
        if self.sso.is_some() || self.no_sso || is_open {
            vec!["single_sign_on"]
        } else {
            Vec::new()
        }
    }

    fn kerberos(&self) -> KerberosWords {
        KerberosWords {
            spn: self.sso_spn.clone().unwrap_or_default(),
            identity: self.sso_identity.clone().unwrap_or_default(),
            identity_provider: self
                .sso_identity_provider
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            name_form: self.sso_name_form.unwrap_or_default(),
            framing: self.sso_framing.unwrap_or_default(),
            on_challenge: self.sso_on_challenge,
            require_mutual: self.sso_require_mutual,
            require_id_token: self.sso_require_id_token,
        }
    }
}
