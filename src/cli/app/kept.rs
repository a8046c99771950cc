//! Flags of single sign-on by credentials that are kept.

use super::words::{BasicWords, CharsetWord, FormWords};

/// How an app's own sign-in looks.
#[derive(Debug, clap::Args)]
pub(super) struct KeptFlags {
    /// One credential for all users of the app, which `adit credential set --shared` keeps; else each has their own.
    #[arg(long, requires = "sso")]
    sso_shared: bool,
    /// Path of the page with the form, at the origin.
    #[arg(
        long,
        value_name = "PATH",
        requires = "sso",
        required_if_eq("sso", "form")
    )]
    sso_page: Option<String>,
    /// Path that the form leads to. Without it: as the page says.
    #[arg(long, value_name = "PATH", requires = "sso")]
    sso_action: Option<String>,
    /// Name of the form's field for the user name.
    #[arg(
        long,
        value_name = "NAME",
        requires = "sso",
        required_if_eq("sso", "form")
    )]
    sso_user_field: Option<String>,
    /// Name of the form's field for the password.
    #[arg(
        long,
        value_name = "NAME",
        requires = "sso",
        required_if_eq("sso", "form")
    )]
    sso_password_field: Option<String>,
    /// Field that is sent besides; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", requires = "sso", value_parser = pair)]
    sso_field: Vec<(String, String)>,
    /// Status of the answer to the form that lets the user in; may be repeated.
    #[arg(long, value_name = "STATUS", requires = "sso")]
    sso_success_status: Vec<u32>,
    /// Path to which that answer leads.
    #[arg(long, value_name = "PATH", requires = "sso")]
    sso_success_redirect: Option<String>,
    /// Cookie that it sets.
    #[arg(long, value_name = "NAME", requires = "sso")]
    sso_success_cookie: Option<String>,
    /// Text that the answer's page has, for apps that answer with a page whether the password was right or wrong.
    #[arg(long, value_name = "TEXT", requires = "sso")]
    sso_success_text: Option<String>,
    /// Text by which that page says that the app does not take the credential: "Wrong password".
    #[arg(long, value_name = "TEXT", requires = "sso")]
    sso_failure_text: Option<String>,
    /// Status by which the app says that the user is out; may be repeated.
    #[arg(long, value_name = "STATUS", requires = "sso")]
    sso_expired_status: Vec<u32>,
    /// Path to which the app leads then. Being led to the page with the form always says so.
    #[arg(long, value_name = "PATH", requires = "sso")]
    sso_expired_redirect: Option<String>,
    /// Cookie of the app that browsers get as well; may be repeated.
    #[arg(long, value_name = "NAME", requires = "sso")]
    sso_user_cookie: Vec<String>,
    /// How letters beyond ASCII are sent by Basic. Without it: utf8.
    #[arg(long, value_enum, value_name = "CHARSET", requires = "sso")]
    sso_charset: Option<CharsetWord>,
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl KeptFlags {
    pub(super) fn form(&self) -> FormWords {
        let text = |said: &Option<String>| said.clone().unwrap_or_default();
        FormWords {
            shared: self.sso_shared,
            page: text(&self.sso_page),
            action: text(&self.sso_action),
            user_field: text(&self.sso_user_field),
            password_field: text(&self.sso_password_field),
            fields: self.sso_field.iter().cloned().collect(),
            success_statuses: self.sso_success_status.clone(),
            success_redirect: text(&self.sso_success_redirect),
            success_cookie: text(&self.sso_success_cookie),
            success_text: text(&self.sso_success_text),
            failure_text: text(&self.sso_failure_text),
            expired_statuses: self.sso_expired_status.clone(),
            expired_redirect: text(&self.sso_expired_redirect),
            user_cookies: self.sso_user_cookie.clone(),
        }
    }

    pub(super) fn basic(&self) -> BasicWords {
        BasicWords {
            shared: self.sso_shared,
            charset: self.sso_charset.unwrap_or_default(),
        }
    }
}
