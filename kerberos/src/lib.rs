//! Single sign-on by Kerberos, without the user's password: constrained delegation with protocol transition ([MS-SFU]).
//!
//! The agent has an account of its own, with a key in a keytab. With that it asks the KDC for a ticket in the user's name for itself
//! (S4U2Self), and with that one for a ticket in the user's name for the application (S4U2Proxy), of which it makes a token for each
//! request. What the directory lets it do, for which users and at which services, is the directory's to say; **which user** it does it
//! for is this crate's caller's, and whoever tells the caller a name is that user. So names are read strictly, and a name must come from
//! a statement that can be checked.
//!
//! Kerberos itself is the system's MIT library, loaded at run time: a program without it starts all the same, and [`Kerberos::load`]
//! says what to install. Loading sets no environment, starts no thread and asks no KDC.
//!
//! # The environment
//!
//! Keytab and tickets are named in each call, and the variables for them have no effect. They are to be removed all the same, at the top
//! of `main`, before any thread: `KRB5CCNAME`, `KRB5_CLIENT_KTNAME`, `KRB5_KTNAME`. What remains is `KRB5_CONFIG`, the only way to tell
//! the library of another file than `/etc/krb5.conf`.
//!
//! That file must say `forwardable = true` under `[libdefaults]`: without it the agent's own ticket is not, then none of a user's is, and
//! the KDC gives none for applications (error 13). A silent KDC costs the library up to a minute per exchange, and versions before 1.22
//! have no setting for it; what waits here gives up after the [`Bounds::deadline`].
//!
//! # What is kept
//!
//! One ticket per user and service, in memory, for a quarter of an hour at most; what the KDC refuses, for half a minute. However many
//! requests want the same ticket, it is fetched once. Fetching is done on threads for blocking work, of which so many are used at most;
//! after some time-outs in a row no KDC is asked for a while, and users whose tickets are kept go on.
//!
//! A runtime that ends waits for its blocking work: whoever drops one ends it by `shutdown_background` or `shutdown_timeout`, or waits
//! up to a minute for a silent KDC.

mod agent;
mod bindings;
mod breaker;
mod cache;
mod der;
mod failure;
mod gssapi;
mod kerberos;
mod keytab;
mod life;
mod name;
mod negotiate;
mod places;
mod realm;
mod settings;
mod spn;
pub mod spnego;
mod tickets;
mod token;

pub use bindings::{Bindings, BindingsError};
pub use breaker::BreakerState;
pub use failure::{Blame, Failure, Kind, Stage};
pub use kerberos::{Kerberos, LoadError, Stats};
pub use keytab::{Keytab, KeytabError};
pub use name::{NameError, UserName};
pub use negotiate::Challenge;
pub use realm::{Principal, PrincipalError, Realm};
pub use settings::{Bounds, Exchange, Observer, Settings};
pub use spn::{Spn, SpnError};
pub use token::{Ask, Framing, Mutual, Pending, Token};
