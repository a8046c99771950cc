//! Domain controllers that are away, or silent.

use super::*;

/// What a user waits for at most while no domain controller answers.
const REFUSED_WITHIN: Duration = Duration::from_secs(6);
/// How long after a controller is back somebody may still be refused: it is asked again every ten seconds.
const RECOVERED_WITHIN: Duration = Duration::from_secs(20);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_no_domain_controller_answers_only_those_wait_who_need_one() {
    let Some(lab) = Lab::start_with(&[("LAB_CROWD", "4")]) else {
        return;
    };
    doctor::names_what_is_wrong_with_the_account(&lab).await;
    let domain = Domain::start(lab, &[]).await;
    let app = domain.publish_of("app", App::App, &[]);
    domain.fabric.served(&app).await;
    let mut alice = domain.user("alice@lab.test", &app).await;
    assert_eq!(alice.get(&app, "/whoami").await.status, 200);
    let mut others = a_controller_that_is_stopped_is_told_at_once_and_users_with_tickets_go_on(
        &domain, &mut alice, &app,
    )
    .await;
    domain.lab.start_kdc();
    let mut first = others.remove(0);
    is_signed_on_again_without_a_restart(&mut first, &app).await;
    a_silent_controller_costs_those_who_wait_for_it_and_nobody_else(
        &domain,
        &mut alice,
        &mut others,
        &app,
    )
    .await;
    domain.lab.start_kdc();
    for visitor in &mut others {
        is_signed_on_again_without_a_restart(visitor, &app).await;
    }
}

/// Stops the controller, and gives those who were refused meanwhile.
async fn a_controller_that_is_stopped_is_told_at_once_and_users_with_tickets_go_on(
    domain: &Domain,
    alice: &mut Visitor,
    app: &str,
) -> Vec<Visitor> {
    let clock = Clock::system();
    let mut others = Vec::new();
    for number in 0..4 {
        let id = format!("crowd{number:04}@lab.test");
        let password = domain.fabric.site().ok(&["user", "create", &id]);
        others.push((id, password));
    }
    domain.lab.stop_kdc();
    let mut visitors = Vec::new();
    for (id, password) in others {
        let mut visitor = Visitor::new(domain.fabric.user());
        let answer = visitor.sign_in(app, &id, password.trim()).await;
        refused(&answer, 504, "sso_unavailable");
        let began = clock.now();
        refused(&visitor.get(app, "/whoami").await, 504, "sso_unavailable");
        let took = clock.now() - began;
        assert!(took < REFUSED_WITHIN, "{took:?}");
        visitors.push(visitor);
    }
    assert_eq!(alice.get(app, "/whoami").await.status, 200);
    visitors
}

/// Another takes the place of the controller, accepts connections and says nothing.
async fn a_silent_controller_costs_those_who_wait_for_it_and_nobody_else(
    domain: &Domain,
    alice: &mut Visitor,
    visitors: &mut [Visitor],
    app: &str,
) {
    let (clock, origin) = (Clock::system(), Origin::start().await);
    let plain = domain.fabric.publish("plain", &origin.url()).await;
    domain.lab.stop_kdc();
    let _silent = domain.lab.silence_kdc();
    let slowest = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..200 {
            let began = clock.now();
            assert_eq!(domain.fabric.user().status(&plain, "/").await, 200);
            slowest = slowest.max(clock.now() - began);
        }
        slowest
    };
    let waited = async {
        for visitor in visitors {
            let began = clock.now();
            refused(&visitor.get(app, "/whoami").await, 504, "sso_unavailable");
            assert!(clock.now() - began < REFUSED_WITHIN);
        }
    };
    let (slowest, ()) = tokio::join!(slowest, waited);
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert_eq!(alice.get(app, "/whoami").await.status, 200);
}

/// Waits until the user is signed on again, without anybody's help.
async fn is_signed_on_again_without_a_restart(visitor: &mut Visitor, app: &str) {
    for _ in 0..RECOVERED_WITHIN.as_millis() / LOOK_EVERY.as_millis() {
        if visitor.get(app, "/whoami").await.status == 200 {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    panic!("nobody is signed on {RECOVERED_WITHIN:?} after the controller is back");
}
