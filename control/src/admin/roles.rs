//! Who may call what: one row for every method of the API. What has no row is denied.

use proto::admin::OperatorRole;

use Effect::{Read, Write};
use OperatorRole::{Admin, Publisher, Viewer};

/// Whether a call changes anything, and so is worth an audit row when it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Changes nothing.
    Read,
    /// Changes something.
    Write,
}

/// One method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Method {
    /// `Apps`.
    pub(crate) service: &'static str,
    /// `CreateApp`.
    pub(crate) name: &'static str,
    /// Lowest role that may call it.
    pub(crate) role: OperatorRole,
    /// Whether it changes anything.
    pub(crate) effect: Effect,
}

const fn row(
    service: &'static str,
    name: &'static str,
    role: OperatorRole,
    effect: Effect,
) -> Method {
    Method {
        service,
        name,
        role,
        effect,
    }
}

/// Every method.
pub(crate) static METHODS: [Method; 87] = [
    row("Apps", "CreateApp", Publisher, Write),
    row("Apps", "GetApp", Viewer, Read),
    row("Apps", "ListApps", Viewer, Read),
    row("Apps", "UpdateApp", Publisher, Write),
    row("Apps", "DeleteApp", Publisher, Write),
    // Whoever may call it can have agents get tickets in anybody's name.
    row("Apps", "TestSingleSignOn", Admin, Write),
    row("SettingsService", "GetSettings", Viewer, Read),
    row("SettingsService", "UpdateSettings", Admin, Write),
    row("Groups", "CreateGroup", Admin, Write),
    row("Groups", "GetGroup", Viewer, Read),
    row("Groups", "ListGroups", Viewer, Read),
    row("Groups", "UpdateGroup", Admin, Write),
    row("Groups", "DeleteGroup", Admin, Write),
    row("Agents", "GetAgent", Viewer, Read),
    row("Agents", "ListAgents", Viewer, Read),
    row("Agents", "UpdateAgent", Admin, Write),
    row("Agents", "RevokeAgent", Admin, Write),
    row("Agents", "DeleteAgent", Admin, Write),
    row("Edges", "GetEdge", Viewer, Read),
    row("Edges", "ListEdges", Viewer, Read),
    row("Edges", "RevokeEdge", Admin, Write),
    row("Edges", "DeleteEdge", Admin, Write),
    row("JoinTokens", "CreateJoinToken", Admin, Write),
    row("JoinTokens", "GetJoinToken", Viewer, Read),
    row("JoinTokens", "ListJoinTokens", Viewer, Read),
    row("JoinTokens", "RevokeJoinToken", Admin, Write),
    row("JoinTokens", "DeleteJoinToken", Admin, Write),
    row("ApiTokens", "CreateApiToken", Admin, Write),
    row("ApiTokens", "GetApiToken", Viewer, Read),
    row("ApiTokens", "ListApiTokens", Viewer, Read),
    row("ApiTokens", "DeleteApiToken", Admin, Write),
    row("ClientCas", "CreateClientCa", Admin, Write),
    row("ClientCas", "GetClientCa", Viewer, Read),
    row("ClientCas", "ListClientCas", Viewer, Read),
    row("ClientCas", "UpdateClientCa", Admin, Write),
    row("ClientCas", "DeleteClientCa", Admin, Write),
    row("ServiceTokens", "CreateServiceToken", Admin, Write),
    row("ServiceTokens", "GetServiceToken", Viewer, Read),
    row("ServiceTokens", "ListServiceTokens", Viewer, Read),
    row("ServiceTokens", "UpdateServiceToken", Admin, Write),
    row("ServiceTokens", "DeleteServiceToken", Admin, Write),
    row("Users", "CreateUser", Admin, Write),
    row("Users", "GetUser", Viewer, Read),
    row("Users", "ListUsers", Viewer, Read),
    row("Users", "UpdateUser", Admin, Write),
    row("Users", "DeleteUser", Admin, Write),
    row("Users", "ResetUserPassword", Admin, Write),
    row("Users", "SignOutUser", Admin, Write),
    row("Users", "SignOutEveryone", Admin, Write),
    row("IdentityProviders", "CreateIdentityProvider", Admin, Write),
    row("IdentityProviders", "GetIdentityProvider", Viewer, Read),
    row("IdentityProviders", "ListIdentityProviders", Viewer, Read),
    row("IdentityProviders", "UpdateIdentityProvider", Admin, Write),
    row("IdentityProviders", "DeleteIdentityProvider", Admin, Write),
    row("AccessRules", "CreateAccessRule", Admin, Write),
    row("AccessRules", "GetAccessRule", Viewer, Read),
    row("AccessRules", "ListAccessRules", Viewer, Read),
    row("AccessRules", "UpdateAccessRule", Admin, Write),
    row("AccessRules", "DeleteAccessRule", Admin, Write),
    row("AccessRules", "GetAccessExplanation", Viewer, Read),
    row("Locations", "CreateLocation", Admin, Write),
    row("Locations", "GetLocation", Viewer, Read),
    row("Locations", "ListLocations", Viewer, Read),
    row("Locations", "UpdateLocation", Admin, Write),
    row("Locations", "DeleteLocation", Admin, Write),
    row("TermsOfUse", "CreateTerms", Admin, Write),
    row("TermsOfUse", "GetTerms", Viewer, Read),
    row("TermsOfUse", "ListTerms", Viewer, Read),
    row("TermsOfUse", "UpdateTerms", Admin, Write),
    row("TermsOfUse", "DeleteTerms", Admin, Write),
    row("TermsOfUse", "ListTermsAcceptances", Admin, Read),
    row("SecondFactors", "ResetSecondFactors", Admin, Write),
    row("SecondFactors", "ListPasskeys", Viewer, Read),
    row("SecondFactors", "DeletePasskey", Admin, Write),
    row("Images", "SetImage", Publisher, Write),
    row("Images", "GetImage", Viewer, Read),
    row("Images", "ListImages", Viewer, Read),
    row("Images", "DeleteImage", Publisher, Write),
    row("Vault", "CreateVaultKey", Admin, Write),
    row("Vault", "ListVaultKeys", Viewer, Read),
    row("Vault", "DeleteVaultKey", Admin, Write),
    row("Vault", "SetCredential", Publisher, Write),
    row("Vault", "ListCredentials", Viewer, Read),
    row("Vault", "DeleteCredential", Publisher, Write),
    row("Status", "GetStatus", Viewer, Read),
    row("Audit", "ListAuditEvents", Admin, Read),
    row("SignIns", "ListSignIns", Admin, Read),
];

/// The row of a path such as `/adit.admin.v1.Apps/CreateApp`, and its place in [`METHODS`].
pub(crate) fn find(path: &str) -> Option<(usize, &'static Method)> {
    let (service, name) = path.strip_prefix("/adit.admin.v1.")?.split_once('/')?;
    METHODS
        .iter()
        .enumerate()
        .find(|(_, method)| method.service == service && method.name == name)
}

/// A role as operators write it.
pub(crate) fn word(role: OperatorRole) -> &'static str {
    match role {
        OperatorRole::Unspecified => "none",
        Viewer => "viewer",
        Publisher => "publisher",
        Admin => "admin",
    }
}

/// Whether `role` includes `needed`. Every role includes those below it; none includes `Unspecified`'s rights to anything.
pub(crate) fn suffices(role: OperatorRole, needed: OperatorRole) -> bool {
    rank(role) >= rank(needed) && needed != OperatorRole::Unspecified
}

fn rank(role: OperatorRole) -> u8 {
    match role {
        OperatorRole::Unspecified => 0,
        Viewer => 1,
        Publisher => 2,
        Admin => 3,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;

    #[test]
    fn every_method_of_the_contract_has_one_row() {
        let files = prost_types::FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
        let contract: BTreeSet<(String, String)> = files
            .file
            .iter()
            .filter(|file| file.package() == "adit.admin.v1")
            .flat_map(|file| &file.service)
            .flat_map(|service| {
                let name = service.name().to_owned();
                service
                    .method
                    .iter()
                    .map(move |method| (name.clone(), method.name().to_owned()))
            })
            .collect();
        let rows: BTreeSet<(String, String)> = METHODS
            .iter()
            .map(|method| (method.service.to_owned(), method.name.to_owned()))
            .collect();
        assert_eq!(rows, contract);
        assert_eq!(rows.len(), METHODS.len(), "a method has two rows");
    }

    #[test]
    fn reads_and_writes_are_told_apart_by_name() {
        for method in &METHODS {
            let reads = method.name.starts_with("Get") || method.name.starts_with("List");
            assert_eq!(method.effect == Read, reads, "{}", method.name);
        }
    }

    #[test]
    fn unknown_methods_have_no_row() {
        for path in [
            "",
            "/adit.admin.v1.Apps/",
            "/adit.admin.v1.Apps/DropApps",
            "/adit.fabric.v1.Fabric/Sync",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn a_role_includes_those_below_it() {
        let roles = [OperatorRole::Unspecified, Viewer, Publisher, Admin];
        for (have, &role) in roles.iter().enumerate() {
            for (need, &needed) in roles.iter().enumerate() {
                assert_eq!(
                    suffices(role, needed),
                    need > 0 && have >= need,
                    "{role:?} {needed:?}"
                );
            }
        }
    }
}
