//! The parent of the children that open damaged files: hands out the cases, and knows at which one a child was when it
//! died or fell silent. A new child goes on behind it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::trial::{Cases, Mode, Verdict};
use crate::inside::child;
use crate::planted::Bug;

/// The most address space a child may take.
const MEMORY_BYTES: u64 = 2 << 30;

/// A case takes a few milliseconds. Whoever says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job<'a> {
    /// Where the image is.
    pub(super) image: &'a Path,
    pub(super) mode: Mode,
    pub(super) cases: Cases,
    pub(super) bug: Option<Bug>,
}

/// What came of each kind, and the cases that are worth a look.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) bad: Vec<(u64, Verdict)>,
}

impl Tally {
    fn add(&mut self, case: u64, verdict: Verdict) {
        *self.counts.entry(verdict.kind()).or_default() += 1;
        if !matches!(verdict, Verdict::Right | Verdict::Refused(_) | Verdict::Failed(_)) {
            self.bad.push((case, verdict));
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (kind, count) in other.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        self.bad.extend(other.bad);
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(super) fn of(&self, kind: &str) -> u64 {
        self.counts.get(kind).copied().unwrap_or(0)
    }
}

/// Tries the cases from `first` to before `last`, in two children at a time.
pub(super) fn try_cases(job: Job<'_>, first: u64, last: u64) -> Tally {
    let middle = first.midpoint(last);
    std::thread::scope(|scope| {
        let other = scope.spawn(move || try_in_one_child(job, middle, last));
        let mut tally = try_in_one_child(job, first, middle);
        tally.merge(other.join().unwrap());
        tally
    })
}

fn try_in_one_child(job: Job<'_>, mut next: u64, last: u64) -> Tally {
    let mut tally = Tally::default();
    while next < last {
        let (case, verdict) = watch(job, next, last, &mut tally);
        if let Some(verdict) = verdict {
            tally.add(case, verdict);
        }
        next = case + 1;
    }
    tally
}

/// Watches one child. Gives back the case it came to, and what became of that if the child did not say so itself.
fn watch(job: Job<'_>, first: u64, last: u64, tally: &mut Tally) -> (u64, Option<Verdict>) {
    let bug = job.bug.map_or_else(|| "none".to_owned(), |bug| format!("{bug:?}"));
    let (mode, cases) = (format!("{:?}", job.mode), format!("{:?}", job.cases));
    let range = [first, last].map(|number| number.to_string());
    let arguments = [job.image.to_str().unwrap(), &mode, &cases, &bug, &range[0], &range[1]];
    let mut child = child::start("damage", &arguments, Some(MEMORY_BYTES));
    let (output, mut errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (heard, said) = mpsc::channel();
    std::thread::spawn(move || child::lines(output).try_for_each(|line| heard.send(line)));
    // Every panic is told there; what is last is what a child died of.
    let complaints = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = errors.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        text[text.char_indices().nth_back(400).map_or(0, |(at, _)| at)..].to_owned()
    });
    // Before it says anything it loads the image: whoever dies there has not come to a case.
    let mut at = None;
    let ended = loop {
        match said.recv_timeout(PATIENCE) {
            Ok(line) => match line.split_once(' ') {
                Some(("at", case)) => at = Some(case.parse().unwrap()),
                Some(("done", rest)) => {
                    let (case, verdict) = rest.split_once(' ').unwrap();
                    let case: u64 = case.parse().unwrap();
                    assert_eq!(at.take(), Some(case));
                    tally.add(case, Verdict::parse(verdict));
                    if case + 1 == last {
                        at = Some(case);
                    }
                }
                _ => panic!("a child said {line:?}"),
            },
            Err(RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                break None;
            }
            Err(RecvTimeoutError::Disconnected) => break Some(()),
        }
    };
    let status = child.wait().unwrap();
    let complaints = complaints.join().unwrap();
    let at = at.unwrap_or_else(|| panic!("a child ended with {status} between two cases: {complaints}"));
    match ended {
        None => (at, Some(Verdict::Hung)),
        Some(()) if status.success() => (at, None),
        Some(()) => (at, Some(Verdict::Died(format!("{status}: {complaints}").replace('\n', " / ")))),
    }
}
