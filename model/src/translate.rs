//! Translation between the names by which an app is known inside and those under which it is published.
//!
//! [`Names`] and [`Links`] are made once per snapshot. A [`Site`] is one part of an app as one request meets it: through one
//! public authority, at one origin. It says which bytes at the front of a URL have to be replaced by which ([`Swap`]), so that
//! whatever follows stays as it was written. Only whole authorities match, compared as hosts and ports: nothing can be made to
//! lead to a place that is not published.

use std::{borrow::Cow, sync::Arc};

mod cookie;
mod field;
mod links;
mod policy;
mod reference;
mod returns;
mod site;

pub use field::{answer_field, refresh, request_field};
pub use links::{Link, LinkError, Links};
pub use policy::content_security_policy;
pub use reference::URL_FRONT_BYTES_MAX;
pub use site::{OutsideScope, Public, Site};

use crate::{
    app::{HostSent, Origin, OriginUrl, Scheme, Translation},
    path::{self, PathPrefix},
};
use reference::Authority;

/// The first bytes of a URL, and what they become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    /// How many bytes are replaced.
    pub bytes: usize,
    /// By what: ASCII that needs no escaping in URLs, HTML or strings.
    pub with: String,
}

/// Inner names of one part of an app: its main part, or a segment.
#[derive(Debug)]
pub struct Names {
    outer_path: PathPrefix,
    inner_path: PathPrefix,
    host: HostSent,
    origins: Vec<OriginName>,
    /// Further authorities that mean this part.
    named: Vec<Authority>,
    links: Arc<Links>,
}

#[derive(Debug)]
struct OriginName {
    scheme: Scheme,
    authority: Authority,
}

/// How well an authority fits one of a part's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// Origins behind TLS that ends before them name themselves with the other scheme.
    AnyScheme,
    Exact,
}

impl Names {
    /// The names of a part that is published under `path` and lives at `origins`.
    pub fn new(
        path: &PathPrefix,
        origins: &[Origin],
        translation: &Translation,
        links: Arc<Links>,
    ) -> Self {
        let origins = origins.iter().map(|origin| OriginName {
            scheme: origin.url.scheme,
            authority: Authority::of(&origin.url),
        });
        let named = match &translation.host {
            HostSent::Named(name) => Authority::readings(name),
            HostSent::Inner | HostSent::Public => Vec::new(),
        };
        Self {
            outer_path: path.clone(),
            inner_path: translation.inner_path.as_ref().unwrap_or(path).clone(),
            host: translation.host.clone(),
            origins: origins.collect(),
            named,
            links,
        }
    }

    /// Where the part begins at its origins.
    pub fn inner_path(&self) -> &PathPrefix {
        &self.inner_path
    }

    /// Whether an origin is asked for this path of its own in users' requests: it is in the part, however the origin reads it.
    pub fn is_published(&self, inner_path: &str) -> bool {
        let inner = &self.inner_path;
        inner.holds(inner_path) && path::reads_one_way(inner_path, std::iter::once(inner))
    }

    /// The authority that `origin` is sent; `None`: the one that the user asked for.
    pub fn host_sent(&self, origin: &OriginUrl) -> Option<Cow<'_, str>> {
        match &self.host {
            HostSent::Inner => Some(Cow::Owned(origin.authority())),
            HostSent::Public => None,
            HostSent::Named(name) => Some(Cow::Borrowed(name)),
        }
    }

    /// Whether the path at the origin is the published one.
    fn same_path(&self) -> bool {
        self.inner_path == self.outer_path
    }

    /// Whether the origins of this part are called so. Without a scheme any is meant.
    fn fit(&self, scheme: Option<Scheme>, authority: &Authority) -> Option<Fit> {
        if self.named.contains(authority) {
            return Some(Fit::Exact);
        }
        let same = self
            .origins
            .iter()
            .filter(|origin| origin.authority == *authority);
        same.map(|origin| match scheme {
            Some(scheme) if scheme != origin.scheme => Fit::AnyScheme,
            Some(_) | None => Fit::Exact,
        })
        .max()
    }
}

/// Leads a path from below one prefix to below another: how many bytes go, and what comes in their place.
fn moved<'a>(from: &PathPrefix, to: &'a PathPrefix, path: &[u8]) -> Option<(usize, &'a str)> {
    let gone = match from.as_str() {
        "/" => 0,
        prefix => {
            let rest = path.strip_prefix(prefix.as_bytes())?;
            if !rest.is_empty() && rest[0] != b'/' {
                return None;
            }
            prefix.len()
        }
    };
    let come = match to.as_str() {
        "/" if gone > 0 && gone == path.len() => "/",
        "/" => "",
        prefix => prefix,
    };
    Some((gone, come))
}

#[cfg(test)]
mod tests;
