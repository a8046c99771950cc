//! An app: one publication, and the two halves of it that leave control.

use std::time::Duration;

use crate::{
    host::HostPattern,
    identity_provider::LOCAL,
    name::{AppId, ClientCaId, GroupId, IdentityProviderId, SegmentId},
    path::PathPrefix,
};

mod answers;
mod assignment;
mod cors;
mod identity;
mod limits;
mod origin;
mod session_cookie;
mod sso;
mod tile;
mod translation;

pub use answers::{AnswerRules, Hsts, Maintenance, Robots};
pub use assignment::{
    ASSIGNED_GROUPS_MAX, ASSIGNED_PROGRAMS_MAX, ASSIGNED_SERVICES_MAX, ASSIGNED_USERS_MAX,
    Assignment,
};
pub use cors::CorsRule;
pub use identity::{
    ASSERTION_FIELD, CertificatePart, IDENTITY_CHANGES_MAX, IDENTITY_DETAIL_BYTES_MAX,
    IDENTITY_FIELDS_MAX, IDENTITY_FIELDS_TOTAL_MAX, IDENTITY_PREFIX_BYTES_MAX, IdentityChange,
    IdentityField, IdentityValue, is_like,
};
pub use limits::{Limits, Rate};
pub use origin::{
    HealthCheck, Origin, OriginHost, OriginProtocol, OriginTls, OriginUrl, OriginUrlError, Scheme,
    SocketPath,
};
pub use session_cookie::{SameSite, SessionCookie};
pub use sso::{
    BasicSso, Charset, CredentialOf, EdgeSso, Expired, FORM_FIELDS_MAX, FORM_PATH_BYTES_MAX,
    FORM_STATUSES_MAX, FORM_TEXT_BYTES_MAX, FormSso, Framing, KerberosSso, NameForm,
    SSO_NAME_BYTES_MAX, SendWhen, SpnError, SpnPattern, Sso, SsoIdentity, Success, UPN_CLAIM,
    USER_COOKIES_MAX,
};
pub use tile::{Listing, Tile};
pub use translation::{HostSent, Translation};

/// Hosts of one app, at most.
pub const HOSTS_MAX: usize = 16;
/// Origins of one app or segment, at most.
pub const ORIGINS_MAX: usize = 8;
/// Segments of one app, at most.
pub const SEGMENTS_MAX: usize = 32;
/// Characters of a display name, at most.
pub const DISPLAY_NAME_CHARS_MAX: usize = 120;
/// Identity providers that one app may name: all, and the fabric's own accounts.
pub const APP_PROVIDERS_MAX: usize = crate::identity_provider::IDENTITY_PROVIDERS_MAX + 1;
/// Audiences, and scopes, that an app may ask of the access tokens of identity providers.
pub const TOKEN_WORDS_MAX: usize = 8;
/// Bytes of one of them, at most.
pub const TOKEN_WORD_BYTES_MAX: usize = 256;
/// Bytes of an origin's own CA certificates, at most.
pub const CA_PEM_BYTES_MAX: usize = 64 * 1024;

/// What an operator published: the whole of an app, as control keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The half that edges get.
    pub app: App,
    /// The half that the group's agents get.
    pub inside: Inside,
}

/// What only the agents of the app's group learn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inside {
    /// Private servers of the main part.
    pub origins: Vec<Origin>,
    /// The other half of each segment, in the order of [`App::segments`].
    pub segments: Vec<InsideSegment>,
    /// How inner names and public ones are turned into one another.
    pub translation: Translation,
    /// HTTP proxy towards the origins; a plain one at a name or address.
    pub proxy: Option<OriginUrl>,
    /// How agents look after the origins by themselves.
    pub health_check: Option<HealthCheck>,
    /// How agents sign users on to the app; [`App::sso`] is the other half.
    pub sso: Option<Sso>,
}

/// What only agents learn of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InsideSegment {
    /// Its private servers, 1 to [`ORIGINS_MAX`].
    pub origins: Vec<Origin>,
    /// What stands for its published path at its origins; `None`: the same. The app's own is of the main part alone.
    pub inner_path: Option<PathPrefix>,
}

impl Publication {
    /// The half that the group's agents get.
    pub fn agent_app(&self) -> AgentApp {
        let segments = self.app.segments.iter().zip(&self.inside.segments);
        AgentApp {
            id: self.app.id.clone(),
            path: self.app.path.clone(),
            origins: self.inside.origins.clone(),
            segments: segments
                .map(|(segment, inside)| AgentSegment {
                    id: segment.id.clone(),
                    path: segment.path.clone(),
                    inner_path: inside.inner_path.clone(),
                    origins: inside.origins.clone(),
                })
                .collect(),
            timeouts: self.app.timeouts,
            translation: self.inside.translation.clone(),
            proxy: self.inside.proxy.clone(),
            health_check: self.inside.health_check.clone(),
            keep_field_case: self.app.keep_field_case,
            sso: self.inside.sso.clone(),
        }
    }
}

/// An app as the agents of its group see it: where it lives, not under which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentApp {
    /// Its id.
    pub id: AppId,
    /// The published path of its main part.
    pub path: PathPrefix,
    /// Private servers of its main part, at most [`ORIGINS_MAX`]; none if it has segments only.
    pub origins: Vec<Origin>,
    /// Its other sites, at most [`SEGMENTS_MAX`].
    pub segments: Vec<AgentSegment>,
    /// How long each stage may take.
    pub timeouts: Timeouts,
    /// How inner names and public ones are turned into one another.
    pub translation: Translation,
    /// HTTP proxy towards the origins.
    pub proxy: Option<OriginUrl>,
    /// How the origins are looked after besides the requests they get.
    pub health_check: Option<HealthCheck>,
    /// Names of fields keep their case, where both sides speak HTTP/1.1.
    pub keep_field_case: bool,
    /// How users are signed on to it.
    pub sso: Option<Sso>,
}

impl AgentApp {
    /// An app with these origins, and every other setting at its default.
    pub fn new(id: AppId, origins: Vec<Origin>) -> Self {
        Self {
            id,
            path: PathPrefix::root(),
            origins,
            segments: Vec::new(),
            timeouts: Timeouts::default(),
            translation: Translation::default(),
            proxy: None,
            health_check: None,
            keep_field_case: false,
            sso: None,
        }
    }
}

/// A segment as agents see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSegment {
    /// Its id within the app.
    pub id: SegmentId,
    /// Its published path.
    pub path: PathPrefix,
    /// What stands for that path at its origins; `None`: the same.
    pub inner_path: Option<PathPrefix>,
    /// Its private servers, 1 to [`ORIGINS_MAX`].
    pub origins: Vec<Origin>,
}

/// An app as an edge sees it: where users find it and who serves it, not where it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// Public names of its main part, at most [`HOSTS_MAX`]; none if it has segments only.
    pub hosts: Vec<HostPattern>,
    /// Published part of those hosts.
    pub path: PathPrefix,
    /// Its other sites, at most [`SEGMENTS_MAX`].
    pub segments: Vec<Segment>,
    /// Agents that reach its origins.
    pub group: GroupId,
    /// How callers are admitted.
    pub access: Access,
    /// How long each stage may take.
    pub timeouts: Timeouts,
    /// How much it takes.
    pub limits: Limits,
    /// Fields of answers that the edge sets or removes.
    pub answer_rules: AnswerRules,
    /// Which other sites' pages may use its main part, the longest path first.
    pub cors: Vec<CorsRule>,
    /// Set: everybody gets a page instead.
    pub maintenance: Option<Maintenance>,
    /// Where a portal leads; none: the app's path.
    pub home_path: Option<String>,
    /// Origins do not learn where a request came from.
    pub hide_forwarded: bool,
    /// What origins are told of the user, at most [`IDENTITY_FIELDS_MAX`]; nothing unless users sign in.
    pub identity_fields: Vec<IdentityField>,
    /// Who must have said who the user is, at most [`APP_PROVIDERS_MAX`]; empty: anybody who may.
    pub identity_providers: Vec<IdentityProviderId>,
    /// Whom access tokens of identity providers must be for, at most [`TOKEN_WORDS_MAX`]; empty: none of them counts.
    pub token_audiences: Vec<String>,
    /// Scopes that they must have, all of them, at most [`TOKEN_WORDS_MAX`].
    pub token_scopes: Vec<String>,
    /// CAs whose certificates are asked for and count, at most [`APP_CLIENT_CAS_MAX`](crate::client_ca::APP_CLIENT_CAS_MAX); none unless
    /// users sign in.
    pub client_cas: Vec<ClientCaId>,
    /// Name, in lower case, of the field in which origins get a signed statement of who the user is; none unless users sign in.
    pub assertion_field: Option<String>,
    /// What agents are told of the user so that they sign them on; none unless users sign in.
    pub sso: Option<EdgeSso>,
    /// How browsers keep the session, if users sign in.
    pub session_cookie: SessionCookie,
    /// Forms that pages of other sites post are kept over a sign-in, too, and then sent to the app.
    pub cross_site_posts: bool,
    /// Names of fields keep their case, where both sides speak HTTP/1.1.
    pub keep_field_case: bool,
    /// What people see; may be empty.
    pub display_name: String,
    /// How it appears in the portal.
    pub tile: Tile,
}

impl App {
    /// Whether the app takes the word of that provider, `None` being the fabric itself.
    pub fn takes_word_of(&self, provider: Option<&IdentityProviderId>) -> bool {
        let provider = provider.map_or(LOCAL, IdentityProviderId::as_str);
        let mut named = self.identity_providers.iter();
        self.identity_providers.is_empty() || named.any(|named| named.as_str() == provider)
    }

    /// Whether its agents are shown ID tokens of its users.
    pub fn asks_for_id_token(&self) -> bool {
        self.sso.as_ref().is_some_and(|sso| sso.require_id_token)
    }

    /// What origins of a part are told of the user: the segment's own fields, and those of the app that it has none like.
    pub fn identity_fields_of<'a>(
        &'a self,
        segment: Option<&'a Segment>,
    ) -> impl Iterator<Item = &'a IdentityField> {
        let own = segment.map_or(&[][..], |segment| &segment.identity_fields);
        let is_own =
            |field: &&IdentityField| !own.iter().any(|own| is_like(&own.name, &field.name));
        self.identity_fields.iter().filter(is_own).chain(own)
    }

    /// Names of all fields in which origins of any part are told of the user.
    pub fn identity_names(&self) -> impl Iterator<Item = &str> {
        let segments = self.segments.iter();
        let own = segments.flat_map(|segment| &segment.identity_fields);
        let fields = self.identity_fields.iter().chain(own);
        let fields = fields.map(|field| field.name.as_str());
        fields.chain(self.assertion_field.as_deref())
    }

    /// Longest home path, with its query.
    pub const HOME_PATH_BYTES_MAX: usize = 2048;

    /// An app with nothing but what it must have: every other setting has its default, and no host leads to it yet.
    pub fn new(id: AppId, group: GroupId, access: Access) -> Self {
        Self {
            id,
            hosts: Vec::new(),
            path: PathPrefix::root(),
            segments: Vec::new(),
            group,
            access,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            answer_rules: AnswerRules::default(),
            cors: Vec::new(),
            maintenance: None,
            home_path: None,
            hide_forwarded: false,
            identity_fields: Vec::new(),
            identity_providers: Vec::new(),
            token_audiences: Vec::new(),
            token_scopes: Vec::new(),
            client_cas: Vec::new(),
            assertion_field: None,
            sso: None,
            session_cookie: SessionCookie::default(),
            cross_site_posts: false,
            keep_field_case: false,
            display_name: String::new(),
            tile: Tile::default(),
        }
    }
}

/// One of several sites of an app, as edges see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its id within the app.
    pub id: SegmentId,
    /// Public names, 1 to [`HOSTS_MAX`].
    pub hosts: Vec<HostPattern>,
    /// Published part of those hosts.
    pub path: PathPrefix,
    /// Which other sites' pages may use it, the longest path first.
    pub cors: Vec<CorsRule>,
    /// What its origins are told of the user besides what the app says, or instead of it where the names are alike; at most
    /// [`IDENTITY_FIELDS_MAX`].
    pub identity_fields: Vec<IdentityField>,
}

/// How callers are admitted before anything reaches the private network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// The fabric asks for nothing; the origin authenticates its users itself.
    Passthrough,
    /// Users sign in first, and must be assigned.
    SignIn(Assignment),
}

/// How long each stage of a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Agent to origin, TCP and TLS together.
    pub connect: Duration,
    /// From the whole request sent to the response's head.
    pub response: Duration,
    /// Silence in both directions of a body or an upgraded connection.
    pub idle: Duration,
    /// From the request's head to the end of the answer; none: as long as it takes.
    pub total: Option<Duration>,
}

impl Timeouts {
    /// Shortest and longest connect time-out.
    pub const CONNECT_RANGE: (Duration, Duration) =
        (Duration::from_millis(100), Duration::from_secs(300));
    /// Shortest and longest response time-out.
    pub const RESPONSE_RANGE: (Duration, Duration) =
        (Duration::from_millis(100), Duration::from_secs(86_400));
    /// Shortest and longest idle time-out.
    pub const IDLE_RANGE: (Duration, Duration) =
        (Duration::from_secs(1), Duration::from_secs(86_400));
    /// Shortest and longest total time-out.
    pub const TOTAL_RANGE: (Duration, Duration) =
        (Duration::from_secs(1), Duration::from_secs(86_400));
}

impl Default for Timeouts {
    /// 10 s to connect: three SYNs of Linux (1 + 2 + 4 s) and some. 85 s to answer: what cloud application proxies
    /// give, so apps moved here keep working. 5 min of silence: longer than the heartbeats of common WebSocket stacks.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            response: Duration::from_secs(85),
            idle: Duration::from_secs(300),
            total: None,
        }
    }
}
