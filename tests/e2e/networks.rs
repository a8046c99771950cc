//! Networks as they are: slow, gone for a while, with another address all of a sudden. In network namespaces, which take root.

use std::{fs, path::Path, process::Command, time::Duration};

use http::Method;
use http_body_util::BodyExt as _;
use kit::{
    client::{User, body, request},
    fabric::{Fabric, Site},
    network::Network,
    origin::{Sum, pattern},
    process::{Process, eventually, free_address},
    told::figure,
};
use tokio::time::{Instant, sleep, timeout};

use crate::doctor::Said;

/// The bar: served again after so long.
const HEALED_WITHIN: Duration = Duration::from_secs(5);
/// How long a network is gone.
const GONE: Duration = Duration::from_secs(10);
/// How long an agent sleeps: longer than QUIC's own time-out.
const ASLEEP: Duration = Duration::from_secs(25);
/// A try of a user who asks until there is an answer.
const TRY: Duration = Duration::from_millis(500);
/// Room for the smallest packets of QUIC, of 1,200 bytes, with the headers of UDP and IPv4.
const NARROW_BYTES: u16 = 1_228;
/// By which agents know the edge in these tests.
const EDGE_NAME: &str = "edge.fabric.test";
/// What is downloaded: some six seconds at this rate.
const BYTES: usize = 6_000_000;
const BITS_PER_SECOND: u64 = 8_000_000;
/// Where the origin is, beside the agent.
const ORIGIN: &str = "http://127.0.0.1:9000";
/// Environment variable with how often each trouble is made.
const CYCLES_VARIABLE: &str = "ADIT_TEST_CYCLES";

/// A fabric whose only agent, and the origin, are in another network.
struct Away {
    fabric: Fabric,
    host: String,
    _origin: Process,
    network: Network,
}

impl Away {
    /// None where the test may not make a network.
    async fn start() -> Option<Self> {
        Self::start_over("auto").await
    }

    async fn start_over(transport: &str) -> Option<Self> {
        let network = Network::make()?;
        network.name_here(Some(EDGE_NAME));
        let site = Site::at(crate::adit(), network.here());
        let control = site.start_control().await;
        let mut edge = Self::start_edge(&site);
        edge.ready().await;
        let mut agent = site.start_agent_in(&network, "a1", &["--transport", transport]);
        agent.ready().await;
        let fabric = Fabric::of(control, edge, agent, site);
        let origin = start_origin(&network, fabric.site().folder());
        let host = fabric.publish("wiki", ORIGIN).await;
        let away = Self {
            fabric,
            host,
            _origin: origin,
            network,
        };
        eventually("the origin is there", async || away.is_served().await).await;
        Some(away)
    }

    fn start_edge(site: &Site) -> Process {
        let named = format!("{EDGE_NAME}:{}", site.https().port());
        site.start_edge_advertised(&named)
    }

    async fn is_served(&self) -> bool {
        let ask = request(Method::GET, &self.host, "/", body(""));
        let asked = async {
            // An edge that is away takes no connections.
            let socket = self.fabric.user().tls(&self.host, b"http/1.1").await.ok()?;
            self.fabric.user().open_on(socket, ask).await.ok()
        };
        let answer = timeout(TRY, asked).await;
        matches!(answer, Ok(Some(answer)) if answer.status() == 200)
    }

    /// How long it takes until users are served.
    async fn healed(&self, what: &str) -> Duration {
        let began = Instant::now();
        while !self.is_served().await {
            let log = self.fabric.agent.log();
            assert!(began.elapsed() < GONE * 3, "{what}: not healed; {log}");
            sleep(TRY / 10).await;
        }
        began.elapsed()
    }
}

/// A server of files at the far host, with one to download.
fn start_origin(network: &Network, folder: &Path) -> Process {
    let served = folder.join("served");
    fs::create_dir(&served).expect("the folder can be written");
    fs::write(served.join("bytes"), pattern(0, BYTES)).expect("the folder can be written");
    let served = served.to_str().expect("UTF-8");
    let args = [
        "-m",
        "http.server",
        "9000",
        "--bind",
        "127.0.0.1",
        "-d",
        served,
    ];
    let python = Path::new("python3");
    Process::start_by(
        &network.run_there(),
        python,
        folder,
        "origin",
        free_address(),
        &args,
    )
}

/// Downloads all of it; the time that it took.
async fn download(user: &User, host: &str) -> Duration {
    let began = Instant::now();
    let ask = request(Method::GET, host, "/bytes", body(""));
    let mut download = user.open(ask).await.expect("a head").into_body();
    let (mut received, mut sum) = (0, Sum::default());
    while let Some(frame) = download.frame().await {
        let data = frame.expect("whole").into_data().expect("data");
        received += data.len() as u64;
        sum.add(&data);
    }
    let bytes = BYTES as u64;
    let whole = Sum::of_pattern(bytes).hex();
    assert_eq!((received, sum.hex()), (bytes, whole));
    began.elapsed()
}

#[tokio::test]
async fn a_slow_path_carries_all_there_is_to_carry_and_short_requests_beside() {
    let Some(away) = Away::start().await else {
        return;
    };
    away.network.cap(BITS_PER_SECOND);
    let user = away.fabric.user();
    let downloading = download(user, &away.host);
    let asking = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let asked = Instant::now();
            assert_eq!(user.status(&away.host, "/").await, 200);
            slowest = slowest.max(asked.elapsed());
            sleep(TRY / 5).await;
        }
        slowest
    };
    let (took, slowest) = tokio::join!(downloading, asking);
    let least = Duration::from_secs(BYTES as u64 * 8 / BITS_PER_SECOND);
    figure(&format!(
        "{BYTES} bytes at {BITS_PER_SECOND} bit/s took {took:?}, the slowest request beside {slowest:?}"
    ));
    assert!(took < least * 2, "{took:?}, at best {least:?}");
    assert!(slowest < HEALED_WITHIN, "{slowest:?}");
}

#[tokio::test]
async fn a_download_goes_on_when_the_agent_gets_another_address() {
    let Some(away) = Away::start().await else {
        return;
    };
    away.network.cap(BITS_PER_SECOND);
    let moving = async {
        sleep(Duration::from_secs(2)).await;
        away.network.move_there();
    };
    let (took, ()) = tokio::join!(download(away.fabric.user(), &away.host), moving);
    figure(&format!(
        "{BYTES} bytes with a change of the address took {took:?}"
    ));
    assert!(away.is_served().await);
}

#[tokio::test]
async fn an_agent_over_tcp_comes_anew_when_it_gets_another_address() {
    let Some(away) = Away::start_over("tcp").await else {
        return;
    };
    away.network.move_there();
    let healed = away.healed("address change over tcp").await;
    figure(&format!(
        "served {healed:?} after a change of the address, over tcp"
    ));
    assert!(healed <= HEALED_WITHIN, "{}", away.fabric.agent.log());
}

async fn black_hole(away: &Away) {
    away.network.cut();
    sleep(GONE).await;
    away.network.mend();
}

async fn edge_restart(away: &mut Away) {
    away.fabric.edge.kill();
    away.fabric.edge = Away::start_edge(away.fabric.site());
    away.fabric.edge.ready().await;
}

/// The edge is gone meanwhile, or nobody would ask for its name.
async fn name_failure(away: &mut Away) {
    away.network.name_here(None);
    edge_restart(away).await;
    sleep(GONE).await;
    away.network.name_here(Some(EDGE_NAME));
}

async fn sleeping_agent(away: &Away) {
    away.fabric.agent.suspend();
    sleep(ASLEEP).await;
    away.fabric.agent.wake();
}

/// What happens to networks, and to machines in them.
#[derive(Clone, Copy)]
enum Trouble {
    BlackHole,
    AddressChange,
    EdgeRestart,
    NameFailure,
    Sleep,
}

impl Trouble {
    const ALL: [Self; 5] = [
        Self::BlackHole,
        Self::AddressChange,
        Self::EdgeRestart,
        Self::NameFailure,
        Self::Sleep,
    ];

    const fn what(self) -> &'static str {
        match self {
            Self::BlackHole => "black hole",
            Self::AddressChange => "address change",
            Self::EdgeRestart => "edge restart",
            Self::NameFailure => "name failure",
            Self::Sleep => "sleep",
        }
    }

    async fn make(self, away: &mut Away) {
        match self {
            Self::BlackHole => black_hole(away).await,
            Self::AddressChange => away.network.move_there(),
            Self::EdgeRestart => edge_restart(away).await,
            Self::NameFailure => name_failure(away).await,
            Self::Sleep => sleeping_agent(away).await,
        }
    }
}

/// Makes each trouble as often as `ADIT_TEST_CYCLES` says. A hundred are made in the simulated network, over QUIC.
#[expect(clippy::print_stderr, reason = "whoever measures shall see it")]
async fn heals_from_every_trouble(transport: &str) {
    let Some(mut away) = Away::start_over(transport).await else {
        return;
    };
    let cycles = std::env::var(CYCLES_VARIABLE).ok();
    let cycles = cycles.map_or(1, |count| count.parse().expect("a number"));
    let mut healed = Vec::new();
    for cycle in 0..cycles {
        for trouble in Trouble::ALL {
            trouble.make(&mut away).await;
            let took = away.healed(trouble.what()).await;
            figure(&format!(
                "cycle {cycle}, {}: served after {took:?}",
                trouble.what()
            ));
            if took > HEALED_WITHIN {
                eprintln!("{}", away.fabric.agent.log());
            }
            healed.push((took, trouble.what()));
        }
    }
    let in_time = healed.iter().filter(|(took, _)| *took <= HEALED_WITHIN);
    let (in_time, longest) = (in_time.count(), healed.iter().max());
    figure(&format!(
        "{in_time} of {} in time, the longest {longest:?}",
        healed.len()
    ));
    assert_eq!(in_time, healed.len(), "{longest:?}");
}

#[tokio::test]
async fn users_are_served_again_within_five_seconds_after_real_trouble() {
    heals_from_every_trouble("auto").await;
}

#[tokio::test]
async fn users_are_served_again_within_five_seconds_after_real_trouble_over_tcp() {
    heals_from_every_trouble("tcp").await;
}

#[tokio::test]
async fn an_edge_that_comes_back_is_found_though_nobody_answers_for_its_name() {
    let Some(mut away) = Away::start().await else {
        return;
    };
    away.network.name_here(None);
    edge_restart(&mut away).await;
    let healed = away.healed("the edge is where it was").await;
    figure(&format!(
        "served {healed:?} after the edge was back, without names"
    ));
    eventually("it is no accident", async || away.is_served().await).await;
    assert!(healed <= HEALED_WITHIN * 2, "{healed:?}");
}

/// What the doctor says of the agent, beside it.
fn examined(away: &Away) -> Said {
    let enter = away.network.run_there();
    let output = Command::new(&enter[0])
        .args(&enter[1..])
        .arg(crate::adit())
        .args(["doctor", "agent", "--json", "--data-dir", "a1"])
        .current_dir(away.fabric.site().folder())
        .output();
    Said::of(&output.expect("the doctor can be started"))
}

#[tokio::test]
async fn the_doctor_tells_of_a_path_that_carries_small_packets_only() {
    let Some(away) = Away::start().await else {
        return;
    };
    let said = examined(&away);
    assert!(said.with("packets").is_empty(), "{}", said.text);
    away.network.narrow(NARROW_BYTES);
    let said = examined(&away);
    let narrow = said.with("packets");
    assert_eq!(narrow.len(), 1, "{}", said.text);
    assert_eq!(narrow[0]["verdict"], "warning", "{}", said.text);
    let found = narrow[0]["found"].as_str().unwrap_or_default();
    assert!(found.contains("packets of 1200 bytes"), "{}", said.text);
    // Slower, but well.
    assert!(away.is_served().await, "{}", away.fabric.agent.log());
}
