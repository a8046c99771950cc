//! The kinds of tokens: join tokens enrol nodes, API tokens call the admin API, service tokens let programs use apps. Only hashes are kept.

mod api;
mod join;
mod service;

pub use api::{
    API_TOKEN_HASHES, ApiTokenOrder, AuthenticateError, MintedApiToken, Operator, api_token_ops,
    authenticate_api, delete_api, mint_api,
};
pub use join::{
    JoinIssuer, JoinTokenOrder, KEY_FILE, MintError, MintedJoinToken, TokenError, UsableJoin,
    mint_join, sweep_join, use_join,
};

pub use service::{MintedServiceToken, ServiceTokenOrder, mint_service};
pub(crate) use service::{service_key, service_told};

use aws_lc_rs::digest::{SHA256, digest};

fn sha256(text: &str) -> Vec<u8> {
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}
