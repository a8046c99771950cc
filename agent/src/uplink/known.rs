//! Where an edge is, and where it was last.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use runtime::dial;
use tunnel::{Transport, quic::Network};

/// Addresses of one edge that are tried: the last of them still has most of the time.
const ADDRESSES_MAX: usize = 8;

/// The addresses that an edge's names had last, one for each transport. Clones know the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known(Arc<Mutex<HashMap<Transport, Vec<SocketAddr>>>>);

impl Known {
    /// Where the edge is by this name; where it was last, while nobody answers for it. `network` is one other than the system's.
    pub(super) async fn find(
        &self,
        transport: Transport,
        name: &dial::Target,
        network: Option<&dyn Network>,
    ) -> io::Result<Vec<SocketAddr>> {
        let found = match network {
            None => dial::look_up(name).await,
            Some(network) => network.look_up(&name.to_string()),
        };
        match found {
            Ok(mut found) => {
                found.truncate(ADDRESSES_MAX);
                if !found.is_empty() {
                    self.lock().insert(transport, found.clone());
                }
                Ok(found)
            }
            Err(error) => {
                let last = self.lock().get(&transport).cloned();
                let last = last.ok_or(error)?;
                tracing::debug!(%name, %transport, "nobody answers for the edge's name: it is dialled where it was");
                Ok(last)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Transport, Vec<SocketAddr>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
