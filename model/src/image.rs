//! Pictures that operators supply for pages of the fabric.

use std::{fmt, str::FromStr};

use crate::name::{AppId, IdError};

/// Largest picture: a logo, or an icon of 256 by 256, takes a few kilobytes.
pub const IMAGE_BYTES_MAX: usize = 32 * 1024;
/// All pictures of a fabric together: every edge has them in memory, and asks for them when it starts.
pub const IMAGES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest side, in pixels: a small file can stand for a picture that no browser can draw.
pub const IMAGE_SIDE_MAX: usize = 1_024;

/// What a picture is, by its first bytes. Formats that can hold scripts, such as SVG, are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// Portable Network Graphics (W3C PNG, section 5.2).
    Png,
    /// WebP (RFC 9649, section 2.4).
    WebP,
}

impl ImageKind {
    /// What these bytes begin as.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            return Some(Self::Png);
        }
        let is_webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
        is_webp.then_some(Self::WebP)
    }

    /// As in `Content-Type`.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::WebP => "image/webp",
        }
    }
}

/// What a picture is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ImageId {
    /// The organisation's, on every page: `logo`.
    Logo,
    /// The same on dark pages: `logo-dark`.
    LogoDark,
    /// An app's, in the portal: `apps/{id}`.
    App(AppId),
}

/// Why a text is no id of a picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageIdError {
    /// It begins in no way that is known.
    #[error("must be logo, logo-dark or apps/ and the id of an app")]
    Unknown,
    /// There can be no such app.
    #[error("has an id of an app that {0}")]
    App(#[source] IdError),
}

impl ImageId {
    /// What names of pictures begin with.
    pub const COLLECTION: &str = "images/";

    /// `images/logo`, `images/apps/wiki`.
    pub fn resource_name(&self) -> String {
        format!("{}{self}", Self::COLLECTION)
    }
}

impl FromStr for ImageId {
    type Err = ImageIdError;

    fn from_str(text: &str) -> Result<Self, ImageIdError> {
        match text {
            "logo" => Ok(Self::Logo),
            "logo-dark" => Ok(Self::LogoDark),
            text => {
                let id = text.strip_prefix(AppId::COLLECTION);
                let id = id.ok_or(ImageIdError::Unknown)?;
                id.parse().map(Self::App).map_err(ImageIdError::App)
            }
        }
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logo => f.write_str("logo"),
            Self::LogoDark => f.write_str("logo-dark"),
            Self::App(app) => write!(f, "{}{app}", AppId::COLLECTION),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_what_its_first_bytes_say() {
        for (bytes, want) in [
            (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], Some(ImageKind::Png)),
            (b"RIFF\x24\0\0\0WEBPVP8 ", Some(ImageKind::WebP)),
            (b"RIFF\x24\0\0\0WAVEfmt ", None),
            (b"RIFF", None),
            (b"<svg xmlns='http://www.w3.org/2000/svg'>", None),
            (b"<!doctype html><script>", None),
            (b"GIF89a", None),
            (b"", None),
        ] {
            assert_eq!(ImageKind::of(bytes), want, "{bytes:?}");
        }
    }

    #[test]
    fn ids_of_pictures_are_read_as_written() {
        for text in ["logo", "logo-dark", "apps/wiki"] {
            let id: ImageId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(id.resource_name(), format!("images/{text}"));
        }
        for bad in [
            "",
            "Logo",
            "apps",
            "apps/",
            "apps/Wiki",
            "apps/a/b",
            "users/alice",
        ] {
            assert!(bad.parse::<ImageId>().is_err(), "{bad:?}");
        }
    }
}
