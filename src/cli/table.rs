//! Plain columns for people: no lines, a header, and cells that fit the terminal.
//!
//! In JSON every resource is one object with `snake_case` keys, enums as lower-case words, times in RFC 3339 and spans
//! as they are written in flags; a list is an array.

use std::time::SystemTime;

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use serde::Serialize;

use super::{
    failure::Failure,
    screen::{Output, Screen, Shade},
};

/// A resource as one row of a list.
pub(crate) trait Row: Serialize {
    /// Headings of the list.
    const COLUMNS: &'static [&'static str];

    /// One cell for each column.
    fn cells(&self, now: SystemTime) -> Vec<String>;
}

/// A resource on a page of its own.
pub(crate) trait Page: Serialize {
    /// All there is to say, by name.
    fn facts(&self, now: SystemTime) -> Vec<(&'static str, String)>;
}

/// Shows a list, or says on standard error that it is empty.
pub(crate) fn list<R: Row>(
    screen: &mut Screen,
    views: &[R],
    empty: &str,
    now: SystemTime,
) -> Result<(), Failure> {
    match screen.output {
        Output::Json => screen.json(&views),
        Output::Table if views.is_empty() => screen.note(empty),
        Output::Table => {
            let rows = views.iter().map(|view| view.cells(now));
            columns(screen, R::COLUMNS, rows)
        }
    }
}

/// Shows one of a list that goes on: a line in JSON, or the cells of its row, of which the first is `time`.
pub(crate) fn follow<R: Row>(screen: &mut Screen, view: &R, time: String) -> Result<(), Failure> {
    match screen.output {
        Output::Json => {
            let text = serde_json::to_string(view);
            let text = text.map_err(|error| Failure::Output(std::io::Error::other(error)))?;
            screen.line(text)
        }
        Output::Table => {
            let mut cells = view.cells(SystemTime::UNIX_EPOCH);
            cells[0] = time;
            screen.line(printable(&cells.join("  ")))
        }
    }
}

/// Shows one resource.
pub(crate) fn show<P: Page>(screen: &mut Screen, view: &P, now: SystemTime) -> Result<(), Failure> {
    match screen.output {
        Output::Json => screen.json(view),
        Output::Table => facts(screen, &view.facts(now)),
    }
}

/// Shows rows under a header.
pub(crate) fn columns(
    screen: &mut Screen,
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if screen.is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.force_no_tty();
    }
    table.set_header(header.iter().map(|name| heading(screen, name)));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    // Columns stand two spaces apart and start at the edge.
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for line in table.lines() {
        screen.line(line.trim_end())?;
    }
    Ok(())
}

fn heading(screen: &Screen, name: &str) -> Cell {
    let cell = Cell::new(name);
    if screen.has_colour() {
        cell.add_attribute(Attribute::Dim)
    } else {
        cell
    }
}

/// Writes a text behind its lead, in lines that a terminal shows without breaking them itself.
pub(crate) fn behind(
    screen: &mut Screen,
    lead: &str,
    lead_columns: usize,
    text: &str,
) -> Result<(), Failure> {
    let Some(columns) = screen.columns() else {
        return screen.line(format_args!("{lead}{text}"));
    };
    // On a narrow one the lead has a line of its own.
    let (first, indent) = if columns < lead_columns + TEXT_COLUMNS_MIN {
        if !lead.trim().is_empty() {
            screen.line(lead.trim_end())?;
        }
        (NARROW_INDENT, NARROW_INDENT.len())
    } else {
        (lead, lead_columns)
    };
    let mut lines = wrapped(text, columns.saturating_sub(indent)).into_iter();
    let text = lines.next().unwrap_or_default();
    screen.line(format_args!("{first}{text}"))?;
    for line in lines {
        screen.line(format_args!("{:indent$}{line}", ""))?;
    }
    Ok(())
}

/// A text beside a lead has at least so many columns.
const TEXT_COLUMNS_MIN: usize = 35;
/// What a text below its lead is indented by.
const NARROW_INDENT: &str = "  ";

/// A text in lines of so many letters, broken between words; a longer word has a line of its own.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut length) = (String::new(), 0);
    for word in text.split_whitespace() {
        let letters = word.chars().count();
        if length > 0 && length + 1 + letters > columns {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        length += letters;
    }
    lines.push(line);
    lines
}

/// Shows name and value, one a line; values of several lines are indented under their first.
pub(crate) fn facts(screen: &mut Screen, facts: &[(&'static str, String)]) -> Result<(), Failure> {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in facts {
        let value = printable(value);
        let mut lines = value.lines();
        let name = screen.shaded(Shade::Dim, &format!("{name:width$}"));
        let first = lines.next().unwrap_or("-");
        screen.line(format_args!("{name}  {first}"))?;
        for more in lines {
            screen.line(format_args!("{:width$}  {more}", ""))?;
        }
    }
    Ok(())
}

/// Text that cannot steer a terminal: nodes say some of it themselves, such as their version.
pub(crate) fn printable(text: &str) -> String {
    let plain = |char: char| {
        if char.is_control() && char != '\n' {
            '?'
        } else {
            char
        }
    };
    text.chars().map(plain).collect()
}

/// The bare id of a resource name: `wiki` of `apps/wiki`.
pub(crate) fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The value, or a dash where there is none.
pub(crate) fn or_dash(value: &str) -> String {
    if value.is_empty() { "-" } else { value }.to_owned()
}

/// What was done, and in JSON what came of it.
pub(crate) fn written(
    screen: &mut Screen,
    view: &impl Serialize,
    name: &str,
    what: &str,
) -> Result<(), Failure> {
    match screen.output {
        Output::Json => screen.json(view),
        Output::Table => done(screen, name, what),
    }
}

/// Says that a resource is gone or changed, where there is nothing else to show.
pub(crate) fn done(screen: &mut Screen, name: &str, what: &str) -> Result<(), Failure> {
    match screen.output {
        Output::Json => screen.json(&serde_json::json!({ "name": name, "done": what })),
        Output::Table => screen.line(format_args!("{name} {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        let lines = |columns| wrapped("the domain gives no ticket", columns);
        assert_eq!(lines(80), ["the domain gives no ticket"]);
        assert_eq!(lines(10), ["the domain", "gives no", "ticket"]);
        assert_eq!(lines(3), ["the", "domain", "gives", "no", "ticket"]);
        assert_eq!(wrapped("", 10), [""]);
    }

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(printable("1.0\u{1b}[2J\r\u{9b}x\nü"), "1.0?[2J??x\nü");
    }
}
