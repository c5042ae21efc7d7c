//! What opening a file reads after a crash: all of it, or next to nothing behind a checkpoint; and that it finds the last
//! commit, or says that it cannot.

use crate::db::{FailingDisk, Request, TestDisk};
use crate::{Error, MessageFilter, NewMessage, Store, ThreadId};

const MESSAGES: usize = 2_000;

/// A crashed store on its disk: what was durable at the last sync, after a checkpoint or not.
fn crashed(with_checkpoint: bool, with_a_write_behind: bool) -> (FailingDisk, ThreadId) {
    let disk = FailingDisk::of(Vec::new());
    let store = Store::builder().open_on(disk.clone()).unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    store.append_messages(thread, vec![NewMessage::new("user", "x".repeat(1_000)); MESSAGES]).unwrap();
    if with_checkpoint {
        store.checkpoint().unwrap();
    }
    if with_a_write_behind {
        store.append_message(thread, NewMessage::new("user", "behind")).unwrap();
    }
    (FailingDisk::of(disk.durable()), thread)
}

/// The bytes that opening this disk reads, without the check of every page.
fn bytes_read_to_open(disk: &FailingDisk, thread: ThreadId, messages: usize) -> usize {
    disk.arm(None);
    let store = Store::builder().check_on_open(false).open_on(disk.clone()).unwrap();
    let bytes = disk.requests().iter().filter(|asked| asked.request == Request::Read).map(|asked| asked.bytes).sum();
    store.verify().unwrap();
    assert_eq!(store.thread_messages(thread, &MessageFilter::new()).unwrap().len(), messages);
    bytes
}

#[test]
fn behind_a_checkpoint_a_crashed_file_opens_without_a_walk_through_it() {
    let (disk, thread) = crashed(true, false);
    let bytes = bytes_read_to_open(&disk, thread, MESSAGES);
    assert!(bytes < MESSAGES * 1_000 / 10, "it read {bytes} bytes");
}

#[test]
fn without_one_or_with_a_write_behind_it_the_whole_file_is_walked() {
    for (with_checkpoint, with_a_write_behind, messages) in [(false, false, MESSAGES), (true, true, MESSAGES + 1)] {
        let (disk, thread) = crashed(with_checkpoint, with_a_write_behind);
        let bytes = bytes_read_to_open(&disk, thread, messages);
        assert!(bytes > MESSAGES * 1_000, "it read {bytes} bytes: the test above proves nothing");
    }
}

/// The engine takes a damaged newest commit for one that a crash tore, and would go on from the one before it.
#[test]
fn a_durable_commit_that_was_damaged_is_not_passed_over() {
    const COMMIT_SLOTS: std::ops::Range<usize> = 64..320;
    let disk = TestDisk::default();
    let store = Store::builder().open_on(disk.clone()).unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    let crashed = disk.content();
    let mut refused = 0;
    for byte in COMMIT_SLOTS {
        let mut damaged = crashed.clone();
        damaged[byte] ^= 0xFF;
        match Store::builder().open_on(TestDisk::of(&damaged)) {
            Ok(store) => assert!(store.thread(thread).unwrap().is_some(), "byte {byte}: the commit is gone"),
            Err(Error::Corrupt { table: "file", reason }) => refused += usize::from(reason.contains("was durable")),
            Err(error) => panic!("byte {byte}: {error}"),
        }
    }
    assert!(refused > 0, "no byte of the newest commit was met");
}
