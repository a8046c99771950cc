//! Plain HTTP: everything that is published is sent on to https, the rest is told that there is nothing.

use http::{HeaderValue, Request, Response, StatusCode, header, uri::PathAndQuery};
use model::reason::Reason;

use crate::{
    answer::{self, Form, Refusal},
    authority::{self, PublicPort},
    download::Body,
    id::RequestId,
    view::View,
};

/// Port of the default scheme.
const HTTPS_PORT: u16 = 443;

/// Where https is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Port that users reach.
    pub port: u16,
}

/// The answer to a plain request. A host that nobody published is never repeated in a redirect.
pub(crate) fn answer<B>(
    target: &Target,
    view: Option<&View>,
    request: &Request<B>,
) -> Response<Body> {
    location(target, view, request).map_or_else(
        |reason| {
            let form = Form::of(request.method(), request.headers());
            answer::refuse(&Refusal::new(reason, RequestId::random()), form).map(Body::whole)
        },
        |location| {
            let mut response = Response::new(Body::Whole(None));
            // 308 keeps method and body.
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(header::LOCATION, location);
            response
        },
    )
}

fn location<B>(
    target: &Target,
    view: Option<&View>,
    request: &Request<B>,
) -> Result<HeaderValue, Reason> {
    let view = view.ok_or(Reason::NotReady)?;
    let port = PublicPort::Told(target.port);
    let authority =
        authority::read(request.uri(), request.headers(), port).map_err(|_| Reason::NoApp)?;
    let own = [view.sign_in_host(), view.portal_host()];
    if view.site(&authority.host).is_none() && !own.contains(&Some(&authority.host)) {
        return Err(Reason::NoApp);
    }
    let host = authority.host;
    let target_path = request.uri().path_and_query().map(PathAndQuery::as_str);
    // "OPTIONS *" has none.
    let path = target_path
        .filter(|path| path.starts_with('/'))
        .unwrap_or("/");
    let location = match target.port {
        HTTPS_PORT => format!("https://{host}{path}"),
        port => format!("https://{host}:{port}{path}"),
    };
    HeaderValue::try_from(location).map_err(|_| Reason::BadRequest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proto::fabric::{self, Resource, resource::Kind};

    use super::*;

    fn view() -> View {
        let app = fabric::EdgeApp {
            id: "wiki".to_owned(),
            hosts: vec!["wiki.example.com".to_owned()],
            path: "/".to_owned(),
            group: "office".to_owned(),
            access: fabric::AccessKind::Passthrough.into(),
            timeouts: Some(fabric::Timeouts {
                connect_ms: 1_000,
                response_ms: 1_000,
                idle_ms: 1_000,
                ..Default::default()
            }),
            ..Default::default()
        };
        let resource = Resource {
            name: "apps/wiki".to_owned(),
            kind: Some(Kind::EdgeApp(app)),
        };
        View::build(1, &BTreeMap::from([("apps/wiki".to_owned(), resource)]))
    }

    fn check(host: &str, port: u16) -> (u16, Option<String>) {
        check_target("/a%20b?c=d", host, port)
    }

    fn check_target(target: &str, host: &str, port: u16) -> (u16, Option<String>) {
        let request = Request::options(target)
            .header("host", host)
            .body(())
            .unwrap();
        let response = answer(&Target { port }, Some(&view()), &request);
        let location = response.headers().get(header::LOCATION);
        (
            response.status().as_u16(),
            location.map(|value| value.to_str().unwrap().to_owned()),
        )
    }

    #[test]
    fn published_hosts_are_sent_to_https_with_path_and_query() {
        let default = "https://wiki.example.com/a%20b?c=d".to_owned();
        assert_eq!(check("wiki.example.com", 443), (308, Some(default)));
        let other = "https://wiki.example.com:8443/a%20b?c=d".to_owned();
        assert_eq!(check("wiki.example.com:8080", 8443), (308, Some(other)));
    }

    #[test]
    fn a_target_without_a_path_leads_to_the_root() {
        for (target, port, want) in [
            ("*", 443, "https://wiki.example.com/"),
            ("*", 8443, "https://wiki.example.com:8443/"),
        ] {
            let location = check_target(target, "wiki.example.com", port).1;
            assert_eq!(location.as_deref(), Some(want));
        }
    }

    #[test]
    fn other_hosts_are_not_repeated() {
        assert_eq!(check("evil.example", 443), (404, None));
        assert_eq!(check("10.0.0.1", 443), (404, None));
    }
}
