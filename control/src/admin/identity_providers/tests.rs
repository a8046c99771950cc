//! Identity providers against a real store.

use proto::admin::{
    ClientAuthentication, CreateUserRequest, ProviderEndpoints, SignOutUserRequest,
    identity_providers_server::IdentityProviders as _, users_server::Users as _,
};
use tonic::Code;

use super::*;
use crate::admin::{
    tests::{Bench, by_admin, fields},
    users::Users,
};

fn provider() -> IdentityProvider {
    IdentityProvider {
        issuer: "https://login.example.com".to_owned(),
        client_id: "adit".to_owned(),
        ..IdentityProvider::default()
    }
}

fn with_domains(domains: &[&str]) -> IdentityProvider {
    IdentityProvider {
        user_domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
        ..provider()
    }
}

impl Bench {
    fn providers(&self) -> IdentityProviders {
        IdentityProviders {
            context: self.context.clone(),
        }
    }

    fn accounts(&self) -> Users {
        Users {
            context: self.context.clone(),
        }
    }

    async fn create_provider(
        &self,
        id: &str,
        wanted: IdentityProvider,
    ) -> Result<IdentityProvider, Status> {
        let request = CreateIdentityProviderRequest {
            identity_provider_id: id.to_owned(),
            identity_provider: Some(wanted),
            credential: "s3cret".to_owned(),
            validate_only: false,
        };
        let made = self
            .providers()
            .create_identity_provider(by_admin(request))
            .await?;
        Ok(made.into_inner())
    }

    async fn update_provider(
        &self,
        wanted: IdentityProvider,
        credential: &str,
    ) -> Result<IdentityProvider, Status> {
        let request = UpdateIdentityProviderRequest {
            identity_provider: Some(wanted),
            credential: credential.to_owned(),
            ..UpdateIdentityProviderRequest::default()
        };
        let made = self
            .providers()
            .update_identity_provider(by_admin(request))
            .await?;
        Ok(made.into_inner())
    }

    async fn create_account(&self, id: &str) -> Result<(), Status> {
        let request = CreateUserRequest {
            user_id: id.to_owned(),
            password: "correct horse battery".to_owned(),
            ..CreateUserRequest::default()
        };
        let made = self.accounts().create_user(by_admin(request)).await;
        made.map(drop)
    }

    async fn sign_out(&self, id: &str) -> Result<(), Status> {
        let request = SignOutUserRequest {
            name: format!("users/{id}"),
        };
        let done = self.accounts().sign_out_user(by_admin(request)).await;
        done.map(drop)
    }

    async fn stored(&self, name: &str) -> IdentityProviderRecord {
        let entry = self.context.store.get(name).await.unwrap().unwrap();
        record::decode(&entry).unwrap()
    }
}

#[tokio::test]
async fn a_credential_goes_in_and_never_out_again() {
    let bench = Bench::new();
    let made = bench.create_provider("entra", provider()).await.unwrap();
    assert!(made.credential_time.is_some());
    let name = made.name.clone();
    assert_eq!(bench.stored(&name).await.credential, "s3cret");
    let request = GetIdentityProviderRequest { name: name.clone() };
    let got = bench
        .providers()
        .get_identity_provider(by_admin(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(got, made);
    assert!(!format!("{got:?}").contains("s3cret"));
    let renamed = IdentityProvider {
        name: name.clone(),
        display_name: "Staff".to_owned(),
        ..IdentityProvider::default()
    };
    let kept = bench.update_provider(renamed.clone(), "").await.unwrap();
    assert_eq!(kept.credential_time, made.credential_time);
    assert_eq!(kept.issuer, made.issuer);
    assert_eq!(bench.stored(&name).await.credential, "s3cret");
    let changed = bench.update_provider(renamed, "other").await.unwrap();
    assert_ne!(changed.etag, kept.etag);
    assert_eq!(bench.stored(&name).await.credential, "other");
}

#[tokio::test]
async fn a_credential_that_is_kept_goes_nowhere_else() {
    let bench = Bench::new();
    let made = bench.create_provider("entra", provider()).await.unwrap();
    let changes: [fn(&mut IdentityProvider); 4] = [
        |one| one.issuer = "https://login.attacker.example".to_owned(),
        |one| one.set_client_authentication(ClientAuthentication::SecretPost),
        |one| one.private_network = true,
        |one| {
            one.endpoints = Some(ProviderEndpoints {
                token: "https://login.attacker.example/token".to_owned(),
                ..ProviderEndpoints::default()
            });
        },
    ];
    for change in changes {
        let mut wanted = IdentityProvider {
            name: made.name.clone(),
            ..IdentityProvider::default()
        };
        change(&mut wanted);
        let refused = bench.update_provider(wanted.clone(), "").await.unwrap_err();
        assert_eq!(fields(&refused), ["credential"], "{wanted:?}");
        bench.update_provider(wanted, "s3cret").await.unwrap();
    }
}

#[tokio::test]
async fn sessions_end_when_what_says_who_users_are_changes() {
    let bench = Bench::new();
    let made = bench.create_provider("entra", provider()).await.unwrap();
    assert_eq!(made.sessions_since, made.create_time);
    let update = async |change: fn(&mut IdentityProvider)| {
        let mut wanted = IdentityProvider {
            name: made.name.clone(),
            ..IdentityProvider::default()
        };
        change(&mut wanted);
        bench.update_provider(wanted, "s3cret").await.unwrap()
    };
    let renamed = update(|one| one.display_name = "Staff".to_owned()).await;
    assert_eq!(renamed.sessions_since, made.create_time);
    let mut last = made.sessions_since;
    let changes: [fn(&mut IdentityProvider); 3] = [
        |one| one.client_id = "other".to_owned(),
        |one| one.plain_groups = true,
        |one| one.user_domains = vec!["example.com".to_owned()],
    ];
    for change in changes {
        let changed = update(change).await;
        assert_eq!(changed.sessions_since, changed.update_time);
        assert_ne!(changed.sessions_since, last);
        last = changed.sessions_since;
    }
}

#[tokio::test]
async fn nothing_is_written_where_nothing_changes() {
    let bench = Bench::new();
    let made = bench.create_provider("entra", provider()).await.unwrap();
    let again = bench.update_provider(made.clone(), "s3cret").await.unwrap();
    assert_eq!(again, made);
}

#[tokio::test]
async fn everything_wrong_is_said_at_once() {
    let bench = Bench::new();
    let request = CreateIdentityProviderRequest {
        identity_provider_id: "local".to_owned(),
        ..CreateIdentityProviderRequest::default()
    };
    let refused = bench
        .providers()
        .create_identity_provider(by_admin(request))
        .await
        .unwrap_err();
    assert_eq!(
        fields(&refused),
        [
            "identity_provider_id",
            "identity_provider.issuer",
            "identity_provider.client_id",
            "credential"
        ]
    );
    let gone = IdentityProvider {
        name: "identityProviders/gone".to_owned(),
        ..provider()
    };
    let refused = bench.update_provider(gone, "").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test]
async fn a_lost_update_is_refused() {
    let bench = Bench::new();
    let made = bench.create_provider("entra", provider()).await.unwrap();
    let change = |display_name: &str| IdentityProvider {
        display_name: display_name.to_owned(),
        ..made.clone()
    };
    bench.update_provider(change("a"), "").await.unwrap();
    let refused = bench.update_provider(change("b"), "").await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
}

#[tokio::test]
async fn no_domain_is_two_providers_nor_an_accounts_too() {
    let bench = Bench::new();
    bench.create_account("alice@example.com").await.unwrap();
    bench.create_account("bob").await.unwrap();
    let taken = with_domains(&["example.com"]);
    let refused = bench.create_provider("entra", taken).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("users/alice@example.com"));
    let corp = with_domains(&["corp.example.com"]);
    bench.create_provider("entra", corp.clone()).await.unwrap();
    let refused = bench.create_provider("other", corp).await.unwrap_err();
    assert!(refused.message().contains("identityProviders/entra"));
    for (account, is_good) in [
        ("carol@corp.example.com", false),
        ("carol@entra", false),
        ("carol@example.com", true),
        ("carol@other", true),
        ("carol", true),
    ] {
        let made = bench.create_account(account).await;
        let code = made.err().map(|status| status.code());
        let want = (!is_good).then_some(Code::FailedPrecondition);
        assert_eq!(code, want, "{account}");
    }
    // Whose id would speak for them.
    let refused = bench.create_provider("other", provider()).await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    let wider = IdentityProvider {
        name: "identityProviders/entra".to_owned(),
        ..with_domains(&["example.com"])
    };
    let refused = bench.update_provider(wider, "").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn of_two_who_want_a_domain_at_once_one_gets_it() {
    for round in 0..10 {
        let bench = Bench::new();
        let (provider, account) = tokio::join!(
            bench.create_provider("entra", with_domains(&["example.com"])),
            bench.create_account("alice@example.com"),
        );
        assert_ne!(provider.is_ok(), account.is_ok(), "round {round}");
    }
}

#[tokio::test]
async fn providers_are_bounded() {
    let bench = Bench::new();
    for number in 0..model::identity_provider::IDENTITY_PROVIDERS_MAX {
        let id = format!("p{number}");
        bench.create_provider(&id, provider()).await.unwrap();
    }
    let refused = bench.create_provider("more", provider()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let request = DeleteIdentityProviderRequest {
        name: "identityProviders/p0".to_owned(),
        etag: String::new(),
    };
    let providers = bench.providers();
    providers
        .delete_identity_provider(by_admin(request))
        .await
        .unwrap();
    bench.create_provider("more", provider()).await.unwrap();
}

#[tokio::test]
async fn a_user_of_a_provider_is_signed_out_without_an_account() {
    let bench = Bench::new();
    let staff = with_domains(&["example.com"]);
    bench.create_provider("entra", staff).await.unwrap();
    for (user, is_known) in [
        ("alice@example.com", true),
        ("alice@entra", true),
        ("alice", false),
        ("alice@elsewhere.example", false),
    ] {
        let code = bench.sign_out(user).await.err().map(|status| status.code());
        let want = (!is_known).then_some(Code::NotFound);
        assert_eq!(code, want, "{user}");
    }
}

#[test]
fn a_certificate_is_of_the_key_that_it_goes_with() {
    let key = rcgen::KeyPair::generate().unwrap();
    let (own, other) = (key.serialize_pem(), rcgen::KeyPair::generate().unwrap());
    let certificate = rcgen::CertificateParams::default();
    let pem = certificate.self_signed(&key).unwrap().pem();
    for (pem, key, is_good) in [
        ("", "s3cret", true),
        (&*pem, &*own, true),
        (&pem, &other.serialize_pem(), false),
        (&pem, "s3cret", false),
        ("-----BEGIN CERTIFICATE-----", &own, false),
        (&own, &own, false),
    ] {
        let fault = certificate_fault(pem, key);
        assert_eq!(fault.is_none(), is_good, "{fault:?}");
    }
}
