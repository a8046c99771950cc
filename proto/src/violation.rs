//! What is wrong with a request: every fault at once, each with the field it is in.

use std::{fmt, str::FromStr, time::Duration};

use model::app::DISPLAY_NAME_CHARS_MAX;

use crate::time;

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

/// What a span of time is counted in on its way to nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Seconds,
}

impl Unit {
    fn cut(self, span: Duration) -> Duration {
        match self {
            Self::Milliseconds => {
                span - Duration::from_nanos((span.subsec_nanos() % 1_000_000).into())
            }
            Self::Seconds => Duration::from_secs(span.as_secs()),
        }
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

    /// What was read, or nothing and a note of what is wrong with it.
    pub(crate) fn take<T>(&mut self, field: &str, read: Result<T, impl fmt::Display>) -> Option<T> {
        read.map_err(|fault| self.add(field, fault)).ok()
    }

    /// The first of a list, with the name of the field of each. Notes if there are more.
    pub(crate) fn at_most<'a, T>(
        &mut self,
        max: usize,
        field: &str,
        what: &str,
        wire: &'a [T],
    ) -> impl Iterator<Item = (String, &'a T)> + use<'a, T> {
        if wire.len() > max {
            self.add(field, format_args!("must not be more than {max} {what}"));
        }
        let field = field.to_owned();
        wire.iter()
            .take(max)
            .enumerate()
            .map(move |(index, item)| (format!("{field}[{index}]"), item))
    }

    /// A number that must be in a range.
    pub(crate) fn number(
        &mut self,
        field: &str,
        number: u32,
        (least, most): (u32, u32),
    ) -> Option<u32> {
        if (least..=most).contains(&number) {
            return Some(number);
        }
        self.add(field, format_args!("must be {least} to {most}"));
        None
    }

    /// Reads a span of time that must be in a range, and is cut to whole `unit`s: nodes are told no more.
    pub(crate) fn span(
        &mut self,
        field: &str,
        wire: &prost_types::Duration,
        (shortest, longest): (Duration, Duration),
        unit: Unit,
    ) -> Option<Duration> {
        match time::duration(wire) {
            Ok(span) if (shortest..=longest).contains(&span) => Some(unit.cut(span)),
            Ok(_) | Err(_) => {
                self.add(
                    field,
                    format_args!(
                        "must be between {} and {}",
                        time::written(shortest),
                        time::written(longest)
                    ),
                );
                None
            }
        }
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
