//! What is wrong with a request: every fault at once, each with the field it is in.

use std::{fmt, str::FromStr};

use model::app::DISPLAY_NAME_CHARS_MAX;

/// One fault of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, such as `app.hosts[1]`.
    pub field: String,
    /// What it must be instead, in words that follow the field's name.
    pub description: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.description)
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Violations(Vec<Violation>);

impl Violations {
    pub(crate) fn add(&mut self, field: &str, description: impl fmt::Display) {
        self.0.push(Violation {
            field: field.to_owned(),
            description: description.to_string(),
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_vec(self) -> Vec<Violation> {
        self.0
    }

    /// Reads `text`, or notes why it cannot be read.
    pub(crate) fn parse<T>(&mut self, field: &str, text: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        text.parse()
            .map_err(|fault: T::Err| self.add(field, fault))
            .ok()
    }

    /// Display names go to terminals and pages, so control characters are refused.
    pub(crate) fn display_name(&mut self, field: &str, name: &str) {
        if name.chars().count() > DISPLAY_NAME_CHARS_MAX {
            self.add(
                field,
                format_args!("must not be longer than {DISPLAY_NAME_CHARS_MAX} characters"),
            );
        }
        if name.contains(char::is_control) {
            self.add(field, "must not have control characters");
        }
    }
}
