//! Requests of the agent's own to an app: to look at the page with its form, and to send that.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header,
    uri::{self, PathAndQuery},
};
use http_body_util::{BodyExt as _, Limited};
use model::reason::Reason;
use tokio::time::timeout;

use super::{Exchange, Failure, by_form::ByForm, upload::Upload};
use crate::{
    form::{ANSWER_BYTES_MAX, Answer, Step},
    origin::{Connection, Informational, Repeat, Reuse, Speech, Versions, Wish},
    translate::Translation,
};

/// What the user's own request says that apps may bind a sign-in to, or read their own address from.
const PASSED_ON: [HeaderName; 8] = [
    header::USER_AGENT,
    header::ACCEPT_LANGUAGE,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-request-id"),
];

impl Exchange<'_> {
    /// Takes one step, on a connection of its own, and keeps the cookies that come of it.
    pub(super) async fn step(
        &self,
        own: &ByForm<'_>,
        begun: u64,
        step: &Step,
    ) -> Result<Answer, Failure> {
        let path = step.path.split('?').next().unwrap_or_default();
        let site = self.app.main();
        let wish = Wish {
            owner: Some(&own.owner),
            reuse: Reuse::Never,
            repeat: Repeat::Forbidden,
            versions: Versions::AsPublished,
            connect_limit: self.app.timeouts().connect,
        };
        let mut connection = self.worker.pool.acquire(site.origins(), wish).await?;
        let upload = self.own_upload(step);
        let origin = connection.origin();
        let translation = Translation::new(self.app, site, origin, &self.head.public);
        let public_path = translation.public_path(path);
        let place = own.step_place(&public_path, path);
        let mut request = self.own_request(own, step, (&connection, &translation), &upload)?;
        own.put_cookies_into(place, request.headers_mut());
        let heard = Arc::<Informational>::default();
        let sent = timeout(
            self.app.timeouts().response,
            connection.send(request, heard),
        );
        let response = sent.await.map_err(|_| {
            let detail = format!("no answer from {path}, where users sign in");
            Failure::new(Reason::OriginTimeout, detail)
        })?;
        let response = response.map_err(|failure| Failure::from_origin(&failure.error, false))?;
        let (parts, body) = response.into_parts();
        let set = parts.headers.get_all(header::SET_COOKIE).iter();
        own.take_in(place, begun, (set, Some(&translation)));
        let reads = match step.form {
            Some(_) => own.sso.success.reads_page(),
            None => !step.is_look,
        };
        let body = if reads {
            let read = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let read = read.map_err(|error| {
                let detail = format!("the page {path} cannot be read: {error}");
                Failure::new(Reason::SsoFailed, detail)
            })?;
            read.to_bytes()
        } else {
            // Its head says all.
            Bytes::new()
        };
        Ok(Answer {
            status: parts.status,
            fields: parts.headers,
            body,
        })
    }

    fn own_upload(&self, step: &Step) -> Upload {
        let form = step.form.as_ref();
        let form = form.map(|form| Bytes::copy_from_slice(form.as_bytes()));
        Upload::of(
            form.as_ref(),
            self.activity.clone(),
            self.worker.clock.clone(),
            self.worker.metrics.to_origin_bytes.clone(),
        )
    }

    fn own_request(
        &self,
        own: &ByForm<'_>,
        step: &Step,
        (connection, translation): (&Connection, &Translation<'_>),
        upload: &Upload,
    ) -> Result<Request<super::UploadBody>, Failure> {
        let origin = connection.origin();
        let host = translation.host().cloned();
        let host = host.unwrap_or_else(|| self.head.authority());
        let bad = |_| Failure::new(Reason::SsoFailed, "the page or the form has no good path");
        let target = PathAndQuery::try_from(step.path.as_str()).map_err(bad)?;
        let mut fields = HeaderMap::new();
        let said = self.head.said();
        for name in PASSED_ON {
            for value in said.get_all(&name) {
                fields.append(name.clone(), value.clone());
            }
        }
        fields.insert(header::ACCEPT, HeaderValue::from_static("text/html,*/*"));
        fields.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        let mut request = Request::new(upload.body());
        if let Some(form) = &step.form {
            *request.method_mut() = Method::POST;
            fields.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            );
            fields.insert(header::CONTENT_LENGTH, form.len().into());
            // Frameworks look whether a form comes from their own page.
            let scheme = self.head.public.scheme().as_str();
            let mut from = format!("{scheme}://").into_bytes();
            from.extend_from_slice(&host);
            from.extend_from_slice(own.sso.page.as_bytes());
            if let Ok(from) = HeaderValue::from_bytes(&from) {
                fields.insert(header::REFERER, from);
            }
        }
        let mut parts = uri::Parts::default();
        parts.path_and_query = Some(target);
        match connection.speech() {
            Speech::Http1 => {
                let host = HeaderValue::from_maybe_shared(host);
                let host = host.map_err(|_| Failure::bug("a host that is no value"))?;
                fields.insert(header::HOST, host);
            }
            Speech::Http2 => {
                let scheme = origin.published().url.scheme.as_str();
                parts.scheme = uri::Scheme::try_from(scheme).ok();
                parts.authority = uri::Authority::from_maybe_shared(host).ok();
                *request.version_mut() = Version::HTTP_2;
            }
        }
        let uri = Uri::from_parts(parts);
        *request.uri_mut() = uri.map_err(|_| Failure::bug("parts that are no address"))?;
        *request.headers_mut() = fields;
        Ok(request)
    }
}
