//! Users, from their making by an operator to their end, as edges see it.

use proto::{
    admin::{
        CreateUserRequest, GetUserRequest, SignOutUserRequest, UpdateUserRequest, User,
        users_client::UsersClient,
    },
    fabric::{
        Account, ChangePasswordRequest, CheckPasswordRequest, EndSessionRequest,
        PasswordRefusalKind, Revocation, check_password_response::Outcome,
        fabric_client::FabricClient, resource::Kind, revocation::Whose,
    },
};
use tonic::{Code, transport::Channel};

use crate::bench::{Bench, Replica, reason};

const NEXT: &str = "battery staple";

fn asking(user: &str, password: &str) -> CheckPasswordRequest {
    CheckPasswordRequest {
        user: user.to_owned(),
        password: password.to_owned(),
        client: "192.0.2.1".to_owned(),
        request_id: "r1".to_owned(),
        before: None,
    }
}

async fn check(edge: &Channel, password: &str) -> Result<Account, PasswordRefusalKind> {
    let mut client = FabricClient::new(edge.clone());
    let answer = client.check_password(asking("alice", password)).await;
    match answer.unwrap().into_inner().outcome.unwrap() {
        Outcome::Account(account) => Ok(account),
        Outcome::Refusal(refusal) => Err(refusal.kind()),
        Outcome::Half(half) => panic!("{half:?}"),
    }
}

async fn change(edge: &Channel, old: &str, new: &str) -> Account {
    let request = ChangePasswordRequest {
        now: Some(asking("alice", old)),
        new_password: new.to_owned(),
    };
    let mut client = FabricClient::new(edge.clone());
    let answer = client.change_password(request).await;
    match answer.unwrap().into_inner().outcome.unwrap() {
        Outcome::Account(account) => account,
        other => panic!("{other:?}"),
    }
}

/// Makes `users/alice`, and tells the password.
async fn alice(bench: &Bench) -> String {
    let request = CreateUserRequest {
        user_id: "alice".to_owned(),
        ..CreateUserRequest::default()
    };
    let made = UsersClient::new(bench.operator())
        .create_user(bench.ask(request))
        .await;
    made.unwrap().into_inner().password
}

fn ended(replica: &Replica, name: &str) -> Option<Revocation> {
    match replica.kind(name)? {
        Kind::Revocation(revocation) => Some(revocation.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn a_user_signs_in_until_an_operator_says_otherwise() {
    let bench = Bench::start().await;
    let made = alice(&bench).await;
    let (edge, agent) = (bench.edge("e1").await, bench.agent("a1", "default").await);
    let mut told = bench.sync(&edge, Replica::default()).await.unwrap();
    let edge = bench.channel(&edge).await;
    assert_eq!(
        check(&edge, &made).await,
        Err(PasswordRefusalKind::MustChange)
    );
    change(&edge, &made, NEXT).await;
    let signed_in = check(&edge, NEXT).await.unwrap();
    assert_eq!(signed_in.user, "alice");

    let name = "revocations/users/alice";
    let sign_out = SignOutUserRequest {
        name: "users/alice".to_owned(),
    };
    let mut users = UsersClient::new(bench.operator());
    users.sign_out_user(bench.ask(sign_out)).await.unwrap();
    let is_over = |replica: &Replica| {
        ended(replica, name).is_some_and(|ended| signed_in.as_of_ms < ended.before_ms)
    };
    told.until(is_over).await;
    let whose = ended(&told.replica, name).unwrap().whose;
    assert_eq!(whose, Some(Whose::User("alice".to_owned())));
    // Who was signed out may sign in again; who is disabled may not.
    check(&edge, NEXT).await.unwrap();
    let disable = UpdateUserRequest {
        user: Some(User {
            name: "users/alice".to_owned(),
            disabled: true,
            ..User::default()
        }),
        ..UpdateUserRequest::default()
    };
    users.update_user(bench.ask(disable)).await.unwrap();
    assert_eq!(check(&edge, NEXT).await, Err(PasswordRefusalKind::Wrong));

    let mut at_agent = bench.sync(&agent, Replica::default()).await.unwrap();
    at_agent.until(|_| true).await;
    let mut names = at_agent.replica.resources.keys();
    assert!(!names.any(|name| name.contains("revocations") || name.contains("users")));
}

#[tokio::test]
async fn a_session_that_ends_at_one_edge_ends_at_all() {
    let bench = Bench::start().await;
    let (one, other) = (bench.edge("e1").await, bench.edge("e2").await);
    let mut told = bench.sync(&other, Replica::default()).await.unwrap();
    let end = EndSessionRequest {
        session: vec![0xab; 16].into(),
        ..EndSessionRequest::default()
    };
    let mut client = FabricClient::new(bench.channel(&one).await);
    client.end_session(end.clone()).await.unwrap();
    let name = format!("revocations/sessions/{}", "ab".repeat(16));
    told.until(|replica| ended(replica, &name).is_some()).await;
    let whose = ended(&told.replica, &name).unwrap().whose;
    assert_eq!(whose, Some(Whose::Session(end.session)));
}

#[tokio::test]
async fn agents_and_strangers_learn_nothing_of_accounts() {
    let bench = Bench::start().await;
    let made = alice(&bench).await;
    let agent = bench.agent("a1", "default").await;
    for (channel, want) in [
        (bench.channel(&agent).await, "EDGES_ONLY"),
        (bench.operator(), "NO_CERTIFICATE"),
    ] {
        let mut client = FabricClient::new(channel);
        let checked = client.check_password(asking("alice", &made)).await;
        assert_eq!(reason(&checked.unwrap_err()), want);
        let change = ChangePasswordRequest {
            now: Some(asking("alice", &made)),
            new_password: NEXT.to_owned(),
        };
        let changed = client.change_password(change).await;
        assert_eq!(reason(&changed.unwrap_err()), want);
        let end = EndSessionRequest {
            session: vec![1; 16].into(),
            ..EndSessionRequest::default()
        };
        let ended = client.end_session(end).await;
        assert_eq!(reason(&ended.unwrap_err()), want);
    }
    // Without a token nobody asks for users either.
    let get = GetUserRequest {
        name: "users/alice".to_owned(),
    };
    let refused = UsersClient::new(bench.operator()).get_user(get).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
}
