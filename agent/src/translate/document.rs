//! A document of one of the kinds that are translated, piece by piece.

use std::sync::Arc;

use encoding_rs::{BIG5, Encoding, GB18030, GBK, SHIFT_JIS};
use model::{app, translate::Site};

use super::{Scope, html::Html, literal::Literals, style::Style};

/// Kind of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Html,
    Css,
    Json,
    Script,
}

impl Kind {
    /// Reads a `Content-Type`; `None` for what is not translated, by its kind or by its encoding.
    pub(super) fn of(content_type: &str, settings: &app::Translation) -> Option<Self> {
        let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let essence = essence.trim().to_ascii_lowercase();
        let kind = match essence.as_str() {
            "text/html" | "application/xhtml+xml" => Self::Html,
            "text/css" => Self::Css,
            "application/json" | "text/json" if settings.json => Self::Json,
            other if settings.json && other.ends_with("+json") => Self::Json,
            "text/javascript"
            | "application/javascript"
            | "application/x-javascript"
            | "text/ecmascript"
            | "application/ecmascript"
                if settings.scripts =>
            {
                Self::Script
            }
            _ => return None,
        };
        match charset(parameters) {
            Some(name) => kind.is_read_in(name).then_some(kind),
            None => Some(kind),
        }
    }

    /// Whether bytes of ASCII mean ASCII in this encoding.
    fn is_read_in(self, charset: &str) -> bool {
        let Some(encoding) = Encoding::for_label_no_replacement(charset.as_bytes()) else {
            return false;
        };
        // Backslashes are halves of letters there, and a backslash matters everywhere but between tags.
        let halves = [SHIFT_JIS, BIG5, GBK, GB18030].contains(&encoding);
        encoding.is_ascii_compatible() && (self == Self::Html || !halves)
    }
}

fn charset(parameters: &str) -> Option<&str> {
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        name.trim().eq_ignore_ascii_case("charset").then_some(value)
    })
}

/// A document on its way.
#[derive(Debug)]
pub(super) enum Document {
    Html(Box<Html>),
    Css(Style),
    Literals(Literals),
}

impl Document {
    pub(super) fn new(kind: Kind, site: Arc<Site>, scope: Scope) -> Self {
        match kind {
            Kind::Html => Self::Html(Box::new(Html::new(site, scope))),
            Kind::Css => Self::Css(Style::new(site)),
            Kind::Json => Self::Literals(Literals::json(site)),
            Kind::Script => Self::Literals(Literals::script(site)),
        }
    }

    /// Takes a piece and gives what is decided.
    pub(super) fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Html(html) => html.write(piece, out),
            Self::Css(style) => style.write(piece, out),
            Self::Literals(literals) => literals.write(piece, out),
        }
    }

    /// Gives what was held back.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Html(html) => html.end(out),
            Self::Css(style) => style.end(out),
            Self::Literals(literals) => literals.end(out),
        }
    }
}

#[cfg(test)]
mod tests;
