//! Agents come and go; users do not notice.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use kit::{
    fabric::Fabric,
    origin::Origin,
    process::{Process, eventually},
};
use loadtest::{Crew, Tally, Target, run};
use runtime::{Clock, Scope};

/// Requests per second of these tests.
const RATE: NonZeroU32 = NonZeroU32::new(200).expect("200 is not 0");

/// Its connections; answers that take 300 ms need 60 of them.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(100).expect("100 is not 0");

/// Load on a path of the fabric; the future holds no borrow, so that processes can be killed meanwhile.
fn load(
    fabric: &Fabric,
    host: &str,
    path: &str,
    duration: Duration,
) -> impl Future<Output = Tally> + use<> {
    let ca = std::fs::read(fabric.site().folder().join("control/ca.pem")).expect("the CA is there");
    let url = format!("https://{host}{path}").parse().expect("a URL");
    let target = Target::new(url, fabric.site().https(), &ca).expect("a target");
    let load = run::gets(&target, RATE, CONNECTIONS, duration);
    async move {
        let (clock, scope) = (Clock::system(), Scope::root());
        let crew = Crew::assemble(&target, &load, 1, &clock, &scope).await;
        let tally = crew.expect("connections").put(duration).await;
        tally.expect("the generator works")
    }
}

async fn second_agent(fabric: &Fabric, name: &str) -> Process {
    let mut agent = fabric.site().start_agent(name);
    agent.ready().await;
    agent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_under_load_costs_no_get() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let _second = second_agent(&fabric, "a2").await;
    let load = load(&fabric, &host, "/", Duration::from_secs(8));
    let (report, ()) = tokio::join!(load, async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        fabric.agent.kill();
    });
    assert_eq!(report.failed(), 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_drains_costs_nothing() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let _second = second_agent(&fabric, "a2").await;
    let load = load(&fabric, &host, "/sleep/300", Duration::from_secs(6));
    let (report, status) = tokio::join!(load, async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        fabric.agent.terminate();
        fabric.agent.ended().await
    });
    assert_eq!(report.failed(), 0, "{report}");
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_drains_finishes_what_it_has() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let slow: Vec<_> = (0..50)
        .map(|_| {
            let (user, host) = (fabric.user().clone(), host.clone());
            tokio::task::JoinSet::from_iter([async move {
                user.get(&host, "/sleep/2000").await.status.as_u16()
            }])
        })
        .collect();
    eventually("all of them are at the origin", async || {
        origin.requests() >= 50
    })
    .await;
    fabric.edge.terminate();
    for one in slow {
        assert_eq!(one.join_all().await, [200]);
    }
    assert!(fabric.edge.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_agents_share_the_load() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let second = second_agent(&fabric, "a2").await;
    let report = load(&fabric, &host, "/sleep/20", Duration::from_secs(5)).await;
    assert_eq!(report.failed(), 0, "{report}");
    let share = |metrics: String| -> f64 {
        let served = metrics
            .lines()
            .filter(|line| line.starts_with("agent_requests_total") && !line.starts_with('#'));
        served
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    let (first, second) = (
        share(fabric.agent.admin("/metrics").await),
        share(second.admin("/metrics").await),
    );
    let part = first / (first + second);
    assert!(
        first + second >= 1000.0 && (0.25..0.75).contains(&part),
        "{first} and {second}"
    );
}
