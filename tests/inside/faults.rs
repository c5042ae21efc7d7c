//! Group commit when something fails: a closure, in time or too late, or the caller. When the disk fails: `io_faults`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread::{Scope, ScopedJoinHandle};

use crate::db::{TableDef, TestDisk};
use crate::planted::{Bug, planted_here, with_bug};
use crate::{AgentId, Error, MessageFilter, NewMessage, NewTask, Result, Store, ThreadId, WriteTx};

/// Writers whose closures are certain to share one batch.
pub(super) struct Together<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    store: &'env Store,
    blocker: ScopedJoinHandle<'scope, ()>,
    release: mpsc::Sender<()>,
    joined: usize,
}

impl<'scope, 'env> Together<'scope, 'env> {
    /// Occupies the engine, so that whoever comes now waits in one open batch.
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, store: &'env Store) -> Self {
        let (started, start) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let blocker = scope.spawn(move || {
            store
                .write(move |_| {
                    started.send(()).unwrap();
                    released.recv().unwrap();
                    Ok(())
                })
                .unwrap();
        });
        start.recv().unwrap();
        Self { scope, store, blocker, release, joined: 0 }
    }

    /// Adds a writer to the batch, behind those already in it.
    pub(super) fn join<T, F>(&mut self, f: F) -> ScopedJoinHandle<'scope, Result<T>>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    {
        self.join_by(move |store| store.write(f))
    }

    /// Adds a writer that calls `write` once, and may do something before and after. The bug planted here is planted
    /// there too.
    pub(super) fn join_by<T: Send + 'scope>(
        &mut self,
        write: impl FnOnce(&Store) -> T + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, T> {
        let (store, bug) = (self.store, planted_here());
        let handle = self.scope.spawn(move || with_bug(bug, || write(store)));
        self.joined += 1;
        while store.writer().waiting() < self.joined {
            std::thread::yield_now();
        }
        handle
    }

    pub(super) fn go(self) {
        self.release.send(()).unwrap();
        self.blocker.join().unwrap();
    }
}

/// A store whose file has room: the engine adds syncs of its own when it grows the file, and who counts must not meet one.
fn store_with_room(disk: &TestDisk) -> Store {
    let store = Store::builder().open_on(disk.clone()).unwrap();
    let thread = store.create_thread("making room", "ada").unwrap().id;
    store.append_message(thread, NewMessage::new("user", "x".repeat(1 << 20))).unwrap();
    assert!(store.delete_thread(thread).unwrap());
    // What a commit frees can be used from the one after the next on.
    for _ in 0..2 {
        store.create_thread("making room", "ada").unwrap();
    }
    store
}

pub(super) fn contents(store: &Store, thread: ThreadId) -> Vec<String> {
    let messages = store.thread_messages(thread, &MessageFilter::new()).unwrap();
    messages.into_iter().map(|message| message.content).collect()
}

/// A closure that appends a message and counts how often it ran.
pub(super) fn append(
    thread: ThreadId,
    content: &str,
    runs: &Arc<AtomicUsize>,
) -> impl FnMut(&mut WriteTx<'_>) -> Result<u64> + Send + 'static {
    let (content, runs) = (content.to_owned(), Arc::clone(runs));
    move |tx| {
        runs.fetch_add(1, SeqCst);
        Ok(tx.append_message(thread, &NewMessage::new("user", &*content))?.id.as_u64())
    }
}

#[test]
fn a_closure_that_fails_before_it_writes_costs_the_batch_nothing() {
    let disk = TestDisk::default();
    let store = store_with_room(&disk);
    let thread = store.create_thread("review", "ada").unwrap().id;
    let runs = Arc::new(AtomicUsize::new(0));
    let syncs = disk.syncs();
    std::thread::scope(|scope| {
        let mut batch = Together::new(scope, &store);
        let first = batch.join(append(thread, "first", &runs));
        let failing = batch.join(|tx| tx.create_thread("", "ada"));
        let panicking = batch.join(|_| -> Result<()> { panic!("before it wrote") });
        let last = batch.join(append(thread, "last", &runs));
        batch.go();
        assert!(matches!(failing.join().unwrap(), Err(Error::InvalidInput { .. })));
        assert_eq!(*panicking.join().unwrap_err().downcast::<&str>().unwrap(), "before it wrote");
        assert_eq!((first.join().unwrap().unwrap(), last.join().unwrap().unwrap()), (2, 3));
    });
    assert_eq!(runs.load(SeqCst), 2, "nobody ran twice");
    assert_eq!(disk.syncs(), syncs + 1, "one commit for all");
    assert_eq!(contents(&store, thread), ["first", "last"]);
    store.verify().unwrap();
}

#[test]
fn a_closure_that_fails_after_it_wrote_leaves_nothing_and_the_others_run_again() {
    let disk = TestDisk::default();
    let store = store_with_room(&disk);
    let thread = store.create_thread("review", "ada").unwrap().id;
    let runs = Arc::new(AtomicUsize::new(0));
    let syncs = disk.syncs();
    std::thread::scope(|scope| {
        let mut batch = Together::new(scope, &store);
        let first = batch.join(append(thread, "first", &runs));
        let failing = batch.join(move |tx| {
            tx.append_message(thread, &NewMessage::new("user", "never said"))?;
            Err::<(), _>(Error::aborted("too late"))
        });
        let last = batch.join(append(thread, "last", &runs));
        batch.go();
        assert_eq!(failing.join().unwrap().unwrap_err().to_string(), "aborted: too late");
        assert_eq!((first.join().unwrap().unwrap(), last.join().unwrap().unwrap()), (2, 3), "no id is lost");
    });
    assert_eq!(runs.load(SeqCst), 3, "the first ran again, the last had not run yet");
    assert_eq!(disk.syncs(), syncs + 1, "still one commit");
    assert_eq!(contents(&store, thread), ["first", "last"]);
    store.verify().unwrap();
}

#[test]
fn a_panic_after_a_write_reaches_its_own_caller_and_nobody_else() {
    let store = Store::in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    let runs = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let mut batch = Together::new(scope, &store);
        let panicking = batch.join(move |tx| -> Result<()> {
            tx.append_message(thread, &NewMessage::new("user", "never said"))?;
            panic!("after it wrote");
        });
        let other = batch.join(append(thread, "said", &runs));
        batch.go();
        assert_eq!(*panicking.join().unwrap_err().downcast::<&str>().unwrap(), "after it wrote");
        other.join().unwrap().unwrap();
    });
    assert_eq!(contents(&store, thread), ["said"]);
    store.verify().unwrap();
}

#[test]
fn half_a_batch_that_fails_late_is_sorted_out() {
    let store = Store::in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    let runs = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let mut batch = Together::new(scope, &store);
        let writers: Vec<_> = (0..40)
            .map(|n| {
                let mut append = append(thread, &n.to_string(), &runs);
                let run = move |tx: &mut WriteTx<'_>| {
                    append(tx)?;
                    if n % 2 == 0 { Ok(n) } else { Err(Error::aborted(n.to_string())) }
                };
                batch.join(run)
            })
            .collect();
        batch.go();
        for (n, writer) in writers.into_iter().enumerate() {
            match writer.join().unwrap() {
                Ok(kept) => assert_eq!((kept, n % 2), (n, 0)),
                Err(error) => assert_eq!(error.to_string(), format!("aborted: {n}")),
            }
        }
    });
    let kept: Vec<_> = (0..40).step_by(2).map(|n: i32| n.to_string()).collect();
    assert_eq!(contents(&store, thread), kept);
    store.verify().unwrap();
}

#[test]
fn a_batch_of_large_texts_is_committed_in_parts_and_whole() {
    let store = Store::in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    // Not syncs, of which the engine adds some where it grows the file by so much.
    let commits = || {
        let stored = store.read(|tx| tx.tables().value(&TableDef::variable("meta"), b"commits")).unwrap().unwrap();
        u64::from_be_bytes(stored.try_into().unwrap())
    };
    let before = commits();
    let large = "x".repeat(crate::limits::TEXT_MAX_BYTES);
    std::thread::scope(|scope| {
        let mut batch = Together::new(scope, &store);
        let writers: Vec<_> =
            (0..9).map(|_| batch.join(append(thread, &large, &Arc::new(AtomicUsize::new(0))))).collect();
        batch.go();
        let ids: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap().unwrap()).collect();
        assert_eq!(ids, (1..=9).collect::<Vec<_>>());
    });
    assert_eq!(commits(), before + 3, "144 MiB in commits of 64");
    store.verify().unwrap();
}

#[test]
fn a_failed_write_is_not_kept_even_if_its_closure_looks_away() {
    let store = Store::in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    let task = store.create_task(thread, NewTask::new("reviewer", "Read.").timeout_seconds(1)).unwrap().id;
    let agent = AgentId::new("ada").unwrap();
    // An index entry that should be gone stands in the way of the one that is due.
    let claim = with_bug(Some(Bug::StaleIndexEntryKept), || store.claim_task(task, &agent)).unwrap().unwrap();
    let outcome = store.write(move |tx| {
        let claimed = tx.task(task)?;
        tx.append_message(thread, &NewMessage::new("user", "lost with it"))?;
        let looked_away = tx.reopen_for_test(task);
        assert!(matches!(looked_away, Err(Error::Corrupt { table: "tasks_by_status", .. })), "{looked_away:?}");
        Ok(claimed)
    });
    assert!(matches!(outcome, Err(Error::Corrupt { table: "tasks", .. })), "{outcome:?}");
    assert_eq!(contents(&store, thread), Vec::<String>::new());
    assert_eq!(store.task(task).unwrap().unwrap(), claim.task);
    assert!(
        matches!(store.verify(), Err(Error::Corrupt { table: "tasks_by_status", .. })),
        "and verify sees the entry"
    );
}

#[test]
fn a_store_called_from_its_own_closure_says_so() {
    let store = Store::in_memory().unwrap();
    let other = Store::in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    let inner = store.clone();
    let nested = store.write(move |_| inner.create_thread("review", "ada"));
    assert!(matches!(nested, Err(Error::Nested)), "{nested:?}");
    let inner = store.clone();
    let nested = store.write(move |_| inner.thread(thread));
    assert!(matches!(nested, Err(Error::Nested)), "{nested:?}");
    let nested = store.read(|_| store.create_thread("review", "ada"));
    assert!(matches!(nested, Err(Error::Nested)), "{nested:?}");
    let nested = store.read(|_| store.thread(thread));
    assert!(matches!(nested, Err(Error::Nested)), "{nested:?}");
    // Two stores that write into each other could wait for each other; reading waits for nobody.
    let inner = other.clone();
    let nested = store.write(move |_| inner.create_thread("review", "ada"));
    assert!(matches!(nested, Err(Error::Nested)), "{nested:?}");
    store.read(|_| other.create_thread("review", "ada")).unwrap();
    let inner = other.clone();
    store.write(move |_| inner.open_tasks(1)).unwrap();
    store.create_thread("afterwards", "ada").unwrap();
    store.verify().unwrap();
}

/// A closure's answer may do anything when it is dropped, also call the store: an error, and no deadlock.
#[test]
fn an_answer_that_calls_the_store_when_dropped_does_not_hang_it() {
    struct Caller(Store, mpsc::Sender<bool>);
    impl Drop for Caller {
        fn drop(&mut self) {
            let _ = self.1.send(self.0.create_thread("review", "drop").is_ok());
        }
    }
    let store = Store::in_memory().unwrap();
    let (dropped, drops) = mpsc::channel();
    let caller = Caller(store.clone(), dropped);
    let thread = store.write(move |tx| {
        // Moves into the closure and is dropped with it.
        let _ = &caller.1;
        tx.create_thread("review", "ada")
    });
    thread.unwrap();
    assert!(drops.recv().unwrap(), "the closure is dropped when its batch is done, and may use the store then");
    store.verify().unwrap();
}
