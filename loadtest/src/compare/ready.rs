//! What a target says when it has started: `targets/README.md` has the words.

use std::path::PathBuf;

use http::{HeaderValue, Uri, uri::Scheme};

use crate::scenario::Speaks;

/// Processes that one target may name; the most that any of ours has is three.
const PROCESSES_MAX: usize = 32;

/// A line of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The versions of what is measured.
    About(String),
    /// The target cannot be had on this machine, and why.
    NotHere(String),
    /// It takes requests.
    Ready(Ready),
}

/// Where a target takes requests, and who is charged for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Scheme, host and port to ask for.
    pub url: Uri,
    /// The port of 127.0.0.1.
    pub port: u16,
    /// File with the roots to trust; none for plain HTTP.
    pub ca: Option<PathBuf>,
    /// The protocols that it takes.
    pub speaks: Vec<Speaks>,
    /// Cookie of a user who has signed in, whom every request is of; as `name=value`.
    pub cookie: Option<HeaderValue>,
    /// Processes to account, by name.
    pub processes: Vec<(String, u32)>,
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It does not begin with one of the known words.
    #[error("neither about, not-here nor ready")]
    Word,
    /// The URL is not one of http or https with a host and a port.
    #[error("not an http or https URL with host and port")]
    Url,
    /// A word after the URL is not `name=value`.
    #[error("not name=value: {0}")]
    Pair(String),
    /// A protocol that nobody knows.
    #[error("not a protocol: {0}")]
    Speaks(String),
    /// A cookie that is not `name=value`.
    #[error("cookie= needs name=value")]
    Cookie,
    /// Not the id of a process that could be a target's.
    #[error("not a process id: {0}")]
    Process(String),
    /// No process is named, or too many are.
    #[error("between 1 and {PROCESSES_MAX} processes are needed")]
    Processes,
    /// https without roots to trust.
    #[error("https needs ca=FILE")]
    Ca,
}

/// Reads a line.
pub fn parse(line: &str) -> Result<Line, LineError> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "about" => Ok(Line::About(rest.trim().to_owned())),
        "not-here" => Ok(Line::NotHere(rest.trim().to_owned())),
        "ready" => ready(rest).map(Line::Ready),
        _ => Err(LineError::Word),
    }
}

fn ready(rest: &str) -> Result<Ready, LineError> {
    let mut words = rest.split_ascii_whitespace();
    let url: Uri = words
        .next()
        .unwrap_or_default()
        .parse()
        .map_err(|_| LineError::Url)?;
    let port = url.port_u16().ok_or(LineError::Url)?;
    let secure = match url.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        _ => return Err(LineError::Url),
    };
    let mut ready = Ready {
        url,
        port,
        ca: None,
        speaks: Vec::new(),
        cookie: None,
        processes: Vec::new(),
    };
    for word in words {
        ready.take(word)?;
    }
    if secure && ready.ca.is_none() {
        return Err(LineError::Ca);
    }
    if !(1..=PROCESSES_MAX).contains(&ready.processes.len()) {
        return Err(LineError::Processes);
    }
    Ok(ready)
}

impl Ready {
    fn take(&mut self, word: &str) -> Result<(), LineError> {
        match word.split_once('=') {
            Some(("ca", path)) => self.ca = Some(path.into()),
            Some(("http", versions)) => {
                self.speaks = versions.split(',').map(speaks).collect::<Result<_, _>>()?;
            }
            Some(("cookie", cookie)) => self.cookie = Some(shown(cookie)?),
            Some((name, pid)) if !name.is_empty() => {
                self.processes.push((name.to_owned(), process(pid)?));
            }
            _ => return Err(LineError::Pair(word.to_owned())),
        }
        Ok(())
    }
}

fn speaks(version: &str) -> Result<Speaks, LineError> {
    match version {
        "1.1" => Ok(Speaks::Http1),
        "2" => Ok(Speaks::Http2),
        "3" => Ok(Speaks::Http3),
        "grpc" => Ok(Speaks::Grpc),
        "quinn" => Ok(Speaks::Quinn),
        other => Err(LineError::Speaks(other.to_owned())),
    }
}

fn shown(cookie: &str) -> Result<HeaderValue, LineError> {
    let value = cookie.parse().ok().filter(|_| cookie.contains('='));
    let mut value: HeaderValue = value.ok_or(LineError::Cookie)?;
    value.set_sensitive(true);
    Ok(value)
}

fn process(pid: &str) -> Result<u32, LineError> {
    // The first process is the machine's, and everything descends from it.
    let pid_of_target = pid.parse().ok().filter(|pid| *pid > 1);
    pid_of_target.ok_or_else(|| LineError::Process(pid.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_line_is_read() {
        let line = "ready https://load.localhost:4321 ca=/path/ca.pem http=1.1,2,3,grpc,quinn edge=123 agent=124";
        let Ok(Line::Ready(ready)) = parse(line) else {
            panic!("not ready")
        };
        assert_eq!(
            (ready.url.host(), ready.port),
            (Some("load.localhost"), 4321)
        );
        assert_eq!(ready.ca, Some(PathBuf::from("/path/ca.pem")));
        assert_eq!(
            ready.speaks,
            [
                Speaks::Http1,
                Speaks::Http2,
                Speaks::Http3,
                Speaks::Grpc,
                Speaks::Quinn
            ]
        );
        assert_eq!(ready.cookie, None);
        let line = "ready http://a:1 cookie=__Host-a=b=c a=2";
        let Ok(Line::Ready(signed_in)) = parse(line) else {
            panic!("not ready")
        };
        assert_eq!(signed_in.cookie.unwrap(), "__Host-a=b=c");
        assert_eq!(
            ready.processes,
            [("edge".into(), 123), ("agent".into(), 124)]
        );
        assert_eq!(
            parse("about nginx/1 twice"),
            Ok(Line::About("nginx/1 twice".into()))
        );
        assert_eq!(
            parse("not-here no nginx"),
            Ok(Line::NotHere("no nginx".into()))
        );
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        use LineError as Wrong;
        let check = |line: &str, wrong| assert_eq!(parse(line), Err(wrong), "{line}");
        check("", Wrong::Word);
        check("listening on 80", Wrong::Word);
        check("ready", Wrong::Url);
        check("ready ftp://a:1 a=2", Wrong::Url);
        check("ready https://a ca=x a=2", Wrong::Url);
        check("ready https://a:99999 ca=x a=2", Wrong::Url);
        check("ready https://a:1 a=2", Wrong::Ca);
        check("ready https://a:1 ca=x", Wrong::Processes);
        check(
            &format!("ready http://a:1{}", " a=2".repeat(33)),
            Wrong::Processes,
        );
        check("ready http://a:1 edge", Wrong::Pair("edge".into()));
        check("ready http://a:1 =5", Wrong::Pair("=5".into()));
        check("ready http://a:1 http=9 a=2", Wrong::Speaks("9".into()));
        check("ready http://a:1 cookie=a a=2", Wrong::Cookie);
        for pid in ["0", "1", "-1", "x", "", "99999999999"] {
            check(
                &format!("ready http://a:1 a={pid}"),
                Wrong::Process(pid.into()),
            );
        }
    }
}
