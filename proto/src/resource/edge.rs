//! What edges get: where users find an app, and what happens to its requests and answers there.

use std::{collections::HashSet, time::Duration};

use model::{
    app::{
        APP_PROVIDERS_MAX, Access, App, Assignment, HOSTS_MAX, IDENTITY_FIELDS_TOTAL_MAX,
        Maintenance, SEGMENTS_MAX, Segment,
    },
    client_ca::APP_CLIENT_CAS_MAX,
    host::HostPattern,
};

use super::{
    Reader, ResourceError, answers, cors, identity, limits, session_cookie, sso, tile,
    write_timeouts,
};
use crate::{fabric, rules};

impl From<&App> for fabric::EdgeApp {
    fn from(app: &App) -> Self {
        Self {
            id: app.id.to_string(),
            hosts: write_hosts(&app.hosts),
            path: app.path.as_str().to_owned(),
            group: app.group.to_string(),
            access: match app.access {
                Access::Passthrough => fabric::AccessKind::Passthrough.into(),
                Access::SignIn(_) => fabric::AccessKind::SignIn.into(),
            },
            assignment: match &app.access {
                Access::Passthrough => None,
                Access::SignIn(assignment) => Some(write_assignment(assignment)),
            },
            timeouts: Some(write_timeouts(&app.timeouts)),
            limits: Some(limits::write(&app.limits)),
            segments: app.segments.iter().map(write_segment).collect(),
            answer_rules: Some(answers::write(&app.answer_rules)),
            cors: app.cors.iter().map(cors::write).collect(),
            maintenance: app.maintenance.as_ref().map(write_maintenance),
            home_path: app.home_path.clone().unwrap_or_default(),
            hide_forwarded: app.hide_forwarded,
            keep_field_case: app.keep_field_case,
            display_name: app.display_name.clone(),
            identity_fields: app.identity_fields.iter().map(identity::write).collect(),
            identity_providers: app
                .identity_providers
                .iter()
                .map(ToString::to_string)
                .collect(),
            token_audiences: app.token_audiences.clone(),
            token_scopes: app.token_scopes.clone(),
            client_cas: app.client_cas.iter().map(ToString::to_string).collect(),
            assertion_field: app.assertion_field.clone().unwrap_or_default(),
            single_sign_on: app.sso.as_ref().map(sso::write),
            session_cookie: session_cookie::write(app.session_cookie),
            cross_site_posts: app.cross_site_posts,
            tile: tile::write(&app.tile),
        }
    }
}

impl TryFrom<&fabric::EdgeApp> for App {
    type Error = ResourceError;

    /// An app without hosts and segments is legal: nobody reaches it.
    fn try_from(wire: &fabric::EdgeApp) -> Result<Self, ResourceError> {
        let reader = Reader::new(&wire.id);
        let segments = reader.all("segments", (0, SEGMENTS_MAX), &wire.segments, |segment| {
            reader.edge_segment(segment)
        })?;
        let ids: HashSet<_> = segments.iter().map(|segment| &segment.id).collect();
        reader.holds("two segments of one id", ids.len() == segments.len())?;
        let told = segments.iter().map(|segment| segment.identity_fields.len());
        let told = told.sum::<usize>() + wire.identity_fields.len();
        reader.holds("more identity fields", told <= IDENTITY_FIELDS_TOTAL_MAX)?;
        Ok(Self {
            id: reader.id(&wire.id)?,
            hosts: reader.all("hosts", (0, HOSTS_MAX), &wire.hosts, |host| {
                reader.host(host)
            })?,
            path: reader.path(&wire.path)?,
            segments,
            group: reader.id(&wire.group)?,
            access: reader.access(wire)?,
            timeouts: reader.timeouts(wire.timeouts.as_ref())?,
            limits: reader.limits(wire.limits.as_ref())?,
            answer_rules: reader.answer_rules(wire.answer_rules.as_ref())?,
            cors: reader.cors(&wire.cors)?,
            maintenance: wire
                .maintenance
                .as_ref()
                .map(|wire| reader.maintenance(wire))
                .transpose()?,
            home_path: reader.home_path(&wire.home_path)?,
            hide_forwarded: wire.hide_forwarded,
            identity_fields: reader.identity_fields(&wire.identity_fields)?,
            identity_providers: reader.all(
                "identity providers",
                (0, APP_PROVIDERS_MAX),
                &wire.identity_providers,
                |id| reader.id(id),
            )?,
            token_audiences: reader.token_audiences(wire)?,
            token_scopes: reader.token_scopes(wire)?,
            client_cas: reader.all(
                "CAs of devices and programs",
                (0, APP_CLIENT_CAS_MAX),
                &wire.client_cas,
                |id| reader.id(id),
            )?,
            assertion_field: reader.assertion_field(&wire.assertion_field)?,
            sso: reader.edge_sso(wire.single_sign_on.as_ref())?,
            session_cookie: reader.session_cookie(wire.session_cookie.as_ref())?,
            cross_site_posts: wire.cross_site_posts,
            keep_field_case: wire.keep_field_case,
            display_name: reader.display_name(&wire.display_name)?,
            tile: reader.tile(wire.tile.as_ref())?,
        })
    }
}

impl Reader<'_> {
    fn edge_segment(&self, wire: &fabric::EdgeSegment) -> Result<Segment, ResourceError> {
        Ok(Segment {
            id: self.id(&wire.id)?,
            hosts: self.all("hosts of a segment", (1, HOSTS_MAX), &wire.hosts, |host| {
                self.host(host)
            })?,
            path: self.path(&wire.path)?,
            cors: self.cors(&wire.cors)?,
            identity_fields: self.identity_fields(&wire.identity_fields)?,
        })
    }

    fn maintenance(&self, wire: &fabric::Maintenance) -> Result<Maintenance, ResourceError> {
        const WHAT: &str = "a maintenance notice";
        let short = wire.message.chars().count() <= Maintenance::MESSAGE_CHARS_MAX;
        self.holds(WHAT, short)?;
        self.setting(WHAT, rules::lines(&wire.message))?;
        let retry_after = Duration::from_secs(wire.retry_after_s);
        self.holds(WHAT, retry_after <= Maintenance::RETRY_AFTER_MAX)?;
        Ok(Maintenance {
            message: wire.message.clone(),
            retry_after: (wire.retry_after_s != 0).then_some(retry_after),
        })
    }

    fn home_path(&self, wire: &str) -> Result<Option<String>, ResourceError> {
        if wire.is_empty() {
            return Ok(None);
        }
        self.setting("a home path", rules::home_path(wire))?;
        Ok(Some(wire.to_owned()))
    }
}

fn write_segment(segment: &Segment) -> fabric::EdgeSegment {
    fabric::EdgeSegment {
        id: segment.id.to_string(),
        hosts: write_hosts(&segment.hosts),
        path: segment.path.as_str().to_owned(),
        cors: segment.cors.iter().map(cors::write).collect(),
        identity_fields: segment
            .identity_fields
            .iter()
            .map(identity::write)
            .collect(),
    }
}

/// In order, so that equal assignments are written alike.
fn write_assignment(assignment: &Assignment) -> fabric::Assignment {
    let mut users: Vec<_> = assignment.users.iter().map(ToString::to_string).collect();
    let mut user_groups: Vec<_> = assignment.groups.iter().map(ToString::to_string).collect();
    users.sort_unstable();
    user_groups.sort_unstable();
    let services = assignment.services.iter();
    let mut services: Vec<_> = services.map(ToString::to_string).collect();
    services.sort_unstable();
    let programs = assignment.programs.iter();
    let mut programs: Vec<_> = programs.map(ToString::to_string).collect();
    programs.sort_unstable();
    fabric::Assignment {
        users,
        user_groups,
        everyone: assignment.everyone,
        services,
        programs,
    }
}

fn write_hosts(hosts: &[HostPattern]) -> Vec<String> {
    hosts.iter().map(HostPattern::to_string).collect()
}

fn write_maintenance(maintenance: &Maintenance) -> fabric::Maintenance {
    fabric::Maintenance {
        message: maintenance.message.clone(),
        retry_after_s: maintenance.retry_after.map_or(0, |span| span.as_secs()),
    }
}
