//! What is asked of a domain for an app: who the user is there, which service, and how the token is to be.

use kerberos::{Ask, Bindings, NameError, Realm, Spn, SpnError, UserName};
use model::app::{Framing, KerberosSso, NameForm, OriginHost};

use crate::origin::Origin;

/// Why an origin is no service of a domain.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The publication names services by their origins, and this one has no such name.
    #[error("the origin has no name that {0} holds for, so it is no service of the domain")]
    NoName(String),
    /// What comes out is no name of a service.
    #[error(transparent)]
    Spn(#[from] SpnError),
}

/// The user that a value names.
pub(crate) fn user(sso: &KerberosSso, name: &str, realm: &Realm) -> Result<UserName, NameError> {
    match sso.name_form {
        NameForm::Upn => UserName::upn(name),
        NameForm::Account => UserName::account(name, realm),
        NameForm::LocalPart => UserName::local_part(name, realm),
    }
}

/// The service that an origin is to the domain.
pub(crate) fn service(sso: &KerberosSso, origin: &Origin) -> Result<Spn, ServiceError> {
    let text = match &origin.published().url.host {
        OriginHost::Name(name) => sso.spn.target(name),
        OriginHost::Ip(_) | OriginHost::Socket(_) => sso.spn.fixed(),
    };
    let text = text.ok_or_else(|| ServiceError::NoName(sso.spn.to_string()))?;
    Ok(Spn::parse(&text)?)
}

/// A token for a service that has shown this certificate.
pub(crate) fn ask(
    sso: &KerberosSso,
    user: &UserName,
    spn: &Spn,
    certificate: Option<&[u8]>,
) -> Ask {
    // Of a certificate without a hash there are no bindings (RFC 5929, section 4.1); servers take a token without any then.
    let bindings =
        certificate.and_then(|certificate| Bindings::tls_server_end_point(certificate).ok());
    Ask {
        user: user.clone(),
        target: spn.clone(),
        bindings,
        framing: match sso.framing {
            Framing::Spnego => kerberos::Framing::Spnego,
            Framing::Kerberos => kerberos::Framing::Kerberos,
        },
        mutual: sso.require_mutual,
    }
}
