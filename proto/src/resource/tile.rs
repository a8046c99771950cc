//! How an app appears in the portal, as edges get it.

use model::app::{DISPLAY_NAME_CHARS_MAX, Listing, Tile};

use super::{Reader, ResourceError};
use crate::{fabric, rules};

impl Reader<'_> {
    /// What people see of an app. Spaces around it do no harm.
    pub(super) fn display_name(&self, wire: &str) -> Result<String, ResourceError> {
        const WHAT: &str = "a display name";
        self.holds(WHAT, wire.chars().count() <= DISPLAY_NAME_CHARS_MAX)?;
        self.holds(WHAT, !wire.contains(char::is_control))?;
        Ok(wire.to_owned())
    }

    pub(super) fn tile(&self, wire: Option<&fabric::Tile>) -> Result<Tile, ResourceError> {
        const WHAT: &str = "a tile";
        let Some(wire) = wire else {
            return Ok(Tile::default());
        };
        for (text, chars) in [
            (&wire.description, Tile::DESCRIPTION_CHARS_MAX),
            (&wire.category, Tile::CATEGORY_CHARS_MAX),
        ] {
            self.setting(WHAT, rules::line(text, chars))?;
        }
        Ok(Tile {
            listing: match fabric::TileListing::try_from(wire.listing) {
                Ok(fabric::TileListing::Unspecified) => Listing::ByAccess,
                Ok(fabric::TileListing::Shown) => Listing::Shown,
                Ok(fabric::TileListing::Hidden) => Listing::Hidden,
                // Of a later version: nobody misses what they cannot see.
                Err(_) => Listing::Hidden,
            },
            description: wire.description.clone(),
            category: wire.category.clone(),
            host: match &*wire.host {
                "" => None,
                host => Some(self.host(host)?),
            },
        })
    }
}

/// Nothing for a tile that says nothing.
pub(super) fn write(tile: &Tile) -> Option<fabric::Tile> {
    let written = fabric::Tile {
        listing: match tile.listing {
            Listing::ByAccess => fabric::TileListing::Unspecified,
            Listing::Shown => fabric::TileListing::Shown,
            Listing::Hidden => fabric::TileListing::Hidden,
        }
        .into(),
        description: tile.description.clone(),
        category: tile.category.clone(),
        host: tile
            .host
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    };
    (written != fabric::Tile::default()).then_some(written)
}
