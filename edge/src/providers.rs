//! Identity providers, as an edge uses them: as a client of theirs, and what their tokens and answers make of a user. Whether a token
//! is a provider's is told by the crate `issuer`.

mod groups;

mod client;
mod identity;

mod published;

pub(crate) use client::{Attempt, Client, ClientError, Clients, Refreshed, Tokens, random};
pub(crate) use groups::GroupsError;
pub(crate) use identity::{Begun, prove_again};
pub(crate) use identity::{IdentityError, Proven, Unsaid, prove, prove_access};
pub(crate) use issuer::{
    Claims, Expected, IssuerError, LEEWAY_SECONDS, TokenError, printable, unproven_client,
    unproven_issuer,
};
pub use published::ProviderError;
pub(crate) use published::{Choices, Published, Roll};

#[cfg(test)]
pub(crate) use published::tests;
