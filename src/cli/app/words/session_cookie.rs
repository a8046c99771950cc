//! How browsers keep the session of an app's host.

use proto::admin;
use serde::{Deserialize, Serialize};

use super::is_default;

/// Settings of the cookie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SessionCookieWords {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) same_site: SameSiteWord,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) persistent: bool,
}

/// With which requests that pages of other sites make the cookie comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SameSiteWord {
    /// Where a link leads to the app.
    #[default]
    Lax,
    /// With none.
    Strict,
    /// With all: for apps that pages of other sites show in frames.
    None,
}

impl SameSiteWord {
    /// As the API has it.
    pub(crate) fn wire(self) -> admin::SameSite {
        match self {
            Self::Lax => admin::SameSite::Unspecified,
            Self::Strict => admin::SameSite::Strict,
            Self::None => admin::SameSite::None,
        }
    }
}

impl SessionCookieWords {
    pub(crate) fn meant(self) -> Option<admin::SessionCookie> {
        let meant = admin::SessionCookie {
            same_site: self.same_site.wire().into(),
            persistent: self.persistent,
        };
        Some(meant).filter(|meant| *meant != admin::SessionCookie::default())
    }

    /// What is not as if nothing had been said, for people.
    pub(crate) fn line(self) -> String {
        let same_site = match self.same_site {
            SameSiteWord::Lax => None,
            SameSiteWord::Strict => Some("same site strict"),
            SameSiteWord::None => Some("same site none"),
        };
        let persistent = self.persistent.then_some("persistent");
        let parts: Vec<_> = same_site.into_iter().chain(persistent).collect();
        parts.join(", ")
    }
}

impl From<admin::SessionCookie> for SessionCookieWords {
    fn from(cookie: admin::SessionCookie) -> Self {
        Self {
            same_site: match cookie.same_site() {
                admin::SameSite::Unspecified | admin::SameSite::Lax => SameSiteWord::Lax,
                admin::SameSite::Strict => SameSiteWord::Strict,
                admin::SameSite::None => SameSiteWord::None,
            },
            persistent: cookie.persistent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_say_what_control_keeps() {
        for (file, line) in [
            ("", ""),
            ("same_site = \"lax\"", ""),
            ("same_site = \"strict\"", "same site strict"),
            (
                "same_site = \"none\"\npersistent = true",
                "same site none, persistent",
            ),
        ] {
            let words: SessionCookieWords = toml::from_str(file).unwrap();
            assert_eq!(words.line(), line, "{file}");
            let meant = words.meant().unwrap_or_default();
            assert_eq!(SessionCookieWords::from(meant), words, "{file}");
        }
        assert!(toml::from_str::<SessionCookieWords>("same_site = \"Lax\"").is_err());
    }
}
