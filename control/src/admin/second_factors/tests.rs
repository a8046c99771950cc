//! Operators take second factors away, against a real store.

use prost::Message as _;
use proto::{
    admin::{
        CreateUserRequest, DeleteUserRequest, second_factors_server::SecondFactors as _,
        users_server::Users as _,
    },
    control::AuthenticatorRecord,
};
use tonic::{Code, Status};

use super::*;
use crate::admin::{
    tests::{Bench, by_admin},
    users::Users,
};

const NAME: &str = "users/alice";

fn service(bench: &Bench) -> SecondFactors {
    SecondFactors {
        context: bench.context.clone(),
    }
}

/// Makes alice, who has an authenticator app and two passkeys.
async fn alice(bench: &Bench) {
    let users = Users {
        context: bench.context.clone(),
    };
    let request = CreateUserRequest {
        user_id: "alice".to_owned(),
        ..CreateUserRequest::default()
    };
    users.create_user(by_admin(request)).await.unwrap();
    let passkey = |id: &str| PasskeyRecord {
        id: id.to_owned(),
        credential_id: id.as_bytes().to_vec().into(),
        display_name: format!("Key {id}"),
        added_ms: 1_000,
        ..PasskeyRecord::default()
    };
    let id: UserId = "alice".parse().unwrap();
    let store = &*bench.context.store;
    let after = SecondFactorsRecord {
        authenticator: Some(AuthenticatorRecord::default()),
        recovery_codes: vec![vec![1].into()],
        failures: 3,
        passkeys: vec![passkey("one"), passkey("two")],
    };
    let mut ops = records::read(store, &id).await.unwrap().replace(&after);
    for passkey in &after.passkeys {
        ops.push(records::own_passkey(&id, passkey).1);
    }
    let entry = store.get(NAME).await.unwrap().unwrap();
    let mut stored = UserRecord::decode(entry.value).unwrap();
    let user = stored.user.as_mut().unwrap();
    user.passkeys = 2;
    user.authenticator_time = Some(wire_timestamp(bench.context.clock.wall()));
    ops.push(record::put(NAME, &stored));
    store.txn(Vec::new(), ops).await.unwrap();
}

async fn owner(bench: &Bench, id: &str) -> Option<UserId> {
    let owner = records::passkey_owner(&*bench.context.store, id.as_bytes());
    owner.await.unwrap()
}

async fn keys(bench: &Bench) -> Vec<String> {
    let all = bench
        .context
        .store
        .snapshot(&["secondFactors/", "passkeys/", "revocations/"]);
    let all = all.await.unwrap().entries;
    all.iter().map(|entry| entry.key.to_string()).collect()
}

async fn list(bench: &Bench, parent: &str) -> Result<Vec<Passkey>, Status> {
    let request = ListPasskeysRequest {
        parent: parent.to_owned(),
    };
    let listed = service(bench).list_passkeys(by_admin(request)).await?;
    Ok(listed.into_inner().passkeys)
}

async fn delete(bench: &Bench, name: &str) -> Result<(), Status> {
    let request = DeletePasskeyRequest {
        name: name.to_owned(),
    };
    let deleted = service(bench).delete_passkey(by_admin(request)).await;
    deleted.map(drop)
}

#[tokio::test]
async fn a_reset_takes_everything_away_and_ends_every_session() {
    let bench = Bench::new();
    alice(&bench).await;
    let reset = ResetSecondFactorsRequest {
        name: NAME.to_owned(),
        ..ResetSecondFactorsRequest::default()
    };
    let service = service(&bench);
    let answer = service.reset_second_factors(by_admin(reset.clone()));
    let user = answer.await.unwrap().into_inner();
    assert_eq!((user.authenticator_time, user.passkeys), (None, 0));
    assert_eq!(keys(&bench).await, ["revocations/users/alice"]);
    assert_eq!(list(&bench, NAME).await.unwrap(), []);
    let stale = ResetSecondFactorsRequest {
        etag: "1".to_owned(),
        ..reset
    };
    let refused = service.reset_second_factors(by_admin(stale)).await;
    assert_eq!(refused.unwrap_err().code(), Code::Aborted);
}

#[tokio::test]
async fn one_passkey_is_taken_away_and_the_others_stay() {
    let bench = Bench::new();
    alice(&bench).await;
    let listed = list(&bench, NAME).await.unwrap();
    let names: Vec<_> = listed.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(
        names,
        ["users/alice/passkeys/one", "users/alice/passkeys/two"]
    );
    assert!(listed[0].create_time.is_some() && listed[0].use_time.is_none());
    delete(&bench, "users/alice/passkeys/one").await.unwrap();
    assert_eq!(list(&bench, NAME).await.unwrap(), listed[1..]);
    assert_eq!(owner(&bench, "one").await, None);
    assert!(owner(&bench, "two").await.is_some());
    assert!(
        keys(&bench)
            .await
            .contains(&"revocations/users/alice".to_owned())
    );
    for (name, code) in [
        ("users/alice/passkeys/one", Code::NotFound),
        ("users/bob/passkeys/two", Code::NotFound),
        ("users/alice", Code::InvalidArgument),
        ("passkeys/two", Code::InvalidArgument),
    ] {
        assert_eq!(
            delete(&bench, name).await.unwrap_err().code(),
            code,
            "{name}"
        );
    }
    assert_eq!(
        list(&bench, "users/bob").await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn who_gets_a_deleted_users_id_gets_none_of_their_keys() {
    let bench = Bench::new();
    alice(&bench).await;
    let users = Users {
        context: bench.context.clone(),
    };
    let request = DeleteUserRequest {
        name: NAME.to_owned(),
        ..DeleteUserRequest::default()
    };
    users.delete_user(by_admin(request)).await.unwrap();
    assert_eq!(keys(&bench).await, ["revocations/users/alice"]);
}
