//! Damaged files: whatever becomes of a file behind its owner's back, opening it is an error or gives the right answer.
//!
//! A file is damaged while nobody has it open, and opened: every bit of the header is flipped, one at a time; and at
//! random, bits are flipped, pages zeroed, overwritten, swapped, copied, taken from another store or from an earlier
//! time of this one (a lost write), and the file is cut off or made longer. What is right is what was stored, row for
//! row, through every list and count; a state of the past is as wrong as any other.
//!
//! | | with the check on open, the default | without it | damaged while it is open |
//! |---|---|---|---|
//! | an error, or the right answer | yes | yes | yes |
//! | a refused file that was changed | never | | |
//! | a wrong answer | never | counted | counted |
//! | a panic | never | never | never |
//! | the process dies, or hangs | never | counted | counted |
//!
//! Each file is opened in a child process with a bound on its memory, watched by one that kills it when it falls silent.
//! Engine and codec are compiled as they ship: the dev profile turns debug assertions and overflow checks off for every
//! dependency (see Cargo.toml), which was checked in the compiler's arguments; khala's own code keeps them, so that an
//! overflow in it is a panic here.
//!
//! The images are made anew in each run, of the same operations, so a seed finds the same harm in the same place. The
//! damaged file of a violation is kept, and its path is told.

mod contents;
mod harm;
mod images;
mod trial;
mod watch;

use std::fs;
use std::path::Path;

use harm::{HEADER_BITS, RECEIPT_BITS};
use images::Image;
use trial::{Cases, Mode, Verdict};
use watch::{Job, Tally, try_cases};

use super::campaign::{report, seeds, times};
use crate::planted::Bug;

/// What a child does.
pub(super) fn child(arguments: &[String]) {
    trial::child(arguments);
}

fn with_images<T>(f: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    images::write_all(folder.path());
    f(folder.path())
}

/// Tries so many seeds, spread over the images; and keeps the file of whatever is bad.
fn try_seeds(folder: &Path, mode: Mode, bug: Option<Bug>, count: u64) -> Tally {
    let mut all = Tally::default();
    let seeds = seeds(count);
    let share = (seeds.end - seeds.start).div_ceil(images::NAMES.len() as u64);
    let mut first = seeds.start;
    for name in images::NAMES {
        let job = Job { image: &folder.join(name), mode, cases: Cases::Seeds, bug };
        let last = (first + share).min(seeds.end);
        // One seed alone is one that is to be tried again: on which image, nobody knows.
        let tally = if share == 1 { try_cases(job, seeds.start, seeds.end) } else { try_cases(job, first, last) };
        first = last;
        keep(&job, name, &tally);
        all.merge(tally);
    }
    all
}

/// Keeps the damaged files of what went wrong, and says where. Without the check on open only panics count as that.
fn keep(job: &Job<'_>, name: &str, tally: &Tally) {
    if job.bug.is_some() {
        return;
    }
    let image = Image::read(job.image);
    let is_wrong = |verdict: &Verdict| job.mode == Mode::Checked || matches!(verdict, Verdict::Panicked(_));
    for (case, verdict) in tally.bad.iter().filter(|(_, verdict)| is_wrong(verdict)).take(10) {
        let harm = trial::harm(job.cases, *case, &image);
        let path = std::env::temp_dir().join(format!("damaged-{name}-{:?}-{case}.khala", job.cases));
        fs::write(&path, harm.done_to(&image)).unwrap();
        let again = if job.cases == Cases::Seeds { format!(", KHALA_SEED={case}") } else { String::new() };
        report(format!("damage, {:?}, {name}{again}: {harm}: {verdict}; kept as {}", job.mode, path.display()));
    }
}

/// The control: of so many runs with this bug, in how many something was seen, and of how many files.
fn detection(bug: Bug, runs: u64, mut run: impl FnMut() -> Tally) -> String {
    let (mut seen, mut bad, mut files) = (0, 0, 0);
    for _ in 0..runs {
        let tally = run();
        seen += u64::from(!tally.bad.is_empty());
        bad += tally.bad.len();
        files += tally.total();
    }
    assert_eq!(seen, runs, "{bug:?} is planted, and not every run sees it");
    format!("{bug:?} seen in {seen} of {runs} runs ({bad} of {files} files)")
}

#[test]
fn a_file_with_a_flipped_header_bit_is_an_error_or_gives_the_right_answer() {
    with_images(|folder| {
        let mut all = Tally::default();
        // The first two tell the cases apart that matter most: closed in good order, and not.
        let names = if times(1) > 1 { &images::NAMES[..] } else { &images::NAMES[..2] };
        for name in names {
            let job = Job { image: &folder.join(name), mode: Mode::Checked, cases: Cases::Bits, bug: None };
            let tally = try_cases(job, 0, HEADER_BITS + RECEIPT_BITS);
            keep(&job, name, &tally);
            report(format!("damage, header bits of {name}: {:?}", tally.counts));
            all.merge(tally);
        }
        report(format!(
            "damage, every header bit: {} files, {:?}, violations {}",
            all.total(),
            all.counts,
            all.bad.len()
        ));
        assert!(all.bad.is_empty(), "{:?}", all.bad);
    });
}

#[test]
fn a_damaged_file_is_an_error_or_gives_the_right_answer() {
    with_images(|folder| {
        let all = try_seeds(folder, Mode::Checked, None, 5_000);
        report(format!(
            "damage, checked on open: {} files, {:?}, violations {}",
            all.total(),
            all.counts,
            all.bad.len()
        ));
        assert!(all.bad.is_empty(), "{:?}", all.bad);
    });
}

#[test]
fn damage_that_nobody_looks_for_is_never_a_panic() {
    with_images(|folder| {
        for mode in [Mode::Unchecked, Mode::InUse] {
            let all = try_seeds(folder, mode, None, 1_000);
            report(format!("damage, {mode:?}: {} files, {:?}", all.total(), all.counts));
            assert_eq!(all.of("panicked"), 0, "{:?}", all.bad);
        }
    });
}

#[test]
fn control_damage_is_seen() {
    with_images(|folder| {
        let closed = Job { image: &folder.join("closed"), mode: Mode::Checked, cases: Cases::Seeds, bug: None };
        let seeds = |job: Job<'_>, count| {
            let first = fastrand::u64(..1 << 48);
            try_cases(job, first, first + times(count))
        };
        let runs = 5;
        let told = [
            detection(Bug::CheckSkipped, runs, || seeds(Job { bug: Some(Bug::CheckSkipped), ..closed }, 100)),
            detection(Bug::RepairedBeforeRefused, runs, || {
                let killed = &folder.join("killed");
                seeds(Job { image: killed, bug: Some(Bug::RepairedBeforeRefused), ..closed }, 100)
            }),
            detection(Bug::ReceiptIgnored, 1, || {
                let killed = &folder.join("killed");
                let job = Job { image: killed, bug: Some(Bug::ReceiptIgnored), cases: Cases::Bits, ..closed };
                try_cases(job, 0, HEADER_BITS)
            }),
            detection(Bug::PanicLetThrough, runs, || {
                seeds(Job { mode: Mode::Unchecked, bug: Some(Bug::PanicLetThrough), ..closed }, 100)
            }),
        ];
        report(format!("damage, controls: {}", told.join("; ")));
    });
}
