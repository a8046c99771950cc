//! What is known of a request when it is decided whether access rules let it through.

use std::{borrow::Cow, fmt, net::IpAddr, str::FromStr};

/// A country by its code of two capital letters (ISO 3166-1 alpha-2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country([u8; 2]);

/// Why a text is no country.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a country's code of two capital letters, such as DE")]
pub struct CountryError;

impl Country {
    /// The two letters.
    pub fn as_str(&self) -> &str {
        // Letters of ASCII only, by construction.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Country {
    type Err = CountryError;

    fn from_str(code: &str) -> Result<Self, CountryError> {
        let letters: [u8; 2] = code.as_bytes().try_into().map_err(|_| CountryError)?;
        let is_good = letters.iter().all(u8::is_ascii_uppercase);
        is_good.then_some(Self(letters)).ok_or(CountryError)
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The method in capitals, if it is not in those.
pub fn capitals(method: &str) -> Option<String> {
    let is_other = method.bytes().any(|byte| byte.is_ascii_lowercase());
    is_other.then(|| method.to_ascii_uppercase())
}

/// A closed set of words, with what each means.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, { $($(#[$word_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$word_doc])* $variant),+
        }

        impl $name {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            /// What a word stands for.
            pub fn of_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }
    };
}

words!(
    /// What sends the request. Programs can say that they are browsers: advisory.
    ClientKind, {
        /// A person's browser.
        Browser = "browser",
        /// A program that a person uses, with their session.
        Program = "program",
    }
);

words!(
    /// What the user's device runs, as it says itself: advisory.
    Platform, {
        /// Android.
        Android = "android",
        /// iOS and iPadOS.
        Ios = "ios",
        /// Windows.
        Windows = "windows",
        /// macOS. iPads that ask for pages as desktops do say the same.
        Macos = "macos",
        /// Linux.
        Linux = "linux",
        /// ChromeOS.
        ChromeOs = "chromeos",
        /// Something else, or it says nothing.
        Unknown = "unknown",
    }
);

pub(crate) use words;

/// What is known of one request besides the app and the user.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The host that it is for, without a port.
    pub host: &'a str,
    /// Its method, as written.
    pub method: &'a str,
    /// Other methods, in capitals, that an origin may take it for, as its fields ask for them or its own is not in capitals: it counts as all of them.
    pub other_methods: &'a [String],
    /// Its path, as [`read_leniently`](crate::path::read_leniently) has it: rules only ever restrict.
    pub path: Cow<'a, str>,
    /// Whether its path has no sure reading: then it is taken to be inside of every prefix.
    pub path_is_ambiguous: bool,
    /// Where it comes from.
    pub address: IpAddr,
    /// The country of that address, if the edge has a list of countries and the list knows.
    pub country: Option<Country>,
    /// What sends it.
    pub client: ClientKind,
    /// What that runs on.
    pub platform: Platform,
    /// Whether a certificate of the user's device was shown and holds.
    pub has_device_certificate: bool,
    /// The time, in Unix milliseconds.
    pub now_ms: i64,
    /// When the user's session began, in Unix milliseconds.
    pub session_began_ms: i64,
    /// When the user was last seen at this app, in Unix milliseconds; `None`: just now.
    pub seen_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_two_capital_letters() {
        assert_eq!(
            "DE".parse::<Country>().map(|one| one.to_string()),
            Ok("DE".to_owned())
        );
        for bad in ["", "D", "de", "DEU", "D1", "ÄÖ"] {
            assert_eq!(bad.parse::<Country>(), Err(CountryError), "{bad}");
        }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for platform in Platform::ALL {
            assert_eq!(Platform::of_word(platform.as_str()), Some(*platform));
        }
        assert_eq!(ClientKind::of_word("robot"), None);
    }
}
