//! Requests of the agent's own to an app: to look at the page with its form, and to send that.

use std::sync::Arc;

use bytes::Bytes;
use model::reason::Reason;
use tokio::time::timeout;

use super::{Exchange, Failure, by_form::ByForm, upload::Upload};
use crate::{
    form::{Address, BadStep, Step, Walker},
    look::{self, Answer},
    origin::{Informational, Repeat, Reuse, Versions, Wish},
    translate::Translation,
};

/// How a request takes the steps of its user's sign-in.
pub(super) struct FormSteps<'s> {
    pub(super) exchange: &'s Exchange<'s>,
    pub(super) own: &'s ByForm<'s>,
    pub(super) address: &'s Address<'s>,
}

impl Walker for FormSteps<'_> {
    type Error = Failure;

    /// On a connection of its own.
    async fn step(&self, begun: u64, step: &Step) -> Result<Answer, Failure> {
        let Self {
            exchange,
            own,
            address,
        } = self;
        let (app, worker) = (exchange.app, exchange.worker);
        let wish = Wish {
            owner: Some(&own.owner),
            reuse: Reuse::Never,
            repeat: Repeat::Forbidden,
            versions: Versions::Http1,
            connect_limit: app.timeouts().connect,
        };
        let site = app.main();
        let mut connection = worker.pool.acquire(site.origins(), wish).await?;
        let translation = Translation::new(app, site, connection.origin(), address.public);
        let request = address.request(step, &translation, &own.sign_in)?;
        let form = step.form.as_ref();
        let form = form.map(|form| Bytes::copy_from_slice(form.as_bytes()));
        let upload = Upload::of(
            form.as_ref(),
            exchange.activity.clone(),
            worker.clock.clone(),
            worker.metrics.to_origin_bytes.clone(),
        );
        let request = request.map(|()| upload.body());
        let heard = Arc::<Informational>::default();
        let sent = timeout(app.timeouts().response, connection.send(request, heard));
        let path = step.bare_path();
        let response = sent.await.map_err(|_| {
            let detail = format!("no answer from {path}, where users sign in");
            Failure::new(Reason::OriginTimeout, detail)
        })?;
        let response = response.map_err(|failure| Failure::from_origin(&failure.error, false))?;
        let (head, body) = response.into_parts();
        let of = (&*own.sign_in, begun);
        address.take_in(step, &translation, of, &head.headers);
        let read = look::read(body, step.reads()).await;
        let (body, is_cut) = read.map_err(|error| {
            let detail = format!("the page {path} cannot be read: {error}");
            Failure::new(Reason::SsoFailed, detail)
        })?;
        Ok(Answer {
            status: head.status,
            fields: head.headers,
            body,
            is_cut,
        })
    }
}

impl From<BadStep> for Failure {
    fn from(error: BadStep) -> Self {
        Self::new(Reason::SsoFailed, error.to_string())
    }
}
