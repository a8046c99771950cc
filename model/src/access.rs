//! The decision whether a caller may use an app. No stream is opened without the [`Permit`] that only [`authorise`] makes.
//!
//! Three gates, one after the other. The app is open to all, or the caller must have signed in. The user must be assigned to the app.
//! Then every [access rule](policy::Policy) that is about the request must be met: rules only ever take away, one that blocks wins, and their
//! order makes no difference.

pub mod facts;

pub mod place;

mod index;

pub mod schedule;

pub mod needs;

pub mod when;

pub mod policy;

pub mod ruleset;

use std::{sync::Arc, time::Duration};

use crate::{
    app::{Access, App},
    client_ca::Program,
    name::AccessRuleId,
    service::Service,
    user::User,
};

use self::{
    facts::Facts,
    needs::Needs,
    ruleset::{Part, RuleSet, Strings, Verdict},
};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody that the fabric knows.
    Anonymous,
    /// Somebody who has signed in, and whose session goes on.
    User(Arc<User>),
    /// A program that has shown a service token which holds.
    Service(Arc<Service>),
    /// A program that has shown a certificate which holds.
    Program(Arc<Program>),
}

/// Proof that a caller may use an app.
#[derive(Debug)]
pub struct Permit<'a> {
    app: &'a App,
    caller: Caller,
    strings: Strings<'a>,
}

/// Why a caller may not use an app.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The app is for users who have signed in.
    #[error("the caller has not signed in")]
    NotSignedIn,
    /// The user has signed in, but by a provider whose word the app does not take.
    #[error("the caller has signed in by another provider")]
    OtherProvider,
    /// The user is not among those whom the app is for.
    #[error("{} is not assigned to the app", .0.id)]
    NotAssigned(Arc<User>),
    /// The program is not among those whom the app is for.
    #[error("{} is not assigned to the app", .0.id)]
    ServiceNotAssigned(Arc<Service>),
    /// The same of one with a certificate.
    #[error("{0} is not assigned to the app")]
    ProgramNotAssigned(Arc<Program>),
    /// An access rule lets nobody through.
    #[error("blocked by {:?}", .0.rule)]
    Blocked(RuleDenial),
    /// An access rule, or several, ask for more than the user has shown.
    #[error("{:?} asks for more: {needs:?}", .denial.rule)]
    Lacking {
        /// The first of them.
        denial: RuleDenial,
        /// What all of them ask for.
        needs: Needs,
    },
    /// An access rule about the app cannot be read, so what it asks for is not known.
    #[error("an access rule cannot be read")]
    UnreadableRule,
}

/// What a user is told of a rule that refuses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleDenial {
    /// The rule.
    pub rule: AccessRuleId,
    /// The operator's words; may be empty.
    pub message: String,
}

impl RuleDenial {
    fn by(rule: &ruleset::Rule) -> Self {
        Self {
            rule: rule.id().clone(),
            message: rule.policy().message.clone(),
        }
    }
}

impl<'a> Permit<'a> {
    /// The app that it is for.
    pub fn app(&self) -> &'a App {
        self.app
    }

    /// Who was admitted.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// How long the user may do nothing at the app.
    pub fn idle_limit(&self) -> Option<Duration> {
        self.strings.idle_limit
    }

    /// What else the rules attach.
    pub fn strings(&self) -> &Strings<'a> {
        &self.strings
    }
}

/// Decides whether `caller` may use `app` under `rules`. `facts` is asked only if a rule may be about the app; `watch` is told of every
/// rule that is about the request, those that only report too.
///
/// # Errors
/// Why not.
pub fn authorise<'a, 'f>(
    app: &'a App,
    caller: Caller,
    rules: &'a RuleSet,
    facts: impl FnOnce() -> Facts<'f>,
    watch: &mut dyn FnMut(Part<'_>),
) -> Result<Permit<'a>, Denial> {
    let strings = match (&app.access, &caller) {
        (Access::Passthrough, _) => Strings::default(),
        (Access::SignIn(_), Caller::Anonymous) => return Err(Denial::NotSignedIn),
        (Access::SignIn(_), Caller::User(user))
            if !app.takes_word_of(user.authentication.provider.as_ref()) =>
        {
            return Err(Denial::OtherProvider);
        }
        (Access::SignIn(assignment), Caller::User(user)) if !assignment.holds(user) => {
            return Err(Denial::NotAssigned(Arc::clone(user)));
        }
        (Access::SignIn(assignment), Caller::Service(service)) => {
            if !assignment.holds_service(&service.id) {
                return Err(Denial::ServiceNotAssigned(Arc::clone(service)));
            }
            // Rules are about people.
            Strings::default()
        }
        (Access::SignIn(assignment), Caller::Program(program)) => {
            if !assignment.holds_program(program) {
                return Err(Denial::ProgramNotAssigned(Arc::clone(program)));
            }
            Strings::default()
        }
        (Access::SignIn(_), Caller::User(_)) if !rules.concerns(&app.id) => Strings::default(),
        (Access::SignIn(_), Caller::User(user)) => {
            match rules.judge(&app.id, user, &facts(), watch) {
                Verdict::Through(strings) => strings,
                Verdict::Blocked(rule) => return Err(Denial::Blocked(RuleDenial::by(rule))),
                Verdict::Lacking(rule, needs) => {
                    let denial = RuleDenial::by(rule);
                    return Err(Denial::Lacking { denial, needs });
                }
                Verdict::Unreadable => return Err(Denial::UnreadableRule),
            }
        }
    };
    Ok(Permit {
        app,
        caller,
        strings,
    })
}

#[cfg(test)]
mod tests;
