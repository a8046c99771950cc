//! The admin API (`adit.admin.v1`): what operators publish and see.
//!
//! One file per noun. Before each service stands a door, which knows who calls and what their role allows; behind
//! it, every write is one transaction of the store that checks what the answer relied on, holds the change, its index
//! keys and its audit event, and is tried again a bounded number of times when somebody else was faster.

use std::{sync::Arc, time::SystemTime};

use proto::admin::{
    access_rules_server::AccessRulesServer, agents_server::AgentsServer,
    api_tokens_server::ApiTokensServer, apps_server::AppsServer, audit_server::AuditServer,
    client_cas_server::ClientCasServer, edges_server::EdgesServer, groups_server::GroupsServer,
    identity_providers_server::IdentityProvidersServer, images_server::ImagesServer,
    join_tokens_server::JoinTokensServer, locations_server::LocationsServer,
    second_factors_server::SecondFactorsServer, service_tokens_server::ServiceTokensServer,
    settings_service_server::SettingsServiceServer, sign_ins_server::SignInsServer,
    status_server::StatusServer, terms_of_use_server::TermsOfUseServer, users_server::UsersServer,
    vault_server::VaultServer,
};
use runtime::Clock;
use tonic::service::Routes;

use crate::{
    lockout::Lockout, passwords::Passwords, presence::Presence, questions::Questions,
    sign_in_log::SignInLog, store::Store, tokens::JoinIssuer,
};

mod door;
mod operator;
mod requests;
mod roles;

mod apps;
mod groups;
mod images;
mod members;
mod settings;

mod agents;
mod edges;

mod domains;
mod identity_providers;
mod second_factors;
mod users;

mod access_references;
mod access_rules;
mod locations;
mod terms;

mod api_tokens;
mod client_cas;
mod join_tokens;
mod service_tokens;
mod vault;

mod audit_events;
mod sign_ins;
mod status;

mod change;
mod mask;
mod page;
mod plain;
mod record;
mod refusal;
mod refused_writes;

#[cfg(test)]
mod tests;

pub use members::join;
pub use operator::PeerAddress;
pub use refusal::DOMAIN as ERROR_DOMAIN;
pub use requests::ADMIN_REQUESTS_TOTAL;
pub(crate) use settings::{read as read_settings, stored as stored_settings};

/// What the services work with.
#[derive(Debug, Clone)]
pub struct AdminContext {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Clock,
    /// What nodes say of themselves.
    pub presence: Presence,
    /// What operators ask of agents.
    pub questions: Questions,
    /// Makes join tokens.
    pub join_issuer: Arc<JoinIssuer>,
    /// Takes turns at hashing passwords.
    pub passwords: Passwords,
    /// Who has to wait before the next password is looked at.
    pub lockout: Arc<Lockout>,
    /// What edges tell of users who come and go.
    pub sign_ins: SignInLog,
    /// Domain of the fabric.
    pub domain: Arc<str>,
    /// When control started.
    pub start_time: SystemTime,
    /// When the fabric's CA ends.
    pub ca_expire_time: SystemTime,
}

/// Largest request: an app with as many CA certificates as it may have is about half of it.
const REQUEST_BYTES_MAX: usize = crate::store::VALUE_BYTES_MAX;

/// All services of the admin API, each behind its door.
///
/// The listener is to put a [`PeerAddress`] into the extensions of each request.
#[must_use]
pub fn routes(context: &AdminContext) -> Routes {
    let guard = Arc::new(door::Guard::new(context.clone()));
    let own = || context.clone();
    let apps = AppsServer::new(apps::Apps { context: own() });
    let settings = SettingsServiceServer::new(settings::Service { context: own() });
    let groups = GroupsServer::new(groups::Groups { context: own() });
    let agents = AgentsServer::new(agents::Agents { context: own() });
    let edges = EdgesServer::new(edges::Edges { context: own() });
    let images = ImagesServer::new(images::Images {
        context: own(),
        writing: Arc::default(),
    });
    let users = UsersServer::new(users::Users { context: own() });
    let identity_providers = identity_providers::IdentityProviders { context: own() };
    let identity_providers = IdentityProvidersServer::new(identity_providers);
    let second_factors = SecondFactorsServer::new(second_factors::SecondFactors { context: own() });
    let join_tokens = JoinTokensServer::new(join_tokens::JoinTokens { context: own() });
    let api_tokens = ApiTokensServer::new(api_tokens::ApiTokens { context: own() });
    let access_rules = AccessRulesServer::new(access_rules::AccessRules { context: own() });
    let locations = LocationsServer::new(locations::Locations { context: own() });
    let terms = TermsOfUseServer::new(terms::TermsOfUse { context: own() });
    let service_tokens = service_tokens::ServiceTokens { context: own() };
    let service_tokens = ServiceTokensServer::new(service_tokens);
    let client_cas = ClientCasServer::new(client_cas::ClientCas { context: own() });
    let vault = VaultServer::new(vault::Vault { context: own() });
    let status = StatusServer::new(status::Status { context: own() });
    let audit = AuditServer::new(audit_events::AuditEvents { context: own() });
    let sign_ins = SignInsServer::new(sign_ins::SignIns { context: own() });
    Routes::default()
        .add_service(guard.door(apps.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(settings.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(groups.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(agents.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(edges.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(images.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(users.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(identity_providers.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(second_factors.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(join_tokens.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(api_tokens.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(access_rules.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(locations.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(terms.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(service_tokens.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(client_cas.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(vault.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(status.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(sign_ins.max_decoding_message_size(REQUEST_BYTES_MAX)))
        .add_service(guard.door(audit.max_decoding_message_size(REQUEST_BYTES_MAX)))
}
