//! A user's request in the shape in which it goes to an agent, as often as it takes.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, request::Parts};
use hyper::{Request, ext::Protocol};
use model::{access::Permit, app, name::EdgeId, route::Route};
use proto::tunnel::{Peer, RequestFlags, RequestHead};
use runtime::{Secret, field_case};

use crate::{
    access_log::Record,
    assertion,
    failure::RequestError,
    fields::{self, Provenance, Told},
    hints::Hints,
    http3::OnTunnel,
    identity,
    listener::User,
    neighbours::Network,
    pace::{Laggard, Pace, Tempo},
    request::Visit,
    serving::Shared,
    sign_in::Arrival,
    sign_in::token,
    statement, ties,
    upgrade::Pending,
    upload::{Length, Upload},
    user_body::UserBody,
};

/// Upgrades that are no business of the app behind: they would change how the edge itself is spoken to.
const REFUSED_UPGRADES: [&str; 3] = ["h2c", "http/", "tls/"];

/// Methods whose body is one half of a channel and says a length that nobody means to reach: RPC over HTTP (MS-RPCH, section
/// 2.1.2.1.1) and Remote Desktop Gateway (MS-TSGU, section 3.3.5.1).
const CHANNELS: [&str; 2] = ["RPC_IN_DATA", "RDG_IN_DATA"];

/// One request, ready to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// First frame of the stream; its `attempt` changes, and with it the statement.
    pub head: RequestHead,
    /// What the app's agents are told of the user.
    statement: Option<statement::Draft>,
    /// The user's method.
    pub method: Method,
    /// The user's version of HTTP.
    pub version: Version,
    /// The body, if there is one.
    pub upload: Option<Upload>,
    /// The wish to speak another protocol.
    pub upgrade: Option<Upgrade>,
    /// Where heads before the final one go, if the user can be sent them.
    pub hints: Option<Hints>,
    /// It signs a connection to its origin on.
    pub signs_on: bool,
}

/// What becomes of the user's connection if the origin agrees.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// How the user asked, which says how it is answered.
    pub form: UpgradeForm,
    /// Name of the other protocol.
    pub token: HeaderValue,
    /// The connection, once the answer's head is out.
    pub connection: Pending,
}

/// How a user asks for another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpgradeForm {
    /// `Upgrade` of HTTP/1.1, answered 101.
    Upgrade,
    /// CONNECT of later versions (RFC 8441, RFC 9220), answered 200.
    Connect,
}

impl UpgradeForm {
    /// Whether `status` says that the other protocol begins.
    pub(crate) fn is_granted_by(self, status: StatusCode) -> bool {
        match self {
            Self::Upgrade => status == StatusCode::SWITCHING_PROTOCOLS,
            Self::Connect => status.is_success(),
        }
    }
}

impl Outgoing {
    /// Cleans `request` and encodes it. The permit is what allows it to leave the edge.
    pub(crate) fn new(
        permit: &Permit<'_>,
        route: &Route,
        arrival: &Arrival<'_>,
        (edge, user): (&EdgeId, &User),
        mut request: Request<UserBody>,
        record: &Record,
    ) -> Result<Self, RequestError> {
        let authority = arrival.authority;
        let statement = statement::draft(permit, arrival, (edge, record.id()))?;
        let upgrade = take_upgrade(&mut request);
        let (mut parts, body) = request.into_parts();
        let mut field_names = if permit.app().keep_field_case && parts.version <= Version::HTTP_11 {
            field_case::names(&parts.headers, &parts.extensions)
        } else {
            Vec::new()
        };
        let length = Length::of(&body, &parts.headers);
        let expect_continue = length != Length::NoBody && fields::expects_continue(&parts.headers);
        let provenance = Provenance {
            peer: user.address,
            authority,
            id: record.id(),
            is_hidden: permit.app().hide_forwarded,
        };
        // Before what it goes by is removed as well.
        token::strip(permit.app(), &mut parts.headers);
        let mut told = HeaderMap::new();
        identity::apply(permit, route.segment(), arrival, &mut told);
        assertion::apply(permit, arrival, &mut told)?;
        let told = Told {
            fields: &told,
            is_copy: &|name| identity::is_of(permit.app(), name),
        };
        let encoded = fields::encode_request(&parts.headers, provenance, told);
        let encoded = encoded.map_err(RequestError::Fields)?;
        let signs_on = ties::signs_on(&parts.headers);
        // What the edge says, it also spells.
        let own = |name: &Bytes| {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            fields::is_trusted(&name) || identity::is_of(permit.app(), &name)
        };
        field_names.retain(|name| !own(name));
        let mut head = RequestHead {
            request_id: record.id().to_bytes(),
            app: permit.app().id.to_string(),
            segment: route
                .segment()
                .map(|segment| segment.id.to_string())
                .unwrap_or_default(),
            main_shares_host: main_shares_host(route, arrival),
            revision: arrival.view.revision(),
            authority: Bytes::from(authority.text.clone()),
            field_names: field_case::fitting(field_names, encoded.len()),
            fields: encoded,
            flags: Some(RequestFlags {
                expect_continue,
                idempotent: is_idempotent(&parts.method),
                attempt: 0,
            }),
            upgrade: upgrade
                .as_ref()
                .map(|upgrade| Bytes::copy_from_slice(upgrade.token.as_bytes()))
                .unwrap_or_default(),
            peer: Some(peer(user)),
            user_connection: user.ties.id().clone(),
            ..request_line(&parts)
        };
        match length {
            Length::NoBody => {}
            Length::Known(bytes) => head.body_length = Some(bytes),
            Length::Streamed => head.body_streamed = true,
        }
        let mut upload =
            (length != Length::NoBody).then(|| Upload::new(body, record.traffic.clone()));
        if identity::is_told(permit.app())
            && let Some(upload) = &mut upload
        {
            upload.drop_trailers();
        }
        Ok(Self {
            head,
            statement,
            method: parts.method,
            version: parts.version,
            upload,
            upgrade,
            hints: parts.extensions.remove(),
            signs_on,
        })
    }

    /// Holds the body to what the edge and the app ask of it.
    pub(crate) fn bound_body(
        &mut self,
        visit: &Visit,
        app: &app::Limits,
        network: Network,
    ) -> Result<(), RequestError> {
        let too_long = |max| self.head.body_length.is_some_and(|length| length > max);
        if app.body_bytes.is_some_and(too_long) {
            return Err(RequestError::BodyTooLong);
        }
        let tempo = Tempo {
            second_per_bytes: app.body_pace.unwrap_or(app::Limits::BODY_PACE),
            grace: visit.user.limits.body_grace,
        };
        let laggard = if self.may_rest() {
            Laggard::Counted {
                all: Arc::clone(&visit.worker.edge.resting),
                network,
            }
        } else {
            Laggard::GivenUp
        };
        if let Some(upload) = &mut self.upload {
            upload.bound(Pace::of(tempo, laggard), app.body_bytes);
        }
        Ok(())
    }

    /// Whether the body may come whenever the user has something to say: calls of gRPC, streams of pages, halves of a channel.
    fn may_rest(&self) -> bool {
        self.head.body_streamed
            || CHANNELS
                .iter()
                .any(|channel| self.method.as_str() == *channel)
    }

    /// Whether sending it twice does no more than sending it once (RFC 9110, section 9.2.2).
    pub(crate) fn is_idempotent(&self) -> bool {
        self.head.flags.is_some_and(|flags| flags.idempotent)
    }

    /// Whether the user waits for permission to send its body.
    pub(crate) fn expects_continue(&self) -> bool {
        self.head.flags.is_some_and(|flags| flags.expect_continue)
    }

    /// Shows the app's agents the user's ID token, if they ask for it.
    pub(crate) fn show(&mut self, id_token: Option<Secret<String>>) {
        self.head.id_token = id_token
            .map(|token| Bytes::from(token.into_exposed()))
            .unwrap_or_default();
    }

    /// States who the user is, for the attempt that comes next.
    pub(crate) fn state(&mut self, edge: &Shared) -> Result<(), RequestError> {
        let Some(statement) = &mut self.statement else {
            return Ok(());
        };
        let view = edge.views.current().ok_or(RequestError::NoView)?;
        let now = edge.epoch.clock().wall();
        statement.sign(&mut self.head, view.assertion_keys(), now)
    }

    /// Makes it ready to be sent again.
    pub(crate) fn begin_again(&mut self) {
        if let Some(flags) = &mut self.head.flags {
            flags.attempt += 1;
        }
        if let Some(upload) = &mut self.upload {
            upload.begin_again();
        }
    }
}

/// Of a segment; nobody asks it of the main part.
fn main_shares_host(route: &Route, arrival: &Arrival<'_>) -> bool {
    let has_main = || {
        let site = arrival.view.site(&arrival.authority.host);
        site.is_some_and(|site| site.has_main_of(route.app()))
    };
    route.segment().is_some() && has_main()
}

fn request_line(parts: &Parts) -> RequestHead {
    let target = parts.uri.path_and_query();
    RequestHead {
        method: method(&parts.method),
        scheme: Bytes::from_static(b"https"),
        path_and_query: target.map_or(Bytes::from_static(b"/"), |target| {
            Bytes::copy_from_slice(target.as_str().as_bytes())
        }),
        http_version: match parts.version {
            Version::HTTP_10 => 10,
            Version::HTTP_2 => 20,
            Version::HTTP_3 => 30,
            _ => 11,
        },
        ..RequestHead::default()
    }
}

/// Its name; those of nearly all requests need no copy.
fn method(method: &Method) -> Bytes {
    match *method {
        Method::GET => Bytes::from_static(b"GET"),
        Method::HEAD => Bytes::from_static(b"HEAD"),
        Method::POST => Bytes::from_static(b"POST"),
        Method::PUT => Bytes::from_static(b"PUT"),
        _ => Bytes::copy_from_slice(method.as_str().as_bytes()),
    }
}

fn peer(user: &User) -> Peer {
    Peer {
        ip: match user.address.ip().to_canonical() {
            IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
        },
        port: user.address.port().into(),
        tls_version: user.tls_version.to_owned(),
    }
}

/// Protocol that an extended CONNECT asks for (RFC 8441, section 4).
pub(crate) fn connect_protocol<B>(request: &Request<B>) -> Option<&str> {
    request.extensions().get().map(Protocol::as_str)
}

fn take_upgrade(request: &mut Request<UserBody>) -> Option<Upgrade> {
    if *request.method() == Method::CONNECT {
        return take_connect(request);
    }
    // HTTP/2 has no Upgrade; HTTP/1.0 must not use it; one with a body would leave it unclear where the body ends.
    if request.version() != Version::HTTP_11 || !http_body::Body::is_end_stream(request.body()) {
        return None;
    }
    let token = fields::upgrade_token(request.headers())?;
    let lower = token.to_str().ok()?.to_ascii_lowercase();
    if REFUSED_UPGRADES
        .iter()
        .any(|refused| lower.split(',').any(|one| one.trim().starts_with(refused)))
    {
        return None;
    }
    Some(Upgrade {
        form: UpgradeForm::Upgrade,
        token,
        connection: Pending::Hyper(hyper::upgrade::on(request)),
    })
}

fn take_connect(request: &mut Request<UserBody>) -> Option<Upgrade> {
    let token = HeaderValue::from_str(connect_protocol(request)?).ok()?;
    // What follows the head is the tunnel, whatever length is said.
    request.headers_mut().remove(header::CONTENT_LENGTH);
    Some(Upgrade {
        form: UpgradeForm::Connect,
        token,
        connection: match request.extensions_mut().remove::<OnTunnel>() {
            Some(tunnel) => Pending::Http3(tunnel.take()?),
            None => Pending::Hyper(hyper::upgrade::on(request)),
        },
    })
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    ) || *method == Method::CONNECT // a handshake, which is a GET at the origin
}
