//! Links that serve.

use std::sync::Arc;

use crate::{link::Link, serving::Worker};

/// A link that requests can find, until this is dropped.
pub(super) struct Listed {
    link: Arc<Link>,
    worker: Arc<Worker>,
}

impl Listed {
    /// None if the agent has as many as it may have.
    pub(super) fn new(link: Arc<Link>, worker: Arc<Worker>) -> Option<Self> {
        let is_added = worker.edge.links.add(&link);
        is_added.then(|| Self { link, worker })
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.worker.edge.links.remove(&self.link);
    }
}
