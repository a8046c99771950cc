//! The host where users find the apps that they may use, and the few addresses that the edge answers at every host.
//!
//! A user comes to it as to an app: with a session of this host, or by way of the sign-in host. What is shown is what
//! [`authorise`] would admit now; that something is not shown protects nothing.

mod page;
mod wanted;

use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use model::{
    access::{Caller, Denial, authorise, facts::Facts},
    app::App,
    host::Hostname,
    image::ImageId,
    name::AppId,
    path,
};
use serde::Serialize;

use crate::{
    access_log::Record,
    answer,
    brand::{LOGO, LOGO_DARK},
    failure::RequestError,
    id::RequestId,
    own,
    sign_in::{
        Arrival,
        circumstances::{Circumstances, Use},
        host::credentials::{PAGE as APP_SIGN_IN_PAGE, takes_credentials},
        parameter, redirect,
        session::Session,
    },
};
use wanted::Wanted;

/// Leads to the portal, from every host: apps need not know its name.
const PORTAL: &str = "/.adit/portal";
/// Leads to where a user enters what they sign in to the app with that the query names.
const APP_SIGN_IN: &str = "/.adit/app-sign-in";
/// The same list for programs, at the portal's host.
const APPS: &str = "/.adit/apps";
/// Where icons of apps are, at the portal's host.
const ICONS: &str = "/icons/";

/// Apps of one page. More make it slow to draw, and are searched, not read.
const TILES_MAX: usize = 500;

/// The answer, if the request is for the portal, or for what every host has.
pub(crate) fn answer<B>(
    arrival: &Arrival<'_>,
    request: &Request<B>,
    record: &mut Record,
) -> Option<Result<Response<Bytes>, RequestError>> {
    let is_here = arrival.view.portal_host() == Some(&arrival.authority.host);
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let answer = match request.uri().path() {
        PORTAL if is_read => redirect_to_portal(arrival),
        APP_SIGN_IN if is_read => redirect_to_app_sign_in(arrival, request.uri().query()),
        LOGO if is_read => logo(arrival, request, &ImageId::Logo),
        LOGO_DARK if is_read => logo(arrival, request, &ImageId::LogoDark),
        _ if is_here => return Some(at_portal(arrival, request, record, is_read)),
        _ => return None,
    };
    Some(answer.map(|answer| without_body(request, answer)))
}

fn at_portal<B>(
    arrival: &Arrival<'_>,
    request: &Request<B>,
    record: &mut Record,
    is_read: bool,
) -> Result<Response<Bytes>, RequestError> {
    if let Some(answer) = arrival.answer(request) {
        return answer;
    }
    let path = request.uri().path();
    let icon = path.strip_prefix(ICONS);
    if !is_read || (!matches!(path, "/" | APPS | "/robots.txt") && icon.is_none()) {
        return Err(RequestError::NoPage);
    }
    if path == "/robots.txt" {
        return Ok(without_body(request, own::keep_out()));
    }
    let Some(session) = arrival.session(request.headers()) else {
        return arrival.ask(request);
    };
    record.user(&session.user.id);
    let visitor = Visitor {
        arrival,
        session: &session,
        circumstances: &Circumstances::of(arrival, request),
        now: arrival.clock.wall(),
        id: record.id(),
    };
    let answer = match icon {
        Some(app) => visitor.icon(app, request),
        None => {
            let wanted = Wanted::read(request.uri().query());
            match path {
                APPS => visitor.list(&wanted),
                _ => visitor.page(&wanted),
            }
        }
    };
    answer.map(|answer| without_body(request, answer))
}

/// Somebody at the portal.
#[derive(Clone, Copy, Debug)]
struct Visitor<'a> {
    arrival: &'a Arrival<'a>,
    session: &'a Session,
    /// How they came.
    circumstances: &'a Circumstances,
    now: SystemTime,
    id: RequestId,
}

/// Apps of one page, in order.
#[derive(Debug)]
struct Shelf<'a> {
    tiles: Vec<Tile<'a>>,
    /// All that are wanted, on whatever page.
    total: usize,
    /// Whether there are apps at all that the user may use.
    has_any: bool,
}

impl<'a> Visitor<'a> {
    /// Whether the user may use an app now, if need be once they have shown more: the same question as when they open it.
    fn may_use(&self, app: &App) -> bool {
        let (now, rules) = (self.now, self.arrival.view.rules());
        let facts = || {
            let here = self.circumstances;
            let here = Facts {
                // At this host nobody is asked for one: at the app's they may have it.
                has_device_certificate: self.arrival.view.wants_certificate(app),
                ..here.facts(self.session, Use::UnderWay, rules, now)
            };
            match app.entrance() {
                Some((host, path)) => Facts {
                    host: host.as_str(),
                    path: path::read_leniently(path),
                    ..here
                },
                None => here,
            }
        };
        let caller = Caller::User(self.session.user.clone());
        let decided = authorise(app, caller, rules, facts, &mut |_| {});
        matches!(decided, Ok(_) | Err(Denial::Lacking { .. }))
    }

    fn shelf(&self, wanted: &Wanted) -> Shelf<'a> {
        let listed = self.arrival.view.listed().iter();
        let mine = listed.map(|app| &**app).filter(|app| self.may_use(app));
        let mut mine = mine.peekable();
        let has_any = mine.peek().is_some();
        let matching: Vec<_> = mine.filter(|app| wanted.holds(app)).collect();
        let before = (wanted.page - 1).saturating_mul(TILES_MAX);
        let page = matching.iter().skip(before).take(TILES_MAX);
        Shelf {
            tiles: page.filter_map(|app| self.tile(app)).collect(),
            total: matching.len(),
            has_any,
        }
    }

    fn page(&self, wanted: &Wanted) -> Result<Response<Bytes>, RequestError> {
        let sign_in = self
            .arrival
            .view
            .sign_in_host()
            .ok_or(RequestError::NoView)?;
        let written = page::Written {
            shelf: &self.shelf(wanted),
            wanted,
            user: &self.session.user,
            sign_in: on_same_port(self.arrival, sign_in),
        };
        Ok(written.respond(self.id))
    }

    fn list(&self, wanted: &Wanted) -> Result<Response<Bytes>, RequestError> {
        let shelf = self.shelf(wanted);
        let list = List {
            total: shelf.total,
            next_page: wanted.next(shelf.total),
            apps: shelf.tiles,
        };
        let body = serde_json::to_vec(&list).map_err(|_| RequestError::Bug("json"))?;
        Ok(answer::document("application/json", body, StatusCode::OK))
    }

    fn tile(&self, app: &'a App) -> Option<Tile<'a>> {
        let (host, path) = app.entrance()?;
        let icon = ImageId::App(app.id.clone());
        let icon = self.arrival.view.pictures().find(&icon);
        let sign_in = self.arrival.view.sign_in_host();
        let sign_in = sign_in.filter(|_| takes_credentials(app));
        Some(Tile {
            app: app.id.as_str(),
            name: app.name(),
            description: &app.tile.description,
            category: &app.tile.category,
            url: format!("https://{}{path}", on_same_port(self.arrival, host)),
            icon: icon.map(|picture| format!("{ICONS}{}?{}", app.id, picture.tag)),
            sign_in: sign_in.map(|host| app_sign_in(self.arrival, host, &app.id)),
        })
    }

    /// Only of an app that the user may use: others do not learn that there is one.
    fn icon<B>(&self, id: &str, request: &Request<B>) -> Result<Response<Bytes>, RequestError> {
        let id: AppId = id.parse().map_err(|_| RequestError::NoPage)?;
        let view = self.arrival.view;
        let app = view.app(&id).filter(|app| self.may_use(app));
        app.ok_or(RequestError::NoPage)?;
        let picture = view.pictures().find(&ImageId::App(id));
        let picture = picture.ok_or(RequestError::NoPage)?;
        Ok(picture.respond(request.headers(), "private"))
    }
}

/// An app as programs are told of it.
#[derive(Debug, Serialize)]
struct Tile<'a> {
    app: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    category: &'a str,
    url: String,
    /// Path at the portal's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    icon: Option<String>,
    /// Where the user enters what they sign in to the app with, if they have to.
    #[serde(skip_serializing_if = "Option::is_none")]
    sign_in: Option<String>,
}

/// The portal for programs.
#[derive(Debug, Serialize)]
struct List<'a> {
    apps: Vec<Tile<'a>>,
    /// On all pages together.
    total: usize,
    /// For `?page=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page: Option<usize>,
}

fn redirect_to_portal(arrival: &Arrival<'_>) -> Result<Response<Bytes>, RequestError> {
    let portal = arrival.view.portal_host().ok_or(RequestError::NoView)?;
    redirect(&format!("https://{}/", on_same_port(arrival, portal)))
}

/// Of the app that the query names; without one to the portal. Whether there is such an app is told to those only who may use it, and there.
fn redirect_to_app_sign_in(
    arrival: &Arrival<'_>,
    query: Option<&str>,
) -> Result<Response<Bytes>, RequestError> {
    let app = parameter(query, "app").parse().ok();
    match (app, arrival.view.sign_in_host()) {
        (Some(app), Some(host)) => redirect(&app_sign_in(arrival, host, &app)),
        _ => redirect_to_portal(arrival),
    }
}

fn app_sign_in(arrival: &Arrival<'_>, host: &Hostname, app: &AppId) -> String {
    let at = on_same_port(arrival, host);
    format!("https://{at}{APP_SIGN_IN_PAGE}?app={app}")
}

fn logo<B>(
    arrival: &Arrival<'_>,
    request: &Request<B>,
    id: &ImageId,
) -> Result<Response<Bytes>, RequestError> {
    let logo = arrival.view.pictures().find(id);
    let logo = logo.ok_or(RequestError::NoPage)?;
    Ok(logo.respond(request.headers(), "public"))
}

/// A host as in a URL, on the port by which the user came.
fn on_same_port(arrival: &Arrival<'_>, host: &Hostname) -> String {
    match arrival.authority.text.split_once(':') {
        Some((_, port)) => format!("{host}:{port}"),
        None => host.to_string(),
    }
}

fn without_body<B>(request: &Request<B>, response: Response<Bytes>) -> Response<Bytes> {
    if *request.method() == Method::HEAD {
        return response.map(|_| Bytes::new());
    }
    response
}
