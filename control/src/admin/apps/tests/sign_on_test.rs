//! Whom single sign-on is tried out for, and who is asked.

use model::name::AgentId;
use proto::{
    admin::{
        Assignment, BasicSignOn, CreateUserRequest, FormSignOn, KerberosSignOn, SignOnFinding,
        SignOnIdentity, SignOnVerdict, SingleSignOn, TestSingleSignOnRequest,
        TestSingleSignOnResponse, Tile, User, single_sign_on::Kind, users_server::Users as _,
    },
    fabric::{SignOnAnswer, SignOnQuestion},
};

use super::*;
use crate::{
    admin::{apps::sign_on_test::hosts, users::Users},
    questions::Line,
};

fn kerberos(identity: SignOnIdentity) -> Kind {
    Kind::Kerberos(KerberosSignOn {
        spn: "HTTP/wiki.example.test".to_owned(),
        identity: identity.into(),
        identity_provider: "identityProviders/local".to_owned(),
        ..KerberosSignOn::default()
    })
}

/// An office with agents, the user alice, and apps.
async fn office() -> Bench {
    let bench = Bench::with_office().await;
    for (id, kind) in [
        ("user", kerberos(SignOnIdentity::User)),
        ("email", kerberos(SignOnIdentity::Email)),
        ("claim", kerberos(SignOnIdentity::Claim)),
        ("basic", Kind::Basic(BasicSignOn::default())),
        (
            "form",
            Kind::Form(FormSignOn {
                page: "/login".to_owned(),
                user_field: "u".to_owned(),
                password_field: "p".to_owned(),
                ..FormSignOn::default()
            }),
        ),
    ] {
        let made = App {
            access: Access::SignIn.into(),
            assignment: Some(Assignment {
                users: vec!["users/alice".to_owned()],
                ..Assignment::default()
            }),
            single_sign_on: Some(SingleSignOn { kind: Some(kind) }),
            ..app(&format!("{id}.example.test"))
        };
        bench.create_app(id, made).await.unwrap();
    }
    let made = App {
        access: Access::SignIn.into(),
        identity_providers: ["entra", "okta"]
            .map(|id| format!("identityProviders/{id}"))
            .to_vec(),
        single_sign_on: Some(SingleSignOn {
            kind: Some(Kind::Basic(BasicSignOn::default())),
        }),
        ..app("many.example.test")
    };
    bench.create_app("many", made).await.unwrap();
    bench
        .create_app("open", app("open.example.test"))
        .await
        .unwrap();
    let alice = User {
        email: "alice@example.test".to_owned(),
        ..User::default()
    };
    create_user(&bench, "alice", alice).await;
    for id in ["a1", "a2", "a3"] {
        bench.enrolled(id, "groups/office").await;
    }
    bench.enrolled("b1", "groups/elsewhere").await;
    bench
}

async fn create_user(bench: &Bench, id: &str, user: User) {
    let users = Users {
        context: bench.context.clone(),
    };
    let request = CreateUserRequest {
        user_id: id.to_owned(),
        user: Some(user),
        ..CreateUserRequest::default()
    };
    users.create_user(by_admin(request)).await.unwrap();
}

fn request(app: &str) -> TestSingleSignOnRequest {
    TestSingleSignOnRequest {
        name: format!("apps/{app}"),
        user: "users/alice".to_owned(),
        ..TestSingleSignOnRequest::default()
    }
}

async fn test(
    bench: &Bench,
    request: TestSingleSignOnRequest,
) -> Result<TestSingleSignOnResponse, Status> {
    let tested = bench.apps().test_single_sign_on(by_admin(request)).await;
    Ok(tested?.into_inner())
}

fn line(bench: &Bench, agent: &str) -> Line {
    let agent: AgentId = agent.parse().unwrap();
    bench.context.questions.open(&agent, 1)
}

/// Answers one question with a good word.
async fn answer(line: &mut Line) -> SignOnQuestion {
    line.wait().await;
    let question = line.take().expect("somebody asks");
    let well = SignOnFinding {
        verdict: SignOnVerdict::Ok.into(),
        ..SignOnFinding::default()
    };
    line.answer(SignOnAnswer {
        id: question.id,
        findings: vec![well],
    });
    question
}

#[tokio::test]
async fn agents_are_told_what_names_the_user_to_the_app() {
    let bench = office().await;
    let mut a1 = line(&bench, "a1");
    for (app, said, want) in [
        ("user", "", "alice"),
        ("email", "", "alice@example.test"),
        ("claim", "alice@lab.test", "alice@lab.test"),
        ("user", "other", "other"),
        ("basic", "", ""),
    ] {
        let wanted = TestSingleSignOnRequest {
            identity_value: said.to_owned(),
            agent: "agents/a1".to_owned(),
            ..request(app)
        };
        let (tested, question) = tokio::join!(test(&bench, wanted), answer(&mut a1));
        let tested = tested.unwrap();
        assert_eq!((&*question.app, &*question.name), (app, want));
        assert_eq!((&*question.user, &*question.provider), ("alice", ""));
        assert_eq!(tested.reports.len(), 1);
        assert_eq!(tested.reports[0].agent, "agents/a1");
        assert_eq!(tested.findings, []);
    }
    let event = bench.audit().await.remove(0);
    assert_eq!(event.method, "TestSingleSignOn");
    assert_eq!(
        (&*event.resource, &*event.subject),
        ("apps/basic", "users/alice")
    );
}

#[tokio::test]
async fn an_account_that_never_gets_to_the_app_is_a_warning() {
    let bench = office().await;
    let mut a1 = line(&bench, "a1");
    for (id, disabled) in [("bob", false), ("carol", true)] {
        let user = User {
            disabled,
            ..User::default()
        };
        create_user(&bench, id, user).await;
        let wanted = TestSingleSignOnRequest {
            user: format!("users/{id}"),
            ..request("user")
        };
        let (tested, _) = tokio::join!(test(&bench, wanted), answer(&mut a1));
        let warnings = tested.unwrap().findings;
        let verdicts = warnings.iter().map(SignOnFinding::verdict);
        assert!(verdicts.eq(warnings.iter().map(|_| SignOnVerdict::Warning)));
        let told: Vec<_> = warnings.iter().map(|it| &*it.found).collect();
        let told = told.join("; ");
        assert!(told.contains("not assigned to apps/user"), "{told}");
        assert_eq!(told.contains("is disabled"), disabled, "{told}");
    }
}

#[tokio::test]
async fn every_agent_of_the_group_is_asked_and_one_alone_sends_a_credential() {
    let bench = office().await;
    let (mut a1, mut a3) = (line(&bench, "a1"), line(&bench, "a3"));
    let _elsewhere = line(&bench, "b1");
    let wanted = TestSingleSignOnRequest {
        sign_in: true,
        ..request("basic")
    };
    let (tested, first, third) =
        tokio::join!(test(&bench, wanted), answer(&mut a1), answer(&mut a3));
    assert_eq!((first.sign_in, third.sign_in), (true, false));
    let told: Vec<_> = tested
        .unwrap()
        .reports
        .iter()
        .map(|report| (report.agent.clone(), report.findings[0].verdict()))
        .collect();
    let want = [
        ("agents/a1", SignOnVerdict::Ok),
        ("agents/a3", SignOnVerdict::Ok),
        ("agents/a2", SignOnVerdict::Skipped),
    ];
    assert_eq!(
        told,
        want.map(|(agent, verdict)| (agent.to_owned(), verdict))
    );
}

#[tokio::test]
async fn a_credential_is_sent_by_nobody_while_an_agent_may_be_sending_it() {
    let bench = office().await;
    let (_a1, mut a2) = (line(&bench, "a1"), line(&bench, "a2"));
    let questions = &bench.context.questions;
    let busy = questions.claim(&"a1".parse().unwrap()).unwrap();
    let wanted = |sign_in| TestSingleSignOnRequest {
        sign_in,
        ..request("basic")
    };
    let before = bench.audit().await.len();
    let refused = test(&bench, wanted(true)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("agents/a1 is busy"), "{refused}");
    // Nothing was done that the audit log would have to know.
    assert_eq!(bench.audit().await.len(), before);
    // The operator may know better, and others may look.
    let named = TestSingleSignOnRequest {
        agent: "agents/a2".to_owned(),
        ..wanted(true)
    };
    let (tested, question) = tokio::join!(test(&bench, named), answer(&mut a2));
    assert!(question.sign_in);
    tested.unwrap();
    let (tested, question) = tokio::join!(test(&bench, wanted(false)), answer(&mut a2));
    assert!(!question.sign_in);
    let reports = tested.unwrap().reports;
    let told = reports
        .iter()
        .map(|it| (&*it.agent, it.findings[0].verdict()));
    let told: Vec<_> = told.collect();
    assert_eq!(
        told,
        [
            ("agents/a2", SignOnVerdict::Ok),
            ("agents/a1", SignOnVerdict::Skipped),
            ("agents/a3", SignOnVerdict::Skipped),
        ]
    );
    assert!(reports[1].findings[0].found.contains("busy"));
    drop(busy);
}

#[test]
fn agents_are_told_by_which_hosts_users_come() {
    let segment = |id: &str, hosts: &[&str]| Segment {
        id: id.to_owned(),
        hosts: hosts.iter().map(ToString::to_string).collect(),
        ..Segment::default()
    };
    let mut app = App {
        hosts: vec!["*.wiki.test".to_owned(), "wiki.test".to_owned()],
        segments: vec![
            segment("api", &["*.api.test"]),
            segment("old", &["old.test"]),
        ],
        ..App::default()
    };
    let want = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(part, host)| ((*part).to_owned(), (*host).to_owned()))
            .collect()
    };
    let known = [("", "wiki.test"), ("old", "old.test")];
    assert_eq!(hosts(&app), want(&known));
    app.tile = Some(Tile {
        host: "a.wiki.test".to_owned(),
        ..Tile::default()
    });
    let known = [("", "a.wiki.test"), ("old", "old.test")];
    assert_eq!(hosts(&app), want(&known));
}

#[tokio::test]
async fn what_cannot_be_tested_is_refused_before_anybody_is_asked() {
    let bench = office().await;
    let before = bench.audit().await.len();
    let refused = test(&bench, request("user")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("groups/office"), "{refused}");
    let _line = line(&bench, "a1");
    let of = |change: fn(&mut TestSingleSignOnRequest), app| {
        let mut wanted = request(app);
        change(&mut wanted);
        wanted
    };
    for (wanted, field) in [
        (of(|_| {}, "claim"), "identity_value"),
        (of(|_| {}, "many"), "identity_provider"),
        (
            of(|it| it.identity_value = "x".repeat(257), "user"),
            "identity_value",
        ),
        (
            of(|it| it.identity_value = "a\nb".to_owned(), "user"),
            "identity_value",
        ),
        (
            of(|it| it.identity_value = "x".to_owned(), "basic"),
            "identity_value",
        ),
        (of(|it| it.sign_in = true, "user"), "sign_in"),
        (of(|it| it.path = "x".to_owned(), "user"), "path"),
        (of(|it| it.path = "/a b".to_owned(), "user"), "path"),
        // Nothing is asked for there.
        (of(|it| it.path = "/a".to_owned(), "basic"), "path"),
        (of(|it| it.path = "/a".to_owned(), "form"), "path"),
        (of(|it| it.agent = "agents/b1".to_owned(), "user"), "agent"),
        (of(|it| it.user = "alice".to_owned(), "user"), "user"),
        (
            of(
                |it| it.identity_provider = "identityProviders/entra".to_owned(),
                "user",
            ),
            "identity_provider",
        ),
    ] {
        let told = format!("{wanted:?}");
        let refused = test(&bench, wanted).await.unwrap_err();
        assert_eq!(fields(&refused), [field], "{told}");
    }
    for (wanted, code) in [
        (request("gone"), Code::NotFound),
        (
            of(|it| it.user = "users/bob".to_owned(), "user"),
            Code::NotFound,
        ),
        (
            of(|it| it.agent = "agents/a9".to_owned(), "user"),
            Code::NotFound,
        ),
        (
            of(|it| it.agent = "agents/a2".to_owned(), "user"),
            Code::FailedPrecondition,
        ),
        (request("open"), Code::FailedPrecondition),
    ] {
        let told = format!("{wanted:?}");
        assert_eq!(
            test(&bench, wanted).await.unwrap_err().code(),
            code,
            "{told}"
        );
    }
    assert_eq!(bench.audit().await.len(), before);
}
