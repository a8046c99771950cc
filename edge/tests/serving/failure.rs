//! What users are told when there is no answer, and when another agent is asked.

use std::time::Duration;

use proto::tunnel::End;
use tokio::time::timeout;
use tunnel::{codes::Code, frame::Frame};

use crate::{
    fabric::{Fabric, HOST, streamed, within},
    user::{RawUser, get, get_of},
};

#[tokio::test]
async fn unknown_host_is_told_that_there_is_no_app() {
    let fabric = Fabric::start().await;
    let mut user = RawUser::connect(&fabric).await;
    user.write(
        "GET / HTTP/1.1\r\nhost: crm.example.com\r\naccept: text/html\r\nconnection: close\r\n\r\n",
    )
    .await;
    let answer = user.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.contains("<code>no_app</code>"), "{answer}");
}

#[tokio::test]
async fn group_without_links_is_told_as_no_agent() {
    let fabric = Fabric::start().await;
    let _other = fabric.agent("a3").await;
    let answer = get(&fabric, "/").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\"reason\":\"no_agent\""), "{answer}");
    assert!(answer.contains("retry-after: 5"), "{answer}");
}

#[tokio::test]
async fn lost_agent_is_told_when_no_other_is_left() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let lose = async {
        let asked = agent.request().await;
        agent.connection.close(Code::Internal, "on purpose");
        drop(asked);
    };
    let (answer, ()) = tokio::join!(get(&fabric, "/"), lose);
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("\"reason\":\"agent_lost\""), "{answer}");
}

#[tokio::test]
async fn refused_request_is_asked_of_the_second_agent() {
    let fabric = Fabric::start().await;
    let (one, two) = (fabric.agent("a1").await, fabric.agent("a2").await);
    let serve = async {
        let (asked, other) = tokio::select! {
            asked = one.request() => (asked, &two),
            asked = two.request() => (asked, &one),
        };
        assert_eq!(asked.head.flags.unwrap().attempt, 0);
        let next = async {
            let mut again = other.request().await;
            assert_eq!(again.body().await, b"form");
            assert_eq!(again.head.flags.unwrap().attempt, 1);
            again.answer(200, "second").await;
        };
        // A refused POST is safe to repeat: nothing was processed.
        tokio::join!(asked.fail(Code::Refused, "agent_refused", true), next);
    };
    let ask = async {
        let mut user = RawUser::connect(&fabric).await;
        user.write(format!(
            "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 4\r\nconnection: close\r\n\r\nform"
        ))
        .await;
        user.read_to_end().await
    };
    let (answer, ()) = tokio::join!(ask, serve);
    assert!(answer.ends_with("second"), "{answer}");
}

#[tokio::test]
async fn get_of_a_lost_agent_is_asked_of_the_second() {
    let fabric = Fabric::start().await;
    let (one, two) = (fabric.agent("a1").await, fabric.agent("a2").await);
    let serve = async {
        let other = tokio::select! {
            _ = one.request() => { one.connection.close(Code::Internal, "on purpose"); &two }
            _ = two.request() => { two.connection.close(Code::Internal, "on purpose"); &one }
        };
        other.request().await.answer(200, "second").await;
    };
    let (answer, ()) = tokio::join!(get(&fabric, "/"), serve);
    assert!(answer.ends_with("second"), "{answer}");
}

#[tokio::test]
async fn post_that_may_have_been_processed_is_not_repeated() {
    let fabric = Fabric::start().await;
    let (one, two) = (fabric.agent("a1").await, fabric.agent("a2").await);
    let ask = async {
        let mut user = RawUser::connect(&fabric).await;
        user.write(format!(
            "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 4\r\nconnection: close\r\n\r\nform"
        ))
        .await;
        user.read_to_end().await
    };
    let serve = async {
        let (mut asked, lost, other) = tokio::select! {
            asked = one.request() => (asked, &one, &two),
            asked = two.request() => (asked, &two, &one),
        };
        assert_eq!(asked.body().await, b"form");
        lost.connection.close(Code::Internal, "on purpose");
        other
    };
    let (answer, other) = tokio::join!(ask, serve);
    assert!(answer.contains("\"reason\":\"agent_lost\""), "{answer}");
    // The other agent is well and was asked nothing: its first stream is this one.
    let (answer, ()) = tokio::join!(get(&fabric, "/well"), async {
        let asked = other.request().await;
        assert_eq!(asked.head.path_and_query, "/well");
        asked.answer(200, "well").await;
    });
    assert!(answer.ends_with("well"), "{answer}");
}

#[tokio::test]
async fn reason_of_the_agent_reaches_the_user() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    for (code, reason, status) in [
        (Code::OriginConnect, "origin_connect", "502"),
        (Code::Timeout, "origin_timeout", "504"),
        (Code::Internal, "a word of next year", "502"),
    ] {
        let (answer, ()) = tokio::join!(get(&fabric, "/"), async {
            agent.request().await.fail(code, reason, false).await;
        });
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn broken_off_answer_never_looks_complete() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    for length in [None, Some(8)] {
        let mut user = RawUser::connect(&fabric).await;
        user.get("/").await;
        let mut asked = agent.request().await;
        let mut head = streamed(200);
        head.body_length = length;
        head.body_streamed = length.is_none();
        asked.send.queue(head).unwrap();
        asked.send.data("half".into()).await.unwrap();
        user.read_until("half").await;
        asked.send.reset(Code::OriginReset);
        let rest = user.read_to_end().await;
        // The end of the chunk at the most, never the last chunk.
        assert!(rest.trim().is_empty(), "{rest}");
    }
}

#[tokio::test]
async fn origin_that_sends_less_than_it_promised_never_looks_complete() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let (answer, ()) = tokio::join!(get(&fabric, "/"), async {
        let mut asked = agent.request().await;
        let mut head = streamed(200);
        head.body_streamed = false;
        head.body_length = Some(10);
        asked.send.queue(head).unwrap();
        asked.send.queue(Frame::Data("short".into())).unwrap();
        asked.send.end(End::default()).await.unwrap();
        asked.send.stopped().await;
    });
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    assert!(answer.is_empty() || body.len() < 10, "{answer}");
}

#[tokio::test]
async fn oversized_head_is_refused_with_431() {
    let fabric = Fabric::start().await;
    for field in [
        format!("x: {}\r\n", "y".repeat(70_000)),
        "x: y\r\n".repeat(300),
        format!("x: {}\r\n", "y".repeat(62_000)),
    ] {
        let mut user = RawUser::connect(&fabric).await;
        user.write(format!(
            "GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n{field}\r\n"
        ))
        .await;
        let answer = user.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn long_target_is_refused_with_414() {
    let fabric = Fabric::start().await;
    let answer = get(&fabric, &format!("/{}", "a".repeat(17_000))).await;
    assert!(answer.starts_with("HTTP/1.1 414 "), "{answer}");
}

#[tokio::test]
async fn two_hosts_or_no_path_are_bad_requests() {
    let fabric = Fabric::start().await;
    for head in [
        format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nhost: {HOST}\r\n"),
        format!("GET https://crm.example.com/ HTTP/1.1\r\nhost: {HOST}\r\n"),
        format!("OPTIONS * HTTP/1.1\r\nhost: {HOST}\r\n"),
        format!("CONNECT {HOST}:443 HTTP/1.1\r\nhost: {HOST}:443\r\n"),
    ] {
        let mut user = RawUser::connect(&fabric).await;
        user.write(format!("{head}connection: close\r\n\r\n")).await;
        let answer = user.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head}{answer}");
    }
}

#[tokio::test]
async fn silent_agent_is_given_up_after_the_app_s_time() {
    let fabric = Fabric::with_timeouts(proto::fabric::Timeouts {
        connect_ms: 100,
        response_ms: 100,
        idle_ms: 1_000,
        ..Default::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    let (answer, _asked) = within(async { tokio::join!(get(&fabric, "/"), agent.request()) }).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
}

#[tokio::test]
async fn target_and_fields_that_together_exceed_a_head_are_refused_with_431() {
    let fabric = Fabric::start().await;
    let _agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    let (target, value) = ("a".repeat(15_900), "y".repeat(49_450));
    user.write(format!(
        "GET /{target} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\nx: {value}\r\n\r\n"
    ))
    .await;
    let answer = user.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn silent_agent_is_waited_for_when_the_only_other_one_has_refused() {
    let fabric = Fabric::start().await;
    let (one, two) = (fabric.agent("a1").await, fabric.agent("a2").await);
    let serve = async {
        let (asked, other) = tokio::select! {
            asked = one.request() => (asked, &two),
            asked = two.request() => (asked, &one),
        };
        asked.fail(Code::Refused, "agent_refused", true).await;
        other.fall_silent();
        let again = other.request().await;
        // Long enough to be suspected, not long enough to be given up.
        let left = timeout(Duration::from_secs(3), again.send.stopped());
        assert!(left.await.is_err(), "the edge waits for its last agent");
        again.answer(200, "late").await;
    };
    let (answer, ()) = tokio::join!(get(&fabric, "/"), serve);
    assert!(answer.ends_with("late"), "{answer}");
}

#[tokio::test]
async fn get_on_a_dead_link_is_asked_of_the_same_agent_once_it_was_started_again() {
    let fabric = Fabric::start().await;
    let dead = fabric.agent_started_as("a1", b"first").await;
    dead.fall_silent();
    let serve = async {
        let _lost = dead.request().await;
        let again = fabric.agent_started_as("a1", b"second").await;
        // Before the old link would be given up by itself.
        let asked = timeout(Duration::from_millis(3_500), again.request());
        asked.await.expect("in time").answer(200, "back").await;
    };
    let (answer, ()) = tokio::join!(get(&fabric, "/"), serve);
    assert!(answer.ends_with("back"), "{answer}");
}

#[tokio::test]
async fn two_processes_that_run_as_one_agent_both_keep_their_links() {
    let fabric = Fabric::start().await;
    let one = fabric.agent_started_as("a1", b"one").await;
    let _other = fabric.agent_started_as("a1", b"other").await;
    let closed = timeout(Duration::from_secs(4), one.connection.closed()).await;
    assert!(closed.is_err(), "{closed:?}");
    assert_eq!(fabric.edge.link_count(), 2);
}

#[tokio::test]
async fn of_two_processes_that_run_as_one_agent_either_may_leave() {
    for first_leaves in [true, false] {
        let fabric = Fabric::start().await;
        let one = fabric.agent_started_as("a1", b"one").await;
        let other = fabric.agent_started_as("a1", b"other").await;
        assert_eq!(fabric.edge.link_count(), 2);
        let leaves = if first_leaves { &one } else { &other };
        leaves.connection.close(Code::Draining, "leaving");
        within(async {
            while fabric.edge.link_count() != 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn broken_app_costs_its_agent_no_other_app() {
    let mut fabric = Fabric::start().await;
    fabric.add_app("crm", "crm.example.com");
    fabric.publish(2);
    let (sick, well) = (fabric.agent("a1").await, fabric.agent("a2").await);
    well.serve(&fabric.scope, |_| Ok("well"));
    // Behind a1 one of the two apps is broken.
    sick.serve(&fabric.scope, |head| match head.app.as_str() {
        "wiki" => Err("origin_connect"),
        _ => Ok("of a1"),
    });
    for _ in 0..60 {
        let answer = get(&fabric, "/").await;
        assert!(answer.ends_with("well"), "{answer}");
    }
    let mut shared = 0;
    for _ in 0..60 {
        let answer = get_of(&fabric, "crm.example.com", "/").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        shared += usize::from(answer.ends_with("of a1"));
    }
    assert!(
        shared > 10,
        "a1 serves its share of the other app: {shared}"
    );
}
