//! Backups and compactions that come to an end in the middle: killed, and on a disk without room.

use std::fs;
use std::path::Path;

use super::campaign::{report, seeds, with_seed};
use super::child::{self, Attended};
use super::full_disks::{can_mount, disks, fill, remove, says_full};
use super::kills::soon;
use crate::{NewMessage, NewTask, Store};

/// How many messages, and tasks, there are to be copied.
const ROWS: u64 = 3_000;

fn filled(path: &Path) {
    let store = Store::open(path).unwrap();
    store
        .write(|tx| {
            let thread = tx.create_thread("review", "ada")?.id;
            for n in 0..ROWS {
                tx.append_message(thread, &NewMessage::new("user", format!("message {n}")))?;
                tx.create_task(thread, &NewTask::new("writer", "x".repeat(300)))?;
            }
            Ok(())
        })
        .unwrap();
}

/// Whether the store at this path is the one that was filled.
fn is_whole(path: &Path) -> Result<(), String> {
    let store = Store::open(path).map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
    store.verify().map_err(|error| error.to_string())?;
    let stats = store.stats().unwrap();
    let there = (stats.messages, stats.tasks.values().sum::<u64>());
    if there == (ROWS, ROWS) { Ok(()) } else { Err(format!("{} has {there:?}", path.display())) }
}

/// A child's part: copies, and compacts, again and again until it is killed.
pub(super) fn copies(arguments: &[String]) {
    child::end_with_parent();
    let folder = Path::new(&arguments[0]);
    let path = folder.join("agents.khala");
    for n in 0.. {
        let store = Store::open(&path).unwrap();
        child::say("copying");
        store.backup(folder.join(format!("{n}.khala")), |_| {}).unwrap();
        child::say(&format!("copied {n}"));
        drop(store);
        child::say("compacting");
        Store::compact(&path, |_| {}).unwrap();
    }
}

#[test]
fn whoever_is_killed_while_he_copies_leaves_whole_stores_or_none() {
    let (mut kills, mut copied, mut cut) = (0, 0, 0);
    for seed in seeds(12) {
        with_seed(seed, |mut rng| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("agents.khala");
            filled(&path);
            let attended = Attended::new(child::start("copies", &[folder.path().to_str().unwrap()], None));
            let mut heard = Vec::new();
            for _ in 0..=rng.u64(..6) {
                heard.extend(attended.hear());
            }
            std::thread::sleep(soon(&mut rng, 100_000.0));
            heard.extend(attended.kill()?);
            kills += 1;
            is_whole(&path)?;
            for entry in fs::read_dir(folder.path()).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                // One that was not finished has another name, and is cleared away by the next of its name.
                if name.starts_with('.') {
                    cut += 1;
                } else {
                    is_whole(&folder.path().join(&name))?;
                    copied += 1;
                }
            }
            for said in heard.iter().filter_map(|line| line.strip_prefix("copied ")) {
                is_whole(&folder.path().join(format!("{said}.khala")))?;
            }
            // What is left stands in nobody's way.
            Store::compact(&path, |_| {}).map_err(|error| error.to_string())?;
            if folder.path().join(".agents.khala.new").exists() {
                return Err("what a killed compaction left is still there".into());
            }
            is_whole(&path)
        });
    }
    report(format_args!("copies: {kills} killed, {copied} stores left and all whole, {cut} drafts left; 0 violations"));
}

#[test]
fn a_copy_on_a_full_disk_is_told_and_leaves_nothing() {
    if !can_mount() {
        return;
    }
    for disk in disks() {
        let [path, to, ballast] = ["agents.khala", "backup.khala", "ballast"].map(|name| disk.path().join(name));
        filled(&path);
        fill(&ballast, u64::MAX);
        let store = Store::open(&path).unwrap();
        let error = store.backup(&to, |_| {}).unwrap_err();
        assert!(says_full(&error) && error.to_string().contains("backup.khala"), "{error:?}");
        assert_eq!(store.failure(), None, "the store itself is well");
        drop(store);
        let error = Store::compact(&path, |_| {}).unwrap_err();
        assert!(says_full(&error), "{error:?}");
        let mut left: Vec<_> = fs::read_dir(disk.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.retain(|name| name != "lost+found");
        left.sort();
        assert_eq!(left, ["agents.khala", "ballast"]);
        remove(&ballast);
        is_whole(&path).unwrap();
        Store::open(&path).unwrap().backup(&to, |_| {}).unwrap();
        is_whole(&to).unwrap();
    }
}
