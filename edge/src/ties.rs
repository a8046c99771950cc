//! What ties a user's connection to the ways its requests take.
//!
//! NTLM and Negotiate sign a connection to an origin on. The agent keeps that connection for the user's, and so the user's next
//! requests must come to the same agent, on the same link: that is where the connection is.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use http::{HeaderMap, header};
use model::{name::AppId, sign_on};

use crate::link::Link;

/// Apps on one user's connection that sign on by connection. Browsers share a connection among the names of one certificate;
/// beyond, the oldest tie is given up, and its user signs on anew.
const APPS_MAX: usize = 16;

/// Of one user's connection; lives and ends with it.
#[derive(Debug)]
pub(crate) struct Ties {
    id: Bytes,
    links: Mutex<Vec<(AppId, Weak<Link>)>>,
}

impl Ties {
    /// Tied to nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            id: Bytes::copy_from_slice(&rand::random::<[u8; 16]>()),
            links: Mutex::default(),
        }
    }

    /// Stands for the user's connection at agents, which cannot guess that of another.
    pub(crate) const fn id(&self) -> &Bytes {
        &self.id
    }

    /// The link that requests for `app` must take, if there is one and it lives.
    pub(crate) fn link(&self, app: &AppId) -> Option<Arc<Link>> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, link) = links.iter().find(|(tied, _)| tied == app)?;
        link.upgrade().filter(|link| link.is_live())
    }

    /// Requests for `app` take `link` from now on, unless they take another one that lives: of several requests at once all but one
    /// come too late, and a sign-in may be under way there. `tried` are those on which this one was asked in vain.
    pub(crate) fn tie(&self, app: &AppId, link: &Arc<Link>, tried: &[Arc<Link>]) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let stays = |other: Arc<Link>| {
            other.is_live() && !tried.iter().any(|tried| Arc::ptr_eq(tried, &other))
        };
        let tied = links.iter().find(|(tied, _)| tied == app);
        if tied.is_some_and(|(_, link)| link.upgrade().is_some_and(stays)) {
            return;
        }
        links.retain(|(tied, _)| tied != app);
        if links.len() == APPS_MAX {
            links.remove(0);
        }
        links.push((app.clone(), Arc::downgrade(link)));
    }
}

/// Whether a request signs a connection on.
pub(crate) fn signs_on(request: &HeaderMap) -> bool {
    let mut values = request.get_all(header::AUTHORIZATION).iter();
    values.any(|value| sign_on::is_of_connection(value.as_bytes()))
}

/// Whether an answer asks for the sign-in of a connection.
pub(crate) fn asks_to_sign_on(answer: &HeaderMap) -> bool {
    let mut values = answer.get_all(header::WWW_AUTHENTICATE).iter();
    values.any(|value| sign_on::is_of_connection(value.as_bytes()))
}
