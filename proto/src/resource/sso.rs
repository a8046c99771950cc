//! Single sign-on, on the way to nodes.

use model::app::{CredentialOf, EdgeSso, Sso};

use super::{Reader, ResourceError};
use crate::{admin, app::sso, fabric};

/// What an error says.
const WHAT: &str = "single sign-on";

pub(super) fn write(wanted: &EdgeSso) -> fabric::EdgeSignOn {
    let (identity, claim) = sso::write_identity(&wanted.identity);
    fabric::EdgeSignOn {
        identity: identity.into(),
        claim,
        require_id_token: wanted.require_id_token,
        credential: match wanted.credential {
            None => fabric::EdgeCredential::Unspecified,
            Some(CredentialOf::User) => fabric::EdgeCredential::User,
            Some(CredentialOf::App) => fabric::EdgeCredential::Shared,
        }
        .into(),
    }
}

impl Reader<'_> {
    /// What an edge states.
    pub(super) fn edge_sso(
        &self,
        wire: Option<&fabric::EdgeSignOn>,
    ) -> Result<Option<EdgeSso>, ResourceError> {
        let Some(wire) = wire else {
            return Ok(None);
        };
        let identity = self.setting(WHAT, sso::identity(wire.identity, &wire.claim))?;
        let credential = match fabric::EdgeCredential::try_from(wire.credential) {
            Ok(fabric::EdgeCredential::Unspecified) => Ok(None),
            Ok(fabric::EdgeCredential::User) => Ok(Some(CredentialOf::User)),
            Ok(fabric::EdgeCredential::Shared) => Ok(Some(CredentialOf::App)),
            Err(_) => Err(()),
        };
        Ok(Some(EdgeSso {
            identity,
            require_id_token: wire.require_id_token,
            credential: self.setting(WHAT, credential)?,
        }))
    }

    /// What an agent does.
    pub(super) fn agent_sso(
        &self,
        wire: Option<&admin::SingleSignOn>,
    ) -> Result<Option<Sso>, ResourceError> {
        let read = wire.map(|wire| self.setting(WHAT, sso::read_sent(wire).ok_or(())));
        read.transpose()
    }
}
