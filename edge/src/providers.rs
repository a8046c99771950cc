//! Identity providers, as an edge knows them: where they are, what they say of themselves, and whether a token is theirs.
//!
//! Read downwards: what is fetched from whom, what is kept of it, and what a token has to show. Nothing that comes from a provider is
//! believed further than its publication says: not where it wants to be asked, not how it wants to sign.

mod address;
mod fetch;
mod kept;

mod description;
mod keys;

mod issuer;
mod token;

mod groups;

mod client;
mod identity;

mod published;

pub(crate) use client::{
    Attempt, Client, ClientError, Clients, Refreshed, Tokens, printable, random,
};
pub(crate) use groups::GroupsError;
pub(crate) use identity::{Begun, prove_again};
pub(crate) use identity::{IdentityError, Proven, Unsaid, prove, prove_access};
pub(crate) use issuer::IssuerError;
pub use published::ProviderError;
pub(crate) use published::{Choices, Published, Roll};
pub(crate) use token::{
    Claims, Expected, LEEWAY_SECONDS, TokenError, unproven_client, unproven_issuer,
};

#[cfg(test)]
pub(crate) use published::tests;
