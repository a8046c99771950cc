//! An agent that keeps nothing joins anew when control knows it no longer.
//!
//! Control deletes such an agent when it was gone for too long, and it may only have been asleep. One that was revoked is known to
//! control, and stays out.

use model::name::AgentId;
use runtime::{
    Backoff, Clock, Scope,
    dial::WayOut,
    identity::CurrentIdentity,
    join::{self, Enrolment, EnrolmentError, TokenSource},
    node::Role,
};
use tokio::{sync::watch, time::sleep};

use crate::config;

/// What joining anew needs.
#[derive(Debug)]
pub(crate) struct Rejoining {
    pub(crate) token: Option<TokenSource>,
    /// What ids begin with.
    pub(crate) name: Option<AgentId>,
    pub(crate) way_out: WayOut,
    /// Gets the new identity.
    pub(crate) identity: CurrentIdentity,
    pub(crate) clock: Clock,
}

/// Starts watching as a standing task; `unknown` says whether control knows this agent no longer.
pub(crate) fn start(rejoining: Rejoining, unknown: watch::Receiver<bool>, scope: &Scope) {
    let own = scope.child("rejoin");
    scope.spawn_standing("rejoin", async move {
        tokio::select! {
            () = own.cancelled() => {}
            () = rejoin(rejoining, unknown) => {}
        }
    });
}

async fn rejoin(rejoining: Rejoining, mut unknown: watch::Receiver<bool>) {
    let mut backoff = Backoff::standard();
    while unknown.wait_for(|unknown| *unknown).await.is_ok() {
        let id = config::passing_id(rejoining.name.as_ref());
        let enrolment = Enrolment {
            token: rejoining.token.as_ref(),
            role: Role::Agent,
            id: &id,
            data_directory: None,
            way_out: &rejoining.way_out,
            version: env!("CARGO_PKG_VERSION"),
        };
        match Box::pin(join::enrolled(enrolment, &rejoining.clock)).await {
            Ok(enrolled) => {
                tracing::info!(identity = %enrolled.identity.name(), "control knew this agent no longer; it has joined anew");
                rejoining.identity.replace(enrolled.identity);
                backoff.reset();
                // The line to control is opened anew with it.
                if unknown.wait_for(|unknown| !*unknown).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                report(&error);
                sleep(error.retry_after() + backoff.after_failure()).await;
            }
        }
    }
}

fn report(error: &EnrolmentError) {
    let source = std::error::Error::source(error).map(tracing::field::display);
    tracing::warn!(%error, source, "control knows this agent no longer, and it cannot join anew");
}
