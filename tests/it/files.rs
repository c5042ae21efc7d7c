//! The file: how it comes to be, what is taken for one, and who may have it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use khala::{AgentId, Error, MessageFilter, NewMessage, NewTask, Result, Store, ThreadId};
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agents.khala");
    (folder, path)
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into()).collect();
    names.sort();
    names
}

/// A store with something in it, closed.
fn written(path: &Path) -> ThreadId {
    let store = Store::open(path).unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    for n in 0..50 {
        store.append_message(thread, NewMessage::new("user", format!("message {n}"))).unwrap();
        let task = store.create_task(thread, NewTask::new("writer", format!("task {n}"))).unwrap();
        if n % 2 == 0 {
            store.claim_task(task.id, &AgentId::new("ada").unwrap()).unwrap().unwrap();
        }
    }
    thread
}

/// Whether everything that [`written`] wrote is there.
fn is_whole(store: &Store, thread: ThreadId) -> Result<bool> {
    store.verify()?;
    let messages = store.thread_messages(thread, &MessageFilter::new())?;
    let all = messages.iter().enumerate().all(|(n, message)| message.content == format!("message {n}"));
    Ok(all && messages.len() == 50 && store.open_tasks(100)?.len() == 25)
}

#[test]
fn a_new_store_is_one_file_for_its_owner_alone() {
    let (folder, path) = folder();
    let store = Store::open(&path).unwrap();
    assert_eq!(names_in(folder.path()), ["agents.khala"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let history = store.schema_history().unwrap();
    let versions: Vec<_> = history.iter().map(|migration| (migration.version, migration.name.as_str())).collect();
    assert_eq!(versions, [(1, "0001_initial"), (2, "0002_life_of_a_task"), (3, "0003_instructions_apart")]);
    store.verify().unwrap();
}

#[test]
fn a_store_comes_back_with_everything_in_it() {
    let (folder, path) = folder();
    let thread = written(&path);
    for _ in 0..2 {
        assert!(is_whole(&Store::open(&path).unwrap(), thread).unwrap());
    }
    let unchecked = Store::builder().check_on_open(false).open(&path).unwrap();
    assert!(is_whole(&unchecked, thread).unwrap());
    drop(unchecked);
    assert_eq!(names_in(folder.path()), ["agents.khala"]);
}

#[test]
fn a_handle_is_cheap_to_share_and_the_last_one_closes_the_file() {
    fn shares<T: Clone + Send + Sync + std::fmt::Debug + 'static>(_: &T) {}
    let (_folder, path) = folder();
    let store = Store::open(&path).unwrap();
    shares(&store);
    let other = store.clone();
    drop(store);
    assert!(matches!(Store::open(&path), Err(Error::AlreadyOpen { .. })));
    other.create_thread("review", "ada").unwrap();
    drop(other);
    Store::open(&path).unwrap();
}

#[test]
fn stores_in_memory_know_nothing_of_each_other() {
    let (one, other) = (Store::in_memory().unwrap(), Store::in_memory().unwrap());
    let thread = one.create_thread("review", "ada").unwrap().id;
    assert_eq!(other.thread(thread).unwrap(), None);
}

#[test]
fn a_store_that_is_not_to_be_created_is_opened_if_it_is_there_and_missed_if_not() {
    let (folder, path) = folder();
    let opened = Store::builder().create_if_missing(false).open(&path);
    assert!(matches!(opened, Err(Error::Io { path: Some(named), source, .. })
        if named == path && source.kind() == std::io::ErrorKind::NotFound));
    assert_eq!(names_in(folder.path()), Vec::<String>::new());
    let thread = written(&path);
    let store = Store::builder().create_if_missing(false).open(&path).unwrap();
    assert!(is_whole(&store, thread).unwrap());
    store.verify().unwrap();
}

/// Opens `path`, expects a refusal, and finds the folder as it was, to the byte.
fn refused(folder: &Path, path: &Path) -> Error {
    let before: Vec<_> = names_in(folder).iter().map(|name| (name.clone(), fs::read(folder.join(name)).ok())).collect();
    let error = Store::open(path).expect_err("it is refused");
    let after: Vec<_> = names_in(folder).iter().map(|name| (name.clone(), fs::read(folder.join(name)).ok())).collect();
    assert!(before == after, "{error}: and yet something changed");
    let name = path.file_name().unwrap().to_string_lossy();
    assert!(
        error.to_string().contains(&*name.chars().take(40).collect::<String>()),
        "{error}: it does not name the path"
    );
    error
}

#[test]
fn a_file_that_is_something_else_is_refused_and_stays_as_it_was() {
    for content in [&b""[..], b"redb", b"{\"not\": \"a store\"}\n", &[0; 8_192], b"redb\x1A\x0A\xA9\x0D"] {
        let (folder, path) = folder();
        fs::write(&path, content).unwrap();
        assert!(matches!(refused(folder.path(), &path), Error::NotAStore { .. }));
    }
}

#[test]
fn a_database_of_another_kind_is_refused() {
    let (folder, path) = folder();
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch("CREATE TABLE tasks (id TEXT); INSERT INTO tasks VALUES ('x')").unwrap();
    drop(database);
    assert!(matches!(refused(folder.path(), &path), Error::NotAStore { .. }));
}

#[test]
fn garbage_behind_the_right_first_bytes_is_refused() {
    for garbage in [vec![], vec![0; 50], vec![0xFF; 8_192], (0..=255).cycle().take(100_000).collect()] {
        let (folder, path) = folder();
        fs::write(&path, [&b"redb\x1A\x0A\xA9\x0D\x0A"[..], &garbage].concat()).unwrap();
        refused(folder.path(), &path);
    }
}

#[test]
fn a_folder_a_missing_folder_and_a_file_as_a_folder_are_refused() {
    let (folder, path) = folder();
    fs::create_dir(&path).unwrap();
    assert!(matches!(refused(folder.path(), &path), Error::Io { .. }));
    let missing = folder.path().join("missing").join("agents.khala");
    let error = Store::open(&missing).unwrap_err().to_string();
    assert!(error.starts_with("cannot create the store ") && error.contains("missing/agents.khala"), "{error}");
    let file = folder.path().join("file");
    fs::write(&file, "text").unwrap();
    assert!(matches!(Store::open(file.join("agents.khala")), Err(Error::Io { .. })));
    assert!(matches!(Store::open(""), Err(Error::Io { .. })));
    assert!(matches!(Store::open("/"), Err(Error::Io { .. })));
    refused(folder.path(), &folder.path().join("x".repeat(300)));
}

#[test]
fn a_read_only_file_is_refused_for_the_superuser_as_well() {
    let (folder, path) = folder();
    let thread = written(&path);
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions.clone()).unwrap();
    let error = refused(folder.path(), &path);
    assert!(
        matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied),
        "{error}"
    );
    #[expect(clippy::permissions_set_readonly_false, reason = "a file of this test's own")]
    permissions.set_readonly(false);
    fs::set_permissions(&path, permissions).unwrap();
    assert!(is_whole(&Store::open(&path).unwrap(), thread).unwrap());
}

#[cfg(unix)]
#[test]
fn a_link_leads_to_its_store_or_to_an_error() {
    let (folder, path) = folder();
    let thread = written(&path);
    let link = folder.path().join("link.khala");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let store = Store::open(&link).unwrap();
    assert!(is_whole(&store, thread).unwrap());
    assert!(matches!(Store::open(&path), Err(Error::AlreadyOpen { .. })), "by whichever name");
    let nowhere = folder.path().join("nowhere.khala");
    std::os::unix::fs::symlink(folder.path().join("gone"), &nowhere).unwrap();
    assert!(matches!(Store::open(&nowhere), Err(Error::Io { .. })));
    assert!(fs::symlink_metadata(&nowhere).unwrap().is_symlink(), "the link is not replaced");
}

/// Its own memory: a file that opens, and of which the first bytes cannot be read.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_read_is_an_error_that_says_so() {
    let error = Store::open("/proc/self/mem").unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(error.to_string().starts_with("cannot open the store /proc/self/mem: "), "{error}");
}

#[cfg(unix)]
#[test]
fn a_store_whose_file_was_taken_away_works_on_and_says_that_it_cannot_be_measured() {
    let (_folder, path) = folder();
    let store = Store::open(&path).unwrap();
    assert!(store.stats().unwrap().bytes_on_disk > Some(0));
    fs::remove_file(&path).unwrap();
    let error = store.stats().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot measure the store {}: {}", path.display(), std::io::Error::from_raw_os_error(2))
    );
    assert_eq!(store.failure(), None);
    store.create_thread("review", "ada").unwrap();
    store.verify().unwrap();
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let (_folder, path) = folder();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let (answer, answered) = mpsc::channel();
    std::thread::spawn(move || answer.send(Store::open(&path).map(drop)));
    let outcome = answered.recv_timeout(Duration::from_secs(30)).expect("opening it does not hang");
    assert!(matches!(outcome, Err(Error::NotAStore { .. })), "{outcome:?}");
}

/// What opening a damaged copy came to; the error says what went wrong with it.
fn damaged(path: &Path, bytes: &[u8], thread: ThreadId) -> std::result::Result<bool, String> {
    fs::write(path, bytes).unwrap();
    let outcome = catch_unwind(AssertUnwindSafe(|| match Store::open(path) {
        Ok(store) => is_whole(&store, thread).map(Some),
        Err(_) => Ok(None),
    }));
    match outcome {
        Err(_) => Err("a panic".into()),
        Ok(Ok(Some(false))) => Err("a wrong answer".into()),
        Ok(Ok(Some(true)) | Err(_)) => Ok(true),
        Ok(Ok(None)) if fs::read(path).unwrap() == bytes => Ok(false),
        Ok(Ok(None)) => Err("refused, and yet changed".into()),
    }
}

#[test]
fn a_truncated_store_is_an_error_or_whole() {
    let (folder, path) = folder();
    let thread = written(&path);
    let bytes = fs::read(&path).unwrap();
    let len = bytes.len();
    let copy = folder.path().join("copy.khala");
    for cut in [0, 1, 8, 9, 100, 319, 320, 511, 512, 4_095, 4_096, 4_097, len / 2, len - 4_096, len - 1] {
        damaged(&copy, &bytes[..cut], thread).unwrap_or_else(|what| panic!("cut at {cut} of {len}: {what}"));
    }
}

#[test]
fn an_extended_store_is_an_error_or_whole() {
    let (folder, path) = folder();
    let thread = written(&path);
    let bytes = fs::read(&path).unwrap();
    let copy = folder.path().join("copy.khala");
    for surplus in [vec![0; 1], vec![0xAA; 100], vec![0; 4_096], vec![0xFF; 65_536]] {
        let extended = [&bytes[..], &surplus].concat();
        damaged(&copy, &extended, thread).unwrap_or_else(|what| panic!("{} bytes more: {what}", surplus.len()));
    }
}

#[test]
fn a_store_with_a_flipped_bit_is_an_error_or_whole() {
    let (folder, path) = folder();
    let thread = written(&path);
    let bytes = fs::read(&path).unwrap();
    let copy = folder.path().join("copy.khala");
    // The header bit by byte, the rest at steps that meet every part of a page.
    let positions = (0..320).chain((320..bytes.len()).step_by(bytes.len() / 250 + 7));
    let mut refused = 0;
    for position in positions {
        let mut flipped = bytes.clone();
        flipped[position] ^= 1 << (position % 8);
        let opened = damaged(&copy, &flipped, thread).unwrap_or_else(|what| panic!("byte {position}: {what}"));
        refused += usize::from(!opened);
    }
    assert!(refused > 50, "only {refused} were seen: the flips did not meet what matters");
}

#[test]
fn a_second_opener_in_this_process_is_told_so() {
    let (folder, path) = folder();
    let store = Store::open(&path).unwrap();
    let error = refused(folder.path(), &path);
    assert!(matches!(error, Error::AlreadyOpen { .. }), "{error}");
    assert!(error.is_retryable() && error.is_conflict());
    store.create_thread("review", "ada").unwrap();
    store.verify().unwrap();
}

const CHILD_PATH: &str = "KHALA_TEST_CHILD_PATH";
const CHILD_JOB: &str = "KHALA_TEST_CHILD_JOB";

/// This test binary again, running only [`child`], with this job on this file.
fn child_with(job: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "files::child", "--nocapture", "--test-threads=1"])
        .env(CHILD_PATH, path)
        .env(CHILD_JOB, job)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

fn spawn_child(job: &str, path: &Path) -> Child {
    child_with(job, path).spawn().unwrap()
}

/// The lines a child printed for its parent.
fn lines_of(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(std::io::Result::ok);
    lines.filter_map(|line| line.split_once("child: ").map(|(_, said)| said.to_owned()))
}

/// The one line of a child that ends by itself, and well.
fn said_by(child: &mut Child) -> String {
    // To the end: a child whose output nobody takes would die of it.
    let said: Vec<_> = lines_of(child).collect();
    assert!(child.wait().unwrap().success());
    said.concat()
}

/// What another process does. Without its environment it is nobody's child and has nothing to do.
#[test]
fn child() {
    let (Some(path), Ok(job)) = (std::env::var_os(CHILD_PATH), std::env::var(CHILD_JOB)) else { return };
    match job.as_str() {
        "open" => match Store::open(&path) {
            Ok(_) => println!("child: opened"),
            Err(error) => println!("child: {error}"),
        },
        // Until it is killed.
        "append" => {
            let store = Store::open(&path).unwrap();
            let thread = store.create_thread("review", "child").unwrap().id;
            println!("child: {thread}");
            for n in 0.. {
                store.append_message(thread, NewMessage::new("user", n.to_string())).unwrap();
                println!("child: {n}");
            }
        }
        // Until it had the store for itself once.
        "race" => loop {
            match Store::open(&path) {
                Ok(store) => break println!("child: {}", store.create_thread("race", "child").unwrap().id),
                Err(Error::AlreadyOpen { .. }) => std::thread::yield_now(),
                Err(error) => break println!("child: failed: {error}"),
            }
        },
        other => panic!("no job {other}"),
    }
}

#[test]
fn a_second_opener_in_another_process_is_told_so() {
    let (_folder, path) = folder();
    let store = Store::open(&path).unwrap();
    let said = said_by(&mut spawn_child("open", &path));
    assert_eq!(said, format!("{} is open already, in this process or another", path.display()));
    store.create_thread("review", "ada").unwrap();
    drop(store);
    assert_eq!(said_by(&mut spawn_child("open", &path)), "opened");
    Store::open(&path).unwrap().verify().unwrap();
}

#[test]
fn a_name_without_a_folder_is_a_file_of_the_current_one() {
    let (folder, path) = folder();
    let mut child = child_with("open", Path::new("agents.khala")).current_dir(folder.path()).spawn().unwrap();
    assert_eq!(said_by(&mut child), "opened");
    assert_eq!(names_in(folder.path()), ["agents.khala"]);
    Store::open(&path).unwrap().verify().unwrap();
}

#[test]
fn what_a_killed_process_acknowledged_is_there() {
    for kill_after in [1, 20, 60] {
        let (_folder, path) = folder();
        let mut child = spawn_child("append", &path);
        let mut lines = lines_of(&mut child);
        let thread: ThreadId = lines.next().unwrap().parse().unwrap();
        let mut acknowledged: Vec<String> = lines.by_ref().take(kill_after).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines);
        let store = Store::open(&path).unwrap();
        store.verify().unwrap();
        let messages = store.thread_messages(thread, &MessageFilter::new()).unwrap();
        let stored: Vec<_> = messages.into_iter().map(|message| message.content).collect();
        assert!(stored.len() >= acknowledged.len() && stored[..acknowledged.len()] == acknowledged);
        assert!(stored.len() <= acknowledged.len() + 1, "at most one was on its way");
    }
}

#[test]
fn a_store_that_many_create_at_once_is_created_once() {
    for _ in 0..20 {
        let (folder, path) = folder();
        let created: Vec<ThreadId> = std::thread::scope(|scope| {
            let create = || loop {
                match Store::open(&path) {
                    Ok(store) => break store.create_thread("race", "ada").unwrap().id,
                    Err(Error::AlreadyOpen { .. }) => std::thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            };
            let racers: Vec<_> = (0..6).map(|_| scope.spawn(create)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let store = Store::open(&path).unwrap();
        assert!(created.iter().all(|id| store.thread(*id).unwrap().is_some()), "what a winner wrote is not replaced");
        assert_eq!(names_in(folder.path()), ["agents.khala"]);
        store.verify().unwrap();
    }
}

#[test]
fn a_store_that_many_processes_create_at_once_is_created_once() {
    for _ in 0..5 {
        let (_folder, path) = folder();
        let mut children: Vec<_> = (0..5).map(|_| spawn_child("race", &path)).collect();
        let created: Vec<ThreadId> = children.iter_mut().map(|child| said_by(child).parse().unwrap()).collect();
        let store = Store::open(&path).unwrap();
        assert!(created.iter().all(|id| store.thread(*id).unwrap().is_some()));
        store.verify().unwrap();
    }
}

#[test]
fn what_a_crash_during_creation_left_is_cleared_away() {
    let (folder, path) = folder();
    fs::write(folder.path().join(".agents.khala.new"), "half of a store").unwrap();
    Store::open(&path).unwrap().verify().unwrap();
    assert_eq!(names_in(folder.path()), ["agents.khala"]);
}
