//! How an app appears in the portal.

use model::{
    app::{Listing, Segment, Tile},
    host::{HostPattern, Hostname},
};

use crate::{admin, rules, violation::Violations};

/// Reads the tile of an app with these hosts and segments.
pub(super) fn read(
    app: &admin::App,
    hosts: &[HostPattern],
    segments: &[Segment],
    found: &mut Violations,
) -> Tile {
    let Some(wire) = &app.tile else {
        return Tile::default();
    };
    let listing = match admin::TileListing::try_from(wire.listing) {
        Ok(admin::TileListing::Unspecified) => Listing::ByAccess,
        Ok(admin::TileListing::Shown) => Listing::Shown,
        Ok(admin::TileListing::Hidden) => Listing::Hidden,
        Err(_) => {
            let what = "is of a kind that this version does not know";
            found.add("app.tile.listing", what);
            Listing::default()
        }
    };
    let description = rules::line(&wire.description, Tile::DESCRIPTION_CHARS_MAX);
    found.take("app.tile.description", description);
    let category = rules::line(&wire.category, Tile::CATEGORY_CHARS_MAX);
    found.take("app.tile.category", category);
    let all = || {
        hosts
            .iter()
            .chain(segments.iter().flat_map(|segment| &segment.hosts))
    };
    let host = read_host(&wire.host, found);
    if let Some(host) = &host
        && !all().any(|pattern| pattern.matches(host))
    {
        found.add(
            "app.tile.host",
            "is not published: must be a host of the app",
        );
    }
    Tile {
        listing,
        description: wire.description.clone(),
        category: wire.category.clone(),
        host,
    }
}

fn read_host(text: &str, found: &mut Violations) -> Option<Hostname> {
    match text {
        "" => None,
        text => found.parse("app.tile.host", text),
    }
}

/// Nothing for a tile that says nothing: equal apps are written alike.
pub(super) fn write(tile: &Tile) -> Option<admin::Tile> {
    let written = admin::Tile {
        listing: match tile.listing {
            Listing::ByAccess => admin::TileListing::Unspecified,
            Listing::Shown => admin::TileListing::Shown,
            Listing::Hidden => admin::TileListing::Hidden,
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
    (written != admin::Tile::default()).then_some(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tile: admin::Tile) -> Vec<String> {
        let app = admin::App {
            tile: Some(tile),
            ..admin::App::default()
        };
        let hosts = ["*.apps.example.com".parse().unwrap()];
        let mut found = Violations::default();
        read(&app, &hosts, &[], &mut found);
        let found = found.into_vec().into_iter();
        found.map(|fault| fault.to_string()).collect()
    }

    #[test]
    fn a_tile_has_short_lines_and_leads_to_the_app() {
        let tile = |change: fn(&mut admin::Tile)| {
            let mut tile = admin::Tile {
                description: "Where we write things down 📚".to_owned(),
                category: "Büro".to_owned(),
                host: "a.apps.example.com".to_owned(),
                ..admin::Tile::default()
            };
            change(&mut tile);
            check(tile)
        };
        assert!(tile(|_| ()).is_empty());
        for (change, field) in [
            (
                (|tile| tile.listing = 9) as fn(&mut admin::Tile),
                "app.tile.listing",
            ),
            (
                |tile| tile.description = "x".repeat(301),
                "app.tile.description",
            ),
            (
                |tile| tile.description = "a\nb".to_owned(),
                "app.tile.description",
            ),
            (|tile| tile.category = "x".repeat(61), "app.tile.category"),
            (|tile| tile.category = " x".to_owned(), "app.tile.category"),
            (
                |tile| tile.host = "evil.example".to_owned(),
                "app.tile.host",
            ),
            (
                |tile| tile.host = "https://a.apps.example.com".to_owned(),
                "app.tile.host",
            ),
        ] {
            let found = tile(change);
            assert_eq!(found.len(), 1, "{field}: {found:?}");
            assert!(found[0].starts_with(field), "{found:?}");
        }
    }
}
