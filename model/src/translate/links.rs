//! Where other published apps live, and under which names.

use std::{collections::HashMap, str::FromStr, sync::Arc};

use super::reference::Authority;
use crate::{
    app::{OriginUrl, OriginUrlError},
    host::{HostError, Hostname},
    path::{PathPrefix, PrefixError},
};

/// Part of an app: an inner URL and where it leads in public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Scheme, host and port inside.
    pub origin: OriginUrl,
    /// The path below it.
    pub inner_path: PathPrefix,
    /// The public name; scheme and port are those of the request.
    pub host: Hostname,
    /// The path below that.
    pub outer_path: PathPrefix,
}

/// Why a pair of texts is no link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The inner URL.
    #[error("reading the inner URL")]
    Inner(#[source] OriginUrlError),
    /// The public name.
    #[error("reading the public name")]
    Outer(#[source] HostError),
    /// One of the paths.
    #[error("reading a path")]
    Path(#[source] PrefixError),
}

impl Link {
    /// Reads a pair such as `http://wiki.internal:8080/inner` and `wiki.example.com/path`.
    ///
    /// # Errors
    /// One of the two cannot be read.
    pub fn parse(inner: &str, outer: &str) -> Result<Self, LinkError> {
        let host_start = inner.find("://").map_or(0, |colon| colon + "://".len());
        let (origin, inner_path) = split_path(inner, host_start).map_err(LinkError::Path)?;
        let (host, outer_path) = split_path(outer, 0).map_err(LinkError::Path)?;
        Ok(Self {
            origin: OriginUrl::from_str(origin).map_err(LinkError::Inner)?,
            inner_path,
            host: host.parse().map_err(LinkError::Outer)?,
            outer_path,
        })
    }
}

fn split_path(text: &str, from: usize) -> Result<(&str, PathPrefix), PrefixError> {
    match text[from..].find('/') {
        Some(slash) => {
            let (front, path) = text.split_at(from + slash);
            Ok((front, path.parse()?))
        }
        None => Ok((text, PathPrefix::root())),
    }
}

/// All links of a snapshot, by either side.
#[derive(Debug, Default)]
pub struct Links {
    inner: HashMap<Authority, Vec<Arc<Link>>>,
    outer: HashMap<Hostname, Vec<Arc<Link>>>,
}

impl Links {
    /// Makes the maps.
    pub fn new(links: impl IntoIterator<Item = Link>) -> Self {
        let mut made = Self::default();
        for link in links.into_iter().map(Arc::new) {
            let authority = Authority::of(&link.origin);
            made.inner
                .entry(authority)
                .or_default()
                .push(Arc::clone(&link));
            made.outer.entry(link.host.clone()).or_default().push(link);
        }
        made
    }

    /// What lives under an inner authority.
    pub(super) fn inside(&self, authority: &Authority) -> impl Iterator<Item = &Link> {
        self.inner
            .get(authority)
            .into_iter()
            .flatten()
            .map(Arc::as_ref)
    }

    /// What is published under a host.
    pub(super) fn published(&self, host: &str) -> impl Iterator<Item = &Link> {
        self.outer.get(host).into_iter().flatten().map(Arc::as_ref)
    }
}
