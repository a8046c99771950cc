//! Tokens for one request each, and the application's proof in return.

use std::{fmt, sync::Arc};

use tokio::time::Instant;

use crate::{
    bindings::Bindings,
    cache::Mortal,
    failure::{Failure, Kind, Stage},
    gssapi::{Context, Credential, Name},
    life::Life,
    name::UserName,
    negotiate::{self, Challenge},
    spn::Spn,
    spnego::{self, AnswerError, State},
};

/// How a token is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Framing {
    /// In SPNEGO, as RFC 4559 has it.
    #[default]
    Spnego,
    /// Not at all: Kerberos' own token.
    Kerberos,
}

/// What a token is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Who shall be signed on.
    pub user: UserName,
    /// At which service.
    pub target: Spn,
    /// The TLS connection's server, where there is one.
    pub bindings: Option<Bindings>,
    /// How the token is wrapped.
    pub framing: Framing,
    /// Whether an answer without the application's proof is a failure.
    pub mutual: bool,
}

/// A ticket, kept for as many tokens as are asked for.
pub(crate) struct Ticket {
    pub(crate) credential: Credential,
    pub(crate) target: Name,
    pub(crate) life: Life,
    pub(crate) born: Instant,
}

impl Mortal for Ticket {
    fn is_good(&self) -> bool {
        !self.life.is_over()
    }

    fn born(&self) -> Instant {
        self.born
    }
}

/// A token for one request.
pub struct Token {
    /// The value of `Authorization`. It signs whoever shows it on, once: it is not to be logged.
    pub header: String,
    /// What to do with the answer.
    pub pending: Pending,
}

/// Waits for the application's answer.
pub struct Pending {
    ticket: Arc<Ticket>,
    context: Context,
    bindings: Option<Bindings>,
    mutual: bool,
}

/// Whether the application proved itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutual {
    /// It has the key of its service principal name.
    Verified,
    /// It said nothing, as it may.
    Absent,
}

impl Token {
    /// Makes one. The ticket is there, so that nobody is asked.
    pub(crate) fn of(ticket: &Arc<Ticket>, ask: &Ask) -> Result<Self, Failure> {
        let bindings = ask.bindings.as_ref().map(Bindings::as_bytes);
        let begun = ticket.credential.begin(&ticket.target, bindings);
        let begun = begun.map_err(|status| Failure::of(Stage::Proxy, status))?;
        let header = match ask.framing {
            Framing::Spnego => negotiate::header(&spnego::offer(&begun.token)),
            Framing::Kerberos => negotiate::header(&begun.token),
        };
        Ok(Self {
            header,
            pending: Pending {
                ticket: Arc::clone(ticket),
                context: begun.context,
                bindings: ask.bindings.clone(),
                mutual: ask.mutual,
            },
        })
    }
}

impl Pending {
    /// Checks the answer's `WWW-Authenticate`, whatever its status: of a 401 it may say why.
    ///
    /// A token that is no proof is a failure, and so is none where one is asked for, and a `Negotiate` without one, which is how
    /// applications refuse.
    pub fn finish(self, answer: Option<&[u8]>) -> Result<Mutual, Failure> {
        let mutual = self.mutual;
        match self.check(answer)? {
            Mutual::Absent if mutual => Err(Failure::new(
                Stage::App,
                Kind::Unproven,
                "the application's answer has no proof of who it is",
            )),
            found => Ok(found),
        }
    }

    fn check(mut self, answer: Option<&[u8]>) -> Result<Mutual, Failure> {
        let token = match Challenge::of(answer) {
            Challenge::Absent => return Ok(Mutual::Absent),
            Challenge::Others => {
                return Err(refused(
                    Kind::NotKerberos,
                    "the application does not accept Kerberos: it offers other sign-ins only",
                ));
            }
            Challenge::Negotiate(b"") => {
                return Err(refused(
                    Kind::Refused,
                    "the application refused the ticket, and does not say why",
                ));
            }
            Challenge::Negotiate(token) => token,
        };
        let Some(token) = negotiate::token(token) else {
            return Err(refused(Kind::Refused, AnswerError::Malformed.to_string()));
        };
        let answer = spnego::answer(&token).map_err(|error| {
            let kind = match error {
                AnswerError::Malformed => Kind::Refused,
                AnswerError::Mechanism => Kind::NotKerberos,
            };
            refused(kind, error.to_string())
        })?;
        let is_rejected = answer.state == Some(State::Rejected);
        let verified = match answer.token {
            Some(token) => self.verify(token)?,
            None => Mutual::Absent,
        };
        if is_rejected {
            return Err(refused(
                Kind::Refused,
                "the application refused the ticket, and does not say why",
            ));
        }
        Ok(verified)
    }

    fn verify(&mut self, token: &[u8]) -> Result<Mutual, Failure> {
        let bindings = self.bindings.as_ref().map(Bindings::as_bytes);
        let Ticket {
            credential, target, ..
        } = &*self.ticket;
        let complete = self.context.finish(credential, target, bindings, token);
        match complete.map_err(|status| Failure::of(Stage::App, status))? {
            true => Ok(Mutual::Verified),
            false => Err(refused(
                Kind::Unproven,
                "the application asks for more than one token, which is not Kerberos over HTTP",
            )),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

fn refused(kind: Kind, text: impl Into<String>) -> Failure {
    Failure::new(Stage::App, kind, text)
}
