//! The edge: faces users, decides who may use what, and carries each request to an agent on a stream of its own.
//!
//! A request's path reads top to bottom in `request.rs`. An edge ends in this order: it is not ready any more; agents are told to
//! prefer other edges; nobody new is let in; users' connections end after what they do now; requests finish until the deadline;
//! upgraded connections are told that the edge goes away; links close with a code; the line to control ends. A process that takes over from
//! another (`takeover.rs`) has its agents and listens before that one begins to end.

mod request;

mod authority;

mod own;

mod sign_in;

mod providers;

mod cors;

mod rules;

mod no_download;

mod rule_counts;

mod view;

mod faults;

mod links;

mod origins;

mod link;

mod ties;

mod retries;

mod outgoing;

mod fields;

mod cookies;

mod assertion;

mod identity;
mod statement;

mod exchange;

mod upload;

mod user_body;

mod replay;

mod failure;

mod respond;

mod digest;
mod doubt;

mod bounds;

mod hints;

mod download;

mod upgrade;

mod websocket;

mod answer;

mod brand;

mod page;

mod portal;

mod access_log;

mod id;

mod agents;

mod probes;

mod countries;

mod reset_key;

mod listener;

mod knock;

mod passage;

mod seats;

mod http3;

mod proxy;

mod farewell;

mod patience;

mod stall;

mod presence;

mod neighbours;

mod pace;

mod quotas;

mod redirect;

mod certificates;

mod client_certificates;

mod user_tls;

mod sealing;
mod tickets;
mod vault_keys;

mod sockets;

mod serving;

mod takeover;

mod beginning;

mod edge;

pub mod config;

pub mod doctor;

pub mod metrics;

mod time;

pub use assertion::AssertionKeyError;
pub use brand::PictureError;
pub use certificates::CertificateError;
pub use client_certificates::ClientCaError;
pub use config::{Config, OwnLimits, RawConfig, RawLimits};
pub use countries::{Countries, CountryFileError};
pub use edge::{Handle, StartError, start};
pub use providers::ProviderError;
pub use sealing::SealingKeyError;
pub use serving::{ServeError, Serving, ServingConfig};
pub use sign_in::{
    Accounts, AccountsError, Answer, CredentialQuestion, Question, Reports, RevocationError,
    SecondFactorQuestion, TermsQuestion,
};
pub use vault_keys::VaultKeyError;
pub use view::{Member, Membership, View, ViewBuilder, ViewError, Views};
