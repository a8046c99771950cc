//! The only place that writes to the terminal.
//!
//! What a command was asked for goes to standard output, everything said about it to standard error, so that output
//! can be piped and captured. Colour only on a terminal, and never where `NO_COLOR` is set.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write},
};

use serde::Serialize;

use super::failure::Failure;

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// Columns for people.
    Table,
    /// One JSON document for programs.
    Json,
}

/// Emphasis of a piece of text; plain text where the output is no terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shade {
    /// Less important than the rest.
    Dim,
    /// Something new.
    Green,
    /// Something changed.
    Yellow,
    /// Something removed or wrong.
    Red,
}

impl Shade {
    /// Select Graphic Rendition codes of ECMA-48.
    fn code(self) -> &'static str {
        match self {
            Self::Dim => "2",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
        }
    }
}

/// Where a command writes.
pub(crate) struct Screen {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    out_is_terminal: bool,
    colour: bool,
    pub(crate) output: Output,
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen")
            .field("out_is_terminal", &self.out_is_terminal)
            .field("colour", &self.colour)
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

impl Screen {
    /// The streams of this process.
    pub(crate) fn of_process(output: Output) -> Self {
        let out_is_terminal = io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            out_is_terminal,
            colour: out_is_terminal && !refused,
            output,
        }
    }

    /// Writes one line of the result.
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.out, "{text}").map_err(Failure::Output)
    }

    /// Writes one line about the result, which is not part of it.
    pub(crate) fn note(&mut self, text: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.err, "{text}").map_err(Failure::Output)
    }

    /// Writes the result as it is, without a line's end of ours.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out
            .write_all(bytes)
            .and_then(|()| self.out.flush())
            .map_err(Failure::Output)
    }

    /// Writes the result as one indented JSON document.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::Output(io::Error::other(error)))?;
        self.line(text)
    }

    /// Text in a shade, where the output can show one.
    pub(crate) fn shaded(&self, shade: Shade, text: &str) -> String {
        if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", shade.code())
        } else {
            text.to_owned()
        }
    }

    /// Columns of the terminal, if the result goes to one.
    pub(crate) fn columns(&self) -> Option<usize> {
        let width = comfy_table::Table::new().width();
        width.filter(|_| self.out_is_terminal).map(usize::from)
    }

    /// Whether tables must fit a terminal's width.
    pub(crate) fn is_terminal(&self) -> bool {
        self.out_is_terminal
    }

    /// Whether shades show.
    pub(crate) fn has_colour(&self) -> bool {
        self.colour
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn screen(colour: bool) -> Screen {
        Screen {
            out: Box::new(Closed),
            err: Box::new(io::sink()),
            out_is_terminal: colour,
            colour,
            output: Output::Table,
        }
    }

    #[test]
    fn closed_pipe_is_an_error_and_no_panic() {
        let failure = screen(false).line("text").expect_err("the pipe is closed");
        assert!(failure.is_broken_pipe());
    }

    #[test]
    fn shades_show_only_in_colour() {
        assert_eq!(screen(false).shaded(Shade::Red, "x"), "x");
        assert_eq!(screen(true).shaded(Shade::Red, "x"), "\x1b[31mx\x1b[0m");
    }
}
