//! The fields of an app that an update may write.

use proto::admin::{
    AnswerRules, App, Assignment, Limits, SessionCookie, Tile, Timeouts, Translation,
};

use crate::admin::mask::{Field, Fields};

// Macros, as there is a row for each of 45 fields: spelled out, a wrong one would not be seen.

/// A field of the app itself, whose empty value says nothing.
macro_rules! own {
    ($path:ident) => {
        Field {
            path: stringify!($path),
            is_set: |app: &App| app.$path != App::default().$path,
            copy: |to, from| to.$path.clone_from(&from.$path),
        }
    };
}

/// A field of a message of the app, whose empty value says nothing.
macro_rules! inner {
    ($message:ident: $kind:ident, $path:ident) => {
        Field {
            path: concat!(stringify!($message), ".", stringify!($path)),
            is_set: |app: &App| {
                let unsaid = $kind::default().$path;
                app.$message
                    .as_ref()
                    .is_some_and(|message| message.$path != unsaid)
            },
            copy: |to, from| {
                let given = from
                    .$message
                    .as_ref()
                    .map(|message| Clone::clone(&message.$path));
                let message = to.$message.get_or_insert_default();
                message.$path = given.unwrap_or_else(|| $kind::default().$path);
                if *message == $kind::default() {
                    to.$message = None;
                }
            },
        }
    };
}

pub(super) static FIELDS: Fields<App> = Fields {
    leaves: &[
        own!(display_name),
        own!(hosts),
        own!(path),
        own!(origins),
        own!(group),
        own!(access),
        own!(identity_fields),
        own!(identity_providers),
        own!(token_audiences),
        own!(token_scopes),
        own!(client_cas),
        own!(assertion_field),
        own!(single_sign_on),
        inner!(session_cookie: SessionCookie, same_site),
        inner!(session_cookie: SessionCookie, persistent),
        own!(cross_site_posts),
        inner!(assignment: Assignment, users),
        inner!(assignment: Assignment, user_groups),
        inner!(assignment: Assignment, everyone),
        inner!(assignment: Assignment, services),
        inner!(assignment: Assignment, programs),
        inner!(timeouts: Timeouts, connect),
        inner!(timeouts: Timeouts, response),
        inner!(timeouts: Timeouts, idle),
        inner!(timeouts: Timeouts, total),
        inner!(limits: Limits, body_bytes),
        inner!(limits: Limits, requests),
        inner!(limits: Limits, rate),
        inner!(limits: Limits, client_rate),
        inner!(limits: Limits, body_pace),
        inner!(limits: Limits, head_fields),
        inner!(limits: Limits, head_bytes),
        inner!(limits: Limits, target_bytes),
        inner!(limits: Limits, stall_timeout),
        own!(segments),
        inner!(translation: Translation, host),
        inner!(translation: Translation, inner_host),
        inner!(translation: Translation, keep_fields),
        inner!(translation: Translation, bodies),
        inner!(translation: Translation, json),
        inner!(translation: Translation, scripts),
        inner!(translation: Translation, inner_path),
        inner!(answer_rules: AnswerRules, hsts),
        inner!(answer_rules: AnswerRules, content_security_policy),
        inner!(answer_rules: AnswerRules, set),
        inner!(answer_rules: AnswerRules, remove),
        inner!(answer_rules: AnswerRules, robots),
        inner!(answer_rules: AnswerRules, robots_text),
        own!(cors),
        own!(maintenance),
        own!(home_path),
        own!(hide_forwarded),
        own!(keep_field_case),
        own!(origin_proxy),
        own!(health_check),
        inner!(tile: Tile, listing),
        inner!(tile: Tile, description),
        inner!(tile: Tile, category),
        inner!(tile: Tile, host),
    ],
    output_only: &["name", "etag", "create_time", "update_time"],
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;

    #[test]
    fn every_field_of_the_contract_can_be_written_or_is_output_only() {
        let files = prost_types::FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
        let app = files
            .file
            .iter()
            .filter(|file| file.package() == "adit.admin.v1")
            .flat_map(|file| &file.message_type)
            .find(|message| message.name() == "App")
            .unwrap();
        let contract: BTreeSet<&str> = app.field.iter().map(|field| field.name()).collect();
        let leaves = FIELDS.leaves.iter().map(|leaf| {
            let first = leaf.path.split('.').next();
            first.unwrap_or(leaf.path)
        });
        let known: BTreeSet<&str> = leaves.chain(FIELDS.output_only.iter().copied()).collect();
        assert_eq!(known, contract);
    }
}
