//! Single sign-on, on the way to nodes.

use model::app::{EdgeSso, Sso};

use super::{Reader, ResourceError};
use crate::{admin, app::sso, fabric};

/// What an error says.
const WHAT: &str = "single sign-on";

pub(super) fn write(wanted: &EdgeSso) -> fabric::EdgeSignOn {
    let (identity, claim) = sso::write_identity(&wanted.identity);
    fabric::EdgeSignOn {
        identity: identity.into(),
        claim,
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
        Ok(Some(EdgeSso { identity }))
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
