//! Idle connections that belong to one user of one app each.
//!
//! An app with single sign-on is told who asks, and some servers remember that for the connection instead of the request: whoever
//! comes next on it is taken for the same user. So such a connection serves one user of one app and nobody else, ever, and one that
//! belongs to nobody is never given to such an app.

use std::{collections::HashMap, sync::Arc};

use model::name::AppId;
use tokio::time::Instant;

use super::{Connection, OriginNumber};

/// Idle connections of one user with one origin: as many as browsers make over HTTP/1.1.
const IDLE_PER_OWNER_MAX: usize = 6;

/// Idle connections of all users with one origin and worker: half of those that there may be, so that requests find room.
const IDLE_PER_ORIGIN_MAX: usize = super::CONNECTIONS_PER_ORIGIN_MAX / 2;

/// Idle connections of one worker. At the bound the one that lies idle longest makes room.
const IDLE_MAX: usize = 1_024;

/// Whose a connection is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    app: AppId,
    /// As the app knows them.
    user: Arc<str>,
}

impl Owner {
    /// `user` is the name that the app is told.
    pub(crate) fn new(app: &AppId, user: impl Into<Arc<str>>) -> Self {
        Self {
            app: app.clone(),
            user: user.into(),
        }
    }
}

/// The idle connections of one worker that belong to somebody.
#[derive(Default)]
pub(super) struct Owned {
    idle: HashMap<OriginNumber, HashMap<Owner, Vec<Connection>>>,
    count: usize,
}

impl Owned {
    /// Takes the one that was used last, if `owner` has one.
    pub(super) fn take(&mut self, origin: OriginNumber, owner: &Owner) -> Option<Connection> {
        let owners = self.idle.get_mut(&origin)?;
        let own = owners.get_mut(owner)?;
        let taken = own.pop();
        self.count -= usize::from(taken.is_some());
        if own.is_empty() {
            owners.remove(owner);
        }
        taken
    }

    /// Keeps one for its owner; gives the one that makes room for it, or it itself.
    pub(super) fn put(&mut self, owner: &Owner, connection: Connection) -> Option<Connection> {
        let origin = connection.origin().number();
        let owners = self.idle.entry(origin).or_default();
        let own = owners.get(owner).map_or(0, Vec::len);
        let all: usize = owners.values().map(Vec::len).sum();
        let evicted = if own == IDLE_PER_OWNER_MAX {
            return Some(connection);
        } else if all == IDLE_PER_ORIGIN_MAX {
            self.evict_oldest(Some(origin))
        } else if self.count == IDLE_MAX {
            self.evict_oldest(None)
        } else {
            None
        };
        let owners = self.idle.entry(origin).or_default();
        owners.entry(owner.clone()).or_default().push(connection);
        self.count += 1;
        evicted
    }

    /// Takes out the one that lies idle longest, of one origin or of all.
    fn evict_oldest(&mut self, of: Option<OriginNumber>) -> Option<Connection> {
        let origins = self.idle.iter();
        let origins = origins.filter(|(origin, _)| of.is_none_or(|of| of == **origin));
        let firsts = origins.flat_map(|(origin, owners)| {
            owners.iter().filter_map(|(owner, own)| {
                let since = own.first()?.idle_since;
                Some((since, *origin, owner))
            })
        });
        let (_, origin, owner) = firsts.min_by_key(|(since, ..)| *since)?;
        let owner = owner.clone();
        let owners = self.idle.get_mut(&origin)?;
        let own = owners.get_mut(&owner)?;
        let evicted = own.remove(0);
        if own.is_empty() {
            owners.remove(&owner);
        }
        self.count -= 1;
        Some(evicted)
    }

    /// Takes out those that are of no use any more.
    pub(super) fn take_useless(&mut self, now: Instant) -> Vec<Connection> {
        let mut useless = Vec::new();
        self.idle.retain(|_, owners| {
            owners.retain(|_, own| {
                useless.extend(own.extract_if(.., |connection| !connection.is_usable(now)));
                !own.is_empty()
            });
            !owners.is_empty()
        });
        self.count -= useless.len();
        useless
    }
}
