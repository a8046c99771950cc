//! Doubles for tests: a certificate authority, and a control that answers as a script says.

pub(crate) mod ca;
pub(crate) mod control;
