//! Configuration in two stages: a TOML file becomes a raw struct, exactly as written, and that becomes what is meant.
//!
//! Raw structs derive `Deserialize` with `deny_unknown_fields` and keep durations and sizes as text; the second stage
//! parses them and gathers every error, each with its key, in [`Problems`].

mod units;

use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use crate::telemetry;

pub use units::{UnitError, byte_size, duration, written_byte_size, written_duration};

/// Largest configuration file that is read; real ones have a few KiB.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why a configuration file gave no raw configuration.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read configuration {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is beyond any sensible configuration.
    #[error("configuration {} is larger than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not TOML, an unknown key, or a value of the wrong type. The source shows line and column.
    #[error("configuration {} is not valid", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, column and what was expected.
        #[source]
        source: toml::de::Error,
    },
}

/// Reads a TOML file into its raw struct.
///
/// # Errors
/// See [`ReadError`].
pub fn read<R: DeserializeOwned>(path: &Path) -> Result<R, ReadError> {
    read_with_text(path).map(|(raw, _)| raw)
}

/// The same, with the text that it was read from.
///
/// # Errors
/// See [`ReadError`].
pub fn read_with_text<R: DeserializeOwned>(path: &Path) -> Result<(R, String), ReadError> {
    let unreadable = |source| ReadError::Unreadable {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge {
            path: path.to_owned(),
        });
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    match toml::from_str(&text) {
        Ok(raw) => Ok((raw, text)),
        Err(source) => Err(ReadError::Invalid {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Everything wrong with a configuration, each problem with its key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Problems {
    origin: Option<PathBuf>,
    found: Vec<Problem>,
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Dotted key as written in the file, such as `listen.https`.
    pub key: String,
    /// What is wrong with its value.
    pub message: String,
    /// In which line it is, if that was looked for.
    pub line: Option<usize>,
}

impl Problems {
    /// None yet, in values that came from no file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet, in values read from `origin`.
    #[must_use]
    pub fn of_file(origin: &Path) -> Self {
        Self {
            origin: Some(origin.to_owned()),
            found: Vec::new(),
        }
    }

    /// Notes a problem.
    pub fn add(&mut self, key: impl Into<String>, message: impl fmt::Display) {
        self.found.push(Problem {
            key: key.into(),
            message: message.to_string(),
            line: None,
        });
    }

    /// Takes the value, or notes why there is none.
    pub fn take<T, E: fmt::Display>(&mut self, key: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.add(key, error)).ok()
    }

    /// Takes the value, or notes that a required key is missing.
    pub fn required<T>(&mut self, key: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.add(key, "is required");
        }
        value
    }

    /// Takes the filter of logs, or notes that it cannot be read.
    pub fn log_filter(&mut self, written: Option<String>) -> Option<String> {
        if let Some(Err(error)) = written.as_deref().map(telemetry::check_filter) {
            self.add("log", error);
        }
        written
    }

    /// Takes an address to listen on, or notes why there is none.
    pub fn address(&mut self, key: &str, written: &str) -> Option<SocketAddr> {
        let parsed = written.parse();
        self.take(
            key,
            parsed.map_err(|_| "must be address:port, such as 0.0.0.0:7443"),
        )
    }

    /// Says in which lines the keys are that are wrong.
    pub fn locate(&mut self, line: impl Fn(&str) -> Option<usize>) {
        for problem in &mut self.found {
            problem.line = line(&problem.key);
        }
    }

    /// What was found so far.
    #[must_use]
    pub fn found(&self) -> &[Problem] {
        &self.found
    }

    /// The configuration, if nothing was wrong with it and it is complete.
    ///
    /// # Errors
    /// All problems at once. `None` with no problem noted is itself reported: a value was dropped silently.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            Some(_) => Err(self),
            None => {
                if self.found.is_empty() {
                    self.add("configuration", "is incomplete");
                }
                Err(self)
            }
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "configuration {} is not valid:", origin.display())?,
            None => f.write_str("configuration is not valid:")?,
        }
        for Problem { key, message, line } in &self.found {
            match line {
                Some(line) => write!(f, "\n  line {line}: {key}: {message}")?,
                None => write!(f, "\n  {key}: {message}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, time::Duration};

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Raw {
        idle_timeout: Option<String>,
        body_bytes_max: Option<String>,
    }

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edge.toml");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn meant(raw: &Raw, path: &Path) -> Result<(Duration, u64), Problems> {
        let mut problems = Problems::of_file(path);
        let idle = problems
            .required("idle_timeout", raw.idle_timeout.as_deref())
            .and_then(|text| problems.take("idle_timeout", duration(text)));
        let body = problems
            .required("body_bytes_max", raw.body_bytes_max.as_deref())
            .and_then(|text| problems.take("body_bytes_max", byte_size(text)));
        problems.finish(idle.zip(body))
    }

    #[test]
    fn valid_file_gives_what_is_meant() {
        let (_dir, path) = written("idle_timeout = \"20s\"\nbody_bytes_max = \"64KiB\"");
        let raw: Raw = read(&path).unwrap();
        assert_eq!(meant(&raw, &path), Ok((Duration::from_secs(20), 65_536)));
    }

    #[test]
    fn every_problem_is_reported_with_its_key_and_the_file() {
        let (_dir, path) = written("idle_timeout = \"soon\"");
        let raw: Raw = read(&path).unwrap();
        let problems = meant(&raw, &path).unwrap_err();
        let keys: Vec<&str> = problems.found().iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["idle_timeout", "body_bytes_max"]);
        assert!(
            problems
                .to_string()
                .contains("edge.toml is not valid:\n  idle_timeout: ")
        );
    }

    #[test]
    fn unknown_key_is_refused_with_its_line() {
        let (_dir, path) = written("idle_timeout = \"20s\"\nidle_timout = \"20s\"");
        let error = read::<Raw>(&path).unwrap_err();
        let source = error.source().unwrap().to_string();
        assert!(
            source.contains("line 2") && source.contains("idle_timout"),
            "{source}"
        );
    }

    #[test]
    fn addresses_and_filters_that_cannot_be_read_are_noted() {
        let mut problems = Problems::new();
        let address = problems.address("admin", "127.0.0.1:7480");
        assert_eq!(address, "127.0.0.1:7480".parse().ok());
        assert_eq!(problems.address("https", "8443"), None);
        problems.log_filter(Some("info,edge=debug".to_owned()));
        problems.log_filter(Some("edge=loud".to_owned()));
        let keys: Vec<&str> = problems.found().iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["https", "log"]);
    }

    #[test]
    fn missing_file_is_named() {
        let error = read::<Raw>(Path::new("/nonexistent/edge.toml")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/edge.toml"));
    }
}
