//! CAs of users' devices and of programs, which apps name.

use std::sync::Arc;

use bytes::Bytes;
use model::{
    client_ca::CLIENT_CAS_MAX,
    name::{AppId, ClientCaId},
};
use proto::{
    admin::{
        App, ClientCa, CreateClientCaRequest, DeleteClientCaRequest, GetClientCaRequest,
        ListClientCasRequest, ListClientCasResponse, UpdateClientCaRequest, client_cas_server,
    },
    client_ca,
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
use crate::{
    client_cas::Papers,
    store::{Check, Op, Revision, Store},
};

#[cfg(test)]
mod tests;

/// Apps that a refusal names.
const APPS_SHOWN_MAX: usize = 5;

static FIELDS: Fields<ClientCa> = Fields {
    leaves: &[
        Field {
            path: "display_name",
            is_set: |ca| !ca.display_name.is_empty(),
            copy: |to, from| to.display_name.clone_from(&from.display_name),
        },
        Field {
            path: "ca_pem",
            is_set: |ca| !ca.ca_pem.is_empty(),
            copy: |to, from| to.ca_pem.clone_from(&from.ca_pem),
        },
        Field {
            path: "crl_pem",
            is_set: |ca| !ca.crl_pem.is_empty(),
            copy: |to, from| to.crl_pem.clone_from(&from.crl_pem),
        },
        Field {
            path: "revoked_serials",
            is_set: |ca| !ca.revoked_serials.is_empty(),
            copy: |to, from| to.revoked_serials.clone_from(&from.revoked_serials),
        },
    ],
    output_only: &[
        "name",
        "etag",
        "create_time",
        "update_time",
        // A certificate would mean something else from one moment to the next.
        "holders",
        "certificates",
        "crls",
    ],
};

impl Plain for ClientCa {
    const FIELDS: &'static Fields<Self> = &FIELDS;

    fn name(&self) -> &str {
        &self.name
    }

    fn set_etag(&mut self, etag: String) {
        self.etag = etag;
    }

    /// With what its certificates and lists say, in place of the lists.
    fn shown(self) -> Self {
        let papers = Papers::read(&self).ok();
        let papers = papers.as_ref();
        Self {
            certificates: papers.map(Papers::certificates).unwrap_or_default(),
            crls: papers.map(Papers::crls).unwrap_or_default(),
            crl_pem: String::new(),
            ..self
        }
    }
}

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct ClientCas {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl client_cas_server::ClientCas for ClientCas {
    async fn create_client_ca(
        &self,
        request: Request<CreateClientCaRequest>,
    ) -> Result<Response<ClientCa>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.into_inner();
        let wanted = request.client_ca.unwrap_or_default();
        let attempt = || async {
            let plan = self.creation(&request.client_ca_id, &wanted).await?;
            plan.carry_out(&self.context, &operator, request.validate_only)
                .await
        };
        let ca = record::written(format!("clientCas/{}", request.client_ca_id), attempt).await?;
        Ok(Response::new(ca))
    }

    async fn get_client_ca(
        &self,
        request: Request<GetClientCaRequest>,
    ) -> Result<Response<ClientCa>, Status> {
        let id = client_ca_id("name", &request.get_ref().name).map_err(Refusal::from)?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        Ok(Response::new(plain::read(&entry)?))
    }

    async fn list_client_cas(
        &self,
        request: Request<ListClientCasRequest>,
    ) -> Result<Response<ListClientCasResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: ClientCaId::COLLECTION,
            filter: "",
        };
        let page = page::read(&*self.context.store, wanted, |entry| {
            let ca: ClientCa = plain::read(entry)?;
            Ok(Shown::Yes(ClientCa {
                ca_pem: String::new(),
                ..ca
            }))
        })
        .await?;
        Ok(Response::new(ListClientCasResponse {
            client_cas: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn update_client_ca(
        &self,
        request: Request<UpdateClientCaRequest>,
    ) -> Result<Response<ClientCa>, Status> {
        let operator = Operator::of(&request)?;
        let mut request = request.into_inner();
        let name = request.client_ca.get_or_insert_default().name.clone();
        let attempt = || async {
            let plan = self.update(&request).await?;
            plan.carry_out(&self.context, &operator, request.validate_only)
                .await
        };
        let ca = record::written(name, attempt).await?;
        Ok(Response::new(ca))
    }

    async fn delete_client_ca(
        &self,
        request: Request<DeleteClientCaRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.delete(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }
}

impl ClientCas {
    async fn creation(&self, id: &str, wanted: &ClientCa) -> Result<Plan<ClientCa>, Refusal> {
        let after = self.checked(id, wanted, None)?;
        let store = &*self.context.store;
        record::free(store, &after.name).await?;
        let unmarked = self.unmarked(id, &after.name).await?;
        let mark = references::fewer_than(store, ClientCaId::COLLECTION, CLIENT_CAS_MAX).await?;
        Ok(Plan {
            method: "CreateClientCa",
            before: None,
            after,
            mark: Some(mark),
            also: unmarked,
        })
    }

    /// That no app names a CA of that id from before it was deleted: it would ask for certificates of another CA, and let in its programs. An
    /// app may name a CA that was never there.
    async fn unmarked(&self, id: &str, name: &str) -> Result<Option<Op>, Refusal> {
        let store = &*self.context.store;
        let Some(mark) = store.get(&deleted_key(id)).await? else {
            return Ok(None);
        };
        let apps = apps_that_name(store, id).await?;
        if apps.is_empty() {
            return Ok(Some(Op::Delete(mark.key)));
        }
        Err(Refusal::Precondition {
            resource: name.to_owned(),
            what: named_still(name, &apps),
        })
    }

    async fn update(&self, request: &UpdateClientCaRequest) -> Result<Plan<ClientCa>, Refusal> {
        let unsaid = ClientCa::default();
        let wanted = request.client_ca.as_ref().unwrap_or(&unsaid);
        let (chosen, violations) = FIELDS.select(request.update_mask.as_ref(), wanted);
        let id = sound(client_ca_id("client_ca.name", &wanted.name), violations)?;
        let entry =
            record::as_seen(&*self.context.store, &id.resource_name(), &wanted.etag).await?;
        let before: ClientCa = record::decode(&entry)?;
        let merged = mask::merged(Some(&before), wanted, &chosen);
        Ok(Plan {
            method: "UpdateClientCa",
            after: self.checked(id.as_str(), &merged, Some(&before))?,
            before: Some((entry, before)),
            mark: None,
            also: None,
        })
    }

    /// As it is kept, if there is nothing wrong with it. Certificates that are there already may have expired since.
    fn checked(
        &self,
        id: &str,
        wanted: &ClientCa,
        before: Option<&ClientCa>,
    ) -> Result<ClientCa, Refusal> {
        let (id, serials) = client_ca::check(id, wanted).map_err(Refusal::Invalid)?;
        let papers = |ca: &ClientCa| (ca.ca_pem.clone(), ca.crl_pem.clone());
        if before.is_none_or(|before| papers(before) != papers(wanted)) {
            let papers = Papers::read(wanted).map_err(Refusal::Invalid)?;
            let now = self.context.clock.wall();
            papers.check(now).map_err(Refusal::Invalid)?;
        }
        let now = wire_timestamp(self.context.clock.wall());
        Ok(ClientCa {
            name: id.resource_name(),
            etag: String::new(),
            create_time: before.map_or(Some(now), |before| before.create_time),
            update_time: Some(now),
            display_name: wanted.display_name.clone(),
            holders: wanted.holders,
            ca_pem: wanted.ca_pem.clone(),
            crl_pem: wanted.crl_pem.clone(),
            revoked_serials: serials.iter().map(ToString::to_string).collect(),
            certificates: Vec::new(),
            crls: Vec::new(),
        })
    }

    async fn delete(
        &self,
        request: &DeleteClientCaRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let store = &*self.context.store;
        let id = client_ca_id("name", &request.name)?;
        let name = id.resource_name();
        let entry = record::as_seen(store, &name, &request.etag).await?;
        let mut ops = vec![
            record::delete(&name),
            Change::of("DeleteClientCa", &name).row(operator, &self.context.clock),
        ];
        if !apps_that_name(store, id.as_str()).await?.is_empty() {
            let mark = Arc::from(deleted_key(id.as_str()));
            ops.push(Op::Put(mark, Bytes::new()));
        }
        record::commit(store, vec![Check::unchanged(&entry)], ops).await
    }
}

/// Of a CA that apps named when it was deleted.
fn deleted_key(id: &str) -> String {
    format!("clientCaMarks/{id}")
}

/// Apps that ask for certificates of a CA, or let in programs of it.
async fn apps_that_name(store: &dyn Store, id: &str) -> Result<Vec<String>, Refusal> {
    let (name, of_ca) = (format!("{}{id}", ClientCaId::COLLECTION), format!("{id}/"));
    let mut found = Vec::new();
    for entry in store.snapshot(&[AppId::COLLECTION]).await?.entries {
        let app: App = record::decode(&entry)?;
        let assignment = app.assignment.unwrap_or_default();
        let assigns = |program: &String| program.starts_with(&of_ca);
        if app.client_cas.contains(&name) || assignment.programs.iter().any(assigns) {
            found.push(app.name);
        }
    }
    Ok(found)
}

fn named_still(name: &str, apps: &[String]) -> String {
    let shown = &apps[..apps.len().min(APPS_SHOWN_MAX)];
    let more = match apps.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let shown = shown.join(", ");
    format!(
        "{name} is still named by {shown}{more}, from a CA of that id that was deleted: take it off them first, or choose another id"
    )
}

fn client_ca_id(field: &str, name: &str) -> Result<ClientCaId, Violation> {
    let read = ClientCaId::from_resource_name;
    record::id(field, name, ClientCaId::COLLECTION, read)
}
