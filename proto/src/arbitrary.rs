//! Publications for property tests, with every setting that they may have.

use std::{cmp::Reverse, collections::BTreeSet, fmt::Debug, str::FromStr, time::Duration};

use model::{
    app::{
        Access, App, Assignment, CertificatePart, DISPLAY_NAME_CHARS_MAX, Framing, HealthCheck,
        HostSent, IdentityChange, IdentityField, IdentityValue, Inside, InsideSegment, KerberosSso,
        Limits, Listing, NameForm, Origin, Publication, Rate, SameSite, Segment, SendWhen,
        SessionCookie, Sso, SsoIdentity, Tile, Timeouts, Translation,
    },
    host::{HostPattern, Hostname},
    path::PathPrefix,
    settings::EdgeLimits,
};
use proptest::{collection, option, prelude::*};

mod answers;
mod kept;
mod origins;

const ID: &str = "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?";
const HOST: &str = "[a-z][a-z0-9]{0,8}(\\.[a-z]([a-z0-9-]{0,4}[a-z0-9])?){1,3}";
const PATH: &str = "/|(/[a-zA-Z0-9_~-]{1,6}){1,3}";
/// Hosts of one site; more only cost time.
const HOSTS: usize = 4;
/// Segments of one app; more only cost time.
const SEGMENTS: usize = 3;

/// Any publication that operators may make.
pub(crate) fn publication() -> impl Strategy<Value = Publication> {
    let display_name = collection::vec(
        any::<char>().prop_filter("printable", |char| !char.is_control()),
        0..=DISPLAY_NAME_CHARS_MAX,
    );
    let sso = option::of(sso());
    (
        sites(),
        settings(),
        inside(),
        display_name,
        any::<bool>(),
        sso,
    )
        .prop_map(|(sites, app, inside, display_name, has_home, sso)| {
            let (main, segments) = sites.split_first().expect("there is a main site");
            let mut app = App {
                hosts: main.hosts.clone(),
                path: main.path.clone(),
                cors: main.cors.clone(),
                segments: segments.iter().map(Site::segment).collect(),
                display_name: display_name.into_iter().collect(),
                ..app
            };
            let hidden = |site: &Site| InsideSegment {
                origins: site.origins.clone(),
                inner_path: site.inner_path.clone(),
            };
            app.home_path = sites
                .iter()
                .find_map(|site| site.home_path())
                .filter(|_| has_home);
            let has_form = |sso: &Sso| matches!(sso, Sso::Form(_));
            let mut sso = sso.filter(|sso| {
                let is_possible = !main.origins.is_empty() || !has_form(sso);
                is_possible && matches!(app.access, Access::SignIn(_))
            });
            if let Some(Sso::Kerberos(kerberos)) = &mut sso {
                // Of an app that takes several, one must be said.
                let admitted = app.identity_providers.first().cloned();
                kerberos.provider = admitted.or_else(|| "entra".parse().ok());
            }
            app.sso = sso.as_ref().map(Sso::edge);
            Publication {
                app,
                inside: Inside {
                    sso,
                    origins: main.origins.clone(),
                    segments: segments.iter().map(hidden).collect(),
                    ..inside
                },
            }
        })
}

/// Time-outs in their ranges.
pub(crate) fn timeouts() -> impl Strategy<Value = Timeouts> {
    (
        100_u64..=300_000,
        100_u64..=86_400_000,
        1_000_u64..=86_400_000,
        option::of(1_000_u64..=86_400_000),
    )
        .prop_map(|(connect, response, idle, total)| Timeouts {
            connect: Duration::from_millis(connect),
            response: Duration::from_millis(response),
            idle: Duration::from_millis(idle),
            total: total.map(Duration::from_millis),
        })
}

/// Limits that limit something, or nothing.
pub(crate) fn limits() -> impl Strategy<Value = Limits> {
    let rate = || {
        let rate = (1..=Rate::MAX, 1..=Rate::MAX);
        option::of(rate.prop_map(|(per_second, burst)| Rate { per_second, burst }))
    };
    let pace = option::of(any::<u32>());
    let head = (
        option::of(between(EdgeLimits::HEAD_FIELDS_RANGE)),
        option::of(between(EdgeLimits::HEAD_BYTES_RANGE)),
        option::of(between(EdgeLimits::TARGET_BYTES_RANGE)),
        option::of(span()),
    );
    (
        option::of(1_u64..),
        option::of(1_u32..),
        rate(),
        rate(),
        pace,
        head,
    )
        .prop_map(
            |(body_bytes, requests, rate, client_rate, body_pace, head)| {
                let (head_fields, head_bytes, target_bytes, stall_timeout) = head;
                Limits {
                    body_bytes,
                    requests,
                    rate,
                    client_rate,
                    body_pace,
                    head_fields,
                    head_bytes,
                    target_bytes,
                    stall_timeout,
                }
            },
        )
}

/// Limits of edges in their ranges.
pub(crate) fn edge_limits() -> impl Strategy<Value = EdgeLimits> {
    let count = || between(EdgeLimits::COUNT_RANGE);
    (
        (count(), count(), count(), count(), count(), count()),
        (span(), span(), span(), span(), span()),
        between(EdgeLimits::HEAD_FIELDS_RANGE),
        between(EdgeLimits::HEAD_BYTES_RANGE),
        between(EdgeLimits::TARGET_BYTES_RANGE),
    )
        .prop_map(
            |(counts, spans, head_fields, head_bytes, target_bytes)| EdgeLimits {
                connections: counts.0,
                client_connections: counts.1,
                streams: counts.2,
                resets: counts.3,
                handshake_timeout: spans.0,
                head_timeout: spans.1,
                idle_timeout: spans.2,
                head_fields,
                head_bytes,
                target_bytes,
                body_grace: spans.3,
                client_resting: counts.4,
                stall_timeout: spans.4,
                stalled_max: counts.5,
            },
        )
}

fn between((least, most): (u32, u32)) -> impl Strategy<Value = u32> {
    least..=most
}

/// Audiences and scopes, none of them twice.
fn tokens() -> impl Strategy<Value = (Vec<String>, Vec<String>)> {
    let words = || collection::btree_set("[a-z:/.]{1,12}", 0..4);
    (words(), words()).prop_map(|(audiences, scopes)| {
        let list = |words: BTreeSet<String>| words.into_iter().collect();
        (list(audiences), list(scopes))
    })
}

fn span() -> impl Strategy<Value = Duration> {
    (1_000_u64..=3_600_000).prop_map(Duration::from_millis)
}

/// A main part, or one without hosts, and segments.
fn sites() -> impl Strategy<Value = Vec<Site>> {
    let site = (
        ID,
        hosts(),
        path(),
        option::of(path()),
        origins::origins(),
        answers::cors(),
    );
    let sites = collection::vec(site, 1..=1 + SEGMENTS);
    (sites, any::<bool>()).prop_map(|(sites, empty_main)| {
        let mut sites: Vec<_> = sites
            .into_iter()
            .enumerate()
            .map(
                |(number, (id, hosts, path, inner_path, origins, mut cors))| {
                    // A name of its own for each, so that no place is had twice.
                    let hosts = hosts.into_iter().map(|host| numbered(number, &host));
                    cors.retain(|rule| {
                        path.holds(rule.path.as_str()) || rule.path.holds(path.as_str())
                    });
                    cors.sort_by_key(|rule| Reverse(rule.path.as_str().len()));
                    Site {
                        id: format!("{id}-{number}"),
                        hosts: hosts.collect(),
                        path,
                        inner_path,
                        origins,
                        cors,
                    }
                },
            )
            .collect();
        if empty_main && sites.len() > 1 {
            let main = &mut sites[0];
            (main.hosts, main.origins, main.cors) = Default::default();
        }
        sites
    })
}

#[derive(Debug, Clone)]
struct Site {
    id: String,
    hosts: Vec<HostPattern>,
    path: PathPrefix,
    inner_path: Option<PathPrefix>,
    origins: Vec<Origin>,
    cors: Vec<model::app::CorsRule>,
}

impl Site {
    fn segment(&self) -> Segment {
        Segment {
            id: self.id.parse().expect("a good id"),
            hosts: self.hosts.clone(),
            path: self.path.clone(),
            cors: self.cors.clone(),
            identity_fields: Vec::new(),
        }
    }

    fn home_path(&self) -> Option<String> {
        let path = self.path.as_str().trim_end_matches('/');
        (!self.hosts.is_empty()).then(|| format!("{path}/home?tab=1"))
    }
}

fn numbered(number: usize, host: &HostPattern) -> HostPattern {
    let (HostPattern::Exact(name) | HostPattern::Wildcard(name)) = host;
    let name: Hostname = format!("s{number}.{name}").parse().expect("a good name");
    match host {
        HostPattern::Exact(_) => HostPattern::Exact(name),
        HostPattern::Wildcard(_) => HostPattern::Wildcard(name),
    }
}

fn ids<T: FromStr<Err: Debug>>(texts: &BTreeSet<String>) -> Vec<T> {
    let ids = texts.iter().map(|id| id.parse().expect("a good id"));
    ids.collect()
}

/// An edges' half without a site.
fn settings() -> impl Strategy<Value = App> {
    (
        (ID, ID),
        timeouts(),
        limits(),
        answers::answer_rules(),
        option::of(answers::maintenance()),
        (any::<bool>(), any::<bool>()),
        (
            access(),
            identity_fields(),
            option::of("y-[a-z]{1,8}|adit-assertion"),
            (
                session_cookie(),
                any::<bool>(),
                collection::btree_set(ID, 0..4),
                (tile(), tokens()),
            ),
        ),
    )
        .prop_map(
            |(
                (id, group),
                timeouts,
                limits,
                answer_rules,
                maintenance,
                (hide, keep),
                (
                    access,
                    identity_fields,
                    assertion_field,
                    (session_cookie, cross_site_posts, providers, (tile, tokens)),
                ),
            )| App {
                identity_providers: match access {
                    Access::Passthrough => Vec::new(),
                    Access::SignIn(_) => ids(&providers),
                },
                token_audiences: match access {
                    Access::Passthrough => Vec::new(),
                    Access::SignIn(_) => tokens.0.clone(),
                },
                token_scopes: match access {
                    Access::SignIn(_) if !tokens.0.is_empty() => tokens.1,
                    Access::Passthrough | Access::SignIn(_) => Vec::new(),
                },
                client_cas: match access {
                    Access::Passthrough => Vec::new(),
                    Access::SignIn(_) => ids(&providers),
                },
                session_cookie: match access {
                    Access::Passthrough => SessionCookie::default(),
                    Access::SignIn(_) => session_cookie,
                },
                cross_site_posts: cross_site_posts && matches!(access, Access::SignIn(_)),
                assertion_field: assertion_field.filter(|_| matches!(access, Access::SignIn(_))),
                identity_fields: told(&access, identity_fields, &providers),
                timeouts,
                limits,
                answer_rules,
                maintenance,
                hide_forwarded: hide,
                keep_field_case: keep,
                tile,
                ..App::new(
                    id.parse().expect("a good id"),
                    group.parse().expect("a good id"),
                    access,
                )
            },
        )
}

/// What is told where users sign in; of certificates only where there are CAs.
fn told(
    access: &Access,
    mut fields: Vec<IdentityField>,
    cas: &BTreeSet<String>,
) -> Vec<IdentityField> {
    match access {
        Access::Passthrough => Vec::new(),
        Access::SignIn(_) => {
            fields.retain(|field| {
                !cas.is_empty() || !matches!(field.value, IdentityValue::Certificate(_))
            });
            fields
        }
    }
}

fn identity_fields() -> impl Strategy<Value = Vec<IdentityField>> {
    let value = prop_oneof![
        Just(IdentityValue::User),
        Just(IdentityValue::DisplayName),
        Just(IdentityValue::Email),
        Just(IdentityValue::UserGroups),
        Just(IdentityValue::Certificate(CertificatePart::Subject)),
        Just(IdentityValue::Certificate(CertificatePart::Issuer)),
        Just(IdentityValue::Certificate(CertificatePart::Serial)),
        Just(IdentityValue::Certificate(CertificatePart::Fingerprint)),
        "[!-{]{1,20}".prop_map(IdentityValue::Claim),
        "[!-{]{1,20}".prop_map(IdentityValue::Text),
    ];
    let change = prop_oneof![
        Just(IdentityChange::Lower),
        Just(IdentityChange::Upper),
        Just(IdentityChange::BeforeAt),
        Just(IdentityChange::AfterAt),
    ];
    let field = (value, collection::vec(change, 0..4), "[ -{]{0,8}");
    collection::btree_map("x-[a-z]{1,8}", field, 0..4).prop_map(|fields| {
        let fields = fields.into_iter();
        fields
            .map(|(name, (value, changes, prefix))| IdentityField {
                name,
                value,
                changes,
                prefix,
            })
            .collect()
    })
}

fn sso() -> impl Strategy<Value = Sso> {
    prop_oneof![kerberos(), kept::form(), kept::basic()]
}

fn kerberos() -> impl Strategy<Value = Sso> {
    let identity = prop_oneof![
        "[!-{]{1,20}".prop_map(SsoIdentity::Claim),
        Just(SsoIdentity::default()),
        Just(SsoIdentity::User),
        Just(SsoIdentity::Email),
    ];
    let name_form = prop_oneof![
        Just(NameForm::Upn),
        Just(NameForm::Account),
        Just(NameForm::LocalPart),
    ];
    let framing = prop_oneof![Just(Framing::Spnego), Just(Framing::Kerberos)];
    let send = prop_oneof![Just(SendWhen::Always), Just(SendWhen::OnChallenge)];
    let spn = (HOST, option::of("[A-Z]{1,8}(\\.[A-Z]{1,8})?")).prop_map(|(host, realm)| {
        let realm = realm.map(|realm| format!("@{realm}")).unwrap_or_default();
        format!("HTTP/{host}{realm}").parse().expect("a good name")
    });
    let required = any::<[bool; 2]>();
    (spn, identity, name_form, framing, send, required).prop_map(
        |(spn, identity, name_form, framing, send, [require_mutual, require_id_token])| {
            Sso::Kerberos(KerberosSso {
                require_id_token: require_id_token && matches!(identity, SsoIdentity::Claim(_)),
                spn,
                identity,
                provider: None,
                name_form,
                framing,
                send,
                require_mutual,
            })
        },
    )
}

fn session_cookie() -> impl Strategy<Value = SessionCookie> {
    let same_site = prop_oneof![
        Just(SameSite::Lax),
        Just(SameSite::Strict),
        Just(SameSite::None),
    ];
    (same_site, any::<bool>()).prop_map(|(same_site, persistent)| SessionCookie {
        same_site,
        persistent,
    })
}

fn tile() -> impl Strategy<Value = Tile> {
    let listing = prop_oneof![
        Just(Listing::ByAccess),
        Just(Listing::Shown),
        Just(Listing::Hidden),
    ];
    (listing, "[^\\p{C}]{0,30}", "[^\\p{C}]{0,30}").prop_map(|(listing, description, category)| {
        Tile {
            listing,
            description: description.trim().to_owned(),
            category: category.trim().to_owned(),
            host: None,
        }
    })
}

fn access() -> impl Strategy<Value = Access> {
    let users = collection::hash_set("[a-z][a-z0-9._+@-]{0,20}[a-z0-9]", 0..4);
    let groups = collection::hash_set("[^\\p{C}\\s]{1,20}", 0..4);
    let services = collection::hash_set("[a-z][a-z0-9-]{0,20}[a-z0-9]", 0..4);
    let parts = (users, groups, any::<bool>(), services);
    let assignment = parts.prop_map(|(users, groups, everyone, services)| {
        let users = users.iter().map(|id| id.parse().expect("a good id"));
        let groups = groups
            .iter()
            .map(|group| group.parse().expect("a good group"));
        Access::SignIn(Assignment {
            users: users.collect(),
            groups: groups.collect(),
            everyone,
            programs: services
                .iter()
                .map(|id| format!("{id}/{id}.example").parse().expect("a good name"))
                .collect(),
            services: services
                .iter()
                .map(|id| id.parse().expect("a good id"))
                .collect(),
        })
    });
    prop_oneof![Just(Access::Passthrough), assignment]
}

fn inside() -> impl Strategy<Value = Inside> {
    let proxy = HOST.prop_map(|host| format!("http://{host}:3128").parse().expect("a good url"));
    (translation(), option::of(proxy), option::of(health_check())).prop_map(
        |(translation, proxy, health_check)| Inside {
            translation,
            proxy,
            health_check,
            ..Inside::default()
        },
    )
}

fn translation() -> impl Strategy<Value = Translation> {
    let host = prop_oneof![
        Just(HostSent::Inner),
        Just(HostSent::Public),
        (HOST, option::of(1_u16..)).prop_map(|(host, port)| {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            HostSent::Named(format!("{host}{port}"))
        }),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (host, flags, option::of(path())).prop_map(
        |(host, (keep_fields, bodies, json, scripts), inner_path)| Translation {
            host,
            keep_fields,
            bodies,
            json: json && bodies,
            scripts: scripts && bodies,
            inner_path,
        },
    )
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    (
        "/[a-z]{0,8}(\\?[a-z]=[0-9])?",
        1_000_u64..=3_600_000,
        100_u64..=60_000,
        1..=HealthCheck::IN_A_ROW_MAX,
        1..=HealthCheck::IN_A_ROW_MAX,
    )
        .prop_map(
            |(path, interval, timeout, unhealthy_after, healthy_after)| HealthCheck {
                path,
                interval: Duration::from_millis(interval),
                timeout: Duration::from_millis(timeout),
                unhealthy_after,
                healthy_after,
            },
        )
}

fn path() -> impl Strategy<Value = PathPrefix> {
    PATH.prop_map(|path| path.parse().expect("a good path"))
}

fn hosts() -> impl Strategy<Value = Vec<HostPattern>> {
    let host = (any::<bool>(), HOST).prop_map(|(wildcard, name)| {
        let name: Hostname = name.parse().expect("a good name");
        if wildcard {
            HostPattern::Wildcard(name)
        } else {
            HostPattern::Exact(name)
        }
    });
    collection::btree_set(host, 1..=HOSTS)
        .prop_map(|hosts: BTreeSet<_>| hosts.into_iter().collect())
}
