//! The goals, and whether they are reached: information, not a test, since figures are another machine's tomorrow.

use crate::format::{in_unit, ratio};
use crate::measure::{Measure, Place, Results, Unit};
use crate::peer::PeerName;

/// Something to reach: a ratio, or a value.
struct Goal {
    what: String,
    /// The ratio or value that was measured.
    reached: f64,
    wanted: Wanted,
}

#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// A value in a unit instead of a ratio.
    ValueAtMost(f64, Unit),
}

impl Goal {
    fn is_reached(&self) -> bool {
        match self.wanted {
            Wanted::AtLeast(wanted) => self.reached >= wanted,
            Wanted::AtMost(wanted) | Wanted::ValueAtMost(wanted, _) => self.reached <= wanted,
        }
    }

    fn line(&self) -> String {
        let (wanted, reached) = match self.wanted {
            Wanted::AtLeast(wanted) => (format!("≥ {}", ratio(wanted)), ratio(self.reached)),
            Wanted::AtMost(wanted) => (format!("≤ {}", ratio(wanted)), ratio(self.reached)),
            Wanted::ValueAtMost(wanted, unit) => (format!("≤ {}", in_unit(wanted, unit)), in_unit(self.reached, unit)),
        };
        let answer = if self.is_reached() { "yes" } else { "no" };
        format!("{:<78} {wanted:>10} {reached:>10}  {answer}", self.what)
    }
}

/// Says of each goal that was measured what was to be reached, what was, and whether it is enough.
pub(crate) fn print(results: &Results) {
    let goals = goals(results);
    println!("\n{:<78} {:>10} {:>10}  reached?", "goal", "wanted", "measured");
    for goal in &goals {
        println!("{}", goal.line());
    }
    let reached = goals.iter().filter(|goal| goal.is_reached()).count();
    println!("{reached} of {} goals that were measured are reached", goals.len());
}

fn goals(results: &Results) -> Vec<Goal> {
    let mut goals = Vec::new();
    goals.extend(against_sqlite(results, PeerName::SqliteGrouped, Measure::ClaimComplete, &GROUPED_CLAIMS));
    goals.extend(against_sqlite(results, PeerName::SqliteGrouped, Measure::Append256, &GROUPED_APPENDS));
    for measure in [Measure::ClaimComplete, Measure::Append256] {
        goals.extend(against_sqlite(results, PeerName::Sqlite, measure, &MUTEX));
    }
    goals.extend(faster(results, Measure::Drain, 1.0));
    for (measure, times) in FASTER {
        goals.extend(faster(results, measure, times));
    }
    goals.extend(growths(results));
    goals.extend(storage(results));
    goals
}

/// How fast, of the rival's speed, by threads.
const GROUPED_CLAIMS: [(usize, f64); 4] = [(1, 0.7), (8, 0.8), (32, 1.25), (128, 1.2)];
const GROUPED_APPENDS: [(usize, f64); 4] = [(1, 0.7), (8, 0.8), (32, 1.1), (128, 1.2)];
const MUTEX: [(usize, f64); 2] = [(32, 10.0), (128, 16.0)];

/// How many times as fast as SQLite.
const FASTER: [(Measure, f64); 6] = [
    (Measure::ReadAll, 12.0),
    (Measure::ReadLast, 5.0),
    (Measure::ReadStep, 1.5),
    (Measure::OpenTasks, 2.0),
    (Measure::ExpireDue, 15.0),
    (Measure::ExpireNone, 80.0),
];

/// What every durable operation may cost among many rows, of its cost among few.
const MOST_GROWTH: f64 = 1.3;

const REOPEN_SECONDS: f64 = 0.050;
const MEMORY_BYTES: f64 = 200e6;
const MOST_DISK: f64 = 1.1;

fn against_sqlite(
    results: &Results,
    rival: PeerName,
    measure: Measure,
    wanted: &[(usize, f64)],
) -> impl Iterator<Item = Goal> {
    let places = results.places(measure).into_iter();
    places.filter_map(move |place| {
        let (_, wanted) = wanted.iter().find(|(threads, _)| *threads == place.threads)?;
        let Place { rows, threads, .. } = place;
        let what = format!("{}, {threads} threads, {rows} rows, of {}", measure.title(), rival.label());
        let reached = results.advantage(place, PeerName::Khala, rival)?;
        Some(Goal { what, reached, wanted: Wanted::AtLeast(*wanted) })
    })
}

fn faster(results: &Results, measure: Measure, times: f64) -> impl Iterator<Item = Goal> {
    results.places(measure).into_iter().filter_map(move |place| {
        let what = format!("{} ({} rows), times as fast as SQLite, grouped", measure.title(), place.rows);
        let reached = results.advantage(place, PeerName::Khala, PeerName::SqliteGrouped)?;
        Some(Goal { what, reached, wanted: Wanted::AtLeast(times) })
    })
}

/// Each durable operation among the most rows and among the fewest.
fn growths(results: &Results) -> Vec<Goal> {
    let writes = [Measure::ClaimComplete, Measure::CreateClaimComplete, Measure::Append256, Measure::Append4k];
    let mut goals = Vec::new();
    for measure in writes {
        let places = results.places(measure);
        let rows = |place: &Place| place.rows;
        let (few, many) = (places.iter().map(rows).min(), places.iter().map(rows).max());
        let Some((few, many)) = few.zip(many).filter(|(few, many)| few < many) else { continue };
        for place in places.into_iter().filter(|place| place.rows == many) {
            let what = format!("{}, {} threads, cost among {many} of among {few} rows", measure.title(), place.threads);
            let growth = results.growth(place, PeerName::Khala, few, many);
            goals.extend(growth.map(|reached| Goal { what, reached, wanted: Wanted::AtMost(MOST_GROWTH) }));
        }
    }
    goals
}

fn storage(results: &Results) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut value = |measure: Measure, most, unit| {
        for place in results.places(measure) {
            let summary = results.summary(place, PeerName::Khala);
            let what = format!("{}, {} rows", measure.title(), place.rows);
            goals.extend(summary.map(|summary| Goal {
                what,
                reached: summary.median,
                wanted: Wanted::ValueAtMost(most, unit),
            }));
        }
    };
    value(Measure::ReopenCheckpointed, REOPEN_SECONDS, Unit::Seconds);
    value(Measure::LoadMemory, MEMORY_BYTES, Unit::Bytes);
    for place in results.places(Measure::DiskBytes) {
        let smaller = results.advantage(place, PeerName::Khala, PeerName::SqliteGrouped);
        let what = format!("{}, {} rows, of SQLite's", Measure::DiskBytes.title(), place.rows);
        goals.extend(smaller.map(|times| Goal { what, reached: 1.0 / times, wanted: Wanted::AtMost(MOST_DISK) }));
    }
    goals
}
