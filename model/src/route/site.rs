//! What is published under one host, and which of it a path is for.

use std::{borrow::Cow, cmp::Reverse, slice, sync::Arc};

use super::{ROBOTS_PATH, Route, RouteError};
use crate::{
    app::{App, Robots},
    path::{self, Prefixes},
};

/// Everything that is published under one host.
#[derive(Debug)]
pub struct Site(Published);

#[derive(Debug)]
enum Published {
    /// One app at the host's root: paths make no difference.
    Whole(Route),
    Scoped(Box<Scoped>),
}

/// What paths decide about.
#[derive(Debug)]
struct Scoped {
    /// The longest path first.
    routes: Box<[Route]>,
    /// Indices into the routes, by path.
    plain: Prefixes<usize>,
    /// The same by path as the most lenient server reads it, if that is another for any; of those that read alike, the first.
    lenient: Option<Prefixes<usize>>,
    /// What each route's path is found as by its lenient reading.
    read_as: Box<[Option<usize>]>,
}

impl Site {
    /// One route at the root.
    pub(super) fn whole(route: Route) -> Self {
        Self(Published::Whole(route))
    }

    /// Any routes; of two at one path the first counts.
    pub(super) fn scoped(routes: Vec<Route>) -> Self {
        Self(Published::Scoped(Box::new(Scoped::new(routes))))
    }

    /// Finds what a request for `path` is for.
    pub fn find(&self, path: &str) -> Result<&Route, RouteError> {
        match &self.0 {
            Published::Whole(route) => Ok(route),
            Published::Scoped(scoped) => scoped.find(path),
        }
    }

    /// What robots are told. The app that holds [`ROBOTS_PATH`] speaks for the host. Where none does, one app that keeps
    /// robots out is enough, and an origin cannot be asked.
    pub fn robots(&self) -> Option<&Robots> {
        if let Some(route) = self.holding(ROBOTS_PATH) {
            return Some(&route.app.answer_rules.robots);
        }
        let all = || {
            let routes = self.routes().iter();
            routes.map(|route| &route.app.answer_rules.robots)
        };
        all()
            .find(|robots| **robots == Robots::Disallow)
            .or_else(|| all().find(|robots| **robots != Robots::Origin))
    }

    /// Where the portal's link to `app` leads on this host: its home path, if that is the app's here, or where it is
    /// published. Without `app` the one with the shortest path is meant.
    pub fn home(&self, app: Option<&str>) -> Option<&str> {
        let is_meant = |route: &&Route| app.is_none_or(|app| route.app.id.as_str() == app);
        let route = self.routes().iter().rev().find(is_meant)?;
        let home = route.app.home_path.as_deref();
        let home = home.filter(|home| self.leads_to(home, route));
        Some(home.unwrap_or_else(|| route.path().as_str()))
    }

    fn leads_to(&self, target: &str, route: &Route) -> bool {
        // Two slashes would begin the name of another host; browsers read backslashes as slashes and skip tabs.
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
        if !target.starts_with('/') || target.starts_with("//") || !target.bytes().all(plain) {
            return false;
        }
        let path = target.split(['?', '#']).next().unwrap_or(target);
        self.find(path)
            .is_ok_and(|found| Arc::ptr_eq(&found.app, &route.app))
    }

    /// Whether the main part of `app` is published under this host.
    pub fn has_main_of(&self, app: &App) -> bool {
        let mut routes = self.routes().iter();
        routes.any(|route| route.segment.is_none() && route.app.id == app.id)
    }

    /// The longest path first.
    pub fn routes(&self) -> &[Route] {
        match &self.0 {
            Published::Whole(route) => slice::from_ref(route),
            Published::Scoped(scoped) => &scoped.routes,
        }
    }

    fn holding(&self, path: &str) -> Option<&Route> {
        match &self.0 {
            Published::Whole(route) => Some(route),
            Published::Scoped(scoped) => scoped.holding(path),
        }
    }
}

impl Scoped {
    fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| Reverse(route.path().as_str().len()));
        let paths = || routes.iter().map(|route| route.path().as_str());
        let plain = Prefixes::new(paths().zip(0..));
        let readings: Vec<_> = paths().map(path::read_leniently).collect();
        let lenient = Prefixes::new(readings.iter().map(|reading| &**reading).zip(0..));
        let read_as = readings
            .iter()
            .map(|reading| lenient.longest(reading).copied());
        Self {
            read_as: read_as.collect(),
            lenient: readings
                .iter()
                .zip(paths())
                .any(|(reading, path)| reading != path)
                .then_some(lenient),
            plain,
            routes: routes.into(),
        }
    }

    /// What holds the path, if every server that reads it agrees (as [`path::reads_one_way`] has it).
    fn find(&self, path: &str) -> Result<&Route, RouteError> {
        if path::is_ambiguous(path) {
            return Err(RouteError::AmbiguousPath);
        }
        let plainly = self.plain.longest(path).copied();
        let read = path::read_leniently(path);
        let stands = self.lenient.is_none() && matches!(read, Cow::Borrowed(_));
        if !stands && self.leniently(&read) != plainly.and_then(|route| self.read_as[route]) {
            return Err(RouteError::AmbiguousPath);
        }
        plainly
            .map(|route| &self.routes[route])
            .ok_or(RouteError::NoApp)
    }

    fn leniently(&self, read: &str) -> Option<usize> {
        let prefixes = self.lenient.as_ref().unwrap_or(&self.plain);
        prefixes.longest(read).copied()
    }

    fn holding(&self, path: &str) -> Option<&Route> {
        let route = self.plain.longest(path)?;
        self.routes.get(*route)
    }
}
