//! How users speak: one module for each protocol, and one for each thing that is done over any of them.
//!
//! A user is a place for one request at a time. It makes its connection when it needs one, and makes a new one after a failure.

pub(crate) mod echo;
pub(crate) mod grpc;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod http3;
pub(crate) mod quic;
pub(crate) mod socket;
pub(crate) mod transfer;

use crate::tally::{Answer, Failure};

/// A user, who does the same thing again and again.
pub(crate) trait Exchange {
    /// Makes the connection, if there is none, so that the first request needs not.
    async fn connect(&mut self) -> Result<(), Failure>;

    /// Does it once. After a failure, and after being dropped midway and [`Exchange::give_up`], it can be done again.
    async fn exchange(&mut self) -> Result<Answer, Failure>;

    /// Forgets what is under way.
    fn give_up(&mut self);
}

/// A protocol that carries requests and answers of HTTP.
pub(crate) trait Protocol {
    /// Makes the connection, if there is none.
    async fn connect(&mut self) -> Result<(), Failure>;

    /// Sends the request number `which` of the load, with its body, and waits for the head of a 2xx answer.
    async fn ask(&mut self, which: usize) -> Result<(), Failure>;

    /// The next piece of the answer's body; `None` at its end, after which the next request may be sent.
    async fn data(&mut self) -> Result<Option<&[u8]>, Failure>;

    /// Forgets the request under way, with its connection if need be.
    fn give_up(&mut self);

    /// Wants no more of the answer, as a user who leaves: what other requests share stays.
    fn leave(&mut self) {
        self.give_up();
    }
}
