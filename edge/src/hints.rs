//! Heads of the origin that come before its final one (1xx, such as 103 with early hints), on their way to a user.
//!
//! Users of HTTP/3 get them. hyper's servers can send none but the 100 that they write themselves.

use http::{HeaderMap, StatusCode};
use proto::tunnel::ResponseHead;
use tokio::sync::mpsc;
use tunnel::frame::INFORMATIONAL_MAX;

use crate::{fields, rules::Rules};

/// One head.
#[derive(Debug)]
pub(crate) struct Hint {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub fields: HeaderMap,
}

/// The way to a user who can be sent them; it is among the extensions of its request.
#[derive(Clone, Debug)]
pub(crate) struct Hints(mpsc::Sender<Hint>);

/// A way, and its end.
pub(crate) fn way() -> (Hints, mpsc::Receiver<Hint>) {
    let (sender, receiver) = mpsc::channel(INFORMATIONAL_MAX.into());
    (Hints(sender), receiver)
}

impl Hints {
    /// Sends one. Nothing depends on them (RFC 9110, section 15.2): what cannot be read, or finds no room, is left out.
    pub(crate) fn pass_on(&self, head: &ResponseHead, rules: &Rules) {
        let status = u16::try_from(head.status).map(StatusCode::from_u16);
        let (Ok(Ok(status)), Ok(mut fields)) =
            (status, tunnel::fields::decode(head.fields.clone()))
        else {
            return;
        };
        fields::clean_response(&mut fields);
        rules.apply_to_origins(&mut fields);
        let _ = self.0.try_send(Hint { status, fields });
    }
}
