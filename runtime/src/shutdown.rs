//! When the process is asked to end.

use std::io;

use crate::{scope::Scope, system::Asked};

/// Exit code after a second signal: what a shell reports for death by SIGTERM.
const SECOND_SIGNAL_EXIT_CODE: i32 = 128 + 15;

/// What asks a process to end: SIGTERM and SIGINT on Unix; on Windows Ctrl-C, Ctrl-Break, a console that is closed, and the service manager.
#[derive(Debug)]
pub struct Signals(Asked);

impl Signals {
    /// Listens from now on; the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the system refuses the listener.
    pub fn listen() -> io::Result<Self> {
        Asked::listen().map(Self)
    }

    /// Waits for the first signal and says which. From then on a second one ends the process at once,
    /// by a task in `scope`, for those who will not wait for a drain.
    pub async fn first(mut self, scope: &Scope) -> &'static str {
        let which = self.0.next().await;
        tracing::info!(signal = which, "asked to end; a second signal ends at once");
        let own = scope.child("second signal");
        scope.spawn_standing("second signal", async move {
            tokio::select! {
                () = own.cancelled() => {}
                which = self.0.next() => end_now(which),
            }
        });
        which
    }
}

/// Waits for the first signal; see [`Signals::first`].
///
/// # Errors
/// When the system refuses the listener.
pub async fn signal(scope: &Scope) -> io::Result<&'static str> {
    Ok(Signals::listen()?.first(scope).await)
}

#[expect(
    clippy::exit,
    reason = "the operator asked twice; nothing may hold the process any longer"
)]
fn end_now(which: &'static str) {
    tracing::warn!(signal = which, "second signal; the process ends at once");
    std::process::exit(SECOND_SIGNAL_EXIT_CODE);
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Command, Stdio},
    };

    use super::*;

    const CHILD: &str = "ADIT_TEST_SIGNALS";

    fn send(signal: &str, process: u32) {
        let sent = Command::new("kill")
            .args([signal, &process.to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// As the child: says when it listens and when it got the first signal, then would run for ever.
    async fn run_as_child() {
        let scope = Scope::root();
        let signals = Signals::listen().unwrap();
        println!("listening");
        let which = signals.first(&scope).await;
        println!("got {which}");
        scope.ended().await;
    }

    #[tokio::test]
    async fn first_signal_asks_and_second_ends_at_once() {
        if std::env::var_os(CHILD).is_some() {
            return run_as_child().await;
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "shutdown::tests::first_signal_asks_and_second_ends_at_once",
            ])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut wait_for = |text: &str| {
            let found = lines.by_ref().any(|line| line.unwrap().contains(text));
            assert!(found, "the child ended without saying {text:?}");
        };
        wait_for("listening");
        send("-TERM", child.id());
        wait_for("got SIGTERM");
        send("-INT", child.id());
        assert_eq!(child.wait().unwrap().code(), Some(SECOND_SIGNAL_EXIT_CODE));
    }
}
