//! What origins are told of the user, in fields that the app's publication names.
//!
//! Whoever reads such a field believes it, so the user's own copy never passes: neither under that name nor under one that servers
//! make the same of, as CGI does with `_` and `-`.

use std::{cell::LazyCell, fmt::Write as _};

use http::{HeaderMap, HeaderName, HeaderValue};
use model::{
    access::{Caller, Permit},
    app::{App, IdentityField, IdentityValue, Segment, is_like},
    user::User,
};

use crate::{client_certificates::ClientCertificate, sign_in::Arrival};

/// Longest value: servers take lines of 8 KiB, and all that a cookie holds of a user fits.
const VALUE_BYTES_MAX: usize = 8_000;
/// Bytes of all names and values of a request: a quarter of the head that an agent takes, of which the rest is the user's.
const ALL_BYTES_MAX: usize = 16 * 1024;

/// Whether the app's origins are told anything of users, by fields or by the agent that signs them on.
pub(crate) fn is_told(app: &App) -> bool {
    app.sso.is_some() || app.identity_names().next().is_some()
}

/// Sets the fields of the part that the request is for. What is not known of the user is left out. The user's own, which [`is_of`] tells, must
/// not be sent.
pub(crate) fn apply(
    permit: &Permit<'_>,
    segment: Option<&Segment>,
    arrival: &Arrival<'_>,
    sent: &mut HeaderMap,
) {
    // Looked at once, and only if a field tells of it.
    let certificate = LazyCell::new(|| arrival.certificate_for(permit.app()));
    tell(permit, segment, &|| *certificate, sent);
}

/// The certificate of the user's connection, if it is worth something to the app.
type Shown<'s> = dyn Fn() -> Option<&'s ClientCertificate> + 's;

fn tell(
    permit: &Permit<'_>,
    segment: Option<&Segment>,
    certificate: &Shown<'_>,
    sent: &mut HeaderMap,
) {
    let mut bytes = 0;
    for field in permit.app().identity_fields_of(segment) {
        let value = match (&field.value, permit.caller()) {
            (_, Caller::Anonymous) => return,
            (IdentityValue::Certificate(part), _) => {
                let said = certificate().and_then(|shown| shown.says(*part));
                written(field, said, "")
            }
            (_, Caller::User(user)) => value(field, user),
            (_, Caller::Service(service)) => {
                program_value(field, &service.principal(), &service.display_name)
            }
            (_, Caller::Program(program)) => {
                program_value(field, &program.principal(), program.name())
            }
        };
        let more = field.name.len() + value.len();
        if bytes + more > ALL_BYTES_MAX {
            tracing::debug!(field = field.name, "more of the user than a request takes");
            continue;
        }
        let value = HeaderValue::try_from(value);
        let name = HeaderName::try_from(&field.name);
        if let (Ok(name), Ok(value)) = (name, value)
            && !value.is_empty()
        {
            bytes += more;
            sent.insert(name, value);
        }
    }
}

/// Whether servers may take a field of that name, in lower case, for one that origins of any of the app's parts are told of users in: parts may
/// share a server, and what stands in one field at one path must not be the user's word at another.
pub(crate) fn is_of(app: &App, name: &str) -> bool {
    app.identity_names().any(|field| is_like(field, name))
}

fn value(field: &IdentityField, user: &User) -> String {
    match &field.value {
        IdentityValue::User => written(field, [user.id.as_str()], ""),
        IdentityValue::DisplayName => written(field, [&*user.display_name], ""),
        IdentityValue::Email => written(field, [&*user.email], ""),
        IdentityValue::Text(text) => written(field, [&**text], ""),
        IdentityValue::UserGroups => {
            let groups = user.groups.iter().map(|group| group.as_str());
            written(field, groups, ",")
        }
        IdentityValue::Claim(name) => {
            let said = user.claims.iter().filter(|claim| claim.name == *name);
            let values = said.flat_map(|claim| &claim.values);
            written(field, values.map(String::as_str), ",")
        }
        IdentityValue::Certificate(_) => String::new(),
    }
}

/// A program has a name, and nothing else that users have.
fn program_value(field: &IdentityField, principal: &str, name: &str) -> String {
    let one = |text: &str| written(field, Some(text).filter(|text| !text.is_empty()), "");
    match &field.value {
        IdentityValue::User => one(principal),
        IdentityValue::DisplayName => one(name),
        IdentityValue::Text(text) => one(text),
        IdentityValue::Email
        | IdentityValue::UserGroups
        | IdentityValue::Claim(_)
        | IdentityValue::Certificate(_) => String::new(),
    }
}

/// The values as the field wants them, with commas between; values that the changes leave nothing of, and what is beyond the longest
/// field, are left out whole: half a value is another one.
fn written<'v>(
    field: &IdentityField,
    values: impl IntoIterator<Item = &'v str>,
    more: &str,
) -> String {
    let mut all = String::new();
    for value in values {
        let changed = field
            .changes
            .iter()
            .fold(value.to_owned(), |text, change| change.apply(&text));
        if changed.is_empty() {
            continue;
        }
        let value = escape(&changed, more);
        let bytes = all.len() + field.prefix.len() + value.len() + 1;
        if bytes > VALUE_BYTES_MAX {
            tracing::debug!(field = field.name, "more of the user than a field takes");
            break;
        }
        if !all.is_empty() {
            all.push(',');
        }
        all.push_str(&field.prefix);
        all.push_str(&value);
    }
    all
}

/// Visible ASCII and spaces as they are, everything else as in URLs (RFC 3986, section 2.1), and so are the percent sign and `more`.
fn escape(text: &str, more: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = matches!(byte, b' '..=b'~') && byte != b'%' && !more.as_bytes().contains(&byte);
        if plain {
            safe.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(safe, "%{byte:02X}");
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{
        access::{authorise, ruleset::RuleSet},
        app::IdentityChange,
        app::{Access, App, Assignment, EdgeSso, SsoIdentity},
        service::Service,
        user::Claim,
    };

    use super::*;
    use crate::sign_in::circumstances::Circumstances;

    fn told(caller: Caller, sent: &[(&str, &str)]) -> Vec<(String, String)> {
        let field = IdentityField::plain;
        let access = match caller {
            Caller::Anonymous => Access::Passthrough,
            Caller::User(_) | Caller::Service(_) | Caller::Program(_) => {
                Access::SignIn(Assignment {
                    everyone: true,
                    programs: ["jobs/ci.example".parse().unwrap()].into(),
                    services: ["ci".parse().unwrap()].into(),
                    ..Assignment::default()
                })
            }
        };
        let app = App {
            identity_fields: vec![
                field("x-user", IdentityValue::User),
                field("x-name", IdentityValue::DisplayName),
                field("x-mail", IdentityValue::Email),
                field("x-user-groups", IdentityValue::UserGroups),
            ],
            ..App::new("wiki".parse().unwrap(), "office".parse().unwrap(), access)
        };
        let mut fields = HeaderMap::new();
        for (name, value) in sent {
            let name = HeaderName::try_from(*name).unwrap();
            if !is_of(&app, name.as_str()) {
                fields.append(name, HeaderValue::try_from(*value).unwrap());
            }
        }
        let rules = RuleSet::default();
        let permit = authorise(&app, caller, &rules, Circumstances::unknown, &mut |_| {});
        tell(&permit.unwrap(), None, &|| None, &mut fields);
        let mut told: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        told.sort();
        told
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn fields_and_sign_ons_tell_origins_of_users() {
        let mut app = App::new(
            "wiki".parse().unwrap(),
            "office".parse().unwrap(),
            Access::Passthrough,
        );
        assert!(!is_told(&app));
        app.sso = Some(EdgeSso {
            require_id_token: false,
            identity: SsoIdentity::User,
            credential: None,
        });
        assert!(is_told(&app));
        app.sso = None;
        app.identity_fields = vec![IdentityField::plain("x-user", IdentityValue::User)];
        assert!(is_told(&app));
    }

    #[test]
    fn origins_hear_of_the_user_from_the_edge_alone() {
        let user = User {
            display_name: "Alice Ä. 100%\r\nx-admin: 1".to_owned(),
            groups: ["staff", "a,b", "Büro"]
                .map(|group| group.parse().unwrap())
                .into(),
            ..User::new("alice".parse().unwrap())
        };
        let sent = [
            ("x-user", "root"),
            ("x_user", "root"),
            ("x.user", "root"),
            ("X-User_Groups", "admins"),
            ("x-mail", "root@example.com"),
            ("x-user-agent", "kept"),
        ];
        assert_eq!(
            told(Caller::User(Arc::new(user)), &sent),
            pairs(&[
                ("x-name", "Alice %C3%84. 100%25%0D%0Ax-admin: 1"),
                ("x-user", "alice"),
                ("x-user-agent", "kept"),
                ("x-user-groups", "staff,a%2Cb,B%C3%BCro"),
            ])
        );
        let service = Service {
            display_name: "CI jobs".to_owned(),
            ..Service::new("ci".parse().unwrap())
        };
        assert_eq!(
            told(Caller::Service(Arc::new(service)), &sent),
            pairs(&[
                ("x-name", "CI jobs"),
                ("x-user", "service:ci"),
                ("x-user-agent", "kept"),
            ])
        );
        assert_eq!(
            told(Caller::Anonymous, &sent),
            pairs(&[("x-user-agent", "kept")])
        );
    }

    #[test]
    fn claims_are_changed_as_the_app_asks_and_break_no_line() {
        let user = User {
            email: "Alice@Corp.example".to_owned(),
            claims: vec![
                Claim {
                    name: "unit".to_owned(),
                    values: ["R&D, Büro", "x\r\nx-admin: 1", ""]
                        .map(str::to_owned)
                        .into(),
                },
                Claim {
                    name: "long".to_owned(),
                    values: vec!["a".repeat(64 * 1024)],
                },
                Claim {
                    name: "many".to_owned(),
                    values: vec!["0123456789".repeat(100); 64],
                },
            ],
            ..User::new("alice".parse().unwrap())
        };
        let claim = |name: &str| IdentityValue::Claim(name.to_owned());
        let text = |text: &str| IdentityValue::Text(text.to_owned());
        use IdentityChange::{AfterAt, BeforeAt, Lower, Upper};
        for (value, changes, prefix, want) in [
            (
                claim("unit"),
                &[][..],
                "",
                "R&D%2C B%C3%BCro,x%0D%0Ax-admin: 1",
            ),
            (
                claim("unit"),
                &[Upper],
                "u:",
                "u:R&D%2C B%C3%9CRO,u:X%0D%0AX-ADMIN: 1",
            ),
            (claim("Unit"), &[], "u:", ""),
            (claim("long"), &[], "", ""),
            (
                IdentityValue::Email,
                &[BeforeAt, Upper],
                "CORP\\",
                "CORP\\ALICE",
            ),
            (IdentityValue::Email, &[AfterAt, Lower], "", "corp.example"),
            (IdentityValue::User, &[AfterAt], "x", ""),
            (text("through adit"), &[], "", "through adit"),
        ] {
            let field = IdentityField {
                changes: changes.to_vec(),
                prefix: prefix.to_owned(),
                ..IdentityField::plain("x-field", value)
            };
            assert_eq!(super::value(&field, &user), want, "{field:?}");
        }
        let many = value(&IdentityField::plain("x", claim("many")), &user);
        assert_eq!(many.len(), 7 * 1_000 + 6, "whole values only");
    }

    #[test]
    fn all_fields_together_leave_room_for_the_users_own() {
        let user = User {
            claims: vec![Claim {
                name: "many".to_owned(),
                values: vec!["0123456789".repeat(100); 64],
            }],
            ..User::new("alice".parse().unwrap())
        };
        let many = |number| {
            let claim = IdentityValue::Claim("many".to_owned());
            IdentityField::plain(&format!("x-many-{number}"), claim)
        };
        let mut fields: Vec<_> = (1..=15).map(many).collect();
        fields.push(IdentityField::plain("x-user", IdentityValue::User));
        let everyone = Assignment {
            everyone: true,
            ..Assignment::default()
        };
        let app = App {
            identity_fields: fields,
            ..App::new(
                "wiki".parse().unwrap(),
                "office".parse().unwrap(),
                Access::SignIn(everyone),
            )
        };
        let rules = RuleSet::default();
        let caller = Caller::User(Arc::new(user));
        let permit = authorise(&app, caller, &rules, Circumstances::unknown, &mut |_| {});
        let mut told = HeaderMap::new();
        tell(&permit.unwrap(), None, &|| None, &mut told);
        let names: Vec<_> = told.keys().map(HeaderName::as_str).collect();
        assert_eq!(
            names,
            ["x-many-1", "x-many-2", "x-user"],
            "whole fields only"
        );
    }
}
