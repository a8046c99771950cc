//! One part of an app as one request meets it.

use std::{borrow::Cow, sync::Arc};

use super::{
    Fit, Link, Names, Swap, moved,
    reference::{Authority, Reference, UrlScheme},
};
use crate::{
    app::{OriginUrl, Scheme},
    path::{self, PathPrefix},
};

/// Scheme and authority that a user asked for.
#[derive(Debug, Clone)]
pub struct Public {
    scheme: Scheme,
    authority: Authority,
    /// As the user wrote it.
    text: String,
}

impl Public {
    /// Reads what came with the request; `None` if it is no host and port.
    pub fn new(scheme: Scheme, text: &str) -> Option<Self> {
        Some(Self {
            scheme,
            authority: Authority::parse(text.as_bytes(), Some(scheme))?,
            text: text.to_owned(),
        })
    }

    /// By which the user came.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether what goes between user and edge is encrypted.
    pub fn is_secure(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// The host alone, in lower case.
    pub fn host(&self) -> &str {
        &self.authority.host
    }
}

/// The path of a request does not belong to the part that it was routed to, or an origin may read it as one that does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path is not in the published part")]
pub struct OutsideScope;

/// One part of an app, through one public authority, at one origin.
#[derive(Debug, Clone)]
pub struct Site {
    names: Arc<Names>,
    origin: OriginUrl,
    public: Public,
}

/// Where an inner URL leads; compared by how well it fits, the best last.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    fit: Fit,
    path_bytes: usize,
    own: bool,
}

impl Site {
    /// What a request for `public` at `origin` needs.
    pub fn new(names: Arc<Names>, origin: OriginUrl, public: Public) -> Self {
        Self {
            names,
            origin,
            public,
        }
    }

    pub(super) fn public(&self) -> &Public {
        &self.public
    }

    pub(super) fn same_path(&self) -> bool {
        self.names.same_path()
    }

    /// The path of the origin's for users; one that is not of the published part has none, and is taken for the start of that.
    pub fn path_outside<'p>(&'p self, path: &'p str) -> Cow<'p, str> {
        if self.same_path() {
            return Cow::Borrowed(path);
        }
        let (inner, outer) = (&self.names.inner_path, &self.names.outer_path);
        match moved(inner, outer, path.as_bytes()) {
            Some((bytes, with)) => Cow::Owned(format!("{with}{}", &path[bytes..])),
            None => Cow::Borrowed(outer.as_str()),
        }
    }

    /// Leads the path of a request inside: the first bytes, and what comes in their place; `None` if it stays.
    ///
    /// # Errors
    /// The path is not below the published one, or may not stay below the inner one when the origin has normalised it.
    pub fn inward_path(&self, path: &str) -> Result<Option<Swap>, OutsideScope> {
        if self.same_path() || path == "*" {
            return Ok(None);
        }
        self.moved_in(path.as_bytes()).map(Some).ok_or(OutsideScope)
    }

    fn moved_in(&self, path: &[u8]) -> Option<Swap> {
        let (bytes, with) = led_in(&self.names.outer_path, &self.names.inner_path, path)?;
        Some(Swap {
            bytes,
            with: with.to_owned(),
        })
    }

    /// Leads a path of the origin's outside: that of a link without an authority, or of a cookie.
    pub(super) fn outward_path(&self, path: &[u8]) -> Option<Swap> {
        if self.same_path() {
            return None;
        }
        let (bytes, with) = moved(&self.names.inner_path, &self.names.outer_path, path)?;
        if with.is_empty() && names_a_host(&path[bytes..]) {
            return None;
        }
        Some(Swap {
            bytes,
            with: with.to_owned(),
        })
    }

    /// The published path, if everything inside it is below `path` at the origin.
    pub(super) fn published_below(&self, path: &[u8]) -> Option<&str> {
        let inner = self.names.inner_path.as_str().as_bytes();
        let trimmed = path.strip_suffix(b"/").unwrap_or(path);
        let rest = inner.strip_prefix(trimmed)?;
        (rest.is_empty() || rest[0] == b'/').then(|| self.names.outer_path.as_str())
    }

    /// What an origin's own URL becomes for users; `None`: it stays.
    pub fn outward(&self, url: &[u8]) -> Option<Swap> {
        match Reference::parse(url)? {
            Reference::Path { path_end } => self.outward_path(&url[..path_end]),
            Reference::Absolute {
                scheme,
                authority,
                path_start,
                path_end,
            } => {
                let path = &url[path_start..path_end];
                let mut swap = self.outward_absolute(scheme, &authority, path)?;
                swap.bytes += path_start;
                (url.get(..swap.bytes) != Some(swap.with.as_bytes())).then_some(swap)
            }
        }
    }

    /// What an origin's own authority, written without a scheme, becomes for users, with the path that follows it.
    pub(super) fn outward_host(&self, text: &[u8]) -> Option<Swap> {
        let length = text
            .iter()
            .position(|byte| *byte == b'/')
            .unwrap_or(text.len());
        let (host, path) = text.split_at(length);
        let authority = Authority::parse(host, None)?;
        let mut swap = self.outward_absolute(None, &authority, path)?;
        swap.with.drain(.."//".len());
        swap.bytes += length;
        Some(swap)
    }

    /// `bytes` of the swap count from the start of the path.
    fn outward_absolute(
        &self,
        scheme: Option<UrlScheme>,
        authority: &Authority,
        path: &[u8],
    ) -> Option<Swap> {
        let own = self.fit(scheme, authority);
        let below = if path.is_empty() { b"/" } else { path };
        let own_rank = own
            .filter(|_| moved(&self.names.inner_path, &self.names.outer_path, below).is_some())
            .map(|fit| Rank {
                fit,
                path_bytes: self.names.inner_path.as_str().len(),
                own: true,
            });
        match self.best_link(scheme, authority, below) {
            Some((rank, link)) if own_rank.is_none_or(|own| own < rank) => {
                let (bytes, come) = moved(&link.inner_path, &link.outer_path, path)?;
                let host = self.beside(link);
                Some(self.swap(scheme, &host, bytes, come))
            }
            _ if own.is_some() => {
                // Where paths are the same, what is not in the published part may still be that of another app.
                let (bytes, come) = if self.same_path() {
                    (0, "")
                } else {
                    moved(&self.names.inner_path, &self.names.outer_path, path)?
                };
                Some(self.swap(scheme, &self.public.text, bytes, come))
            }
            _ => None,
        }
    }

    fn swap(&self, scheme: Option<UrlScheme>, authority: &str, bytes: usize, path: &str) -> Swap {
        let prefix = scheme.map_or("//", |scheme| scheme.prefix_at(self.public.scheme));
        Swap {
            bytes,
            with: format!("{prefix}{authority}{path}"),
        }
    }

    /// Whether the authority is one of this part's own.
    fn fit(&self, scheme: Option<UrlScheme>, authority: &Authority) -> Option<Fit> {
        if *authority == self.public.authority && self.host_is_public() {
            return Some(Fit::Exact);
        }
        self.names.fit(scheme.map(UrlScheme::security), authority)
    }

    /// Whether the URL is one of another site than the app's own, by whichever of its names.
    pub(super) fn leads_elsewhere(&self, url: &[u8]) -> bool {
        match Reference::parse(url) {
            Some(Reference::Absolute {
                scheme, authority, ..
            }) => authority != self.public.authority && self.fit(scheme, &authority).is_none(),
            Some(Reference::Path { .. }) | None => false,
        }
    }

    fn host_is_public(&self) -> bool {
        self.names.host_sent(&self.origin).is_none()
    }

    fn best_link(
        &self,
        scheme: Option<UrlScheme>,
        authority: &Authority,
        path: &[u8],
    ) -> Option<(Rank, &Link)> {
        let ranked = |link: &Link| {
            let fit = match scheme {
                Some(scheme) if scheme.security() != link.origin.scheme => Fit::AnyScheme,
                Some(_) | None => Fit::Exact,
            };
            Rank {
                fit,
                path_bytes: link.inner_path.as_str().len(),
                own: false,
            }
        };
        self.names
            .links
            .inside(authority)
            .filter(|link| moved(&link.inner_path, &link.outer_path, path).is_some())
            .map(|link| (ranked(link), link))
            .max_by(|one, other| one.0.cmp(&other.0))
    }

    /// The authority of another app, as one reaches it from here.
    fn beside(&self, link: &Link) -> String {
        Authority {
            host: link.host.to_string(),
            port: self.public.authority.port,
        }
        .text()
    }

    /// What an origin calls the site that it speaks of, such as in `Access-Control-Allow-Origin`, becomes this for users.
    pub(super) fn outward_origin(&self, origin: &[u8]) -> Option<String> {
        let (scheme, authority) = bare_origin(origin)?;
        let prefix = scheme.prefix_at(self.public.scheme);
        let own = self.fit(Some(scheme), &authority);
        if own == Some(Fit::Exact) {
            return Some(format!("{prefix}{}", self.public.text));
        }
        let exact = |link: &&Link| own.is_none() || link.origin.scheme == scheme.security();
        match self.names.links.inside(&authority).find(exact) {
            Some(link) => Some(format!("{prefix}{}", self.beside(link))),
            None => own.map(|_| format!("{prefix}{}", self.public.text)),
        }
    }

    /// What a user's browser calls the site that it speaks for (`Origin`) becomes this for the origin.
    pub(super) fn inward_origin(&self, origin: &[u8]) -> Option<String> {
        let (scheme, authority) = bare_origin(origin)?;
        if !self.is_as_safe(scheme) {
            return None;
        }
        if authority == self.public.authority {
            let host = self.names.host_sent(&self.origin)?;
            return Some(base(&self.origin, &host));
        }
        let link = self.linked(&authority).next()?;
        Some(base(&link.origin, &link.origin.authority()))
    }

    /// Whether a page under this scheme may speak for the public site: anybody on the way can write a plain one.
    fn is_as_safe(&self, scheme: UrlScheme) -> bool {
        scheme.security() == self.public.scheme
    }

    fn linked(&self, authority: &Authority) -> impl Iterator<Item = &Link> {
        let here = authority.port == self.public.authority.port;
        self.names
            .links
            .published(&authority.host)
            .filter(move |_| here)
    }

    /// What a user's URL becomes for the origin; `None`: it stays. What is not certainly in a published part stays.
    pub fn inward(&self, url: &[u8]) -> Option<Swap> {
        match Reference::parse(url)? {
            Reference::Path { path_end } if !self.same_path() => self.moved_in(&url[..path_end]),
            Reference::Absolute {
                scheme: Some(scheme @ UrlScheme::Http(_)),
                authority,
                path_start,
                path_end,
            } if self.is_as_safe(scheme) => {
                let path = &url[path_start..path_end];
                let mut swap = self.inward_absolute(&authority, path)?;
                swap.bytes += path_start;
                (url.get(..swap.bytes) != Some(swap.with.as_bytes())).then_some(swap)
            }
            Reference::Path { .. } | Reference::Absolute { .. } => None,
        }
    }

    fn inward_absolute(&self, authority: &Authority, path: &[u8]) -> Option<Swap> {
        let below = if path.is_empty() { b"/" } else { path };
        let own = *authority == self.public.authority;
        if own && led_in(&self.names.outer_path, &self.names.inner_path, below).is_some() {
            let (bytes, come) = moved(&self.names.outer_path, &self.names.inner_path, path)?;
            let with = match self.names.host_sent(&self.origin) {
                Some(host) => base(&self.origin, &host) + come,
                None if self.same_path() => return None,
                None => format!(
                    "{}://{}{come}",
                    self.public.scheme.as_str(),
                    self.public.text
                ),
            };
            return Some(Swap { bytes, with });
        }
        let link = self
            .linked(authority)
            .filter(|link| led_in(&link.outer_path, &link.inner_path, below).is_some())
            .max_by_key(|link| link.outer_path.as_str().len())?;
        let (bytes, come) = moved(&link.outer_path, &link.inner_path, path)?;
        Some(Swap {
            bytes,
            with: base(&link.origin, &link.origin.authority()) + come,
        })
    }

    /// Whether a cookie for `domain` is one for an inner name of this part.
    pub(super) fn is_inner_domain(&self, domain: &str) -> bool {
        let origins = self.names.origins.iter().map(|origin| &origin.authority);
        origins
            .chain(&self.names.named)
            .any(|authority| domain_holds(domain, &authority.host))
    }
}

/// As [`moved`], for a path that stays below the inner prefix however its origin reads it.
fn led_in<'a>(outer: &PathPrefix, inner: &'a PathPrefix, path: &[u8]) -> Option<(usize, &'a str)> {
    let (bytes, with) = moved(outer, inner, path)?;
    let rest = std::str::from_utf8(&path[bytes..]).ok()?;
    let led = format!("{with}{rest}");
    let stays = inner.holds(&led) && path::reads_one_way(&led, std::iter::once(inner));
    stays.then_some((bytes, with))
}

/// Whether browsers take what is left of a path for the name of another host: they leave out tabs and line breaks, and read
/// backslashes as slashes (WHATWG URL, section 4.4).
fn names_a_host(path: &[u8]) -> bool {
    let mut read = path
        .iter()
        .filter(|byte| !matches!(byte, b'\t' | b'\n' | b'\r'));
    let mut slash = || matches!(read.next(), Some(b'/' | b'\\'));
    slash() && slash()
}

/// An origin's URL without a path, where it goes by the name of `authority`.
fn base(origin: &OriginUrl, authority: &str) -> String {
    format!("{}://{authority}", origin.scheme.as_str())
}

/// Whether a cookie for `domain` is sent to `host` (RFC 6265, section 5.1.3).
pub(super) fn domain_holds(domain: &str, host: &str) -> bool {
    let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    host == domain
        || (!is_address
            && host
                .strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.')))
}

/// `scheme://authority` and nothing else.
fn bare_origin(origin: &[u8]) -> Option<(UrlScheme, Authority)> {
    match Reference::parse(origin)? {
        Reference::Absolute {
            scheme: Some(scheme),
            authority,
            path_start,
            ..
        } if path_start == origin.len() => Some((scheme, authority)),
        Reference::Absolute { .. } | Reference::Path { .. } => None,
    }
}
