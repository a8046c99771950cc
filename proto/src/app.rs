//! Reads apps as operators write them, and writes them back.

use std::{collections::HashSet, time::Duration};

use model::{
    app::{Access, App, HOSTS_MAX, Inside, Publication, Timeouts},
    host::HostPattern,
    name::GroupId,
    path::PathPrefix,
};

use crate::{
    admin, time,
    violation::{Violation, Violations},
};

mod origin;
#[cfg(test)]
mod tests;

/// Reads an app that shall have the id `id`; on failure says everything that is wrong with it.
///
/// The name, etag and times in `app` are not looked at. Time-outs that are not set take their defaults; others are
/// cut to whole milliseconds, which is what nodes are told.
pub fn publication(id: &str, app: &admin::App) -> Result<Publication, Vec<Violation>> {
    let mut found = Violations::default();
    let id = found.parse("app_id", id);
    found.display_name("app.display_name", &app.display_name);
    let hosts = read_hosts(&app.hosts, &mut found);
    let path = read_path(&app.path, &mut found);
    let origins = origin::read_all(&app.origins, &mut found);
    let group = read_group(&app.group, &mut found);
    let access = read_access(app.access, &mut found);
    let timeouts = read_timeouts(app.timeouts.unwrap_or_default(), &mut found);
    let (Some(id), Some(path), Some(group), Some(access), true) =
        (id, path, group, access, found.is_empty())
    else {
        return Err(found.into_vec());
    };
    Ok(Publication {
        app: App {
            hosts,
            path,
            timeouts,
            ..App::new(id, group, access)
        },
        inside: Inside {
            origins,
            ..Inside::default()
        },
        display_name: app.display_name.clone(),
    })
}

/// Writes a publication as operators see it: all time-outs filled in, no etag and no times.
pub fn admin_app(publication: &Publication) -> admin::App {
    let app = &publication.app;
    admin::App {
        name: app.id.resource_name(),
        etag: String::new(),
        create_time: None,
        update_time: None,
        display_name: publication.display_name.clone(),
        hosts: app.hosts.iter().map(HostPattern::to_string).collect(),
        path: app.path.as_str().to_owned(),
        origins: publication
            .inside
            .origins
            .iter()
            .map(origin::write)
            .collect(),
        group: app.group.resource_name(),
        access: match app.access {
            Access::Passthrough => admin::Access::Passthrough.into(),
        },
        timeouts: Some(admin::Timeouts {
            connect: Some(time::wire_duration(app.timeouts.connect)),
            response: Some(time::wire_duration(app.timeouts.response)),
            idle: Some(time::wire_duration(app.timeouts.idle)),
            total: app.timeouts.total.map(time::wire_duration),
        }),
        ..admin::App::default()
    }
}

fn read_hosts(texts: &[String], found: &mut Violations) -> Vec<HostPattern> {
    if texts.is_empty() || texts.len() > HOSTS_MAX {
        found.add("app.hosts", format_args!("must be 1 to {HOSTS_MAX} names"));
    }
    let mut seen = HashSet::new();
    let mut hosts = Vec::new();
    for (index, text) in texts.iter().enumerate().take(HOSTS_MAX) {
        let field = format!("app.hosts[{index}]");
        let Some(host) = found.parse::<HostPattern>(&field, text) else {
            continue;
        };
        if !seen.insert(host.clone()) {
            found.add(&field, format_args!("repeats {host}"));
        }
        hosts.push(host);
    }
    hosts
}

fn read_path(text: &str, found: &mut Violations) -> Option<PathPrefix> {
    if text.is_empty() {
        return Some(PathPrefix::root());
    }
    found.parse("app.path", text)
}

fn read_group(name: &str, found: &mut Violations) -> Option<GroupId> {
    const FIELD: &str = "app.group";
    match GroupId::from_resource_name(name) {
        Some(Ok(id)) => Some(id),
        Some(Err(fault)) => {
            found.add(FIELD, format_args!("has an id that {fault}"));
            None
        }
        None => {
            found.add(FIELD, "must be a name such as groups/office");
            None
        }
    }
}

fn read_access(access: i32, found: &mut Violations) -> Option<Access> {
    const FIELD: &str = "app.access";
    match admin::Access::try_from(access) {
        Ok(admin::Access::Passthrough) => Some(Access::Passthrough),
        Ok(admin::Access::Unspecified) => {
            found.add(FIELD, "must be said");
            None
        }
        Err(_) => {
            found.add(FIELD, "is of a kind that this version does not know");
            None
        }
    }
}

fn read_timeouts(wire: admin::Timeouts, found: &mut Violations) -> Timeouts {
    let default = Timeouts::default();
    let mut read = |stage: &str, wire: Option<_>, default, range| match wire {
        Some(wire) => read_timeout(stage, &wire, range, found).unwrap_or(default),
        None => default,
    };
    Timeouts {
        connect: read(
            "connect",
            wire.connect,
            default.connect,
            Timeouts::CONNECT_RANGE,
        ),
        response: read(
            "response",
            wire.response,
            default.response,
            Timeouts::RESPONSE_RANGE,
        ),
        idle: read("idle", wire.idle, default.idle, Timeouts::IDLE_RANGE),
        total: default.total,
    }
}

fn read_timeout(
    stage: &str,
    wire: &prost_types::Duration,
    (shortest, longest): (Duration, Duration),
    found: &mut Violations,
) -> Option<Duration> {
    match time::duration(wire) {
        Ok(timeout) if (shortest..=longest).contains(&timeout) => {
            // Nodes are told whole milliseconds.
            Some(timeout - Duration::from_nanos(u64::from(timeout.subsec_nanos() % 1_000_000)))
        }
        Ok(_) | Err(_) => {
            found.add(
                &format!("app.timeouts.{stage}"),
                format_args!("must be between {shortest:?} and {longest:?}"),
            );
            None
        }
    }
}
