//! All apps: by id, and by where they are published. What did not change goes from one view to the next as it is.

use std::{collections::HashMap, iter, sync::Arc};

use model::{
    app::App,
    name::AppId,
    route::{Publications, RouteTable},
};

use super::read::Part;

/// Into so many parts apps are cut by their ids: of 10,000 some 150 lie in each, which is what a change of one costs.
const SHARDS: usize = 64;

type Shard = HashMap<AppId, Arc<App>>;

/// Apps by id. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Apps {
    shards: Box<[Arc<Shard>]>,
    /// How many keep the case of field names.
    keeping_case: usize,
}

impl Default for Apps {
    fn default() -> Self {
        Self {
            shards: iter::repeat_n(Arc::default(), SHARDS).collect(),
            keeping_case: 0,
        }
    }
}

impl Apps {
    pub(super) fn get(&self, id: &AppId) -> Option<&Arc<App>> {
        self.shards[shard(id)].get(id)
    }

    /// Every one, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<App>> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    /// Whether any keeps the case of field names.
    pub(super) const fn keep_field_case(&self) -> bool {
        self.keeping_case > 0
    }

    fn put(&mut self, app: &Arc<App>) {
        let shard = Arc::make_mut(&mut self.shards[shard(&app.id)]);
        let before = shard.insert(app.id.clone(), Arc::clone(app));
        self.keeping_case += usize::from(app.keep_field_case);
        self.keeping_case -= before.map_or(0, |app| usize::from(app.keep_field_case));
    }

    fn remove(&mut self, app: &Arc<App>) {
        let shard = Arc::make_mut(&mut self.shards[shard(&app.id)]);
        let gone = shard.remove(&app.id);
        self.keeping_case -= gone.map_or(0, |app| usize::from(app.keep_field_case));
    }
}

/// Ids are operators' and short: nothing better than this is needed to spread them.
fn shard(id: &AppId) -> usize {
    let bytes = id.as_str().bytes().map(usize::from);
    bytes.fold(0, |hash: usize, byte| hash.wrapping_mul(31) + byte) % SHARDS
}

/// Apps on their way into views.
#[derive(Debug, Default)]
pub(super) struct Published {
    apps: Apps,
    /// By whether they are unusable, and name of their resource: one that cannot be read takes no place that is another's.
    publications: Publications<(bool, String)>,
}

impl Published {
    /// Notes what a resource has become, and what it was before.
    pub(super) fn change(&mut self, name: &str, before: Option<&Part>, now: Option<&Part>) {
        if let Some((unusable, app)) = before.and_then(app_of) {
            self.apps.remove(app);
            self.publications.remove(&(unusable, name.to_owned()), app);
        }
        if let Some((unusable, app)) = now.and_then(app_of) {
            self.apps.put(app);
            self.publications.put(&(unusable, name.to_owned()), app);
        }
    }

    /// All of them, and where they are.
    pub(super) fn view(&mut self) -> (Apps, RouteTable) {
        (self.apps.clone(), self.publications.table())
    }
}

/// The app, and whether it is unusable.
const fn app_of(part: &Part) -> Option<(bool, &Arc<App>)> {
    match part {
        Part::App(app) => Some((false, app)),
        Part::UnusableApp(app) => Some((true, app)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use model::app::Access;

    use super::*;

    fn app(id: &str, keep_field_case: bool) -> Part {
        let (id, group) = (id.parse().unwrap(), "office".parse().unwrap());
        Part::App(Arc::new(App {
            keep_field_case,
            ..App::new(id, group, Access::Passthrough)
        }))
    }

    #[test]
    fn a_view_keeps_what_it_has_while_apps_come_and_go() {
        let mut published = Published::default();
        let (wiki, other) = (app("wiki", true), app("wiki", false));
        published.change("apps/wiki", None, Some(&wiki));
        let (first, _) = published.view();
        published.change("apps/wiki", Some(&wiki), Some(&other));
        published.change("apps/crm", None, Some(&app("crm", false)));
        let (second, _) = published.view();
        published.change("apps/wiki", Some(&other), None);
        let (third, _) = published.view();
        let wiki = "wiki".parse().unwrap();
        let seen = [first, second, third].map(|apps| {
            let kept = apps.get(&wiki).map(|app| app.keep_field_case);
            (apps.all().count(), kept, apps.keep_field_case())
        });
        let want = [
            (1, Some(true), true),
            (2, Some(false), false),
            (1, None, false),
        ];
        assert_eq!(seen, want);
    }
}
