//! Users who are signed on by Basic (RFC 7617): a name and password that is kept for them goes with each request.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::{
    app::{BasicSso, Charset},
    reason::Reason,
};
use runtime::vault::Credential;
use zeroize::Zeroizing;

use super::{
    Exchange, Failure,
    kept::{Kept, resting, who},
    sign_on::Heed,
};
use crate::{form::Because, metrics::KeptOutcome, origin::Owner, statement::Statement, view::View};

/// A user who is signed on with each request.
#[derive(Debug)]
pub(super) struct ByBasic<'a> {
    header: HeaderValue,
    kept: Kept<'a>,
    pub(super) owner: Owner,
}

impl<'a> ByBasic<'a> {
    /// Opens what the user is signed on with, unless the app does not take it.
    pub(super) fn new(
        exchange: &Exchange<'a>,
        view: &View,
        sso: BasicSso,
        statement: &Statement,
    ) -> Result<Self, Failure> {
        let who = who(statement);
        let kept = Kept::find(exchange, view, sso.credential, &who)?;
        let now = exchange.worker.clock.now();
        if kept.sign_ins().rests(&kept.name, &kept.sealed, now) {
            return Err(resting(Because::Refused));
        }
        Ok(Self {
            header: basic_header(sso, &kept.open()?)?,
            kept,
            owner: Owner::new(exchange.app.id(), format!("{who:?}")),
        })
    }

    /// Nothing that the request brings signs anybody on.
    pub(super) fn put_into(&self, fields: &mut HeaderMap) {
        fields.insert(header::AUTHORIZATION, self.header.clone());
    }

    /// Looks whether the app has taken it.
    pub(super) fn heed(&self, status: StatusCode) -> Result<Heed, Failure> {
        let (name, sealed) = (&self.kept.name, &self.kept.sealed);
        let now = self.kept.worker.clock.now();
        if status == StatusCode::UNAUTHORIZED {
            self.kept.sign_ins().refused(name, sealed, now);
            self.kept.count(KeptOutcome::Refused);
            return Err(resting(Because::Refused));
        }
        self.kept.sign_ins().taken(name, sealed, now);
        self.kept.count(KeptOutcome::In);
        Ok(Heed::PassOn)
    }
}

/// RFC 7617, section 2.
fn basic_header(basic: BasicSso, credential: &Credential) -> Result<HeaderValue, Failure> {
    let failed = |detail: &str| Failure::new(Reason::SsoFailed, detail);
    if credential.user().contains(':') {
        return Err(failed("a user name with a colon cannot be sent by Basic"));
    }
    let pair = Zeroizing::new(format!(
        "{}:{}",
        credential.user(),
        credential.expose_password()
    ));
    let bytes = match basic.charset {
        Charset::Utf8 => Zeroizing::new(pair.as_bytes().to_vec()),
        Charset::Latin1 => {
            let letters = pair.chars().map(|letter| u8::try_from(letter).ok());
            let letters: Option<Vec<u8>> = letters.collect();
            let letters =
                letters.ok_or_else(|| failed("the credential has letters that Latin-1 lacks"))?;
            Zeroizing::new(letters)
        }
    };
    let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*bytes)));
    let value = HeaderValue::from_str(&value);
    let mut value = value.map_err(|_| Failure::bug("base64 that is no value of a field"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use model::app::CredentialOf;

    use super::*;

    #[test]
    fn a_credential_is_written_in_the_letters_that_the_app_reads() {
        let written = |user: &str, password: &str, charset| {
            let credential = Credential::new(user.to_owned(), password.to_owned());
            let basic = BasicSso {
                credential: CredentialOf::User,
                charset,
            };
            let value = basic_header(basic, &credential);
            value.map(|value| value.to_str().unwrap_or_default().to_owned())
        };
        // RFC 7617, section 2 and 2.1.
        for (user, password, charset, want) in [
            (
                "Aladdin",
                "open sesame",
                Charset::Utf8,
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            ("test", "123\u{a3}", Charset::Utf8, "Basic dGVzdDoxMjPCow=="),
            ("test", "123\u{a3}", Charset::Latin1, "Basic dGVzdDoxMjOj"),
        ] {
            assert_eq!(written(user, password, charset).unwrap(), want);
        }
        assert!(written("a:b", "c", Charset::Utf8).is_err());
        assert!(written("a", "\u{20ac}", Charset::Latin1).is_err());
    }
}
