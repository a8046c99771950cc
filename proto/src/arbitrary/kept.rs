//! Sign-ins by credentials that are kept.

use model::app::{BasicSso, Charset, CredentialOf, Expired, FormSso, Sso, Success};
use proptest::{collection, option, prelude::*};

fn credential_of() -> impl Strategy<Value = CredentialOf> {
    prop_oneof![Just(CredentialOf::User), Just(CredentialOf::App)]
}

pub(super) fn basic() -> impl Strategy<Value = Sso> {
    let charset = prop_oneof![Just(Charset::Utf8), Just(Charset::Latin1)];
    (credential_of(), charset).prop_map(|(credential, charset)| {
        Sso::Basic(BasicSso {
            credential,
            charset,
        })
    })
}

pub(super) fn form() -> impl Strategy<Value = Sso> {
    const TEXT: &str = "[ -~]{1,20}";
    const PATH: &str = "/[a-z?=&]{1,20}";
    let statuses = || collection::vec(200..600_u16, 0..3);
    let fields = collection::vec((TEXT, "[ -~]{0,20}"), 0..3);
    let success = (
        statuses(),
        option::of(PATH),
        option::of("[a-z]{1,9}"),
        option::of(TEXT),
        option::of(TEXT),
    );
    let expired = (statuses(), option::of(PATH));
    let names = (
        PATH,
        option::of(PATH),
        TEXT,
        TEXT,
        collection::vec("[a-z]{1,9}", 0..3),
    );
    (credential_of(), names, fields, success, expired).prop_map(
        |(credential, names, fields, success, expired)| {
            let (page, action, user_field, password_field, user_cookies) = names;
            let (statuses, redirect, cookie, text, failure_text) = success;
            let success = Success {
                statuses,
                redirect,
                cookie,
                text,
                failure_text,
            };
            let (statuses, redirect) = expired;
            Sso::Form(FormSso {
                credential,
                page,
                action,
                user_field,
                password_field,
                fields,
                success,
                expired: Expired { statuses, redirect },
                user_cookies,
            })
        },
    )
}
