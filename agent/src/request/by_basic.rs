//! Users who are signed on by Basic (RFC 7617): a name and password that is kept for them goes with each request.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::{app::BasicSso, reason::Reason};

use super::{
    Exchange, Failure,
    kept::{Kept, resting, who},
    sign_on::Heed,
};
use crate::{
    credentials, form::Because, metrics::KeptOutcome, origin::Owner, statement::Statement,
    view::View,
};

/// A user who is signed on with each request.
#[derive(Debug)]
pub(super) struct ByBasic<'a> {
    header: HeaderValue,
    kept: Kept<'a>,
    pub(super) owner: Owner,
}

impl<'a> ByBasic<'a> {
    /// Opens what the user is signed on with, unless the app does not take it.
    pub(super) fn new(
        exchange: &Exchange<'a>,
        view: &View,
        sso: BasicSso,
        statement: &Statement,
    ) -> Result<Self, Failure> {
        let who = who(statement);
        let kept = Kept::find(exchange, view, sso.credential, &who)?;
        let now = exchange.worker.clock.now();
        if let Some(because) = kept.sign_ins().rests(&kept.name, &kept.sealed, now) {
            return Err(resting(because));
        }
        Ok(Self {
            header: credentials::basic(sso, &kept.open()?)
                .map_err(|error| Failure::new(Reason::SsoFailed, error.to_string()))?,
            kept,
            owner: Owner::new(exchange.app.id(), format!("{who:?}")),
        })
    }

    /// Nothing that the request brings signs anybody on.
    pub(super) fn put_into(&self, fields: &mut HeaderMap) {
        fields.insert(header::AUTHORIZATION, self.header.clone());
    }

    /// Looks whether the app has taken it.
    pub(super) fn heed(&self, status: StatusCode) -> Result<Heed, Failure> {
        let (name, sealed) = (&self.kept.name, &self.kept.sealed);
        let now = self.kept.worker.clock.now();
        if status == StatusCode::UNAUTHORIZED {
            self.kept.sign_ins().refused(name, sealed, now);
            self.kept.count(KeptOutcome::Refused);
            return Err(resting(Because::Refused));
        }
        self.kept.sign_ins().taken(name, sealed, now);
        self.kept.count(KeptOutcome::In);
        Ok(Heed::PassOn)
    }
}
