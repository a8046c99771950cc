//! What the edge answers under an app's host by itself: its own namespace, and `robots.txt`.
//!
//! Nothing below `/.adit` ever reaches an origin, whatever is published on the host.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use model::{
    app::Robots,
    path,
    route::{ROBOTS_PATH, RouteError, Site},
};

use crate::{download::Body, failure::RequestError};

/// Where the namespace begins.
const NAMESPACE: &str = "/.adit";

/// Where portals lead: to the home of the app at the host's root, or of the one named by `?app=`.
const HOME: &str = "/.adit/home";

/// Keeps search engines out.
const KEEP_OUT: &str = "User-agent: *\nDisallow: /\n";

/// Longer, a robot would keep to what is not said any more; shorter, it would ask for nothing else.
const ROBOTS_CACHE: &str = "max-age=300";

/// The answer, if it is the edge's to give.
pub(crate) fn answer<B>(
    site: &Site,
    request: &Request<B>,
) -> Result<Option<Response<Body>>, RequestError> {
    let path = request.uri().path();
    if is_ours(path) {
        return match path {
            HOME => home(site, request.uri().query()).map(Some),
            _ => Err(RequestError::NoPage),
        };
    }
    if is_ours(&path::read_leniently(path)) {
        return Err(RequestError::Route(RouteError::AmbiguousPath));
    }
    if path == ROBOTS_PATH && matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(robots(site, request.method()));
    }
    Ok(None)
}

fn is_ours(path: &str) -> bool {
    path.strip_prefix(NAMESPACE)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn home(site: &Site, query: Option<&str>) -> Result<Response<Body>, RequestError> {
    let parameters = query.unwrap_or_default().split('&');
    let app = parameters
        .filter_map(|parameter| parameter.strip_prefix("app="))
        .next();
    let home = site.home(app).ok_or(RequestError::NoPage)?;
    let location = HeaderValue::from_str(home).map_err(|_| RequestError::NoPage)?;
    let mut response = Response::new(Body::Whole(None));
    *response.status_mut() = StatusCode::FOUND;
    let fields = response.headers_mut();
    fields.insert(header::LOCATION, location);
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What robots are told at hosts of the edge's own.
pub(crate) fn keep_out() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(KEEP_OUT.as_bytes()));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

/// Nothing if the origin is to answer.
fn robots(site: &Site, method: &Method) -> Option<Response<Body>> {
    let text = match site.robots()? {
        Robots::Disallow => KEEP_OUT,
        Robots::Origin => return None,
        Robots::Text(text) => text,
    };
    let body = if *method == Method::HEAD {
        Body::Whole(None)
    } else {
        Body::whole(Bytes::from(text.to_owned()))
    };
    let mut response = Response::new(body);
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    fields.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    fields.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static(ROBOTS_CACHE),
    );
    Some(response)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{
        app::{Access, AnswerRules, App},
        route::RouteTable,
    };

    use super::*;

    fn table(path: &str, robots: Robots) -> RouteTable {
        let app = App {
            hosts: vec!["wiki.example".parse().unwrap()],
            path: path.parse().unwrap(),
            home_path: Some(format!("{path}?start")),
            answer_rules: AnswerRules {
                robots,
                ..AnswerRules::default()
            },
            ..App::new(
                "wiki".parse().unwrap(),
                "office".parse().unwrap(),
                Access::Passthrough,
            )
        };
        RouteTable::new([Arc::new(app)])
    }

    /// Status and place of the answer, "origin", or the reason of a refusal.
    fn check(table: &RouteTable, method: Method, target: &str) -> String {
        let site = table.site(&"wiki.example".parse().unwrap()).unwrap();
        let request = Request::builder().method(method).uri(target);
        match answer(site, &request.body(()).unwrap()) {
            Ok(Some(response)) => {
                let location = response.headers().get(header::LOCATION);
                let location = location.map_or("", |location| location.to_str().unwrap());
                format!("{} {location}", response.status().as_u16())
            }
            Ok(None) => "origin".to_owned(),
            Err(error) => error.reason().to_string(),
        }
    }

    #[test]
    fn the_namespace_is_the_edges_whatever_is_published() {
        for path in ["/", "/wiki"] {
            let table = table(path, Robots::Origin);
            for (target, want) in [
                ("/.adit/home", format!("302 {path}?start")),
                ("/.adit/home?app=wiki", format!("302 {path}?start")),
                ("/.adit/home?app=crm", "no_page".to_owned()),
                ("/.adit", "no_page".to_owned()),
                ("/.adit/", "no_page".to_owned()),
                ("/.adit/home/x", "no_page".to_owned()),
                ("/.adit/../wiki", "no_page".to_owned()),
                ("/%2eadit/home", "bad_request".to_owned()),
                ("//.adit/home", "bad_request".to_owned()),
                ("/x/..%2f.adit/home", "bad_request".to_owned()),
                ("/.adit;x/home", "bad_request".to_owned()),
                ("/.adits", "origin".to_owned()),
                ("/x/.adit", "origin".to_owned()),
            ] {
                assert_eq!(check(&table, Method::GET, target), want, "{target}");
            }
        }
    }

    #[test]
    fn robots_are_answered_for_the_whole_host() {
        let text = || Robots::Text("Allow: /".to_owned());
        for (path, robots, method, target, want) in [
            ("/", Robots::Disallow, Method::GET, "/robots.txt", "200 "),
            (
                "/wiki",
                Robots::Disallow,
                Method::GET,
                "/robots.txt",
                "200 ",
            ),
            ("/wiki", text(), Method::HEAD, "/robots.txt?x", "200 "),
            ("/", Robots::Origin, Method::GET, "/robots.txt", "origin"),
            ("/", Robots::Disallow, Method::POST, "/robots.txt", "origin"),
            (
                "/",
                Robots::Disallow,
                Method::GET,
                "/wiki/robots.txt",
                "origin",
            ),
            ("/", Robots::Disallow, Method::GET, "/robots.txt/", "origin"),
            ("/", Robots::Disallow, Method::GET, "/Robots.txt", "origin"),
        ] {
            let table = table(path, robots.clone());
            let said = check(&table, method.clone(), target);
            assert_eq!(said, want, "{method} {target} {robots:?}");
        }
    }
}
