//! Whose fabric it is: what the pages of its edges say and look like.

use std::{fmt, str::FromStr};

/// How pages show whose they are. By default they show nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Brand {
    /// Of the organisation, at most [`NAME_CHARS_MAX`](Self::NAME_CHARS_MAX); may be empty.
    pub name: String,
    /// Of buttons and links; none: a blue of the product's own.
    pub accent: Option<Color>,
    /// Whom to turn to, at most [`HELP_CHARS_MAX`](Self::HELP_CHARS_MAX); may be empty.
    pub help: String,
    /// Where help is, as a page's foot leads to it: `https:` or `mailto:`; may be empty.
    pub help_url: String,
    /// What else a page's foot leads to, at most [`LINKS_MAX`](Self::LINKS_MAX).
    pub links: Vec<BrandLink>,
}

/// A link of a page's foot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrandLink {
    /// What people read, 1 to [`Brand::LINK_CHARS_MAX`].
    pub text: String,
    /// Where it leads: `https:` or `mailto:`, at most [`Brand::URL_BYTES_MAX`].
    pub url: String,
}

impl Brand {
    /// What fits a phone's line.
    pub const NAME_CHARS_MAX: usize = 60;
    /// A sentence or two.
    pub const HELP_CHARS_MAX: usize = 300;
    /// Privacy, imprint, terms, accessibility.
    pub const LINKS_MAX: usize = 4;
    /// A word or two.
    pub const LINK_CHARS_MAX: usize = 40;
    /// Longest address of a link.
    pub const URL_BYTES_MAX: usize = 1_024;

    /// Whether `url` may stand in a page: it must lead to a page or a letter, and nothing of it may be read in two ways.
    pub fn may_lead_to(url: &str) -> bool {
        let rest = ["https://", "mailto:"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme));
        url.len() <= Self::URL_BYTES_MAX
            && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
            && url.bytes().all(|byte| byte.is_ascii_graphic())
            && !url.contains(['"', '\'', '<', '>', '\\', '`'])
    }
}

/// A colour of the sRGB space, written as `#1d4ed8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color([u8; 3]);

/// Why a text is no colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a colour such as #1d4ed8")]
pub struct ColorError;

/// Least contrast of text that people can read (WCAG 2.2, success criterion 1.4.3).
const CONTRAST_MIN: f64 = 4.5;
/// Steps from a colour to black or white.
const STEPS_MAX: u8 = 32;

impl Color {
    /// Paper of dark writing.
    pub const WHITE: Self = Self([255; 3]);
    /// Ink on light colours.
    pub const BLACK: Self = Self([0; 3]);

    /// A colour of these parts of red, green and blue.
    pub const fn new(parts: [u8; 3]) -> Self {
        Self(parts)
    }

    /// Black or white: what can be read on it. One of them has a contrast of 4.58 at least, on whatever colour.
    pub fn ink(self) -> Self {
        if self.contrast(Self::WHITE) >= CONTRAST_MIN {
            Self::WHITE
        } else {
            Self::BLACK
        }
    }

    /// The colour, or the nearest to it on the way to black or white that can be read on all of `papers`, which are all light or all dark.
    pub fn readable_on(self, papers: &[Self]) -> Self {
        let end = papers.first().map_or(Self::BLACK, |paper| paper.ink());
        let mut steps = (0..=STEPS_MAX).map(|step| self.toward(end, step));
        let readable = |color: &Self| {
            let mut papers = papers.iter();
            papers.all(|paper| color.contrast(*paper) >= CONTRAST_MIN)
        };
        steps.find(readable).unwrap_or(end)
    }

    /// How far apart two colours are for the eye, 1 to 21 (WCAG 2.2, "contrast ratio").
    pub fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    /// WCAG 2.2, "relative luminance".
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.040_45 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// So many steps of [`STEPS_MAX`] from here to `end`.
    fn toward(self, end: Self, step: u8) -> Self {
        let mix = |from: u8, to: u8| {
            let (from, to, step, all) = (
                u32::from(from),
                u32::from(to),
                u32::from(step),
                u32::from(STEPS_MAX),
            );
            // Between two bytes.
            u8::try_from((from * (all - step) + to * step) / all).unwrap_or(u8::MAX)
        };
        Self(std::array::from_fn(|part| mix(self.0[part], end.0[part])))
    }
}

impl FromStr for Color {
    type Err = ColorError;

    fn from_str(text: &str) -> Result<Self, ColorError> {
        let digits = text.strip_prefix('#').ok_or(ColorError)?;
        if digits.len() != 6 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(ColorError);
        }
        let part = |at: usize| {
            let digits = digits.get(at..at + 2).ok_or(ColorError)?;
            u8::from_str_radix(digits, 16).map_err(|_| ColorError)
        };
        Ok(Self([part(0)?, part(2)?, part(4)?]))
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colours_are_written_with_six_digits() {
        let blue: Color = "#1D4ed8".parse().unwrap();
        assert_eq!(blue.to_string(), "#1d4ed8");
        for bad in [
            "", "1d4ed8", "#1d4ed", "#1d4ed88", "#1d4edg", "#é1d4e", "red", "#+1d4e8",
        ] {
            assert_eq!(bad.parse::<Color>(), Err(ColorError), "{bad:?}");
        }
    }

    #[test]
    fn links_lead_to_pages_and_letters_only() {
        for (url, want) in [
            ("https://example.com/privacy?x=1#y", true),
            ("mailto:help@example.com", true),
            ("http://example.com/", false),
            ("javascript:alert(1)", false),
            ("https://", false),
            ("https:///x", false),
            ("https://example.com/\"onclick=x", false),
            ("https://example.com/a b", false),
            ("HTTPS://example.com/", false),
        ] {
            assert_eq!(Brand::may_lead_to(url), want, "{url}");
        }
        let long = format!("https://{}", "a".repeat(Brand::URL_BYTES_MAX));
        assert!(!Brand::may_lead_to(&long));
    }

    proptest! {
        #[test]
        fn whatever_the_colour_people_can_read(parts in any::<[u8; 3]>()) {
            let color = Color::new(parts);
            prop_assert!(color.contrast(color.ink()) >= CONTRAST_MIN);
            for papers in [
                [Color::WHITE, Color::new([0xf6, 0xf7, 0xf9])],
                [Color::new([0x11, 0x14, 0x18]), Color::new([0x1b, 0x1f, 0x25])],
            ] {
                let text = color.readable_on(&papers);
                for paper in papers {
                    prop_assert!(text.contrast(paper) >= CONTRAST_MIN, "{text} on {paper}");
                }
            }
            prop_assert_eq!(color.to_string().parse(), Ok(color));
        }
    }
}
