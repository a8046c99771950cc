//! `adit location`: places that access rules name.

use std::time::SystemTime;

use model::name::LocationId;
use prost_types::FieldMask;
use proto::{
    access::Area,
    admin::{
        CreateLocationRequest, DeleteLocationRequest, GetLocationRequest, ListLocationsRequest,
        Location, UpdateLocationRequest,
    },
};
use serde::Serialize;

use super::{
    age,
    client::{self, Control, PAGE_SIZE},
    failure::Failure,
    screen::Screen,
    table::{self, Page, Row},
};

/// What to do with locations.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum LocationCommand {
    /// Create a location, for access rules to name.
    #[command(
        after_help = "Example:\n  adit location create office --network 192.0.2.0/24 --network 2001:db8::/32 --trusted\n  adit location create homelands --country DE --country AT"
    )]
    Create(AreaFlags),
    /// List all locations.
    #[command(after_help = "Example:\n  adit location list")]
    List,
    /// Show one location.
    #[command(after_help = "Example:\n  adit location show office")]
    Show {
        /// Id of the location.
        id: LocationId,
    },
    /// Change a location; edges follow within a second. A list that is given replaces the one before.
    #[command(
        after_help = "Example:\n  adit location update office --network 192.0.2.0/24 --network 198.51.100.0/24"
    )]
    Update {
        #[command(flatten)]
        area: AreaFlags,
        /// Update only if the location still has this etag (see `location show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Delete a location; refused while a rule names it.
    #[command(after_help = "Example:\n  adit location delete office")]
    Delete {
        /// Id of the location.
        id: LocationId,
        /// Delete only if the location still has this etag (see `location show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
}

/// Where a location is.
#[derive(Debug, clap::Args)]
pub(crate) struct AreaFlags {
    /// Id of the location: 1-63 of a-z, 0-9 and -.
    id: LocationId,
    /// What people see.
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// A network, or an address; may be repeated.
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    /// A country, by its code (ISO 3166-1), such as DE; may be repeated. Edges need a --country-file to know.
    #[arg(long = "country", value_name = "CODE")]
    countries: Vec<String>,
    /// Whether addresses of which the edge does not know the country are there too.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    unknown_country: Option<bool>,
    /// Whether rules that speak of trusted locations mean this one too.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    trusted: Option<bool>,
}

impl AreaFlags {
    /// The location, and which fields of it were given.
    fn read(self) -> (Location, Vec<String>) {
        let given = [
            ("display_name", self.display_name.is_some()),
            ("area.networks", !self.networks.is_empty()),
            ("area.countries", !self.countries.is_empty()),
            ("area.unknown_country", self.unknown_country.is_some()),
            ("area.trusted", self.trusted.is_some()),
        ];
        let paths = client::given(&given);
        let location = Location {
            name: self.id.resource_name(),
            display_name: self.display_name.unwrap_or_default(),
            area: Some(Area {
                networks: self.networks,
                countries: self.countries,
                unknown_country: self.unknown_country.unwrap_or_default(),
                trusted: self.trusted.unwrap_or_default(),
            }),
            ..Location::default()
        };
        (location, paths)
    }
}

impl LocationCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Create(area) => create(area, control, screen).await,
            Self::List => {
                let views: Vec<_> = all(control)
                    .await?
                    .into_iter()
                    .map(LocationView::from)
                    .collect();
                let empty = "There are no locations. `adit location create --help` shows how.";
                table::list(screen, &views, empty, control.clock.wall())
            }
            Self::Show { id } => show(&id, control, screen).await,
            Self::Update { area, etag } => update(area, etag, control, screen).await,
            Self::Delete { id, etag } => delete(&id, etag, control, screen).await,
        }
    }
}

/// All that the fabric has.
pub(crate) async fn all(control: &Control) -> Result<Vec<Location>, Failure> {
    let fetch = async |page_token| {
        let request = ListLocationsRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = control
            .locations()
            .list_locations(request)
            .await?
            .into_inner();
        Ok((page.locations, page.next_page_token))
    };
    control.pages("list locations", fetch).await
}

async fn create(area: AreaFlags, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let (id, doing) = (
        area.id.to_string(),
        format!("create {}", area.id.resource_name()),
    );
    let request = CreateLocationRequest {
        location_id: id,
        location: Some(area.read().0),
        validate_only: false,
    };
    let mut locations = control.locations();
    let created = control.call(doing, locations.create_location(request));
    written(created.await?, "created", screen)
}

async fn update(
    area: AreaFlags,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let doing = format!("update {}", area.id.resource_name());
    let (location, paths) = area.read();
    let request = UpdateLocationRequest {
        location: Some(Location { etag, ..location }),
        update_mask: Some(FieldMask { paths }),
        allow_missing: false,
        validate_only: false,
    };
    let mut locations = control.locations();
    let updated = control.call(doing, locations.update_location(request));
    written(updated.await?, "updated", screen)
}

fn written(location: Location, what: &str, screen: &mut Screen) -> Result<(), Failure> {
    let view = LocationView::from(location);
    table::written(screen, &view, &view.name, what)
}

async fn show(id: &LocationId, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let name = id.resource_name();
    let doing = format!("show {name}");
    let request = GetLocationRequest { name };
    let mut locations = control.locations();
    let location = control.call(doing, locations.get_location(request));
    let view = LocationView::from(location.await?);
    table::show(screen, &view, control.clock.wall())
}

async fn delete(
    id: &LocationId,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = id.resource_name();
    let request = DeleteLocationRequest {
        name: name.clone(),
        etag,
    };
    let mut locations = control.locations();
    let deletion = locations.delete_location(request);
    control.delete(&name, deletion, screen).await
}

/// Keys of a location in JSON.
#[derive(Debug, Serialize)]
struct LocationView {
    name: String,
    etag: String,
    display_name: String,
    networks: Vec<String>,
    countries: Vec<String>,
    unknown_country: bool,
    trusted: bool,
    create_time: Option<String>,
    update_time: Option<String>,
    #[serde(skip)]
    changed: Option<prost_types::Timestamp>,
}

impl From<Location> for LocationView {
    fn from(location: Location) -> Self {
        let area = location.area.unwrap_or_default();
        Self {
            name: location.name,
            etag: location.etag,
            display_name: location.display_name,
            networks: area.networks,
            countries: area.countries,
            unknown_country: area.unknown_country,
            trusted: area.trusted,
            create_time: age::rfc3339(location.create_time),
            update_time: age::rfc3339(location.update_time),
            changed: location.update_time,
        }
    }
}

impl LocationView {
    fn country_words(&self) -> Vec<String> {
        let mut words = self.countries.clone();
        words.extend(self.unknown_country.then(|| "unknown".to_owned()));
        words
    }
}

impl Row for LocationView {
    const COLUMNS: &'static [&'static str] = &[
        "LOCATION",
        "DISPLAY NAME",
        "NETWORKS",
        "COUNTRIES",
        "TRUSTED",
        "CHANGED",
    ];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            table::id(&self.name).to_owned(),
            table::or_dash(&self.display_name),
            table::or_dash(&self.networks.join(", ")),
            table::or_dash(&self.country_words().join(", ")),
            if self.trusted { "yes" } else { "no" }.to_owned(),
            age::relative(self.changed.as_ref(), now),
        ]
    }
}

impl Page for LocationView {
    fn facts(&self, _now: SystemTime) -> Vec<(&'static str, String)> {
        vec![
            ("location", table::id(&self.name).to_owned()),
            ("display name", self.display_name.clone()),
            ("networks", self.networks.join("\n")),
            ("countries", self.country_words().join("\n")),
            (
                "trusted",
                if self.trusted { "yes" } else { "no" }.to_owned(),
            ),
            ("created", age::to_the_second(self.create_time.as_deref())),
            ("changed", age::to_the_second(self.update_time.as_deref())),
            ("etag", self.etag.clone()),
        ]
    }
}
