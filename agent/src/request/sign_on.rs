//! The stage between allow-list and origin of apps with single sign-on: how the user of a request is signed on to the app, and what the app's
//! answers say of that.
//!
//! The user comes from what the edge has signed about this request, and from nowhere else. Nothing that a request brings signs anybody on.

use http::{HeaderMap, HeaderName, Request, Response, header};
use model::app::Sso;

use super::{
    Exchange, Failure, UploadBody, by_basic::ByBasic, by_form::ByForm, by_kerberos::ByKerberos,
    upload::Upload,
};
use crate::{
    origin::{AnswerBody, Owner},
    statement::Statement,
    translate::Translation,
    view::View,
};

/// How the user of a request is signed on.
#[derive(Debug)]
pub(super) enum SignOn<'a> {
    /// By a token that the agent makes.
    Kerberos(Box<ByKerberos<'a>>),
    /// By a name and password with each request.
    Basic(Box<ByBasic<'a>>),
    /// By the app's own form, whose cookies stay at the agent.
    Form(Box<ByForm<'a>>),
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heed {
    /// It goes on to the user.
    PassOn,
    /// The app is asked once more, by another sign-on.
    AskAgain,
}

impl SignOn<'_> {
    /// Whose connections the request goes on.
    pub(super) fn owner(&self) -> &Owner {
        match self {
            Self::Kerberos(own) => &own.owner,
            Self::Basic(own) => &own.owner,
            Self::Form(own) => &own.owner,
        }
    }

    /// Puts in what signs the user on, and takes out what looks like it.
    pub(super) fn put_into(&mut self, request: &mut Request<UploadBody>) {
        match self {
            Self::Kerberos(own) => own.put_into(request.headers_mut()),
            Self::Basic(own) => own.put_into(request.headers_mut()),
            Self::Form(own) => own.put_into(request),
        }
    }

    /// Looks whether an answer is the user's or is about the sign-on, and keeps back what is.
    pub(super) fn heed(
        &mut self,
        response: &mut Response<AnswerBody>,
        (upload, translation): (&Upload, Option<&Translation<'_>>),
    ) -> Result<Heed, Failure> {
        match self {
            Self::Kerberos(own) => own.heed(response, upload),
            Self::Basic(own) => own.heed(response.status()),
            Self::Form(own) => own.heed(response, (upload, translation)),
        }
    }
}

/// Takes out of a head before the answer what only the answer is looked through for: the app's session, and what signs users on.
pub(super) fn keep_back(fields: &mut HeaderMap) {
    for name in [
        header::SET_COOKIE,
        header::WWW_AUTHENTICATE,
        HeaderName::from_static("authentication-info"),
    ] {
        fields.remove(name);
    }
}

impl<'a> Exchange<'a> {
    /// Finds out how the app's users are signed on, and with what this one is.
    pub(super) fn identify(
        &mut self,
        view: &View,
        sso: &'a Sso,
        statement: &Statement,
    ) -> Result<(), Failure> {
        self.sign_on = Some(match sso {
            Sso::Kerberos(sso) => {
                SignOn::Kerberos(Box::new(ByKerberos::new(self, sso, statement)?))
            }
            Sso::Basic(sso) => SignOn::Basic(Box::new(ByBasic::new(self, view, *sso, statement)?)),
            Sso::Form(sso) => SignOn::Form(Box::new(ByForm::new(self, view, sso, statement)?)),
        });
        // The connection is the agent's to sign on.
        self.head.leg = None;
        Ok(())
    }
}
