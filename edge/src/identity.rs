//! What origins are told of the user, in fields that the app's publication names.
//!
//! Whoever reads such a field believes it, so the user's own copy never passes: neither under that name nor under one that servers
//! make the same of, as CGI does with `_` and `-`.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use model::{
    access::{Caller, Permit},
    app::{App, IdentityField, IdentityValue},
    service::Service,
    user::User,
};

use crate::fields;

/// Sets the fields of the permit's app. What is not known of the user is left out.
pub(crate) fn apply(permit: &Permit<'_>, sent: &mut HeaderMap) {
    let wanted = &permit.app().identity_fields;
    if wanted.is_empty() {
        return;
    }
    remove_copies(wanted, sent);
    for field in wanted {
        let value = match permit.caller() {
            Caller::Anonymous => return,
            Caller::User(user) => value(field.value, user),
            Caller::Service(service) => service_value(field.value, service),
        };
        let value = HeaderValue::try_from(value);
        let name = HeaderName::try_from(&field.name);
        if let (Ok(name), Ok(value)) = (name, value)
            && !value.is_empty()
        {
            sent.insert(name, value);
        }
    }
}

/// Whether servers may take a field of that name, in lower case, for one of the app's.
pub(crate) fn is_of(app: &App, name: &str) -> bool {
    let fields = app.identity_fields.iter();
    !app.identity_fields.is_empty()
        && fields
            .map(|field| fold(&field.name))
            .any(|field| field == fold(name))
}

fn fold(name: &str) -> String {
    fields::folded(name).unwrap_or_else(|| name.to_owned())
}

fn remove_copies(wanted: &[IdentityField], sent: &mut HeaderMap) {
    let wanted: Vec<_> = wanted.iter().map(|field| fold(&field.name)).collect();
    let copies: Vec<_> = sent
        .keys()
        .filter(|name| wanted.contains(&fold(name.as_str())))
        .cloned()
        .collect();
    for name in copies {
        sent.remove(name);
    }
}

fn value(value: IdentityValue, user: &User) -> String {
    match value {
        IdentityValue::User => escape(user.id.as_str(), ""),
        IdentityValue::DisplayName => escape(&user.display_name, ""),
        IdentityValue::Email => escape(&user.email, ""),
        IdentityValue::UserGroups => {
            let groups = user.groups.iter();
            let groups: Vec<_> = groups.map(|group| escape(group.as_str(), ",")).collect();
            groups.join(",")
        }
    }
}

/// A program has a name, and nothing else that users have.
fn service_value(value: IdentityValue, service: &Service) -> String {
    match value {
        IdentityValue::User => service.principal(),
        IdentityValue::DisplayName => escape(&service.display_name, ""),
        IdentityValue::Email | IdentityValue::UserGroups => String::new(),
    }
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
        app::{Access, App, Assignment},
    };

    use super::*;
    use crate::sign_in::circumstances::Circumstances;

    fn told(caller: Caller, sent: &[(&str, &str)]) -> Vec<(String, String)> {
        let field = |name: &str, value| IdentityField {
            name: name.to_owned(),
            value,
        };
        let access = match caller {
            Caller::Anonymous => Access::Passthrough,
            Caller::User(_) | Caller::Service(_) => Access::SignIn(Assignment {
                everyone: true,
                services: ["ci".parse().unwrap()].into(),
                ..Assignment::default()
            }),
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
            fields.append(name, HeaderValue::try_from(*value).unwrap());
        }
        let rules = RuleSet::default();
        let permit = authorise(&app, caller, &rules, Circumstances::unknown, &mut |_| {});
        apply(&permit.unwrap(), &mut fields);
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
}
