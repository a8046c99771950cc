//! Settings of apps as people write them: the same keys in `adit apply` files and in JSON.
//!
//! Spans and sizes are text with a unit. What is left out is not said: control fills in its default.

mod answers;
mod assign;
mod cors;
mod identity;
mod kept;
mod limits;
mod origin;
mod session_cookie;
mod sso;
mod tile;
mod translation;

use std::time::Duration;

use proto::{admin, time::wire_duration};
use runtime::config::{self, Problems};
use serde::{Deserialize, Serialize};

use crate::cli::age;

pub(crate) use self::{
    answers::{AnswerRulesWords, MaintenanceWords, RobotsWord},
    assign::AssignWords,
    cors::CorsWords,
    identity::{IdentityFieldWord, IdentityWords, identity_line, identity_meant, identity_words},
    kept::{BasicWords, CharsetWord, FormWords},
    limits::{LimitsWords, RateWords, TimeoutsWords},
    origin::{HealthCheckWords, OriginProtocolWord, OriginWords},
    session_cookie::{SameSiteWord, SessionCookieWords},
    sso::{FramingWord, KerberosWords, NameFormWord, SsoIdentityWord, SsoWords},
    tile::{ListingWord, TileWords},
    translation::TranslationWords,
};

/// One of several sites of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SegmentWords {
    pub(crate) id: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) inner_path: String,
    pub(crate) origins: Vec<OriginWords>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cors: Vec<CorsWords>,
    #[serde(skip_serializing_if = "IdentityWords::is_empty")]
    pub(crate) identity_fields: IdentityWords,
}

impl SegmentWords {
    pub(crate) fn meant(&self, key: &str, reading: &mut Reading<'_>) -> admin::Segment {
        admin::Segment {
            id: self.id.clone(),
            hosts: self.hosts.clone(),
            path: self.path.clone(),
            inner_path: self.inner_path.clone(),
            origins: all_meant(
                &self.origins,
                &format!("{key}.origins"),
                reading,
                OriginWords::meant,
            ),
            cors: all_meant(
                &self.cors,
                &format!("{key}.cors"),
                reading,
                CorsWords::meant,
            ),
            identity_fields: identity_meant(&self.identity_fields),
        }
    }
}

impl From<admin::Segment> for SegmentWords {
    fn from(segment: admin::Segment) -> Self {
        Self {
            id: segment.id,
            hosts: segment.hosts,
            path: segment.path,
            inner_path: segment.inner_path,
            origins: segment.origins.into_iter().map(Into::into).collect(),
            cors: segment.cors.into_iter().map(Into::into).collect(),
            identity_fields: identity_words(segment.identity_fields),
        }
    }
}

/// What turning words into messages needs besides them.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    /// Files are named from here.
    pub(crate) beside: &'a std::path::Path,
    /// What cannot be read.
    pub(crate) problems: &'a mut Problems,
}

impl Reading<'_> {
    pub(crate) fn span(
        &mut self,
        key: &str,
        text: Option<&String>,
    ) -> Option<prost_types::Duration> {
        let span = config::duration(text?);
        self.problems
            .take(key, span)
            .map(|span: Duration| wire_duration(span))
    }

    /// A size that the API counts in 32 bits; one beyond them is beyond every bound that it is for.
    pub(crate) fn size(&mut self, key: &str, text: Option<&String>) -> Option<u32> {
        let size = self.problems.take(key, config::byte_size(text?))?;
        Some(u32::try_from(size).unwrap_or(u32::MAX))
    }
}

/// Reads a list; each item's key says which one it is.
pub(crate) fn all_meant<W, M>(
    words: &[W],
    key: &str,
    reading: &mut Reading<'_>,
    meant: fn(&W, &str, &mut Reading<'_>) -> M,
) -> Vec<M> {
    let items = words.iter().enumerate();
    items
        .map(|(index, word)| meant(word, &format!("{key}[{index}]"), reading))
        .collect()
}

pub(crate) fn size_words(bytes: Option<u32>) -> Option<String> {
    bytes.map(|bytes| config::written_byte_size(bytes.into()))
}

pub(crate) fn span_words(span: Option<prost_types::Duration>) -> Option<String> {
    span.as_ref().map(age::span)
}

/// Whether a setting is as if nothing had been said.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
