//! The vault against a real store, as operators see it.

use proto::admin::{
    App, CreateIdentityProviderRequest, CreateUserRequest, DeleteUserRequest, IdentityProvider,
    UpdateAppRequest, User, apps_server::Apps as _,
    identity_providers_server::IdentityProviders as _, users_server::Users as _,
    vault_server::Vault as _,
};
use runtime::vault::KeyPair;
use tonic::Code;

use super::*;
use crate::{
    admin::{
        identity_providers::IdentityProviders,
        tests::{Bench, app, by_admin, fields},
        users::Users,
    },
    store::Op,
};

fn wiki() -> App {
    app("wiki.example.com")
}

impl Bench {
    fn vault(&self) -> Vault {
        Vault {
            context: self.context.clone(),
        }
    }

    /// A key of a group, and its id.
    async fn create_key(&self, group: &str) -> Result<(KeyPair, VaultKey), Status> {
        let pair = KeyPair::generate(group.parse().unwrap()).unwrap();
        let request = CreateVaultKeyRequest {
            vault_key: Some(VaultKey {
                group: format!("groups/{group}"),
                public_key: pair.public().point().to_vec().into(),
                ..VaultKey::default()
            }),
            validate_only: false,
        };
        let made = self.vault().create_vault_key(by_admin(request)).await?;
        Ok((pair, made.into_inner()))
    }

    async fn set_credential(
        &self,
        name: &str,
        pair: &KeyPair,
        etag: &str,
    ) -> Result<Credential, Status> {
        let secret = runtime::vault::Credential::new("a".to_owned(), "b".to_owned());
        let sealed = match name.parse() {
            Ok(name) => pair.public().seal(&name, &secret).unwrap(),
            Err(_) => Vec::new(),
        };
        let request = SetCredentialRequest {
            credential: Some(Credential {
                name: name.to_owned(),
                etag: etag.to_owned(),
                vault_key: pair.public().id().resource_name(),
                sealed: sealed.into(),
                ..Credential::default()
            }),
        };
        let set = self.vault().set_credential(by_admin(request)).await?;
        Ok(set.into_inner())
    }

    async fn credentials(&self, app: &str) -> Vec<Credential> {
        let request = ListCredentialsRequest {
            app: app.to_owned(),
            ..ListCredentialsRequest::default()
        };
        let listed = self.vault().list_credentials(by_admin(request)).await;
        listed.unwrap().into_inner().credentials
    }

    async fn delete_key(&self, name: &str, force: bool) -> Result<(), Status> {
        let request = DeleteVaultKeyRequest {
            name: name.to_owned(),
            etag: String::new(),
            force,
        };
        let deleted = self.vault().delete_vault_key(by_admin(request)).await;
        deleted.map(drop)
    }

    fn users(&self) -> Users {
        Users {
            context: self.context.clone(),
        }
    }

    async fn account(&self, id: &str) {
        let request = CreateUserRequest {
            user_id: id.to_owned(),
            user: Some(User::default()),
            ..CreateUserRequest::default()
        };
        self.users().create_user(by_admin(request)).await.unwrap();
    }

    async fn delete_account(&self, id: &str) {
        let request = DeleteUserRequest {
            name: format!("users/{id}"),
            etag: String::new(),
        };
        self.users().delete_user(by_admin(request)).await.unwrap();
    }

    async fn move_to(&self, group: &str) {
        let request = UpdateAppRequest {
            app: Some(App {
                name: "apps/wiki".to_owned(),
                group: format!("groups/{group}"),
                ..App::default()
            }),
            ..UpdateAppRequest::default()
        };
        self.apps().update_app(by_admin(request)).await.unwrap();
    }

    /// With the app `wiki` of the group `office`, its key, and the user `alice`.
    async fn with_vault() -> (Self, KeyPair) {
        let bench = Self::with_office().await;
        bench.create_app("wiki", wiki()).await.unwrap();
        bench.account("alice").await;
        bench.leave(ENTRA, Bytes::new()).await;
        let (pair, _) = bench.create_key("office").await.unwrap();
        (bench, pair)
    }

    /// What nobody wrote by the API.
    async fn leave(&self, key: &str, value: Bytes) {
        let put = Op::Put(Arc::from(key), value);
        self.context.store.txn(vec![], vec![put]).await.unwrap();
    }
}

const ALICE: &str = "credentials/wiki/local/alice";
const SHARED: &str = "credentials/wiki/shared";
const ENTRA: &str = "identityProviders/entra";

#[tokio::test]
async fn what_is_sealed_is_kept_and_never_shown() {
    let (bench, pair) = Bench::with_vault().await;
    let first = bench.set_credential(ALICE, &pair, "").await.unwrap();
    assert_eq!(first.group, "groups/office");
    assert!(first.sealed.is_empty() && !first.by_user);
    bench.set_credential(SHARED, &pair, "").await.unwrap();
    bench
        .set_credential("credentials/wiki/entra/bob@example.com", &pair, "")
        .await
        .unwrap();
    let again = bench.set_credential(ALICE, &pair, &first.etag).await;
    assert_ne!(again.unwrap().etag, first.etag);
    let stale = bench.set_credential(ALICE, &pair, &first.etag).await;
    assert_eq!(stale.unwrap_err().code(), Code::Aborted);
    let listed = bench.credentials("apps/wiki").await;
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|kept| kept.sealed.is_empty()));
    assert!(bench.credentials("apps/mail").await.is_empty());
    let request = DeleteCredentialRequest {
        name: SHARED.to_owned(),
        etag: String::new(),
    };
    let deleted = bench.vault().delete_credential(by_admin(request)).await;
    deleted.unwrap();
    assert_eq!(bench.credentials("").await.len(), 2);
    let audit = bench.audit().await;
    let told = |method: &str, resource: &str| {
        let mut events = audit.iter();
        assert!(
            events.any(|event| event.method == method && event.resource == resource),
            "{method} {resource}: {audit:?}"
        );
    };
    told("CreateVaultKey", &pair.public().id().resource_name());
    told("SetCredential", ALICE);
    told("DeleteCredential", SHARED);
}

#[tokio::test]
async fn what_is_not_sealed_to_the_newest_key_of_the_apps_group_is_refused() {
    let (bench, pair) = Bench::with_vault().await;
    bench.create_group("lab").await;
    let (foreign, _) = bench.create_key("lab").await.unwrap();
    let unknown = KeyPair::generate("office".parse().unwrap()).unwrap();
    for (name, pair, code, part) in [
        (
            ALICE,
            &foreign,
            Code::InvalidArgument,
            "credential.vault_key",
        ),
        (
            ALICE,
            &unknown,
            Code::InvalidArgument,
            "credential.vault_key",
        ),
        (
            "credentials/mail/shared",
            &pair,
            Code::NotFound,
            "apps/mail",
        ),
        (
            "credentials/wiki/local/bob",
            &pair,
            Code::NotFound,
            "users/bob",
        ),
        (
            "credentials/wiki/okta/bob",
            &pair,
            Code::NotFound,
            "identityProviders/okta",
        ),
        (
            "credentials/wiki",
            &pair,
            Code::InvalidArgument,
            "credential.name",
        ),
        ("apps/wiki", &pair, Code::InvalidArgument, "credential.name"),
    ] {
        let refused = bench.set_credential(name, pair, "").await.unwrap_err();
        assert_eq!(refused.code(), code, "{name}: {refused}");
        assert!(refused.message().contains(part), "{name}: {refused}");
    }
    let request = SetCredentialRequest {
        credential: Some(Credential {
            name: ALICE.to_owned(),
            vault_key: pair.public().id().resource_name(),
            sealed: vec![4; 100].into(),
            ..Credential::default()
        }),
    };
    let refused = bench.vault().set_credential(by_admin(request)).await;
    assert_eq!(fields(&refused.unwrap_err()), ["credential.sealed"]);
    // A newer one takes its place.
    let (newer, _) = bench.create_key("office").await.unwrap();
    let refused = bench.set_credential(ALICE, &pair, "").await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    bench.set_credential(ALICE, &newer, "").await.unwrap();
}

#[tokio::test]
async fn a_key_is_a_point_of_the_curve_and_of_a_group_that_is_there() {
    let bench = Bench::with_office().await;
    let create = async |group: &str, point: Vec<u8>| {
        let request = CreateVaultKeyRequest {
            vault_key: Some(VaultKey {
                group: group.to_owned(),
                public_key: point.into(),
                ..VaultKey::default()
            }),
            validate_only: false,
        };
        bench.vault().create_vault_key(by_admin(request)).await
    };
    let refused = create("office", vec![4; 65]).await.unwrap_err();
    let wrong = ["vault_key.group", "vault_key.public_key"];
    assert_eq!(fields(&refused), wrong);
    let pair = KeyPair::generate("office".parse().unwrap()).unwrap();
    let point = pair.public().point().to_vec();
    let refused = create("groups/lab", point.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    create("groups/office", point.clone()).await.unwrap();
    let refused = create("groups/office", point).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    for _ in 1..GROUP_KEYS_MAX {
        bench.create_key("office").await.unwrap();
    }
    let refused = bench.create_key("office").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    // They go with the group.
    bench.delete_group("office").await.unwrap();
    let listed = bench
        .vault()
        .list_vault_keys(by_admin(ListVaultKeysRequest::default()))
        .await;
    assert_eq!(listed.unwrap().into_inner().vault_keys, []);
}

#[tokio::test]
async fn a_key_that_is_in_use_is_deleted_by_force_only_and_with_what_it_sealed() {
    let (bench, old) = Bench::with_vault().await;
    bench.set_credential(ALICE, &old, "").await.unwrap();
    let (new, _) = bench.create_key("office").await.unwrap();
    bench.set_credential(SHARED, &new, "").await.unwrap();
    let name = old.public().id().resource_name();
    let refused = bench.delete_key(&name, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains(ALICE), "{refused}");
    bench.delete_key(&name, true).await.unwrap();
    let left = bench.credentials("").await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].name, SHARED);
}

#[tokio::test]
async fn nobody_inherits_the_credentials_of_what_is_gone() {
    let (bench, pair) = Bench::with_vault().await;
    let all = async || {
        for name in [ALICE, SHARED, "credentials/wiki/entra/alice"] {
            bench.set_credential(name, &pair, "").await.unwrap();
        }
    };
    let names = async || {
        let kept = bench.credentials("").await.into_iter();
        kept.map(|kept| kept.name).collect::<Vec<_>>()
    };
    all().await;
    bench.delete_account("alice").await;
    assert_eq!(names().await, ["credentials/wiki/entra/alice", SHARED]);
    bench.account("alice").await;
    all().await;
    bench.create_group("lab").await;
    bench.move_to("lab").await;
    assert!(
        names().await.is_empty(),
        "the agents of lab cannot open them"
    );
    bench.move_to("office").await;
    all().await;
    bench.delete_app("wiki").await;
    assert!(names().await.is_empty());
}

#[tokio::test]
async fn what_was_left_behind_is_gone_before_its_name_is_taken() {
    let bench = Bench::with_office().await;
    let all = async || {
        let range = bench.context.store.range("credentials/", None, 10).await;
        range.unwrap().entries.len()
    };
    for name in [
        ALICE,
        "credentials/mail/shared",
        "credentials/mail/local/bob",
        "credentials/mail/entra/bob",
    ] {
        bench.leave(name, Bytes::from_static(b"left behind")).await;
    }
    bench.create_app("wiki", wiki()).await.unwrap();
    assert_eq!(all().await, 3);
    bench.account("bob").await;
    assert_eq!(all().await, 2);
    let request = CreateIdentityProviderRequest {
        identity_provider_id: "entra".to_owned(),
        identity_provider: Some(IdentityProvider {
            issuer: "https://login.example.com".to_owned(),
            client_id: "adit".to_owned(),
            ..IdentityProvider::default()
        }),
        credential: "s3cret".to_owned(),
        validate_only: false,
    };
    let providers = IdentityProviders {
        context: bench.context.clone(),
    };
    let made = providers.create_identity_provider(by_admin(request)).await;
    made.unwrap();
    assert_eq!(all().await, 1);
}
