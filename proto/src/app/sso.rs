//! How agents sign users on to an app.
//!
//! Agents get it as operators write it, so that it is read in one way on both sides.

mod form;

use model::{
    app::{
        Access, Framing, InsideSegment, KerberosSso, NameForm, Origin, OriginHost, SendWhen,
        SpnPattern, Sso, SsoIdentity, UPN_CLAIM,
    },
    identity_provider::LOCAL,
    name::IdentityProviderId,
};

use super::Violations;
use crate::{admin, admin::single_sign_on::Kind, rules};

const FIELD: &str = "app.single_sign_on";
const UNKNOWN: &str = "is of a kind that this version does not know";

/// What is wanted, if it can be done for these origins, of the main part and of the segments.
pub(super) fn read(
    app: &admin::App,
    access: Option<&Access>,
    (main, segments): (&[Origin], &[InsideSegment]),
    found: &mut Violations,
) -> Option<Sso> {
    let wire = app.single_sign_on.as_ref()?;
    if access == Some(&Access::Passthrough) {
        found.add(FIELD, "must be unset unless users sign in");
    }
    let sso = read_kind(wire, found)?;
    match &sso {
        Sso::Kerberos(kerberos) => {
            let others = segments.iter().flat_map(|segment| &segment.origins);
            check_origins(&kerberos.spn, main.iter().chain(others), found);
            check_provider(kerberos, &app.identity_providers, found);
            check_id_token(kerberos, found);
        }
        Sso::Form(_) if app.origins.is_empty() => {
            let fault = "must be unset without origins, of which one has the form: those of segments have not";
            found.add(&format!("{FIELD}.form"), fault);
        }
        Sso::Form(_) | Sso::Basic(_) => {}
    }
    Some(sso)
}

/// As agents read it.
pub(crate) fn read_sent(wire: &admin::SingleSignOn) -> Option<Sso> {
    let mut found = Violations::default();
    read_kind(wire, &mut found).filter(|_| found.is_empty())
}

fn read_kind(wire: &admin::SingleSignOn, found: &mut Violations) -> Option<Sso> {
    match &wire.kind {
        Some(Kind::Kerberos(wire)) => read_kerberos(wire, found).map(Sso::Kerberos),
        Some(Kind::Form(wire)) => Some(Sso::Form(form::read_form(wire, found))),
        Some(Kind::Basic(wire)) => Some(Sso::Basic(form::read_basic(wire, found))),
        None => {
            found.add(FIELD, "must say of what kind it is");
            None
        }
    }
}

fn read_kerberos(wire: &admin::KerberosSignOn, found: &mut Violations) -> Option<KerberosSso> {
    let field = |name| format!("{FIELD}.kerberos.{name}");
    let spn = found.parse(&field("spn"), &wire.spn);
    let identity = found.take(&field("identity"), identity(wire.identity, &wire.claim));
    let provider = found.take(
        &field("identity_provider"),
        provider(&wire.identity_provider),
    );
    let name_form = found.take(&field("name_form"), name_form(wire.name_form));
    let framing = found.take(&field("framing"), framing(wire.framing));
    let send = found.take(&field("sending"), send(wire.sending));
    Some(KerberosSso {
        spn: spn?,
        identity: identity?,
        provider: provider?,
        name_form: name_form?,
        framing: framing?,
        send: send?,
        require_mutual: wire.require_mutual,
        require_id_token: wire.require_id_token,
    })
}

/// With a `*` the name of each origin says which service it is.
fn check_origins<'o>(
    spn: &SpnPattern,
    origins: impl Iterator<Item = &'o Origin>,
    found: &mut Violations,
) {
    if spn.fixed().is_some() {
        return;
    }
    for origin in origins {
        let is_service = match &origin.url.host {
            OriginHost::Name(name) => spn.target(name).is_some(),
            OriginHost::Ip(_) | OriginHost::Socket(_) => false,
        };
        if !is_service {
            let fault = format_args!("must hold for each origin, and does not for {}", origin.url);
            found.add(&format!("{FIELD}.kerberos.spn"), fault);
        }
    }
}

/// A name must be one user's: whoever runs one provider could make users of the names that another's have.
fn check_provider(kerberos: &KerberosSso, admitted: &[String], found: &mut Violations) {
    let field = format!("{FIELD}.kerberos.identity_provider");
    match &kerberos.provider {
        None if kerberos.names_may_clash() && admitted.len() != 1 => found.add(
            &field,
            "must say whose users the value names, as the app takes users of more than one provider, who may have equal names",
        ),
        Some(named) if !admitted.is_empty() && !admitted.contains(&named.resource_name()) => {
            found.add(&field, "must be among app.identity_providers: nobody else of theirs gets in");
        }
        None | Some(_) => {}
    }
}

/// Whoever reads a token must know whose it has to be, and where in it the name stands.
fn check_id_token(kerberos: &KerberosSso, found: &mut Violations) {
    if !kerberos.require_id_token {
        return;
    }
    let is_of_provider = kerberos
        .provider
        .as_ref()
        .is_some_and(|id| id.as_str() != LOCAL);
    if !is_of_provider {
        found.add(
            &format!("{FIELD}.kerberos.identity_provider"),
            "must name the identity provider whose ID tokens are asked for; the fabric's own accounts have none",
        );
    }
    match kerberos.identity {
        SsoIdentity::Claim(_) => {}
        SsoIdentity::User | SsoIdentity::Email => found.add(
            &format!("{FIELD}.kerberos.identity"),
            "must be a claim if an ID token is asked for: agents read the name in the token itself",
        ),
    }
}

fn provider(wire: &str) -> Result<Option<IdentityProviderId>, String> {
    if wire.is_empty() {
        return Ok(None);
    }
    match IdentityProviderId::from_resource_name(wire) {
        Some(Ok(id)) => Ok(Some(id)),
        Some(Err(fault)) => Err(format!("has an id that {fault}")),
        None => Err(format!(
            "must be a name that starts with {}",
            IdentityProviderId::COLLECTION
        )),
    }
}

/// Which value names the user, as it is written for operators and for edges.
pub(crate) fn identity(wire: i32, claim: &str) -> Result<SsoIdentity, rules::Fault> {
    use admin::SignOnIdentity as Wire;
    let other = match Wire::try_from(wire) {
        Ok(Wire::Unspecified | Wire::Claim) if claim.is_empty() => {
            return Ok(SsoIdentity::default());
        }
        Ok(Wire::Unspecified | Wire::Claim) => {
            rules::claim_name(claim)?;
            return Ok(SsoIdentity::Claim(claim.to_owned()));
        }
        Ok(Wire::User) => SsoIdentity::User,
        Ok(Wire::Email) => SsoIdentity::Email,
        Err(_) => return Err(UNKNOWN.into()),
    };
    if !claim.is_empty() {
        return Err("must be CLAIM if there is a claim".into());
    }
    Ok(other)
}

/// The same as it is written.
pub(crate) fn write_identity(identity: &SsoIdentity) -> (admin::SignOnIdentity, String) {
    use admin::SignOnIdentity as Wire;
    match identity {
        SsoIdentity::Claim(name) if name == UPN_CLAIM => (Wire::Unspecified, String::new()),
        SsoIdentity::Claim(name) => (Wire::Unspecified, name.clone()),
        SsoIdentity::User => (Wire::User, String::new()),
        SsoIdentity::Email => (Wire::Email, String::new()),
    }
}

fn name_form(wire: i32) -> Result<NameForm, &'static str> {
    use admin::KerberosNameForm as Wire;
    match Wire::try_from(wire) {
        Ok(Wire::Unspecified | Wire::Upn) => Ok(NameForm::Upn),
        Ok(Wire::Account) => Ok(NameForm::Account),
        Ok(Wire::LocalPart) => Ok(NameForm::LocalPart),
        Err(_) => Err(UNKNOWN),
    }
}

fn framing(wire: i32) -> Result<Framing, &'static str> {
    use admin::KerberosFraming as Wire;
    match Wire::try_from(wire) {
        Ok(Wire::Unspecified | Wire::Spnego) => Ok(Framing::Spnego),
        Ok(Wire::Kerberos) => Ok(Framing::Kerberos),
        Err(_) => Err(UNKNOWN),
    }
}

fn send(wire: i32) -> Result<SendWhen, &'static str> {
    use admin::KerberosSending as Wire;
    match Wire::try_from(wire) {
        Ok(Wire::Unspecified | Wire::Always) => Ok(SendWhen::Always),
        Ok(Wire::OnChallenge) => Ok(SendWhen::OnChallenge),
        Err(_) => Err(UNKNOWN),
    }
}

/// What has its default is not said, so that equal apps are written alike.
pub(crate) fn write(sso: &Sso) -> admin::SingleSignOn {
    let kind = match sso {
        Sso::Kerberos(kerberos) => Kind::Kerberos(write_kerberos(kerberos)),
        Sso::Form(form) => Kind::Form(form::write_form(form)),
        Sso::Basic(basic) => Kind::Basic(form::write_basic(*basic)),
    };
    admin::SingleSignOn { kind: Some(kind) }
}

fn write_kerberos(kerberos: &KerberosSso) -> admin::KerberosSignOn {
    let (identity, claim) = write_identity(&kerberos.identity);
    let name_form = match kerberos.name_form {
        NameForm::Upn => admin::KerberosNameForm::Unspecified,
        NameForm::Account => admin::KerberosNameForm::Account,
        NameForm::LocalPart => admin::KerberosNameForm::LocalPart,
    };
    let framing = match kerberos.framing {
        Framing::Spnego => admin::KerberosFraming::Unspecified,
        Framing::Kerberos => admin::KerberosFraming::Kerberos,
    };
    let sending = match kerberos.send {
        SendWhen::Always => admin::KerberosSending::Unspecified,
        SendWhen::OnChallenge => admin::KerberosSending::OnChallenge,
    };
    admin::KerberosSignOn {
        spn: kerberos.spn.to_string(),
        identity: identity.into(),
        claim,
        identity_provider: kerberos
            .provider
            .as_ref()
            .map(IdentityProviderId::resource_name)
            .unwrap_or_default(),
        name_form: name_form.into(),
        framing: framing.into(),
        sending: sending.into(),
        require_mutual: kerberos.require_mutual,
        require_id_token: kerberos.require_id_token,
    }
}

#[cfg(test)]
mod tests {
    use model::app::{Assignment, OriginUrlError};

    use super::*;

    fn kerberos(change: impl FnOnce(&mut admin::KerberosSignOn)) -> admin::SingleSignOn {
        let mut kerberos = admin::KerberosSignOn {
            spn: "HTTP/app.lab.test".to_owned(),
            ..Default::default()
        };
        change(&mut kerberos);
        admin::SingleSignOn {
            kind: Some(Kind::Kerberos(kerberos)),
        }
    }

    fn origins(urls: &[&str]) -> Vec<Origin> {
        let origins = urls.iter().map(|url| url.parse().map(Origin::new));
        let origins: Result<_, OriginUrlError> = origins.collect();
        origins.expect("good urls")
    }

    fn faults(wire: &admin::SingleSignOn, access: &Access, urls: &[&str]) -> Vec<String> {
        let segments = [InsideSegment {
            origins: origins(urls),
            inner_path: None,
        }];
        let app = admin::App {
            single_sign_on: Some(wire.clone()),
            identity_providers: vec!["identityProviders/entra".to_owned()],
            ..admin::App::default()
        };
        let mut found = Violations::default();
        read(&app, Some(access), (&[], &segments), &mut found);
        let found = found.into_vec().into_iter();
        found.map(|fault| fault.to_string()).collect()
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut admin::KerberosSignOn), want: &[&str]) {
        let access = Access::SignIn(Assignment::default());
        let wire = kerberos(change);
        let found = faults(&wire, &access, &["http://10.0.0.5"]);
        assert_eq!(found, want);
        assert_eq!(read_sent(&wire).is_some(), want.is_empty(), "{wire:?}");
    }

    #[test]
    fn everything_wrong_with_single_sign_on_is_said_at_once() {
        check(|_| (), &[]);
        check(
            |wire| {
                wire.spn = "app.lab.test".to_owned();
                wire.identity = 99;
                wire.identity_provider = "entra".to_owned();
                wire.name_form = 99;
                wire.framing = 99;
                wire.sending = 99;
            },
            &[
                "app.single_sign_on.kerberos.spn must be SERVICE/host or SERVICE/host@REALM, such as HTTP/app.corp.example",
                "app.single_sign_on.kerberos.identity is of a kind that this version does not know",
                "app.single_sign_on.kerberos.identity_provider must be a name that starts with identityProviders/",
                "app.single_sign_on.kerberos.name_form is of a kind that this version does not know",
                "app.single_sign_on.kerberos.framing is of a kind that this version does not know",
                "app.single_sign_on.kerberos.sending is of a kind that this version does not know",
            ],
        );
        check(
            |wire| {
                wire.identity = admin::SignOnIdentity::User.into();
                wire.claim = "upn".to_owned();
            },
            &["app.single_sign_on.kerberos.identity must be CLAIM if there is a claim"],
        );
        check(
            |wire| wire.claim = "a b".to_owned(),
            &["app.single_sign_on.kerberos.identity must be the name of a claim"],
        );
    }

    #[test]
    fn where_names_of_two_providers_may_be_equal_it_must_be_said_whose_they_are() {
        use admin::{KerberosNameForm as Form, SignOnIdentity as Identity};
        let of = |identity: Identity, form: Form, named: &str, admitted: &[&str]| {
            let provider = |id: &&str| format!("identityProviders/{id}");
            let wire = kerberos(|wire| {
                wire.identity = identity.into();
                wire.name_form = form.into();
                wire.identity_provider = Some(named)
                    .filter(|id| !id.is_empty())
                    .map(|id| provider(&id))
                    .unwrap_or_default();
            });
            let app = admin::App {
                single_sign_on: Some(wire),
                identity_providers: admitted.iter().map(provider).collect(),
                ..admin::App::default()
            };
            let access = Access::SignIn(Assignment::default());
            let mut found = Violations::default();
            read(&app, Some(&access), (&[], &[]), &mut found);
            found.is_empty()
        };
        let (both, one) = (["entra", "local"], ["entra"]);
        for (identity, form) in [
            (Identity::Claim, Form::Upn),
            (Identity::Email, Form::Account),
            (Identity::User, Form::LocalPart),
        ] {
            assert!(!of(identity, form, "", &[]), "{identity:?}");
            assert!(!of(identity, form, "", &both), "{identity:?}");
            assert!(of(identity, form, "", &one), "{identity:?}");
            assert!(of(identity, form, "entra", &[]), "{identity:?}");
            assert!(of(identity, form, "local", &both), "{identity:?}");
            assert!(!of(identity, form, "local", &one), "{identity:?}");
        }
        assert!(of(Identity::User, Form::Account, "", &both));
        assert!(of(Identity::User, Form::Upn, "", &[]));
    }

    #[test]
    fn an_id_token_is_asked_for_of_one_provider_and_names_the_user_by_a_claim() {
        use admin::SignOnIdentity as Identity;
        let of = |identity: Identity, named: &str| {
            let wire = kerberos(|wire| {
                wire.identity = identity.into();
                wire.identity_provider = named.to_owned();
                wire.require_id_token = true;
            });
            let app = admin::App {
                single_sign_on: Some(wire),
                identity_providers: vec![
                    "identityProviders/entra".to_owned(),
                    "identityProviders/local".to_owned(),
                ],
                ..admin::App::default()
            };
            let access = Access::SignIn(Assignment::default());
            let mut found = Violations::default();
            read(&app, Some(&access), (&[], &[]), &mut found);
            found.into_vec().len()
        };
        assert_eq!(of(Identity::Claim, "identityProviders/entra"), 0);
        assert_eq!(of(Identity::Claim, "identityProviders/local"), 1);
        assert_eq!(of(Identity::User, "identityProviders/entra"), 1);
        assert_eq!(of(Identity::Email, "identityProviders/entra"), 1);
        assert_eq!(of(Identity::User, ""), 2);
    }

    #[test]
    fn single_sign_on_is_for_apps_with_sign_in_and_of_a_kind() {
        let none = admin::SingleSignOn { kind: None };
        let open = Access::Passthrough;
        assert_eq!(
            faults(&none, &open, &[]),
            [
                "app.single_sign_on must be unset unless users sign in",
                "app.single_sign_on must say of what kind it is"
            ]
        );
        assert_eq!(read_sent(&none), None);
    }

    #[test]
    fn an_app_with_a_form_has_origins() {
        let form = admin::FormSignOn {
            page: "/login".to_owned(),
            user_field: "u".to_owned(),
            password_field: "p".to_owned(),
            ..admin::FormSignOn::default()
        };
        let wire = admin::SingleSignOn {
            kind: Some(Kind::Form(form)),
        };
        let closed = Access::SignIn(Assignment::default());
        assert_eq!(
            faults(&wire, &closed, &[]),
            [
                "app.single_sign_on.form must be unset without origins, of which one has the form: those of segments have not"
            ]
        );
        let app = admin::App {
            single_sign_on: Some(wire),
            origins: vec![admin::Origin::default()],
            ..admin::App::default()
        };
        let mut found = Violations::default();
        read(&app, Some(&closed), (&[], &[]), &mut found);
        assert!(found.is_empty());
    }

    #[test]
    fn a_wildcard_must_hold_for_each_origin() {
        let closed = Access::SignIn(Assignment::default());
        let wire = kerberos(|wire| wire.spn = "HTTP/*.lab.test".to_owned());
        let good = ["http://a.lab.test", "https://b.lab.test:8443"];
        assert_eq!(faults(&wire, &closed, &good), [""; 0]);
        let bad = [
            "http://a.lab.test",
            "http://10.0.0.5",
            "unix:/run/a",
            "http://a.b.lab.test",
        ];
        let found = faults(&wire, &closed, &bad);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(
            found[0],
            "app.single_sign_on.kerberos.spn must hold for each origin, and does not for http://10.0.0.5"
        );
    }

    #[test]
    fn what_is_not_said_has_its_default_and_stays_unsaid() {
        let wire = kerberos(|_| ());
        let read = read_sent(&wire).expect("it is good");
        let spn = "HTTP/app.lab.test".parse().expect("a good name");
        assert_eq!(read, Sso::Kerberos(KerberosSso::new(spn)));
        assert_eq!(write(&read), wire);
        let spelled = kerberos(|wire| {
            wire.claim = UPN_CLAIM.to_owned();
            wire.identity = admin::SignOnIdentity::Claim.into();
            wire.name_form = admin::KerberosNameForm::Upn.into();
            wire.framing = admin::KerberosFraming::Spnego.into();
            wire.sending = admin::KerberosSending::Always.into();
        });
        assert_eq!(read_sent(&spelled), Some(read));
    }
}
