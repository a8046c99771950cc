//! Whom, what, where and when a rule is about.

use std::{collections::HashSet, fmt::Display, hash::Hash, net::IpAddr, str::FromStr};

use model::{
    access::{
        facts::{ClientKind, Country, Platform},
        place::{COUNTRIES_MAX, NETWORKS_MAX, Places, RULE_LOCATIONS_MAX},
        policy::{
            CLAIM_TEXT_BYTES_MAX, ClaimMatch, People, Place, RULE_CLAIMS_MAX, RULE_GROUPS_MAX,
            RULE_NAMES_MAX, RULE_PATHS_MAX, Which, Who,
        },
        schedule::{DAY_MINUTES, OFFSET_MINUTES_MAX, Schedule, Weekday},
        when::{Expression, OWN_ACCOUNTS},
    },
    name::{AppId, IdentityProviderId, LocationId, TermsId, UserId},
    path::PathPrefix,
    terms::RULE_TERMS_MAX,
    user::UserGroup,
};

use crate::{access, violation::Violations};

/// Longest method of HTTP that a rule may name; those that are registered have up to 17 characters.
const METHOD_BYTES_MAX: usize = 32;

pub(super) fn who(field: &str, wire: Option<&access::Who>, found: &mut Violations) -> Who {
    let unsaid = access::Who::default();
    let wire = wire.unwrap_or(&unsaid);
    let include = people(&format!("{field}.include"), wire.include.as_ref(), found);
    if include == People::default() {
        let what = "must name somebody: everyone, users, groups, claims or providers";
        found.add(&format!("{field}.include"), what);
    }
    Who {
        include,
        exclude: people(&format!("{field}.exclude"), wire.exclude.as_ref(), found),
    }
}

fn people(field: &str, wire: Option<&access::People>, found: &mut Violations) -> People {
    let unsaid = access::People::default();
    let wire = wire.unwrap_or(&unsaid);
    let users = named(
        &format!("{field}.users"),
        (UserId::COLLECTION, RULE_NAMES_MAX),
        &wire.users,
        found,
    );
    let groups_field = format!("{field}.user_groups");
    let mut groups = HashSet::new();
    let wired = found.at_most(RULE_GROUPS_MAX, &groups_field, "groups", &wire.user_groups);
    for (at, group) in wired {
        groups.extend(found.parse::<UserGroup>(&at, group));
    }
    let mut claims = Vec::new();
    let claims_field = format!("{field}.claims");
    for (at, claim) in found.at_most(RULE_CLAIMS_MAX, &claims_field, "claims", &wire.claims) {
        let is_good = |text: &str| {
            (1..=CLAIM_TEXT_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control)
        };
        if !is_good(&claim.name) || !is_good(&claim.value) {
            let what = format_args!(
                "must have a name and a value of 1 to {CLAIM_TEXT_BYTES_MAX} bytes without control characters"
            );
            found.add(&at, what);
        }
        claims.push(ClaimMatch {
            name: claim.name.clone(),
            value: claim.value.clone(),
        });
    }
    let mut providers = Vec::new();
    let providers_field = format!("{field}.providers");
    let wired = found.at_most(
        RULE_CLAIMS_MAX,
        &providers_field,
        "providers",
        &wire.providers,
    );
    for (at, name) in wired {
        if name == OWN_ACCOUNTS {
            providers.push(None);
            continue;
        }
        let provider =
            resource::<IdentityProviderId>(&at, name, IdentityProviderId::COLLECTION, found);
        providers.extend(provider.map(Some));
    }
    People {
        everyone: wire.everyone,
        users,
        groups,
        claims,
        providers,
    }
}

pub(super) fn which(field: &str, wire: Option<&access::Which>, found: &mut Violations) -> Which {
    let unsaid = access::Which::default();
    let wire = wire.unwrap_or(&unsaid);
    let limits = (AppId::COLLECTION, RULE_NAMES_MAX);
    let apps = named(&format!("{field}.apps"), limits, &wire.apps, found);
    let excluded = format!("{field}.exclude_apps");
    let exclude_apps = named(&excluded, limits, &wire.exclude_apps, found);
    if wire.all_apps != wire.apps.is_empty() {
        found.add(field, "must have either all_apps or apps");
    }
    let mut paths = Vec::new();
    let paths_field = format!("{field}.paths");
    for (at, path) in found.at_most(RULE_PATHS_MAX, &paths_field, "paths", &wire.paths) {
        paths.extend(found.parse::<PathPrefix>(&at, path));
    }
    let methods_field = format!("{field}.methods");
    let methods = found.at_most(RULE_PATHS_MAX, &methods_field, "methods", &wire.methods);
    for (at, method) in methods {
        let is_good = method
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        if method.is_empty() || method.len() > METHOD_BYTES_MAX || !is_good {
            found.add(&at, "must be a method of HTTP in capitals, such as GET");
        }
    }
    Which {
        all_apps: wire.all_apps,
        apps,
        exclude_apps,
        paths,
        methods: wire.methods.clone(),
    }
}

pub(super) fn place(field: &str, wire: Option<&access::Place>, found: &mut Violations) -> Place {
    let unsaid = access::Place::default();
    let wire = wire.unwrap_or(&unsaid);
    Place {
        include: places(&format!("{field}.include"), wire.include.as_ref(), found),
        exclude: places(&format!("{field}.exclude"), wire.exclude.as_ref(), found),
    }
}

fn places(field: &str, wire: Option<&access::Places>, found: &mut Violations) -> Places {
    let unsaid = access::Places::default();
    let wire = wire.unwrap_or(&unsaid);
    let mut locations: Vec<LocationId> = Vec::new();
    let locations_field = format!("{field}.locations");
    let wired = found.at_most(
        RULE_LOCATIONS_MAX,
        &locations_field,
        "locations",
        &wire.locations,
    );
    for (at, name) in wired {
        locations.extend(resource::<LocationId>(
            &at,
            name,
            LocationId::COLLECTION,
            found,
        ));
    }
    Places {
        networks: networks(&format!("{field}.networks"), &wire.networks, found),
        locations,
        trusted: wire.trusted,
        countries: countries(&format!("{field}.countries"), &wire.countries, found),
        unknown_country: wire.unknown_country,
    }
}

/// Networks, or single addresses.
pub(crate) fn networks(field: &str, wire: &[String], found: &mut Violations) -> Vec<ipnet::IpNet> {
    let mut networks = Vec::new();
    for (at, text) in found.at_most(NETWORKS_MAX, field, "networks", wire) {
        let network: Result<ipnet::IpNet, _> = text.parse();
        let network = network.or_else(|_| text.parse::<IpAddr>().map(ipnet::IpNet::from));
        match network {
            Ok(network) if network == network.trunc() => networks.push(network),
            Ok(network) => {
                let what =
                    format_args!("has bits behind its prefix: {} is meant?", network.trunc());
                found.add(&at, what);
            }
            Err(_) => found.add(&at, "must be a network such as 192.0.2.0/24, or an address"),
        }
    }
    networks
}

pub(crate) fn countries(field: &str, wire: &[String], found: &mut Violations) -> Vec<Country> {
    let mut countries: Vec<Country> = Vec::new();
    for (at, code) in found.at_most(COUNTRIES_MAX, field, "countries", wire) {
        countries.extend(found.parse::<Country>(&at, code));
    }
    countries
}

pub(super) fn platforms(field: &str, wire: &[String], found: &mut Violations) -> Vec<Platform> {
    all_words(
        field,
        wire,
        found,
        (Platform::of_word, Platform::as_str, Platform::ALL),
    )
}

pub(super) fn clients(field: &str, wire: &[String], found: &mut Violations) -> Vec<ClientKind> {
    all_words(
        field,
        wire,
        found,
        (ClientKind::of_word, ClientKind::as_str, ClientKind::ALL),
    )
}

/// How words of a closed set are read, written and listed.
type Words<T> = (fn(&str) -> Option<T>, fn(T) -> &'static str, &'static [T]);

fn all_words<T: Copy>(
    field: &str,
    wire: &[String],
    found: &mut Violations,
    (of_word, word, all): Words<T>,
) -> Vec<T> {
    let mut read = Vec::new();
    for (at, text) in found.at_most(all.len(), field, "words", wire) {
        match of_word(text) {
            Some(one) => read.push(one),
            None => {
                let known: Vec<_> = all.iter().map(|one| word(*one)).collect();
                found.add(&at, format_args!("must be one of {}", known.join(", ")));
            }
        }
    }
    read
}

pub(super) fn schedule(
    field: &str,
    wire: &access::Schedule,
    found: &mut Violations,
) -> Option<Schedule> {
    let days_field = format!("{field}.days");
    if wire.days.is_empty() {
        found.add(&days_field, "must not be empty");
    }
    let words = (
        Weekday::of_word as fn(&str) -> _,
        Weekday::as_str as fn(_) -> _,
        Weekday::ALL,
    );
    let days = all_words(&days_field, &wire.days, found, words);
    let last = u32::from(DAY_MINUTES);
    let from = found.number(
        &format!("{field}.from_minute"),
        wire.from_minute,
        (0, last - 1),
    );
    let until = found.number(
        &format!("{field}.until_minute"),
        wire.until_minute,
        (0, last),
    );
    let offset = i16::try_from(wire.offset_minutes).ok();
    let offset = offset.filter(|offset| offset.unsigned_abs() <= OFFSET_MINUTES_MAX.unsigned_abs());
    if offset.is_none() {
        let what = format_args!("must be -{OFFSET_MINUTES_MAX} to {OFFSET_MINUTES_MAX}");
        found.add(&format!("{field}.offset_minutes"), what);
    }
    Some(Schedule {
        days,
        from: u16::try_from(from?).ok()?,
        until: u16::try_from(until?).ok()?,
        offset: offset?,
    })
}

pub(super) fn when(field: &str, wire: &str, found: &mut Violations) -> Option<Expression> {
    if wire.is_empty() {
        return None;
    }
    match Expression::new(wire) {
        Ok(when) => Some(when),
        Err(faults) => {
            for fault in faults {
                found.add(field, fault);
            }
            None
        }
    }
}

pub(super) fn terms(
    field: &str,
    wire: &[String],
    are_asked: bool,
    found: &mut Violations,
) -> Vec<TermsId> {
    if are_asked == wire.is_empty() {
        let what = "must name terms exactly where their acceptance is required";
        found.add(field, what);
    }
    let mut terms: Vec<TermsId> = Vec::new();
    for (at, name) in found.at_most(RULE_TERMS_MAX, field, "terms", wire) {
        terms.extend(resource::<TermsId>(&at, name, TermsId::COLLECTION, found));
    }
    terms
}

/// Ids out of resource names.
fn named<T: FromStr<Err: Display> + Eq + Hash>(
    field: &str,
    (collection, max): (&str, usize),
    wire: &[String],
    found: &mut Violations,
) -> HashSet<T> {
    let mut ids = HashSet::new();
    for (at, name) in found.at_most(max, field, "names", wire) {
        ids.extend(resource::<T>(&at, name, collection, found));
    }
    ids
}

fn resource<T: FromStr<Err: Display>>(
    field: &str,
    name: &str,
    collection: &str,
    found: &mut Violations,
) -> Option<T> {
    match name.strip_prefix(collection) {
        Some(id) => found.parse(field, id),
        None => {
            found.add(
                field,
                format_args!("must be of the form {collection}{{id}}"),
            );
            None
        }
    }
}

pub(super) fn write_who(who: &Who) -> access::Who {
    access::Who {
        include: Some(write_people(&who.include)),
        exclude: Some(write_people(&who.exclude)),
    }
}

fn write_people(people: &People) -> access::People {
    let providers = people.providers.iter().map(|provider| {
        provider.as_ref().map_or_else(
            || OWN_ACCOUNTS.to_owned(),
            IdentityProviderId::resource_name,
        )
    });
    access::People {
        everyone: people.everyone,
        users: sorted(people.users.iter().map(UserId::resource_name)),
        user_groups: sorted(people.groups.iter().map(ToString::to_string)),
        claims: people
            .claims
            .iter()
            .map(|claim| access::ClaimMatch {
                name: claim.name.clone(),
                value: claim.value.clone(),
            })
            .collect(),
        providers: providers.collect(),
    }
}

pub(super) fn write_which(which: &Which) -> access::Which {
    access::Which {
        all_apps: which.all_apps,
        apps: sorted(which.apps.iter().map(AppId::resource_name)),
        exclude_apps: sorted(which.exclude_apps.iter().map(AppId::resource_name)),
        paths: which.paths.iter().map(ToString::to_string).collect(),
        methods: which.methods.clone(),
    }
}

pub(super) fn write_place(place: &Place) -> access::Place {
    let write = |places: &Places| access::Places {
        networks: places.networks.iter().map(ToString::to_string).collect(),
        locations: places
            .locations
            .iter()
            .map(LocationId::resource_name)
            .collect(),
        trusted: places.trusted,
        countries: places.countries.iter().map(ToString::to_string).collect(),
        unknown_country: places.unknown_country,
    };
    access::Place {
        include: Some(write(&place.include)),
        exclude: Some(write(&place.exclude)),
    }
}

pub(super) fn write_schedule(schedule: &Schedule) -> access::Schedule {
    access::Schedule {
        days: words(schedule.days.iter().map(|day| day.as_str())),
        from_minute: schedule.from.into(),
        until_minute: schedule.until.into(),
        offset_minutes: schedule.offset.into(),
    }
}

pub(super) fn words(words: impl Iterator<Item = &'static str>) -> Vec<String> {
    words.map(str::to_owned).collect()
}

/// Sets in order, so that equal ones are written alike.
fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut texts: Vec<_> = texts.collect();
    texts.sort_unstable();
    texts
}
