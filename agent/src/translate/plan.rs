//! Which answers are translated in their bodies, and what their heads say then.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use model::app;

use super::{decode::Coding, document::Kind};

/// What the user's request says about the answer's body.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Only for the head.
    head_only: bool,
    accepts_gzip: bool,
    if_none_match: Vec<HeaderValue>,
}

/// A body that is to be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) coding: Coding,
    /// It is written in gzip.
    pub(super) gzip: bool,
}

/// Codings that can be read, besides those that mean none.
const CODINGS: [&str; 7] = ["gzip", "x-gzip", "deflate", "br", "zstd", "identity", "*"];

/// Fields that speak of a body as the origin wrote it.
const OF_THE_ORIGINAL: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

impl Asked {
    /// Reads a request, and takes from `Accept-Encoding` what could not be read back.
    pub(super) fn of(method: &Method, fields: &mut HeaderMap) -> Self {
        let accepts_gzip = accepted(fields).any(|(name, wanted)| name == "gzip" && wanted);
        let asked = Self {
            head_only: *method == Method::HEAD,
            accepts_gzip,
            if_none_match: fields
                .get_all(header::IF_NONE_MATCH)
                .iter()
                .cloned()
                .collect(),
        };
        for value in fields
            .iter_mut()
            .filter(|(name, _)| *name == header::ACCEPT_ENCODING)
        {
            keep_readable(value.1);
        }
        asked
    }

    /// Whether the user holds the translated form of what has this tag.
    fn holds_weak(&self, tag: &[u8]) -> bool {
        let weak = [b"W/", tag].concat();
        self.if_none_match.iter().any(|value| {
            value
                .as_bytes()
                .windows(weak.len())
                .any(|part| part == weak)
        })
    }
}

fn accepted(fields: &HeaderMap) -> impl Iterator<Item = (String, bool)> {
    fields
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|item| {
            let (name, weight) = item.split_once(';').unwrap_or((item, ""));
            let weight = weight.trim().to_ascii_lowercase();
            let none = weight
                .strip_prefix("q=")
                .is_some_and(|weight| weight.trim().parse() == Ok(0.0));
            (name.trim().to_ascii_lowercase(), !none)
        })
}

fn keep_readable(value: &mut HeaderValue) {
    let Ok(text) = value.to_str() else {
        return;
    };
    let readable = |item: &&str| {
        let name = item.split(';').next().unwrap_or(item).trim();
        CODINGS.iter().any(|known| name.eq_ignore_ascii_case(known))
    };
    let kept: Vec<_> = text.split(',').filter(readable).collect();
    if kept.len() < text.split(',').count()
        && let Ok(kept) = HeaderValue::from_str(kept.join(",").trim())
    {
        *value = kept;
    }
}

/// Decides, and makes the head that of the translated body.
pub(super) fn plan(
    settings: &app::Translation,
    asked: &Asked,
    status: StatusCode,
    fields: &mut HeaderMap,
) -> Option<Plan> {
    if status == StatusCode::NOT_MODIFIED {
        keep_weak(asked, fields);
        return None;
    }
    // Parts of a body cannot be translated: an address may begin in one and end in another.
    if status == StatusCode::PARTIAL_CONTENT || status == StatusCode::NO_CONTENT {
        return None;
    }
    let text = |name| {
        fields
            .get(name)
            .map(|value: &HeaderValue| value.to_str().ok())
    };
    let kind = Kind::of(text(header::CONTENT_TYPE)??, settings)?;
    let coding = match text(header::CONTENT_ENCODING) {
        Some(value) => Coding::parse(value?)?,
        None => Coding::Identity,
    };
    if is_left_alone(fields) || fields.get_all(header::CONTENT_ENCODING).iter().count() > 1 {
        return None;
    }
    let gzip = coding != Coding::Identity && (asked.accepts_gzip || coding == Coding::Gzip);
    rewrite(fields, gzip);
    (!asked.head_only).then_some(Plan { kind, coding, gzip })
}

/// Downloads are kept as they are, and so is what must not be transformed (RFC 9110, section 7.7).
fn is_left_alone(fields: &HeaderMap) -> bool {
    let says = |name: HeaderName, word: &str| {
        fields
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split([',', ';']))
            .any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    says(header::CACHE_CONTROL, "no-transform") || says(header::CONTENT_DISPOSITION, "attachment")
}

fn rewrite(fields: &mut HeaderMap, gzip: bool) {
    for name in &OF_THE_ORIGINAL {
        fields.remove(name);
    }
    fields.remove(header::CONTENT_ENCODING);
    if gzip {
        fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    weaken(fields);
}

/// The tag is that of another form of the same.
fn weaken(fields: &mut HeaderMap) {
    if let Some(tag) = fields.get_mut(header::ETAG)
        && tag.as_bytes().starts_with(b"\"")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        *tag = weak;
    }
}

fn keep_weak(asked: &Asked, fields: &mut HeaderMap) {
    let holds = fields
        .get(header::ETAG)
        .is_some_and(|tag| asked.holds_weak(tag.as_bytes()));
    if holds {
        weaken(fields);
    }
}

#[cfg(test)]
mod tests;
