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
    surface: Surface,
    /// What is being done, and for how many seconds.
    step: Mutex<(String, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surface {
    Terminal,
    Lines,
}

impl Progress {
    /// On standard error.
    pub fn new() -> Self {
        let surface = if io::stderr().is_terminal() {
            Surface::Terminal
        } else {
            Surface::Lines
        };
        Self {
            surface,
            step: Mutex::default(),
        }
    }

    /// Says what stays to be read.
    pub fn say(&self, line: &str) {
        print(&said(self.surface, line));
    }

    /// Says what is true for a moment; nothing where lines cannot be drawn anew.
    pub fn now(&self, line: &str) {
        print(&drawn(self.surface, line));
    }

    /// Begins a step that takes seconds, which [`Progress::tick`] counts.
    pub fn begin(&self, line: &str) {
        *self.step() = (line.to_owned(), 0);
        self.now(line);
    }

    /// A second of the step is over.
    pub fn tick(&self) {
        let (line, seconds) = &mut *self.step();
        self.now(&format!("{seconds} s: {line}"));
        *seconds += 1;
    }

    fn step(&self) -> MutexGuard<'_, (String, u32)> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
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

fn said(surface: Surface, line: &str) -> String {
    match surface {
        Surface::Terminal => format!("{ANEW}{line}\n"),
        Surface::Lines => format!("{line}\n"),
    }
}

fn drawn(surface: Surface, line: &str) -> String {
    match surface {
        Surface::Terminal => ANEW.chars().chain(line.chars().take(COLUMNS)).collect(),
        Surface::Lines => String::new(),
    }
}

fn print(text: &str) {
    let mut stderr = io::stderr().lock();
    // Nobody has to watch.
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_one_line_and_a_file_has_what_stays() {
        let long = "x".repeat(200);
        assert_eq!(drawn(Surface::Terminal, &long).len(), ANEW.len() + COLUMNS);
        assert_eq!(said(Surface::Terminal, "done"), "\r\u{1b}[Kdone\n");
        assert_eq!(drawn(Surface::Lines, &long), "");
        assert_eq!(said(Surface::Lines, "done"), "done\n");
    }
}
