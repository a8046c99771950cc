//! An app's names in what passes: inner ones for its origin, public ones for its users.
//!
//! What becomes of a name is decided in `model::translate`; here it is found in heads and bodies.

mod attribute;
mod body;
mod decode;
mod document;
mod encode;
mod html;
mod literal;
mod plan;
mod style;

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Uri, header, response,
    uri::{Authority, PathAndQuery},
};
use model::{
    app::{self, HostSent},
    translate::{OutsideScope, Public, Site, answer_field, request_field},
};

pub(crate) use body::{DocumentError, TranslatedBody};

use crate::{
    origin::{AnswerBody, Origin},
    view::{self, App},
};
use body::Pipeline;
use document::Document;
use encode::Encoder;
use plan::Asked;

/// How one exchange is translated.
#[derive(Debug)]
pub(crate) struct Translation<'a> {
    site: Arc<Site>,
    /// The authority that the origin is sent, where it is not the user's.
    host: Option<Bytes>,
    settings: &'a app::Translation,
    asked: Asked,
}

/// What of a document is translated besides its markup and styles.
#[derive(Clone, Copy, Debug, Default)]
struct Scope {
    json: bool,
    scripts: bool,
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
        let host = match &app.translation().host {
            HostSent::Inner => Some(origin.authority().clone()),
            HostSent::Public => None,
            HostSent::Named(name) => Some(Bytes::copy_from_slice(name.as_bytes())),
        };
        let site = Site::new(Arc::clone(part.names()), url.clone(), public.clone());
        Self {
            site: Arc::new(site),
            host,
            settings: app.translation(),
            asked: Asked::default(),
        }
    }

    /// The authority that the origin is sent, where it is not the user's.
    pub(crate) fn host(&self) -> Option<&Bytes> {
        self.host.as_ref()
    }

    /// Gives a request inner names.
    ///
    /// # Errors
    /// It is not for a published part of the origin.
    pub(crate) fn request<B>(&mut self, request: &mut Request<B>) -> Result<(), Untranslatable> {
        self.lead_path(request.uri_mut())?;
        self.name_host(request)?;
        for (name, value) in request.headers_mut() {
            if let Some(changed) = request_field(&self.site, name.as_str(), value.as_bytes()) {
                put(value, changed);
            }
        }
        if self.settings.bodies {
            let method = request.method().clone();
            self.asked = Asked::of(&method, request.headers_mut());
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

impl Translation<'_> {
    /// What the user's browser would get of a value of `Set-Cookie`.
    pub(crate) fn cookie<'v>(&self, value: &'v HeaderValue) -> Cow<'v, HeaderValue> {
        let name = header::SET_COOKIE.as_str();
        let changed = match self.settings.keep_fields {
            true => None,
            false => answer_field(&self.site, name, value.as_bytes()),
        };
        changed.map_or(Cow::Borrowed(value), |changed| {
            let mut value = value.clone();
            put(&mut value, changed);
            Cow::Owned(value)
        })
    }

    /// Where a path of the origin's is for users, or begins to be.
    pub(crate) fn public_path<'p>(&'p self, path: &'p str) -> Cow<'p, str> {
        self.site.path_outside(path)
    }

    /// Gives the body of an answer public names, and its head what is true of it then.
    pub(crate) fn body(&self, parts: &mut response::Parts, body: AnswerBody) -> TranslatedBody {
        if !self.settings.bodies {
            return TranslatedBody::AsIs(body);
        }
        let plan = plan::plan(self.settings, &self.asked, parts.status, &mut parts.headers);
        let Some(plan) = plan else {
            return TranslatedBody::AsIs(body);
        };
        let scope = Scope {
            json: self.settings.json,
            scripts: self.settings.scripts,
        };
        let document = Document::new(plan.kind, Arc::clone(&self.site), scope);
        let encoder = if plan.gzip {
            Encoder::gzip()
        } else {
            Encoder::identity()
        };
        let pipeline = Pipeline::new(body, plan.coding, document, encoder);
        TranslatedBody::Document(Box::new(pipeline))
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
