//! An origin in the file: a URL alone, or a table when more is to be said.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use proto::admin;
use runtime::config::Problems;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// As written, in either form.
#[derive(Debug)]
pub(super) struct RawOrigin(Table);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    url: String,
    ca_file: Option<PathBuf>,
    server_name: Option<String>,
    #[serde(default)]
    insecure: bool,
}

impl<'de> Deserialize<'de> for RawOrigin {
    /// By hand, because serde's untagged enums lose both the line and the name of an unknown key.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either).map(Self)
    }
}

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Table;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a URL, or a table with the key url")
    }

    fn visit_str<E>(self, url: &str) -> Result<Table, E> {
        Ok(Table {
            url: url.to_owned(),
            ca_file: None,
            server_name: None,
            insecure: false,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Table, A::Error> {
        Table::deserialize(MapAccessDeserializer::new(map))
    }
}

impl RawOrigin {
    /// The origin that is meant; its CA is read from the file's own directory.
    pub(super) fn meant(self, key: &str, beside: &Path, problems: &mut Problems) -> admin::Origin {
        let Self(table) = self;
        let ca_pem = table.ca_file.and_then(|file| {
            let path = beside.join(file);
            let read = fs::read_to_string(&path);
            let read = read.map_err(|error| format!("cannot read {}: {error}", path.display()));
            problems.take(&format!("{key}.ca_file"), read)
        });
        let tls = admin::OriginTls {
            ca_pem: ca_pem.unwrap_or_default(),
            server_name: table.server_name.unwrap_or_default(),
            insecure: table.insecure,
        };
        let is_plain = tls == admin::OriginTls::default();
        admin::Origin {
            url: table.url,
            tls: (!is_plain).then_some(tls),
            ..Default::default()
        }
    }
}
