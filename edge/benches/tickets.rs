//! Sealing and opening what a user brings back: tickets of TLS sessions, the nearest thing to a session cookie until the edge
//! signs users in.
//!
//! The edge's own file is compiled in here, as nothing outside of the edge makes tickets; only the view around its keys is another.

#[path = "../../loadtest/cpu_time.rs"]
mod cpu_time;
#[path = "../src/tickets.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the rest of the edge uses more of it"
)]
mod tickets;

/// Keys in the place where the edge's views have them.
mod view {
    use std::sync::Arc;

    use crate::tickets::TicketKeys;

    #[derive(Clone, Debug)]
    pub(crate) struct Views(pub Arc<View>);

    #[derive(Debug)]
    pub(crate) struct View(pub TicketKeys);

    impl Views {
        pub(crate) fn current(&self) -> Option<Arc<View>> {
            Some(Arc::clone(&self.0))
        }
    }

    impl View {
        pub(crate) const fn ticket_keys(&self) -> &TicketKeys {
            &self.0
        }
    }
}

use std::{hint::black_box, sync::Arc};

use cpu_time::CpuTime;
use criterion::{Criterion, criterion_group, criterion_main};
use proto::fabric;
use rustls::server::ProducesTickets;
use tickets::{TicketKeys, Tickets};
use view::{View, Views};

/// Bytes of a session as rustls writes it for TLS 1.3, without client certificates.
const SESSION_BYTES: usize = 120;

/// What is there before control sends keys; never asked here.
#[derive(Debug)]
struct Nothing;

impl ProducesTickets for Nothing {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _cipher: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

fn tickets_with(keys: u8) -> Tickets {
    let keys = (0..keys).map(|number| fabric::TicketKey {
        name: vec![number; 16].into(),
        key: vec![number; 32].into(),
    });
    let keys = fabric::TicketKeys {
        keys: keys.collect(),
    };
    let keys = TicketKeys::new(&keys).expect("good keys");
    Tickets::new(Views(Arc::new(View(keys))), Arc::new(Nothing))
}

fn tickets(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("tickets");
    let tickets = tickets_with(3);
    let session = [7; SESSION_BYTES];
    group.bench_function("seal", |bencher| {
        bencher.iter(|| tickets.encrypt(black_box(&session)));
    });
    let ticket = tickets.encrypt(&session).expect("there is a key");
    group.bench_function("open", |bencher| {
        bencher.iter(|| tickets.decrypt(black_box(&ticket)));
    });
    let mut forged = ticket.clone();
    forged[ticket.len() - 1] ^= 1;
    group.bench_function("refuse", |bencher| {
        bencher.iter(|| tickets.decrypt(black_box(&forged)));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = tickets
}
criterion_main!(benches);
