//! Terms of use are shown on the way to an app, accepted by a form, and looked up once in a session.

use edge::TermsQuestion;
use proto::{
    access::{Grant, GrantKind, Policy, Requirement},
    fabric::{AcceptTermsResponse, ShowTermsResponse, Terms, TermsUser},
};

use super::*;

/// After which control has another text.
const CHANGE_AFTER: Duration = Duration::from_secs(3_600);
/// How long it counts that [`OFTEN`] were accepted.
const AGAIN_AFTER: Duration = Duration::from_secs(600);
/// Terms that are the same for ever.
const AUP: &str = "aup";
/// Terms that count for ten minutes.
const OFTEN: &str = "often";
/// Terms of which control cannot be asked.
const AWAY: &str = "away";
/// Terms that control does not have.
const GONE: &str = "gone";
/// Terms that can be read, and of which it cannot be written that they are accepted.
const READ_ONLY: &str = "read-only";

/// Who has accepted what, as control has it.
#[derive(Debug, Default)]
pub(super) struct Control {
    began_ms: i64,
    accepted: HashMap<(TermsUser, String, Bytes), i64>,
}

impl Control {
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            began_ms: milliseconds(clock),
            ..Self::default()
        }
    }

    fn version(&self, clock: &Clock) -> Bytes {
        let age = milliseconds(clock) - self.began_ms;
        let change_ms = i64::try_from(CHANGE_AFTER.as_millis()).unwrap();
        vec![1 + u8::from(age >= change_ms); 32].into()
    }

    pub(super) fn answer(&mut self, question: TermsQuestion, clock: &Clock) {
        let version = self.version(clock);
        match question {
            TermsQuestion::Show(request, answer) => {
                let key = (
                    request.user.unwrap(),
                    request.terms.clone(),
                    version.clone(),
                );
                let span_ms = i64::try_from(AGAIN_AFTER.as_millis()).unwrap();
                let known = self.accepted.get(&key).copied().unwrap_or_default();
                let is_old = request.terms == OFTEN && milliseconds(clock) - known > span_ms;
                let said = match &*request.terms {
                    AWAY => Err(AccountsError::Away),
                    GONE => Ok(ShowTermsResponse::default()),
                    terms => Ok(ShowTermsResponse {
                        title: format!("Terms <{terms}>"),
                        text: "# Rules\n\n- Be <i>kind</i>.".to_owned(),
                        version,
                        accepted_ms: if is_old { 0 } else { known },
                    }),
                };
                let _ = answer.send(said);
            }
            TermsQuestion::Accept(request, answer) => {
                assert_eq!(request.client, "127.0.0.1");
                if request.terms == READ_ONLY {
                    let _ = answer.send(Err(AccountsError::Busy));
                    return;
                }
                let accepted_ms = if request.version == version {
                    milliseconds(clock)
                } else {
                    0
                };
                if accepted_ms > 0 {
                    let key = (request.user.unwrap(), request.terms, version);
                    self.accepted.insert(key, accepted_ms);
                }
                let _ = answer.send(Ok(AcceptTermsResponse { accepted_ms }));
            }
        }
    }
}

/// The edge knows these terms, of this version.
fn know(fabric: &mut Fabric, id: &str, version: u8) {
    let again_after = (id == OFTEN).then_some(prost_types::Duration {
        seconds: 600,
        nanos: 0,
    });
    let terms = Terms {
        id: id.to_owned(),
        version: vec![version; 32].into(),
        again_after,
    };
    fabric.set(&format!("terms/{id}"), Kind::Terms(terms));
}

/// A rule asks everybody to accept them.
fn ask(fabric: &mut Fabric, ids: &[&str], revision: u64) {
    let asked = Policy {
        grant: Some(Grant {
            kind: GrantKind::Require.into(),
            requirements: vec![Requirement::Terms.into()],
            terms: ids.iter().map(|id| format!("terms/{id}")).collect(),
            ..Grant::default()
        }),
        ..rules::policy(GrantKind::Require)
    };
    for id in ids {
        know(fabric, id, 1);
    }
    rules::rule(fabric, asked, revision);
}

/// What is answered to the page's form.
async fn say(browser: &mut Browser, fabric: &Fabric, page: &Reply, answer: &str) -> Reply {
    let [terms, version] = ["terms", "version"].map(|name| page.hidden(name));
    let typed = [
        ("terms", &*terms),
        ("version", &version),
        ("answer", answer),
    ];
    browser.submit(fabric, "/terms", page, &typed).await
}

async fn follow(browser: &mut Browser, fabric: &Fabric, reply: &Reply) -> (String, Reply) {
    assert_eq!(reply.status, 303, "{reply:?}");
    browser.open(fabric, reply.location()).await
}

#[tokio::test]
async fn terms_are_shown_once_and_whoever_accepts_them_comes_to_the_exact_address() {
    let (mut fabric, _agent, mut browser) = rules::alice().await;
    ask(&mut fabric, &[AUP], 3);
    let url = format!("https://{HOST}/x?y=1");
    let (at, page) = browser.open(&fabric, &url).await;
    assert!(
        at.starts_with(&format!("https://{AUTH}/sign-in?to=")),
        "{at}"
    );
    for part in [
        "<h1>Terms &lt;aup&gt;</h1>",
        "<h2>Rules</h2>",
        "<li>Be &lt;i&gt;kind&lt;/i&gt;.</li>",
        "<button name=\"answer\" value=\"accept\">",
    ] {
        assert!(page.body.contains(part), "{part} is missing in {page:?}");
    }
    assert_eq!(page.field("x-frame-options"), Some("DENY"));
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    // Who declines is where they were.
    let declined = say(&mut browser, &fabric, &page, "decline").await;
    assert_eq!(declined.status, 200);
    assert!(
        declined.body.contains("<h1>Not accepted</h1>"),
        "{declined:?}"
    );
    let (_, page) = browser.open(&fabric, &url).await;
    let accepted = say(&mut browser, &fabric, &page, "accept").await;
    let (at, reply) = follow(&mut browser, &fabric, &accepted).await;
    assert_eq!((at, reply.status), (url.clone(), 200));
    // Another sign-in is told by control, and shows no page.
    let mut other = Browser::default();
    let (at, reply) = other.sign_in(&fabric, &url, "alice").await;
    assert_eq!((at, reply.status), (url.clone(), 200), "{reply:?}");
    // Nobody else has accepted them.
    let mut other = Browser::default();
    let (_, page) = other.sign_in(&fabric, &url, "carol").await;
    assert!(page.body.contains("<h1>Terms &lt;aup&gt;</h1>"), "{page:?}");
}

#[tokio::test]
async fn programs_are_told_plainly_and_get_nothing() {
    let (mut fabric, _agent, mut browser) = rules::alice().await;
    ask(&mut fabric, &[AUP], 3);
    let told = browser.ask(&fabric, HOST, "GET /data", "").await;
    assert_eq!(told.status, 403, "{told:?}");
    for part in ["terms_required", "accept its terms of use there"] {
        assert!(told.body.contains(part), "{part} is missing in {told:?}");
    }
    let want = [["alice", "terms_required", "", "r1"].map(str::to_owned)];
    assert_eq!(told_denials(&fabric), want);
}

fn told_denials(fabric: &Fabric) -> Vec<[String; 4]> {
    told(fabric, SignInKind::AppDenied)
}

#[tokio::test]
async fn a_form_of_another_site_or_browser_accepts_nothing() {
    let (mut fabric, _agent, mut browser) = rules::alice().await;
    ask(&mut fabric, &[AUP], 3);
    let url = format!("https://{HOST}/");
    let (_, page) = browser.open(&fabric, &url).await;
    let mut stranger = Browser::default();
    let (_, theirs) = stranger.open(&fabric, &url).await;
    let forged = [
        ("terms", AUP),
        ("version", &page.hidden("version")),
        ("answer", "accept"),
    ];
    let reply = browser.submit(&fabric, "/terms", &theirs, &forged).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    // Nor does nobody.
    let reply = stranger.submit(&fabric, "/terms", &theirs, &forged).await;
    assert_eq!(reply.status, 303);
    assert!(reply.location().starts_with("/sign-in?to="), "{reply:?}");
    for odd in [
        [("terms", "A/B"), ("version", "00"), ("answer", "accept")],
        [("terms", AUP), ("version", ""), ("answer", "accept")],
    ] {
        let reply = browser.submit(&fabric, "/terms", &page, &odd).await;
        assert_eq!(reply.status, 400, "{reply:?}");
    }
    let (_, page) = browser.open(&fabric, &url).await;
    assert!(page.body.contains("value=\"accept\""), "{page:?}");
}

#[tokio::test]
async fn another_text_is_asked_for_again_and_one_that_was_read_before_is_not_taken() {
    let (mut fabric, _agent, mut browser) = rules::alice().await;
    ask(&mut fabric, &[AUP], 3);
    let url = format!("https://{HOST}/");
    let (_, old) = browser.open(&fabric, &url).await;
    // Control has another, of which the edge does not know yet: nobody goes round in circles.
    fabric.clock.move_wall(CHANGE_AFTER);
    let changed = say(&mut browser, &fabric, &old, "accept").await;
    assert!(changed.body.contains("changed meanwhile"), "{changed:?}");
    let early = say(&mut browser, &fabric, &changed, "accept").await;
    assert_eq!(early.status, 503, "{early:?}");
    assert!(early.body.contains("being changed"), "{early:?}");
    know(&mut fabric, AUP, 2);
    fabric.publish(4);
    // It was written all the same.
    let (at, reply) = browser.open(&fabric, &url).await;
    assert_eq!((at, reply.status), (url, 200), "{reply:?}");
}

#[tokio::test]
async fn several_terms_are_asked_for_one_after_the_other_and_some_again_after_a_while() {
    let (mut fabric, _agent, mut browser) = rules::alice().await;
    ask(&mut fabric, &[AUP, OFTEN], 3);
    let url = format!("https://{HOST}/");
    let (_, page) = browser.open(&fabric, &url).await;
    assert_eq!(page.hidden("terms"), AUP);
    let reply = say(&mut browser, &fabric, &page, "accept").await;
    let (_, page) = follow(&mut browser, &fabric, &reply).await;
    assert_eq!(page.hidden("terms"), OFTEN);
    let reply = say(&mut browser, &fabric, &page, "accept").await;
    let (at, reply) = follow(&mut browser, &fabric, &reply).await;
    assert_eq!((&*at, reply.status), (&*url, 200));
    fabric.clock.move_wall(AGAIN_AFTER + Duration::from_secs(1));
    let (_, page) = browser.open(&fabric, &url).await;
    assert_eq!(page.hidden("terms"), OFTEN, "the other ones count for ever");
}

#[tokio::test]
async fn without_control_nobody_new_gets_in_and_who_has_accepted_stays() {
    let (mut fabric, _agent, mut browser) = rules::alice().await;
    let url = format!("https://{HOST}/");
    for (id, words, revision) in [
        (AWAY, "cannot be looked up or written down", 3),
        (GONE, "are not there", 4),
    ] {
        ask(&mut fabric, &[id], revision);
        let (_, page) = browser.open(&fabric, &url).await;
        assert_eq!(page.status, 503, "{page:?}");
        assert!(page.body.contains(words), "{page:?}");
    }
    ask(&mut fabric, &[READ_ONLY], 5);
    let (_, page) = browser.open(&fabric, &url).await;
    let reply = say(&mut browser, &fabric, &page, "accept").await;
    assert_eq!(reply.status, 503, "{reply:?}");
    let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    assert_eq!(reply.status, 302, "{reply:?}");
    // A rule about terms of which the edge has heard nothing is met by nobody.
    ask(&mut fabric, &[AUP], 6);
    let (_, page) = browser.open(&fabric, &url).await;
    let reply = say(&mut browser, &fabric, &page, "accept").await;
    let (_, reply) = follow(&mut browser, &fabric, &reply).await;
    assert_eq!(reply.status, 200);
    fabric.resources.remove("terms/aup");
    fabric.publish(7);
    let told = browser.ask(&fabric, HOST, "GET /", "").await;
    assert_eq!(told.status, 403, "{told:?}");
}
