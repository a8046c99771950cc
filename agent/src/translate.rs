//! An app's names in what passes: inner ones for its origin, public ones for its users.
//!
//! What becomes of a name is decided in `model::translate`; here it is found in heads and bodies.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Uri, header,
    uri::{Authority, PathAndQuery},
};
use model::{
    app,
    translate::{OutsideScope, Public, Site, answer_field, request_field},
};

use crate::{
    origin::Origin,
    view::{self, App},
};

/// How one exchange is translated.
#[derive(Debug)]
pub(crate) struct Translation<'a> {
    site: Arc<Site>,
    /// The authority that the origin is sent, where it is not the user's.
    host: Option<Bytes>,
    settings: &'a app::Translation,
}

/// Why a request cannot be given inner names.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Untranslatable {
    /// Its path is not one of the app's.
    #[error("leading the path inside")]
    Path(#[source] OutsideScope),
    /// What comes out is no target of a request.
    #[error("making the target of the request")]
    Target(#[source] http::Error),
}

impl<'a> Translation<'a> {
    /// Of an exchange with `origin`, for a user who asked for `public`.
    pub(crate) fn new(app: &'a App, part: &view::Site, origin: &Origin, public: &Public) -> Self {
        let url = &origin.published().url;
        let host = part
            .names()
            .host_sent(url)
            .map(|host| Bytes::from(host.into_owned()));
        let site = Site::new(Arc::clone(part.names()), url.clone(), public.clone());
        Self {
            site: Arc::new(site),
            host,
            settings: app.translation(),
        }
    }

    /// Gives a request inner names.
    ///
    /// # Errors
    /// It is not for a published part of the origin.
    pub(crate) fn request<B>(&self, request: &mut Request<B>) -> Result<(), Untranslatable> {
        self.lead_path(request.uri_mut())?;
        self.name_host(request)?;
        for (name, value) in request.headers_mut() {
            if let Some(changed) = request_field(&self.site, name.as_str(), value.as_bytes()) {
                put(value, changed);
            }
        }
        Ok(())
    }

    fn lead_path(&self, uri: &mut Uri) -> Result<(), Untranslatable> {
        let swap = self
            .site
            .inward_path(uri.path())
            .map_err(Untranslatable::Path)?;
        let Some(swap) = swap else {
            return Ok(());
        };
        let written = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let moved = format!("{}{}", swap.with, &written[swap.bytes..]);
        let mut parts = uri.clone().into_parts();
        let target = PathAndQuery::from_maybe_shared(Bytes::from(moved));
        parts.path_and_query = Some(target.map_err(bad_target)?);
        *uri = Uri::from_parts(parts).map_err(bad_target)?;
        Ok(())
    }

    /// HTTP/2 has the authority in the target, HTTP/1.1 in a field.
    fn name_host<B>(&self, request: &mut Request<B>) -> Result<(), Untranslatable> {
        let Some(host) = &self.host else {
            return Ok(());
        };
        if let Some(value) = request.headers_mut().get_mut(header::HOST) {
            *value = HeaderValue::from_maybe_shared(host.clone()).map_err(bad_target)?;
        }
        if request.uri().authority().is_some() {
            let mut parts = request.uri().clone().into_parts();
            let authority = Authority::from_maybe_shared(host.clone());
            parts.authority = Some(authority.map_err(bad_target)?);
            *request.uri_mut() = Uri::from_parts(parts).map_err(bad_target)?;
        }
        Ok(())
    }

    /// Gives the fields of an answer public names.
    pub(crate) fn answer(&self, fields: &mut HeaderMap) {
        if self.settings.keep_fields {
            return;
        }
        for (name, value) in fields {
            if let Some(changed) = answer_field(&self.site, name.as_str(), value.as_bytes()) {
                put(value, changed);
            }
        }
    }
}

fn bad_target(error: impl Into<http::Error>) -> Untranslatable {
    Untranslatable::Target(error.into())
}

/// What is put in place of parts of a good value is good too; if it were not, the value stays.
fn put(value: &mut HeaderValue, changed: Vec<u8>) {
    if let Ok(mut changed) = HeaderValue::from_maybe_shared(Bytes::from(changed)) {
        changed.set_sensitive(value.is_sensitive());
        *value = changed;
    }
}
