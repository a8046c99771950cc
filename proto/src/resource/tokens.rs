//! What an app asks of the access tokens of identity providers, as edges are told.

use model::app::TOKEN_WORDS_MAX;

use super::{Reader, ResourceError};
use crate::{fabric, rules};

impl Reader<'_> {
    /// Audiences.
    pub(super) fn token_audiences(
        &self,
        wire: &fabric::EdgeApp,
    ) -> Result<Vec<String>, ResourceError> {
        const WHAT: &str = "token audiences";
        self.all(WHAT, (0, TOKEN_WORDS_MAX), &wire.token_audiences, |word| {
            self.setting(WHAT, rules::token_audience(word))?;
            Ok(word.clone())
        })
    }

    /// Scopes. An app that could not be asked for any is not used: to leave one out would let in whom it keeps out.
    pub(super) fn token_scopes(
        &self,
        wire: &fabric::EdgeApp,
    ) -> Result<Vec<String>, ResourceError> {
        const WHAT: &str = "token scopes";
        self.all(WHAT, (0, TOKEN_WORDS_MAX), &wire.token_scopes, |word| {
            self.setting(WHAT, rules::token_scope(word))?;
            Ok(word.clone())
        })
    }
}
