//! What a form of the sign-in host brings.

use std::{fmt, time::Duration};

use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use crate::{
    failure::RequestError,
    user_body::{UserBody, UserBodyError},
};

/// Longest form: an errand of some kilobytes, and what people type.
const FORM_BYTES_MAX: usize = 32 * 1024;
/// Fields that are looked at; ours have nine at the most.
const FIELDS_MAX: usize = 16;
/// Time for a form to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(20);

/// Names and values; of several of one name the first counts. Not shown: there are passwords in it.
pub(crate) struct Form(Vec<(String, String)>);

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Form")
    }
}

impl Form {
    /// Reads a body of `application/x-www-form-urlencoded` (URL Standard, section 5.1).
    pub(crate) async fn read(fields: &HeaderMap, body: UserBody) -> Result<Self, RequestError> {
        let kind = fields.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(RequestError::SignIn("the body is no form"));
        }
        let read = timeout(FORM_TIMEOUT, Limited::new(body, FORM_BYTES_MAX).collect());
        let body = read.await.map_err(|_| RequestError::UserSlow)?;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return RequestError::BodyTooLong;
            }
            match error.downcast::<UserBodyError>() {
                Ok(error) => RequestError::UserBody(*error),
                Err(_) => RequestError::Bug("a body that fails otherwise"),
            }
        })?;
        let pairs = form_urlencoded::parse(&body.to_bytes())
            .take(FIELDS_MAX)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        Ok(Self(pairs))
    }

    /// As if it had been sent.
    pub(crate) fn of<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self(pairs.into())
    }

    /// A field's value; empty: there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}
