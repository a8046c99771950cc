//! `adit demo`: a whole fabric and a sample app in one process, on loopback, with nothing to configure.
//!
//! It is set up as an operator would do it: control makes the fabric, edge and agent join with tokens, the app is published
//! through the admin API. Everything lies in a temporary folder that goes with the process.

mod sample;

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    pin::pin,
    time::Duration,
};

use proto::admin::{
    Access, App, Assignment, CreateAppRequest, CreateJoinTokenRequest, CreateUserRequest,
    GetStatusRequest, IdentityField, IdentityValue, NodeRole, Origin, Tile, TileListing, User,
};
use runtime::{
    Clock, Scope, Secret,
    config::Problems,
    shutdown::Signals,
    telemetry::{self, LogFormat},
};
use tempfile::TempDir;

use crate::cli::{Control, Failure, Operator, Screen};

/// Name of this process in errors.
const PROCESS: &str = "demo";
/// A domain that is this machine everywhere (RFC 6761, section 6.3).
const DOMAIN: &str = "localhost";
/// Where the sample app is published.
const HOST: &str = "hello.localhost";
/// Where it is published once more, for users who sign in.
const TEAM_HOST: &str = "team.localhost";
/// Where users find their apps.
const PORTAL_HOST: &str = "apps.localhost";
/// What is logged unless something else is asked for: the demo's own words come first.
const LOG_FILTER: &str = "warn";
/// How long the fabric may take to be of one piece.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two looks at its state.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long requests may go on when the demo is asked to end.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

pub(crate) const EXAMPLES: &str = "Examples:
  adit demo
  adit demo --port 9443 --log info";

/// What the demo takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Port of loopback where users find the edge; 0 for any free one.
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// What is logged, such as info or info,edge=debug.
    #[arg(long, default_value = LOG_FILTER, value_name = "FILTER")]
    log: String,
}

/// Runs the demo until it is asked to end.
impl Args {
    pub(crate) async fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        run(&self, screen).await
    }
}

async fn run(args: &Args, screen: &mut Screen) -> Result<(), Failure> {
    telemetry::install_logs_as(Some(&args.log), LogFormat::of_standard_error()).map_err(failed)?;
    let signals = Signals::listen().map_err(failed)?;
    let folder = TempDir::with_prefix("adit-demo-").map_err(failed)?;
    let scope = Scope::root();
    let asked = signals.first(&scope);
    let lived = live(args, folder.path(), &scope, asked, screen).await;
    // Whoever still writes must end first, or keys would stay behind in a folder that cannot be removed.
    scope.close(DRAIN_DEADLINE).await;
    let removed = folder.close().map_err(failed);
    lived.and(removed)
}

/// From the start to the end of the drain. A signal during the start ends it at once.
async fn live(
    args: &Args,
    folder: &Path,
    scope: &Scope,
    asked: impl Future<Output = &'static str>,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let mut asked = pin!(asked);
    let fabric = tokio::select! {
        biased;
        _ = &mut asked => return Ok(()),
        started = start(args, folder, scope, screen) => started?,
    };
    greet(&fabric, folder, screen)?;
    asked.await;
    fabric.agent.drain(DRAIN_DEADLINE).await;
    fabric.edge.drain(DRAIN_DEADLINE).await;
    fabric.control.drain(DRAIN_DEADLINE).await;
    Ok(())
}

/// The three processes, as tasks of this one.
struct Fabric {
    control: control::Handle,
    edge: edge::Handle,
    agent: agent::Handle,
    /// Of its users.
    passwords: [(&'static str, Secret<String>); 2],
}

async fn start(
    args: &Args,
    folder: &Path,
    scope: &Scope,
    screen: &mut Screen,
) -> Result<Fabric, Failure> {
    let origin = sample::start(scope, Clock::system())
        .await
        .map_err(failed)?;
    let control = control::start(control_config(folder)?, scope)
        .await
        .map_err(failed)?;
    let operator = Operator::with_profile(control.profile_path.clone());
    let admin = Control::reach(&operator, screen).await?;
    let edge_token = join_token(&admin, NodeRole::Edge).await?;
    let edge = edge::start(edge_config(folder, args.port, edge_token)?, scope)
        .await
        .map_err(failed)?;
    let agent_token = join_token(&admin, NodeRole::Agent).await?;
    let agent = agent::start(agent_config(folder, agent_token)?, scope)
        .await
        .map_err(failed)?;
    // Edges hear nothing of users, and of revisions that tell them nothing only now and then: so what they are told comes last.
    let (alice, bob) = tokio::try_join!(
        user(&admin, "alice", "Alice Adams", &["staff"]),
        user(&admin, "bob", "Bob Brown", &[]),
    )?;
    publish(&admin, "hello", hello(origin)).await?;
    publish(&admin, "team", team(origin)).await?;
    ready(&admin, &edge).await?;
    Ok(Fabric {
        control,
        edge,
        agent,
        passwords: [("alice", alice), ("bob", bob)],
    })
}

fn control_config(folder: &Path) -> Result<control::Config, Failure> {
    let raw = control::RawConfig {
        data_dir: Some(folder.join("control")),
        domain: Some(DOMAIN.to_owned()),
        listen: Some(any_port()),
        admin: Some(any_port()),
        ..Default::default()
    };
    raw.into_config(None).map_err(failed)
}

fn edge_config(folder: &Path, port: u16, token: Secret<String>) -> Result<edge::Config, Failure> {
    let raw = edge::RawConfig {
        data_dir: Some(folder.join("edge")),
        join_token: Some(token),
        https: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()),
        http: Some("off".to_owned()),
        admin: Some(any_port()),
        ..Default::default()
    };
    edge::Config::new(raw, Problems::new()).map_err(failed)
}

fn agent_config(folder: &Path, token: Secret<String>) -> Result<agent::Config, Failure> {
    let raw = agent::RawConfig {
        data_dir: Some(folder.join("agent")),
        join_token: Some(token),
        admin: Some(any_port()),
        ..Default::default()
    };
    agent::Config::new(raw, Problems::new()).map_err(failed)
}

fn any_port() -> String {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).to_string()
}

async fn join_token(admin: &Control, role: NodeRole) -> Result<Secret<String>, Failure> {
    let group = match role {
        NodeRole::Agent => "groups/default".to_owned(),
        NodeRole::Edge | NodeRole::Unspecified => String::new(),
    };
    let request = CreateJoinTokenRequest {
        role: role.into(),
        group,
        ..Default::default()
    };
    let made = admin
        .call(
            "make a join token",
            admin.join_tokens().create_join_token(request),
        )
        .await?;
    Ok(Secret::new(made.token))
}

/// The sample app for everybody.
fn hello(origin: SocketAddr) -> App {
    App {
        display_name: "Hello".to_owned(),
        hosts: vec![HOST.to_owned()],
        origins: vec![Origin {
            url: format!("http://{origin}"),
            tls: None,
            ..Default::default()
        }],
        group: "groups/default".to_owned(),
        access: Access::Passthrough.into(),
        tile: Some(Tile {
            listing: TileListing::Shown.into(),
            description: "The sample app, for everybody".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The same for the staff, who sign in, and told who they are.
fn team(origin: SocketAddr) -> App {
    let field = |name: &str, value: IdentityValue| IdentityField {
        name: name.to_owned(),
        value: value.into(),
        ..Default::default()
    };
    App {
        display_name: "Team".to_owned(),
        hosts: vec![TEAM_HOST.to_owned()],
        access: Access::SignIn.into(),
        assignment: Some(Assignment {
            user_groups: vec!["staff".to_owned()],
            ..Default::default()
        }),
        identity_fields: vec![
            field("x-remote-user", IdentityValue::User),
            field("x-remote-name", IdentityValue::DisplayName),
            field("x-remote-groups", IdentityValue::UserGroups),
        ],
        tile: Some(Tile {
            description: "The same, for the staff".to_owned(),
            ..Default::default()
        }),
        ..hello(origin)
    }
}

/// Makes a user; gives the password.
async fn user(
    admin: &Control,
    id: &str,
    display_name: &str,
    groups: &[&str],
) -> Result<Secret<String>, Failure> {
    let user = User {
        display_name: display_name.to_owned(),
        user_groups: groups.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let request = CreateUserRequest {
        user_id: id.to_owned(),
        user: Some(user),
        ..Default::default()
    };
    let made = admin
        .call("make a user", Box::pin(admin.users().create_user(request)))
        .await?;
    Ok(Secret::new(made.password))
}

async fn publish(admin: &Control, id: &str, app: App) -> Result<(), Failure> {
    let request = CreateAppRequest {
        app_id: id.to_owned(),
        app: Some(app),
        validate_only: false,
    };
    admin
        .call(
            "publish a sample app",
            Box::pin(admin.apps().create_app(request)),
        )
        .await
        .map(drop)
}

/// Waits until the edge has the app and a link to an agent, so that the first request works.
async fn ready(admin: &Control, edge: &edge::Handle) -> Result<(), Failure> {
    let status = admin
        .call(
            "read the status",
            admin.status().get_status(GetStatusRequest {}),
        )
        .await?;
    let mut applied = edge.sync.applied_revision.clone();
    let whole = async {
        // A closed channel means that the edge ended, which the time-out then tells.
        let _ = applied
            .wait_for(|revision| *revision >= status.revision)
            .await;
        while edge.link_count() == 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let timed_out = tokio::time::timeout(START_TIMEOUT, whole).await;
    timed_out.map_err(|_| {
        failed(format!(
            "the fabric was not of one piece after {} s",
            START_TIMEOUT.as_secs()
        ))
    })
}

fn greet(fabric: &Fabric, folder: &Path, screen: &mut Screen) -> Result<(), Failure> {
    let port = fabric.edge.https_addr.port();
    let ca = folder.join("control").join("ca.pem");
    let profile = fabric.control.profile_path.display();
    let [(alice, hers), (bob, his)] = &fabric.passwords;
    let (hers, his) = (hers.expose(), his.expose());
    screen.line(format_args!(
        "\
A fabric of control, edge and agent runs in this process, with a sample app behind it.

  https://{HOST}:{port}

  curl --cacert {ca} https://{HOST}:{port}/

The same app for the staff, who sign in first:

  https://{TEAM_HOST}:{port}

  {alice}  {hers}  is one of them
  {bob}    {his}  is not

What each of them may open:

  https://{PORTAL_HOST}:{port}

The browser will warn of a certificate that it does not know: the demo's own CA made it.
To operate the fabric, in another terminal:

  ADIT_PROFILE={profile} adit status

Ctrl-C ends the demo and removes all of it.",
        ca = ca.display(),
    ))
}

fn failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
    Failure::Process {
        process: PROCESS,
        source: source.into(),
    }
}
