//! What an edge says of itself when it connects: where agents dial it, and how many workers it has.

use std::sync::Arc;

use proto::{fabric::SyncHello, time::wire_timestamp};

use super::{
    FabricContext, ProvenNode,
    member::{self, Member, Record},
    refusal::Refusal,
};
use crate::{
    audit,
    store::{ATTEMPTS_MAX, Op},
};

/// Most workers an edge may claim; agents keep a link to each, up to a cap of their own.
const WORKERS_MAX: u32 = 1_024;
/// Longest "host:port": that of a DNS name, and six more.
const ADDRESS_BYTES_MAX: usize = 259;

/// Writes what has changed into the edge's record. An agent has nothing to say.
pub(super) async fn note(
    context: &FabricContext,
    node: &ProvenNode,
    mut member: Member,
    hello: &SyncHello,
) -> Result<(), Refusal> {
    if matches!(member.record, Record::Agent(..)) || hello.tunnel_address.is_empty() {
        return Ok(());
    }
    check(hello)?;
    for _ in 0..ATTEMPTS_MAX {
        let unchanged = member.unchanged();
        let key = Arc::clone(&member.entry.key);
        let mut record = member.record;
        let changed_fields = apply(&mut record, hello);
        if changed_fields.is_empty() {
            return Ok(());
        }
        if let Record::Edge(_, edge) = &mut record {
            edge.update_time = Some(wire_timestamp(context.clock.wall()));
        }
        let event = audit::Event {
            actor: key.to_string(),
            method: "Sync",
            resource: key.to_string(),
            changed_fields,
            ..audit::Event::default()
        };
        let ops = vec![
            Op::Put(key, record.encode()),
            audit::op(event, &context.clock),
        ];
        if context.commit(vec![unchanged], ops).await? {
            return Ok(());
        }
        member = member::admit(context, node).await?;
    }
    Err(Refusal::Contended)
}

fn check(hello: &SyncHello) -> Result<(), Refusal> {
    if !is_dialable(&hello.tunnel_address) {
        return Err(Refusal::Protocol("tunnel_address must be host:port"));
    }
    if !(hello.tcp_address.is_empty() || is_dialable(&hello.tcp_address)) {
        return Err(Refusal::Protocol("tcp_address must be host:port"));
    }
    if !(1..=WORKERS_MAX).contains(&hello.workers) {
        return Err(Refusal::Protocol("workers must be 1 to 1024"));
    }
    Ok(())
}

fn is_dialable(address: &str) -> bool {
    address.len() <= ADDRESS_BYTES_MAX
        && address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
        })
}

fn apply(record: &mut Record, hello: &SyncHello) -> Vec<String> {
    let mut changed = Vec::new();
    if let Record::Edge(record, edge) = record {
        if edge.tunnel_address != hello.tunnel_address {
            edge.tunnel_address.clone_from(&hello.tunnel_address);
            changed.push("tunnel_address".to_owned());
        }
        if edge.tcp_address != hello.tcp_address {
            edge.tcp_address.clone_from(&hello.tcp_address);
            changed.push("tcp_address".to_owned());
        }
        if record.workers != hello.workers {
            record.workers = hello.workers;
            changed.push("workers".to_owned());
        }
    }
    changed
}
