//! What programs show in place of a cookie: a bearer token (RFC 6750), in `Authorization`, or in `Adit-Authorization` where the
//! origin has an `Authorization` of its own.
//!
//! Tokens of the fabric begin with `adit_`. None of them reaches an origin of a closed app, whether it holds or not.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use model::{
    app::{Access, App},
    service::SERVICE_TOKEN_PREFIX,
};

use super::terminal::APP_PREFIX;

/// For tokens of the fabric alone: whatever is in it ends at the edge.
pub(crate) const ASIDE: HeaderName = HeaderName::from_static("adit-authorization");
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
    /// It is of an identity provider, and does not hold here.
    #[error("a provider's token that does not hold")]
    Refused,
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
    Other(&'h str),
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
    let token = text(token)?;
    Ok(Some(if token.starts_with(SERVICE_TOKEN_PREFIX) {
        Shown::Service(token)
    } else if token.starts_with(APP_PREFIX) {
        Shown::App(token)
    } else {
        Shown::Other(token)
    }))
}

/// A token that an identity provider may have made, shown to an app that takes such. Then any bearer token in `Authorization` is one, unless
/// there is one aside; other schemes are the origin's.
pub(super) fn of_provider<'h>(
    app: &App,
    fields: &'h HeaderMap,
) -> Result<Option<&'h str>, TokenError> {
    if !takes_provider_tokens(app) {
        return Ok(None);
    }
    match shown(fields)? {
        Some(Shown::Other(token)) if !token.starts_with(OURS) => return Ok(Some(token)),
        Some(Shown::Service(_) | Shown::App(_) | Shown::Other(_)) => return Ok(None),
        None => {}
    }
    let lines = fields.get_all(header::AUTHORIZATION);
    let Some(token) = lines.iter().find_map(bearer) else {
        return Ok(None);
    };
    if lines.iter().nth(1).is_some() {
        return Err(TokenError::Several);
    }
    text(token).map(Some)
}

const fn takes_provider_tokens(app: &App) -> bool {
    match app.access {
        Access::Passthrough => false,
        Access::SignIn(_) => !app.token_audiences.is_empty(),
    }
}

fn text(token: &[u8]) -> Result<&str, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    std::str::from_utf8(token).map_err(|_| TokenError::Form)
}

/// Removes what the edge has looked at, before an origin sees it. [`ASIDE`] must still be there: it says whose `Authorization` is.
pub(crate) fn strip(app: &App, fields: &mut HeaderMap) {
    match app.access {
        // Whatever is there is the origin's.
        Access::Passthrough => return,
        Access::SignIn(_) => {}
    }
    if takes_provider_tokens(app) && !fields.contains_key(ASIDE) {
        let lines = fields.get_all(header::AUTHORIZATION);
        if lines.iter().any(|value| bearer(value).is_some()) {
            fields.remove(header::AUTHORIZATION);
        }
        return;
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
            (
                &[(STRAIGHT, "Bearer adit_tt_x")],
                Ok(Some(Shown::Other("adit_tt_x"))),
            ),
            (
                &[(STRAIGHT, "Bearer adit_x")],
                Ok(Some(Shown::Other("adit_x"))),
            ),
            (
                &[
                    ("adit-authorization", "Bearer adit_st_x"),
                    (STRAIGHT, "Bearer eyJ"),
                ],
                Ok(Some(Shown::Service("adit_st_x"))),
            ),
            (
                &[("adit-authorization", "Bearer eyJ")],
                Ok(Some(Shown::Other("eyJ"))),
            ),
            (&[("adit-authorization", "Basic x")], Err(TokenError::Form)),
            (&[("adit-authorization", "")], Err(TokenError::Form)),
            (&[("adit-authorization", "Bearer ")], Err(TokenError::Form)),
            (
                &[("adit-authorization", "Bearer ü")],
                Ok(Some(Shown::Other("ü"))),
            ),
            (&[("adit-authorization", &long)], Err(TokenError::TooLong)),
            (
                &[
                    ("adit-authorization", "Bearer adit_st_x"),
                    ("adit-authorization", "Bearer adit_st_x"),
                ],
                Err(TokenError::Several),
            ),
            (
                &[
                    ("adit-authorization", "Bearer adit_st_x"),
                    (STRAIGHT, "Bearer adit_st_x"),
                ],
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
    fn tokens_of_providers_are_read_where_the_app_takes_them() {
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
        let mut app = App::new(
            "wiki".parse().unwrap(),
            "office".parse().unwrap(),
            Access::SignIn(Assignment::default()),
        );
        app.token_audiences = vec!["wiki".to_owned()];
        for (lines, want) in [
            (&[][..], Ok(None)),
            (&[(STRAIGHT, "Basic x")], Ok(None)),
            (&[(STRAIGHT, "Bearer eyJ")], Ok(Some("eyJ"))),
            (&[("adit-authorization", "bearer eyJ")], Ok(Some("eyJ"))),
            (
                &[
                    ("adit-authorization", "Bearer eyJ"),
                    (STRAIGHT, "Bearer other"),
                ],
                Ok(Some("eyJ")),
            ),
            (&[(STRAIGHT, "Bearer adit_st_x")], Ok(None)),
            (&[("adit-authorization", "Bearer adit_x")], Ok(None)),
            (
                &[
                    ("adit-authorization", "Bearer eyJ"),
                    (STRAIGHT, "Bearer adit_st_x"),
                ],
                Err(TokenError::Several),
            ),
            (
                &[
                    ("adit-authorization", "Bearer adit_st_x"),
                    (STRAIGHT, "Bearer eyJ"),
                ],
                Ok(None),
            ),
            (
                &[(STRAIGHT, "Bearer eyJ"), (STRAIGHT, "Basic x")],
                Err(TokenError::Several),
            ),
            (&[(STRAIGHT, &long)], Err(TokenError::TooLong)),
        ] {
            assert_eq!(of_provider(&app, &fields(lines)), want, "{lines:?}");
        }
        let shown = fields(&[(STRAIGHT, "Bearer eyJ")]);
        app.token_audiences.clear();
        assert_eq!(of_provider(&app, &shown), Ok(None));
        app.token_audiences = vec!["wiki".to_owned()];
        app.access = Access::Passthrough;
        assert_eq!(of_provider(&app, &shown), Ok(None));
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
        let taking = App {
            token_audiences: vec!["wiki".to_owned()],
            ..app(Access::SignIn(Assignment::default()))
        };
        let left = |lines: &[(&'static str, &str)]| {
            let mut fields = fields(lines);
            strip(&taking, &mut fields);
            fields.contains_key(STRAIGHT)
        };
        assert!(!left(&[(STRAIGHT, "bearer eyJ")]));
        assert!(left(&[(STRAIGHT, "Basic eDp5")]));
        assert!(left(&[
            (STRAIGHT, "Bearer eyJ"),
            ("adit-authorization", "Bearer eyK")
        ]));
        assert_eq!(kept(&open).len(), 3);
    }
}
