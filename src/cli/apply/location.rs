//! Locations in a file.

use std::collections::BTreeMap;

use model::name::LocationId;
use prost_types::FieldMask;
use proto::{
    access::Area,
    admin::{CreateLocationRequest, DeleteLocationRequest, Location, UpdateLocationRequest},
};
use serde::Deserialize;

use crate::cli::{app::words::Reading, client::Control, failure::Answer};

/// As written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLocation {
    display_name: String,
    networks: Vec<String>,
    countries: Vec<String>,
    unknown_country: bool,
    trusted: bool,
}

/// All of the file's.
pub(super) fn all_meant(
    raw: BTreeMap<String, RawLocation>,
    reading: &mut Reading<'_>,
) -> BTreeMap<LocationId, Location> {
    let mut locations = BTreeMap::new();
    for (id, raw) in raw {
        let key = format!("location.{id}");
        if let Some(id) = reading.problems.take(&key, id.parse::<LocationId>()) {
            let location = raw.meant(&id);
            locations.insert(id, location);
        }
    }
    locations
}

impl RawLocation {
    fn meant(self, id: &LocationId) -> Location {
        Location {
            name: id.resource_name(),
            display_name: self.display_name,
            area: Some(Area {
                networks: self.networks,
                countries: self.countries,
                unknown_country: self.unknown_country,
                trusted: self.trusted,
            }),
            ..Location::default()
        }
    }
}

/// With networks in their one spelling: control keeps what it was given.
pub(super) fn area(location: &Location) -> Area {
    let area = location.area.clone().unwrap_or_default();
    match proto::location::area(&area) {
        Ok(read) => proto::location::write_area(&read),
        Err(_) => area,
    }
}

/// Creates or updates; `validate_only`: control only says what it would do.
pub(super) async fn write(
    location: &Location,
    mask: FieldMask,
    (is_new, validate_only): (bool, bool),
    control: &Control,
) -> Result<(), Answer> {
    let mut locations = control.locations();
    let made = if is_new {
        let id = location.name.strip_prefix(LocationId::COLLECTION);
        let request = CreateLocationRequest {
            location_id: id.unwrap_or_default().to_owned(),
            location: Some(location.clone()),
            validate_only,
        };
        control.answer(locations.create_location(request)).await
    } else {
        let request = UpdateLocationRequest {
            location: Some(location.clone()),
            update_mask: Some(mask),
            allow_missing: false,
            validate_only,
        };
        control.answer(locations.update_location(request)).await
    };
    made.map(drop)
}

pub(super) async fn delete(location: &Location, control: &Control) -> Result<(), Answer> {
    let request = DeleteLocationRequest {
        name: location.name.clone(),
        etag: location.etag.clone(),
    };
    let mut locations = control.locations();
    control.answer(locations.delete_location(request)).await
}
