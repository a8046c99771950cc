//! Header hygiene: what may pass from the user to the origin and back.
//!
//! Hop-by-hop fields end here (RFC 9110, section 7.6.1). Fields in which an origin trusts its proxy are removed as the user
//! sent them and set anew, so that an origin never reads a user's word as the edge's.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tunnel::fields::{Block, FieldError};

use crate::{authority::Authority, cookies, id::RequestId};

/// Fields about one connection only. `Proxy-Connection` is no standard, but old clients send it; `HTTP2-Settings` belongs to an
/// upgrade that ends here.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "transfer-encoding",
    "upgrade",
];

/// Fields that a request's head says in places of its own.
const IN_HEAD: [&str; 4] = ["content-length", "expect", "host", "te"];

/// Fields that origins believe because a proxy sets them: the user's address, the public name and scheme, the path before a
/// rewrite (which would lead around access that is scoped to a path), files to be sent, the user's certificate. CGI makes
/// `HTTP_PROXY` of `Proxy`, which programs take for their own proxy (CVE-2016-5385). And the field in which programs show the edge who they are.
const TRUSTED: [&str; 38] = [
    "adit-authorization",
    "cf-connecting-ip",
    "client-cert",
    "client-cert-chain",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "proxy",
    "proxy-client-ip",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-accel-mapping",
    "x-arr-clientcert",
    "x-client-cert",
    "x-client-ip",
    "x-client-verify",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-forwarded",
    "x-host",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-remote-addr",
    "x-original-uri",
    "x-original-url",
    "x-originating-ip",
    "x-override-url",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-request-id",
    "x-rewrite-uri",
    "x-rewrite-url",
    "x-scheme",
    "x-script-name",
    "x-sendfile-type",
    "x-url-scheme",
];

/// Every field with one of these starts is a proxy's word, whoever invented it; the first is the edge's own.
const TRUSTED_PREFIXES: [&str; 4] = ["adit-", "x-forwarded-", "ssl-client-", "x-ssl-client-"];

/// Fields that say where a message goes and where it ends.
const FRAMING: [&str; 4] = ["content-length", "host", "te", "transfer-encoding"];

/// What trailers must not say besides (RFC 9110, section 6.5.1): how the message is to be treated, who sends it, what its body
/// is. A server that merges them with the head would act on it.
const NOT_IN_TRAILERS: [&str; 16] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "range",
    "set-cookie",
    "trailer",
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the edge adds usually takes; more is made room for.
const PROVENANCE_BYTES: usize = 320;

/// What the edge itself says about a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Provenance<'a> {
    /// The user's address.
    pub peer: SocketAddr,
    /// Host, and the port where users come.
    pub authority: &'a Authority,
    /// Id of the request.
    pub id: RequestId,
    /// The origin learns nothing of this but the id.
    pub is_hidden: bool,
}

/// What the origin is told of the user, beside [`Provenance`].
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    /// In these fields.
    pub fields: &'a HeaderMap,
    /// Whether servers may take the user's own field of that name for one of them.
    pub is_copy: &'a dyn Fn(&str) -> bool,
}

/// Writes the user's fields as the tunnel carries them, and behind them what the edge says. `Host` and `Content-Length` are not
/// among them because the request's head says them in places of their own.
///
/// # Errors
/// There are too many of them, or one that could be read as another.
pub(crate) fn encode_request(
    fields: &HeaderMap,
    provenance: Provenance<'_>,
    told: Told<'_>,
) -> Result<Bytes, FieldError> {
    let named: Vec<&str> = connection_options(fields)
        .filter(|option| !is_framing(option) && !ends_here(option))
        .collect();
    let is_named = |name: &str| named.iter().any(|one| one.eq_ignore_ascii_case(name));
    let bytes = tunnel::fields::bytes_of(fields) + tunnel::fields::bytes_of(told.fields);
    let mut block = Block::with_capacity(bytes + PROVENANCE_BYTES);
    for (name, value) in fields {
        let text = name.as_str();
        if ends_here(text) || is_trusted(text) || is_named(text) || (told.is_copy)(text) {
            continue;
        }
        match *name {
            header::COOKIE => {
                if let Some(rest) = cookies::without_ours(value.as_bytes()) {
                    block.push(name, &rest)?;
                }
            }
            _ => block.push(name, value.as_bytes())?,
        }
    }
    if accepts_trailers(fields) {
        block.push(&header::TE, b"trailers")?;
    }
    for (name, value) in told.fields {
        block.push(name, value.as_bytes())?;
    }
    provenance.write(&mut block, told.fields)?;
    Ok(block.finish())
}

impl Provenance<'_> {
    /// `told` says some of it in other words, if the operator wants that.
    fn write(self, block: &mut Block, told: &HeaderMap) -> Result<(), FieldError> {
        if !self.is_hidden {
            if told.is_empty() {
                block.append(self.forwarded()?)?;
            } else {
                self.write_forwarded(block, told)?;
            }
        }
        if told.contains_key(X_REQUEST_ID) {
            return Ok(());
        }
        block.push(&X_REQUEST_ID, self.id.digits().as_str().as_bytes())
    }

    /// All but the id.
    fn forwarded(&self) -> Result<&Block, FieldError> {
        let known = &self.authority.told;
        if let Some(known) = known.get() {
            return Ok(known);
        }
        let mut block = Block::default();
        self.write_forwarded(&mut block, &HeaderMap::new())?;
        Ok(known.get_or_init(|| block))
    }

    fn write_forwarded(&self, block: &mut Block, told: &HeaderMap) -> Result<(), FieldError> {
        let mut say = |name: &HeaderName, value: &[u8]| {
            if told.contains_key(name) {
                return Ok(());
            }
            block.push(name, value)
        };
        let ip = self.peer.ip().to_canonical();
        let (address, authority) = (ip.to_string(), &*self.authority.text);
        let (opened, closed) = match ip {
            IpAddr::V4(_) => ("for=", ""),
            // Brackets are no token characters, so the value is quoted (RFC 7239, section 6).
            IpAddr::V6(_) => ("for=\"[", "]\""),
        };
        let parts = [
            opened,
            &address,
            closed,
            ";host=\"",
            authority,
            "\";proto=https",
        ];
        say(&header::FORWARDED, parts.concat().as_bytes())?;
        say(&X_FORWARDED_FOR, address.as_bytes())?;
        say(&X_FORWARDED_HOST, authority.as_bytes())?;
        if let Some(port) = other_port(authority) {
            say(&X_FORWARDED_PORT, port.as_bytes())?;
        }
        say(&X_FORWARDED_PROTO, b"https")
    }
}

/// Removes from the origin's fields what is about the connection between agent and origin, and where else the origin could
/// be asked: users cannot go there.
pub(crate) fn clean_response(fields: &mut HeaderMap) {
    remove_hop_by_hop(fields);
    cookies::strip_answer(fields);
    fields.remove(header::ALT_SVC);
}

/// Removes from trailers what must never be there (RFC 9110, section 6.5.1) or is about one connection.
pub(crate) fn clean_trailers(fields: &mut HeaderMap) {
    remove_hop_by_hop(fields);
    remove_where(fields, is_trusted);
    for name in FRAMING.iter().chain(&NOT_IN_TRAILERS) {
        fields.remove(*name);
    }
}

/// Fields that frame a message or speak of one connection: without them as they are, the message would be another one.
pub(crate) fn is_of_connection(name: &HeaderName) -> bool {
    is_hop_by_hop(name.as_str())
        || matches!(
            *name,
            header::CONTENT_LENGTH | header::HOST | header::TE | header::TRAILER
        )
}

/// Says that the answer depends on `name`, beside what it says to depend on already.
pub(crate) fn add_vary(fields: &mut HeaderMap, name: &str) {
    let values = fields.get_all(header::VARY).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    let mut named = values.iter().flat_map(|value| value.split(','));
    if named.any(|held| held.trim() == "*" || held.trim().eq_ignore_ascii_case(name)) {
        return;
    }
    let mut all = values.join(", ");
    if !all.is_empty() {
        all.push_str(", ");
    }
    all.push_str(name);
    insert_text(fields, header::VARY, &all);
}

/// Protocol that the user wants to upgrade to: `Upgrade`, if `Connection` names it (RFC 9110, section 7.8).
pub(crate) fn upgrade_token(fields: &HeaderMap) -> Option<HeaderValue> {
    let named = connection_options(fields).any(|option| option.eq_ignore_ascii_case("upgrade"));
    let mut tokens = fields.get_all(header::UPGRADE).iter();
    // Of two fields the origin might heed the other one.
    match (tokens.next(), tokens.next()) {
        (Some(token), None) if named => Some(token.clone()),
        _ => None,
    }
}

/// Whether the user waits for permission to send its body.
pub(crate) fn expects_continue(fields: &HeaderMap) -> bool {
    fields
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The port, if it is not that of https.
fn other_port(authority: &str) -> Option<&str> {
    let (_, port) = authority.rsplit_once(':')?;
    (!port.is_empty() && port != "443").then_some(port)
}

fn insert_text(fields: &mut HeaderMap, name: HeaderName, text: &str) {
    // Addresses, ids and authorities are plain ASCII by their types.
    if let Ok(value) = HeaderValue::from_str(text) {
        fields.insert(name, value);
    }
}

fn remove_hop_by_hop(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_options(fields)
        .filter(|option| !is_framing(option) && !is_hop_by_hop(option))
        .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
        .collect();
    for name in &named {
        fields.remove(name);
    }
    remove_where(fields, is_hop_by_hop);
}

/// Fields without which the message would be another one; naming them in `Connection` is an attack, not a wish.
fn is_framing(name: &str) -> bool {
    let framing = ["host", "content-length", "te", "cookie", "authorization"];
    framing.iter().any(|one| one.eq_ignore_ascii_case(name))
}

/// Whether a field of that name, in lower case, is about the user's connection, or is said elsewhere in the head.
fn ends_here(name: &str) -> bool {
    is_listed(name) && (HOP_BY_HOP.contains(&name) || IN_HEAD.contains(&name))
}

/// Whether a field of that name, in lower case, is about one connection.
fn is_hop_by_hop(name: &str) -> bool {
    is_listed(name) && HOP_BY_HOP.contains(&name)
}

/// Whether a name may be one that ends here or is trusted: nearly all are not, by their first letter and their length.
fn is_listed(name: &str) -> bool {
    let first = name.bytes().next().unwrap_or_default();
    let lengths = LENGTHS.get(usize::from(first)).copied();
    lengths.is_some_and(|lengths| name.len() < 64 && (lengths >> name.len()) & 1 == 1)
}

/// Lengths of all such names by their first letter, a bit each.
const LENGTHS: [u64; 128] = {
    let lengths = marked([0; 128], &TRUSTED);
    marked(marked(lengths, &HOP_BY_HOP), &IN_HEAD)
};

const fn marked(mut lengths: [u64; 128], names: &[&str]) -> [u64; 128] {
    let mut at = 0;
    while at < names.len() {
        let name = names[at].as_bytes();
        lengths[name[0] as usize] |= 1 << name.len();
        at += 1;
    }
    lengths
}

fn connection_options(fields: &HeaderMap) -> impl Iterator<Item = &str> {
    fields
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn accepts_trailers(fields: &HeaderMap) -> bool {
    fields
        .get_all(header::TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// Whether a field of that name, in lower case, is a proxy's word.
pub(crate) fn is_trusted(name: &str) -> bool {
    match folded(name) {
        None => is_proxys_word(name),
        // Such a spelling of a field that ends here is nobody's wish.
        Some(name) => {
            is_proxys_word(&name)
                || HOP_BY_HOP.contains(&name.as_str())
                || FRAMING.contains(&name.as_str())
        }
    }
}

fn is_proxys_word(name: &str) -> bool {
    let may_start = matches!(name.as_bytes(), [b'a' | b's' | b'x', ..]);
    (is_listed(name) && TRUSTED.contains(&name))
        || (may_start && TRUSTED_PREFIXES.iter().any(|start| name.starts_with(start)))
}

/// The name that they cannot tell from this one: they write `_` for `-`, and some for any other sign.
fn folded(name: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!name.bytes().all(plain))
        .then(|| name.replace(|char: char| !char.is_ascii_alphanumeric(), "-"))
}

fn remove_where(fields: &mut HeaderMap, unwanted: fn(&str) -> bool) {
    let names: Vec<HeaderName> = fields
        .keys()
        .filter(|name| unwanted(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        fields.remove(name);
    }
}

#[cfg(test)]
// The benchmark of the hot path compiles this file in from another folder.
#[path = "fields/tests.rs"]
mod tests;
