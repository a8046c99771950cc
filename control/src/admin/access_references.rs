//! What access rules name: so that no rule names what is not there, and there are not too many of them.
//!
//! A transaction can check single keys, not that a collection holds nothing. So every write that adds to what rules name, or takes from what
//! they may name, also writes one mark, under the check that the mark is as it was before the writer looked.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use model::{access::when::Expression, name::AccessRuleId};
use proto::{access, admin, violation::Violation};

use super::{
    record,
    refusal::{Refusal, violation},
};
use crate::store::{Check, Op, Store};

/// Key of the mark.
const MARK: &str = "accessRuleMark";

/// That nobody else has changed anything that rules name since it was read, and what shows that somebody has.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) check: Check,
    pub(super) write: Op,
}

/// Reads the mark. To be called before anything else is looked for.
pub(super) async fn mark(store: &dyn Store) -> Result<Mark, Refusal> {
    Ok(Mark {
        check: Check::as_read(MARK, store.get(MARK).await?.as_ref()),
        write: Op::Put(Arc::from(MARK), Bytes::new()),
    })
}

/// That a collection has room for one more.
pub(super) async fn fewer_than(
    store: &dyn Store,
    collection: &str,
    max: usize,
) -> Result<Mark, Refusal> {
    let mark = mark(store).await?;
    let held = store.range(collection, None, max).await?.entries.len();
    if held < max {
        return Ok(mark);
    }
    let what = format!("there are {max} of {collection} already, which is the most");
    let resource = collection.to_owned();
    Err(Refusal::Precondition { resource, what })
}

/// That no rule names a location, or terms, which can be deleted then.
pub(super) async fn unnamed(store: &dyn Store, name: &str) -> Result<Mark, Refusal> {
    let mark = mark(store).await?;
    if let Some(rule) = rule_that_names(store, name).await? {
        let what = format!("{name} cannot be deleted: {rule} names it");
        let resource = rule;
        return Err(Refusal::Precondition { resource, what });
    }
    Ok(mark)
}

async fn rule_that_names(store: &dyn Store, wanted: &str) -> Result<Option<String>, Refusal> {
    for entry in store.snapshot(&[AccessRuleId::COLLECTION]).await?.entries {
        let rule: admin::AccessRule = record::decode(&entry)?;
        let names = names(&rule);
        if names.iter().any(|(_, name)| name == wanted) {
            return Ok(Some(rule.name));
        }
    }
    Ok(None)
}

/// What a rule names that has to be there, each with its field: apps, locations and terms. Users and their groups may be known to identity
/// providers alone.
fn names(rule: &admin::AccessRule) -> Vec<(String, String)> {
    let policy = rule.policy.clone().unwrap_or_default();
    let which = policy.which.unwrap_or_default();
    let place = policy.place.unwrap_or_default();
    let locations = |places: Option<access::Places>| places.unwrap_or_default().locations;
    // Of one that cannot be read, the policy's own check says what is wrong.
    let when = Expression::new(&policy.when).ok();
    let spoken_of = when.iter().flat_map(Expression::locations);
    let spoken_of = spoken_of.map(|id| ("access_rule.policy.when".to_owned(), id.resource_name()));
    let lists = [
        ("which.apps", which.apps),
        ("which.exclude_apps", which.exclude_apps),
        ("place.include.locations", locations(place.include)),
        ("place.exclude.locations", locations(place.exclude)),
        ("grant.terms", policy.grant.unwrap_or_default().terms),
    ];
    let lists = lists.into_iter().flat_map(|(field, names)| {
        let names = names.into_iter().enumerate();
        names.map(move |(index, name)| (format!("access_rule.policy.{field}[{index}]"), name))
    });
    lists.chain(spoken_of).collect()
}

/// What of a rule's names is not there. What it named `before` stays: an app may have gone since.
pub(super) async fn missing(
    store: &dyn Store,
    rule: &admin::AccessRule,
    before: Option<&admin::AccessRule>,
) -> Result<Vec<Violation>, Refusal> {
    let old: BTreeSet<_> = before
        .map(names)
        .unwrap_or_default()
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    let mut found = Vec::new();
    for (field, name) in names(rule) {
        if !old.contains(&name) && store.get(&name).await?.is_none() {
            found.push(violation(
                field,
                format!("names {name}, which does not exist"),
            ));
        }
    }
    Ok(found)
}
