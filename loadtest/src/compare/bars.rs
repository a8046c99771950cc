//! The bars that the fabric has to pass, read from `bars.toml`, and whether it did.

use serde::{Deserialize, Serialize};

use super::{
    outcome::{Case, Measure, TargetEntry},
    spread::{Spread, figure},
};

/// The bars of this project.
pub const OURS: &str = include_str!("../../bars.toml");

/// Why a file of bars cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BarsError {
    /// It is not what is described here.
    #[error("reading the bars")]
    Toml(#[source] toml::de::Error),
    /// A bar needs one bound.
    #[error("the bar `{0}` needs either at_least or at_most")]
    Bound(String),
}

/// One bar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    /// What it says, for people.
    pub text: String,
    /// The load that it is about.
    pub case: String,
    /// What is looked at.
    pub measure: Measure,
    /// Who has to pass it.
    #[serde(default = "adit")]
    pub target: String,
    /// The target whose figure is the unit; without one the bound is a figure itself.
    pub against: Option<String>,
    /// The median may not be lower.
    pub at_least: Option<f64>,
    /// The median may not be higher.
    pub at_most: Option<f64>,
    /// What would be better still.
    pub dream: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bar: Vec<Bar>,
}

fn adit() -> String {
    "adit".into()
}

/// Reads a file of bars.
pub fn parse(text: &str) -> Result<Vec<Bar>, BarsError> {
    let file: File = toml::from_str(text).map_err(BarsError::Toml)?;
    match file
        .bar
        .iter()
        .find(|bar| bar.at_least.is_some() == bar.at_most.is_some())
    {
        Some(bar) => Err(BarsError::Bound(bar.text.clone())),
        None => Ok(file.bar),
    }
}

/// A bar, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// The bar.
    pub bar: Bar,
    /// Whether it was passed.
    pub passed: Passed,
    /// The figure that it was judged by: a ratio where the bar is against somebody.
    pub figure: Option<Spread>,
}

/// Whether a bar was passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Passed {
    /// The median is inside the bound.
    Met,
    /// It is not.
    Missed,
    /// There is no figure, and why.
    NotMeasured(String),
}

impl Passed {
    /// One word for a table.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::NotMeasured(_) => "not measured",
        }
    }
}

impl Bar {
    /// The bound, for people.
    pub fn bound(&self) -> String {
        let (sign, bound) = match (self.at_least, self.at_most) {
            (Some(bound), _) => ("≥", bound),
            (None, bound) => ("≤", bound.unwrap_or(f64::INFINITY)),
        };
        match &self.against {
            Some(against) => format!("{sign} {} × {against}", figure(bound)),
            None => format!("{sign} {} {}", figure(bound), self.measure.title()),
        }
    }

    /// Judges it by what was measured.
    pub fn judge(&self, cases: &[Case], targets: &[TargetEntry]) -> Verdict {
        let figure = self.figure(cases, targets);
        let passed = match &figure {
            Ok(figure) if self.holds(figure.median) => Passed::Met,
            Ok(_) => Passed::Missed,
            Err(why) => Passed::NotMeasured(why.clone()),
        };
        Verdict {
            bar: self.clone(),
            passed,
            figure: figure.ok(),
        }
    }

    fn holds(&self, figure: f64) -> bool {
        self.at_least.is_none_or(|bound| figure >= bound)
            && self.at_most.is_none_or(|bound| figure <= bound)
    }

    fn figure(&self, cases: &[Case], targets: &[TargetEntry]) -> Result<Spread, String> {
        let case = cases.iter().find(|case| case.name == self.case);
        let case = case.ok_or_else(|| format!("{} was not run", self.case))?;
        for name in [Some(&self.target), self.against.as_ref()]
            .into_iter()
            .flatten()
        {
            let target = targets.iter().find(|target| target.name == *name);
            let target = target.ok_or_else(|| format!("{name} was not asked for"))?;
            if let Some(why) = &target.not_here {
                return Err(format!("{name} is not here: {why}"));
            }
            if let Some(why) = case.failures.get(name) {
                return Err(format!("{name}: {why}"));
            }
        }
        let figure = match &self.against {
            Some(against) => case.ratio(&self.target, against, self.measure),
            None => case
                .summary
                .get(&self.target)
                .and_then(|entries| entries.get(&self.measure))
                .map(|entry| entry.figure),
        };
        figure.ok_or_else(|| "a round has no figure".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::outcome::tests::round, *};

    fn entry(name: &str, not_here: Option<&str>) -> TargetEntry {
        TargetEntry {
            name: name.into(),
            about: None,
            not_here: not_here.map(Into::into),
        }
    }

    fn bar(
        against: Option<&str>,
        measure: Measure,
        at_least: Option<f64>,
        at_most: Option<f64>,
    ) -> Bar {
        Bar {
            text: "a bar".into(),
            case: "small".into(),
            measure,
            target: adit(),
            against: against.map(Into::into),
            at_least,
            at_most,
            dream: None,
        }
    }

    #[test]
    fn bars_are_judged_by_the_median() {
        let mut case = Case::new("small", "");
        case.rounds.insert(
            "adit".into(),
            vec![
                round(1_500, 0.6, 1.0),
                round(1_600, 0.6, 1.0),
                round(900, 0.6, 1.0),
            ],
        );
        case.rounds
            .insert("nginx-nginx".into(), vec![round(1_000, 1.0, 2.0); 3]);
        case.rounds
            .insert("flaky".into(), vec![round(1_000, 1.0, 2.0)]);
        case.failures.insert("flaky".into(), "it ended".into());
        case.sum_up();
        let targets = [
            entry("adit", None),
            entry("nginx-nginx", None),
            entry("gone", Some("no such thing")),
            entry("flaky", None),
        ];
        let check = |bar: Bar, expected: Passed| {
            assert_eq!(
                bar.judge(&[case.clone()], &targets).passed,
                expected,
                "{bar:?}"
            );
        };
        let unmeasured = |why: &str| Passed::NotMeasured(why.into());
        let two = Some("nginx-nginx");
        check(bar(two, Measure::Throughput, Some(1.5), None), Passed::Met);
        check(
            bar(two, Measure::Throughput, Some(1.51), None),
            Passed::Missed,
        );
        check(bar(two, Measure::P99, None, Some(0.5)), Passed::Met);
        check(bar(two, Measure::P99, None, Some(0.4)), Passed::Missed);
        check(bar(None, Measure::Memory, None, Some(10.0)), Passed::Met);
        check(bar(None, Measure::Memory, None, Some(9.0)), Passed::Missed);
        check(
            bar(Some("gone"), Measure::Cpu, None, Some(1.0)),
            unmeasured("gone is not here: no such thing"),
        );
        check(
            bar(Some("other"), Measure::Cpu, None, Some(1.0)),
            unmeasured("other was not asked for"),
        );
        check(
            bar(Some("flaky"), Measure::Cpu, None, Some(1.0)),
            unmeasured("flaky: it ended"),
        );
        let elsewhere = Bar {
            case: "bulk".into(),
            ..bar(two, Measure::Cpu, None, Some(1.0))
        };
        check(elsewhere, unmeasured("bulk was not run"));
    }

    #[test]
    fn our_bars_can_be_read() {
        let bars = parse(OURS).unwrap();
        assert!(bars.len() > 10);
        assert_eq!(bars[0].bound(), "≥ 1.50 × nginx-nginx");
    }

    #[test]
    fn a_bar_has_one_bound() {
        let text = "[[bar]]\ntext = 'both'\ncase = 'a'\nmeasure = 'cpu'\n";
        for bounds in ["", "at_least = 1\nat_most = 2\n"] {
            let error = parse(&format!("{text}{bounds}")).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the bar `both` needs either at_least or at_most"
            );
        }
        assert!(matches!(
            parse("[[bar]]\nname = 'x'"),
            Err(BarsError::Toml(_))
        ));
    }
}
