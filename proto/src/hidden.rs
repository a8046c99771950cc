//! Messages that carry passwords, tokens and keys print all but those, so that no log line and no failed assertion shows one.

use std::fmt;

use crate::{admin, control, edge, fabric, tunnel};

/// What stands in place of a secret.
struct Stars;

impl fmt::Debug for Stars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for admin::CreateUserRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateUserRequest")
            .field("user_id", &self.user_id)
            .field("user", &self.user)
            .field("password", &Stars)
            .field("validate_only", &self.validate_only)
            .finish()
    }
}

impl fmt::Debug for admin::CreateUserResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateUserResponse")
            .field("user", &self.user)
            .field("password", &Stars)
            .finish()
    }
}

impl fmt::Debug for admin::CreateServiceTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateServiceTokenResponse")
            .field("service_token", &self.service_token)
            .field("token", &Stars)
            .finish()
    }
}

impl fmt::Debug for admin::CreateApiTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateApiTokenResponse")
            .field("api_token", &self.api_token)
            .field("token", &Stars)
            .finish()
    }
}

impl fmt::Debug for admin::CreateJoinTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateJoinTokenResponse")
            .field("join_token", &self.join_token)
            .field("token", &Stars)
            .finish()
    }
}

impl fmt::Debug for admin::ResetUserPasswordRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResetUserPasswordRequest")
            .field("name", &self.name)
            .field("etag", &self.etag)
            .field("password", &Stars)
            .finish()
    }
}

impl fmt::Debug for admin::ResetUserPasswordResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResetUserPasswordResponse")
            .field("user", &self.user)
            .field("password", &Stars)
            .finish()
    }
}

impl fmt::Debug for control::UserRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRecord")
            .field("user", &self.user)
            .field("password_hash", &Stars)
            .finish()
    }
}

impl fmt::Debug for admin::CreateIdentityProviderRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateIdentityProviderRequest")
            .field("identity_provider_id", &self.identity_provider_id)
            .field("identity_provider", &self.identity_provider)
            .field("credential", &Stars)
            .field("validate_only", &self.validate_only)
            .finish()
    }
}

impl fmt::Debug for admin::UpdateIdentityProviderRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateIdentityProviderRequest")
            .field("identity_provider", &self.identity_provider)
            .field("update_mask", &self.update_mask)
            .field("allow_missing", &self.allow_missing)
            .field("validate_only", &self.validate_only)
            .field("credential", &Stars)
            .finish()
    }
}

impl fmt::Debug for control::IdentityProviderRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityProviderRecord")
            .field("identity_provider", &self.identity_provider)
            .field("credential", &Stars)
            .finish()
    }
}

impl fmt::Debug for fabric::EnrolRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolRequest")
            .field("token", &Stars)
            .field("csr", &self.csr)
            .field("version", &self.version)
            .field("ephemeral", &self.ephemeral)
            .finish()
    }
}

impl fmt::Debug for fabric::ExamineRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExamineRequest")
            .field("token", &Stars)
            .finish()
    }
}

impl fmt::Debug for fabric::IdentityProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityProvider")
            .field("published", &self.published)
            .field("credential", &Stars)
            .finish()
    }
}

/// Passwords are typed in place of names, too.
impl fmt::Debug for fabric::CheckPasswordRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckPasswordRequest")
            .field("user", &Stars)
            .field("password", &Stars)
            .field("client", &self.client)
            .field("request_id", &self.request_id)
            .finish()
    }
}

impl fmt::Debug for fabric::ChangePasswordRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangePasswordRequest")
            .field("now", &self.now)
            .field("new_password", &Stars)
            .finish()
    }
}

impl fmt::Debug for fabric::AssertionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssertionKey")
            .field("pkcs8", &Stars)
            .field("signs_from", &self.signs_from)
            .finish()
    }
}

impl fmt::Debug for fabric::CheckCodeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckCodeRequest")
            .field("shown", &self.shown)
            .field("code", &Stars)
            .finish()
    }
}

impl fmt::Debug for fabric::EnrolAuthenticatorRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolAuthenticatorRequest")
            .field("shown", &self.shown)
            .field("key", &Stars)
            .field("code", &Stars)
            .finish()
    }
}

impl fmt::Debug for fabric::RecoveryCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryCodes")
            .field("codes", &Stars)
            .finish()
    }
}

impl fmt::Debug for edge::AuthenticatorOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticatorOffer")
            .field("user", &self.user)
            .field("key", &Stars)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for edge::RefreshNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshNote")
            .field("refresh_token", &Stars)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for edge::KeptIdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptIdToken")
            .field("session", &self.session)
            .field("id_token", &Stars)
            .finish()
    }
}

impl fmt::Debug for edge::Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("session", &self.session)
            .field("target", &self.target)
            .field("app", &self.app)
            .field("id_token", &Stars)
            .finish_non_exhaustive()
    }
}

/// Without the fields either, among which are users' own credentials.
impl fmt::Debug for tunnel::RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("request_id", &self.request_id)
            .field("app", &self.app)
            .field("revision", &self.revision)
            .field("method", &self.method)
            .field("authority", &self.authority)
            .field("path_and_query", &self.path_and_query)
            .field("identity", &Stars)
            .field("id_token", &Stars)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_printed() {
        let secret = || "hunter2hunter2".to_owned();
        let check = fabric::CheckPasswordRequest {
            user: secret(),
            password: secret(),
            client: "192.0.2.1".to_owned(),
            ..Default::default()
        };
        let change = fabric::ChangePasswordRequest {
            now: Some(check.clone()),
            new_password: secret(),
        };
        let create = admin::CreateUserRequest {
            password: secret(),
            ..Default::default()
        };
        let created = admin::CreateUserResponse {
            password: secret(),
            ..Default::default()
        };
        let reset = admin::ResetUserPasswordRequest {
            password: secret(),
            ..Default::default()
        };
        let was_reset = admin::ResetUserPasswordResponse {
            password: secret(),
            ..Default::default()
        };
        let record = control::UserRecord {
            password_hash: secret(),
            ..Default::default()
        };
        let provider = admin::CreateIdentityProviderRequest {
            credential: secret(),
            ..Default::default()
        };
        let updated = admin::UpdateIdentityProviderRequest {
            credential: secret(),
            ..Default::default()
        };
        let stored = control::IdentityProviderRecord {
            credential: secret(),
            ..Default::default()
        };
        let told = fabric::IdentityProvider {
            credential: secret(),
            ..Default::default()
        };
        let key = fabric::AssertionKey {
            pkcs8: secret().into(),
            ..Default::default()
        };
        let code = fabric::CheckCodeRequest {
            code: secret(),
            ..Default::default()
        };
        let enrol = fabric::EnrolAuthenticatorRequest {
            key: secret().into(),
            code: secret(),
            ..Default::default()
        };
        let codes = fabric::RecoveryCodes {
            codes: vec![secret()],
        };
        let offer = edge::AuthenticatorOffer {
            key: secret().into(),
            ..Default::default()
        };
        let printed = format!(
            "{check:?} {change:#?} {create:?} {created:?} {reset:?} {was_reset:?} {record:?} {provider:?} {updated:?} {stored:?} {told:?} {key:?} {code:?} {enrol:?} {codes:?} {offer:?}"
        );
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("192.0.2.1"), "{printed}");
    }

    #[test]
    fn tokens_are_not_printed() {
        let secret = || "hunter2hunter2".to_owned();
        let token = admin::CreateServiceTokenResponse {
            token: secret(),
            ..Default::default()
        };
        let join = fabric::EnrolRequest {
            token: secret(),
            version: "0.1.0".to_owned(),
            ..Default::default()
        };
        let examine = fabric::ExamineRequest { token: secret() };
        let join_token = admin::CreateJoinTokenResponse {
            token: secret(),
            ..Default::default()
        };
        let api_token = admin::CreateApiTokenResponse {
            token: secret(),
            ..Default::default()
        };
        let kept = edge::KeptIdToken {
            id_token: secret(),
            ..Default::default()
        };
        let pass = edge::Pass {
            id_token: secret(),
            ..Default::default()
        };
        let head = tunnel::RequestHead {
            fields: secret().into(),
            identity: secret().into(),
            id_token: secret().into(),
            ..Default::default()
        };
        let printed = format!(
            "{token:?} {join:?} {examine:?} {join_token:?} {api_token:?} {kept:?} {pass:?} {head:?}"
        );
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("0.1.0"), "{printed}");
    }
}
