//! The hot path of a small request without its I/O, a given number of times: what `loadtest/instructions` counts.
//!
//! Each step is a function of its own that is never inlined, so that it has a name in the counts. Where a crate keeps a step to
//! itself, its file is compiled in here (what the edge does to fields, ids and authorities), or the step is written again by the
//! same means (the heads). hyper, TLS and QUIC are not in it.
//!
//! Without a number it runs once, as a test of itself.

#[path = "../../edge/src/authority.rs"]
#[expect(dead_code, reason = "the edge uses more of it")]
mod authority;
#[path = "../../edge/src/cookies.rs"]
#[expect(dead_code, reason = "the edge uses more of it")]
mod cookies;
#[path = "../../edge/src/fields.rs"]
#[expect(dead_code, reason = "the edge uses more of it")]
mod fields;
#[path = "../../edge/src/id.rs"]
#[cfg_attr(test, expect(unused_imports, reason = "it has tests of its own"))]
mod id;

use std::{
    hint::black_box,
    num::NonZeroU32,
    sync::{Arc, LazyLock},
    time::Duration,
};

use authority::{Authority, PublicPort};
use bytes::Bytes;
use fields::{Provenance, Told};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
    uri::{self, PathAndQuery},
};
use id::RequestId;
use model::{
    access::{self, Caller, Permit, ruleset::RuleSet},
    app::{Access, App, Origin, Scheme, Translation},
    balance::{self, AgentLoad, Draw, Outcome},
    path,
    route::{Route, RouteTable},
    translate::{Links, Names, Public, Site, answer_field, request_field},
};
use proto::tunnel::{End, Peer, RequestFlags, RequestHead, ResponseHead, Timings};
use tunnel::{
    Frame,
    frame::{Chunks, Decoder, Direction},
};

/// Apps that the edge has.
const APPS: usize = 10_000;
/// Agents in the app's group.
const AGENTS: u32 = 16;
/// Bytes of the answer's body.
const BODY_BYTES: usize = 1024;
/// Long enough after the start for every agent to be warm.
const NOW: Duration = Duration::from_secs(3_600);

/// What is there before a request comes.
struct Fabric {
    routes: RouteTable,
    agents: Vec<AgentLoad>,
    names: Arc<Names>,
    origin: Origin,
    body: Bytes,
}

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok());
    let fabric = Fabric::new();
    for _ in 0..count.unwrap_or(1) {
        let response = exchange(&fabric, user_request());
        assert_eq!(black_box(response).status(), StatusCode::OK);
    }
}

/// The whole way, there and back.
#[inline(never)]
fn exchange(fabric: &Fabric, request: Request<()>) -> Response<Bytes> {
    let authority = edge_reads_authority(&request);
    let route = edge_routes(fabric, &authority, &request);
    let permit = edge_authorises(route);
    edge_picks_agent(fabric);
    let id = RequestId::random();
    let (parts, ()) = request.into_parts();
    let fields = edge_writes_fields(&parts.headers, &authority, id);
    let head = edge_makes_head(&permit, &parts, fields, &authority, id);
    let to_agent = edge_encodes(&head);
    let head = agent_decodes(to_agent);
    let (request, public) = agent_makes_request(*head);
    let site = agent_translates_request(fabric, request, public);
    let answer = agent_translates_answer(&site, origin_answer(fabric));
    let to_edge = agent_encodes(answer);
    let (head, body) = edge_decodes(to_edge);
    edge_makes_response(head, body)
}

impl Fabric {
    fn new() -> Self {
        let apps = (0..APPS).map(|number| Arc::new(app(number)));
        let agents = (0..AGENTS).map(|number| {
            let load = AgentLoad::new(Duration::ZERO, NonZeroU32::MIN);
            let latency = Duration::from_micros(u64::from(500 + number * 37 % 5_000));
            load.record(NOW, Outcome::Head(latency));
            load
        });
        let origin = Origin::new("http://wiki.internal:8080".parse().expect("a good URL"));
        let names = Names::new(
            &path::PathPrefix::root(),
            std::slice::from_ref(&origin),
            &Translation::default(),
            Arc::new(Links::default()),
        );
        Self {
            routes: RouteTable::new(apps),
            agents: agents.collect(),
            names: Arc::new(names),
            origin,
            body: Bytes::from(vec![b'x'; BODY_BYTES]),
        }
    }
}

fn app(number: usize) -> App {
    let host = format!("app-{number}.apps.example.com");
    App {
        hosts: vec![host.parse().expect("a good host")],
        ..App::new(
            format!("app-{number}").parse().expect("a good id"),
            "office".parse().expect("a good id"),
            Access::Passthrough,
        )
    }
}

/// As hyper hands over what a browser asked for.
fn user_request() -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from_static("/static/js/app.4f2a.js?v=3");
    for (name, value) in [
        ("host", "app-4711.apps.example.com"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        ("accept", "*/*"),
        ("accept-language", "en-GB,en;q=0.7,de;q=0.3"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("referer", "https://app-4711.apps.example.com/pages/start"),
        ("connection", "keep-alive"),
        (
            "cookie",
            "session=0f8fad5bd9cb469fa16570867728950e; theme=dark",
        ),
        ("sec-fetch-dest", "script"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-site", "same-origin"),
    ] {
        let value = HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
    }
    request
}

/// As hyper hands over what the origin says.
fn origin_answer(fabric: &Fabric) -> Response<Bytes> {
    let mut answer = Response::new(fabric.body.clone());
    for (name, value) in [
        ("server", "nginx"),
        ("date", "Thu, 26 Nov 2026 12:00:00 GMT"),
        ("content-type", "text/javascript; charset=utf-8"),
        ("content-length", "1024"),
        ("last-modified", "Thu, 26 Nov 2026 11:00:00 GMT"),
        ("etag", "\"6744c1a0-400\""),
        ("cache-control", "max-age=3600"),
        ("vary", "Accept-Encoding"),
    ] {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    answer
}

#[inline(never)]
fn edge_reads_authority(request: &Request<()>) -> Authority {
    authority::read(request.uri(), request.headers(), PublicPort::Listened(443)).expect("one host")
}

/// With the look for the edge's own pages that comes before.
#[inline(never)]
fn edge_routes<'a>(fabric: &'a Fabric, authority: &Authority, request: &Request<()>) -> &'a Route {
    let path = request.uri().path();
    assert!(!path::read_leniently(path).starts_with("/.adit"));
    let site = fabric.routes.site(&authority.host).expect("a known host");
    site.find(path).expect("a published path")
}

#[inline(never)]
fn edge_authorises(route: &Route) -> Permit<'_> {
    static NONE: LazyLock<RuleSet> = LazyLock::new(RuleSet::default);
    let facts = || unreachable!("the app is open to all");
    let decided = access::authorise(route.app(), Caller::Anonymous, &NONE, facts, &mut |_| {});
    decided.expect("an app for anybody")
}

#[inline(never)]
fn edge_picks_agent(fabric: &Fabric) {
    let draw = Draw {
        now: NOW,
        random: rand::random(),
    };
    let picked = balance::pick(&fabric.agents, |one| one, |_| false, draw);
    black_box(picked.expect("an agent"));
}

#[inline(never)]
fn edge_writes_fields(fields: &HeaderMap, authority: &Authority, id: RequestId) -> Bytes {
    let provenance = Provenance {
        peer: "192.0.2.7:51234".parse().expect("an address"),
        authority,
        id,
        is_hidden: false,
    };
    let told = Told {
        fields: &HeaderMap::new(),
        is_copy: &|_| false,
    };
    fields::encode_request(fields, provenance, told).expect("fields that fit")
}

/// As `edge/src/outgoing.rs` does it.
#[inline(never)]
fn edge_makes_head(
    permit: &Permit<'_>,
    parts: &http::request::Parts,
    fields: Bytes,
    authority: &Authority,
    id: RequestId,
) -> RequestHead {
    let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    RequestHead {
        request_id: id.to_bytes(),
        app: permit.app().id.to_string(),
        revision: 4711,
        method: Bytes::copy_from_slice(parts.method.as_str().as_bytes()),
        scheme: Bytes::from_static(b"https"),
        authority: Bytes::from(authority.text.clone()),
        path_and_query: Bytes::copy_from_slice(target.as_bytes()),
        http_version: 11,
        fields,
        flags: Some(RequestFlags {
            expect_continue: false,
            idempotent: true,
            attempt: 0,
        }),
        peer: Some(Peer {
            ip: Bytes::copy_from_slice(&[192, 0, 2, 7]),
            port: 51234,
            tls_version: "1.3".to_owned(),
        }),
        user_connection: Bytes::copy_from_slice(&[9; 16]),
        ..RequestHead::default()
    }
}

/// The head is kept: it may have to be sent again.
#[inline(never)]
fn edge_encodes(head: &RequestHead) -> Vec<Bytes> {
    let mut chunks = Chunks::default();
    chunks.push_request(head).expect("a head that fits");
    encode(chunks, &[Frame::End(End::default())])
}

#[inline(never)]
fn agent_decodes(chunks: Vec<Bytes>) -> Box<RequestHead> {
    let mut frames = decode(Direction::Request, chunks).into_iter();
    match frames.next() {
        Some(Frame::Request(head)) => head,
        other => panic!("{other:?} instead of REQUEST"),
    }
}

/// As `agent/src/request/head.rs` does it, for an origin of HTTP/1.1.
#[inline(never)]
fn agent_makes_request(head: RequestHead) -> (Request<()>, Public) {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(&head.method).expect("a method");
    let mut target = uri::Parts::default();
    let path = PathAndQuery::from_maybe_shared(head.path_and_query).expect("a path");
    target.path_and_query = Some(path);
    *request.uri_mut() = Uri::from_parts(target).expect("a target");
    let text = std::str::from_utf8(&head.authority).expect("an authority");
    let public = Public::new(Scheme::Https, text).expect("an authority");
    let authority = HeaderValue::from_maybe_shared(head.authority).expect("an authority");
    let mut fields = HeaderMap::with_capacity(tunnel::fields::count(&head.fields) + 4);
    fields.insert(header::HOST, authority.clone());
    tunnel::fields::decode_behind(&mut fields, head.fields).expect("good fields");
    fields.insert(header::HOST, authority);
    for name in [
        header::TE,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        header::EXPECT,
    ] {
        fields.remove(name);
    }
    *request.headers_mut() = fields;
    (request, public)
}

/// As `agent/src/translate.rs` does it.
#[inline(never)]
fn agent_translates_request(fabric: &Fabric, mut request: Request<()>, public: Public) -> Site {
    let names = Arc::clone(&fabric.names);
    let host = names.host_sent(&fabric.origin.url).map(String::from);
    let site = Site::new(names, fabric.origin.url.clone(), public);
    assert_eq!(site.inward_path(request.uri().path()), Ok(None));
    let host = host.and_then(|host| HeaderValue::from_maybe_shared(Bytes::from(host)).ok());
    request
        .headers_mut()
        .insert(header::HOST, host.expect("a host"));
    for (name, value) in request.headers_mut() {
        if let Some(changed) = request_field(&site, name.as_str(), value.as_bytes()) {
            *value = HeaderValue::from_maybe_shared(Bytes::from(changed)).expect("a good value");
        }
    }
    black_box(request);
    site
}

#[inline(never)]
fn agent_translates_answer(site: &Site, mut answer: Response<Bytes>) -> Response<Bytes> {
    for (name, value) in answer.headers_mut() {
        if let Some(changed) = answer_field(site, name.as_str(), value.as_bytes()) {
            *value = HeaderValue::from_maybe_shared(Bytes::from(changed)).expect("a good value");
        }
    }
    answer
}

/// As `agent/src/request/answer.rs` does it: one write.
#[inline(never)]
fn agent_encodes(answer: Response<Bytes>) -> Vec<Bytes> {
    let (parts, body) = answer.into_parts();
    let body_bytes = body.len() as u64;
    let head = ResponseHead {
        status: parts.status.as_u16().into(),
        fields: tunnel::fields::encode(&parts.headers).expect("fields that fit"),
        body_length: Some(body_bytes),
        ..ResponseHead::default()
    };
    let end = End {
        body_bytes,
        timings: Some(Timings {
            dial_us: 0,
            head_us: 700,
            total_us: 800,
        }),
    };
    let frames = [head.into(), Frame::Data(body), Frame::End(end)];
    encode(Chunks::default(), &frames)
}

#[inline(never)]
fn edge_decodes(chunks: Vec<Bytes>) -> (ResponseHead, Bytes) {
    let mut frames = decode(Direction::Response, chunks).into_iter();
    match (frames.next(), frames.next()) {
        (Some(Frame::Response(head)), Some(Frame::Data(body))) => (head, body),
        other => panic!("{other:?} instead of RESPONSE and DATA"),
    }
}

/// As `edge/src/respond.rs` does it.
#[inline(never)]
fn edge_makes_response(head: ResponseHead, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    let status = u16::try_from(head.status).expect("a status");
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    *response.headers_mut() = tunnel::fields::decode(head.fields).expect("good fields");
    fields::clean_response(response.headers_mut());
    if let Some(length) = head.body_length {
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

fn encode(mut chunks: Chunks, frames: &[Frame]) -> Vec<Bytes> {
    for frame in frames {
        chunks.push(frame).expect("a frame that fits");
    }
    chunks.take().collect()
}

fn decode(direction: Direction, chunks: Vec<Bytes>) -> Vec<Frame> {
    let mut decoder = Decoder::new(direction);
    let mut frames = Vec::new();
    for mut input in chunks {
        while let Some(frame) = decoder.decode(&mut input).expect("good frames") {
            frames.push(frame);
        }
    }
    assert!(decoder.is_complete(), "END came");
    frames
}
