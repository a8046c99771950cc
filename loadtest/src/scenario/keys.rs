//! Reads the keys of one table and remembers everything that is wrong with them.

use std::{fmt, num::NonZeroUsize, ops::RangeInclusive, time::Duration};

use runtime::config;
use toml::{Table, Value};

/// Something wrong with one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key, with the table that it stands in.
    pub key: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

/// Keys that were not read yet, and the faults of those that were.
pub(super) struct Keys {
    table: Table,
    /// Stands before each key.
    place: String,
    faults: Vec<Fault>,
}

impl Keys {
    pub(super) fn new(table: Table, place: String) -> Self {
        Self {
            table,
            place,
            faults: Vec::new(),
        }
    }

    pub(super) fn fault(&mut self, key: &str, what: impl Into<String>) {
        self.faults.push(Fault {
            key: format!("{}{key}", self.place),
            what: what.into(),
        });
    }

    /// All faults; keys that nobody asked for are among them.
    pub(super) fn end(mut self) -> Vec<Fault> {
        let unknown: Vec<String> = self.table.keys().cloned().collect();
        for key in unknown {
            self.fault(&key, "is not known");
        }
        self.faults
    }

    fn take<T>(&mut self, key: &str, read: impl FnOnce(Value) -> Result<T, String>) -> Option<T> {
        match read(self.table.remove(key)?) {
            Ok(value) => Some(value),
            Err(what) => {
                self.fault(key, what);
                None
            }
        }
    }

    /// A key that has to be there; `hint` follows the complaint when it is not.
    pub(super) fn required<T>(
        &mut self,
        key: &str,
        hint: &str,
        read: impl FnOnce(&mut Self, &str) -> Option<T>,
    ) -> Option<T> {
        if !self.table.contains_key(key) {
            self.fault(key, format!("is missing{hint}"));
        }
        read(self, key)
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.take(key, text)
    }

    /// One text, or a list of them.
    pub(super) fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        self.take(key, |value| list(value)?.into_iter().map(text).collect())
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        self.take(key, |value| {
            value
                .as_bool()
                .ok_or_else(|| "has to be true or false".to_owned())
        })
    }

    pub(super) fn whole(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.take(key, |value| {
            let number = value
                .as_integer()
                .and_then(|number| u64::try_from(number).ok());
            number
                .filter(|number| range.contains(number))
                .ok_or_else(|| {
                    format!(
                        "has to be a number from {} to {}",
                        range.start(),
                        range.end()
                    )
                })
        })
    }

    pub(super) fn count(&mut self, key: &str, most: u64) -> Option<NonZeroUsize> {
        let count = self.whole(key, 1..=most)?;
        usize::try_from(count).ok().and_then(NonZeroUsize::new)
    }

    /// One positive number, or a list of them.
    pub(super) fn numbers(&mut self, key: &str, most: f64) -> Option<Vec<f64>> {
        self.take(key, |value| {
            let numbers: Option<Vec<f64>> = list(value)?.iter().map(number).collect();
            let fine = |numbers: &Vec<f64>| {
                numbers
                    .iter()
                    .all(|number| *number > 0.0 && *number <= most)
            };
            numbers
                .filter(fine)
                .ok_or_else(|| format!("has to be above 0 and at most {most}"))
        })
    }

    pub(super) fn time(&mut self, key: &str, most: Duration) -> Option<Duration> {
        self.take(key, |value| {
            let time = config::duration(&text(value)?).map_err(|error| error.to_string())?;
            let fine = !time.is_zero() && time <= most;
            fine.then_some(time)
                .ok_or_else(|| format!("has to be above 0 and at most {most:?}"))
        })
    }

    /// A number of bytes, or text with a unit.
    pub(super) fn size(&mut self, key: &str, most: u64) -> Option<u64> {
        self.take(key, |value| {
            let size = match value {
                Value::Integer(number) => {
                    u64::try_from(number).map_err(|error| error.to_string())?
                }
                other => config::byte_size(&text(other)?).map_err(|error| error.to_string())?,
            };
            (size <= most)
                .then_some(size)
                .ok_or_else(|| format!("has to be at most {most} bytes"))
        })
    }

    pub(super) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        self.take(key, |value| {
            let text = text(value)?;
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, meant)| *meant).ok_or_else(|| {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                format!("{text:?} is none of {}", known.join(", "))
            })
        })
    }

    /// An array of tables.
    pub(super) fn tables(&mut self, key: &str) -> Vec<Table> {
        let read = |value| list(value)?.into_iter().map(table).collect();
        self.take(key, read).unwrap_or_default()
    }
}

fn table(value: Value) -> Result<Table, String> {
    match value {
        Value::Table(table) => Ok(table),
        _ => Err("has to be a table".to_owned()),
    }
}

fn list(value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(values) if values.is_empty() => Err("must not be empty".to_owned()),
        Value::Array(values) => Ok(values),
        other => Ok(vec![other]),
    }
}

fn text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err("has to be text".to_owned()),
    }
}

fn number(value: &Value) -> Option<f64> {
    value
        .as_float()
        .or_else(|| value.as_integer().map(|number| number as f64))
}
