//! The decision whether a caller may use an app. No stream is opened without the [`Permit`] that only [`authorise`] makes.

use crate::app::{Access, App};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody that the fabric knows.
    Anonymous,
}

/// Proof that a caller may use an app.
#[derive(Debug)]
pub struct Permit<'a> {
    app: &'a App,
    caller: Caller,
}

impl<'a> Permit<'a> {
    /// The app that it is for.
    pub fn app(&self) -> &'a App {
        self.app
    }

    /// Who was admitted.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// Decides whether `caller` may use `app`.
pub fn authorise(app: &App, caller: Caller) -> Permit<'_> {
    match app.access {
        Access::Passthrough => Permit { app, caller },
    }
}
