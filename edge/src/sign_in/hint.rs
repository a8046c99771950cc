//! The ID token by which a session began. Providers are shown it when the user signs out, so that they know whom it is about (OpenID Connect
//! RP-Initiated Logout, section 2): Okta asks for it; others ask the user instead. And apps' agents are, where they ask for more than the word
//! of an edge (see `id_token`).
//!
//! The user's own browser keeps it, sealed, at the sign-in host; it comes to the host of an app that asks for it with the pass. Longer
//! tokens than a cookie holds are not kept.

use bytes::Bytes;
use http::HeaderMap;
use model::host::Hostname;
use proto::edge;
use runtime::Secret;

use super::session::{Session, SessionId, open, seal};
use crate::{cookies, view::View};

const KIND: &str = "sign-out hint";
/// Longest token that is kept: sealed, in base64 and with its name it fits into the 4,096 bytes that browsers keep of a cookie.
pub(super) const TOKEN_BYTES_MAX: usize = 2_900;

/// For the browser to keep at the sign-in host; `None`: it is too long.
pub(super) fn seal_hint(
    view: &View,
    host: &Hostname,
    session: &SessionId,
    token: &str,
) -> Option<String> {
    seal_as(KIND, (view, host), session, token)
}

/// The token by which this very session began, if the browser has it at the sign-in host.
pub(super) fn of_session(
    view: &View,
    host: &Hostname,
    fields: &HeaderMap,
    session: &Session,
) -> Option<Secret<String>> {
    let sealed = cookies::get(fields, cookies::HINT)?;
    open_as(KIND, (view, host), &session.id, sealed)
}

/// Sealed as something of its own at its host; `None`: it is too long.
pub(super) fn seal_as(
    kind: &'static str,
    (view, host): (&View, &Hostname),
    session: &SessionId,
    token: &str,
) -> Option<String> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let kept = edge::KeptIdToken {
        session: Bytes::copy_from_slice(session),
        id_token: token.to_owned(),
    };
    seal(view, kind, host.as_str(), &kept)
}

/// What was sealed so, if it is of this session.
pub(super) fn open_as(
    kind: &'static str,
    (view, host): (&View, &Hostname),
    session: &SessionId,
    sealed: &str,
) -> Option<Secret<String>> {
    let kept = open::<edge::KeptIdToken>(view, kind, host.as_str(), sealed)?;
    (kept.session == session[..]).then(|| Secret::new(kept.id_token))
}
