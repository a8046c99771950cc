//! Reads where an app is found and where it lives: its main part, and its segments.

use std::collections::{HashMap, HashSet};

use model::{
    app::{CorsRule, HOSTS_MAX, InsideSegment, Origin, SEGMENTS_MAX, Segment},
    host::HostPattern,
    name::SegmentId,
    path::PathPrefix,
};

use super::{cors, identity, origin};
use crate::{admin, violation::Violations};

/// Hosts, a path, and the origins behind them.
#[derive(Debug, Default)]
pub(super) struct Site {
    /// With the name of the field of each.
    hosts: Vec<(String, HostPattern)>,
    /// `None`: it cannot be read.
    pub(super) path: Option<PathPrefix>,
    pub(super) origins: Vec<Origin>,
    pub(super) cors: Vec<CorsRule>,
}

impl Site {
    pub(super) fn hosts(&self) -> Vec<HostPattern> {
        self.hosts.iter().map(|(_, host)| host.clone()).collect()
    }
}

/// Reads the main part, which may be missing if there are segments.
pub(super) fn read_main(app: &admin::App, found: &mut Violations) -> Site {
    if !app.hosts.is_empty() || !app.origins.is_empty() {
        return Wire {
            field: "app",
            hosts: &app.hosts,
            path: &app.path,
            origins: &app.origins,
            cors: &app.cors,
        }
        .read(found);
    }
    if app.segments.is_empty() {
        found.add(
            "app.hosts",
            format_args!(
                "must be 1 to {HOSTS_MAX} names: without hosts and segments nothing would be reachable"
            ),
        );
    }
    if !app.cors.is_empty() {
        found.add("app.cors", "needs hosts in app.hosts");
    }
    Site {
        path: read_path("app.path", &app.path, found),
        ..Site::default()
    }
}

/// Reads the segments. Those whose id or path cannot be read are left out.
pub(super) fn read_segments(
    app: &admin::App,
    main: &Site,
    found: &mut Violations,
) -> Vec<(Segment, InsideSegment)> {
    const FIELD: &str = "app.segments";
    let mut places = Places::default();
    places.claim(main, found);
    let mut ids = HashSet::new();
    let mut segments = Vec::new();
    for (field, wire) in found.at_most(SEGMENTS_MAX, FIELD, "segments", &app.segments) {
        let id_field = format!("{field}.id");
        let id: Option<SegmentId> = found.parse(&id_field, &wire.id);
        if let Some(id) = &id
            && !ids.insert(id.clone())
        {
            found.add(&id_field, format_args!("repeats {id}"));
        }
        let site = Wire {
            field: &field,
            hosts: &wire.hosts,
            path: &wire.path,
            origins: &wire.origins,
            cors: &wire.cors,
        }
        .read(found);
        places.claim(&site, found);
        let hosts = site.hosts();
        let inner_path = match wire.inner_path.as_str() {
            "" => None,
            path => found.parse(&format!("{field}.inner_path"), path),
        };
        if let (Some(id), Some(path)) = (id, site.path) {
            let segment = Segment {
                id,
                hosts,
                path,
                cors: site.cors,
                // Read when it is known how callers are admitted.
                identity_fields: Vec::new(),
            };
            let inside = InsideSegment {
                origins: site.origins,
                inner_path,
            };
            segments.push((segment, inside));
        }
    }
    segments
}

/// Writes a segment.
pub(super) fn write_segment(segment: &Segment, inside: &InsideSegment) -> admin::Segment {
    admin::Segment {
        id: segment.id.to_string(),
        hosts: segment.hosts.iter().map(HostPattern::to_string).collect(),
        path: segment.path.as_str().to_owned(),
        origins: inside.origins.iter().map(origin::write).collect(),
        inner_path: inside
            .inner_path
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        cors: segment.cors.iter().map(cors::write).collect(),
        identity_fields: segment
            .identity_fields
            .iter()
            .map(identity::write)
            .collect(),
    }
}

/// Reads a path prefix; nothing is the root.
pub(super) fn read_path(field: &str, text: &str, found: &mut Violations) -> Option<PathPrefix> {
    if text.is_empty() {
        return Some(PathPrefix::root());
    }
    found.parse(field, text)
}

/// A site as it is written.
struct Wire<'a> {
    field: &'a str,
    hosts: &'a [String],
    path: &'a str,
    origins: &'a [admin::Origin],
    cors: &'a [admin::CorsRule],
}

impl Wire<'_> {
    fn read(&self, found: &mut Violations) -> Site {
        let field = self.field;
        let hosts = read_hosts(&format!("{field}.hosts"), self.hosts, found);
        let path = read_path(&format!("{field}.path"), self.path, found);
        let origins = origin::read_all(&format!("{field}.origins"), self.origins, found);
        let cors = cors::read_all(&format!("{field}.cors"), self.cors, path.as_ref(), found);
        Site {
            hosts,
            path,
            origins,
            cors,
        }
    }
}

fn read_hosts(field: &str, texts: &[String], found: &mut Violations) -> Vec<(String, HostPattern)> {
    if texts.is_empty() || texts.len() > HOSTS_MAX {
        found.add(field, format_args!("must be 1 to {HOSTS_MAX} names"));
    }
    let mut seen = HashSet::new();
    let mut hosts = Vec::new();
    for (index, text) in texts.iter().enumerate().take(HOSTS_MAX) {
        let field = format!("{field}[{index}]");
        let Some(host) = found.parse::<HostPattern>(&field, text) else {
            continue;
        };
        if seen.insert(host.clone()) {
            hosts.push((field, host));
        } else {
            found.add(&field, format_args!("repeats {host}"));
        }
    }
    hosts
}

/// Hosts with their paths, each of which leads to one site only; by the field that took it.
#[derive(Default)]
struct Places(HashMap<(HostPattern, PathPrefix), String>);

impl Places {
    fn claim(&mut self, site: &Site, found: &mut Violations) {
        let Some(path) = &site.path else { return };
        for (field, host) in &site.hosts {
            let place = (host.clone(), path.clone());
            match self.0.get(&place) {
                Some(holder) => found.add(
                    field,
                    format_args!("repeats {host} with path {path}, which is {holder}'s"),
                ),
                None => {
                    self.0.insert(place, field.clone());
                }
            }
        }
    }
}
