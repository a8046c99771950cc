//! An identity provider as whoever checks its tokens knows it: what it says of itself, its keys, and whether a token is its own.
//!
//! Read downwards: what is fetched from whom, what is kept of it, and what a token has to show. Nothing that comes from a provider is
//! believed further than its publication says: not where it wants to be asked, not how it wants to sign. What a token makes of a user is
//! not known here.

mod address;
mod fetch;
mod kept;

mod description;
mod keys;

mod token;

mod issuer;

pub use description::{Description, DescriptionError};
pub use fetch::{Answer, Ask, Authorization, FetchError, Fetcher, Trust};
pub use issuer::{Issuer, IssuerError, KeysFetchError};
pub use keys::{Keys, KeysError};
pub use token::{
    Claims, Expected, LEEWAY_SECONDS, TokenError, Unproven, check, check_made, printable, seconds,
    unix_seconds, unproven_client, unproven_issuer,
};
