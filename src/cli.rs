//! The command line: one file per noun, and `process` for what runs.

mod access;
mod access_rule;
mod age;
mod agent;
mod api_token;
mod app;
mod apply;
mod audit;
mod client;
mod client_ca;
mod completions;
mod credential;
mod doctor;
mod edge;
mod failure;
mod group;
mod identity_provider;
mod image;
mod location;
mod parse;
mod process;
mod profile;
mod screen;
mod service_token;
mod settings;
mod sign_in;
mod status;
mod table;
mod terms;
#[cfg(test)]
mod tests;
mod token;
mod user;
mod vault_key;

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};

#[cfg(unix)]
use crate::demo::{Args as DemoFlags, EXAMPLES as DEMO_EXAMPLES};
#[cfg(windows)]
use process::{ControlFlags as DemoFlags, DEMO_EXAMPLES};

use self::screen::Output;
pub(crate) use self::{client::Control, failure::Failure, screen::Screen};

/// Calls take milliseconds; a first connection over a bad line takes seconds.
#[cfg(unix)]
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The short help, by what one wants to do; clap itself knows no groups of commands.
const HELP: &str = "{about}

Usage: {usage}

Run:
  demo         Everything in one process, with a sample app
  control      Hold what is published and tell every node
  edge         Face users and pass their requests to agents
  agent        Serve private apps from inside their network

Publish:
  app          Publish, list, show, update, delete apps
  group        Sets of interchangeable agents
  user         Accounts with which people sign in
  identity-provider  Who else says who people are
  access-rule  What requests for apps with sign-in must meet
  location     Places that access rules name
  terms        Terms of use, and who has accepted them
  service-token Tokens with which programs use apps
  client-ca    CAs of the certificates that devices and programs show
  vault-key    Keys of groups, to which credentials of apps are sealed
  credential   What agents sign users in to apps with
  image        Logos, and icons of apps
  apply        Make the fabric match a file

Use:
  access       Sign in from a terminal, and use apps as yourself

Operate:
  status       The fabric at a glance
  doctor       What keeps an agent or an edge from its work
  agent, edge  List, show, revoke, delete nodes that joined
  token        Tokens with which agents and edges join
  api-token    Tokens for the admin API
  settings     What holds for the whole fabric
  audit        Who changed what
  signins      Who came, from where, to what
  completions  Completions for your shell

Options:
{options}

`adit COMMAND --help` has an example for every command.";

/// Secure access to web apps inside private networks, without opening anything inward.
#[derive(Debug, Parser)]
#[command(
    name = "adit",
    version,
    help_template = HELP,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 120
)]
pub(crate) struct Cli {
    #[command(flatten)]
    operator: Operator,
    #[command(subcommand)]
    command: Command,
}

/// How the operator's commands reach control, and how they show what it says.
#[derive(Debug, clap::Args)]
pub(crate) struct Operator {
    /// Profile to reach control with [default: ADIT_PROFILE, or ~/.config/adit/profile.toml]
    // The variable is not clap's to read: set, it would count as an argument, and bare `adit` show no help.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Operator options"
    )]
    pub(crate) profile: Option<PathBuf>,
    /// How results are shown: table or json
    #[arg(long, global = true, value_enum, hide_possible_values = true, default_value_t = Output::Table, help_heading = "Operator options")]
    output: Output,
    /// How long control may take to answer
    #[arg(long, global = true, default_value = "10s", value_parser = parse::duration, value_name = "TIME", help_heading = "Operator options")]
    pub(crate) timeout: Duration,
}

impl Operator {
    /// For a process that is its own operator.
    #[cfg(unix)]
    pub(crate) fn with_profile(profile: PathBuf) -> Self {
        Self {
            profile: Some(profile),
            output: Output::Table,
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole fabric and a sample app in this process, with nothing to configure.
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoFlags),
    /// Run control: it holds what is published, enrols nodes and tells each what it needs.
    #[command(after_help = process::CONTROL_EXAMPLES)]
    Control(Box<process::ControlFlags>),
    /// Run an edge, or manage the edges that joined.
    #[command(
        after_help = process::EDGE_EXAMPLES,
        args_conflicts_with_subcommands = true,
        subcommand_help_heading = "Manage joined edges"
    )]
    Edge(Box<process::EdgeLine>),
    /// Run an agent, or manage the agents that joined.
    #[command(
        after_help = process::AGENT_EXAMPLES,
        args_conflicts_with_subcommands = true,
        subcommand_help_heading = "Manage joined agents"
    )]
    Agent(Box<process::AgentLine>),
    /// Publish private apps, and change or withdraw them.
    #[command(subcommand)]
    App(app::AppCommand),
    /// Sets of interchangeable agents; an app belongs to one.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Accounts with which people sign in before they reach an app.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Tokens with which programs use apps that are closed.
    #[command(subcommand)]
    ServiceToken(service_token::ServiceTokenCommand),
    /// CAs of the certificates that users' devices, or programs, show.
    #[command(subcommand)]
    ClientCa(client_ca::ClientCaCommand),
    /// Keys of groups, to which credentials of apps are sealed.
    #[command(subcommand)]
    VaultKey(vault_key::VaultKeyCommand),
    /// What agents sign users in to apps with that have a sign-in of their own.
    #[command(subcommand)]
    Credential(credential::CredentialCommand),
    /// Use apps that are closed from a terminal, as yourself.
    #[command(subcommand)]
    Access(access::AccessCommand),
    /// Who else says who people are: identity providers, by `OpenID` Connect.
    #[command(subcommand)]
    IdentityProvider(identity_provider::IdentityProviderCommand),
    /// What requests for apps with sign-in must meet: conditional access.
    #[command(subcommand)]
    AccessRule(access_rule::AccessRuleCommand),
    /// Places that access rules name.
    #[command(subcommand)]
    Location(location::LocationCommand),
    /// Terms of use that access rules ask users to accept.
    #[command(subcommand)]
    Terms(terms::TermsCommand),
    /// The organisation's logo, and icons of apps in the portal.
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Make the fabric match a file of groups, apps and access rules.
    #[command(after_help = apply::EXAMPLES)]
    Apply(apply::Apply),
    /// What holds for the whole fabric: a switch for all apps, and their defaults.
    #[command(subcommand)]
    Settings(settings::SettingsCommand),
    /// The fabric at a glance: control, groups, edges.
    #[command(after_help = "Example:\n  adit status")]
    Status,
    /// Look for what keeps an agent or an edge from its work, on the machine where it runs.
    #[command(subcommand)]
    Doctor(Box<doctor::DoctorCommand>),
    /// Tokens with which agents and edges join.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Tokens for the admin API.
    #[command(subcommand)]
    ApiToken(api_token::ApiTokenCommand),
    /// Who changed what.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Who came, from where, to what, and what became of it.
    #[command(name = "signins", after_help = sign_in::EXAMPLES)]
    SignIns(sign_in::SignIns),
    /// Print completions for a shell.
    #[command(
        after_help = "Examples:\n  adit completions bash > /etc/bash_completion.d/adit\n  adit completions fish > ~/.config/fish/completions/adit.fish"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// A process that signs users on to apps.
#[derive(Debug)]
pub(crate) struct SigningOn {
    /// The file about Kerberos domains that it shall read, if one is named.
    pub(crate) krb5_conf: Option<PathBuf>,
}

impl Cli {
    /// How results are shown.
    pub(crate) fn output(&self) -> Output {
        self.operator.output
    }

    /// What is to be known about the environment of a process that signs users on, if this is one.
    pub(crate) fn signing_on(&self) -> Option<SigningOn> {
        let flags = match &self.command {
            Command::Agent(line) if line.command.is_none() => &line.flags,
            Command::Doctor(command) => command.of_agent()?,
            _ => return None,
        };
        Some(SigningOn {
            krb5_conf: flags.krb5_conf(),
        })
    }

    /// Whether it lives for as long as it serves, and where service managers want to be told of that from the start, may have to tell one.
    pub(crate) fn may_be_a_service(&self) -> bool {
        matches!(&self.command, Command::Agent(line) if line.command.is_none())
    }

    /// Does what was asked for.
    pub(crate) async fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        let Self { operator, command } = self;
        match command {
            Command::Demo(flags) => Box::pin(flags.run(screen)).await,
            Command::Control(flags) => flags.run(screen).await,
            Command::Edge(line) => match line.command {
                None => line.flags.run(screen).await,
                Some(command) => command.run(&reach(&operator, screen).await?, screen).await,
            },
            Command::Agent(line) => match line.command {
                None => line.flags.run(screen).await,
                Some(command) => command.run(&reach(&operator, screen).await?, screen).await,
            },
            Command::Completions { shell } => completions::print(shell, screen),
            Command::App(command) => command.run(&reach(&operator, screen).await?, screen).await,
            Command::Group(command) => command.run(&reach(&operator, screen).await?, screen).await,
            Command::User(command) => command.run(&reach(&operator, screen).await?, screen).await,
            Command::Access(command) => Box::pin(command.run(operator.timeout, screen)).await,
            Command::ServiceToken(command) => {
                command.run(&reach(&operator, screen).await?, screen).await
            }
            Command::ClientCa(command) => {
                command.run(&reach(&operator, screen).await?, screen).await
            }
            Command::VaultKey(command) => {
                command.run(&reach(&operator, screen).await?, screen).await
            }
            Command::Credential(command) => {
                command.run(&reach(&operator, screen).await?, screen).await
            }
            Command::IdentityProvider(command) => {
                let control = reach(&operator, screen).await?;
                Box::pin(command.run(&control, screen)).await
            }
            Command::AccessRule(command) => {
                command.run(&reach(&operator, screen).await?, screen).await
            }
            Command::Location(command) => {
                command.run(&reach(&operator, screen).await?, screen).await
            }
            Command::Terms(command) => command.run(&reach(&operator, screen).await?, screen).await,
            Command::SignIns(command) => {
                command.run(&reach(&operator, screen).await?, screen).await
            }
            Command::Image(command) => command.run(&reach(&operator, screen).await?, screen).await,
            Command::Apply(apply) => apply.run(&reach(&operator, screen).await?, screen).await,
            Command::Settings(command) => {
                command.run(&reach(&operator, screen).await?, screen).await
            }
            Command::Status => status::run(&reach(&operator, screen).await?, screen).await,
            Command::Doctor(command) => Box::pin(command.run(screen)).await,
            Command::Token(command) => command.run(&reach(&operator, screen).await?, screen).await,
            Command::ApiToken(command) => {
                command.run(&reach(&operator, screen).await?, screen).await
            }
            Command::Audit(command) => command.run(&reach(&operator, screen).await?, screen).await,
        }
    }
}

async fn reach(operator: &Operator, screen: &mut Screen) -> Result<Control, Failure> {
    Control::reach(operator, screen).await
}
