//! Power cuts of a real file system, and what a store in it holds afterwards.
//!
//! ```text
//!   an ext4 in an image ── mount ──> workers on a store ── FS_IOC_SHUTDOWN ──> every request fails
//!           ^                                                                        │
//!           └──── unmount: what was not on the disk is forgotten <───────────────────┘
//! ```
//!
//! What was written and not synced is gone, which no killed process can bring about; how the power is cut stands in
//! `machine.rs`.
//!
//! The store is open while the power goes: every worker must be told, as `Io`, `CommitUnknown` or `Poisoned`, and none may
//! hang. Work and audit are those of `witness.rs` and `audit.rs`; one file lives through many cuts.
//!
//! It takes root and loop devices; without them the tests say so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::audit::{Audit, Counts};
use super::campaign::{report, seeds, with_seed};
use super::kills::{Moment, go_on, soon};
use super::machine::Machine;
use super::mounts::{run, why_not};
use super::openings::Opening;
use super::witness::Crew;
use crate::planted::{Bug, with_bug};
use crate::{AgentId, Error, Store, TaskFilter};

/// How many cuts one file system lives through.
const CUTS_OF_A_MACHINE: u64 = 28;

/// How a crew's work came to its end.
#[derive(Debug)]
struct Ended {
    errors: Vec<Error>,
    /// What the store said to those who came afterwards, and why.
    afterwards: Vec<Error>,
    failure: Option<String>,
}

/// Opens the store, and works until the power goes.
fn work(crew: Crew, check_on_open: bool) -> impl FnOnce(&Path, &Sender<String>) -> Ended + Send + 'static {
    move |file, tell| {
        tell.send("opening".into()).unwrap();
        let store = match Store::builder().check_on_open(check_on_open).open(file) {
            Ok(store) => store,
            Err(error) => return Ended { errors: vec![error], afterwards: vec![], failure: None },
        };
        tell.send("opened".into()).unwrap();
        let errors = crew.work(&store, &|line| drop(tell.send(line)));
        // The first may still find out for itself.
        let write = |store: &Store| store.create_thread("too", "late").map(drop);
        let afterwards = [write, Store::verify, write].iter().filter_map(|call| call(&store).err()).collect();
        Ended { errors, afterwards, failure: store.failure().map(Into::into) }
    }
}

impl Ended {
    /// Whether everybody was told, and clearly.
    fn check(&self, crew: &Crew, was_opened: bool) -> Result<(), String> {
        let is_clear = |error: &Error| matches!(error, Error::Io { .. } | Error::CommitUnknown | Error::Poisoned);
        let everybody =
            if was_opened { self.errors.len() as u64 == crew.workers || self.errors.len() == 1 } else { true };
        let afterwards = !was_opened || matches!(self.afterwards[..], [_, _, Error::Poisoned]);
        let all_clear = self.errors.iter().chain(&self.afterwards).all(is_clear);
        let has_reason =
            self.failure.is_some() || !self.errors.iter().any(|error| matches!(error, Error::CommitUnknown));
        if everybody && afterwards && all_clear && has_reason { Ok(()) } else { Err(format!("{self:?}")) }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    cuts: u64,
    during_opening: u64,
    counts: Counts,
}

/// One file on one machine through many cuts.
fn live(mut rng: fastrand::Rng) -> Result<Tally, String> {
    let machine = Machine::new(&mut rng);
    let file = machine.disk.path().join("agents.khala");
    let mut audit = Audit::new();
    let mut tally = Tally::default();
    for cut in 1..=CUTS_OF_A_MACHINE {
        let (moment, crew) = (Moment::choose(&mut rng), Crew::choose(cut, &mut rng));
        let case = |wrong| format!("cut {cut}, {}, {moment:?}, {crew:?}: {wrong}", machine.described);
        let check_on_open = rng.bool();
        let (told, ended) = machine.cut(&file, moment, &mut rng, work(crew, check_on_open)).map_err(case)?;
        let was_opened = told.of_an_opening();
        ended.check(&crew, was_opened).map_err(case)?;
        audit.hear(&told.before);
        audit.hear_in_doubt(&told.meanwhile);
        tally.cuts += 1;
        tally.during_opening += u64::from(!was_opened);
        // Now and then the next crew has to recover from this cut.
        if cut == CUTS_OF_A_MACHINE || rng.u8(..3) > 0 {
            go_on(&file, &mut audit, rng.bool(), crew).map_err(case)?;
        }
    }
    tally.counts = audit.counts;
    Ok(tally)
}

/// Whether cuts can be tried here; says aloud if not.
fn can_cut() -> bool {
    let why_not = why_not();
    if let Some(why) = &why_not {
        report(format_args!("cuts: SKIPPED, no real power cuts were tried: {why}"));
    }
    why_not.is_none()
}

#[test]
fn what_was_acknowledged_survives_power_cuts_and_work_goes_on() {
    if !can_cut() {
        return;
    }
    let (mut tally, mut machines) = (Tally::default(), 0);
    for seed in seeds(8) {
        let lived = with_seed(seed, live);
        machines += 1;
        tally.cuts += lived.cuts;
        tally.during_opening += lived.during_opening;
        tally.counts += lived.counts;
    }
    let Tally { cuts, during_opening, counts } = tally;
    let Counts { acknowledged, unanswered, in_doubt, in_doubt_and_gone, audits } = counts;
    assert!(acknowledged > cuts, "there was something to look for");
    report(format_args!(
        "cuts: {cuts} power cuts of {machines} ext4 file systems, {during_opening} of them while the store was opened; \
         {acknowledged} transactions acknowledged and all there, {unanswered} there that nobody was told of, whole; \
         {in_doubt} acknowledged while the power went, and {in_doubt_and_gone} of them gone with it; {audits} audits, \
         0 violations"
    ));
}

/// Opens a store, says so, and closes it.
fn open(bug: Option<Bug>) -> impl FnOnce(&Path, &Sender<String>) -> Option<Error> + Send + 'static {
    move |file, tell| {
        tell.send("opening".into()).unwrap();
        with_bug(bug, || Store::open(file).map(|_store| tell.send("opened".into()).unwrap()).err())
    }
}

/// Cuts the power during openings of one file, and looks at what they left.
fn cut_openings(machine: &Machine, opening: Opening, rng: &mut fastrand::Rng) -> Result<Tally, String> {
    let folder = tempfile::tempdir_in(machine.disk.path()).unwrap();
    let file = folder.path().join("agents.khala");
    opening.prepare(&file);
    // The folder, and what is in it, are on the disk before anything is cut.
    run("sync", ["-f".as_ref(), folder.path()]);
    let mut tally = Tally::default();
    let mut was_opened = false;
    for _ in 0..rng.u8(1..=2) {
        let moment = Moment::of_an_opening(rng);
        let (told, error) = machine.cut(&file, moment, rng, open(None))?;
        if let Some(error) = error.filter(|error| !matches!(error, Error::Io { path: Some(_), .. })) {
            return Err(format!("{opening:?}, {moment:?}: the error is {error:?}"));
        }
        let opened = told.of_an_opening();
        was_opened |= told.before.iter().any(|line| line == "opened");
        tally.cuts += 1;
        tally.during_opening += u64::from(!opened);
    }
    opening.check(&file, was_opened).map(|()| tally)
}

#[test]
fn an_opening_whose_power_is_cut_leaves_all_or_nothing() {
    if !can_cut() {
        return;
    }
    for (opening, machines) in [(Opening::Creation, 4), (Opening::Upgrade, 3)] {
        let mut tally = Tally::default();
        for seed in seeds(machines) {
            with_seed(seed, |mut rng| {
                let machine = Machine::new(&mut rng);
                for _ in 0..10 {
                    let of_one = cut_openings(&machine, opening, &mut rng)?;
                    tally.cuts += of_one.cuts;
                    tally.during_opening += of_one.during_opening;
                }
                Ok(())
            });
        }
        let Tally { cuts, during_opening, .. } = tally;
        report(format_args!(
            "cuts: {opening:?}: {cuts} power cuts, {during_opening} of them before its end; 0 violations"
        ));
    }
}

#[test]
fn who_waits_for_a_task_is_told_of_a_power_cut() {
    if !can_cut() {
        return;
    }
    let mut rng = fastrand::Rng::new();
    let machine = Machine::new(&mut rng);
    let file = machine.disk.path().join("agents.khala");
    let scene = |file: &Path, tell: &Sender<String>| {
        let store = Store::open(file).unwrap();
        let thread = store.create_thread("review", "ada").unwrap().id;
        let wait = || {
            let nobodys = TaskFilter::new().role("nobody's");
            store.claim_next_within(&AgentId::new("ada").unwrap(), &nobodys, Duration::MAX).unwrap_err()
        };
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..3).map(|_| scope.spawn(wait)).collect();
            tell.send("opened".into()).unwrap();
            let writer = (0..).find_map(|n| {
                let message = crate::NewMessage::new("user", n.to_string());
                store.append_message(thread, message).err()
            });
            let told: Vec<_> = waiting.into_iter().map(|waiting| waiting.join().unwrap()).collect();
            (writer.unwrap(), told)
        })
    };
    let moment = Moment::AtWork(0, Duration::from_millis(20));
    let (_, (writer, told)) = machine.cut(&file, moment, &mut rng, scene).unwrap();
    let is_clear = |error: &Error| matches!(error, Error::Io { .. } | Error::CommitUnknown | Error::Poisoned);
    assert!(is_clear(&writer) && told.iter().all(is_clear), "{writer:?}, {told:?}");
    Store::open(&file).unwrap().verify().unwrap();
}

const CONTROL_MACHINES: u64 = 4;
const CONTROL_CUTS: u64 = 40;

/// In how many cuts something that was promised under this bug is gone. How often depends on how a file system is
/// mounted, so there are several.
fn seen(is_seen: impl Fn(&Machine, &mut fastrand::Rng) -> Result<bool, String>) -> u64 {
    let mut rng = fastrand::Rng::new();
    let mut on_one = || {
        let machine = Machine::new(&mut rng);
        (0..CONTROL_CUTS / CONTROL_MACHINES).filter(|_| is_seen(&machine, &mut rng).unwrap()).count() as u64
    };
    (0..CONTROL_MACHINES).map(|_| on_one()).sum()
}

/// Whether this look at a file misses something. Where nothing that was written belongs together, the engine may panic.
fn is_missed(look: impl FnOnce() -> Result<(), String>) -> bool {
    catch_unwind(AssertUnwindSafe(look)).map_or(true, |kept| kept.is_err())
}

fn is_seen_at_work(machine: &Machine, rng: &mut fastrand::Rng) -> Result<bool, String> {
    let folder = tempfile::tempdir_in(machine.disk.path()).unwrap();
    let file = folder.path().join("agents.khala");
    let mut audit = Audit::new();
    go_on(&file, &mut audit, true, Crew::choose(0, rng))?;
    let crew = Crew { bug: Some(Bug::SyncSkipped), ..Crew::choose(1, rng) };
    let moment = Moment::AtWork(rng.u64(5..50), soon(rng, 4_000.0));
    let (told, _) = machine.cut(&file, moment, rng, work(crew, true))?;
    audit.hear(&told.before);
    audit.hear_in_doubt(&told.meanwhile);
    let look = || Store::open(&file).map_err(|error| error.to_string()).and_then(|store| audit.check(&store));
    Ok(is_missed(look))
}

fn is_seen_in_creation(machine: &Machine, rng: &mut fastrand::Rng) -> Result<bool, String> {
    let folder = tempfile::tempdir_in(machine.disk.path()).unwrap();
    run("sync", ["-f".as_ref(), folder.path()]);
    let file = folder.path().join("agents.khala");
    let moment = Moment::AtWork(0, soon(rng, 4_000.0));
    machine.cut(&file, moment, rng, open(Some(Bug::SyncSkipped)))?;
    Ok(is_missed(|| Opening::Creation.check(&file, true)))
}

#[test]
fn control_power_cuts_see_a_missing_sync() {
    if !can_cut() {
        return;
    }
    let (at_work, in_creation) = (seen(is_seen_at_work), seen(is_seen_in_creation));
    report(format_args!(
        "cuts, control: a missing sync was seen in {at_work} of {CONTROL_CUTS} cuts at work, and in {in_creation} of \
         {CONTROL_CUTS} just after a creation"
    ));
    assert!(at_work > 0 && in_creation > 0, "nobody saw a missing sync");
}
