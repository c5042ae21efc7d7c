//! Stores to measure: real files with default settings, loaded before the clock starts.

use std::env;
use std::ops::Deref;

use khala::{AgentId, Builder, NewMessage, NewTask, Store, ThreadId, WriteTx};
use tempfile::TempDir;

/// How many conversations a store in use has.
const THREADS: usize = 100;

/// How many messages and how many finished tasks a store in use has: enough for trees of the depth they have in life.
const HISTORY: usize = 50_000;

/// Operations per transaction while loading. Thousands share one sync, so that loading is cheap.
const LOAD_SLICE: usize = 5_000;

/// Whether this run only shows that everything still works: `--test`, or `cargo test`, which passes no `--bench`.
/// Criterion decides by the same rule.
pub(crate) fn is_smoke_run() -> bool {
    let passed = |flag: &str| env::args().any(|argument| argument == flag);
    passed("--test") || !passed("--bench")
}

/// This many rows, or a hundredth of it in a smoke run.
pub(crate) fn scaled(rows: usize) -> usize {
    if is_smoke_run() { rows.div_ceil(100) } else { rows }
}

/// A store in a folder of its own, which disappears with it.
pub(crate) struct Fixture {
    store: Store,
    pub(crate) threads: Vec<ThreadId>,
    _folder: TempDir,
}

impl Fixture {
    /// A store without messages and tasks, in the folder that `KHALA_BENCH_DIR` names, else in the system's.
    pub(crate) fn new(builder: Builder) -> Self {
        let folder = env::var_os("KHALA_BENCH_DIR").map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
        let store = builder.open(folder.path().join("bench.khala")).unwrap();
        let threads = load(&store, THREADS, |tx, _| Ok(tx.create_thread("review", "bench")?.id));
        Self { store, threads, _folder: folder }
    }

    /// A store that has been in use. In an empty one everything lies on the same few pages, and writes cost less than
    /// they ever will again.
    pub(crate) fn in_use(builder: Builder) -> Self {
        let fixture = Self::new(builder);
        let agent = AgentId::new("veteran").unwrap();
        let threads = fixture.threads.clone();
        load(&fixture, scaled(HISTORY), move |tx, i| {
            let thread = threads[i % threads.len()];
            tx.append_message(thread, &message(256))?;
            let task = tx.create_task(thread, &task("reviewer"))?;
            let claim = tx.claim_task(task.id, &agent)?.unwrap();
            tx.complete_task(task.id, claim.id)
        });
        fixture
    }
}

impl Deref for Fixture {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

/// What `each` gives back for every number below `count`, run in few large transactions.
pub(crate) fn load<T: Send + 'static>(
    store: &Store,
    count: usize,
    each: impl Fn(&mut WriteTx<'_>, usize) -> khala::Result<T> + Clone + Send + 'static,
) -> Vec<T> {
    let mut loaded = Vec::with_capacity(count);
    for first in (0..count).step_by(LOAD_SLICE) {
        let each = each.clone();
        let end = count.min(first + LOAD_SLICE);
        loaded.extend(
            store.write(move |tx| (first..end).map(|i| each(tx, i)).collect::<khala::Result<Vec<_>>>()).unwrap(),
        );
    }
    loaded
}

/// A message with this much content.
pub(crate) fn message(bytes: usize) -> NewMessage {
    NewMessage::new("assistant", "m".repeat(bytes))
}

/// A task as agents hand them to each other: two lines of instruction.
pub(crate) fn task(role: &str) -> NewTask {
    NewTask::new(role, "Read the last patch and say what could break. ".repeat(4))
}
