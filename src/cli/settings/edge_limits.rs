//! What users may cost each edge, as people write it: the keys are those of an edge's own file.

use proto::admin;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cli::app::words::{Reading, size_words, span_words};

/// Bounds of edges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EdgeLimitsWords {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_connections: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) streams: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resets: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) handshake_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) head_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) head_fields: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) head_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body_grace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_resting: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stall_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stalled_max: Option<u32>,
}

impl EdgeLimitsWords {
    pub(crate) fn meant(&self, key: &str, reading: &mut Reading<'_>) -> admin::EdgeLimits {
        let key = |limit: &str| format!("{key}.{limit}");
        admin::EdgeLimits {
            connections: self.connections,
            client_connections: self.client_connections,
            streams: self.streams,
            resets: self.resets,
            handshake_timeout: reading
                .span(&key("handshake_timeout"), self.handshake_timeout.as_ref()),
            head_timeout: reading.span(&key("head_timeout"), self.head_timeout.as_ref()),
            idle_timeout: reading.span(&key("idle_timeout"), self.idle_timeout.as_ref()),
            head_fields: self.head_fields,
            head_bytes: reading.size(&key("head_bytes"), self.head_bytes.as_ref()),
            target_bytes: reading.size(&key("target_bytes"), self.target_bytes.as_ref()),
            body_grace: reading.span(&key("body_grace"), self.body_grace.as_ref()),
            client_resting: self.client_resting,
            stall_timeout: reading.span(&key("stall_timeout"), self.stall_timeout.as_ref()),
            stalled_max: self.stalled_max,
        }
    }

    /// One line for people: only what is not the product's own.
    pub(crate) fn line(&self) -> String {
        let own = proto::settings::filled_settings(admin::Settings::default());
        let own = Self::from(own.edge_limits.unwrap_or_default()).map();
        let said = self.map().into_iter();
        let said = said.filter(|(key, value)| own.get(key) != Some(value));
        let said = said.map(|(key, value)| match value {
            Value::String(text) => format!("{key} {text}"),
            other => format!("{key} {other}"),
        });
        said.collect::<Vec<_>>().join(", ")
    }

    fn map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            // None of them can fail to be one.
            Ok(_) | Err(_) => Map::new(),
        }
    }
}

impl From<admin::EdgeLimits> for EdgeLimitsWords {
    fn from(limits: admin::EdgeLimits) -> Self {
        Self {
            connections: limits.connections,
            client_connections: limits.client_connections,
            streams: limits.streams,
            resets: limits.resets,
            handshake_timeout: span_words(limits.handshake_timeout),
            head_timeout: span_words(limits.head_timeout),
            idle_timeout: span_words(limits.idle_timeout),
            head_fields: limits.head_fields,
            head_bytes: size_words(limits.head_bytes),
            target_bytes: size_words(limits.target_bytes),
            body_grace: span_words(limits.body_grace),
            client_resting: limits.client_resting,
            stall_timeout: span_words(limits.stall_timeout),
            stalled_max: limits.stalled_max,
        }
    }
}

/// One of them, as a flag says it: `streams=100`. Without a value it is given back to the product's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EdgeLimitWord {
    /// As in a file.
    pub(crate) key: String,
    /// This one alone.
    limits: admin::EdgeLimits,
}

impl EdgeLimitWord {
    /// Reads `text`; clap shows the error behind the flag.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let Some((key, value)) = text.split_once('=') else {
            return Err("must be a limit and its value, such as streams=100".to_owned());
        };
        let known: Vec<_> = Self::known().keys().cloned().collect();
        if !known.iter().any(|known| known == key) {
            return Err(format!("the limits are {}", known.join(", ")));
        }
        Ok(Self {
            key: key.to_owned(),
            limits: Self::limits(key, value)?,
        })
    }

    fn known() -> Map<String, Value> {
        let own = proto::settings::filled_settings(admin::Settings::default());
        EdgeLimitsWords::from(own.edge_limits.unwrap_or_default()).map()
    }

    fn limits(key: &str, value: &str) -> Result<admin::EdgeLimits, String> {
        if value.is_empty() {
            return Ok(admin::EdgeLimits::default());
        }
        let value = match value.parse::<u32>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::from(value),
        };
        let map = Map::from_iter([(key.to_owned(), value)]);
        let words: EdgeLimitsWords =
            serde_json::from_value(Value::Object(map)).map_err(|error| error.to_string())?;
        let mut problems = runtime::config::Problems::new();
        let mut reading = Reading {
            beside: std::path::Path::new(""),
            problems: &mut problems,
        };
        let limits = words.meant("limit", &mut reading);
        match problems.finish(Some(limits)) {
            Ok(limits) => Ok(limits),
            Err(problems) => Err(problems.to_string()),
        }
    }
}

/// All that several flags say; of one that is said twice, the last.
pub(crate) fn together(words: &[EdgeLimitWord]) -> admin::EdgeLimits {
    let mut all = admin::EdgeLimits::default();
    for word in words {
        let said = word.limits;
        all = admin::EdgeLimits {
            connections: said.connections.or(all.connections),
            client_connections: said.client_connections.or(all.client_connections),
            streams: said.streams.or(all.streams),
            resets: said.resets.or(all.resets),
            handshake_timeout: said.handshake_timeout.or(all.handshake_timeout),
            head_timeout: said.head_timeout.or(all.head_timeout),
            idle_timeout: said.idle_timeout.or(all.idle_timeout),
            head_fields: said.head_fields.or(all.head_fields),
            head_bytes: said.head_bytes.or(all.head_bytes),
            target_bytes: said.target_bytes.or(all.target_bytes),
            body_grace: said.body_grace.or(all.body_grace),
            client_resting: said.client_resting.or(all.client_resting),
            stall_timeout: said.stall_timeout.or(all.stall_timeout),
            stalled_max: said.stalled_max.or(all.stalled_max),
        };
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_one_limit_each() {
        let words = [
            "streams=100",
            "head_timeout=3s",
            "head_bytes=16KiB",
            "resets=",
        ];
        let words: Vec<_> = words
            .iter()
            .map(|text| EdgeLimitWord::read(text).unwrap())
            .collect();
        let keys: Vec<_> = words.iter().map(|word| word.key.as_str()).collect();
        assert_eq!(keys, ["streams", "head_timeout", "head_bytes", "resets"]);
        let want = admin::EdgeLimits {
            streams: Some(100),
            head_timeout: Some(prost_types::Duration {
                seconds: 3,
                nanos: 0,
            }),
            head_bytes: Some(16 * 1024),
            ..admin::EdgeLimits::default()
        };
        assert_eq!(together(&words), want);
    }

    #[test]
    fn flags_that_say_nothing_are_refused() {
        for text in [
            "streams",
            "stream=1",
            "streams=many",
            "head_timeout=3",
            "head_bytes=big",
        ] {
            assert!(EdgeLimitWord::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn people_see_what_differs_from_the_default() {
        let own = proto::settings::filled_settings(admin::Settings::default());
        let own = own.edge_limits.unwrap_or_default();
        assert_eq!(EdgeLimitsWords::from(own).line(), "");
        let changed = admin::EdgeLimits {
            streams: Some(7),
            head_bytes: Some(8 * 1024),
            ..own
        };
        let line = EdgeLimitsWords::from(changed).line();
        assert_eq!(line, "head_bytes 8KiB, streams 7");
    }
}
