//! Statistics of a few rounds: the median, and how far apart they were.

use std::fmt;

use serde::Serialize;

/// Median, lowest and highest of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

impl Spread {
    /// The spread of `figures`; `None` without any, or when one of them is no finite number.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        if figures.is_empty() || !figures.iter().all(|figure| figure.is_finite()) {
            return None;
        }
        figures.sort_by(f64::total_cmp);
        let (low, high) = (figures[(figures.len() - 1) / 2], figures[figures.len() / 2]);
        Some(Self {
            median: f64::midpoint(low, high),
            min: figures[0],
            max: figures[figures.len() - 1],
        })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, min, max } = *self;
        write!(f, "{} ({}–{})", figure(median), figure(min), figure(max))
    }
}

/// A figure with three digits that matter, as a person would write it.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if (0.0005..1.0).contains(&size) => format!("{value:.3}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let check = |figures: &[f64], expected: Option<(f64, f64, f64)>| {
            let spread = Spread::of(figures.iter().copied());
            assert_eq!(
                spread.map(|spread| (spread.median, spread.min, spread.max)),
                expected,
                "{figures:?}"
            );
        };
        check(&[], None);
        check(&[f64::NAN, 1.0], None);
        check(&[1.0, f64::INFINITY], None);
        check(&[4.0], Some((4.0, 4.0, 4.0)));
        check(&[9.0, 1.0, 2.0], Some((2.0, 1.0, 9.0)));
        check(&[9.0, 1.0, 2.0, 4.0], Some((3.0, 1.0, 9.0)));
    }

    #[test]
    fn figures_have_three_digits() {
        let shown = [12_345.6, 99.96, 1.234, 0.126, 0.0].map(figure);
        assert_eq!(shown, ["12346", "100.0", "1.23", "0.126", "0.00"]);
    }
}
