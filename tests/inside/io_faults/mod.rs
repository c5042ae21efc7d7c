//! The disk fails: at every single request of a workload, once and for ever, with an I/O error, full, or in the middle
//! of a write.
//!
//! | file | what it tries |
//! |---|---|
//! | `alone.rs` | one caller, who takes all of `steps.rs`: every request from creation and recovery to closing |
//! | `company/` | writers in one batch and in the next, a reader, and agents who wait: every request; then at random |
//! | `told.rs` | who is told what: cases one by one |
//! | `files.rs` | a real file in a process that may not write any further, and folders that take no file |
//!
//! Whatever fails, the error says what and by whose word, [`Store::failure`] repeats it, everybody returns, and nothing
//! is done any more. A store opened on what the disk holds, or on what a power cut would leave of it, has everything that
//! was acknowledged, and all or nothing of what was not.

mod alone;
mod company;
mod contents;
mod files;
mod steps;
mod told;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::campaign::words_of;
use crate::db::{Asked, FailingDisk, Fault, Plan, Request};
use crate::planted::{Bug, planted, with_bug};
use crate::{Error, ManualClock, Result, Store, Timestamp};
use contents::Contents;
pub(super) use files::fills_a_file;

/// Longer than any case takes on a machine that still makes progress.
const PATIENCE: Duration = Duration::from_secs(60);

/// Said of a case that did not end.
const HANGS: &str = "somebody has not returned";

/// The bugs that the controls plant here: in every thread of a case, or they would go unnoticed.
const BUGS: [Bug; 3] = [Bug::AnswerBeforeCommit, Bug::FaultSwallowed, Bug::FailureNotTold];

fn bug_in_place() -> Option<Bug> {
    BUGS.into_iter().find(|bug| planted(*bug))
}

/// What the case says on a thread of its own: a panic in it is a violation, and so is not to end in time. A thread that
/// hangs is left behind.
fn within<T: Send + 'static>(
    patience: Duration,
    case: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let bug = bug_in_place();
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        let said = catch_unwind(AssertUnwindSafe(|| with_bug(bug, case)));
        let _ = ended.send(said.unwrap_or_else(|panic| Err(format!("a panic: {}", words_of(panic.as_ref())))));
    });
    end.recv_timeout(patience).unwrap_or_else(|_| Err(format!("{HANGS} after {patience:?}")))
}

/// A day after the fixtures were written: what can be due in them is.
fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_micros((1_700_000_000 + 86_400) * 1_000_000))
}

/// Rows of every kind, in every state, in a file of this schema.
fn fixture(schema: u32) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/schema-{schema}.khala", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

fn open(disk: &FailingDisk, cache_bytes: usize, check_on_open: bool) -> Result<Store> {
    Store::builder().clock(clock()).cache_bytes(cache_bytes).check_on_open(check_on_open).open_on(disk.clone())
}

/// What a caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// What failed, and nothing was done.
    Io,
    /// The commit failed.
    Unknown,
    /// The store refuses further work, and nothing was done.
    Refused,
}

/// Reads an error that a caller got of this fault. Wrong is one that does not say what failed, and one of another kind.
fn told(error: &Error, fault: Fault) -> Result<Told, String> {
    match error {
        Error::Io { source, path: Some(_), .. }
            if (source.kind(), source.raw_os_error()) == (fault.error().kind(), fault.error().raw_os_error()) =>
        {
            is_clear(&error.to_string(), fault).map(|()| Told::Io)
        }
        Error::CommitUnknown => Ok(Told::Unknown),
        Error::Poisoned => Ok(Told::Refused),
        other => Err(format!("the error is {other:?}")),
    }
}

/// Whether this says what could not be done, with what, and what the operating system said.
fn is_clear(words: &str, fault: Fault) -> Result<(), String> {
    let actions = ["read", "write to", "sync", "measure", "change the size of"];
    let named = actions.iter().any(|action| words.starts_with(&format!("cannot {action} the store disk: ")));
    if named && words.ends_with(&fault.error().to_string()) { Ok(()) } else { Err(format!("unclear: {words:?}")) }
}

/// After it has failed the store says why, and does nothing more for anybody.
fn refuses_everything(store: &Store, fault: Fault) -> Result<(), String> {
    is_clear(store.failure().ok_or("the store does not say that it has failed")?, fault)?;
    let agent = crate::AgentId::new("late").unwrap();
    let answers = [
        store.create_thread("late", "late").map(drop),
        store.open_tasks(1).map(drop),
        store.verify(),
        store.claim_next_within(&agent, &crate::TaskFilter::new(), Duration::MAX).map(drop),
    ];
    match answers.iter().find(|answer| !matches!(answer, Err(Error::Poisoned))) {
        None => Ok(()),
        Some(answer) => Err(format!("after its failure the store says {answer:?}")),
    }
}

/// What `survives` says of an image begins with this, so that the controls know a loss from any other violation.
const IMAGE: &str = "of what is left after";

/// Opens what a process killed now leaves, and what a power cut leaves, and has each looked at: it must be whole, and
/// taken up again.
fn survives(disk: &FailingDisk, look: impl Fn(&Store, Contents) -> Result<(), String>) -> Result<(), String> {
    let (content, durable) = (disk.content(), disk.durable());
    let cut = (content != durable).then_some(("a power cut", durable));
    for (cause, image) in std::iter::once(("the end of the process", content)).chain(cut) {
        let reopened = || -> Result<(Store, Contents)> {
            let store = open(&FailingDisk::of(image), 1 << 20, true)?;
            store.verify()?;
            let contents = store.read(Contents::of)?;
            Ok((store, contents))
        };
        let (store, contents) = reopened().map_err(|error| format!("{IMAGE} {cause}: it does not open: {error}"))?;
        look(&store, contents).map_err(|wrong| format!("{IMAGE} {cause}: {wrong}"))?;
        store
            .create_thread("afterwards", "ada")
            .map_err(|error| format!("{IMAGE} {cause}: it does not work: {error}"))?;
    }
    Ok(())
}

/// A fault to try, and at which request.
#[derive(Clone, Copy)]
struct Trial {
    request: Request,
    plan: Plan,
}

/// Every fault of every one of these requests, once and for ever.
fn every_fault(requests: &[Asked], random: &mut fastrand::Rng) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (after, Asked { request, .. }) in (0..).zip(requests.iter().copied()) {
        for fault in [Fault::Eio, Fault::Enospc, Fault::ShortWrite(random.usize(..))] {
            for for_ever in [false, true] {
                let plan = Plan { after, only: None, fault, for_ever };
                trials.extend(fault.concerns(request).then_some(Trial { request, plan }));
            }
        }
    }
    trials
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, plan: Plan { after, fault, for_ever, .. } } = self;
        write!(f, "request {after} ({request:?}), {fault:?} {}", if *for_ever { "from then on" } else { "once" })
    }
}
