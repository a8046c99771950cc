//! How much an app takes, and how long.

use std::str::FromStr;

use proto::admin;
use runtime::config;
use serde::{Deserialize, Serialize};

use super::{Reading, size_words, span_words};

/// How long each stage of a request may take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TimeoutsWords {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle: Option<String>,
    /// `0s`: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<String>,
}

impl TimeoutsWords {
    pub(crate) fn meant(&self, key: &str, reading: &mut Reading<'_>) -> admin::Timeouts {
        let mut read = |stage: &str, text| reading.span(&format!("{key}.{stage}"), text);
        admin::Timeouts {
            connect: read("connect", self.connect.as_ref()),
            response: read("response", self.response.as_ref()),
            idle: read("idle", self.idle.as_ref()),
            total: read("total", self.total.as_ref()),
        }
    }
}

impl TimeoutsWords {
    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let stages = [
            ("connect", &self.connect),
            ("response", &self.response),
            ("idle", &self.idle),
            ("total", &self.total),
        ];
        let said = stages
            .into_iter()
            .filter_map(|(stage, span)| Some(format!("{stage} {}", span.as_ref()?)));
        said.collect::<Vec<_>>().join(", ")
    }
}

impl From<admin::Timeouts> for TimeoutsWords {
    fn from(timeouts: admin::Timeouts) -> Self {
        Self {
            connect: span_words(timeouts.connect),
            response: span_words(timeouts.response),
            idle: span_words(timeouts.idle),
            total: span_words(timeouts.total),
        }
    }
}

/// How much an app takes at each edge. 0 everywhere: no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitsWords {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<RateWords>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_rate: Option<RateWords>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body_pace: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) head_fields: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) head_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stall_timeout: Option<String>,
}

impl LimitsWords {
    pub(crate) fn meant(&self, key: &str, reading: &mut Reading<'_>) -> admin::Limits {
        let body = self.body.as_ref().and_then(|text| {
            let key = format!("{key}.body");
            reading.problems.take(&key, config::byte_size(text))
        });
        admin::Limits {
            body_bytes: body,
            requests: self.requests,
            rate: self.rate.map(Into::into),
            client_rate: self.client_rate.map(Into::into),
            body_pace: self.body_pace,
            head_fields: self.head_fields,
            head_bytes: reading.size(&format!("{key}.head_bytes"), self.head_bytes.as_ref()),
            target_bytes: reading.size(&format!("{key}.target_bytes"), self.target_bytes.as_ref()),
            stall_timeout: reading
                .span(&format!("{key}.stall_timeout"), self.stall_timeout.as_ref()),
        }
    }

    /// One line for people: only what limits.
    pub(crate) fn line(&self) -> String {
        let mut parts = Vec::new();
        if let Some(body) = self.body.as_deref().filter(|&body| body != "0B") {
            parts.push(format!("bodies up to {body}"));
        }
        if let Some(requests) = self.requests.filter(|&requests| requests > 0) {
            parts.push(format!("{requests} requests at once"));
        }
        match self.body_pace {
            Some(0) => parts.push("bodies as slow as they like".to_owned()),
            Some(pace) => parts.push(format!("bodies of {pace} bytes/s at the least")),
            None => {}
        }
        if let Some(fields) = self.head_fields.filter(|&fields| fields > 0) {
            parts.push(format!("heads of up to {fields} fields"));
        }
        let texts = [
            ("heads up to", &self.head_bytes, "0B"),
            ("targets up to", &self.target_bytes, "0B"),
            ("users may stall for", &self.stall_timeout, "0s"),
        ];
        for (what, text, none) in texts {
            if let Some(text) = text.as_deref().filter(|&text| text != none) {
                parts.push(format!("{what} {text}"));
            }
        }
        for (rate, whose) in [(self.rate, ""), (self.client_rate, " for each address")] {
            if let Some(rate) = rate.filter(|rate| rate.per_second > 0) {
                parts.push(format!("{} requests/s{whose}", rate.written()));
            }
        }
        parts.join(", ")
    }
}

impl From<admin::Limits> for LimitsWords {
    fn from(limits: admin::Limits) -> Self {
        Self {
            body: limits.body_bytes.map(config::written_byte_size),
            requests: limits.requests,
            rate: limits.rate.map(Into::into),
            client_rate: limits.client_rate.map(Into::into),
            body_pace: limits.body_pace,
            head_fields: limits.head_fields,
            head_bytes: size_words(limits.head_bytes),
            target_bytes: size_words(limits.target_bytes),
            stall_timeout: span_words(limits.stall_timeout),
        }
    }
}

/// A token bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RateWords {
    pub(crate) per_second: u32,
    /// 0: as per_second.
    pub(crate) burst: u32,
}

impl RateWords {
    fn written(self) -> String {
        match self.burst {
            0 => self.per_second.to_string(),
            burst if burst == self.per_second => self.per_second.to_string(),
            burst => format!("{}/{burst}", self.per_second),
        }
    }
}

impl FromStr for RateWords {
    type Err = String;

    /// Reads `100` or `100/500`: a second, and at once.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            digits.parse::<u32>().map_err(|_| {
                "must be requests a second, and after a slash how many may come at once: 100 or 100/500".to_owned()
            })
        };
        let (per_second, burst) = text.split_once('/').unwrap_or((text, "0"));
        Ok(Self {
            per_second: number(per_second)?,
            burst: number(burst)?,
        })
    }
}

impl From<RateWords> for admin::Rate {
    fn from(rate: RateWords) -> Self {
        Self {
            per_second: rate.per_second,
            burst: rate.burst,
        }
    }
}

impl From<admin::Rate> for RateWords {
    fn from(rate: admin::Rate) -> Self {
        Self {
            per_second: rate.per_second,
            burst: rate.burst,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written_back() {
        for (text, per_second, burst) in [("100", 100, 0), ("10/50", 10, 50), ("0", 0, 0)] {
            let rate: RateWords = text.parse().unwrap();
            assert_eq!((rate.per_second, rate.burst), (per_second, burst));
            assert_eq!(rate.written(), text);
        }
        for bad in ["", "fast", "1/", "/1", "-1", "1/2/3"] {
            assert!(bad.parse::<RateWords>().is_err(), "{bad:?}");
        }
    }
}
