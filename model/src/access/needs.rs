//! What access rules ask of a user beyond a session, and what of it is missing.

use std::time::Duration;

use super::facts::Facts;
use crate::{
    name::TermsId,
    terms::{self, TermsInForce},
    user::User,
};

/// Classes of authentication that a rule may take.
pub const CLASSES_MAX: usize = 20;
/// Longest name of a class, in bytes.
pub const CLASS_BYTES_MAX: usize = 128;

/// Methods (RFC 8176, section 2) by what they show: something that only the user knows,
const KNOWLEDGE: [&str; 3] = ["pwd", "pin", "kba"];
/// has,
const POSSESSION: [&str; 8] = ["otp", "hwk", "swk", "pop", "sc", "sms", "tel", "mca"];
/// or is.
const INHERENCE: [&str; 5] = ["fpt", "face", "iris", "retina", "vbm"];

/// What a rule asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirements {
    /// More than one factor; see [`has_factors`].
    pub mfa: bool,
    /// Any of these classes of authentication (`acr`); none: whichever. At most [`CLASSES_MAX`].
    pub classes: Vec<String>,
    /// A sign-in that is no older.
    pub sign_in_within: Option<Duration>,
    /// A certificate of the user's device.
    pub device_certificate: bool,
    /// That these terms of use are accepted; at most [`RULE_TERMS_MAX`](terms::RULE_TERMS_MAX).
    pub terms: Vec<TermsId>,
    /// One of the above is enough; otherwise it takes all.
    pub one_of: bool,
}

/// What a user has to show yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// More than one factor.
    pub mfa: bool,
    /// Any of these classes of authentication; none: whichever.
    pub classes: Vec<String>,
    /// A sign-in that is no older.
    pub sign_in_within: Option<Duration>,
    /// A certificate of the user's device.
    pub device_certificate: bool,
    /// To accept these terms of use.
    pub terms: Vec<TermsId>,
}

/// Why a rule does not let a request through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// It lets nobody through.
    Blocked,
    /// The user could do something about it.
    Needs(Needs),
}

/// Whether these methods (RFC 8176) are more than one factor: the provider says so (`mfa`), or they are of two kinds: what one knows,
/// what one has, what one is.
pub fn has_factors(methods: &[String]) -> bool {
    let has = |kind: &[&str]| methods.iter().any(|method| kind.contains(&method.as_str()));
    let kinds = [has(&KNOWLEDGE), has(&POSSESSION), has(&INHERENCE)];
    has(&["mfa"]) || kinds.into_iter().filter(|has| *has).count() > 1
}

impl Requirements {
    /// Whether it asks for anything.
    pub fn is_empty(&self) -> bool {
        !self.mfa
            && self.classes.is_empty()
            && self.sign_in_within.is_none()
            && !self.device_certificate
            && self.terms.is_empty()
    }

    /// Whether it may be met no more with nothing but time.
    pub(super) fn is_timed(&self) -> bool {
        self.sign_in_within.is_some() || !self.terms.is_empty()
    }

    pub(super) fn missing(
        &self,
        user: &User,
        facts: &Facts<'_>,
        in_force: &TermsInForce,
    ) -> Option<Needs> {
        let authentication = &user.authentication;
        let lacks_mfa = self.mfa && !has_factors(&authentication.methods);
        let has_class = self.classes.contains(&authentication.class);
        let lacks_class = !self.classes.is_empty() && !has_class;
        let age = facts.age(authentication.at_ms);
        let stale = self.sign_in_within.filter(|span| age > *span);
        let lacks_device = self.device_certificate && !facts.has_device_certificate;
        let lacks_terms = terms::missing(&self.terms, in_force, &user.accepted, facts.now_ms);
        let asked = [
            (self.mfa, lacks_mfa),
            (!self.classes.is_empty(), lacks_class),
            (self.sign_in_within.is_some(), stale.is_some()),
            (self.device_certificate, lacks_device),
            (!self.terms.is_empty(), !lacks_terms.is_empty()),
        ];
        let is_enough = if self.one_of {
            asked.iter().any(|(is_asked, lacks)| *is_asked && !lacks)
        } else {
            asked.iter().all(|(_, lacks)| !lacks)
        };
        if is_enough {
            return None;
        }
        let mut needs = Needs {
            mfa: lacks_mfa,
            classes: if lacks_class {
                self.classes.clone()
            } else {
                Vec::new()
            },
            sign_in_within: stale,
            device_certificate: lacks_device,
            terms: lacks_terms,
        };
        if self.one_of {
            needs.keep_easiest();
        }
        Some(needs)
    }
}

impl Needs {
    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether nothing is missing but that terms are accepted.
    pub fn are_terms_alone(&self) -> bool {
        let others = Self {
            terms: Vec::new(),
            ..self.clone()
        };
        others.is_empty() && !self.terms.is_empty()
    }

    /// Adds that the sign-in must be no older.
    pub(super) fn add(&mut self, sign_in_within: Option<Duration>) {
        let spans = [self.sign_in_within, sign_in_within];
        self.sign_in_within = spans.into_iter().flatten().min();
    }

    /// Adds what another rule asks for. Of two lists of classes the first counts; the other is asked for once that is met.
    pub(super) fn join(&mut self, other: Self) {
        self.mfa |= other.mfa;
        self.device_certificate |= other.device_certificate;
        for terms in other.terms {
            if !self.terms.contains(&terms) {
                self.terms.push(terms);
            }
        }
        if self.classes.is_empty() {
            self.classes = other.classes;
        }
        self.add(other.sign_in_within);
    }

    /// Where one thing is enough, what users can do most easily.
    fn keep_easiest(&mut self) {
        let all = std::mem::take(self);
        if !all.terms.is_empty() {
            self.terms = all.terms;
        } else if all.sign_in_within.is_some() {
            self.sign_in_within = all.sign_in_within;
        } else if all.mfa {
            self.mfa = true;
        } else if all.classes.is_empty() {
            self.device_certificate = all.device_certificate;
        } else {
            self.classes = all.classes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_factors_are_of_two_kinds_or_what_a_provider_calls_so() {
        for (methods, want) in [
            (&["pwd"][..], false),
            (&[], false),
            (&["pwd", "pin"], false),
            (&["otp", "sms"], false),
            (&["hwk"], false),
            (&["pwd", "otp"], true),
            (&["hwk", "fpt"], true),
            (&["hwk", "pin"], true),
            (&["mfa"], true),
            (&["pwd", "geo"], false),
            (&["MFA"], false),
        ] {
            let methods: Vec<_> = methods.iter().map(ToString::to_string).collect();
            assert_eq!(has_factors(&methods), want, "{methods:?}");
        }
    }
}
