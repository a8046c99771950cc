//! Users against a real store.

use model::user::PASSWORD_CHARS;
use prost::Message as _;
use prost_types::FieldMask;
use proto::{
    admin::{
        CreateUserRequest, CreateUserResponse, DeleteUserRequest, GetUserRequest, ListUsersRequest,
        ResetUserPasswordRequest, ResetUserPasswordResponse, SignOutEveryoneRequest,
        SignOutUserRequest, UpdateUserRequest, User, users_server::Users as _,
    },
    control::{RevocationRecord, UserRecord},
};
use runtime::Secret;
use tonic::{Code, Status};

use crate::{
    admin::{
        tests::{Bench, by_admin, fields, reason},
        users::Users,
    },
    time::unix_ms,
};

const PASSWORD: &str = "correct horse";

fn service(bench: &Bench) -> Users {
    Users {
        context: bench.context.clone(),
    }
}

fn user(groups: &[&str]) -> User {
    User {
        display_name: "Alice Smith".to_owned(),
        email: "alice@example.com".to_owned(),
        user_groups: groups.iter().map(|&group| group.to_owned()).collect(),
        ..User::default()
    }
}

fn named(name: &str) -> User {
    User {
        name: name.to_owned(),
        ..User::default()
    }
}

fn request(id: &str, password: &str) -> CreateUserRequest {
    CreateUserRequest {
        user_id: id.to_owned(),
        user: Some(user(&["staff"])),
        password: password.to_owned(),
        validate_only: false,
    }
}

async fn create(bench: &Bench, request: CreateUserRequest) -> Result<CreateUserResponse, Status> {
    let made = service(bench).create_user(by_admin(request)).await?;
    Ok(made.into_inner())
}

async fn update(bench: &Bench, user: User, paths: Option<&[&str]>) -> Result<User, Status> {
    let mask = paths.map(|paths| FieldMask {
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
    });
    let request = UpdateUserRequest {
        user: Some(user),
        update_mask: mask,
        validate_only: false,
    };
    let written = service(bench).update_user(by_admin(request)).await?;
    Ok(written.into_inner())
}

async fn reset(bench: &Bench, password: &str) -> Result<ResetUserPasswordResponse, Status> {
    let request = ResetUserPasswordRequest {
        name: "users/alice".to_owned(),
        etag: String::new(),
        password: password.to_owned(),
    };
    let written = service(bench)
        .reset_user_password(by_admin(request))
        .await?;
    Ok(written.into_inner())
}

/// What is kept of `users/alice`.
async fn stored(bench: &Bench) -> UserRecord {
    let entry = bench.context.store.get("users/alice").await.unwrap();
    UserRecord::decode(entry.unwrap().value).unwrap()
}

async fn is_password(bench: &Bench, password: &str) -> bool {
    let hash = stored(bench).await.password_hash;
    let typed = Secret::new(password.to_owned());
    let verified = bench.context.passwords.verify(typed, Some(hash));
    verified.await.unwrap()
}

/// Before when sessions of `users/alice` are over; 0: none is.
async fn ended(bench: &Bench) -> i64 {
    let entry = bench.context.store.get("revocations/users/alice").await;
    entry.unwrap().map_or(0, |entry| {
        RevocationRecord::decode(entry.value).unwrap().before_ms
    })
}

async fn methods(bench: &Bench) -> Vec<String> {
    let events = bench.audit().await.into_iter().rev();
    events.map(|event| event.method).collect()
}

#[tokio::test]
async fn a_made_password_is_told_once_and_has_to_be_changed() {
    let bench = Bench::new();
    let made = create(&bench, request("alice", "")).await.unwrap();
    let made_user = made.user.unwrap();
    assert!(made_user.must_change_password);
    assert!(made_user.password_time.is_some());
    assert_eq!(made.password.len(), 23);
    assert!(is_password(&bench, &made.password).await);
    let get = GetUserRequest {
        name: "users/alice".to_owned(),
    };
    let got = service(&bench).get_user(by_admin(get)).await.unwrap();
    assert_eq!(got.into_inner(), made_user);

    let was_reset = reset(&bench, "").await.unwrap();
    assert_ne!(was_reset.password, made.password);
    assert!(is_password(&bench, &was_reset.password).await);
    assert!(!is_password(&bench, &made.password).await);
}

#[tokio::test]
async fn a_given_password_is_not_told_back_and_has_to_be_changed_too() {
    let bench = Bench::new();
    let made = create(&bench, request("alice", PASSWORD)).await.unwrap();
    assert_eq!(made.password, "");
    assert!(made.user.unwrap().must_change_password);
    assert!(is_password(&bench, PASSWORD).await);
    let was_reset = reset(&bench, "battery staple").await.unwrap();
    assert_eq!(was_reset.password, "");
    assert!(was_reset.user.unwrap().must_change_password);
    assert!(is_password(&bench, "battery staple").await);
}

#[tokio::test]
async fn passwords_are_nowhere_but_in_the_answer() {
    let bench = Bench::new();
    let made = create(&bench, request("alice", "")).await.unwrap();
    let was_reset = reset(&bench, PASSWORD).await.unwrap();
    assert!(!format!("{made:?} {was_reset:?}").contains(&made.password));
    let everything = bench.context.store.snapshot(&[""]).await.unwrap();
    for entry in everything.entries {
        for secret in [made.password.as_str(), PASSWORD] {
            let mut parts = entry.value.windows(secret.len());
            let held = parts.any(|bytes| bytes == secret.as_bytes());
            assert!(!held, "{}", entry.key);
        }
    }
    let audit = format!("{:?}", bench.audit().await);
    let hash = stored(&bench).await.password_hash;
    assert!(!audit.contains(&hash) && !audit.contains("argon2"));
}

#[tokio::test]
async fn everything_wrong_with_a_user_is_told_at_once() {
    let bench = Bench::new();
    let bad = CreateUserRequest {
        user: Some(User {
            email: "alice".to_owned(),
            user_groups: vec![String::new()],
            ..user(&[])
        }),
        ..request("Alice", "short")
    };
    let refused = create(&bench, bad).await.unwrap_err();
    assert_eq!(
        fields(&refused),
        ["user_id", "user.email", "user.user_groups[0]", "password"]
    );
    assert!(!format!("{refused:?}").contains("short"));
    let long = "x".repeat(PASSWORD_CHARS.1 + 1);
    for password in ["alice@example.com", "Alice@Example.Com", &long] {
        let refused = create(&bench, request("alice", password)).await;
        assert_eq!(fields(&refused.unwrap_err()), ["password"], "{password}");
    }
    create(&bench, request("alice", PASSWORD)).await.unwrap();
    let again = create(&bench, request("alice", PASSWORD)).await;
    assert_eq!(again.unwrap_err().code(), Code::AlreadyExists);
    let refused = reset(&bench, "short").await.unwrap_err();
    assert_eq!(fields(&refused), ["password"]);
    let refused = update(&bench, named("users/Alice"), Some(&["etag", "name"])).await;
    assert_eq!(
        fields(&refused.unwrap_err()),
        ["user.name", "update_mask", "update_mask"]
    );
}

#[tokio::test]
async fn a_check_alone_writes_and_makes_nothing() {
    let bench = Bench::new();
    let check = CreateUserRequest {
        validate_only: true,
        ..request("alice", "")
    };
    let checked = create(&bench, check).await.unwrap();
    assert_eq!(checked.password, "");
    assert_eq!(checked.user.unwrap().name, "users/alice");
    assert_eq!(bench.context.store.get("users/alice").await.unwrap(), None);
    create(&bench, request("alice", PASSWORD)).await.unwrap();
    let check = UpdateUserRequest {
        user: Some(User {
            disabled: true,
            ..named("users/alice")
        }),
        update_mask: None,
        validate_only: true,
    };
    let checked = service(&bench).update_user(by_admin(check)).await.unwrap();
    assert!(checked.into_inner().disabled);
    assert!(!stored(&bench).await.user.unwrap().disabled);
    assert_eq!(methods(&bench).await, ["CreateUser"]);
}

#[tokio::test]
async fn updates_change_what_their_mask_names_and_keep_the_password() {
    let bench = Bench::new();
    create(&bench, request("alice", PASSWORD)).await.unwrap();
    let change = User {
        display_name: "Alice Jones".to_owned(),
        email: "jones@example.com".to_owned(),
        ..named("users/alice")
    };
    let after = update(&bench, change, Some(&["display_name"]))
        .await
        .unwrap();
    assert_eq!(
        (after.display_name.as_str(), after.email.as_str()),
        ("Alice Jones", "alice@example.com")
    );
    let stale = User {
        etag: "1".to_owned(),
        disabled: true,
        ..named("users/alice")
    };
    let refused = update(&bench, stale, None).await.unwrap_err();
    assert_eq!(reason(&refused), "ETAG_MISMATCH");
    // The order of groups means nothing.
    let groups = User {
        user_groups: vec!["staff".to_owned()],
        ..named("users/alice")
    };
    let same = update(&bench, groups, None).await.unwrap();
    assert_eq!(same, after);
    assert!(is_password(&bench, PASSWORD).await);
    assert_eq!(ended(&bench).await, 0);
    let events = bench.audit().await;
    assert_eq!(events[0].changed_fields, ["display_name"]);
    assert_eq!(events.len(), 2);
}

#[tokio::test]
async fn what_takes_something_from_a_user_ends_their_sessions() {
    let bench = Bench::new();
    create(&bench, request("alice", PASSWORD)).await.unwrap();
    let in_groups = |groups: &[&str]| User {
        name: "users/alice".to_owned(),
        ..user(groups)
    };
    let disabled = |disabled| User {
        disabled,
        ..named("users/alice")
    };
    let only_disabled = Some(&["disabled"][..]);
    let mut last = ended(&bench).await;
    assert_eq!(last, 0, "nobody has a session yet");
    let mut check = async |what: &str| {
        let now = ended(&bench).await;
        assert!(now > last, "{what}: {now} after {last}");
        assert!(now <= unix_ms(bench.context.clock.wall()) + 1, "{what}");
        last = now;
        // The next end is of another millisecond.
        while unix_ms(bench.context.clock.wall()) < last {
            tokio::task::yield_now().await;
        }
    };
    update(&bench, in_groups(&["staff", "ops"]), None)
        .await
        .unwrap();
    check("groups").await;
    update(&bench, disabled(true), only_disabled).await.unwrap();
    check("disabled").await;
    update(&bench, disabled(false), only_disabled)
        .await
        .unwrap();
    check("enabled").await;
    reset(&bench, "").await.unwrap();
    check("reset").await;
    let sign_out = SignOutUserRequest {
        name: "users/alice".to_owned(),
    };
    let signed_out = service(&bench)
        .sign_out_user(by_admin(sign_out.clone()))
        .await;
    signed_out.unwrap();
    check("signed out").await;
    let delete = DeleteUserRequest {
        name: "users/alice".to_owned(),
        etag: String::new(),
    };
    let deleted = service(&bench).delete_user(by_admin(delete)).await;
    deleted.unwrap();
    check("deleted").await;
    let gone = service(&bench).sign_out_user(by_admin(sign_out)).await;
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
    assert_eq!(
        methods(&bench).await,
        [
            "CreateUser",
            "UpdateUser",
            "UpdateUser",
            "UpdateUser",
            "ResetUserPassword",
            "SignOutUser",
            "DeleteUser"
        ]
    );
}

#[tokio::test]
async fn everybody_is_signed_out_and_what_was_sealed_opens_no_more_at_once() {
    let bench = Bench::new();
    let keys = async || {
        let read = bench.context.store.get("sessionKeys").await.expect("reads");
        read.map(|entry| entry.value)
    };
    let sign_out = async || {
        let asked = by_admin(SignOutEveryoneRequest {});
        service(&bench).sign_out_everyone(asked).await.unwrap();
    };
    sign_out().await;
    let first = keys().await.expect("there are keys");
    let ended = bench.context.store.get("revocations/everyone").await;
    let ended = ended.expect("reads").expect("there is an end");
    let record = RevocationRecord::decode(ended.value).expect("a record");
    assert!(record.before_ms <= unix_ms(bench.context.clock.wall()) + 1);
    sign_out().await;
    assert_ne!(keys().await, Some(first));
    assert_eq!(
        methods(&bench).await,
        ["SignOutEveryone", "SignOutEveryone"]
    );
}

#[tokio::test]
async fn users_are_listed_a_page_at_a_time() {
    let bench = Bench::new();
    for id in ["alice", "bob@example.com", "carol"] {
        create(&bench, request(id, PASSWORD)).await.unwrap();
    }
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let list = by_admin(ListUsersRequest {
            page_size: 2,
            page_token: token,
        });
        let page = service(&bench).list_users(list).await.unwrap().into_inner();
        seen.extend(page.users.into_iter().map(|user| user.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(
        seen,
        ["users/alice", "users/bob@example.com", "users/carol"]
    );
}
