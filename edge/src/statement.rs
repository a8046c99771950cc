//! What agents are told of the user so that they can be sure of it, and sign the user on to the app: a statement that the edge signs for
//! one request, a JWT (RFC 7519) in the request's head.
//!
//! It is signed by the keys of assertions, of which agents have the public halves. It names the app, the request with the number of the
//! attempt, and the group of agents that it is for, and holds for [`LIFE_S`] seconds: what one agent was told is of no use at another app,
//! in another group or for another request. It travels where no user's field does.

use std::time::SystemTime;

use bytes::Bytes;
use issuer::unix_seconds;
use model::{
    access::{Caller, Permit},
    app::{SSO_NAME_BYTES_MAX, SsoIdentity},
    name::EdgeId,
    user::User,
};
use proto::tunnel::RequestHead;
use serde::Serialize;

use crate::{assertion::AssertionKeys, failure::RequestError, id::RequestId, sign_in::Arrival};

/// How long a statement is good for, in seconds: a request's way to the agent, and some for clocks that differ.
const LIFE_S: i64 = 60;
/// What tells it from an assertion, which origins get (RFC 8725, section 3.11).
const KIND: &str = "adit-statement+jwt";

/// What is stated with each attempt of one request.
#[derive(Debug)]
pub(crate) struct Draft(Claims);

/// What a statement says.
#[derive(Debug, Serialize)]
struct Claims {
    /// The sign-in host, as in assertions.
    iss: String,
    /// Id of the app.
    aud: String,
    /// Id of the request.
    jti: String,
    /// How often it was tried before.
    att: u32,
    /// Id of the group of agents.
    grp: String,
    iat: i64,
    exp: i64,
    /// Id of the user.
    sub: String,
    /// Id of the identity provider; none: the fabric's own accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    idp: Option<String>,
    /// Id of this edge.
    edge: String,
    /// What names the user to the app; none: nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// What will be stated, if the permit's app signs users on.
///
/// # Errors
/// Programs cannot be signed on: they are no users.
pub(crate) fn draft(
    permit: &Permit<'_>,
    arrival: &Arrival<'_>,
    (edge, request): (&EdgeId, RequestId),
) -> Result<Option<Draft>, RequestError> {
    let app = permit.app();
    let Some(sso) = &app.sso else {
        return Ok(None);
    };
    let user = match permit.caller() {
        Caller::User(user) => user,
        Caller::Anonymous | Caller::Service(_) | Caller::Program(_) => {
            return Err(RequestError::NotSignedOn);
        }
    };
    let issuer = arrival.view.sign_in_host().ok_or(RequestError::NoView)?;
    let provider = user.authentication.provider.as_ref();
    Ok(Some(Draft(Claims {
        iss: format!("https://{issuer}"),
        aud: app.id.to_string(),
        jti: request.to_string(),
        att: 0,
        grp: app.group.to_string(),
        iat: 0,
        exp: 0,
        sub: user.id.to_string(),
        idp: provider.map(ToString::to_string),
        edge: edge.to_string(),
        name: name(&sso.identity, user).map(str::to_owned),
    })))
}

/// The one value that names the user to the app. Of several none is more right than the others, and one that is cut names somebody else.
fn name<'u>(identity: &SsoIdentity, user: &'u User) -> Option<&'u str> {
    let name = match identity {
        SsoIdentity::User => user.id.as_str(),
        SsoIdentity::Email => &user.email,
        SsoIdentity::Claim(name) => {
            let mut said = user.claims.iter().filter(|claim| claim.name == *name);
            match said.next().map(|claim| &*claim.values) {
                Some([value]) => value,
                Some(_) | None => return None,
            }
        }
    };
    Some(name).filter(|name| (1..=SSO_NAME_BYTES_MAX).contains(&name.len()))
}

impl Draft {
    /// Puts a statement into the head for the attempt that it says, as of now: keys may be others than when the request came.
    ///
    /// # Errors
    /// There is no key.
    pub(crate) fn sign(
        &mut self,
        head: &mut RequestHead,
        keys: &AssertionKeys,
        now: SystemTime,
    ) -> Result<(), RequestError> {
        let (now, claims) = (unix_seconds(now), &mut self.0);
        claims.att = head.flags.map_or(0, |flags| flags.attempt);
        (claims.iat, claims.exp) = (now, now + LIFE_S);
        head.identity = Bytes::from(keys.sign(KIND, claims, now)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use model::user::Claim;

    use super::*;

    #[test]
    fn one_value_names_the_user_and_it_is_never_cut() {
        let mut user = User::new("alice@corp.example".parse().unwrap());
        let claim = |name: &str, values: &[&str]| Claim {
            name: name.to_owned(),
            values: values.iter().map(|&value| value.to_owned()).collect(),
        };
        let (most, more) = ("x".repeat(SSO_NAME_BYTES_MAX), "x".repeat(257));
        user.claims = vec![
            claim("upn", &["alice@lab.test"]),
            claim("two", &["a", "b"]),
            claim("none", &[]),
            claim("empty", &[""]),
            claim("most", &[&most]),
            claim("more", &[&more]),
        ];
        let of = |claim: &str| SsoIdentity::Claim(claim.to_owned());
        for (identity, want) in [
            (SsoIdentity::default(), Some("alice@lab.test")),
            (SsoIdentity::User, Some("alice@corp.example")),
            (SsoIdentity::Email, None),
            (of("two"), None),
            (of("none"), None),
            (of("empty"), None),
            (of("UPN"), None),
            (of("most"), Some(most.as_str())),
            (of("more"), None),
        ] {
            assert_eq!(name(&identity, &user), want, "{identity:?}");
        }
    }
}
