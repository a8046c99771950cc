//! A comparison as text for a terminal.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::{
    bars::{Passed, Verdict},
    outcome::{Case, Measure, Outcome, YARDSTICK},
    spread::Spread,
};

/// The whole outcome.
pub fn write(outcome: &Outcome) -> String {
    let machine = &outcome.machine;
    let mut text = format!(
        "{}, {} cores, {} MiB, {}\n",
        machine.processor, machine.cores, machine.memory_mib, machine.system
    );
    for target in &outcome.targets {
        if let Some(why) = &target.not_here {
            let _ = writeln!(text, "{} is not here: {why}", target.name);
        }
    }
    for case in &outcome.cases {
        text.push_str(&of_case(case, outcome));
    }
    if !outcome.bars.is_empty() {
        let _ = write!(text, "\nbars\n{}\n", of_bars(&outcome.bars));
    }
    text
}

fn empty(header: Vec<&str>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_header(header);
    table
}

fn of_case(case: &Case, outcome: &Outcome) -> String {
    let measures = case.measures();
    let header = ["target"]
        .into_iter()
        .chain(measures.iter().map(|measure| measure.title()));
    let mut table = empty(header.collect());
    for target in &outcome.targets {
        let Some(entries) = case.summary.get(&target.name) else {
            continue;
        };
        let cells = measures.iter().map(|measure| {
            let Some(entry) = entries.get(measure) else {
                return "-".to_owned();
            };
            match entry.ratio.filter(|_| target.name != YARDSTICK) {
                Some(ratio) => format!(
                    "{}\n{:.2} × ({:.2}–{:.2})",
                    entry.figure, ratio.median, ratio.min, ratio.max
                ),
                None => entry.figure.to_string(),
            }
        });
        table.add_row([target.name.clone()].into_iter().chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = format!("\n{}: {}\n{table}\n", case.name, case.about);
    for (target, why) in &case.failures {
        let _ = writeln!(text, "{target}: {why}");
    }
    text
}

fn of_bars(bars: &[Verdict]) -> Table {
    let mut table = empty(vec!["bar", "bound", "figure", ""]);
    for verdict in bars {
        let figure = match (&verdict.figure, &verdict.passed) {
            (Some(figure), _) => ratio_or_figure(*figure, verdict),
            (None, Passed::NotMeasured(why)) => why.clone(),
            (None, Passed::Met | Passed::Missed) => String::new(),
        };
        table.add_row([
            verdict.bar.text.clone(),
            verdict.bar.bound(),
            figure,
            verdict.passed.word().to_owned(),
        ]);
    }
    table
}

/// The figure of a bar, with its spread.
pub fn ratio_or_figure(figure: Spread, verdict: &Verdict) -> String {
    match verdict.bar.against {
        Some(_) => format!(
            "{:.2} × ({:.2}–{:.2})",
            figure.median, figure.min, figure.max
        ),
        None => figure.to_string(),
    }
}

impl Case {
    /// The measures that say something of this case: of bulk no short requests, of short requests no bulk.
    pub fn measures(&self) -> Vec<Measure> {
        let rounds = || self.rounds.values().flatten();
        let bytes: u64 = rounds().map(|round| round.body_bytes).sum();
        let answered: u64 = rounds().map(|round| round.answered).sum();
        let bulk = bytes / answered.max(1) >= BULK_BYTES_MIN;
        let shown = |measure: &Measure| match measure {
            Measure::Throughput | Measure::P999 => !bulk,
            Measure::Transfer => bulk,
            Measure::P50 | Measure::P99 | Measure::Cpu | Measure::Memory => true,
        };
        Measure::ALL.into_iter().filter(shown).collect()
    }
}

/// From here on a body's bytes matter more than the request.
const BULK_BYTES_MIN: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::{super::page::tests::outcome, *};

    #[test]
    fn the_table_has_figures_ratios_bars_and_what_is_missing() {
        let text = write(&outcome());
        for expected in [
            "rathole is not here: no <compiler>",
            "adit",
            "1.50 × (1.50–1.50)",
            "MISSED",
            "caddy: it ended",
            "4 cores",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}
