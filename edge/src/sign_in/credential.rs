//! Who a request is of, by whatever it shows: a cookie, or a token.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use http::HeaderMap;
use model::{
    access::{Caller, authorise, facts::Facts},
    app::{App, Rate},
    client_ca::Program,
    name::AppId,
    service::Service,
};

use super::{
    Arrival,
    bearer::ProviderToken,
    circumstances::{Circumstances, Use},
    session::Session,
    terminal,
    token::{self, Shown, TokenError},
};
use crate::{
    access_log::Record, failure::RequestError, neighbours::Network, quotas::Clients, time::Epoch,
    view::View,
};

/// Tokens and codes that do not hold, of one network. Tokens cannot be guessed at any rate: this tells who tries that it is noticed, and
/// bounds what trying costs. A good one works all the same.
const GUESSES: Rate = Rate {
    per_second: 1,
    burst: 60,
};

/// What a request has shown, and holds.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    /// A sign-in that goes on, shown by a browser's cookie.
    Session(Arc<Session>),
    /// The same by a terminal's token, of which no cookie is made: a token may be good for less.
    Bearer(Arc<Session>),
    /// The same by an access token of an identity provider.
    ByProvider(Arc<ProviderToken>),
    /// A program's token.
    Service(Arc<Service>),
    /// A program's certificate, shown by its connection.
    Program(Arc<Program>),
}

impl Credential {
    /// The user's sign-in, or what is as good; `None`: it is no user.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        match self {
            Self::Session(session) | Self::Bearer(session) => Some(session),
            Self::ByProvider(token) => Some(&token.session),
            Self::Service(_) | Self::Program(_) => None,
        }
    }

    /// Who asks.
    pub(crate) fn caller(&self) -> Caller {
        match self {
            Self::Session(session) | Self::Bearer(session) => {
                Caller::User(Arc::clone(&session.user))
            }
            Self::ByProvider(token) => Caller::User(Arc::clone(&token.session.user)),
            Self::Service(service) => Caller::Service(Arc::clone(service)),
            Self::Program(program) => Caller::Program(Arc::clone(program)),
        }
    }

    /// Says in the access log whose it is.
    pub(crate) fn sign(&self, record: &mut Record) {
        match self {
            Self::Session(session) | Self::Bearer(session) => record.user(&session.user.id),
            Self::ByProvider(token) => record.user(&token.session.user.id),
            Self::Service(service) => record.service(&service.id),
            Self::Program(program) => record.program(program),
        }
    }

    /// Whether it may not be used for an app any more. Its life is not looked at: what is under way then may end in peace.
    pub(crate) fn is_over(
        &self,
        view: &View,
        app: &AppId,
        circumstances: &Circumstances,
        now: SystemTime,
    ) -> bool {
        let taken_back = match self {
            Self::Session(session) | Self::Bearer(session) => session.is_revoked(view),
            Self::ByProvider(token) => {
                token.session.is_revoked(view)
                    || view
                        .app(app)
                        .is_some_and(|app| !token.opens(app, view.rules()))
            }
            Self::Service(service) => !view.services().know(service),
            // An app that is gone cuts nothing.
            Self::Program(program) => view.app(app).is_some_and(|app| {
                circumstances.program(view, app, now).as_ref() != Some(&**program)
            }),
        };
        taken_back
            || view.app(app).is_some_and(|app| {
                let facts = || self.facts(circumstances, Use::UnderWay, (view, app), now);
                authorise(app, self.caller(), view.rules(), facts, &mut |_| {}).is_err()
            })
    }

    /// What access rules may ask about a request that shows it.
    pub(crate) fn facts<'c>(
        &self,
        circumstances: &'c Circumstances,
        new: Use,
        (view, app): (&View, &App),
        now: SystemTime,
    ) -> Facts<'c> {
        // Rules are about people.
        let Some(session) = self.session() else {
            return Circumstances::unknown();
        };
        Facts {
            has_device_certificate: circumstances.has_device(view, app, now),
            ..circumstances.facts(session, new, view.rules(), now)
        }
    }
}

/// Counts what does not hold, by network.
#[derive(Debug)]
pub(crate) struct Guesses {
    epoch: Epoch,
    networks: Clients<Network>,
}

impl Guesses {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            networks: Clients::default(),
        }
    }

    /// Notes one, and says what comes of it.
    pub(crate) fn refuse(&self, address: IpAddr, error: TokenError) -> RequestError {
        let now = self.epoch.since();
        match self.networks.take(Network::of(address), GUESSES, now) {
            Ok(()) => RequestError::Token(error),
            Err(retry_after) => RequestError::Guesses { retry_after },
        }
    }
}

impl Arrival<'_> {
    /// What the request shows and holds, if it shows anything. A token counts alone: one that does not hold is refused, whatever
    /// cookies come with it.
    pub(crate) fn credential(
        &self,
        fields: &HeaderMap,
    ) -> Result<Option<Credential>, RequestError> {
        match token::shown(fields).and_then(|shown| self.token(shown)) {
            Ok(Some(credential)) => Ok(Some(credential)),
            Ok(None) => Ok(self.session(fields).map(Credential::Session)),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// What comes of a token that does not hold.
    pub(super) fn refused(&self, error: TokenError) -> RequestError {
        self.guesses.refuse(self.address, error)
    }

    fn token(&self, shown: Option<Shown<'_>>) -> Result<Option<Credential>, TokenError> {
        let now = || self.clock.wall();
        match shown {
            None => Ok(None),
            Some(Shown::Service(token)) => {
                let service = self.view.services().find(token, now())?;
                Ok(Some(Credential::Service(Arc::clone(service))))
            }
            Some(Shown::App(token)) => {
                let host = &self.authority.host;
                let session = terminal::open_app(self.view, host, token, now())?;
                Ok(Some(Credential::Bearer(Arc::new(session))))
            }
            Some(Shown::Other(_)) => Err(TokenError::Unknown),
        }
    }
}
