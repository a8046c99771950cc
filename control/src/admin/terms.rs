//! Terms of use, which access rules ask users to accept, and who has accepted them.

use model::{
    name::{IdentityProviderId, TermsId, UserId},
    terms::TERMS_MAX,
};
use proto::{
    admin::{
        CreateTermsRequest, DeleteTermsRequest, GetTermsRequest, ListTermsAcceptancesRequest,
        ListTermsAcceptancesResponse, ListTermsRequest, ListTermsResponse, Terms, TermsAcceptance,
        UpdateTermsRequest, terms_of_use_server,
    },
    control::TermsAcceptanceRecord,
    terms,
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
    store::{Check, Entry, Revision},
    terms::{acceptance_prefix, version_of, written_version},
    time::timestamp_of_ms,
};

#[cfg(test)]
mod tests;

static FIELDS: Fields<Terms> = Fields {
    leaves: &[
        Field {
            path: "title",
            is_set: |terms| !terms.title.is_empty(),
            copy: |to, from| to.title.clone_from(&from.title),
        },
        Field {
            path: "text",
            is_set: |terms| !terms.text.is_empty(),
            copy: |to, from| to.text.clone_from(&from.text),
        },
        Field {
            path: "again_after",
            is_set: |terms| terms.again_after.is_some(),
            copy: |to, from| to.again_after = from.again_after,
        },
    ],
    output_only: &["name", "etag", "create_time", "update_time", "version"],
};

impl Plain for Terms {
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
pub(crate) struct TermsOfUse {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl terms_of_use_server::TermsOfUse for TermsOfUse {
    async fn create_terms(
        &self,
        request: Request<CreateTermsRequest>,
    ) -> Result<Response<Terms>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.into_inner();
        let wanted = request.terms.unwrap_or_default();
        let attempt = || async {
            let plan = self.creation(&request.terms_id, &wanted).await?;
            plan.carry_out(&self.context, &operator, request.validate_only)
                .await
        };
        let terms = record::written(format!("terms/{}", request.terms_id), attempt).await?;
        Ok(Response::new(terms))
    }

    async fn get_terms(
        &self,
        request: Request<GetTermsRequest>,
    ) -> Result<Response<Terms>, Status> {
        let id = terms_id("name", &request.get_ref().name).map_err(Refusal::from)?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        Ok(Response::new(plain::read(&entry)?))
    }

    async fn list_terms(
        &self,
        request: Request<ListTermsRequest>,
    ) -> Result<Response<ListTermsResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: TermsId::COLLECTION,
            filter: "",
        };
        let page = page::read(&*self.context.store, wanted, |entry| {
            // All of them in one message would be a megabyte.
            let without_text = |terms| Terms {
                text: String::new(),
                ..terms
            };
            plain::read(entry).map(without_text).map(Shown::Yes)
        })
        .await?;
        Ok(Response::new(ListTermsResponse {
            terms: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn update_terms(
        &self,
        request: Request<UpdateTermsRequest>,
    ) -> Result<Response<Terms>, Status> {
        let operator = Operator::of(&request)?;
        let mut request = request.into_inner();
        let name = request.terms.get_or_insert_default().name.clone();
        let attempt = || async {
            let plan = self.update(&request).await?;
            plan.carry_out(&self.context, &operator, request.validate_only)
                .await
        };
        let terms = record::written(name, attempt).await?;
        Ok(Response::new(terms))
    }

    async fn delete_terms(
        &self,
        request: Request<DeleteTermsRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.delete(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }

    async fn list_terms_acceptances(
        &self,
        request: Request<ListTermsAcceptancesRequest>,
    ) -> Result<Response<ListTermsAcceptancesResponse>, Status> {
        let request = request.get_ref();
        let wanted = Wanted::read(request)?;
        let prefix = acceptance_prefix(wanted.terms.as_ref());
        let wanted_page = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: &prefix,
            filter: &request.user,
        };
        let page = page::read(&*self.context.store, wanted_page, |entry| {
            let record: TermsAcceptanceRecord = record::decode(entry)?;
            Ok(if wanted.holds(&record) {
                Shown::Yes(acceptance(&record))
            } else {
                Shown::No
            })
        })
        .await?;
        Ok(Response::new(ListTermsAcceptancesResponse {
            acceptances: page.items,
            next_page_token: page.next_token,
        }))
    }
}

/// Which acceptances are asked for.
struct Wanted {
    terms: Option<TermsId>,
    user: Option<UserId>,
}

impl Wanted {
    fn read(request: &ListTermsAcceptancesRequest) -> Result<Self, Refusal> {
        let (terms, user) = (&request.terms, &request.user);
        let terms = (!terms.is_empty()).then(|| terms_id("terms", terms));
        let user = (!user.is_empty()).then(|| {
            let read = UserId::from_resource_name;
            record::id("user", user, UserId::COLLECTION, read)
        });
        Ok(Self {
            terms: terms.transpose()?,
            user: user.transpose()?,
        })
    }

    fn holds(&self, record: &TermsAcceptanceRecord) -> bool {
        let mut user = self.user.iter();
        user.all(|user| user.as_str() == record.user)
    }
}

fn acceptance(record: &TermsAcceptanceRecord) -> TermsAcceptance {
    TermsAcceptance {
        terms: format!("{}{}", TermsId::COLLECTION, record.terms),
        user: format!("{}{}", UserId::COLLECTION, record.user),
        provider: match &*record.provider {
            "" => String::new(),
            provider => format!("{}{provider}", IdentityProviderId::COLLECTION),
        },
        version: written_version(&record.version),
        accept_time: timestamp_of_ms(record.accepted_ms),
        client: record.client.clone(),
        request_id: record.request_id.clone(),
    }
}

impl TermsOfUse {
    async fn creation(&self, id: &str, wanted: &Terms) -> Result<Plan<Terms>, Refusal> {
        let checked = terms::check(id, wanted).map_err(Refusal::Invalid)?;
        let name = checked.0.resource_name();
        record::free(&*self.context.store, &name).await?;
        self.plan("CreateTerms", name, None, wanted).await
    }

    async fn update(&self, request: &UpdateTermsRequest) -> Result<Plan<Terms>, Refusal> {
        let unsaid = Terms::default();
        let wanted = request.terms.as_ref().unwrap_or(&unsaid);
        let (chosen, violations) = FIELDS.select(request.update_mask.as_ref(), wanted);
        let id = sound(terms_id("terms.name", &wanted.name), violations)?;
        let name = id.resource_name();
        let (etag, may_make) = (&wanted.etag, request.allow_missing);
        let before = record::before(&*self.context.store, &name, etag, may_make).await?;
        let old = before.as_ref().map(|(_, old)| old);
        let merged = mask::merged(old, wanted, &chosen);
        terms::check(id.as_str(), &merged).map_err(Refusal::Invalid)?;
        self.plan("UpdateTerms", name, before, &merged).await
    }

    async fn plan(
        &self,
        method: &'static str,
        name: String,
        before: Option<(Entry, Terms)>,
        wanted: &Terms,
    ) -> Result<Plan<Terms>, Refusal> {
        let store = &*self.context.store;
        let mark = match before {
            Some(_) => None,
            None => Some(references::fewer_than(store, TermsId::COLLECTION, TERMS_MAX).await?),
        };
        let now = wire_timestamp(self.context.clock.wall());
        let old = before.as_ref().map(|(_, terms)| terms);
        let after = Terms {
            name,
            etag: String::new(),
            create_time: old.map_or(Some(now), |terms| terms.create_time),
            update_time: Some(now),
            title: wanted.title.clone(),
            text: wanted.text.clone(),
            again_after: wanted.again_after,
            version: version_of(&wanted.text).to_string(),
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
        request: &DeleteTermsRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let store = &*self.context.store;
        let id = terms_id("name", &request.name)?;
        let name = id.resource_name();
        let entry = record::as_seen(store, &name, &request.etag).await?;
        let mark = references::unnamed(store, &name).await?;
        let checks = vec![Check::unchanged(&entry), mark.check];
        let ops = vec![
            record::delete(&name),
            mark.write,
            Change::of("DeleteTerms", &name).row(operator, &self.context.clock),
        ];
        record::commit(store, checks, ops).await
    }
}

fn terms_id(field: &str, name: &str) -> Result<TermsId, Violation> {
    let read = TermsId::from_resource_name;
    record::id(field, name, TermsId::COLLECTION, read)
}
