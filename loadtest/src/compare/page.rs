//! A comparison as one HTML page that needs nothing else: no script, no network, light and dark, on a phone too.

use std::fmt::Write as _;

use super::{
    bars::{Passed, Verdict},
    outcome::{Case, Measure, Outcome, Round, YARDSTICK},
    plot::{self, Axis, Series, escape},
    spread::{Spread, figure},
    table::ratio_or_figure,
};

mod sweep;

const STYLE: &str = include_str!("page.css");
/// Colours in the style; targets beyond begin anew.
const COLOURS: usize = 10;
/// Percentiles of the plot, as far as a few thousand requests can tell.
const PERCENTILES: [(f64, &str); 5] = [
    (50.0, "50"),
    (90.0, "90"),
    (99.0, "99"),
    (99.9, "99.9"),
    (100.0, "max"),
];

/// The whole page.
pub fn write(outcome: &Outcome) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>adit compared</title><style>{STYLE}</style><main><h1>adit compared</h1>"
    );
    head(&mut html, outcome);
    bars(&mut html, &outcome.bars);
    let mut drawn: Option<&str> = None;
    for case in &outcome.cases {
        if let Some(name) = case.sweep.as_deref().filter(|name| drawn != Some(name)) {
            sweep::section(&mut html, name, outcome);
            drawn = Some(name);
        }
        section(&mut html, case, outcome);
    }
    targets(&mut html, outcome);
    html + "</main></html>\n"
}

fn head(html: &mut String, outcome: &Outcome) {
    let machine = &outcome.machine;
    let rounds = outcome
        .cases
        .iter()
        .flat_map(|case| case.rounds.values())
        .map(Vec::len)
        .max();
    let _ = write!(
        html,
        "<p class=\"machine\">{}, {} cores, {} MiB of memory, {}. {}. {} rounds, in which the targets take turns; {} minutes in all. \
         Figures are medians with the lowest and the highest round; × is a multiple of {YARDSTICK} in the same round.</p>\
         <pre>{}</pre>",
        escape(&machine.processor),
        machine.cores,
        machine.memory_mib,
        escape(&machine.system),
        escape(&machine.program),
        rounds.unwrap_or(0),
        outcome.took_seconds.div_ceil(60),
        escape(&outcome.command),
    );
}

fn bars(html: &mut String, bars: &[Verdict]) {
    if bars.is_empty() {
        return;
    }
    html.push_str(
        "<h2>Bars</h2><div class=\"wide\"><table><tr><th>bar<th>bound<th>figure<th></tr>",
    );
    for verdict in bars {
        let (class, shown) = match (&verdict.passed, verdict.figure) {
            (Passed::Met, Some(figure)) => ("met", ratio_or_figure(figure, verdict)),
            (Passed::Missed, Some(figure)) => ("missed", ratio_or_figure(figure, verdict)),
            (Passed::NotMeasured(why), _) => ("unmeasured", why.clone()),
            (Passed::Met | Passed::Missed, None) => ("unmeasured", String::new()),
        };
        let dream = verdict
            .bar
            .dream
            .map(|dream| format!(" (dream {})", figure(dream)));
        let _ = write!(
            html,
            "<tr class=\"{class}\"><td>{}<td>{}{}<td>{}<td><b>{}</b></tr>",
            escape(&verdict.bar.text),
            escape(&verdict.bar.bound()),
            dream.unwrap_or_default(),
            escape(&shown),
            verdict.passed.word(),
        );
    }
    html.push_str("</table></div>");
}

fn section(html: &mut String, case: &Case, outcome: &Outcome) {
    let _ = write!(
        html,
        "<section><h2>{}</h2><p>{}</p>",
        escape(&case.name),
        escape(&case.about)
    );
    // The plots of a sweep show all its loads together.
    if case.sweep.is_none() {
        plots(html, case, outcome);
    }
    figures(html, case, outcome);
    for (target, why) in &case.failures {
        let _ = write!(
            html,
            "<p class=\"failure\">{}: {}</p>",
            escape(target),
            escape(why)
        );
    }
    html.push_str("</section>");
}

fn plots(html: &mut String, case: &Case, outcome: &Outcome) {
    let measured: Vec<Measured<'_>> = outcome
        .targets
        .iter()
        .enumerate()
        .filter_map(|(index, target)| {
            let rounds = case
                .rounds
                .get(&target.name)
                .filter(|rounds| !rounds.is_empty())?;
            Some(Measured {
                name: &target.name,
                colour: index % COLOURS,
                rounds,
            })
        })
        .collect();
    if measured.is_empty() {
        return;
    }
    let speed = if case.measures().contains(&Measure::Transfer) {
        Measure::Transfer
    } else {
        Measure::Throughput
    };
    let series = |points: &dyn Fn(&Measured<'_>) -> Vec<(f64, f64)>| -> Vec<Series> {
        measured.iter().map(|one| one.series(points(one))).collect()
    };
    let names = PERCENTILES.map(|(_, name)| name);
    let cpu: Vec<_> = measured
        .iter()
        .filter_map(|one| Some((one.name.to_owned(), one.colour, one.spread(Measure::Cpu)?)))
        .collect();
    let drawn = [
        (
            "Throughput against latency (p99, ms)",
            plot::scatter(
                &Axis::linear(speed.title()),
                &Axis::logarithmic("p99 ms"),
                &series(&|one| one.against(speed, Measure::P99)),
            ),
        ),
        (
            "Latency in ms, by percentile",
            plot::lines(
                &Axis::named("percentile", &names),
                &Axis::logarithmic("ms"),
                &series(&|one| one.percentiles()),
            ),
        ),
        (Measure::Cpu.title(), plot::bars("ms", &cpu)),
        (
            "Memory in MiB, round after round",
            plot::lines(
                &Axis::linear("seconds under load"),
                &Axis::linear("MiB"),
                &series(&|one| one.memory()),
            ),
        ),
    ];
    html.push_str("<div class=\"plots\">");
    for (title, svg) in drawn {
        let _ = write!(
            html,
            "<figure><figcaption>{title}</figcaption>{svg}</figure>"
        );
    }
    html.push_str("</div>");
}

/// The median of a measure over rounds.
fn median(rounds: &[Round], measure: Measure) -> Option<f64> {
    let figures = rounds.iter().filter_map(|round| measure.of(round));
    Spread::of(figures).map(|spread| spread.median)
}

/// A target that was measured, in plots.
struct Measured<'a> {
    name: &'a str,
    colour: usize,
    rounds: &'a [Round],
}

impl Measured<'_> {
    fn series(&self, points: Vec<(f64, f64)>) -> Series {
        Series {
            name: self.name.to_owned(),
            colour: self.colour,
            points,
        }
    }

    fn spread(&self, measure: Measure) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| measure.of(round)))
    }

    /// The median of two measures, then each round.
    fn against(&self, x: Measure, y: Measure) -> Vec<(f64, f64)> {
        let median = self.spread(x).zip(self.spread(y));
        let rounds = self
            .rounds
            .iter()
            .filter_map(|round| x.of(round).zip(y.of(round)));
        median
            .map(|(x, y)| (x.median, y.median))
            .into_iter()
            .chain(rounds)
            .collect()
    }

    fn percentiles(&self) -> Vec<(f64, f64)> {
        let median = |percentile| {
            Spread::of(
                self.rounds
                    .iter()
                    .filter_map(|round| round.latency(percentile)),
            )
        };
        let points = PERCENTILES.iter().enumerate();
        points
            .filter_map(|(index, (percentile, _))| {
                Some((index as f64, median(*percentile)?.median))
            })
            .collect()
    }

    fn memory(&self) -> Vec<(f64, f64)> {
        let mut begin = 0.0;
        let mut points = Vec::new();
        for round in self.rounds {
            points.extend(round.timeline.iter().map(|moment| {
                (
                    begin + moment.second,
                    moment.resident_bytes as f64 / 1_048_576.0,
                )
            }));
            begin += round.seconds;
        }
        points
    }
}

fn figures(html: &mut String, case: &Case, outcome: &Outcome) {
    let measures = case.measures();
    html.push_str("<div class=\"wide\"><table class=\"figures\"><tr><th>target");
    for measure in &measures {
        let _ = write!(html, "<th>{}", measure.title());
    }
    html.push_str("</tr>");
    for target in &outcome.targets {
        let Some(entries) = case.summary.get(&target.name) else {
            continue;
        };
        let _ = write!(html, "<tr><th>{}", escape(&target.name));
        for measure in &measures {
            let Some(entry) = entries.get(measure) else {
                html.push_str("<td>–");
                continue;
            };
            let Spread { median, min, max } = entry.figure;
            let _ = write!(
                html,
                "<td>{} <small>{}–{}</small>",
                figure(median),
                figure(min),
                figure(max)
            );
            if let Some(ratio) = entry.ratio.filter(|_| target.name != YARDSTICK) {
                let _ = write!(
                    html,
                    "<br>{:.2} × <small>{:.2}–{:.2}</small>",
                    ratio.median, ratio.min, ratio.max
                );
            }
        }
        html.push_str("</tr>");
    }
    html.push_str("</table></div>");
}

fn targets(html: &mut String, outcome: &Outcome) {
    html.push_str("<h2>Targets</h2><ul>");
    for target in &outcome.targets {
        let said = match (&target.not_here, &target.about) {
            (Some(why), _) => format!("not here: {why}"),
            (None, Some(about)) => about.clone(),
            (None, None) => "never started".to_owned(),
        };
        let _ = write!(
            html,
            "<li><b>{}</b> {}</li>",
            escape(&target.name),
            escape(&said)
        );
    }
    html.push_str("</ul><p>How each is set up stands at the top of its file in <code>loadtest/targets/</code>.</p>");
}

#[cfg(test)]
pub(super) mod tests {
    use super::{
        super::{
            bars::Bar,
            machine::Machine,
            outcome::{TargetEntry, tests::round},
        },
        *,
    };

    pub(in crate::compare) fn outcome() -> Outcome {
        let mut case = Case::new("small", "1 KiB & more");
        case.rounds.insert(
            "adit".into(),
            vec![round(3_000, 0.5, 1.0), round(6_000, 1.0, 2.0)],
        );
        case.rounds.insert(
            YARDSTICK.into(),
            vec![round(2_000, 1.0, 3.0), round(4_000, 2.0, 4.0)],
        );
        case.failures
            .insert("caddy".into(), "it ended <b>badly</b>".into());
        case.sum_up();
        let entry = |name: &str, not_here: Option<&str>| TargetEntry {
            name: name.into(),
            about: Some("some/1".into()),
            not_here: not_here.map(Into::into),
        };
        let targets = vec![
            entry("adit", None),
            entry(YARDSTICK, None),
            entry("rathole", Some("no <compiler>")),
            entry("caddy", None),
        ];
        let bar = Bar {
            text: "faster <than>".into(),
            case: "small".into(),
            measure: Measure::Throughput,
            target: "adit".into(),
            against: Some(YARDSTICK.into()),
            at_least: Some(1.6),
            at_most: None,
            dream: Some(2.0),
        };
        let cases = vec![case];
        Outcome {
            machine: Machine {
                cores: 4,
                processor: "a \"fine\" one".into(),
                memory_mib: 1,
                system: "Linux".into(),
                program: "adit-loadtest".into(),
                unix_seconds: 0,
            },
            took_seconds: 61,
            command: "compare --out 'a<b'".into(),
            seed: 1,
            bars: vec![bar.judge(&cases, &targets)],
            targets,
            cases,
        }
    }

    #[test]
    fn the_page_holds_everything_and_nothing_can_break_out() {
        let page = write(&outcome());
        for expected in [
            "1 KiB &amp; more",
            "not here: no &lt;compiler&gt;",
            "it ended &lt;b&gt;badly&lt;/b&gt;",
            "faster &lt;than&gt;",
            "a &quot;fine&quot; one",
            "MISSED",
            "1.50 × ",
        ] {
            assert!(page.contains(expected), "{expected} in {page}");
        }
        assert_eq!(page.matches("<svg").count(), 4);
        for banned in [
            "<script",
            "http://",
            "https://",
            "NaN",
            "<than>",
            "<compiler>",
        ] {
            assert!(!page.contains(banned), "{banned} in {page}");
        }
    }

    #[test]
    fn a_comparison_without_figures_is_shown_too() {
        let mut outcome = outcome();
        for case in &mut outcome.cases {
            case.rounds.clear();
            case.sum_up();
        }
        assert!(!write(&outcome).contains("<svg"));
    }
}
