//! Processes that are killed (SIGKILL) at a random moment, and what their files hold afterwards.
//!
//! ```text
//!   child: opens the file, works ── "did …", "saw …" ──> parent: listens, kills,
//!     │ a killed one leaves its file to the next           opens the file, audits it, works on in it
//!     └──────────────────────── many times over <──────────────────────┘
//! ```
//!
//! One file lives through many kills, so that a file that was recovered is what is killed next; some children are killed
//! while they open it, which is a second death during the recovery from the first. Others are killed while they create a
//! file or bring one of an old schema up to date. The children are this test binary, see `child.rs`; their work and how
//! it is checked is that of `witness.rs` and `audit.rs`.
//!
//! A seed chooses the work and the moment of the kill; how the threads share the time until then it does not, so a failure
//! may take a few tries to come back.
//!
//! What the dead process has written the operating system still has, so a kill cannot see that a sync is missing: the
//! control below shows it. That is what `cuts.rs` is for.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use super::audit::{Audit, Counts, IS_GONE};
use super::campaign::{report, seeds, with_seed};
use super::child::{self, Attended};
use super::openings::Opening;
use super::witness::Crew;
use crate::Store;
use crate::planted::Bug;

/// How many kills one file lives through.
const KILLS_OF_A_FILE: u64 = 25;

/// The bugs a child can be told to have. Under the first of them only those are deceived who follow another, and only if
/// their part has run when they wake.
const BUGS: [Bug; 3] = [Bug::AnswerBeforeCommit, Bug::CommitNotAwaited, Bug::SyncSkipped];

/// When a child is killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    /// So long after it began to open the file, or after that if the opening took less.
    Opening(Duration),
    /// So long after it had told of so many things.
    AtWork(u64, Duration),
}

impl Moment {
    pub(super) fn choose(rng: &mut fastrand::Rng) -> Self {
        if rng.u8(..4) == 0 {
            Self::Opening(soon(rng, 30_000.0))
        } else {
            let most = 1 << rng.u8(..11);
            Self::AtWork(rng.u64(..most), soon(rng, 4_000.0))
        }
    }

    /// While somebody opens a file, or, now and then, just after he has said that it is open.
    pub(super) fn of_an_opening(rng: &mut fastrand::Rng) -> Self {
        let wait = soon(rng, 20_000.0);
        if rng.u8(..4) == 0 { Self::AtWork(0, wait) } else { Self::Opening(wait) }
    }

    /// Waits for this moment of somebody who tells what he does, and gives back what was heard meanwhile. Who ends before
    /// it, ends the wait.
    pub(super) fn await_in(self, mut hear: impl FnMut() -> Option<String>) -> Vec<String> {
        let (begin, most_lines, wait) = match self {
            Self::Opening(wait) => ("opening", 0, wait),
            Self::AtWork(lines, wait) => ("opened", lines, wait),
        };
        let mut heard = Vec::new();
        while let Some(line) = hear() {
            heard.push(line);
            if heard.last().is_some_and(|line| line == begin) {
                break;
            }
        }
        heard.extend((0..most_lines).map_while(|_| hear()));
        std::thread::sleep(wait);
        heard
    }
}

/// As likely in one order of magnitude as in another.
pub(super) fn soon(rng: &mut fastrand::Rng, most_micros: f64) -> Duration {
    Duration::from_micros(most_micros.powf(rng.f64()) as u64)
}

/// What was killed, and what was found.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    kills: u64,
    during_opening: u64,
    counts: Counts,
}

/// A child's part: opens the store and works until it is killed.
pub(super) fn a_crew(arguments: &[String]) {
    child::end_with_parent();
    let [path, check_on_open, shift, workers, seed, bug] = arguments else { panic!("{arguments:?}") };
    let number = |text: &String| text.parse().unwrap();
    let crew = Crew {
        shift: number(shift),
        workers: number(workers),
        seed: number(seed),
        padding_max_bytes: 16_000,
        rounds: None,
        bug: BUGS.into_iter().find(|planted| format!("{planted:?}") == *bug),
    };
    child::say("opening");
    let store = Store::builder().check_on_open(check_on_open == "true").open(path).unwrap();
    child::say("opened");
    if crew.workers > 0 {
        let errors = crew.work(&store, &|told| child::say(&told));
        panic!("the work ended: {errors:?}");
    }
    loop {
        std::thread::park();
    }
}

fn start(path: &Path, crew: &Crew, check_on_open: bool) -> Attended {
    let Crew { shift, workers, seed, bug, .. } = crew;
    let [check, shift, workers, seed] =
        [check_on_open.to_string(), shift.to_string(), workers.to_string(), seed.to_string()];
    let bug = bug.map_or_else(String::new, |bug| format!("{bug:?}"));
    let arguments = [path.to_str().unwrap(), &check, &shift, &workers, &seed, &bug];
    Attended::new(child::start("crew", &arguments, None))
}

/// Kills a child at this moment, and gives back what it said.
fn kill_at(moment: Moment, child: Attended) -> Result<Vec<String>, String> {
    let mut said = moment.await_in(|| child.hear());
    said.extend(child.kill()?);
    Ok(said)
}

/// One file through many kills.
fn live(mut rng: fastrand::Rng) -> Result<Tally, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agents.khala");
    let mut audit = Audit::new();
    let mut tally = Tally::default();
    for kill in 1..=KILLS_OF_A_FILE {
        let (moment, check_on_open) = (Moment::choose(&mut rng), rng.bool());
        let crew = Crew::choose(kill, &mut rng);
        let case = |wrong| format!("kill {kill} of {KILLS_OF_A_FILE}, {moment:?}, {crew:?}: {wrong}");
        let said = kill_at(moment, start(&path, &crew, check_on_open)).map_err(case)?;
        audit.hear(&said);
        tally.kills += 1;
        tally.during_opening += u64::from(!said.iter().any(|line| line == "opened"));
        // Now and then the next child has to recover from this one's death.
        if kill == KILLS_OF_A_FILE || rng.u8(..3) > 0 {
            go_on(&path, &mut audit, rng.bool(), crew).map_err(case)?;
        }
    }
    tally.counts = audit.counts;
    Ok(tally)
}

/// Opens the file after a crew's end, audits it, and works on in it.
pub(super) fn go_on(path: &Path, audit: &mut Audit, check_on_open: bool, crew: Crew) -> Result<(), String> {
    let store = Store::builder().check_on_open(check_on_open).open(path);
    let store = store.map_err(|error| format!("it cannot be opened: {error}"))?;
    audit.check(&store)?;
    audit.tidy(&store)?;
    let told = Mutex::new(Vec::new());
    // Shifts of those who come afterwards have numbers of their own.
    let crew = Crew { shift: crew.shift + (1 << 24), workers: 2, rounds: Some(4), bug: None, ..crew };
    let errors = crew.work(&store, &|line| told.lock().unwrap().push(line));
    if !errors.is_empty() {
        return Err(format!("work does not go on: {errors:?}"));
    }
    audit.hear(&told.into_inner().unwrap());
    audit.check(&store)
}

#[test]
fn what_killed_processes_acknowledged_is_there_and_work_goes_on() {
    let (mut tally, mut files) = (Tally::default(), 0);
    for seed in seeds(8) {
        let lived = with_seed(seed, live);
        files += 1;
        tally.kills += lived.kills;
        tally.during_opening += lived.during_opening;
        tally.counts += lived.counts;
    }
    let Tally { kills, during_opening, counts: Counts { acknowledged, unanswered, audits, .. } } = tally;
    assert!(acknowledged > kills, "there was something to look for");
    report(format_args!(
        "kills: {kills} processes killed over {files} files, {during_opening} of them while they opened it; {acknowledged} \
         transactions acknowledged and all there, {unanswered} there that nobody was told of, whole; {audits} audits, \
         0 violations"
    ));
}

/// Kills openings of one path one after the other, and then looks at what they left.
fn kill_openings(opening: Opening, mut rng: fastrand::Rng) -> Result<(u64, u64), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agents.khala");
    opening.prepare(&path);
    let (mut kills, mut opened) = (0, 0);
    for shift in 0..rng.u64(1..4) {
        let crew = Crew { workers: 0, ..Crew::choose(shift, &mut rng) };
        let said = kill_at(Moment::of_an_opening(&mut rng), start(&path, &crew, rng.bool()))?;
        kills += 1;
        opened += u64::from(said.iter().any(|line| line == "opened"));
    }
    opening.check(&path, opened > 0)?;
    Ok((kills, opened))
}

#[test]
fn an_opening_that_is_killed_leaves_all_or_nothing() {
    for (opening, files) in [(Opening::Creation, 20), (Opening::Upgrade, 10)] {
        let (mut kills, mut opened) = (0, 0);
        for seed in seeds(files) {
            let (killed, too_late) = with_seed(seed, |rng| kill_openings(opening, rng));
            kills += killed;
            opened += too_late;
        }
        report(format_args!("kills: {opening:?}: {kills} openings killed, {opened} of them just after; 0 violations"));
    }
}

/// In how many of so many kills of a crew with this bug something that was promised is gone.
fn seen_in(bug: Bug, kills: u64) -> u64 {
    let is_seen = |seed| {
        with_seed(seed, |mut rng| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("agents.khala");
            let crew = Crew { workers: 32, bug: Some(bug), ..Crew::choose(1, &mut rng) };
            let moment = Moment::AtWork(rng.u64(5..50), soon(&mut rng, 4_000.0));
            let said = kill_at(moment, start(&path, &crew, true))?;
            let mut audit = Audit::new();
            audit.hear(&said);
            let store = Store::open(&path).map_err(|error| error.to_string())?;
            Ok(audit.check(&store).is_err_and(|wrong| wrong.contains(IS_GONE)))
        })
    };
    let first = fastrand::u64(..1 << 48);
    (first..first + kills).filter(|seed| is_seen(*seed)).count() as u64
}

#[test]
fn control_kills_see_an_answer_before_the_commit_and_cannot_see_a_missing_sync() {
    let seen @ [before, not_awaited, sync] = BUGS.map(|bug| seen_in(bug, 40));
    report(format_args!("kills, controls: seen in so many of 40 kills: {BUGS:?}, {seen:?}"));
    assert!(before > 0 && not_awaited > 0, "40 kills, and nobody saw an answer before the commit");
    assert_eq!(sync, 0, "what a dead process has written is there");
}
