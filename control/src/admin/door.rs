//! The one adapter in front of every service: finds the operator, checks the role, counts the call.

use std::{convert::Infallible, sync::Arc, task};

use tonic::{
    Code, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};

use super::{
    AdminContext,
    operator::{Operator, peer_address},
    refusal::Refusal,
    refused_writes::{Attempt, RefusedWrites},
    requests::Requests,
    roles::{self, Effect, Method},
};
use crate::{attempts::Attempts, audit, server::Admission, store::TxnError};

/// Bad tokens of one address before it is told no more about them. Tokens cannot be guessed at any rate: this tells who tries that
/// it is noticed. A good token works all the same.
pub(crate) const FAILURES_MAX: u32 = 30;

/// What the doors of all services share.
#[derive(Debug)]
pub(crate) struct Guard {
    context: AdminContext,
    failures: Attempts,
    refused_writes: RefusedWrites,
    requests: Requests,
}

impl Guard {
    pub(crate) fn new(context: AdminContext) -> Self {
        Self {
            context,
            failures: Attempts::new(FAILURES_MAX),
            refused_writes: RefusedWrites::default(),
            requests: Requests::new(),
        }
    }

    /// A service that is reached through this guard only.
    pub(crate) fn door<S>(self: &Arc<Self>, inner: S) -> Door<S> {
        Door {
            guard: Arc::clone(self),
            inner,
        }
    }

    /// The operator behind a request, if the method is there for them.
    async fn admit(
        &self,
        method: Option<&'static Method>,
        head: &http::request::Parts,
    ) -> Result<Operator, Refusal> {
        let operator = self.authenticate(head).await?;
        let Some(method) = method else {
            return Err(Refusal::PermissionDenied(
                "there is no such method".to_owned(),
            ));
        };
        if roles::suffices(operator.role, method.role) {
            return Ok(operator);
        }
        let now = self.context.clock.now();
        let attempt = Attempt {
            actor: &operator.name,
            method: method.name,
            peer: peer_address(&head.extensions).map(|peer| peer.ip()),
        };
        if method.effect == Effect::Write
            && let Some(audit) = self.refused_writes.begin(attempt, now)
        {
            self.record_refusal(method, &operator).await?;
            audit.written();
        }
        Err(Refusal::PermissionDenied(format!(
            "{} needs the role {}; {} has the role {}",
            method.name,
            roles::word(method.role),
            operator.name,
            roles::word(operator.role),
        )))
    }

    async fn authenticate(&self, head: &http::request::Parts) -> Result<Operator, Refusal> {
        let peer = peer_address(&head.extensions);
        let found = Operator::authenticate(&self.context, &head.headers, peer).await;
        // Only who fails is barred: operators may share an address with somebody who guesses.
        if let (Err(Refusal::Unauthenticated(_)), Some(peer)) = (&found, peer) {
            let now = self.context.clock.now();
            if self.failures.is_barred(peer.ip(), now) {
                return Err(Refusal::TooManyFailures);
            }
            self.failures.note(peer.ip(), now);
        }
        if let (Ok(_), Some(admission)) = (&found, head.extensions.get::<Admission>()) {
            admission.grant();
        }
        found
    }

    /// The resource stays empty: the request was not read, and nothing changed.
    async fn record_refusal(&self, method: &Method, operator: &Operator) -> Result<(), Refusal> {
        let event = audit::Event {
            actor: operator.name.clone(),
            method: method.name,
            peer: operator.peer.clone(),
            refused: true,
            ..audit::Event::default()
        };
        let row = audit::op(event, &self.context.clock);
        match self.context.store.txn(Vec::new(), vec![row]).await {
            // Without checks there is no conflict.
            Ok(_) | Err(TxnError::Conflict(_)) => Ok(()),
            Err(TxnError::Store(error)) => Err(error.into()),
        }
    }
}

/// A service behind its door.
#[derive(Debug, Clone)]
pub(crate) struct Door<S> {
    guard: Arc<Guard>,
    inner: S,
}

impl<S: NamedService> NamedService for Door<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Door<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    /// Generated services are always ready.
    fn poll_ready(
        &mut self,
        context: &mut task::Context<'_>,
    ) -> task::Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (guard, mut inner) = (Arc::clone(&self.guard), self.inner.clone());
        Box::pin(async move {
            let found = roles::find(request.uri().path());
            let (mut head, body) = request.into_parts();
            let response = match guard.admit(found.map(|(_, method)| method), &head).await {
                Ok(operator) => {
                    let actor = operator.name.clone();
                    head.extensions.insert(operator);
                    let response = inner.call(http::Request::from_parts(head, body)).await?;
                    if let Some((_, method)) = found {
                        tell(method, &actor, code(&response));
                    }
                    response
                }
                Err(refusal) => Status::from(refusal).into_http(),
            };
            guard
                .requests
                .count(found.map(|(index, _)| index), code(&response));
            Ok(response)
        })
    }
}

/// One line for each write that went well; what it changed stands in the audit log.
fn tell(method: &Method, actor: &str, code: Code) {
    if method.effect == Effect::Write && code == Code::Ok {
        tracing::info!(actor, method = method.name, "written");
    }
}

/// A refusal is all head; what has a body went well.
fn code(response: &http::Response<Body>) -> Code {
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
}
