//! Reads apps as operators write them, and writes them back.

use model::{
    app::{Access, App, Inside, InsideSegment, Origin, OriginUrl, Publication, Segment, Sso},
    host::HostPattern,
    name::GroupId,
    path::PathPrefix,
    settings::Settings,
};

use crate::{
    admin, rules,
    violation::{Violation, Violations},
};

mod answers;
mod assignment;
mod client_cas;
mod cors;
mod health;
mod identity;
pub(crate) mod limits;
mod origin;
mod session_cookie;
mod site;
pub(crate) mod sso;
#[cfg(test)]
mod tests;
mod tile;
pub(crate) mod timeouts;
mod tokens;
mod translation;

/// Reads an app that shall have the id `id`, in a fabric with the product's own settings.
///
/// As [`publication_under`].
pub fn publication(id: &str, app: &admin::App) -> Result<Publication, Vec<Violation>> {
    publication_under(&Settings::default(), id, app)
}

/// Reads an app that shall have the id `id`; on failure says everything that is wrong with it.
///
/// The name, etag and times in `app` are not looked at. Time-outs and limits that are not set are those of `settings`;
/// spans of time are cut to whole milliseconds or seconds, which is what nodes are told.
pub fn publication_under(
    settings: &Settings,
    id: &str,
    app: &admin::App,
) -> Result<Publication, Vec<Violation>> {
    let mut found = Violations::default();
    let id = found.parse("app_id", id);
    found.display_name("app.display_name", &app.display_name);
    let main = site::read_main(app, &mut found);
    let (mut segments, inside_segments): (Vec<_>, Vec<_>) =
        site::read_segments(app, &main, &mut found)
            .into_iter()
            .unzip();
    let hosts = main.hosts();
    let home_path = read_home_path(app, main.path.as_ref(), &segments, &mut found);
    let group = read_group(&app.group, &mut found);
    let access = read_access(app, &mut found);
    let admitted = access.as_ref();
    let identity_fields = identity::read(app, admitted, &mut found);
    let of_segments = identity::read_of_segments(app, admitted, &mut found);
    let told = identity_fields.iter().chain(of_segments.iter().flatten());
    let identity_providers = identity::read_providers(app, admitted, &mut found);
    let (token_audiences, token_scopes) = tokens::read(app, admitted, &mut found);
    let client_cas = client_cas::read(&app.client_cas, admitted, &mut found);
    let assertion_field =
        identity::read_assertion(&app.assertion_field, admitted, told, &mut found);
    let session_cookie = session_cookie::read(app.session_cookie.as_ref(), admitted, &mut found);
    let cross_site_posts = session_cookie::read_posts(app.cross_site_posts, admitted, &mut found);
    let tile = tile::read(app, &hosts, &segments, &mut found);
    let timeouts = timeouts::read(
        "app.timeouts",
        app.timeouts.as_ref(),
        &settings.timeouts,
        &mut found,
    );
    let limits = limits::read(
        "app.limits",
        app.limits.as_ref(),
        &settings.limits,
        &mut found,
    );
    let answer_rules = answers::read(app.answer_rules.as_ref(), &mut found);
    let maintenance = answers::read_maintenance(app.maintenance.as_ref(), &mut found);
    let inside = read_inside(app, (main.origins, inside_segments), admitted, &mut found);
    let (Some(id), Some(path), Some(group), Some(access), true) =
        (id, main.path, group, access, found.is_empty())
    else {
        return Err(found.into_vec());
    };
    for (segment, fields) in segments.iter_mut().zip(of_segments) {
        segment.identity_fields = fields;
    }
    Ok(Publication {
        app: App {
            id,
            hosts,
            path,
            segments,
            group,
            access,
            timeouts,
            limits,
            answer_rules,
            cors: main.cors,
            maintenance,
            home_path,
            hide_forwarded: app.hide_forwarded,
            identity_fields,
            identity_providers,
            token_audiences,
            token_scopes,
            client_cas,
            assertion_field,
            sso: inside.sso.as_ref().map(Sso::edge),
            session_cookie,
            cross_site_posts,
            keep_field_case: app.keep_field_case,
            display_name: app.display_name.clone(),
            tile,
        },
        inside,
    })
}

/// Writes a publication as operators see it: all time-outs and limits filled in, no etag and no times.
pub fn admin_app(publication: &Publication) -> admin::App {
    let Publication { app, inside } = publication;
    let segments = app.segments.iter().zip(&inside.segments);
    admin::App {
        name: app.id.resource_name(),
        etag: String::new(),
        create_time: None,
        update_time: None,
        display_name: app.display_name.clone(),
        hosts: app.hosts.iter().map(HostPattern::to_string).collect(),
        path: app.path.as_str().to_owned(),
        origins: inside.origins.iter().map(origin::write).collect(),
        group: app.group.resource_name(),
        access: match app.access {
            Access::Passthrough => admin::Access::Passthrough.into(),
            Access::SignIn(_) => admin::Access::SignIn.into(),
        },
        identity_fields: app.identity_fields.iter().map(identity::write).collect(),
        identity_providers: identity::write_providers(&app.identity_providers),
        token_audiences: app.token_audiences.clone(),
        token_scopes: app.token_scopes.clone(),
        client_cas: client_cas::write(&app.client_cas),
        assertion_field: app.assertion_field.clone().unwrap_or_default(),
        single_sign_on: inside.sso.as_ref().map(sso::write),
        session_cookie: session_cookie::write(app.session_cookie),
        cross_site_posts: app.cross_site_posts,
        assignment: match &app.access {
            Access::Passthrough => None,
            // One of nobody is as good as none, and equal apps are written alike.
            Access::SignIn(assignment) => Some(assignment::write(assignment))
                .filter(|written| *written != admin::Assignment::default()),
        },
        timeouts: Some(timeouts::write(&app.timeouts)),
        limits: Some(limits::write(&app.limits)),
        segments: segments
            .map(|(segment, inside)| site::write_segment(segment, inside))
            .collect(),
        translation: translation::write(&inside.translation),
        answer_rules: answers::write(&app.answer_rules),
        cors: app.cors.iter().map(cors::write).collect(),
        maintenance: app.maintenance.as_ref().map(answers::write_maintenance),
        home_path: app.home_path.clone().unwrap_or_default(),
        hide_forwarded: app.hide_forwarded,
        keep_field_case: app.keep_field_case,
        origin_proxy: inside
            .proxy
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        health_check: inside.health_check.as_ref().map(health::write),
        tile: tile::write(&app.tile),
    }
}

/// `publication`, which was read from `said`, without what `said` leaves to the fabric's settings: what control keeps.
pub fn stored_app(publication: &Publication, said: &admin::App) -> admin::App {
    let app = &publication.app;
    admin::App {
        timeouts: timeouts::said(&app.timeouts, said.timeouts.as_ref()),
        limits: limits::said(&app.limits, said.limits.as_ref()),
        ..admin_app(publication)
    }
}

/// A stored app with the fabric's settings filled in where it says nothing.
pub fn filled_app(stored: admin::App, settings: &Settings) -> admin::App {
    admin::App {
        timeouts: Some(timeouts::filled(stored.timeouts, &settings.timeouts)),
        limits: Some(limits::filled(stored.limits, &settings.limits)),
        ..stored
    }
}

/// What only agents learn, of these origins and segments.
fn read_inside(
    app: &admin::App,
    (origins, segments): (Vec<Origin>, Vec<InsideSegment>),
    access: Option<&Access>,
    found: &mut Violations,
) -> Inside {
    Inside {
        sso: sso::read(app, access, (&origins, &segments), found),
        origins,
        segments,
        translation: translation::read(app.translation.as_ref(), found),
        proxy: read_proxy(&app.origin_proxy, found),
        health_check: app
            .health_check
            .as_ref()
            .and_then(|wire| health::read(wire, found)),
    }
}

fn read_home_path(
    app: &admin::App,
    main: Option<&PathPrefix>,
    segments: &[Segment],
    found: &mut Violations,
) -> Option<String> {
    const FIELD: &str = "app.home_path";
    if app.home_path.is_empty() {
        return None;
    }
    found.take(FIELD, rules::home_path(&app.home_path))?;
    let path = rules::path_of(&app.home_path);
    let main = main.filter(|_| !app.hosts.is_empty());
    let mut published = main
        .into_iter()
        .chain(segments.iter().map(|segment| &segment.path));
    if !published.any(|prefix| prefix.holds(path)) {
        found.add(
            FIELD,
            "is not published: must be under app.path or a segment's",
        );
    }
    Some(app.home_path.clone())
}

fn read_proxy(text: &str, found: &mut Violations) -> Option<OriginUrl> {
    if text.is_empty() {
        return None;
    }
    found.take("app.origin_proxy", rules::proxy(text))
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

fn read_access(app: &admin::App, found: &mut Violations) -> Option<Access> {
    const FIELD: &str = "app.access";
    let wire = app.assignment.as_ref();
    match admin::Access::try_from(app.access) {
        Ok(admin::Access::Passthrough) => {
            if wire.is_some() {
                found.add("app.assignment", "must be unset unless users sign in");
            }
            Some(Access::Passthrough)
        }
        Ok(admin::Access::SignIn) => Some(Access::SignIn(
            wire.map(|wire| assignment::read(wire, found))
                .unwrap_or_default(),
        )),
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
