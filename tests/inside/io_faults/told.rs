//! Who is told what when the disk fails, case by case.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::open;
use crate::db::{FailingDisk, Fault, Plan, Request};
use crate::inside::faults::{Together, append, contents};
use crate::planted::{Bug, with_bug};
use crate::{AgentId, Error, NewMessage, Store, TaskFilter, ThreadId};

/// From now on the disk fails at whatever it is asked for of this kind, or of every kind.
fn broken(disk: &FailingDisk, only: Option<Request>) {
    disk.arm(Some(Plan { after: 0, only, fault: Fault::Eio, for_ever: true }));
}

/// A store with a thread on a disk that works, and a cache of this size.
fn started(cache_bytes: usize) -> (FailingDisk, Store, ThreadId) {
    let disk = FailingDisk::default();
    let store = open(&disk, 1 << 20, true).unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    drop(store);
    let store = open(&disk, cache_bytes, false).unwrap();
    (disk, store, thread)
}

/// Every acknowledged message is in what a power cut leaves; the error says what is missing.
fn acknowledged_survives_a_failed_sync() -> Result<(), String> {
    let (disk, store, thread) = started(1 << 20);
    let mut acknowledged = vec![];
    let mut append = |content: &str| {
        let outcome = store.append_message(thread, NewMessage::new("user", content));
        if outcome.is_ok() {
            acknowledged.push(content.to_owned());
        }
        outcome
    };
    append("durable").unwrap();
    broken(&disk, Some(Request::Sync));
    let failed = append("not durable");
    disk.arm(None);
    let refused = append("refused");
    let reopened = open(&FailingDisk::of(disk.durable()), 1 << 20, true).unwrap();
    reopened.verify().unwrap();
    let stored = contents(&reopened, thread);
    if acknowledged.iter().any(|content| !stored.contains(content)) {
        return Err(format!("acknowledged {acknowledged:?}, stored {stored:?}"));
    }
    assert!(matches!(failed, Err(Error::CommitUnknown)), "{failed:?} {:?}", store.failure());
    assert!(matches!(refused, Err(Error::Poisoned)), "{refused:?}");
    assert!(matches!(store.thread(thread), Err(Error::Poisoned)), "readers too");
    assert_eq!(store.failure(), Some("cannot sync the store disk: Input/output error (os error 5)"));
    Ok(())
}

#[test]
fn a_failed_commit_is_unknown_and_poisons_the_store_and_loses_nothing_acknowledged() {
    acknowledged_survives_a_failed_sync().unwrap();
}

#[test]
fn control_an_answer_before_the_commit_is_seen() {
    with_bug(Some(Bug::AnswerBeforeCommit), acknowledged_survives_a_failed_sync).unwrap_err();
}

#[test]
fn a_failed_commit_reaches_everybody_in_the_batch() {
    let (disk, store, thread) = started(1 << 20);
    // Makes room for what follows: the engine syncs also where the file grows, and that would be another failure.
    store.append_message(thread, NewMessage::new("user", "x".repeat(200_000))).unwrap();
    std::thread::scope(|scope| {
        let mut batch = Together::new(scope, &store);
        let runs = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..5).map(|_| batch.join(append(thread, "lost", &runs))).collect();
        let reader = batch.join(move |tx| tx.thread(thread));
        broken(&disk, Some(Request::Sync));
        batch.go();
        for writer in writers {
            let told = writer.join().unwrap();
            assert!(matches!(told, Err(Error::CommitUnknown)), "{told:?} {:?}", store.failure());
        }
        // Not even what was only read is handed out: it was read beside writes that may be gone.
        assert!(matches!(reader.join().unwrap(), Err(Error::CommitUnknown)));
    });
    assert!(matches!(store.open_tasks(1), Err(Error::Poisoned)));
}

/// Three agents wait for a task, and the store fails: each of them is told.
fn wakes_everybody_who_waits(fail: impl FnOnce(&FailingDisk, &Store, ThreadId)) {
    let (disk, store, thread) = started(0);
    let agent = AgentId::new("ada").unwrap();
    std::thread::scope(|scope| {
        let wait = || store.claim_next_within(&agent, &TaskFilter::new(), Duration::MAX);
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(wait)).collect();
        fail(&disk, &store, thread);
        for waiter in waiting {
            // Whose own try met the failure is told what it was.
            let told = waiter.join().unwrap();
            assert!(matches!(told, Err(Error::Poisoned | Error::Io { .. })), "{told:?}");
        }
    });
    let failure = store.failure().unwrap();
    assert!(failure.ends_with("the store disk: Input/output error (os error 5)"), "{failure}");
}

#[test]
fn a_failed_commit_wakes_everybody_who_waits_for_a_task() {
    wakes_everybody_who_waits(|disk, store, thread| {
        broken(disk, Some(Request::Sync));
        assert!(store.append_message(thread, NewMessage::new("user", "lost")).is_err());
    });
}

#[test]
fn a_read_that_fails_wakes_everybody_who_waits_for_a_task() {
    wakes_everybody_who_waits(|disk, store, thread| {
        broken(disk, Some(Request::Read));
        assert!(store.thread(thread).is_err());
    });
}

#[test]
fn a_reader_that_panics_over_an_error_wakes_everybody_who_waits_for_a_task() {
    wakes_everybody_who_waits(|disk, store, thread| {
        let read = || {
            store.read(|tx| {
                broken(disk, Some(Request::Read));
                Ok(tx.thread(thread).expect("a disk that works"))
            })
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_err();
    });
}

#[test]
fn a_read_that_fails_is_an_error_that_says_what_failed_and_so_does_the_store_from_then_on() {
    let (disk, store, thread) = started(0);
    broken(&disk, Some(Request::Read));
    let first = store.thread(thread);
    assert!(
        matches!(&first, Err(Error::Io { source, path: Some(path), .. })
            if source.raw_os_error() == Some(5) && path.as_os_str() == "disk"),
        "{first:?}"
    );
    disk.arm(None);
    assert_eq!(store.failure(), Some("cannot read the store disk: Input/output error (os error 5)"));
    assert!(matches!(store.thread(thread), Err(Error::Poisoned)));
    let second = store.create_thread("review", "ada");
    assert!(matches!(second, Err(Error::Poisoned)), "{second:?}");
    drop(store);
    open(&disk, 1 << 20, true).unwrap().verify().unwrap();
}

/// The engine tells one of them what failed, and the other one only that something did.
#[test]
fn a_writer_that_comes_second_to_a_failure_knows_its_reason() {
    let (disk, store, thread) = started(0);
    let outcome = store.read(|tx| {
        broken(&disk, Some(Request::Read));
        let _looks_away = tx.thread(thread);
        Ok(())
    });
    assert!(outcome.is_ok(), "it got along without");
    assert_eq!(store.failure(), Some("cannot read the store disk: Input/output error (os error 5)"));
    assert!(matches!(store.create_thread("review", "ada"), Err(Error::Poisoned)));
}

/// A batch too large for one commit: the first commit succeeds, and the operation after it fails.
#[test]
fn whoever_is_stored_is_not_told_that_nothing_was_done() {
    let (disk, store, thread) = started(1 << 20);
    let large = "x".repeat(crate::limits::TEXT_MAX_BYTES);
    std::thread::scope(|scope| {
        let mut batch = Together::new(scope, &store);
        let runs = Arc::new(AtomicUsize::new(0));
        let stored: Vec<_> = (0..4).map(|_| batch.join(append(thread, &large, &runs))).collect();
        let (breaking, mut fifth) = (disk.clone(), append(thread, &large, &runs));
        let failing = batch.join(move |tx| {
            broken(&breaking, Some(Request::Write));
            fifth(tx)
        });
        batch.go();
        for writer in stored.into_iter().chain([failing]) {
            let told = writer.join().unwrap();
            assert!(matches!(told, Err(Error::CommitUnknown)), "{told:?}");
        }
    });
    disk.arm(None);
    drop(store);
    let reopened = open(&disk, 1 << 20, true).unwrap();
    assert_eq!(contents(&reopened, thread).len(), 4);
    reopened.verify().unwrap();
}

#[test]
fn a_checkpoint_that_fails_is_unknown_and_the_next_one_is_refused() {
    let (disk, store, _) = started(1 << 20);
    broken(&disk, Some(Request::Sync));
    let told = [store.checkpoint(), store.checkpoint()];
    assert!(matches!(told, [Err(Error::CommitUnknown), Err(Error::Poisoned)]), "{told:?}");
    assert!(store.failure().unwrap().starts_with("cannot sync the store disk: "));
}

#[test]
fn a_checkpoint_in_a_batch_that_cannot_be_run_is_refused() {
    let (disk, store, thread) = started(0);
    std::thread::scope(|scope| {
        let mut batch = Together::new(scope, &store);
        let reader = batch.join(move |tx| tx.thread(thread));
        let checkpoint = batch.join_by(Store::checkpoint);
        broken(&disk, Some(Request::Read));
        batch.go();
        let told = (reader.join().unwrap(), checkpoint.join().unwrap());
        assert!(matches!(told, (Err(Error::Io { .. }), Err(Error::Poisoned))), "{told:?}");
    });
}
