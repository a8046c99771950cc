//! The service by which edges show terms of use, and have it written who accepts them.

use std::{net::IpAddr, sync::Arc};

use model::{
    name::TermsId,
    terms::{Terms, TermsVersion},
};
use prost::Message as _;
use proto::{
    admin,
    control::TermsAcceptanceRecord,
    fabric::{
        AcceptTermsRequest, AcceptTermsResponse, ShowTermsRequest, ShowTermsResponse, TermsUser,
        terms_of_use_server::{self, TermsOfUseServer},
    },
};
use tonic::{Request, Response, Status};

use super::{
    FabricContext,
    accounts::{AdmittedEdge, second_factors::bounded_id},
    admitted_edge,
    refusal::Refusal,
};
use crate::{
    store::{ATTEMPTS_MAX, Check, Entry, Op},
    telemetry,
    terms::{self, Who},
    time::unix_ms,
};

/// Largest request: names, a digest and an address.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// The service, ready to be routed to.
#[must_use]
pub fn service(context: FabricContext) -> TermsOfUseServer<impl terms_of_use_server::TermsOfUse> {
    let service = Service {
        context: Arc::new(context),
    };
    TermsOfUseServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

#[derive(Debug)]
struct Service {
    context: Arc<FabricContext>,
}

#[tonic::async_trait]
impl terms_of_use_server::TermsOfUse for Service {
    async fn show_terms(
        &self,
        request: Request<ShowTermsRequest>,
    ) -> Result<Response<ShowTermsResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let answer = show(&self.context, &edge, request.get_ref()).await?;
        Ok(Response::new(answer))
    }

    async fn accept_terms(
        &self,
        request: Request<AcceptTermsRequest>,
    ) -> Result<Response<AcceptTermsResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let accepted_ms = accept(&self.context, &edge, request.get_ref()).await?;
        Ok(Response::new(AcceptTermsResponse { accepted_ms }))
    }
}

/// Terms as they are stored.
struct Known {
    id: TermsId,
    entry: Entry,
    stored: admin::Terms,
    terms: Terms,
}

async fn find(context: &FabricContext, id: &str) -> Result<Option<Known>, Refusal> {
    let id: TermsId = id
        .parse()
        .map_err(|_| Refusal::Protocol("the id of terms"))?;
    let Some(entry) = context.store.get(&id.resource_name()).await? else {
        return Ok(None);
    };
    let corrupt = || Refusal::Corrupt(entry.key.to_string());
    let stored = admin::Terms::decode(entry.value.clone()).map_err(|_| corrupt())?;
    let terms = terms::in_force(&stored).ok_or_else(corrupt)?;
    Ok(Some(Known {
        id,
        entry,
        stored,
        terms,
    }))
}

fn who(wire: Option<&TermsUser>) -> Result<Who, Refusal> {
    let wire = wire.ok_or(Refusal::Protocol("the user is missing"))?;
    let user = wire.user.parse();
    let provider = (!wire.provider.is_empty()).then(|| wire.provider.parse());
    let provider = provider.transpose();
    Ok(Who {
        user: user.map_err(|_| Refusal::Protocol("the user is no id"))?,
        provider: provider.map_err(|_| Refusal::Protocol("the identity provider is no id"))?,
    })
}

pub(super) async fn show(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &ShowTermsRequest,
) -> Result<ShowTermsResponse, Refusal> {
    let who = who(request.user.as_ref())?;
    let Some(known) = find(context, &request.terms).await? else {
        return Ok(ShowTermsResponse::default());
    };
    let now_ms = unix_ms(context.clock.wall());
    let asked = (&known.id, &known.terms);
    let accepted = terms::accepted(&*context.store, asked, &who, now_ms).await?;
    Ok(ShowTermsResponse {
        title: known.stored.title,
        text: known.stored.text,
        version: known.terms.version.0.to_vec().into(),
        accepted_ms: accepted.map_or(0, |accepted| accepted.at_ms),
    })
}

/// When it was written that the user accepts the text; 0: nothing was, as it is another text by now.
pub(super) async fn accept(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &AcceptTermsRequest,
) -> Result<i64, Refusal> {
    let who = who(request.user.as_ref())?;
    let client: IpAddr = request
        .client
        .parse()
        .map_err(|_| Refusal::Protocol("the client is no IP address"))?;
    let version = TermsVersion::of_bytes(&request.version);
    let version = version.ok_or(Refusal::Protocol("the version has 32 bytes"))?;
    for _ in 0..ATTEMPTS_MAX {
        let known = find(context, &request.terms).await?;
        let Some(known) = known.filter(|known| known.terms.version == version) else {
            telemetry::terms_acceptances("outdated").increment(1);
            return Ok(0);
        };
        let now_ms = unix_ms(context.clock.wall());
        let asked = (&known.id, &known.terms);
        // Whoever accepts again and again writes once.
        if let Some(before) = terms::accepted(&*context.store, asked, &who, now_ms).await? {
            return Ok(before.at_ms);
        }
        let record = TermsAcceptanceRecord {
            terms: known.id.to_string(),
            user: who.user.to_string(),
            provider: who
                .provider
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            version: version.0.to_vec().into(),
            accepted_ms: now_ms,
            client: client.to_string(),
            request_id: bounded_id(&request.request_id).to_owned(),
        };
        if write(context, &known, &who, &record).await? {
            telemetry::terms_acceptances("accepted").increment(1);
            tracing::info!(user = %who.user, terms = %known.id, %version, %client, request.id = record.request_id, "terms accepted");
            return Ok(now_ms);
        }
    }
    Err(Refusal::Contended)
}

/// False: the text, or the acceptance, was written meanwhile.
async fn write(
    context: &FabricContext,
    known: &Known,
    who: &Who,
    record: &TermsAcceptanceRecord,
) -> Result<bool, Refusal> {
    let key: Arc<str> = terms::acceptance_key(&known.id, known.terms.version, who).into();
    let before = Check::as_read(&key, context.store.get(&key).await?.as_ref());
    let is_same = Check::unchanged(&known.entry);
    let put = Op::Put(key, record.encode_to_vec().into());
    Ok(context.commit(vec![is_same, before], vec![put]).await?)
}
