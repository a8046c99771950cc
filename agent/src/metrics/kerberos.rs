//! What is counted of sign-ons by Kerberos.

use std::sync::Arc;

use ::kerberos::{BreakerState, Exchange, Kind, Observer, Stage, Stats};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::{
    KERBEROS_BREAKER_OPEN, KERBEROS_EXCHANGE_SECONDS, KERBEROS_EXCHANGES_TOTAL,
    KERBEROS_TICKET_LEFT_SECONDS, KERBEROS_TICKETS, KERBEROS_TOKEN_SECONDS,
};

/// The word for what went well.
const OK: &str = "ok";

/// Handles of all of it. Clones count into the same.
#[derive(Clone, Debug)]
pub struct KerberosMetrics {
    /// By stage, and then by outcome: well, or as a [`Kind`] says.
    exchanges: Arc<[Vec<Counter>; 4]>,
    /// By stage.
    exchange_seconds: Arc<[Histogram; 4]>,
    pub(crate) token_seconds: Histogram,
    tickets: Gauge,
    breaker_open: Gauge,
    ticket_left_seconds: Gauge,
}

impl KerberosMetrics {
    pub(super) fn new() -> Self {
        let of_stage = |stage: Stage| {
            let outcomes = Kind::ALL.map(Kind::as_str);
            let outcomes = [OK].into_iter().chain(outcomes);
            let counter = |outcome| counter!(KERBEROS_EXCHANGES_TOTAL, "stage" => stage.as_str(), "outcome" => outcome);
            outcomes.map(counter).collect()
        };
        Self {
            exchanges: Arc::new(Stage::ALL.map(of_stage)),
            exchange_seconds: Arc::new(
                Stage::ALL
                    .map(|stage| histogram!(KERBEROS_EXCHANGE_SECONDS, "stage" => stage.as_str())),
            ),
            token_seconds: histogram!(KERBEROS_TOKEN_SECONDS),
            tickets: gauge!(KERBEROS_TICKETS),
            breaker_open: gauge!(KERBEROS_BREAKER_OPEN),
            ticket_left_seconds: gauge!(KERBEROS_TICKET_LEFT_SECONDS),
        }
    }

    /// Counts exchanges with domain controllers.
    pub(crate) fn observer(&self) -> Observer {
        let own = self.clone();
        Arc::new(move |exchange: Exchange| {
            own.count(exchange.stage, exchange.result.err());
            let row = place(exchange.stage).and_then(|row| own.exchange_seconds.get(row));
            if let Some(seconds) = row {
                seconds.record(exchange.took);
            }
        })
    }

    /// Counts how one stage ended.
    pub(crate) fn count(&self, stage: Stage, failed: Option<Kind>) {
        let column = failed.map_or(Some(0), |kind| {
            let place = Kind::ALL.iter().position(|known| *known == kind);
            place.map(|place| place + 1)
        });
        let row = place(stage).and_then(|row| self.exchanges.get(row));
        let cell = row.zip(column).and_then(|(row, column)| row.get(column));
        if let Some(counter) = cell {
            counter.increment(1);
        }
    }

    /// Puts how things are into the gauges.
    pub(crate) fn note(&self, stats: &Stats) {
        let tickets = u32::try_from(stats.tickets).unwrap_or(u32::MAX);
        self.tickets.set(tickets);
        let is_open = match stats.breaker {
            BreakerState::Closed => 0.0,
            BreakerState::Open | BreakerState::Probing => 1.0,
        };
        self.breaker_open.set(is_open);
        let left = stats.agent_ticket_left.unwrap_or_default();
        self.ticket_left_seconds.set(left.as_secs_f64());
    }
}

fn place(stage: Stage) -> Option<usize> {
    Stage::ALL.iter().position(|known| *known == stage)
}
