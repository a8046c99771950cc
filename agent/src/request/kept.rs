//! The credential that is kept for a user of an app, as one request goes by it.

use model::{app::CredentialOf, reason::Reason, vault::CredentialName};
use runtime::vault::Credential;

use super::{Exchange, Failure};
use crate::{
    credentials::{self, Sealed, Who},
    form::{Because, SignIns},
    metrics::KeptOutcome,
    statement::Statement,
    view::View,
    worker::Worker,
};

/// What a user is signed on with, sealed.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    pub(super) worker: &'a Worker,
    pub(super) name: CredentialName,
    pub(super) sealed: Sealed,
}

/// Who is signed on: whom the edge has stated.
pub(super) fn who(statement: &Statement) -> Who {
    Who {
        provider: statement.provider.clone(),
        user: statement.user.clone(),
    }
}

impl<'a> Kept<'a> {
    /// Finds the one that a user goes by.
    pub(super) fn find(
        exchange: &Exchange<'a>,
        view: &View,
        of: CredentialOf,
        who: &Who,
    ) -> Result<Self, Failure> {
        let holder = match of {
            CredentialOf::User => Some(who),
            CredentialOf::App => None,
        };
        let name = credentials::name(exchange.app.id(), holder);
        let Some(sealed) = view.credentials().find(&name) else {
            exchange.worker.metrics.kept_sign_on(KeptOutcome::None);
            let detail = format!("there is no {name} that is sealed to this agent's group");
            return Err(Failure::new(Reason::SsoCredentials, detail));
        };
        Ok(Self {
            worker: exchange.worker,
            sealed: sealed.clone(),
            name,
        })
    }

    pub(super) fn open(&self) -> Result<Credential, Failure> {
        let (name, keys) = (&self.name, self.worker.shared.keyring.as_ref());
        self.sealed.open(name, keys).map_err(|error| {
            self.count(KeptOutcome::Failed);
            tracing::warn!(credential = %name, %error, "a credential cannot be opened");
            // Another agent may have the key.
            Failure::refusal(Reason::SsoFailed, format!("{name}: {error}"))
        })
    }

    pub(super) fn sign_ins(&self) -> &'a SignIns {
        &self.worker.shared.sign_ins
    }

    pub(super) fn count(&self, outcome: KeptOutcome) {
        self.worker.metrics.kept_sign_on(outcome);
    }
}

/// A credential is not sent now.
pub(super) fn resting(because: Because) -> Failure {
    match because {
        Because::Refused => Failure::new(
            Reason::SsoCredentialsRefused,
            "the app has refused the credential that is kept",
        ),
        Because::Failed => Failure::new(
            Reason::SsoFailed,
            "the last sign-in by the app's form came to nothing: the next is in half a minute",
        ),
        Because::UnderWay => Failure::new(
            Reason::SsoFailed,
            "another sign-in with the same credential is under way",
        ),
    }
}
