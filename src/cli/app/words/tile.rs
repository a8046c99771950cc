//! How an app appears in the portal, as people write it.

use proto::admin;
use serde::{Deserialize, Serialize};

use super::is_default;

/// How an app appears.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TileWords {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) listing: ListingWord,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) category: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) host: String,
}

/// Words for whether it appears.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ListingWord {
    /// If users sign in for it.
    #[default]
    Auto,
    /// Also if it admits everybody.
    Show,
    /// Never.
    Hide,
}

impl ListingWord {
    /// As the API has it.
    pub(crate) fn wire(self) -> admin::TileListing {
        match self {
            Self::Auto => admin::TileListing::Unspecified,
            Self::Show => admin::TileListing::Shown,
            Self::Hide => admin::TileListing::Hidden,
        }
    }
}

impl TileWords {
    /// `None` for one that says nothing, as control has it.
    pub(crate) fn meant(&self) -> Option<admin::Tile> {
        (!is_default(self)).then(|| admin::Tile {
            listing: self.listing.wire().into(),
            description: self.description.clone(),
            category: self.category.clone(),
            host: self.host.clone(),
        })
    }

    /// All of it, for people.
    pub(crate) fn line(&self) -> String {
        let listing = match self.listing {
            ListingWord::Auto => "",
            ListingWord::Show => "shown",
            ListingWord::Hide => "hidden",
        };
        let within = |word: &str, text: &str| match text {
            "" => String::new(),
            text => format!("{word} {text}"),
        };
        let parts = [
            listing.to_owned(),
            within("under", &self.category),
            within("at", &self.host),
            self.description.clone(),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(", ")
    }
}

impl From<admin::Tile> for TileWords {
    fn from(tile: admin::Tile) -> Self {
        Self {
            listing: match tile.listing() {
                admin::TileListing::Unspecified => ListingWord::Auto,
                admin::TileListing::Shown => ListingWord::Show,
                admin::TileListing::Hidden => ListingWord::Hide,
            },
            description: tile.description,
            category: tile.category,
            host: tile.host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_is_told_in_one_line_and_survives_the_api() {
        for (listing, description, category, host, line) in [
            (ListingWord::Auto, "", "", "", ""),
            (ListingWord::Show, "", "", "", "shown"),
            (
                ListingWord::Hide,
                "Baskets",
                "Sales",
                "a.example.com",
                "hidden, under Sales, at a.example.com, Baskets",
            ),
        ] {
            let words = TileWords {
                listing,
                description: description.to_owned(),
                category: category.to_owned(),
                host: host.to_owned(),
            };
            assert_eq!(words.line(), line);
            let back = words.meant().unwrap_or_default();
            assert_eq!(TileWords::from(back), words);
        }
    }
}
