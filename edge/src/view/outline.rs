//! What is left of an app that this edge cannot use.

use model::{
    app::{Access, App, Segment},
    host::HostPattern,
    path::PathPrefix,
};
use proto::fabric::EdgeApp;

/// Where an app is published, as far as that can be read, and nothing else of it: an app that cannot be used must not leave its
/// place to a less specific one. `None` if that is nowhere.
pub(super) fn read(app: &EdgeApp) -> Option<App> {
    let id = app.id.parse().ok()?;
    // Any will do, as no request is let through.
    let group = app.group.parse().or_else(|_| app.id.parse()).ok()?;
    let mut outline = App::new(id, group, Access::Passthrough);
    if let Some((hosts, path)) = place(&app.hosts, &app.path) {
        outline.hosts = hosts;
        outline.path = path;
    }
    outline.segments = app
        .segments
        .iter()
        .filter_map(|segment| {
            let (hosts, path) = place(&segment.hosts, &segment.path)?;
            Some(Segment {
                // As a place it needs none of its own.
                id: segment.id.parse().or_else(|_| app.id.parse()).ok()?,
                hosts,
                path,
                cors: Vec::new(),
                identity_fields: Vec::new(),
            })
        })
        .collect();
    let is_somewhere = !outline.hosts.is_empty() || !outline.segments.is_empty();
    is_somewhere.then_some(outline)
}

/// The hosts that can be read, and the path below them; all of them where that cannot be read.
fn place(hosts: &[String], path: &str) -> Option<(Vec<HostPattern>, PathPrefix)> {
    let path = path.parse().unwrap_or_else(|_| PathPrefix::root());
    let hosts: Vec<_> = hosts.iter().filter_map(|host| host.parse().ok()).collect();
    (!hosts.is_empty()).then_some((hosts, path))
}
