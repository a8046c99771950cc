//! The admin API as the operator's commands call it: one channel, the profile's token on each call, one time limit.

use std::{future::Future, sync::Arc, time::Duration};

use proto::admin::{
    access_rules_client::AccessRulesClient, agents_client::AgentsClient,
    api_tokens_client::ApiTokensClient, apps_client::AppsClient, audit_client::AuditClient,
    client_cas_client::ClientCasClient, edges_client::EdgesClient, groups_client::GroupsClient,
    identity_providers_client::IdentityProvidersClient, images_client::ImagesClient,
    join_tokens_client::JoinTokensClient, locations_client::LocationsClient,
    second_factors_client::SecondFactorsClient, service_tokens_client::ServiceTokensClient,
    settings_service_client::SettingsServiceClient, sign_ins_client::SignInsClient,
    status_client::StatusClient, terms_of_use_client::TermsOfUseClient, users_client::UsersClient,
    vault_client::VaultClient,
};
use runtime::{
    Clock,
    control_client::{self, ControlAddresses},
    dial::WayOutSettings,
    tls,
};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use super::{
    Operator,
    failure::{Answer, CallFailure, Failure, Through},
    profile::Profile,
    screen::Screen,
    table,
};

/// Resources asked for at once; the most that control gives.
pub(crate) const PAGE_SIZE: u32 = 1_000;
/// Pages of one list, at most: a million resources, more than any fabric has.
const PAGES_MAX: usize = 1_000;

/// A channel on which every call carries the operator's token.
type Line = InterceptedService<Channel, Bearer>;

/// Control, called with one operator's token.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    line: Line,
    timeout: Duration,
    through: Through,
    pub(crate) clock: Clock,
}

/// Adds the token to every call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer(***)")
    }
}

/// The paths of an update's mask: of the fields that were given.
pub(crate) fn given(fields: &[(&str, bool)]) -> Vec<String> {
    let given = fields.iter().filter(|(_, is_given)| *is_given);
    given.map(|(path, _)| (*path).to_owned()).collect()
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl Control {
    /// Reads the profile and opens a line to the first of its addresses that answers.
    pub(crate) async fn reach(operator: &Operator, screen: &mut Screen) -> Result<Self, Failure> {
        let profile = Profile::read(operator.profile.as_deref())?;
        if profile.is_open_to_others {
            screen.note(format_args!(
                "warning: others on this machine may read the token in {0}; run: chmod 600 {0}",
                profile.path.display()
            ))?;
        }
        let through = Through {
            profile: profile.path.clone(),
            addresses: profile.addresses.clone(),
        };
        let opened = tokio::time::timeout(operator.timeout, open(&profile)).await;
        let opened = opened.unwrap_or_else(|_| Err(Answer::too_late(operator.timeout)));
        match opened {
            Ok(line) => Ok(Self {
                line,
                timeout: operator.timeout,
                through,
                clock: Clock::system(),
            }),
            Err(answer) => Err(Failure::from(Box::new(CallFailure {
                doing: "reach control".to_owned(),
                through,
                answer,
            }))),
        }
    }

    /// The same, with at least this much time for an answer.
    pub(crate) fn patient(&self, least: Duration) -> Self {
        Self {
            timeout: self.timeout.max(least),
            ..self.clone()
        }
    }

    pub(crate) fn apps(&self) -> AppsClient<Line> {
        AppsClient::new(self.line.clone())
    }

    pub(crate) fn groups(&self) -> GroupsClient<Line> {
        GroupsClient::new(self.line.clone())
    }

    pub(crate) fn terms(&self) -> TermsOfUseClient<Line> {
        TermsOfUseClient::new(self.line.clone())
    }

    pub(crate) fn vault(&self) -> VaultClient<Line> {
        VaultClient::new(self.line.clone())
    }

    pub(crate) fn agents(&self) -> AgentsClient<Line> {
        AgentsClient::new(self.line.clone())
    }

    pub(crate) fn edges(&self) -> EdgesClient<Line> {
        EdgesClient::new(self.line.clone())
    }

    pub(crate) fn join_tokens(&self) -> JoinTokensClient<Line> {
        JoinTokensClient::new(self.line.clone())
    }

    pub(crate) fn api_tokens(&self) -> ApiTokensClient<Line> {
        ApiTokensClient::new(self.line.clone())
    }

    pub(crate) fn client_cas(&self) -> ClientCasClient<Line> {
        ClientCasClient::new(self.line.clone())
    }

    pub(crate) fn service_tokens(&self) -> ServiceTokensClient<Line> {
        ServiceTokensClient::new(self.line.clone())
    }

    pub(crate) fn sign_ins(&self) -> SignInsClient<Line> {
        SignInsClient::new(self.line.clone())
    }

    pub(crate) fn images(&self) -> ImagesClient<Line> {
        ImagesClient::new(self.line.clone())
    }

    pub(crate) fn users(&self) -> UsersClient<Line> {
        UsersClient::new(self.line.clone())
    }

    pub(crate) fn identity_providers(&self) -> IdentityProvidersClient<Line> {
        IdentityProvidersClient::new(self.line.clone())
    }

    pub(crate) fn access_rules(&self) -> AccessRulesClient<Line> {
        AccessRulesClient::new(self.line.clone())
    }

    pub(crate) fn locations(&self) -> LocationsClient<Line> {
        LocationsClient::new(self.line.clone())
    }

    pub(crate) fn second_factors(&self) -> SecondFactorsClient<Line> {
        SecondFactorsClient::new(self.line.clone())
    }

    pub(crate) fn settings(&self) -> SettingsServiceClient<Line> {
        SettingsServiceClient::new(self.line.clone())
    }

    pub(crate) fn status(&self) -> StatusClient<Line> {
        StatusClient::new(self.line.clone())
    }

    pub(crate) fn audit(&self) -> AuditClient<Line> {
        AuditClient::new(self.line.clone())
    }

    /// Waits for one answer, within the operator's time limit. `doing` completes "cannot ...".
    pub(crate) async fn call<T>(
        &self,
        doing: impl Into<String>,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        let answer = self.answer(answer).await;
        answer.map_err(|answer| self.failure(doing, answer))
    }

    /// Has control delete something, and says that it is gone.
    pub(crate) async fn delete(
        &self,
        name: &str,
        answer: impl Future<Output = Result<Response<()>, Status>>,
        screen: &mut Screen,
    ) -> Result<(), Failure> {
        self.call(format!("delete {name}"), answer).await?;
        table::done(screen, name, "deleted")
    }

    /// The failure that a refusal is, with how control was called.
    pub(crate) fn failure(&self, doing: impl Into<String>, answer: Answer) -> Failure {
        Failure::from(Box::new(CallFailure {
            doing: doing.into(),
            through: self.through.clone(),
            answer,
        }))
    }

    /// As [`Control::call`], for callers that look at the refusal themselves.
    pub(crate) async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Answer> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(status.into()),
            Err(_) => Err(Answer::too_late(self.timeout)),
        }
    }

    /// Fetches every page of a list. `fetch` takes a page token and gives resources and the next token.
    pub(crate) async fn pages<T>(
        &self,
        doing: &str,
        mut fetch: impl AsyncFnMut(String) -> Result<(Vec<T>, String), Status>,
    ) -> Result<Vec<T>, Failure> {
        let mut all = Vec::new();
        let mut token = String::new();
        for _ in 0..PAGES_MAX {
            let page = async { fetch(token).await.map(Response::new) };
            let (resources, next) = self.call(doing, page).await?;
            all.extend(resources);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        Ok(all)
    }
}

async fn open(profile: &Profile) -> Result<Line, Answer> {
    let bearer = format!("Bearer {}", profile.token.expose());
    let mut bearer = MetadataValue::try_from(bearer)
        .map_err(|error| Answer::local(Code::Unauthenticated, &error))?;
    bearer.set_sensitive(true);
    let settings = tls::ca_client_config(&profile.ca_pem, &[tls::ALPN_H2])
        .map_err(|error| Answer::local(Code::FailedPrecondition, &error))?;
    // As every program on an operator's machine does: through a proxy, if the usual variables name one.
    let way_out = WayOutSettings::Environment
        .way_out()
        .map_err(|error| Answer::local(Code::FailedPrecondition, &error))?;
    let control = ControlAddresses {
        addresses: profile.addresses.clone(),
        way_out,
    };
    let channel = control_client::connect(&control, Arc::new(settings))
        .await
        .map_err(|error| Answer::local(Code::Unavailable, &error))?;
    Ok(InterceptedService::new(channel, Bearer(bearer)))
}
