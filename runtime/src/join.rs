//! How a node gets its identity: it trades a join token for a certificate, once.
//!
//! The token says where control is and what its CA looks like, so nothing else is needed. The node makes its key itself,
//! checks that the answer is what it asked for, and keeps identity and control's addresses in its data directory.

mod enrolment;
mod token;

pub use enrolment::{Enrolled, Enrolment, EnrolmentError, enrolled, kept, recovered, renewed};
pub use token::{JoinClaims, JoinToken, TokenError, TokenSource};
