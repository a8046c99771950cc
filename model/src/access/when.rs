//! What else must hold for a rule to match, as an expression: a subset of CEL (Common Expression Language), over a closed list of attributes.
//!
//! Syntax and meaning are CEL's, as far as they go: literals, lists of them, `&& || ! == != < <= > >= in`, parentheses, and
//! `startsWith`, `endsWith` and `contains` of strings. What is checked when a rule is written cannot fail when a request is held against it:
//! every attribute has a value and a type. Nothing is allocated then.

mod check;
mod parse;
mod run;
mod token;

pub use run::OWN_ACCOUNTS;

use super::{facts::Facts, ruleset::RuleSet};
use crate::{
    name::{AppId, LocationId},
    user::User,
};

/// Longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 2_048;
/// How deep parentheses, negations and lists may be nested.
pub const DEPTH_MAX: usize = 32;
/// Faults that are told of one expression.
const FAULTS_MAX: usize = 10;

/// An expression that holds or does not.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
    root: check::Truth,
}

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {character}: {what}")]
pub struct ExpressionError {
    /// Counted from 1.
    pub character: usize,
    /// In words.
    pub what: String,
}

/// A fault at a place in the text, in bytes.
#[derive(Debug)]
struct Fault {
    at: usize,
    what: String,
}

impl Fault {
    fn new(at: usize, what: impl Into<String>) -> Self {
        Self {
            at,
            what: what.into(),
        }
    }
}

impl Expression {
    /// Reads and checks an expression.
    ///
    /// # Errors
    /// What is wrong: the first fault of its syntax, or, where that is right, up to ten of what it says.
    pub fn new(text: &str) -> Result<Self, Vec<ExpressionError>> {
        if text.len() > EXPRESSION_BYTES_MAX {
            let what = format!("must not be longer than {EXPRESSION_BYTES_MAX} bytes");
            return Err(vec![ExpressionError { character: 1, what }]);
        }
        let read = parse::parse(text).map_err(|fault| vec![fault]);
        let checked = read.and_then(|tree| check::check(&tree));
        match checked {
            Ok(root) => Ok(Self {
                text: text.to_owned(),
                root,
            }),
            Err(faults) => Err(faults
                .into_iter()
                .take(FAULTS_MAX)
                .map(|fault| ExpressionError {
                    character: text[..fault.at].chars().count() + 1,
                    what: fault.what,
                })
                .collect()),
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it holds of a request.
    pub(super) fn holds(
        &self,
        rules: &RuleSet,
        app: &AppId,
        user: &User,
        facts: &Facts<'_>,
    ) -> bool {
        let scene = run::Scene {
            rules,
            app,
            user,
            facts,
        };
        self.root.holds(&scene)
    }

    /// The locations that it speaks of.
    pub fn locations(&self) -> Vec<&LocationId> {
        let mut all = Vec::new();
        self.root.add_locations(&mut all);
        all
    }

    /// Whether it speaks of the user's groups.
    pub(super) fn names_groups(&self) -> bool {
        self.root
            .any_attribute(&mut |one| one == check::Attribute::UserGroups)
    }

    /// Whether it speaks of a claim.
    pub(super) fn names_claim(&self, claim: &str) -> bool {
        self.root.names_claim(claim)
    }

    /// Whether it speaks of the path.
    pub(super) fn is_about_path(&self) -> bool {
        self.root
            .any_attribute(&mut |one| one == check::Attribute::Path)
    }

    /// Whether it speaks of the certificate of a device.
    pub(super) fn needs_device(&self) -> bool {
        self.root
            .any_attribute(&mut |one| one == check::Attribute::Device)
    }

    /// Whether it speaks of time.
    pub(super) fn is_timed(&self) -> bool {
        self.root.any_attribute(&mut |one| one.is_timed())
    }

    /// Whether it speaks of paths.
    pub(super) fn needs_path(&self) -> bool {
        self.root.any_attribute(&mut |one| one.is_path())
    }

    /// Whether it speaks of countries, or of locations, where some `location_does`.
    pub(super) fn needs_country(&self, location_does: bool) -> bool {
        self.root
            .any_attribute(&mut |one| one.needs_country(location_does))
    }
}

impl PartialEq for Expression {
    /// The same text says the same.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[cfg(test)]
mod tests;
