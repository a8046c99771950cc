//! How far a run is: on a terminal one line that is drawn anew, elsewhere a line for each step.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Columns of a line that is drawn anew; longer ones would leave remains on narrow terminals.
const COLUMNS: usize = 78;
/// Back to the line's begin, and nothing behind it.
const ANEW: &str = "\r\u{1b}[K";

/// Tells people how far a run is.
#[derive(Debug)]
pub struct Progress {
    kind: Kind,
    /// What is being done, and for how many seconds.
    step: Mutex<(String, u32)>,
}

#[derive(Debug)]
enum Kind {
    Terminal,
    Lines,
    /// For tests.
    Kept(Mutex<Vec<String>>),
}

impl Progress {
    /// On standard error.
    pub fn new() -> Self {
        let kind = if io::stderr().is_terminal() {
            Kind::Terminal
        } else {
            Kind::Lines
        };
        Self {
            kind,
            step: Mutex::default(),
        }
    }

    /// Keeps what is said.
    pub fn kept() -> Self {
        Self {
            kind: Kind::Kept(Mutex::default()),
            step: Mutex::default(),
        }
    }

    /// Says what stays to be read.
    pub fn say(&self, line: &str) {
        match &self.kind {
            Kind::Terminal => print(&format!("{ANEW}{line}\n")),
            Kind::Lines => print(&format!("{line}\n")),
            Kind::Kept(lines) => lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line.to_owned()),
        }
    }

    /// Says what is true for a moment; nothing where lines cannot be drawn anew.
    pub fn now(&self, line: &str) {
        if let Kind::Terminal = self.kind {
            let line: String = line.chars().take(COLUMNS).collect();
            print(&format!("{ANEW}{line}"));
        }
    }

    /// Begins a step that takes seconds, which [`Progress::tick`] counts.
    pub fn begin(&self, line: &str) {
        *self.step() = (line.to_owned(), 0);
        self.now(line);
    }

    /// A second of the step is over.
    pub fn tick(&self) {
        let (line, seconds) = &mut *self.step();
        self.now(&format!("{seconds} s · {line}"));
        *seconds += 1;
    }

    fn step(&self) -> MutexGuard<'_, (String, u32)> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was kept.
    pub fn lines(&self) -> Vec<String> {
        match &self.kind {
            Kind::Terminal | Kind::Lines => Vec::new(),
            Kind::Kept(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.now("");
    }
}

fn print(text: &str) {
    let mut stderr = io::stderr().lock();
    // Nobody has to watch.
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}
