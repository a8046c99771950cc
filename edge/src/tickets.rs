//! Tickets by which users resume TLS sessions, at any worker of any edge that has the same keys.

use std::sync::Arc;

use rustls::server::ProducesTickets;

use crate::{sealing::Purpose, view::Views};

/// What clients are told: sessions are kept for this long at most. Half a day, as in rustls' own tickets.
const LIFETIME_SECONDS: u32 = 12 * 60 * 60;

const TICKET: Purpose<'_> = Purpose {
    kind: "ticket",
    place: "",
};

/// Makes tickets with the keys of the view of the moment; until there are some, with keys of this process's own.
#[derive(Debug)]
pub(crate) struct Tickets {
    views: Views,
    own: Arc<dyn ProducesTickets>,
}

impl Tickets {
    pub(crate) const fn new(views: Views, own: Arc<dyn ProducesTickets>) -> Self {
        Self { views, own }
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let view = self.views.current();
        let shared = view.and_then(|view| view.ticket_keys().seal(TICKET, plain));
        shared.or_else(|| self.own.encrypt(plain))
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let view = self.views.current();
        let shared = view.and_then(|view| view.ticket_keys().open(TICKET, cipher));
        // Tickets from before the first keys came.
        shared.or_else(|| self.own.decrypt(cipher))
    }
}
