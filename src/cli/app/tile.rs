//! Flags that say how an app appears in the portal.

use proto::admin;

use super::words::ListingWord;

/// How the app appears in the portal.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How an app appears in the portal, at apps.<domain>")]
pub(super) struct TileFlags {
    /// Whether those who may use it see it there.
    #[arg(long, value_enum)]
    tile: Option<ListingWord>,
    /// What it is for; at most 300 characters.
    #[arg(long, value_name = "TEXT")]
    tile_description: Option<String>,
    /// Heading that it is found under; at most 60 characters.
    #[arg(long, value_name = "TEXT")]
    tile_category: Option<String>,
    /// Name that the portal leads to, of those that the hosts stand for; empty for the first that is no wildcard.
    #[arg(long, value_name = "HOST")]
    tile_host: Option<String>,
}

impl TileFlags {
    /// Writes what was said into the app, and tells which fields that were, as in a field mask.
    pub(super) fn write(&self, app: &mut admin::App) -> Vec<&'static str> {
        let mut tile = admin::Tile::default();
        let mut written = Vec::new();
        if let Some(listing) = self.tile {
            tile.listing = listing.wire().into();
            written.push("tile.listing");
        }
        for (said, field, path) in [
            (
                &self.tile_description,
                &mut tile.description,
                "tile.description",
            ),
            (&self.tile_category, &mut tile.category, "tile.category"),
            (&self.tile_host, &mut tile.host, "tile.host"),
        ] {
            if let Some(text) = said {
                field.clone_from(text);
                written.push(path);
            }
        }
        app.tile = (tile != admin::Tile::default()).then_some(tile);
        written
    }
}
