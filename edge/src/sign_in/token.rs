//! What programs show in place of a cookie: a bearer token (RFC 6750), in `Authorization`, or in `Adit-Authorization` where the
//! origin has an `Authorization` of its own.
//!
//! Tokens of the fabric begin with `adit_`. None of them reaches an origin of a closed app, whether it holds or not.

use http::{HeaderMap, HeaderValue, header};
use model::{
    app::{Access, App},
    service::SERVICE_TOKEN_PREFIX,
};

use super::terminal::APP_PREFIX;

/// For tokens of the fabric alone: whatever is in it ends at the edge.
pub(crate) const ASIDE: &str = "adit-authorization";
/// What every token of the fabric begins with, also those that are for something else than apps.
const OURS: &str = "adit_";
/// Longest token that is looked at: a session of some kilobytes, sealed, or a token of an identity provider.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// There are two, and others could read the request otherwise (RFC 6750, section 2).
    #[error("more than one token")]
    Several,
    /// It is not of the form `Bearer <token>`.
    #[error("not a bearer token")]
    Form,
    /// It is longer than any.
    #[error("a token that is too long")]
    TooLong,
    /// Nobody has it, or not any more.
    #[error("a token that nobody has")]
    Unknown,
    /// It is past its life.
    #[error("a token that has expired")]
    Expired,
}

/// What kind of token is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown<'h> {
    /// Of a program.
    Service(&'h str),
    /// Of a user in a terminal, for one app.
    App(&'h str),
    /// Anything else, which nobody here has made for apps.
    Other,
}

/// The token that is meant for the edge; nothing if there is none. `Authorization` of other schemes and other bearers is the origin's.
pub(crate) fn shown(fields: &HeaderMap) -> Result<Option<Shown<'_>>, TokenError> {
    let mut aside = fields.get_all(ASIDE).iter();
    let straight = fields.get_all(header::AUTHORIZATION);
    let token = match (aside.next(), aside.next()) {
        (None, _) => {
            let Some(token) = straight.iter().find_map(ours) else {
                return Ok(None);
            };
            if straight.iter().nth(1).is_some() {
                return Err(TokenError::Several);
            }
            token
        }
        (Some(value), None) if !straight.iter().any(|value| ours(value).is_some()) => {
            bearer(value).ok_or(TokenError::Form)?
        }
        (Some(_), _) => return Err(TokenError::Several),
    };
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let Ok(token) = std::str::from_utf8(token) else {
        return Err(TokenError::Form);
    };
    Ok(Some(if token.starts_with(SERVICE_TOKEN_PREFIX) {
        Shown::Service(token)
    } else if token.starts_with(APP_PREFIX) {
        Shown::App(token)
    } else {
        Shown::Other
    }))
}

/// Removes what the edge has looked at, before an origin sees it.
pub(crate) fn strip(app: &App, fields: &mut HeaderMap) {
    match app.access {
        // Whatever is there is the origin's.
        Access::Passthrough => return,
        Access::SignIn(_) => {}
    }
    let lines = fields.get_all(header::AUTHORIZATION);
    if !lines.iter().any(|value| ours(value).is_some()) {
        return;
    }
    let kept: Vec<_> = lines
        .iter()
        .filter(|value| ours(value).is_none())
        .cloned()
        .collect();
    fields.remove(header::AUTHORIZATION);
    for value in kept {
        fields.append(header::AUTHORIZATION, value);
    }
}

/// The token of `Bearer <token>`; the scheme's case does not matter (RFC 9110, section 11.1).
pub(super) fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_first_chunk::<7>()?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

/// The same, if it is one of the fabric's.
fn ours(value: &HeaderValue) -> Option<&[u8]> {
    bearer(value).filter(|token| token.starts_with(OURS.as_bytes()))
}

#[cfg(test)]
mod tests {
    use model::app::Assignment;

    use super::*;

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        fields
    }

    const STRAIGHT: &str = "authorization";

    #[test]
    fn one_token_is_read_and_the_origins_own_is_not() {
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
        for (lines, want) in [
            (&[][..], Ok(None)),
            (&[(STRAIGHT, "Basic x")], Ok(None)),
            (&[(STRAIGHT, "Bearer eyJ")], Ok(None)),
            (
                &[(STRAIGHT, "Bearer adit_st_x")],
                Ok(Some(Shown::Service("adit_st_x"))),
            ),
            (
                &[(STRAIGHT, "bEARER   adit_st_x ")],
                Ok(Some(Shown::Service("adit_st_x"))),
            ),
            (
                &[(STRAIGHT, "Bearer adit_at_x")],
                Ok(Some(Shown::App("adit_at_x"))),
            ),
            (&[(STRAIGHT, "Bearer adit_tt_x")], Ok(Some(Shown::Other))),
            (&[(STRAIGHT, "Bearer adit_x")], Ok(Some(Shown::Other))),
            (
                &[(ASIDE, "Bearer adit_st_x"), (STRAIGHT, "Bearer eyJ")],
                Ok(Some(Shown::Service("adit_st_x"))),
            ),
            (&[(ASIDE, "Bearer eyJ")], Ok(Some(Shown::Other))),
            (&[(ASIDE, "Basic x")], Err(TokenError::Form)),
            (&[(ASIDE, "")], Err(TokenError::Form)),
            (&[(ASIDE, "Bearer ")], Err(TokenError::Form)),
            (&[(ASIDE, "Bearer ü")], Ok(Some(Shown::Other))),
            (&[(ASIDE, &long)], Err(TokenError::TooLong)),
            (
                &[(ASIDE, "Bearer adit_st_x"), (ASIDE, "Bearer adit_st_x")],
                Err(TokenError::Several),
            ),
            (
                &[(ASIDE, "Bearer adit_st_x"), (STRAIGHT, "Bearer adit_st_x")],
                Err(TokenError::Several),
            ),
            (
                &[(STRAIGHT, "Basic x"), (STRAIGHT, "Bearer adit_st_x")],
                Err(TokenError::Several),
            ),
        ] {
            assert_eq!(shown(&fields(lines)), want, "{lines:?}");
        }
    }

    #[test]
    fn origins_of_closed_apps_get_no_token_of_the_fabrics() {
        let app = |access| App::new("wiki".parse().unwrap(), "office".parse().unwrap(), access);
        let open = app(Access::Passthrough);
        let closed = app(Access::SignIn(Assignment::default()));
        let lines = [
            (STRAIGHT, "bearer  adit_st_x"),
            (STRAIGHT, "Bearer adit_later_x"),
            (STRAIGHT, "Basic eDp5"),
            ("x-authorization", "Bearer adit_st_x"),
        ];
        let kept = |app| {
            let mut fields = fields(&lines);
            strip(app, &mut fields);
            let values = fields.get_all(STRAIGHT).iter();
            values
                .map(|value| value.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(&closed), ["Basic eDp5"]);
        assert_eq!(kept(&open).len(), 3);
    }
}
