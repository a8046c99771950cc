//! Reads and writes how agents sign users in by an app's form, or by the Basic scheme.

use model::app::{
    BasicSso, Charset, CredentialOf, Expired, FORM_FIELDS_MAX, FORM_STATUSES_MAX, FormSso, Success,
    USER_COOKIES_MAX,
};

use crate::{admin, rules, violation::Violations};

/// What an error says of a form.
const FORM: &str = "app.single_sign_on.form";
/// What an error says of Basic.
const BASIC: &str = "app.single_sign_on.basic";

/// Reads a form.
pub(super) fn read_form(wire: &admin::FormSignOn, found: &mut Violations) -> FormSso {
    let field = |name: &str| format!("{FORM}.{name}");
    let fields = found.at_most(FORM_FIELDS_MAX, &field("fields"), "fields", &wire.fields);
    let fields: Vec<_> = fields
        .filter_map(|(name, one)| {
            let of_name = found.take(&format!("{name}.name"), rules::form_text(&one.name, 1));
            let of_value = found.take(&format!("{name}.value"), rules::form_text(&one.value, 0));
            of_name.zip(of_value)
        })
        .collect();
    let cookies = &wire.user_cookies;
    let cookies = found.at_most(USER_COOKIES_MAX, &field("user_cookies"), "cookies", cookies);
    FormSso {
        credential: read_of(wire.shared_credential),
        page: found
            .take(&field("page"), rules::form_path(&wire.page))
            .unwrap_or_default(),
        action: optional(&wire.action, |text| {
            found.take(&field("action"), rules::form_path(text))
        }),
        user_field: found
            .take(&field("user_field"), rules::form_text(&wire.user_field, 1))
            .unwrap_or_default(),
        password_field: found
            .take(
                &field("password_field"),
                rules::form_text(&wire.password_field, 1),
            )
            .unwrap_or_default(),
        fields,
        user_cookies: cookies
            .filter_map(|(name, cookie)| found.take(&name, rules::cookie_name(cookie)))
            .collect(),
        success: Success {
            statuses: read_statuses("success_statuses", &wire.success_statuses, found),
            redirect: optional(&wire.success_redirect, |text| {
                found.take(&field("success_redirect"), rules::form_path(text))
            }),
            cookie: optional(&wire.success_cookie, |text| {
                found.take(&field("success_cookie"), rules::cookie_name(text))
            }),
            text: optional(&wire.success_text, |text| {
                found.take(&field("success_text"), rules::form_text(text, 1))
            }),
            failure_text: optional(&wire.failure_text, |text| {
                found.take(&field("failure_text"), rules::form_text(text, 1))
            }),
        },
        expired: Expired {
            statuses: read_statuses("expired_statuses", &wire.expired_statuses, found),
            redirect: optional(&wire.expired_redirect, |text| {
                found.take(&field("expired_redirect"), rules::form_path(text))
            }),
        },
    }
}

fn optional(text: &str, read: impl FnOnce(&str) -> Option<String>) -> Option<String> {
    if text.is_empty() { None } else { read(text) }
}

fn read_statuses(name: &str, wire: &[u32], found: &mut Violations) -> Vec<u16> {
    let field = format!("{FORM}.{name}");
    let statuses = found.at_most(FORM_STATUSES_MAX, &field, "statuses", wire);
    statuses
        .filter_map(|(name, status)| found.take(&name, rules::status(*status)))
        .collect()
}

fn read_of(shared: bool) -> CredentialOf {
    if shared {
        CredentialOf::App
    } else {
        CredentialOf::User
    }
}

/// Writes a form.
pub(super) fn write_form(form: &FormSso) -> admin::FormSignOn {
    let field = |(name, value): &(String, String)| admin::FormSignOnField {
        name: name.clone(),
        value: value.clone(),
    };
    let statuses = |of: &[u16]| of.iter().map(|status| u32::from(*status)).collect();
    let text = |of: &Option<String>| of.clone().unwrap_or_default();
    admin::FormSignOn {
        shared_credential: form.credential == CredentialOf::App,
        page: form.page.clone(),
        action: text(&form.action),
        user_field: form.user_field.clone(),
        password_field: form.password_field.clone(),
        fields: form.fields.iter().map(field).collect(),
        success_statuses: statuses(&form.success.statuses),
        success_redirect: text(&form.success.redirect),
        success_cookie: text(&form.success.cookie),
        success_text: text(&form.success.text),
        failure_text: text(&form.success.failure_text),
        expired_statuses: statuses(&form.expired.statuses),
        expired_redirect: text(&form.expired.redirect),
        user_cookies: form.user_cookies.clone(),
    }
}

/// Reads what Basic needs.
pub(super) fn read_basic(wire: &admin::BasicSignOn, found: &mut Violations) -> BasicSso {
    let charset = match admin::Charset::try_from(wire.charset) {
        Ok(admin::Charset::Unspecified | admin::Charset::Utf8) => Charset::Utf8,
        Ok(admin::Charset::Latin1) => Charset::Latin1,
        Err(_) => {
            let field = format!("{BASIC}.charset");
            found.add(&field, "is of a kind that this version does not know");
            Charset::Utf8
        }
    };
    BasicSso {
        credential: read_of(wire.shared_credential),
        charset,
    }
}

/// Writes what Basic needs.
pub(super) fn write_basic(basic: BasicSso) -> admin::BasicSignOn {
    let charset = match basic.charset {
        Charset::Utf8 => admin::Charset::Unspecified,
        Charset::Latin1 => admin::Charset::Latin1,
    };
    admin::BasicSignOn {
        shared_credential: basic.credential == CredentialOf::App,
        charset: charset.into(),
    }
}
