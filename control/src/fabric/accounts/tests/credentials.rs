//! Credentials of apps against a real store: who may have which kept.

use proto::{
    admin::{App, BasicSignOn, Credential, SingleSignOn, VaultKey, single_sign_on::Kind},
    fabric::{
        CredentialUser, KeepCredentialRequest, RemoveCredentialRequest, ShowCredentialRequest,
        Shown, TermsUser,
    },
};
use runtime::vault::KeyPair;

use super::*;
use crate::fabric::accounts::credentials::{keep, remove, show};

const ALICE: &str = "credentials/wiki/local/alice";

impl Bench {
    /// With an app of a group that has a key.
    async fn with_vault() -> (Self, KeyPair) {
        let bench = Self::new().await;
        let app = App {
            name: "apps/wiki".to_owned(),
            group: "groups/office".to_owned(),
            single_sign_on: Some(SingleSignOn {
                kind: Some(Kind::Basic(BasicSignOn::default())),
            }),
            ..App::default()
        };
        bench.put("apps/wiki", app.encode_to_vec()).await;
        bench.put("identityProviders/entra", Vec::new()).await;
        let pair = KeyPair::generate("office".parse().unwrap()).unwrap();
        let name = pair.public().id().resource_name();
        let key = VaultKey {
            name: name.clone(),
            group: "groups/office".to_owned(),
            public_key: pair.public().point().to_vec().into(),
            create_time: Some(wire_timestamp(bench.context.clock.wall())),
            ..VaultKey::default()
        };
        bench.put(&name, key.encode_to_vec()).await;
        (bench, pair)
    }

    fn now_ms(&self) -> i64 {
        unix_ms(self.context.clock.wall())
    }

    /// Somebody with an account, as control has said.
    fn own(&self, user: &str) -> CredentialUser {
        CredentialUser {
            shown: Some(self.shown(user, self.now_ms(), &["pwd"])),
            ..told(user, "")
        }
    }

    async fn keep_credential(&self, user: CredentialUser, pair: &KeyPair) -> i64 {
        let secret = runtime::vault::Credential::new("a".to_owned(), "b".to_owned());
        let sealed = pair.public().seal(&ALICE.parse().unwrap(), &secret);
        let request = KeepCredentialRequest {
            user: Some(user),
            app: "wiki".to_owned(),
            vault_key: pair.public().id().to_string(),
            sealed: sealed.unwrap().into(),
        };
        let kept = keep(&self.context, &self.admitted().await, &request).await;
        kept.unwrap()
    }

    async fn show_credential(&self, user: CredentialUser) -> i64 {
        let request = ShowCredentialRequest {
            user: Some(user),
            app: "wiki".to_owned(),
        };
        let shown = show(&self.context, &self.admitted().await, &request).await;
        shown.unwrap()
    }

    async fn remove_credential(&self, user: CredentialUser) -> bool {
        let request = RemoveCredentialRequest {
            user: Some(user),
            app: "wiki".to_owned(),
        };
        let removed = remove(&self.context, &self.admitted().await, &request).await;
        removed.unwrap()
    }

    async fn kept(&self) -> Vec<Credential> {
        let prefix = "credentials/";
        let range = self.context.store.range(prefix, None, 10).await.unwrap();
        let kept = range.entries.into_iter();
        kept.map(|entry| Credential::decode(entry.value).unwrap())
            .collect()
    }
}

/// Somebody, as an edge says.
fn told(user: &str, provider: &str) -> CredentialUser {
    CredentialUser {
        user: Some(TermsUser {
            user: user.to_owned(),
            provider: provider.to_owned(),
        }),
        shown: None,
        client: "192.0.2.1".to_owned(),
        request_id: "r-1".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_has_a_credential_kept_and_takes_it_away() {
    let (bench, pair) = Bench::with_vault().await;
    assert_eq!(bench.show_credential(bench.own("alice")).await, 0);
    let at_ms = bench.keep_credential(bench.own("alice"), &pair).await;
    assert_eq!(at_ms, bench.now_ms());
    assert_eq!(bench.show_credential(bench.own("alice")).await, at_ms);
    let kept = bench.kept().await;
    assert_eq!(kept.len(), 1);
    assert_eq!((&*kept[0].name, kept[0].by_user), (ALICE, true));
    assert_eq!(kept[0].group, "groups/office");
    // Another user of the same name is somebody else.
    assert_eq!(bench.show_credential(told("alice", "entra")).await, 0);
    assert!(bench.keep_credential(told("alice", "entra"), &pair).await > 0);
    assert_eq!(bench.kept().await.len(), 2);
    assert!(bench.remove_credential(bench.own("alice")).await);
    assert!(bench.remove_credential(bench.own("alice")).await);
    let kept = bench.kept().await;
    assert_eq!(kept[0].name, "credentials/wiki/entra/alice");
}

#[tokio::test(start_paused = true)]
async fn an_edge_alone_cannot_speak_for_accounts_of_the_fabric() {
    let (bench, pair) = Bench::with_vault().await;
    assert!(bench.keep_credential(bench.own("alice"), &pair).await > 0);
    let of_bob = CredentialUser {
        shown: Some(bench.shown("bob", bench.now_ms(), &["pwd"])),
        ..told("alice", "")
    };
    let forged = CredentialUser {
        shown: Some(Shown {
            proof: vec![1; 32].into(),
            ..bench.shown("alice", bench.now_ms(), &["pwd"])
        }),
        ..told("alice", "")
    };
    for user in [of_bob, forged] {
        assert_eq!(bench.keep_credential(user.clone(), &pair).await, 0);
        assert_eq!(bench.show_credential(user.clone()).await, 0);
        assert!(!bench.remove_credential(user).await);
    }
    // A disabled account, and one whose sessions were ended.
    assert_eq!(bench.keep_credential(bench.own("bob"), &pair).await, 0);
    let alice = bench.own("alice");
    let (id, now) = ("alice".parse().unwrap(), bench.context.clock.wall());
    let end = revocations::end_user(&*bench.context.store, &id, now);
    let (check, op) = end.await.unwrap();
    bench
        .context
        .store
        .txn(vec![check], vec![op])
        .await
        .unwrap();
    assert_eq!(bench.keep_credential(alice.clone(), &pair).await, 0);
    assert!(!bench.remove_credential(alice).await);
    assert_eq!(bench.kept().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_app_whose_users_have_none_of_their_own_keeps_none() {
    let (bench, pair) = Bench::with_vault().await;
    let shared = BasicSignOn {
        shared_credential: true,
        ..BasicSignOn::default()
    };
    for kind in [None, Some(Kind::Basic(shared))] {
        let app = App {
            name: "apps/wiki".to_owned(),
            group: "groups/office".to_owned(),
            single_sign_on: Some(SingleSignOn { kind }),
            ..App::default()
        };
        bench.put("apps/wiki", app.encode_to_vec()).await;
        assert_eq!(bench.keep_credential(bench.own("alice"), &pair).await, 0);
    }
    // Nor of users of a provider that is not there.
    let (bench, pair) = Bench::with_vault().await;
    assert_eq!(bench.keep_credential(told("alice", "okta"), &pair).await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_agents_could_not_open_is_not_kept_and_what_is_odd_is_refused() {
    let (bench, _) = Bench::with_vault().await;
    let other = KeyPair::generate("office".parse().unwrap()).unwrap();
    assert_eq!(bench.keep_credential(bench.own("alice"), &other).await, 0);
    let edge = bench.admitted().await;
    for (user, app) in [
        (None, "wiki"),
        (Some(told("A B", "entra")), "wiki"),
        (Some(told("alice", "A/B")), "wiki"),
        (Some(told("alice", "entra")), "a/b"),
        (Some(told("alice", "")), "wiki"),
    ] {
        let request = ShowCredentialRequest {
            user,
            app: app.to_owned(),
        };
        let refused = show(&bench.context, &edge, &request).await;
        assert!(matches!(refused, Err(Refusal::Protocol(_))), "{refused:?}");
    }
}
