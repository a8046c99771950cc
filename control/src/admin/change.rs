//! The audit row of a change, for the transaction that makes it.

use runtime::Clock;

use super::operator::Operator;
use crate::{audit, store::Op};

/// What an operator changes.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    /// `UpdateApp`.
    pub(crate) method: &'static str,
    /// `apps/wiki`.
    pub(crate) resource: &'a str,
    /// For updates.
    pub(crate) changed_fields: Vec<String>,
}

impl<'a> Change<'a> {
    /// A change of the whole resource.
    pub(crate) fn of(method: &'static str, resource: &'a str) -> Self {
        Self {
            method,
            resource,
            changed_fields: Vec::new(),
        }
    }

    /// Goes into the same transaction as the change.
    pub(crate) fn row(self, operator: &Operator, clock: &Clock) -> Op {
        let event = audit::Event {
            actor: operator.name.clone(),
            method: self.method,
            resource: self.resource.to_owned(),
            peer: operator.peer.clone(),
            changed_fields: self.changed_fields,
            ..audit::Event::default()
        };
        audit::op(event, clock)
    }
}
