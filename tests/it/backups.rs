//! Stores that are copied while they are in use, and files that are made smaller while they are not.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use fastrand::Rng;
use khala::{
    AgentId, Error, ManualClock, Message, MessageFilter, NewMessage, NewTask, Store, Task, TaskFilter, Thread,
    ThreadFilter,
};
use tempfile::TempDir;

use crate::random_store::{START, live};

fn folder() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let [store, backup] = ["agents.khala", "backup.khala"].map(|name| folder.path().join(name));
    (folder, store, backup)
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into()).collect();
    names.sort();
    names
}

/// Everything in a store that can be asked for.
fn rows(store: &Store) -> (Vec<Thread>, Vec<Message>, Vec<Task>, String) {
    store
        .read(|tx| {
            let threads = tx.threads(&ThreadFilter::new().limit(usize::MAX))?.items;
            let mut messages = Vec::new();
            for thread in &threads {
                messages.extend(tx.thread_messages(thread.id, &MessageFilter::new())?);
            }
            let tasks = tx.tasks(&TaskFilter::new().limit(usize::MAX))?.items;
            let rest = format!("{:?} {:?}", tx.agents(None, usize::MAX)?, tx.schema_history()?);
            Ok((threads, messages, tasks, rest))
        })
        .unwrap()
}

/// A store with rows in every state, and its clock.
fn lived_in(path: &Path, steps: usize) -> (Store, ManualClock) {
    let clock = ManualClock::new(START);
    let store = Store::builder().clock(clock.clone()).open(path).unwrap();
    live(&store, &clock, steps, &mut Rng::with_seed(7));
    (store, clock)
}

/// Lets the others of a test end, however it ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_backup_is_the_same_store_and_goes_on_where_that_was() {
    let (folder, path, to) = folder();
    let (store, clock) = lived_in(&path, 400);
    let mut told = Vec::new();
    let backup = store.backup(&to, |progress| told.push((progress.done, progress.total.unwrap()))).unwrap();
    assert_eq!(names_in(folder.path()), ["agents.khala", "backup.khala"]);
    let (_, total) = told[0];
    assert!(told.iter().copied().eq((0..=total).map(|done| (done, total))), "each entry once, of {total}");
    let (threads, messages, tasks, _) = rows(&store);
    let counted = [threads.len(), messages.len(), tasks.len()];
    assert_eq!([backup.rows.threads, backup.rows.messages, backup.rows.tasks], counted.map(|count| count as u64));
    assert!(Some(backup.bytes_after) <= backup.bytes_before, "{backup:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    }

    let copy = Store::builder().clock(clock.clone()).open(&to).unwrap();
    copy.verify().unwrap();
    assert_eq!(rows(&copy), rows(&store));
    // What is made next is the same in both, so it is new in both.
    let go_on = |store: &Store| {
        let thread = store.create_thread("review", "ada").unwrap();
        let message = store.append_message(thread.id, NewMessage::new("user", "next")).unwrap();
        (
            thread.created_at,
            message.id,
            store.create_task(thread.id, NewTask::new("writer", "next")).unwrap().created_at,
        )
    };
    assert_eq!(go_on(&copy), go_on(&store));
    assert!(threads.iter().all(|thread| thread.id < rows(&copy).0.last().unwrap().id));
    live(&copy, &clock, 200, &mut Rng::with_seed(8));
}

#[test]
fn a_store_in_memory_is_kept_by_a_backup() {
    let (_folder, _, to) = folder();
    let store = Store::in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap();
    let token = store.register_agent(&AgentId::new("ada").unwrap()).unwrap();
    let backup = store.backup(&to, |_| {}).unwrap();
    assert_eq!((backup.bytes_before, backup.rows.total()), (None, 2));
    drop(store);
    let copy = Store::open(&to).unwrap();
    assert_eq!(copy.thread(thread.id).unwrap(), Some(thread));
    assert!(copy.authenticate(token.expose()).unwrap().is_some());
}

#[test]
fn a_backup_while_four_threads_write_is_of_one_moment() {
    let (_folder, path, to) = folder();
    let store = Store::open(&path).unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    let (done, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let tried = thread::scope(|scope| {
        let _stop = Stop(&done);
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    let pair = move |tx: &mut khala::WriteTx<'_>| {
                        tx.append_message(thread, &NewMessage::new("user", "one of a pair"))?;
                        tx.create_task(thread, &NewTask::new("writer", "one of a pair"))
                    };
                    store.write(pair).unwrap();
                    written.fetch_add(1, Relaxed);
                }
            });
        }
        let mut sizes = Vec::new();
        for n in 0..5 {
            let to = to.with_extension(n.to_string());
            let mut halfway = 0;
            let backup = store
                .backup(&to, |progress| {
                    if progress.done == 1 {
                        // Others go on writing before the copy is done.
                        let enough = written.load(Relaxed) + 10;
                        while written.load(Relaxed) < enough {
                            thread::yield_now();
                        }
                        halfway = written.load(Relaxed);
                    }
                })
                .unwrap();
            let copy = Store::open(&to).unwrap();
            copy.verify().unwrap();
            let (_, messages, tasks, _) = rows(&copy);
            assert_eq!(messages.len(), tasks.len(), "both of a pair or none");
            assert_eq!(messages.len() as u64, backup.rows.messages);
            assert!(backup.rows.messages < halfway, "what was written after it began is not in it");
            sizes.push(backup.rows.messages);
        }
        sizes
    });
    assert!(tried.is_sorted() && tried[0] < tried[4], "{tried:?}");
    store.verify().unwrap();
}

#[test]
fn what_is_there_already_is_never_overwritten() {
    let (folder, path, to) = folder();
    let store = Store::open(&path).unwrap();
    let is_refused = |to: &Path| {
        let error = store.backup(to, |_| {}).unwrap_err();
        assert!(matches!(&error, Error::FileExists { path } if path == to) && error.is_conflict(), "{error:?}");
        assert!(error.to_string().contains(to.to_str().unwrap()), "{error}");
    };
    fs::write(&to, "mine").unwrap();
    is_refused(&to);
    assert_eq!(fs::read(&to).unwrap(), b"mine");
    is_refused(&path);
    is_refused(folder.path());
    #[cfg(unix)]
    {
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        is_refused(&link);
        assert!(!folder.path().join("nowhere").exists());
        fs::remove_file(link).unwrap();
    }
    assert_eq!(names_in(folder.path()), ["agents.khala", "backup.khala"]);
    store.verify().unwrap();
}

#[test]
fn a_file_that_comes_there_meanwhile_stays_as_it_is() {
    let (folder, path, to) = folder();
    let store = Store::open(&path).unwrap();
    let error = store
        .backup(&to, |progress| {
            if progress.done == 3 {
                fs::write(&to, "somebody else's").unwrap();
            }
        })
        .unwrap_err();
    assert!(matches!(error, Error::FileExists { .. }), "{error:?}");
    assert_eq!(fs::read(&to).unwrap(), b"somebody else's");
    assert_eq!(names_in(folder.path()), ["agents.khala", "backup.khala"]);
}

#[test]
fn a_backup_that_cannot_be_made_says_why_and_leaves_nothing() {
    let (folder, path, to) = folder();
    let store = Store::open(&path).unwrap();
    store.create_thread("review", "ada").unwrap();
    let missing = folder.path().join("missing").join("backup.khala");
    let error = store.backup(&missing, |_| {}).unwrap_err();
    assert!(matches!(&error, Error::Io { path: Some(path), .. } if *path == missing), "{error:?}");
    for to in ["", "..", "/"] {
        assert!(store.backup(to, |_| {}).is_err(), "{to:?}");
    }
    // The one who watches gives up.
    let gave_up =
        catch_unwind(AssertUnwindSafe(|| store.backup(&to, |progress| assert!(progress.done < 5, "that is enough"))));
    assert!(gave_up.is_err());
    assert_eq!(names_in(folder.path()), ["agents.khala"]);
    // From inside a closure of the store.
    let inside = store.clone();
    let into = to.clone();
    let error = store.read(move |_| inside.backup(&into, |_| {})).unwrap_err();
    assert!(matches!(error, Error::Nested));
    // What a crash left is cleared away.
    fs::write(folder.path().join(".backup.khala.new"), "half of a store").unwrap();
    store.backup(&to, |_| {}).unwrap();
    assert_eq!(names_in(folder.path()), ["agents.khala", "backup.khala"]);
    Store::open(&to).unwrap().verify().unwrap();
}

#[test]
fn a_compaction_gives_back_room_and_nothing_else_changes() {
    let (folder, path, _) = folder();
    let (store, _) = lived_in(&path, 400);
    let thread = store.create_thread("review", "ada").unwrap().id;
    for _ in 0..200 {
        store.append_message(thread, NewMessage::new("user", "x".repeat(10_000))).unwrap();
    }
    store.delete_thread(thread).unwrap();
    let before = rows(&store);
    assert!(matches!(Store::compact(&path, |_| {}), Err(Error::AlreadyOpen { path: named }) if named == path));
    drop(store);
    #[cfg(unix)]
    let path = {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("agents.khala", &link).unwrap();
        link
    };
    let mut told = Vec::new();
    let compaction = Store::compact(&path, |progress| told.push(progress)).unwrap();
    assert!(compaction.bytes_after < compaction.bytes_before / 4, "{compaction:?}");
    assert_eq!(told.last().map(|progress| Some(progress.done)), told.first().map(|progress| progress.total));
    assert!(names_in(folder.path()).iter().all(|name| name == "agents.khala" || name == "link"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }
    let store = Store::open(&path).unwrap();
    store.verify().unwrap();
    assert!(rows(&store) == before);
}

#[test]
#[cfg(unix)]
fn a_compacted_file_is_its_owners_if_the_one_who_compacts_may_say_so() {
    use std::os::unix::fs::{MetadataExt, chown};
    let (_folder, path, _) = folder();
    drop(Store::open(&path).unwrap());
    // Only root may give a file away; everybody else compacts his own.
    let _ = chown(&path, Some(12_345), Some(54_321));
    let before = fs::metadata(&path).unwrap();
    Store::compact(&path, |_| {}).unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert_ne!(after.ino(), before.ino());
}

#[test]
fn a_compaction_that_cannot_be_made_leaves_the_file_as_it_was() {
    let (folder, path, other) = folder();
    let error = Store::compact(&path, |_| {}).unwrap_err();
    assert!(matches!(&error, Error::Io { path: Some(named), .. } if *named == path), "{error:?}");
    assert_eq!(names_in(folder.path()), Vec::<String>::new());
    fs::write(&other, "something else").unwrap();
    assert!(matches!(Store::compact(&other, |_| {}), Err(Error::NotAStore { .. })));
    assert_eq!(fs::read(&other).unwrap(), b"something else");
    assert!(Store::compact(folder.path(), |_| {}).is_err());

    let thread = Store::open(&path).unwrap().create_thread("review", "ada").unwrap();
    let gave_up = catch_unwind(|| Store::compact(&path, |progress| assert!(progress.done < 5, "that is enough")));
    assert!(gave_up.is_err());
    assert_eq!(names_in(folder.path()), ["agents.khala", "backup.khala"]);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.thread(thread.id).unwrap(), Some(thread));
    store.verify().unwrap();
}

/// Somebody who opens the file at the moment it is replaced gets the new one, or is told that it is in use.
#[test]
fn nobody_writes_to_a_file_that_a_compaction_has_replaced() {
    let (_folder, path, _) = folder();
    drop(Store::open(&path).unwrap());
    let done = AtomicBool::new(false);
    let created = thread::scope(|scope| {
        let stop = Stop(&done);
        let opener = scope.spawn(|| {
            let mut created = Vec::new();
            while !done.load(Relaxed) {
                match Store::open(&path) {
                    Ok(store) => created.push(store.create_thread("review", "ada").unwrap().id),
                    Err(Error::AlreadyOpen { .. }) => thread::yield_now(),
                    Err(error) => panic!("{error:?}"),
                }
            }
            created
        });
        for _ in 0..60 {
            match Store::compact(&path, |_| {}) {
                Ok(_) | Err(Error::AlreadyOpen { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        drop(stop);
        opener.join().unwrap()
    });
    let store = Store::open(&path).unwrap();
    assert!(created.iter().all(|id| store.thread(*id).unwrap().is_some()), "of {}", created.len());
    store.verify().unwrap();
}
