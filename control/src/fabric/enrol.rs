//! Enrolment: a join token and a certificate request become a record and an identity.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use model::name::GroupId;
use proto::{
    admin, control,
    fabric::{EnrolRequest, EnrolResponse},
    time::wire_timestamp,
};
use runtime::node::Role;

use super::{FabricContext, Service, member, member::Record, refusal::Refusal};
use crate::{
    admin as admin_api, audit,
    ca::{NodeRequest, Signed},
    denied,
    presence::NodeId,
    server::Admission,
    store::{ATTEMPTS_MAX, Check, Entry as Stored, Op, TxnError},
    telemetry,
    tokens::{TokenError, UsableJoin, use_join},
};

/// Bad tokens of one address before it is told no more about them: a fleet behind one address with an old token stays below it.
pub(super) const REFUSED_MAX: u32 = 60;
/// Characters of a node's version that are kept.
const VERSION_CHARS_MAX: usize = 64;

/// Everything that one attempt puts into the store.
struct Entry {
    id: NodeId,
    request: NodeRequest,
    version: String,
    ephemeral: bool,
    peer: String,
}

impl Service {
    pub(super) async fn enrol_from(
        &self,
        peer: Option<SocketAddr>,
        admission: Option<&Admission>,
        request: &EnrolRequest,
    ) -> Result<EnrolResponse, Refusal> {
        let outcome = self.enrol_once_at_a_time(peer, admission, request).await;
        let outcome = outcome.map_err(|refusal| self.hide_if_barred(peer, refusal));
        let word = outcome
            .as_ref()
            .map_or_else(|refusal| refusal.class().1, |_| "enrolled");
        telemetry::enrolments(word).increment(1);
        outcome
    }

    /// Whoever brings bad tokens, or keys that nobody knows, again and again is told no more about them. A good one lets in from any address: many nodes, and
    /// a stranger, may share one.
    pub(super) fn hide_if_barred(&self, peer: Option<SocketAddr>, refusal: Refusal) -> Refusal {
        let Some(address) = peer.map(|peer| peer.ip()) else {
            return refusal;
        };
        let (now, is_guess) = (self.context.clock.now(), refusal.is_guess());
        if is_guess && self.attempts.is_barred(address, now) {
            return Refusal::TooManyAttempts;
        }
        tracing::warn!(reason = refusal.class().1, peer = %address, error = %refusal, "enrolment refused");
        if is_guess {
            self.attempts.note(address, now);
        }
        refusal
    }

    async fn enrol_once_at_a_time(
        &self,
        peer: Option<SocketAddr>,
        admission: Option<&Admission>,
        request: &EnrolRequest,
    ) -> Result<EnrolResponse, Refusal> {
        let context = &*self.context;
        // Before the queue, where nobody shall wait behind strangers.
        token(context, &request.token).await?;
        if let Some(admission) = admission {
            admission.grant();
        }
        let _turn = self.enrolling.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let usable = token(context, &request.token).await?;
            let entry = read(context, &usable, peer, request)?;
            let place = place(context, &entry, &usable).await?;
            let signed = context.ca.sign_node(&entry.request, context.clock.wall())?;
            match write(context, &entry, &place, &usable, &signed).await {
                Ok(()) => return Ok(answer(context, &signed)),
                Err(TxnError::Conflict(check)) => refuse_conflict(&entry, &check)?,
                Err(TxnError::Store(error)) => return Err(error.into()),
            }
        }
        Err(Refusal::Contended)
    }
}

/// A token that lets a node in, now.
pub(super) async fn token(context: &FabricContext, token: &str) -> Result<UsableJoin, Refusal> {
    let usable = use_join(&context.join_issuer, &*context.store, &context.clock, token).await?;
    Ok(usable)
}

/// Checks that the request asks for what the token allows.
fn read(
    context: &FabricContext,
    usable: &UsableJoin,
    peer: Option<SocketAddr>,
    request: &EnrolRequest,
) -> Result<Entry, Refusal> {
    let parsed = NodeRequest::parse(&request.csr)?;
    let name = parsed.name();
    if *name.domain() != context.domain {
        return Err(Refusal::OtherDomain);
    }
    let allowed = if usable.group.is_some() {
        Role::Agent
    } else {
        Role::Edge
    };
    let id = member::node_id(name).filter(|_| name.role() == allowed);
    let id = id.ok_or(Refusal::RoleMismatch {
        asked: name.role().as_str(),
        allowed: allowed.as_str(),
    })?;
    if let Some(node) = &usable.node
        && *node != id.resource_name()
    {
        return Err(Refusal::OtherNode(node.clone()));
    }
    Ok(Entry {
        id,
        request: parsed,
        version: request.version.chars().take(VERSION_CHARS_MAX).collect(),
        ephemeral: request.ephemeral,
        peer: peer.map(|peer| peer.to_string()).unwrap_or_default(),
    })
}

/// What stands under the id that a node asks for.
enum Place {
    /// Nothing.
    Free,
    /// A node that was away until its certificate had run out, whose id is for whoever brings a token; or the very node that the
    /// token was made for, by an operator who knows that it has lost its key.
    Vacant(Stored, Record),
    /// This very node, with the same token and key: it did not hear the answer.
    Again(Stored, Record),
}

impl Place {
    /// That it is still so.
    fn check(&self, name: &Arc<str>) -> Check {
        match self {
            Self::Free => Check::Absent(Arc::clone(name)),
            Self::Vacant(stored, _) | Self::Again(stored, _) => {
                Check::Unchanged(Arc::clone(name), stored.modified)
            }
        }
    }

    /// When the id came into use, if it was before.
    fn created(&self) -> Option<SystemTime> {
        match self {
            Self::Free => None,
            Self::Vacant(_, record) | Self::Again(_, record) => record.created_at(),
        }
    }
}

/// Looks for a place for the node; refused if the token may not give it.
async fn place(
    context: &FabricContext,
    entry: &Entry,
    usable: &UsableJoin,
) -> Result<Place, Refusal> {
    let found = look(context, entry, usable).await;
    match found {
        Ok(Place::Free | Place::Vacant(..)) | Err(Refusal::AlreadyExists(_))
            if usable.count.is_none() =>
        {
            Err(TokenError::UsedUp.into())
        }
        found => found,
    }
}

async fn look(
    context: &FabricContext,
    entry: &Entry,
    usable: &UsableJoin,
) -> Result<Place, Refusal> {
    let name = entry.id.resource_name();
    let Some(stored) = context.store.get(&name).await? else {
        return Ok(Place::Free);
    };
    let record = Record::decode(&entry.id, &stored.value);
    let record = record.ok_or_else(|| Refusal::Corrupt(name.clone()))?;
    if record.is_revoked() {
        return Err(Refusal::NodeRevoked(name));
    }
    let now = context.clock.wall();
    let group = usable.group.as_ref().map(GroupId::resource_name);
    let fits = record.fits(group.as_deref());
    if record.expires_at().is_some_and(|expiry| expiry < now) && fits {
        return Ok(Place::Vacant(stored, record));
    }
    if record.is_of(&usable.name, &entry.request.key_sha256()) {
        return Ok(Place::Again(stored, record));
    }
    if usable.node.is_some() && fits {
        return Ok(Place::Vacant(stored, record));
    }
    Err(Refusal::AlreadyExists(name))
}

/// Counts the token's use and makes the record, both or neither.
async fn write(
    context: &FabricContext,
    entry: &Entry,
    place: &Place,
    usable: &UsableJoin,
    signed: &Signed,
) -> Result<(), TxnError> {
    let name: Arc<str> = entry.id.resource_name().into();
    let mut checks = vec![usable.check.clone(), place.check(&name)];
    let mut ops = Vec::new();
    let mut record = match place {
        Place::Again(_, record) => record.clone(),
        Place::Free | Place::Vacant(..) => {
            let now = context.clock.wall();
            let (undenied, freed) = denied::free(&*context.store, &name, now).await?;
            checks.push(undenied);
            ops.extend(freed);
            ops.extend(usable.count.clone());
            if let Some(group) = &usable.group {
                let (check, op) = admin_api::join(group);
                checks.push(check);
                ops.push(op);
            }
            new_record(entry, usable, place.created().unwrap_or(now), now)
        }
    };
    record.certify(entry.request.key_sha256(), signed.expires_at);
    ops.push(Op::Put(Arc::clone(&name), record.encode()));
    // The same answer once more changes nothing, and a node that asks without end must not push out what others did.
    if !matches!(place, Place::Again(..)) {
        ops.push(audit::op(event(entry, usable), &context.clock));
    }
    context.store.txn(checks, ops).await?;
    tracing::info!(node = %name, join_token = %usable.name, peer = %entry.peer, "node enrolled");
    Ok(())
}

fn event(entry: &Entry, usable: &UsableJoin) -> audit::Event {
    audit::Event {
        actor: usable.name.to_string(),
        method: "Enrol",
        resource: entry.id.resource_name(),
        peer: entry.peer.clone(),
        ..audit::Event::default()
    }
}

fn new_record(entry: &Entry, usable: &UsableJoin, created: SystemTime, now: SystemTime) -> Record {
    let name = entry.id.resource_name();
    let (created, now) = (Some(wire_timestamp(created)), Some(wire_timestamp(now)));
    let join_token = usable.name.to_string();
    match entry.id {
        NodeId::Agent(_) => Record::Agent(
            control::AgentRecord {
                join_token,
                ..Default::default()
            },
            admin::Agent {
                name,
                create_time: created,
                update_time: now,
                group: usable
                    .group
                    .as_ref()
                    .map(GroupId::resource_name)
                    .unwrap_or_default(),
                version: entry.version.clone(),
                ephemeral: entry.ephemeral,
                ..Default::default()
            },
        ),
        NodeId::Edge(_) => Record::Edge(
            control::EdgeRecord {
                join_token,
                ..Default::default()
            },
            admin::Edge {
                name,
                create_time: created,
                update_time: now,
                version: entry.version.clone(),
                ..Default::default()
            },
        ),
    }
}

/// A change of the token or of the node's record is worth another try; both are read anew then.
fn refuse_conflict(entry: &Entry, check: &Check) -> Result<(), Refusal> {
    let name = entry.id.resource_name();
    match check {
        Check::Absent(key) if **key == *name => Ok(()),
        Check::Absent(_) => Err(Refusal::Denied(name)),
        Check::Present(group) => Err(Refusal::GroupUnknown(group.to_string())),
        Check::Unchanged(..) => Ok(()),
    }
}

pub(super) fn answer(context: &FabricContext, signed: &Signed) -> EnrolResponse {
    let der = |certificate: &[u8]| certificate.to_vec().into();
    EnrolResponse {
        certificate_chain: signed
            .chain
            .iter()
            .map(|certificate| der(certificate))
            .collect(),
        roots: vec![der(context.ca.root())],
    }
}
