//! What an opening that was interrupted may leave: of a file that is created the whole or nothing, of one that is
//! upgraded the old or the new, and in either case something that the next opening goes on from.

use std::fs;
use std::path::Path;

use crate::{Agent, Message, MessageFilter, NewMessage, ReadTx, Result, Store, Task, TaskFilter, Thread, ThreadFilter};

/// An opening that takes more than reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Opening {
    Creation,
    /// From the first schema.
    Upgrade,
}

/// Every row of a store.
type Rows = (Vec<Agent>, Vec<Thread>, Vec<Task>, Vec<Vec<Message>>);

fn rows(tx: &ReadTx<'_>) -> Result<Rows> {
    let threads = tx.threads(&ThreadFilter::new().limit(usize::MAX))?.items;
    let messages = threads.iter().map(|thread| tx.thread_messages(thread.id, &MessageFilter::new()));
    let messages = messages.collect::<Result<_>>()?;
    Ok((tx.agents(None, usize::MAX)?, threads, tx.tasks(&TaskFilter::new().limit(usize::MAX))?.items, messages))
}

fn migrations(store: &Store) -> Result<Vec<String>> {
    Ok(store.schema_history()?.into_iter().map(|migration| migration.name).collect())
}

fn fixture() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/schema-1.khala"))
}

impl Opening {
    /// Puts there what is to be opened.
    pub(super) fn prepare(self, path: &Path) {
        if self == Self::Upgrade {
            fs::copy(fixture(), path).unwrap();
        }
    }

    /// Whether what is there is what an interruption may leave, and can be gone on with. `was_opened` says whether
    /// somebody has been told that the opening had succeeded.
    pub(super) fn check(self, path: &Path, was_opened: bool) -> Result<(), String> {
        if self == Self::Creation && was_opened && !path.exists() {
            return Err(format!("the store was created, {}", super::audit::IS_GONE));
        }
        if self == Self::Upgrade && !path.exists() {
            return Err(format!("the store was there, {}", super::audit::IS_GONE));
        }
        let store = Store::open(path).map_err(|error| format!("it cannot be opened: {error}"))?;
        self.check_store(&store).map_err(|error| format!("something is missing: {error}"))?;
        drop(store);
        let folder = path.parent().unwrap();
        let names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let left: Vec<_> = names.iter().filter(|name| name.to_string_lossy().contains(".new")).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} was left behind")) }
    }

    fn check_store(self, store: &Store) -> Result<()> {
        store.verify()?;
        assert_eq!(migrations(store)?, migrations(&Store::in_memory()?)?);
        let found = store.read(rows)?;
        let expected = match self {
            Self::Creation => Rows::default(),
            Self::Upgrade => {
                let folder = tempfile::tempdir().unwrap();
                let copy = folder.path().join("copy.khala");
                fs::copy(fixture(), &copy).unwrap();
                Store::open(&copy)?.read(rows)?
            }
        };
        assert_eq!(found, expected, "every row, and no other");
        let thread = store.create_thread("review", "ada")?.id;
        store.append_message(thread, NewMessage::new("user", "it goes on"))?;
        store.verify()
    }
}
