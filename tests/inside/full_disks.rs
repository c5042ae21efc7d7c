//! A disk without room, and one that may not be written to: what is said, what is left, and how it goes on.
//!
//! They are small file systems of the tests' own, so they need root; without it the tests say so.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Mutex;

use super::audit::Audit;
use super::campaign::{report, seeds, with_seed};
use super::kills::go_on;
use super::mounts::{Mounted, run, why_not};
use super::witness::Crew;
use crate::{Error, Store};

const DISK_BYTES: u64 = 12 << 20;

/// Whether this can be tried here; says aloud if not.
pub(super) fn can_mount() -> bool {
    let why_not = why_not();
    if let Some(why) = &why_not {
        report(format_args!("full disks: SKIPPED, no full and no read-only disk was tried: {why}"));
    }
    why_not.is_none()
}

pub(super) fn disks() -> [Mounted; 2] {
    [Mounted::tmpfs(DISK_BYTES), Mounted::ext4(DISK_BYTES, &[], "data=ordered")]
}

/// Writes to this file until it has this size, or the disk is full.
pub(super) fn fill(file: &Path, most_bytes: u64) {
    let mut file = OpenOptions::new().append(true).create(true).open(file).unwrap();
    // The last of the room as well.
    for piece in [65_536, 4_096, 1] {
        let piece = vec![1; piece];
        loop {
            let left = most_bytes.saturating_sub(file.metadata().unwrap().len());
            match file.write(&piece[..piece.len().min(left as usize)]) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Removes this file. What it took, ext4 gives to others once its end is on the disk.
pub(super) fn remove(file: &Path) {
    fs::remove_file(file).unwrap();
    run("sync", [Path::new("-f"), file.parent().unwrap()]);
}

pub(super) fn says_full(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::StorageFull)
}

/// Workers on a disk that fills up, what they are told, and what is there when there is room again.
fn run_out_of_room(disk: &Mounted, rng: &mut fastrand::Rng) -> Result<u64, String> {
    let [file, ballast] = ["agents.khala", "ballast"].map(|name| disk.path().join(name));
    fill(&ballast, DISK_BYTES / 2);
    let mut audit = Audit::new();
    go_on(&file, &mut audit, true, Crew::choose(0, rng))?;

    let store = Store::open(&file).map_err(|error| error.to_string())?;
    let told = Mutex::new(Vec::new());
    let crew = Crew { padding_max_bytes: 500_000, ..Crew::choose(1, rng) };
    let errors = crew.work(&store, &|line| told.lock().unwrap().push(line));
    audit.hear(&told.into_inner().unwrap());
    let failure = store.failure().unwrap_or_default().to_owned();
    let clear = errors.iter().all(|error| match error {
        Error::CommitUnknown | Error::Poisoned => failure.contains("No space left"),
        error => says_full(error),
    });
    let told_first = errors.iter().any(|error| !matches!(error, Error::Poisoned));
    if !clear || !told_first || errors.len() as u64 != crew.workers {
        return Err(format!("{crew:?} was told {errors:?}, and the reason is {failure:?}"));
    }
    drop(store);

    match Store::open(&file) {
        Ok(store) => audit.check(&store)?,
        Err(error) if says_full(&error) && error.to_string().contains("agents.khala") => {}
        Err(error) => return Err(format!("on the full disk: {error:?}")),
    }
    remove(&ballast);
    go_on(&file, &mut audit, true, Crew::choose(2, rng))?;
    Ok(audit.counts.acknowledged)
}

#[test]
fn a_full_disk_is_told_and_takes_nothing_and_work_goes_on_when_there_is_room() {
    if !can_mount() {
        return;
    }
    let (mut disks_filled, mut acknowledged) = (0, 0);
    for seed in seeds(3) {
        with_seed(seed, |mut rng| {
            for disk in disks() {
                acknowledged += run_out_of_room(&disk, &mut rng)?;
                disks_filled += 1;
            }
            Ok(())
        });
    }
    report(format_args!(
        "full disks: {disks_filled} filled up (tmpfs and ext4), {acknowledged} transactions acknowledged and all there; \
         0 violations"
    ));
}

#[test]
fn a_creation_on_a_full_disk_leaves_nothing_and_names_the_file() {
    if !can_mount() {
        return;
    }
    for disk in disks() {
        let ballast = disk.path().join("ballast");
        // From a disk with room for nothing to one with room for part of a store.
        for room in [0, 4, 16, 32] {
            fill(&disk.path().join("room"), room << 10);
            fill(&ballast, u64::MAX);
            remove(&disk.path().join("room"));
            let told = Store::open(disk.path().join("agents.khala")).map(drop);
            let is_clear = |error: &Error| says_full(error) && error.to_string().contains("agents.khala");
            assert!(told.as_ref().is_err_and(is_clear), "{room} KiB of room on {disk:?}: {told:?}");
            let left: Vec<_> = fs::read_dir(disk.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(left.iter().all(|name| name == "ballast" || name == "lost+found"), "{left:?}");
            remove(&ballast);
        }
        Store::open(disk.path().join("agents.khala")).unwrap().verify().unwrap();
    }
}

/// Opens a store that cannot be opened for writing, and expects to be told which, and to find it as it was.
fn is_refused(file: &Path, kind: ErrorKind) {
    let before = fs::read(file).ok();
    let error = Store::open(file).map(drop).expect_err("it may not be written to");
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == kind), "{error:?}");
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    assert!(fs::read(file).ok() == before, "{error}: and yet something changed");
}

#[test]
fn a_read_only_disk_is_refused_by_name() {
    if !can_mount() {
        return;
    }
    for disk in disks() {
        let [file, new] = ["agents.khala", "new.khala"].map(|name| disk.path().join(name));
        let thread = Store::open(&file).unwrap().create_thread("review", "ada").unwrap().id;
        disk.remount("ro");
        is_refused(&file, ErrorKind::ReadOnlyFilesystem);
        is_refused(&new, ErrorKind::ReadOnlyFilesystem);
        disk.remount("rw");
        let store = Store::open(&file).unwrap();
        assert!(store.thread(thread).unwrap().is_some());
        store.verify().unwrap();
    }
}

#[test]
fn a_file_and_a_folder_that_nobody_may_change_are_refused_by_name() {
    if !can_mount() {
        return;
    }
    let [_, disk] = disks();
    let [file, new] = ["agents.khala", "new.khala"].map(|name| disk.path().join(name));
    let thread = Store::open(&file).unwrap().create_thread("review", "ada").unwrap().id;
    run("chattr", [Path::new("+i"), &file]);
    is_refused(&file, ErrorKind::PermissionDenied);
    run("chattr", [Path::new("-i"), &file]);
    run("chattr", [Path::new("+i"), disk.path()]);
    is_refused(&new, ErrorKind::PermissionDenied);
    // What is there already may be written to.
    assert!(Store::open(&file).unwrap().thread(thread).unwrap().is_some());
    run("chattr", [Path::new("-i"), disk.path()]);
    Store::open(&new).unwrap().verify().unwrap();
}
