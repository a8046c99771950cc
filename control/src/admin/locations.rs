//! Named locations, which access rules speak of.

use model::{access::place::LOCATIONS_MAX, name::LocationId};
use proto::{
    access,
    admin::{
        CreateLocationRequest, DeleteLocationRequest, GetLocationRequest, ListLocationsRequest,
        ListLocationsResponse, Location, UpdateLocationRequest, locations_server,
    },
    location,
    time::wire_timestamp,
    violation::Violation,
};
use tonic::{Request, Response, Status};

use super::{
    AdminContext, access_references as references,
    change::Change,
    mask::{self, Field, Fields},
    operator::Operator,
    page::{self, PageRequest, Shown},
    plain::{self, Plain, Plan},
    record,
    refusal::{Refusal, sound},
};
use crate::store::{Check, Entry, Revision};

#[cfg(test)]
mod tests;

static FIELDS: Fields<Location> = Fields {
    leaves: &[
        Field {
            path: "display_name",
            is_set: |location| !location.display_name.is_empty(),
            copy: |to, from| to.display_name.clone_from(&from.display_name),
        },
        Field {
            path: "area.networks",
            is_set: |location| !area(location).networks.is_empty(),
            copy: |to, from| area_mut(to).networks = area(from).networks,
        },
        Field {
            path: "area.countries",
            is_set: |location| !area(location).countries.is_empty(),
            copy: |to, from| area_mut(to).countries = area(from).countries,
        },
        Field {
            path: "area.unknown_country",
            is_set: |location| area(location).unknown_country,
            copy: |to, from| area_mut(to).unknown_country = area(from).unknown_country,
        },
        Field {
            path: "area.trusted",
            is_set: |location| area(location).trusted,
            copy: |to, from| area_mut(to).trusted = area(from).trusted,
        },
    ],
    output_only: &["name", "etag", "create_time", "update_time"],
};

fn area(location: &Location) -> access::Area {
    location.area.clone().unwrap_or_default()
}

fn area_mut(location: &mut Location) -> &mut access::Area {
    location.area.get_or_insert_default()
}

impl Plain for Location {
    const FIELDS: &'static Fields<Self> = &FIELDS;

    fn name(&self) -> &str {
        &self.name
    }

    fn set_etag(&mut self, etag: String) {
        self.etag = etag;
    }
}

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Locations {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl locations_server::Locations for Locations {
    async fn create_location(
        &self,
        request: Request<CreateLocationRequest>,
    ) -> Result<Response<Location>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.into_inner();
        let wanted = request.location.unwrap_or_default();
        let attempt = || async {
            let plan = self.creation(&request.location_id, &wanted).await?;
            plan.carry_out(&self.context, &operator, request.validate_only)
                .await
        };
        let location =
            record::written(format!("locations/{}", request.location_id), attempt).await?;
        Ok(Response::new(location))
    }

    async fn get_location(
        &self,
        request: Request<GetLocationRequest>,
    ) -> Result<Response<Location>, Status> {
        let id = location_id("name", &request.get_ref().name).map_err(Refusal::from)?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        Ok(Response::new(plain::read(&entry)?))
    }

    async fn list_locations(
        &self,
        request: Request<ListLocationsRequest>,
    ) -> Result<Response<ListLocationsResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: LocationId::COLLECTION,
            filter: "",
        };
        let page = page::read(&*self.context.store, wanted, |entry| {
            plain::read(entry).map(Shown::Yes)
        })
        .await?;
        Ok(Response::new(ListLocationsResponse {
            locations: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn update_location(
        &self,
        request: Request<UpdateLocationRequest>,
    ) -> Result<Response<Location>, Status> {
        let operator = Operator::of(&request)?;
        let mut request = request.into_inner();
        let name = request.location.get_or_insert_default().name.clone();
        let attempt = || async {
            let plan = self.update(&request).await?;
            plan.carry_out(&self.context, &operator, request.validate_only)
                .await
        };
        let location = record::written(name, attempt).await?;
        Ok(Response::new(location))
    }

    async fn delete_location(
        &self,
        request: Request<DeleteLocationRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.delete(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }
}

impl Locations {
    async fn creation(&self, id: &str, wanted: &Location) -> Result<Plan<Location>, Refusal> {
        let checked = location::check(id, wanted).map_err(Refusal::Invalid)?;
        let name = checked.0.resource_name();
        record::free(&*self.context.store, &name).await?;
        self.plan("CreateLocation", name, None, wanted).await
    }

    async fn update(&self, request: &UpdateLocationRequest) -> Result<Plan<Location>, Refusal> {
        let unsaid = Location::default();
        let wanted = request.location.as_ref().unwrap_or(&unsaid);
        let (chosen, violations) = FIELDS.select(request.update_mask.as_ref(), wanted);
        let id = sound(location_id("location.name", &wanted.name), violations)?;
        let name = id.resource_name();
        let (etag, may_make) = (&wanted.etag, request.allow_missing);
        let before = record::before(&*self.context.store, &name, etag, may_make).await?;
        let old = before.as_ref().map(|(_, old)| old);
        let merged = mask::merged(old, wanted, &chosen);
        location::check(id.as_str(), &merged).map_err(Refusal::Invalid)?;
        self.plan("UpdateLocation", name, before, &merged).await
    }

    async fn plan(
        &self,
        method: &'static str,
        name: String,
        before: Option<(Entry, Location)>,
        wanted: &Location,
    ) -> Result<Plan<Location>, Refusal> {
        let store = &*self.context.store;
        let mark = match before {
            Some(_) => None,
            None => {
                Some(references::fewer_than(store, LocationId::COLLECTION, LOCATIONS_MAX).await?)
            }
        };
        let now = wire_timestamp(self.context.clock.wall());
        let old = before.as_ref().map(|(_, location)| location);
        let after = Location {
            name,
            etag: String::new(),
            create_time: old.map_or(Some(now), |location| location.create_time),
            update_time: Some(now),
            display_name: wanted.display_name.clone(),
            area: Some(area(wanted)),
        };
        Ok(Plan {
            method,
            before,
            after,
            mark,
            also: None,
        })
    }

    async fn delete(
        &self,
        request: &DeleteLocationRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let store = &*self.context.store;
        let id = location_id("name", &request.name)?;
        let name = id.resource_name();
        let entry = record::as_seen(store, &name, &request.etag).await?;
        let mark = references::unnamed(store, &name).await?;
        let checks = vec![Check::unchanged(&entry), mark.check];
        let ops = vec![
            record::delete(&name),
            mark.write,
            Change::of("DeleteLocation", &name).row(operator, &self.context.clock),
        ];
        record::commit(store, checks, ops).await
    }
}

fn location_id(field: &str, name: &str) -> Result<LocationId, Violation> {
    let read = LocationId::from_resource_name;
    record::id(field, name, LocationId::COLLECTION, read)
}
