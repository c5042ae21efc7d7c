//! Time from left to right: where a moment stands, and where the axis is marked.
//!
//! Marks stand on round moments: of microseconds to seconds in steps of 1, 2 or 5, of minutes and hours as a clock has
//! them, of whole weeks from Monday, of months and years as the calendar has them.

use jiff::Timestamp as Moment;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;
use khala::Timestamp;

const MILLISECOND: i64 = 1_000;
const SECOND: i64 = 1_000 * MILLISECOND;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Weeks begin on Mondays, and the epoch was a Thursday.
const FIRST_MONDAY: i64 = 4 * DAY;

/// How far marks are apart at the least, in pixels: as much as the longest label takes.
const APART: i64 = 110;

/// From when to when, and where on the picture that is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    from: i64,
    to: i64,
    left: i32,
    width: i32,
}

/// A place on the axis that is marked.
#[derive(Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) x: f64,
    pub(crate) label: String,
}

/// How far marks are apart in time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Micros(i64),
    Months(i32),
}

impl Axis {
    /// From one moment to another, which is made a little later if there is no time between them.
    pub(crate) fn new(from: Timestamp, to: Timestamp, left: i32, width: i32) -> Self {
        let (from, to) = (from.as_micros(), to.as_micros());
        let to = if to > from { to } else { from + SECOND };
        Self { from, to, left, width }
    }

    /// Where this moment stands, in pixels from the left edge; what lies outside stands at the end.
    pub(crate) fn x(&self, moment: Timestamp) -> f64 {
        self.x_of(moment.as_micros())
    }

    fn x_of(&self, micros: i64) -> f64 {
        let into = i128::from(micros.clamp(self.from, self.to) - self.from);
        let hundredths = into * 100 * i128::from(self.width) / i128::from(self.to - self.from);
        f64::from(self.left) + f64::from(i32::try_from(hundredths).unwrap_or(i32::MAX)) / 100.0
    }

    /// The moments that are marked.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        let most = (i64::from(self.width) / APART).max(1);
        let step = steps().find(|step| (self.to - self.from) / step.micros() < most).unwrap_or(Step::Months(24_000));
        let moments: Vec<i64> = match step {
            Step::Micros(step) => self.moments_by_clock(step),
            Step::Months(months) => self.moments_by_calendar(months),
        };
        moments.into_iter().map(|micros| Tick { x: self.x_of(micros), label: label(micros, step) }).collect()
    }

    fn moments_by_clock(&self, step: i64) -> Vec<i64> {
        let anchor = if step % (7 * DAY) == 0 { FIRST_MONDAY } else { 0 };
        let first = (self.from - anchor).div_euclid(step) * step + anchor;
        let moments = (0..).map_while(|number: i64| step.checked_mul(number)?.checked_add(first));
        moments.skip_while(|micros| *micros < self.from).take_while(|micros| *micros <= self.to).collect()
    }

    fn moments_by_calendar(&self, months: i32) -> Vec<i64> {
        let begin = civil(self.from);
        let first = (i32::from(begin.year()) * 12 + i32::from(begin.month()) - 1).div_euclid(months) * months;
        let moments = (0..).map_while(|number: i32| first_of_month(months.checked_mul(number)?.checked_add(first)?));
        moments.skip_while(|micros| *micros < self.from).take_while(|micros| *micros <= self.to).collect()
    }
}

impl Step {
    fn micros(self) -> i64 {
        match self {
            Self::Micros(micros) => micros,
            Self::Months(months) => i64::from(months) * (YEAR / 12),
        }
    }
}

/// All steps there are, the smallest first.
fn steps() -> impl Iterator<Item = Step> {
    let below_a_second = (0..6).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_i64.pow(power)));
    let by_the_clock = [1, 2, 5, 10, 15, 30].map(|step| step * SECOND).into_iter();
    let by_the_clock = by_the_clock.chain([1, 2, 5, 10, 15, 30].map(|step| step * MINUTE));
    let by_the_clock = by_the_clock.chain([1, 2, 3, 6, 12].map(|step| step * HOUR));
    let by_the_clock = by_the_clock.chain([1, 2, 7, 14].map(|step| step * DAY));
    let years = (0..4).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_i32.pow(power) * 12));
    let by_the_calendar = [1, 3, 6].into_iter().chain(years);
    below_a_second.chain(by_the_clock).map(Step::Micros).chain(by_the_calendar.map(Step::Months))
}

/// The first of a month, counted from the year 0.
fn first_of_month(months: i32) -> Option<i64> {
    let year = i16::try_from(months.div_euclid(12)).ok()?;
    let month = i8::try_from(months.rem_euclid(12) + 1).ok()?;
    let midnight = Date::new(year, month, 1).ok()?.at(0, 0, 0, 0);
    Some(Offset::UTC.to_timestamp(midnight).ok()?.as_microsecond())
}

fn civil(micros: i64) -> DateTime {
    Offset::UTC.to_datetime(Moment::from_microsecond(micros).unwrap_or_default())
}

fn label(micros: i64, step: Step) -> String {
    let format = match step {
        Step::Months(months) if months % 12 == 0 => "%Y",
        Step::Months(_) => "%b %Y",
        Step::Micros(_) if micros % DAY == 0 => "%b %-d",
        Step::Micros(step) if step % MINUTE == 0 => "%H:%M",
        Step::Micros(step) if step % SECOND == 0 => "%H:%M:%S",
        Step::Micros(step) if step % MILLISECOND == 0 => "%H:%M:%S.%3f",
        Step::Micros(_) => "%H:%M:%S.%6f",
    };
    civil(micros).strftime(format).to_string()
}

/// From when to when, and how long that is, for people.
pub(crate) fn range(from: Timestamp, to: Timestamp) -> String {
    let (begin, end) = (civil(from.as_micros()), civil(to.as_micros()));
    let end_format = if begin.date() == end.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    let (begin, end) = (begin.strftime("%Y-%m-%d %H:%M:%S"), end.strftime(end_format));
    if from == to {
        return format!("{begin} UTC");
    }
    format!("{begin} to {end} UTC, {}", duration(to.as_micros() - from.as_micros()))
}

/// So long, in its largest unit, and the next smaller one where that says more.
pub(crate) fn duration(micros: i64) -> String {
    const UNITS: [(i64, &str); 7] =
        [(YEAR, "y"), (DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s"), (MILLISECOND, "ms"), (1, "µs")];
    let largest = UNITS.iter().position(|(unit, _)| micros >= *unit).unwrap_or(UNITS.len() - 1);
    let mut parts = UNITS.iter().skip(largest);
    let (unit, name) = parts.next().copied().unwrap_or((1, "µs"));
    let (whole, rest) = (micros / unit, micros % unit);
    match parts.next().map(|(unit, name)| (rest / unit, name)) {
        Some((more, next)) if whole < 10 && more > 0 => format!("{whole} {name} {more} {next}"),
        _ => format!("{whole} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn labels(from: &str, to: &str) -> Vec<String> {
        Axis::new(at(from), at(to), 0, 1_000).ticks().into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn marks_stand_on_round_moments_whatever_the_range() {
        assert_eq!(labels("2026-01-01T12:00:00Z", "2026-01-01T12:00:09Z").first().unwrap(), "12:00:00");
        assert_eq!(
            labels("2026-01-01T12:00:00.00015Z", "2026-01-01T12:00:00.00075Z"),
            [
                "12:00:00.000200",
                "12:00:00.000300",
                "12:00:00.000400",
                "12:00:00.000500",
                "12:00:00.000600",
                "12:00:00.000700"
            ]
            .map(String::from)
        );
        assert_eq!(
            labels("2026-01-31T20:10:00Z", "2026-02-01T09:00:00Z"),
            ["22:00", "Feb 1", "02:00", "04:00", "06:00", "08:00"].map(String::from)
        );
        // Mondays.
        assert_eq!(
            labels("2026-11-01T00:00:00Z", "2026-11-30T00:00:00Z"),
            ["Nov 2", "Nov 9", "Nov 16", "Nov 23", "Nov 30"].map(String::from)
        );
        assert_eq!(labels("2025-11-15T00:00:00Z", "2026-04-15T00:00:00Z").first().unwrap(), "Dec 2025");
        assert_eq!(labels("2000-01-01T00:00:00Z", "2003-01-01T00:00:00Z").len(), 7, "every half a year");
        assert_eq!(
            labels("0000-01-01T00:00:00Z", "9999-12-30T22:00:00Z"),
            ["0000", "2000", "4000", "6000", "8000"].map(String::from)
        );
    }

    #[test]
    fn there_are_a_few_marks_for_any_range() {
        let mut span = 1_i64;
        while span < 300_000_000_000_000_000 {
            for from in [-1_000_000_007, 0, 1_700_000_000_123_457] {
                let (from, to) = (Timestamp::from_micros(from), Timestamp::from_micros(from + span));
                let ticks = Axis::new(from, to, 100, 1_000).ticks();
                assert!((1..=10).contains(&ticks.len()), "{} marks from {from} to {to}", ticks.len());
                assert!(ticks.windows(2).all(|pair| pair[1].x - pair[0].x > 50.0 && pair[1].label != pair[0].label));
                assert!(ticks.iter().all(|tick| (100.0..=1_100.0).contains(&tick.x)));
            }
            span = span * 3 / 2 + 1;
        }
    }

    #[test]
    fn a_moment_outside_stands_at_the_end_and_an_axis_without_length_has_one() {
        let axis = Axis::new(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"), 10, 100);
        let places = [0_i64, 500_000, 2_000_000]
            .map(|later| axis.x(at("2026-01-01T00:00:00Z") + std::time::Duration::from_micros(later.unsigned_abs())));
        assert!(places.iter().zip([10.0, 60.0, 110.0]).all(|(x, wanted)| (x - wanted).abs() < 0.01), "{places:?}");
    }

    #[test]
    fn durations_are_short() {
        let micros = [0, 7, 1_500, 18_250_000, 65_000_000, 2 * HOUR, 3 * DAY + HOUR, 4_000 * DAY];
        let said = ["0 µs", "7 µs", "1 ms 500 µs", "18 s", "1 min 5 s", "2 h", "3 d 1 h", "10 y"];
        assert_eq!(micros.map(duration), said);
    }
}
