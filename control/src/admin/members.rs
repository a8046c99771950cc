//! Who belongs to a group, so that no group is deleted under its members.
//!
//! A transaction can check single keys, not that a collection holds nothing. So whoever joins a group also writes the
//! group's `groupMembers/` key in the same transaction. Deletion reads that key, looks through all apps and agents, and
//! then deletes under the check that the key is as it was: a member that joined meanwhile makes the check fail. Leaving
//! needs no mark, as it can only make a deletion possible.

use std::sync::Arc;

use bytes::Bytes;
use model::name::GroupId;
use proto::{admin, control};

use super::{record, refusal::Refusal};
use crate::store::{Check, Op, Store};

/// What a transaction must hold to make something a member of `group`: one check that the group exists, one write.
pub fn join(group: &GroupId) -> (Check, Op) {
    (
        Check::Present(Arc::from(group.resource_name())),
        Op::Put(key(group), Bytes::new()),
    )
}

/// That nobody has joined since [`joined`] was read, and the write that removes the mark with the group.
pub(crate) struct Unjoined {
    pub(crate) check: Check,
    pub(crate) delete: Op,
}

/// Reads the mark. To be called before the members are looked for.
pub(crate) async fn joined(store: &dyn Store, group: &GroupId) -> Result<Unjoined, Refusal> {
    let key = key(group);
    Ok(Unjoined {
        check: Check::as_read(&key, store.get(&key).await?.as_ref()),
        delete: Op::Delete(key),
    })
}

/// The name of a member, if there is any. Revoked agents are none: they never serve again.
pub(crate) async fn find(store: &dyn Store, group: &GroupId) -> Result<Option<String>, Refusal> {
    let name = group.resource_name();
    for entry in store.snapshot(&["apps/", "agents/"]).await?.entries {
        if entry.key.starts_with("apps/") {
            let app: admin::App = record::decode(&entry)?;
            if app.group == name {
                return Ok(Some(app.name));
            }
            continue;
        }
        let stored: control::AgentRecord = record::decode(&entry)?;
        let agent = record::inner(&entry, stored.agent)?;
        if agent.group == name && !agent.revoked {
            return Ok(Some(agent.name));
        }
    }
    Ok(None)
}

fn key(group: &GroupId) -> Arc<str> {
    Arc::from(format!("groupMembers/{group}"))
}
