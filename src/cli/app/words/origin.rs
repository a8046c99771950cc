//! An origin: a URL alone, or a table when more is to be said.

use std::{fmt, fs, path::PathBuf};

use proto::admin;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{Reading, is_default, span_words};

/// As written in either form. What says nothing is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct OriginWords {
    pub(crate) url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) ca_pem: String,
    #[serde(skip)]
    ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) server_name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) insecure: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<OriginProtocolWord>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) title_case: bool,
}

/// What is spoken to an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OriginProtocolWord {
    /// HTTP/2 where TLS agrees on it, else HTTP/1.1.
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; without TLS by prior knowledge (h2c).
    Http2,
}

impl OriginProtocolWord {
    /// As the API has it.
    pub(crate) fn wire(self) -> admin::OriginProtocol {
        match self {
            Self::Auto => admin::OriginProtocol::Auto,
            Self::Http1 => admin::OriginProtocol::Http1,
            Self::Http2 => admin::OriginProtocol::Http2,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    url: String,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    ca_pem: String,
    #[serde(default)]
    server_name: String,
    #[serde(default)]
    insecure: bool,
    weight: Option<u32>,
    protocol: Option<OriginProtocolWord>,
    #[serde(default)]
    title_case: bool,
}

impl<'de> Deserialize<'de> for OriginWords {
    /// By hand, because serde's untagged enums lose both the line and the name of an unknown key.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = OriginWords;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a URL, or a table with the key url")
    }

    fn visit_str<E>(self, url: &str) -> Result<OriginWords, E> {
        Ok(OriginWords {
            url: url.to_owned(),
            ..OriginWords::default()
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OriginWords, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(OriginWords {
            url: table.url,
            ca_pem: table.ca_pem,
            ca_file: table.ca_file,
            server_name: table.server_name,
            insecure: table.insecure,
            weight: table.weight,
            protocol: table.protocol,
            title_case: table.title_case,
        })
    }
}

impl OriginWords {
    /// The origin that is meant; its CA is read from the file's own directory.
    pub(crate) fn meant(&self, key: &str, reading: &mut Reading<'_>) -> admin::Origin {
        let from_file = self.ca_file.as_ref().and_then(|file| {
            let path = reading.beside.join(file);
            let read = fs::read_to_string(&path);
            let read = read.map_err(|error| format!("cannot read {}: {error}", path.display()));
            reading.problems.take(&format!("{key}.ca_file"), read)
        });
        let tls = admin::OriginTls {
            ca_pem: from_file.unwrap_or_else(|| self.ca_pem.clone()),
            server_name: self.server_name.clone(),
            insecure: self.insecure,
        };
        admin::Origin {
            url: self.url.clone(),
            tls: (!is_default(&tls)).then_some(tls),
            weight: self.weight.unwrap_or_default(),
            protocol: self.protocol.map_or(0, |word| word.wire().into()),
            title_case: self.title_case,
        }
    }

    /// One line: the URL and whatever differs from a plain origin.
    pub(crate) fn line(&self) -> String {
        let mut line = self.url.clone();
        if !self.server_name.is_empty() {
            line.push_str(" as ");
            line.push_str(&self.server_name);
        }
        let mut more = Vec::new();
        match self.protocol {
            Some(OriginProtocolWord::Http1) => more.push("HTTP/1.1 only".to_owned()),
            Some(OriginProtocolWord::Http2) => more.push("HTTP/2 only".to_owned()),
            Some(OriginProtocolWord::Auto) | None => {}
        }
        if self.title_case {
            more.push("Title-Case".to_owned());
        }
        if let Some(weight) = self.weight {
            more.push(format!("weight {weight}"));
        }
        if !self.ca_pem.is_empty() {
            more.push(format!("own CA, {} bytes", self.ca_pem.len()));
        }
        if self.insecure {
            more.push("any certificate".to_owned());
        }
        if !more.is_empty() {
            line.push_str(&format!(" ({})", more.join(", ")));
        }
        line
    }
}

impl From<admin::Origin> for OriginWords {
    fn from(origin: admin::Origin) -> Self {
        let protocol = match origin.protocol() {
            admin::OriginProtocol::Unspecified | admin::OriginProtocol::Auto => None,
            admin::OriginProtocol::Http1 => Some(OriginProtocolWord::Http1),
            admin::OriginProtocol::Http2 => Some(OriginProtocolWord::Http2),
        };
        let tls = origin.tls.unwrap_or_default();
        Self {
            url: origin.url,
            ca_pem: tls.ca_pem,
            ca_file: None,
            server_name: tls.server_name,
            insecure: tls.insecure,
            // 1 is what every origin weighs.
            weight: Some(origin.weight).filter(|&weight| weight > 1),
            protocol,
            title_case: origin.title_case,
        }
    }
}

/// How agents look after origins by themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HealthCheckWords {
    pub(crate) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unhealthy_after: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) healthy_after: Option<u32>,
}

impl HealthCheckWords {
    pub(crate) fn meant(&self, key: &str, reading: &mut Reading<'_>) -> admin::HealthCheck {
        let mut read = |name: &str, text| reading.span(&format!("{key}.{name}"), text);
        admin::HealthCheck {
            path: self.path.clone(),
            interval: read("interval", self.interval.as_ref()),
            timeout: read("timeout", self.timeout.as_ref()),
            unhealthy_after: self.unhealthy_after.unwrap_or_default(),
            healthy_after: self.healthy_after.unwrap_or_default(),
        }
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        match &self.interval {
            Some(interval) => format!("GET {} every {interval}", self.path),
            None => format!("GET {}", self.path),
        }
    }
}

impl From<admin::HealthCheck> for HealthCheckWords {
    fn from(check: admin::HealthCheck) -> Self {
        Self {
            path: check.path,
            interval: span_words(check.interval),
            timeout: span_words(check.timeout),
            unhealthy_after: Some(check.unhealthy_after).filter(|&count| count > 0),
            healthy_after: Some(check.healthy_after).filter(|&count| count > 0),
        }
    }
}
