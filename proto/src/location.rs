//! Reads and writes named locations.

use model::{access::place::Location, name::LocationId};

use crate::{
    access,
    access_rule::{countries, networks},
    admin, fabric, resource,
    violation::{Violation, Violations},
};

/// Checks a location that shall have the id `id`; on failure says everything that is wrong with it.
///
/// # Errors
/// Every violation.
pub fn check(
    id: &str,
    location: &admin::Location,
) -> Result<(LocationId, Location), Vec<Violation>> {
    let mut found = Violations::default();
    let id = found.parse("location_id", id);
    found.display_name("location.display_name", &location.display_name);
    let unsaid = access::Area::default();
    let area = location.area.as_ref().unwrap_or(&unsaid);
    let read = read_area("location.area", area, &mut found);
    if area.networks.is_empty() && area.countries.is_empty() && !area.unknown_country {
        found.add("location.area", "must name a network or a country");
    }
    match id {
        Some(id) if found.is_empty() => Ok((id, read)),
        Some(_) | None => Err(found.into_vec()),
    }
}

/// What edges are told of a location.
pub fn told(id: &str, area: Option<access::Area>) -> fabric::Location {
    fabric::Location {
        id: id.to_owned(),
        area_bytes: resource::length(area.as_ref()),
        area,
    }
}

/// Whether a location has reached this version whole.
pub fn is_whole(wire: &fabric::Location) -> bool {
    wire.area_bytes == resource::length(wire.area.as_ref())
}

/// Reads where a location is.
///
/// # Errors
/// Every violation.
pub fn area(wire: &access::Area) -> Result<Location, Vec<Violation>> {
    let mut found = Violations::default();
    let location = read_area("area", wire, &mut found);
    if found.is_empty() {
        Ok(location)
    } else {
        Err(found.into_vec())
    }
}

fn read_area(field: &str, wire: &access::Area, found: &mut Violations) -> Location {
    Location {
        networks: networks(&format!("{field}.networks"), &wire.networks, found),
        countries: countries(&format!("{field}.countries"), &wire.countries, found),
        unknown_country: wire.unknown_country,
        trusted: wire.trusted,
    }
}

/// Writes where a location is.
pub fn write_area(location: &Location) -> access::Area {
    access::Area {
        networks: location.networks.iter().map(ToString::to_string).collect(),
        countries: location.countries.iter().map(ToString::to_string).collect(),
        unknown_country: location.unknown_country,
        trusted: location.trusted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_read_and_everything_wrong_is_said_at_once() {
        let checked = |networks: &[&str], countries: &[&str]| {
            let location = admin::Location {
                area: Some(access::Area {
                    networks: networks.iter().map(ToString::to_string).collect(),
                    countries: countries.iter().map(ToString::to_string).collect(),
                    ..access::Area::default()
                }),
                ..admin::Location::default()
            };
            let checked = check("office", &location);
            checked
                .map(|(_, location)| write_area(&location).networks)
                .map_err(|found| found.into_iter().map(|one| one.field).collect::<Vec<_>>())
        };
        assert_eq!(
            checked(&["192.0.2.0/24", "2001:db8::1"], &[]),
            Ok(vec![
                "192.0.2.0/24".to_owned(),
                "2001:db8::1/128".to_owned()
            ])
        );
        assert_eq!(
            checked(&["192.0.2.1/24", "office"], &["de"]),
            Err([".networks[0]", ".networks[1]", ".countries[0]"]
                .map(|field| format!("location.area{field}"))
                .into())
        );
        assert_eq!(checked(&[], &["DE"]), Ok(Vec::new()));
        assert_eq!(checked(&[], &[]), Err(vec!["location.area".to_owned()]));
    }
}
