//! Small plots as SVG, coloured by the page's style. Series are named where they end, so that no legend is needed.

use std::fmt::Write as _;

use super::spread::{Spread, figure};

/// Size of every plot, in pixels of a phone held upright.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 240.0;
const TOP: f64 = 12.0;
const LEFT: f64 = 46.0;
/// Names stand to the right of lines.
const RIGHT: f64 = 78.0;
const BOTTOM: f64 = 38.0;
/// Names that are nearer to each other than this cannot be read.
const LABEL_STEP: f64 = 12.0;
/// Lines of a grid, at most.
const TICKS_MAX: i32 = 6;
/// Height of one row of a bar plot.
const ROW: f64 = 24.0;

/// A target in a plot.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Number of its colour.
    pub colour: usize,
    /// Points in the units of the axes.
    pub points: Vec<(f64, f64)>,
}

/// What an axis shows.
#[derive(Debug, Clone)]
pub struct Axis {
    /// Its title.
    pub title: String,
    /// Each tenfold takes the same room.
    pub logarithmic: bool,
    /// Names of the values 0, 1, 2..; empty for numbers.
    pub names: Vec<String>,
}

impl Axis {
    /// An axis from zero.
    pub fn linear(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            logarithmic: false,
            names: Vec::new(),
        }
    }

    /// An axis on which each tenfold takes the same room.
    pub fn logarithmic(title: &str) -> Self {
        Self {
            logarithmic: true,
            ..Self::linear(title)
        }
    }

    /// An axis of named values.
    pub fn named(title: &str, names: &[&str]) -> Self {
        Self {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            ..Self::linear(title)
        }
    }
}

/// Makes text harmless inside HTML and SVG, attributes included.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A point for each target.
pub fn scatter(x: &Axis, y: &Axis, series: &[Series]) -> String {
    let plane = Plane::of(x, y, series);
    let mut svg = plane.begin(x, y);
    for one in series {
        let mut points = one.points.iter().map(|point| plane.place(*point));
        // The first point is the median, the others are the rounds.
        let Some((across, down)) = points.next() else {
            continue;
        };
        for (round_across, round_down) in points {
            let _ = write!(
                svg,
                r#"<circle class="c{} round" cx="{round_across:.1}" cy="{round_down:.1}" r="2"/>"#,
                one.colour
            );
        }
        let said = format!(
            "{}: {} {}, {} {}",
            one.name,
            figure(one.points[0].0),
            x.title,
            figure(one.points[0].1),
            y.title
        );
        let _ = write!(
            svg,
            r#"<circle class="c{} dot" cx="{across:.1}" cy="{down:.1}" r="4.5"><title>{}</title></circle>"#,
            one.colour,
            escape(&said),
        );
    }
    plane.name_ends(&mut svg, series, |one| one.points.first());
    svg + "</svg>"
}

/// A line for each target.
pub fn lines(x: &Axis, y: &Axis, series: &[Series]) -> String {
    let plane = Plane::of(x, y, series);
    let mut svg = plane.begin(x, y);
    for one in series {
        let path: Vec<String> = one
            .points
            .iter()
            .map(|point| plane.place(*point))
            .map(|(across, down)| format!("{across:.1},{down:.1}"))
            .collect();
        let _ = write!(
            svg,
            r#"<polyline class="c{} line" points="{}"><title>{}</title></polyline>"#,
            one.colour,
            path.join(" "),
            escape(&one.name),
        );
    }
    plane.name_ends(&mut svg, series, |one| one.points.last());
    svg + "</svg>"
}

/// A bar for each target, with the spread of its rounds.
pub fn bars(unit: &str, rows: &[(String, usize, Spread)]) -> String {
    let height = TOP + ROW * rows.len() as f64;
    let most = rows
        .iter()
        .map(|(.., spread)| spread.max)
        .fold(f64::MIN_POSITIVE, f64::max);
    let (left, right) = (84.0, 56.0);
    let long = |value: f64| (WIDTH - left - right) * (value / most).max(0.0);
    let mut svg = begin(WIDTH, height, unit);
    for (index, (name, colour, spread)) in rows.iter().enumerate() {
        let top = TOP / 2.0 + ROW * index as f64;
        let middle = top + ROW / 2.0;
        let text = middle + 4.0;
        let (from, to) = (left + long(spread.min), left + long(spread.max));
        let _ = write!(
            svg,
            r#"<text class="name" x="{:.1}" y="{text:.1}" text-anchor="end">{}</text><rect class="c{colour} bar" x="{left:.1}" y="{:.1}" width="{:.1}" height="{:.1}" rx="2"><title>{}</title></rect><path class="spread" d="M{from:.1} {middle:.1}H{to:.1}"/><text x="{:.1}" y="{text:.1}">{}</text>"#,
            left - 6.0,
            escape(name),
            top + 4.0,
            long(spread.median),
            ROW - 8.0,
            escape(&format!("{name}: {spread} {unit}")),
            to.max(left + long(spread.median)) + 6.0,
            figure(spread.median),
        );
    }
    svg + "</svg>"
}

fn begin(width: f64, height: f64, title: &str) -> String {
    format!(
        r#"<svg viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="{}">"#,
        escape(title)
    )
}

/// The room between the axes.
struct Plane {
    across: Scale,
    down: Scale,
}

impl Plane {
    fn of(x: &Axis, y: &Axis, series: &[Series]) -> Self {
        let points = || series.iter().flat_map(|one| &one.points);
        Self {
            across: Scale::of(x, points().map(|point| point.0), LEFT, WIDTH - RIGHT),
            down: Scale::of(y, points().map(|point| point.1), HEIGHT - BOTTOM, TOP),
        }
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.across.place(x), self.down.place(y))
    }

    /// The grid, with its figures and titles.
    fn begin(&self, x: &Axis, y: &Axis) -> String {
        let mut svg = begin(WIDTH, HEIGHT, &format!("{} by {}", y.title, x.title));
        let (right, floor) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, name) in self.down.ticks(y) {
            let at = self.down.place(value);
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{LEFT} {at:.1}H{right}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{name}</text>"#,
                LEFT - 5.0,
                at + 4.0,
            );
        }
        for (value, name) in self.across.ticks(x) {
            let at = self.across.place(value);
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{at:.1} {TOP}V{floor}"/><text x="{at:.1}" y="{:.1}" text-anchor="middle">{name}</text>"#,
                floor + 14.0,
            );
        }
        let _ = write!(
            svg,
            r#"<text class="axis" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            f64::midpoint(LEFT, right),
            HEIGHT - 6.0,
            escape(&x.title),
        );
        svg
    }

    /// Writes each name beside the place that `end` picks, or a little lower where others are in the way.
    fn name_ends(
        &self,
        svg: &mut String,
        series: &[Series],
        end: fn(&Series) -> Option<&(f64, f64)>,
    ) {
        let mut names: Vec<_> = series
            .iter()
            .filter_map(|one| end(one).map(|point| (self.place(*point), one)))
            .collect();
        names.sort_by(|((_, one), _), ((_, other), _)| one.total_cmp(other));
        let places = apart(names.iter().map(|((_, down), _)| *down));
        for (((across, down), one), at) in names.iter().zip(places) {
            let _ = write!(
                svg,
                r#"<path class="c{0} lead" d="M{across:.1} {down:.1}L{1:.1} {at:.1}"/><text class="c{0} name" x="{2:.1}" y="{3:.1}">{4}</text>"#,
                one.colour,
                WIDTH - RIGHT + 4.0,
                WIDTH - RIGHT + 7.0,
                at + 4.0,
                escape(&one.name),
            );
        }
    }
}

/// Moves ascending places so far apart that names can stand there: down where others are in the way, up at the bottom.
fn apart(places: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut free = TOP;
    let mut moved: Vec<f64> = places
        .map(|place| {
            let place = place.max(free);
            free = place + LABEL_STEP;
            place
        })
        .collect();
    let mut limit = HEIGHT - 6.0;
    for place in moved.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - LABEL_STEP;
    }
    moved
}

/// Turns values into places along one axis.
struct Scale {
    from: f64,
    to: f64,
    begin: f64,
    end: f64,
    logarithmic: bool,
}

impl Scale {
    fn of(axis: &Axis, values: impl Iterator<Item = f64> + Clone, begin: f64, end: f64) -> Self {
        let high = values.clone().fold(0.0, f64::max);
        let (from, to) = if axis.logarithmic {
            let low = values.filter(|value| *value > 0.0).fold(f64::MAX, f64::min);
            let low = if low == f64::MAX { 1.0 } else { low };
            let (from, to) = ((low / 1.3).log10(), (high.max(low) * 1.3).log10());
            (from, to)
        } else if axis.names.is_empty() {
            (0.0, if high > 0.0 { high * 1.08 } else { 1.0 })
        } else {
            (0.0, (axis.names.len().max(2) - 1) as f64)
        };
        Self {
            from,
            to,
            begin,
            end,
            logarithmic: axis.logarithmic,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic {
            value.max(1e-9).log10()
        } else {
            value
        };
        let part = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        self.begin + (self.end - self.begin) * part
    }

    fn ticks(&self, axis: &Axis) -> Vec<(f64, String)> {
        if !axis.names.is_empty() {
            let names = axis.names.iter().enumerate();
            return names
                .map(|(index, name)| (index as f64, escape(name)))
                .collect();
        }
        let values = if self.logarithmic {
            self.tenfolds()
        } else {
            self.steps()
        };
        values
            .into_iter()
            .map(|value| (value, short(value)))
            .collect()
    }

    /// 1, 2 and 5 times each power of ten; fewer when there is no room.
    fn tenfolds(&self) -> Vec<f64> {
        // A latency is between a microsecond and a day in ms.
        let powers = (-3..9).map(|power| 10_f64.powi(power));
        let inside = |value: &f64| (self.from..=self.to).contains(&value.log10());
        let fine: Vec<f64> = powers
            .clone()
            .flat_map(|power| [power, 2.0 * power, 5.0 * power])
            .filter(inside)
            .collect();
        if fine.len() <= 8 {
            return fine;
        }
        powers.filter(inside).collect()
    }

    fn steps(&self) -> Vec<f64> {
        let rough = (self.to - self.from) / f64::from(TICKS_MAX - 1);
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|times| times * power)
            .find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..=TICKS_MAX)
            .map(|index| step * f64::from(index))
            .filter(|value| *value <= self.to)
            .collect()
    }
}

/// A value on an axis: no digits that say nothing.
fn short(value: f64) -> String {
    if value >= 10_000.0 {
        return format!("{} k", short(value / 1_000.0));
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, points: &[(f64, f64)]) -> Series {
        Series {
            name: name.into(),
            colour: 0,
            points: points.to_vec(),
        }
    }

    #[test]
    fn names_cannot_leave_the_text() {
        let evil = "</title><script>alert('1\"&')";
        let y = Axis::linear(evil);
        let one = [series(evil, &[(1.0, 2.0)])];
        let spread = Spread {
            median: 1.0,
            min: 0.5,
            max: 2.0,
        };
        for svg in [
            scatter(&y, &y, &one),
            lines(&y, &y, &one),
            bars(evil, &[(evil.into(), 0, spread)]),
            lines(&Axis::named("", &[evil]), &y, &one),
        ] {
            assert!(
                !svg.contains("<script") && svg.contains("&lt;script&gt;"),
                "{svg}"
            );
        }
    }

    #[test]
    fn nothing_to_show_is_drawn_too() {
        for y in [Axis::linear("y"), Axis::logarithmic("y")] {
            for one in [
                vec![],
                vec![series("a", &[])],
                vec![series("a", &[(0.0, 0.0)])],
            ] {
                for svg in [scatter(&y, &y, &one), lines(&y, &y, &one), bars("y", &[])] {
                    assert!(
                        svg.ends_with("</svg>") && !svg.contains("NaN") && !svg.contains("inf"),
                        "{svg}"
                    );
                }
            }
        }
    }

    #[test]
    fn ticks_are_round_numbers() {
        let check = |axis: &Axis, values: &[f64], expected: &[&str]| {
            let scale = Scale::of(axis, values.iter().copied(), 0.0, 100.0);
            let names: Vec<_> = scale
                .ticks(axis)
                .into_iter()
                .map(|(_, name)| name)
                .collect();
            assert_eq!(names, expected);
        };
        check(&Axis::linear(""), &[3.0, 9.0], &["0", "2", "4", "6", "8"]);
        check(&Axis::linear(""), &[26_000.0], &["0", "10 k", "20 k"]);
        check(&Axis::logarithmic(""), &[0.4, 3.0], &["0.5", "1", "2"]);
        check(
            &Axis::logarithmic(""),
            &[0.001, 1_000.0],
            &["0.001", "0.01", "0.1", "1", "10", "100", "1000"],
        );
        check(&Axis::named("", &["a", "b"]), &[], &["a", "b"]);
    }

    #[test]
    fn names_do_not_cover_each_other() {
        let y = Axis::linear("y");
        let crowd: Vec<_> = (0..10)
            .map(|index| series(&format!("s{index}"), &[(1.0, 0.0)]))
            .collect();
        let svg = lines(&y, &y, &crowd);
        let mut places: Vec<f64> = svg
            .split("name\" x=\"289.0\" y=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect();
        places.sort_by(f64::total_cmp);
        assert_eq!(places.len(), 10);
        assert!(
            places
                .windows(2)
                .all(|two| two[1] - two[0] >= LABEL_STEP - 0.2),
            "{places:?}"
        );
    }
}
