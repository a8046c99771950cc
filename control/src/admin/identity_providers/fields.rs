//! The fields of an identity provider that an update may write.

use proto::admin::{Asks, ClaimNames, IdentityProvider, ProviderEndpoints};

use crate::admin::mask::{Field, Fields};

// Macros, as there is a row for each field: spelled out, a wrong one would not be seen.

/// A field of the provider itself, whose empty value says nothing.
macro_rules! own {
    ($path:ident) => {
        Field {
            path: stringify!($path),
            is_set: |provider: &IdentityProvider| {
                provider.$path != IdentityProvider::default().$path
            },
            copy: |to, from| to.$path.clone_from(&from.$path),
        }
    };
}

/// A field of a message of the provider, whose empty value says nothing.
macro_rules! inner {
    ($message:ident: $kind:ident, $path:ident) => {
        Field {
            path: concat!(stringify!($message), ".", stringify!($path)),
            is_set: |provider: &IdentityProvider| {
                let message = provider.$message.as_ref();
                message.is_some_and(|message| message.$path != $kind::default().$path)
            },
            copy: |to, from| {
                let given = from.$message.as_ref();
                let given = given.map(|message| Clone::clone(&message.$path));
                let message = to.$message.get_or_insert_default();
                message.$path = given.unwrap_or_else(|| $kind::default().$path);
                if *message == $kind::default() {
                    to.$message = None;
                }
            },
        }
    };
}

pub(super) static FIELDS: Fields<IdentityProvider> = Fields {
    leaves: &[
        own!(display_name),
        own!(issuer),
        own!(client_id),
        own!(client_authentication),
        own!(key_id),
        own!(client_certificate_pem),
        own!(scopes),
        own!(algorithms),
        inner!(claims: ClaimNames, user),
        inner!(claims: ClaimNames, display_name),
        inner!(claims: ClaimNames, email),
        inner!(claims: ClaimNames, groups),
        inner!(claims: ClaimNames, kept),
        inner!(claims: ClaimNames, kept_groups),
        own!(user_domains),
        own!(plain_groups),
        inner!(asks: Asks, classes),
        inner!(asks: Asks, prompt),
        inner!(asks: Asks, max_age),
        inner!(endpoints: ProviderEndpoints, authorization),
        inner!(endpoints: ProviderEndpoints, token),
        inner!(endpoints: ProviderEndpoints, keys),
        inner!(endpoints: ProviderEndpoints, user_info),
        inner!(endpoints: ProviderEndpoints, end_session),
        inner!(endpoints: ProviderEndpoints, groups),
        own!(ca_pem),
        own!(private_network),
        own!(sign_out),
        own!(refresh_every),
        own!(disabled),
    ],
    output_only: &[
        "name",
        "etag",
        "create_time",
        "update_time",
        "credential_time",
        "sessions_since",
    ],
};
