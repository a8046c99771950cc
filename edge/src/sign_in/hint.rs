//! What a provider is shown when a user signs out, so that it knows whom it is about: the ID token by which the session began (OpenID
//! Connect RP-Initiated Logout, section 2). Okta asks for it; others ask the user instead.
//!
//! The user's own browser keeps it, sealed, at the sign-in host alone. Longer tokens than a cookie holds are not kept.

use bytes::Bytes;
use http::HeaderMap;
use model::host::Hostname;
use proto::edge;
use runtime::Secret;

use super::session::{Session, SessionId, open, seal};
use crate::{cookies, view::View};

const KIND: &str = "sign-out hint";
/// Longest token that is kept: sealed, in base64 and with its name it fits into the 4,096 bytes that browsers keep of a cookie.
const TOKEN_BYTES_MAX: usize = 2_900;

/// For the browser to keep; `None`: it is too long.
pub(super) fn seal_hint(
    view: &View,
    host: &Hostname,
    session: &SessionId,
    token: &str,
) -> Option<String> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let hint = edge::SignOutHint {
        session: Bytes::copy_from_slice(session),
        id_token: token.to_owned(),
    };
    seal(view, KIND, host.as_str(), &hint)
}

/// The token by which this very session began, if the browser has it.
pub(super) fn of_session(
    view: &View,
    host: &Hostname,
    fields: &HeaderMap,
    session: &Session,
) -> Option<Secret<String>> {
    let sealed = cookies::get(fields, cookies::HINT)?;
    let hint = open::<edge::SignOutHint>(view, KIND, host.as_str(), sealed)?;
    (hint.session == session.id[..]).then(|| Secret::new(hint.id_token))
}
