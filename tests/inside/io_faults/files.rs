//! Real files: a process that may not make its files any larger, and folders that take none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use super::{PATIENCE, within};
use crate::inside::campaign::report;
use crate::inside::child;
use crate::{Error, MessageFilter, NewMessage, Store};

/// The most messages a child appends: far more than its limits let it.
const MOST: &str = "20000";

fn message(number: usize) -> String {
    format!("{number} {}", "x".repeat(8_000))
}

/// The child: opens a store and appends to it until it cannot, and says how it ends.
pub(in crate::inside) fn fills_a_file(arguments: &[String]) {
    let store = match Store::open(&arguments[0]) {
        Ok(store) => store,
        Err(error) => return child::say(&format!("cannot open: {error}")),
    };
    let thread = store.create_thread("fill", "test").map(|thread| thread.id);
    for number in 0..arguments[1].parse().unwrap() {
        let appended = thread.as_ref().map_err(ToString::to_string).and_then(|thread| {
            let message = NewMessage::new("user", message(number));
            store.append_message(*thread, message).map_err(|error| error.to_string())
        });
        let Err(error) = appended else {
            child::say("acknowledged");
            continue;
        };
        child::say(&format!("failed: {error}"));
        child::say(&format!("because: {}", store.failure().unwrap_or("it does not say")));
        assert!(matches!(store.create_thread("fill", "test"), Err(Error::Poisoned)));
        drop(store);
        return child::say("closed");
    }
    child::say("there was no limit");
}

/// How a child ended.
#[derive(Debug)]
struct End {
    acknowledged: usize,
    /// What it said at last.
    last_words: Vec<String>,
    was_killed: bool,
}

/// Lets a child fill a file to this limit, in the shell's blocks, and die of it or be told.
fn fill(path: &Path, blocks: u64, is_told: bool) -> End {
    let limits = format!("{} ulimit -f {blocks}", if is_told { "trap '' XFSZ &&" } else { "" });
    let child = child::start_under("fills-a-file", &[path.to_str().unwrap(), MOST], Some(&limits));
    end_of(child)
}

fn end_of(mut child: Child) -> End {
    let said: Vec<String> = child::lines(child.stdout.take().unwrap()).collect();
    let status = child.wait().unwrap();
    let (acknowledged, last_words): (Vec<_>, _) = said.into_iter().partition(|line| line == "acknowledged");
    assert!(status.success() || status.code().is_none(), "the child panicked: {last_words:?}");
    End { acknowledged: acknowledged.len(), last_words, was_killed: status.code().is_none() }
}

fn names_in(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What was acknowledged is there, and at the most the one message after it.
fn is_whole(path: &Path, acknowledged: usize) {
    let store = Store::open(path).unwrap();
    store.verify().unwrap();
    let threads = store.threads(&crate::ThreadFilter::new()).unwrap().items;
    let messages = threads.first().map(|thread| store.thread_messages(thread.id, &MessageFilter::new()).unwrap());
    let messages = messages.unwrap_or_default();
    let found = messages.iter().enumerate().all(|(number, found)| found.content == message(number));
    assert!(found && [acknowledged, acknowledged + 1].contains(&messages.len()), "{acknowledged}, {}", messages.len());
    store.create_thread("afterwards", "test").unwrap();
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agents.khala");
    (folder, path)
}

/// How large a file is as it is created, in half kilobytes: the smaller of the units in which shells count.
fn blocks_of_a_new_store() -> u64 {
    let (_folder, path) = folder();
    let _store = Store::open(&path).unwrap();
    fs::metadata(&path).unwrap().len().div_ceil(512)
}

#[test]
fn a_file_that_may_not_grow_is_an_error_or_the_end_and_what_was_acknowledged_is_there() {
    let blocks = blocks_of_a_new_store();
    let (mut told, mut killed, mut acknowledged) = (0, 0, 0);
    for (blocks, is_told) in
        [1, 2, 3, 6, 20].map(|times| times * blocks).into_iter().flat_map(|n| [(n, true), (n, false)])
    {
        let (folder, path) = folder();
        let filled = path.clone();
        let end = within(PATIENCE, move || Ok(fill(&filled, blocks, is_told))).unwrap();
        if is_told {
            let because = format!(" the store {}: File too large (os error 27)", path.display());
            let [failed, why, closed] = &end.last_words[..] else { panic!("{end:?}") };
            assert!(failed.ends_with(&because) || failed.contains("its outcome is unknown"), "{end:?}");
            assert!(why.starts_with("because: cannot ") && why.ends_with(&because), "{end:?}");
            assert_eq!(closed, "closed");
            told += 1;
        } else {
            assert!(end.was_killed && end.last_words.is_empty(), "{end:?}");
            killed += 1;
        }
        acknowledged += end.acknowledged;
        is_whole(&path, end.acknowledged);
        assert_eq!(names_in(folder.path()), ["agents.khala"]);
    }
    report(format_args!(
        "faults, real files: {told} processes told that their file may not grow and {killed} killed for it, \
         {acknowledged} messages acknowledged, 0 lost"
    ));
}

#[test]
fn control_a_file_that_may_grow_does() {
    let (_folder, path) = folder();
    let filled = path.clone();
    let fill = move || Ok(end_of(child::start("fills-a-file", &[filled.to_str().unwrap(), "100"], None)));
    let end = within(PATIENCE, fill).unwrap();
    assert_eq!((end.acknowledged, &end.last_words[..]), (100, &["there was no limit".to_owned()][..]));
    is_whole(&path, 100);
}

#[test]
fn a_file_that_cannot_be_created_for_want_of_room_leaves_nothing() {
    for (blocks, is_told) in [(0, true), (8, true), (64, true), (8, false)] {
        let (folder, path) = folder();
        let filled = path.clone();
        let end = within(PATIENCE, move || Ok(fill(&filled, blocks, is_told))).unwrap();
        if is_told {
            let [why] = &end.last_words[..] else { panic!("{end:?}") };
            let because = format!(" the store {}: File too large (os error 27)", path.display());
            assert!(why.starts_with("cannot open: cannot ") && why.ends_with(&because), "{end:?}");
            assert_eq!(names_in(folder.path()), Vec::<String>::new());
        } else {
            assert!(end.was_killed, "{end:?}");
            assert!(!path.exists(), "it has no name before it is whole");
        }
        is_whole(&path, 0);
        assert_eq!(names_in(folder.path()), ["agents.khala"], "what a killed process left is gone as well");
    }
}

#[test]
fn a_folder_that_takes_no_file_is_an_error_that_names_it() {
    let refused = |path: &Path| {
        let error = Store::open(path).unwrap_err();
        let words = error.to_string();
        assert!(matches!(&error, Error::Io { path: Some(named), .. } if named == path), "{error:?}");
        assert!(words.starts_with(&format!("cannot create the store {}: ", path.display())), "{words}");
    };
    // Folders of the kernel's, where not even the superuser can create anything.
    #[cfg(target_os = "linux")]
    for folder in ["/proc", "/sys"] {
        refused(&Path::new(folder).join("agents.khala"));
    }
    // The name under which the file is made is taken by something that cannot be replaced.
    let (folder, path) = folder();
    let other_name = folder.path().join(".agents.khala.new");
    fs::create_dir(&other_name).unwrap();
    refused(&path);
    assert_eq!(names_in(folder.path()), [".agents.khala.new"]);
    fs::remove_dir(&other_name).unwrap();
    is_whole(&path, 0);
    fs::remove_file(&path).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
        if fs::write(folder.path().join("probe"), "").is_ok() {
            report("faults, real files: a folder without the right to write was SKIPPED: root writes everywhere");
        } else {
            refused(&path);
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }
}
