//! Resources that are stored as they are shown, all but their etags.

use prost::Message;

use super::{
    AdminContext, access_references::Mark, change::Change, mask::Fields, operator::Operator,
    record, refusal::Refusal,
};
use crate::store::{Check, Entry, Op, Revision};

/// A resource that is stored as the message that callers see.
pub(super) trait Plain: Message + Default + Clone + PartialEq + 'static {
    /// What an update may write.
    const FIELDS: &'static Fields<Self>;

    /// Its resource name, which is its key.
    fn name(&self) -> &str;

    /// Says what it was last written at.
    fn set_etag(&mut self, etag: String);

    /// With what follows from it, without what callers have no use for.
    fn shown(self) -> Self {
        self
    }
}

/// The resource in an entry, as callers see it.
pub(super) fn read<M: Plain>(entry: &Entry) -> Result<M, Refusal> {
    Ok(output(record::decode(entry)?, entry.modified))
}

fn output<M: Plain>(stored: M, modified: Revision) -> M {
    let mut shown = stored.shown();
    shown.set_etag(record::etag(modified));
    shown
}

/// A write that has passed every check that can be made before the transaction.
pub(super) struct Plan<M> {
    pub(super) method: &'static str,
    /// What is there; `None`: it is to be made.
    pub(super) before: Option<(Entry, M)>,
    pub(super) after: M,
    /// That there are not too many, or that what it names stays.
    pub(super) mark: Option<Mark>,
    /// What else goes into the transaction.
    pub(super) also: Option<Op>,
}

impl<M: Plain> Plan<M> {
    /// Writes what was planned, or only says what would be; `None`: something has changed since, so plan again.
    pub(super) async fn carry_out(
        self,
        context: &AdminContext,
        operator: &Operator,
        validate_only: bool,
    ) -> Result<Option<M>, Refusal> {
        let mut changed_fields = Vec::new();
        if let Some((entry, before)) = &self.before {
            changed_fields = M::FIELDS.changed(before, &self.after);
            if changed_fields.is_empty() {
                return Ok(Some(output(before.clone(), entry.modified)));
            }
        }
        if validate_only {
            return Ok(Some(self.after.shown()));
        }
        let name = self.after.name();
        let entry = self.before.as_ref().map(|(entry, _)| entry);
        let change = Change {
            method: self.method,
            resource: name,
            changed_fields,
        };
        let mut checks = vec![Check::as_read(name, entry)];
        let mut ops = vec![
            record::put(name, &self.after),
            change.row(operator, &context.clock),
        ];
        if let Some(mark) = self.mark {
            checks.push(mark.check);
            ops.push(mark.write);
        }
        ops.extend(self.also);
        let revision = record::commit(&*context.store, checks, ops).await?;
        Ok(revision.map(|revision| output(self.after, revision)))
    }
}
