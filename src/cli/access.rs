//! `adit access`: people use apps that are closed from a terminal.
//!
//! Needs no profile and no role: whoever signs in here is a user, not an operator.

mod kept;
mod web;

use std::{
    env,
    io::{self, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use runtime::{Clock, Secret, system};
use serde::Deserialize;
use serde_json::{Value, json};

use self::{
    kept::{Kept, KeptError, SignIn},
    web::{Address, Reply, Web, WebError},
};
use super::{
    age,
    failure::Failure,
    screen::{Output, Screen},
};

const LOGIN_EXAMPLES: &str = "Prints an address and a code, and waits until you have typed the code there, in any browser. What is kept is good for all
apps that you may use, until you sign out, and at most until the sign-in in that browser ends.

Examples:
  adit access login https://wiki.example.com
  adit access login https://wiki.example.com --ca ca.pem";

const CURL_EXAMPLES: &str = "Runs curl with a token that it reads from standard input, where no list of processes shows it. So curl cannot read
anything else from there: give bodies as files (--data @body.json).

Examples:
  adit access curl https://wiki.example.com/api/pages
  adit access curl https://wiki.example.com/api/pages --data @page.json";

const TOKEN_EXAMPLES: &str = "The token alone goes to standard output. It is good for that host, for ten minutes, in the field Authorization, or in
Adit-Authorization where the app has an Authorization of its own.

Example:
  adit access token https://wiki.example.com";

/// How tokens are asked for (RFC 8628, section 3.4).
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Longest pause between two polls that an edge may ask for.
const INTERVAL_MAX: Duration = Duration::from_secs(60);
/// Longest wait for a user, whatever an edge says.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// Polls in a row that may fail because nobody answers.
const FAILURES_MAX: u32 = 12;
/// Most that the terminal calls itself, in characters; edges take no more.
const NAME_CHARS_MAX: usize = 64;
/// Most bytes of the configuration for curl: a pipe takes that much without a reader (pipe(7)).
const CURL_CONFIG_BYTES_MAX: usize = 64 * 1024;

/// What to do as a user.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AccessCommand {
    /// Sign in, for all apps of a fabric, by a code that is typed in a browser.
    #[command(after_help = LOGIN_EXAMPLES)]
    Login {
        /// Address of any app of the fabric that asks users to sign in.
        url: Address,
        /// PEM file with the certificates to trust, where the system does not trust the edges.
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
    },
    /// Run curl against an app, as the user who signed in.
    #[command(after_help = CURL_EXAMPLES)]
    Curl {
        /// Address at an app.
        url: Address,
        /// What else curl is told, as it takes it.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Print a token for one app, for other programs.
    #[command(after_help = TOKEN_EXAMPLES)]
    Token {
        /// Address at an app.
        url: Address,
    },
    /// Sign out of all fabrics: what was kept is good for nothing any more.
    #[command(after_help = "Example:\n  adit access logout")]
    Logout,
}

/// Why a user's command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    /// What is kept cannot be read or written.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The edge could not be asked.
    #[error("cannot ask {at}")]
    Web {
        /// Whom.
        at: String,
        /// Why not.
        #[source]
        source: WebError,
    },
    /// Nobody has to sign in there, or nothing is published.
    #[error(
        "{at} does not ask users to sign in (status {status}): give the address of an app that is published with --access sign-in"
    )]
    NotClosed {
        /// Where.
        at: String,
        /// What it answered.
        status: u16,
    },
    /// There is no sign-in to use.
    #[error("not signed in at {host}; run: adit access login {url}")]
    NotSignedIn {
        /// The sign-in host.
        host: String,
        /// What was asked for.
        url: String,
    },
    /// It was there, and holds no more.
    #[error("the sign-in at {host} has ended; run: adit access login {url}")]
    Ended {
        /// The sign-in host.
        host: String,
        /// What was asked for.
        url: String,
    },
    /// Somebody has refused the terminal.
    #[error("the sign-in was refused in the browser")]
    Refused,
    /// Nobody has typed the code in time.
    #[error("nobody has typed the code in time; start again")]
    TooLate,
    /// The edge says something else.
    #[error("{at} answered {status}: {error}")]
    Answer {
        /// Who.
        at: String,
        /// With what.
        status: u16,
        /// And why.
        error: String,
    },
    /// Some sessions could not be ended, and are kept.
    #[error("still signed in at {}: try again", .0.join(", "))]
    StillSignedIn(Vec<String>),
    /// curl cannot be run.
    #[error("cannot run curl")]
    Curl(#[source] io::Error),
}

/// What a terminal is told at first (RFC 8628, section 3.2).
#[derive(Deserialize)]
struct Begun {
    device_code: Secret<String>,
    user_code: String,
    verification_uri: String,
    expires_in: u64,
    interval: u64,
}

/// What it gets in the end.
#[derive(Deserialize)]
struct Granted {
    access_token: Secret<String>,
    expires_in: u64,
    #[serde(default)]
    user: String,
}

impl AccessCommand {
    pub(crate) async fn run(self, timeout: Duration, screen: &mut Screen) -> Result<(), Failure> {
        let clock = Clock::system();
        match self {
            Self::Login { url, ca } => login(&url, ca, timeout, &clock, screen).await,
            Self::Curl { url, args } => {
                let (token, sign_in) = app_token(&url, timeout, &clock).await?;
                Err(curl(&url, &args, &token.access_token, &sign_in).into())
            }
            Self::Token { url } => {
                let (token, _) = app_token(&url, timeout, &clock).await?;
                match screen.output {
                    Output::Table => screen.line(token.access_token.expose()),
                    Output::Json => screen.json(&json!({
                        "token": token.access_token.expose(),
                        "expires_in_seconds": token.expires_in,
                    })),
                }
            }
            Self::Logout => logout(timeout, screen).await,
        }
    }
}

async fn login(
    url: &Address,
    ca: Option<PathBuf>,
    timeout: Duration,
    clock: &Clock,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let web = Web::new(ca.as_deref(), timeout).map_err(|source| asking(url, source))?;
    let at = sign_in_address(&web, url).await?;
    let name = own_name();
    let reply = web
        .post(
            &at.with_path("/device/authorize"),
            None,
            &[("client_id", &name)],
        )
        .await;
    let reply = reply.map_err(|source| asking(&at, source))?;
    let begun: Begun = read(&at, &reply)?;
    screen.note(format_args!(
        "Open {} in a browser and type the code {}",
        plain(&begun.verification_uri),
        plain(&begun.user_code)
    ))?;
    let granted = poll(&web, &at, &begun, clock).await?;
    let ends = clock.wall() + Duration::from_secs(granted.expires_in);
    let ends = prost_types::Timestamp::from(ends);
    let user = plain(&granted.user);
    let mut kept = Kept::read().map_err(AccessError::from)?;
    let sign_in = SignIn {
        token: granted.access_token,
        user: user.clone(),
        ends: age::rfc3339(Some(ends)).unwrap_or_default(),
        ca: ca.map(absolute),
    };
    kept.put(at.authority(), sign_in);
    kept.write().map_err(AccessError::from)?;
    let ends = age::relative(Some(&ends), clock.wall());
    match screen.output {
        Output::Table => screen.line(format_args!(
            "signed in at {} as {user}; ends {ends}",
            at.authority()
        )),
        Output::Json => screen.json(&json!({ "sign_in_host": at.authority(), "user": user })),
    }
}

/// Asks until somebody has decided.
async fn poll(
    web: &Web,
    at: &Address,
    begun: &Begun,
    clock: &Clock,
) -> Result<Granted, AccessError> {
    let wait = Duration::from_secs(begun.expires_in).min(WAIT_MAX);
    let end = clock.now() + wait;
    let mut interval = Duration::from_secs(begun.interval.max(1)).min(INTERVAL_MAX);
    let form = [
        ("grant_type", GRANT_TYPE),
        ("device_code", begun.device_code.expose().as_str()),
    ];
    let mut failures = 0;
    while clock.now() < end {
        tokio::time::sleep(interval).await;
        let reply = match web.post(&at.with_path("/device/token"), None, &form).await {
            Ok(reply) if reply.status == 503 => Err(None),
            Ok(reply) => Ok(reply),
            Err(error) => Err(Some(error)),
        };
        let reply = match reply {
            Ok(reply) => reply,
            // A line that breaks for a moment (RFC 8628, section 3.5).
            Err(error) => {
                failures += 1;
                if let (true, Some(error)) = (failures >= FAILURES_MAX, error) {
                    return Err(asking(at, error));
                }
                continue;
            }
        };
        failures = 0;
        if reply.status == 200 {
            return read(at, &reply);
        }
        match reply.error().as_str() {
            "authorization_pending" => {}
            "slow_down" => interval = (interval + Duration::from_secs(5)).min(INTERVAL_MAX),
            "access_denied" => return Err(AccessError::Refused),
            "expired_token" => return Err(AccessError::TooLate),
            _ => return Err(refused(at, &reply)),
        }
    }
    Err(AccessError::TooLate)
}

/// A token for the app at an address, and the sign-in that it is of.
async fn app_token(
    url: &Address,
    timeout: Duration,
    clock: &Clock,
) -> Result<(Granted, SignIn), AccessError> {
    let kept = Kept::read()?;
    let mut unreached = None;
    // The fabric is asked where its users sign in, with each of the certificates that were trusted at a sign-in.
    for ca in kept.trusted() {
        let found = async {
            let web = Web::new(ca.as_deref(), timeout).map_err(|source| asking(url, source))?;
            let at = sign_in_address(&web, url).await?;
            Ok(at)
        };
        let at = match found.await {
            Ok(found) => found,
            Err(error @ AccessError::Web { .. }) => {
                unreached = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        let (host, url_text) = (at.authority(), url.to_string());
        let Some(sign_in) = kept.get(&host) else {
            return Err(AccessError::NotSignedIn {
                host,
                url: url_text,
            });
        };
        if sign_in.has_ended(clock.wall()) {
            return Err(AccessError::Ended {
                host,
                url: url_text,
            });
        }
        let form = [("host", url.host())];
        // The token goes out under what was trusted when it was got, whatever was trusted to find the fabric.
        let web = Web::new(sign_in.ca.as_deref(), timeout);
        let web = web.map_err(|source| asking(url, source))?;
        let path = at.with_path("/device/app-token");
        let reply = web.post(&path, Some(&sign_in.token), &form).await;
        let reply = reply.map_err(|source| asking(&at, source))?;
        return match reply.status {
            401 => Err(AccessError::Ended {
                host,
                url: url_text,
            }),
            _ => Ok((read(&at, &reply)?, sign_in.clone())),
        };
    }
    Err(unreached.unwrap_or_else(|| AccessError::NotSignedIn {
        host: "any sign-in host".to_owned(),
        url: url.to_string(),
    }))
}

/// Becomes curl; gives back why not.
fn curl(url: &Address, args: &[String], token: &Secret<String>, sign_in: &SignIn) -> AccessError {
    let config = match curl_config(token, sign_in) {
        Ok(config) => config,
        Err(error) => return AccessError::Curl(error),
    };
    let mut command = Command::new("curl");
    command
        .args(["--config", "-"])
        .arg(url.to_string())
        .args(args);
    AccessError::Curl(become_it(command, &config).unwrap_or_else(|error| error))
}

/// Lets a program go on in the place of this one; gives back why not. What it reads is in a pipe, which holds all of it before it begins.
#[cfg(unix)]
fn become_it(mut command: Command, input: &Secret<String>) -> io::Result<io::Error> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(input.expose().as_bytes())?;
    drop(writer);
    let command = command.stdin(Stdio::from(reader));
    Ok(std::os::unix::process::CommandExt::exec(command))
}

/// On Windows none goes on in another's place: this one waits, and ends as the other did.
#[cfg(windows)]
#[expect(clippy::exit, reason = "all that there was to do is done")]
fn become_it(mut command: Command, input: &Secret<String>) -> io::Result<io::Error> {
    let mut other = command.stdin(Stdio::piped()).spawn()?;
    if let Some(mut reader) = other.stdin.take() {
        reader.write_all(input.expose().as_bytes())?;
    }
    std::process::exit(other.wait()?.code().unwrap_or(1));
}

/// curl sends `Authorization` on to no other host that it is led to; it would send any other field.
fn curl_config(token: &Secret<String>, sign_in: &SignIn) -> io::Result<Secret<String>> {
    let token = token.expose();
    let mut config = format!("header = \"Authorization: Bearer {token}\"\n");
    if let Some(ca) = &sign_in.ca {
        let ca = ca.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
        let ca = ca.replace('\\', "\\\\").replace('"', "\\\"");
        config.push_str(&format!("cacert = \"{ca}\"\n"));
    }
    let is_safe = token
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if !is_safe || config.len() > CURL_CONFIG_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Secret::new(config))
}

async fn logout(timeout: Duration, screen: &mut Screen) -> Result<(), Failure> {
    let mut kept = Kept::read().map_err(AccessError::from)?;
    let mut left = Vec::new();
    for (host, sign_in) in kept.all() {
        let ended = match host.parse::<Address>() {
            Ok(at) => end(&at, &sign_in, timeout).await,
            // Nothing that could be asked.
            Err(_) => true,
        };
        if ended {
            kept.forget(&host);
            kept.write().map_err(AccessError::from)?;
            screen.line(format_args!("signed out at {host}"))?;
        } else {
            left.push(host);
        }
    }
    if left.is_empty() {
        Ok(())
    } else {
        Err(AccessError::StillSignedIn(left).into())
    }
}

/// Whether the session of a sign-in is over.
async fn end(at: &Address, sign_in: &SignIn, timeout: Duration) -> bool {
    let Ok(web) = Web::new(sign_in.ca.as_deref(), timeout) else {
        return false;
    };
    let path = at.with_path("/device/sign-out");
    let reply = web.post(&path, Some(&sign_in.token), &[]).await;
    // 401: it was over before.
    reply.is_ok_and(|reply| matches!(reply.status, 200 | 401))
}

/// Where users of an app sign in, as it tells programs.
async fn sign_in_address(web: &Web, url: &Address) -> Result<Address, AccessError> {
    let reply = web.get(url).await.map_err(|source| asking(url, source))?;
    let not_closed = || AccessError::NotClosed {
        at: url.authority(),
        status: reply.status,
    };
    if reply.status != 401 {
        return Err(not_closed());
    }
    let challenges = reply.challenges.iter();
    let sign_in = challenges.filter_map(|challenge| {
        let rest = challenge.strip_prefix("Adit sign_in=\"")?;
        rest.split_once('"')?.0.parse().ok()
    });
    sign_in.into_iter().next().ok_or_else(not_closed)
}

fn read<T: serde::de::DeserializeOwned>(at: &Address, reply: &Reply) -> Result<T, AccessError> {
    if reply.status != 200 {
        return Err(refused(at, reply));
    }
    serde_json::from_value(reply.body.clone()).map_err(|_| AccessError::Answer {
        at: at.authority(),
        status: reply.status,
        error: "not as it should be".to_owned(),
    })
}

fn refused(at: &Address, reply: &Reply) -> AccessError {
    AccessError::Answer {
        at: at.authority(),
        status: reply.status,
        error: plain(&reply.error()),
    }
}

fn asking(at: &Address, source: WebError) -> AccessError {
    AccessError::Web {
        at: at.authority(),
        source,
    }
}

/// What somebody else wrote, on its way to a terminal: nothing that moves the cursor.
fn plain(text: &str) -> String {
    let chars = text.chars().filter(|char| !char.is_control());
    chars.take(2_000).collect()
}

/// What whoever lets the terminal in is shown.
fn own_name() -> String {
    let name = match system::machine_name().as_deref() {
        None | Some("") => "adit access".to_owned(),
        Some(host) => format!("adit access on {host}"),
    };
    plain(&name).chars().take(NAME_CHARS_MAX).collect()
}

fn absolute(path: PathBuf) -> PathBuf {
    match env::current_dir() {
        Ok(here) => here.join(path),
        Err(_) => path,
    }
}

impl Reply {
    /// The word for what went wrong (RFC 6749, section 5.2), or the edge's reason.
    fn error(&self) -> String {
        let word = |key: &str| self.body.get(key).and_then(Value::as_str);
        let word = word("error").or_else(|| word("reason"));
        word.unwrap_or("no reason").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_in(ca: Option<&str>) -> SignIn {
        SignIn {
            token: Secret::new("adit_tt_x".to_owned()),
            user: "alice".to_owned(),
            ends: String::new(),
            ca: ca.map(PathBuf::from),
        }
    }

    #[test]
    fn curl_is_told_the_token_and_whom_to_trust_and_nothing_can_be_added() {
        let config = |token: &str, ca| {
            let config = curl_config(&Secret::new(token.to_owned()), &sign_in(ca));
            config.ok().map(Secret::into_exposed)
        };
        let plain = "header = \"Authorization: Bearer adit_at_x\"\n";
        assert_eq!(config("adit_at_x", None).as_deref(), Some(plain));
        let quoted = format!("{plain}cacert = \"/a \\\"b\\\\c\"\n");
        assert_eq!(config("adit_at_x", Some("/a \"b\\c")), Some(quoted));
        for token in ["a\"\nurl = \"x", "a\\", "a b", &"x".repeat(70_000)] {
            assert_eq!(config(token, None), None, "{token}");
        }
    }

    #[test]
    fn what_others_wrote_moves_no_cursor() {
        assert_eq!(plain("BC\x1b[2JDF\r\n"), "BC[2JDF");
    }

    #[test]
    fn a_terminal_says_who_it_is_in_few_words() {
        let name = own_name();
        assert!(name.starts_with("adit access"), "{name}");
        assert!(name.chars().count() <= NAME_CHARS_MAX);
    }
}
