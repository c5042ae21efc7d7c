//! Rows from bytes that nobody vouches for.

use proptest::prelude::*;

use super::{must_fail, try_property};
use crate::db::{AppliedMigration, Row, decode_row, encode_row};
use crate::fuzzing::read_as_rows;
use crate::planted::Bug;
use crate::tasks::{Instruction, TaskRow};
use crate::{AgentId, Message, NewMessage, NewTask, Store, Thread};

/// A row of each kind, in each of its states.
struct Rows {
    thread: Thread,
    message: Message,
    tasks: Vec<TaskRow>,
    instruction: Instruction,
    migration: AppliedMigration,
}

fn rows() -> Rows {
    let store = Store::in_memory().unwrap();
    let agent = AgentId::new("ada").unwrap();
    let thread = store.create_thread("review", "ada").unwrap();
    let message = NewMessage::new("assistant", "Looks good.").meta("{}").step(3).agent(&agent);
    let message = store.append_message(thread.id, message).unwrap();
    let open = store.create_task(thread.id, NewTask::new("reviewer", "Read it.")).unwrap();
    let claimed = store.claim_task(open.id, &agent).unwrap().unwrap();
    assert!(store.complete_task(open.id, claimed.id).unwrap());
    let completed = store.task(open.id).unwrap().unwrap();
    let migration = store.schema_history().unwrap().remove(0);
    let instruction = Instruction { task: open.id, text: "Read it from beginning to end.".into() };
    let tasks = [open, claimed.task, completed].into_iter().map(TaskRow::of).collect();
    Rows { thread, message, tasks, instruction, migration }
}

fn comes_back<R: Row + PartialEq + std::fmt::Debug>(row: &R) {
    assert_eq!(&decode_row::<R>(&row.id(), &encode_row(row).unwrap()).unwrap(), row);
}

#[test]
fn every_row_comes_back_from_its_bytes() {
    let Rows { thread, message, tasks, instruction, migration } = rows();
    comes_back(&thread);
    comes_back(&message);
    comes_back(&instruction);
    comes_back(&migration);
    tasks.iter().for_each(comes_back);
}

fn all_kinds(bytes: &[u8]) -> Result<(), TestCaseError> {
    read_as_rows(bytes).map(drop).map_err(TestCaseError::fail)
}

#[test]
fn arbitrary_bytes_are_a_row_or_an_error() {
    // A right version byte in most of them, so that the body is reached.
    let bytes = (prop_oneof![Just(1_u8), Just(3_u8), any::<u8>()], prop::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(version, body)| [vec![version], body].concat());
    try_property(4_000, &bytes, |bytes| all_kinds(&bytes)).unwrap();
    all_kinds(&[]).unwrap();
}

#[test]
fn a_row_with_changed_bytes_is_a_row_or_an_error() {
    let rows = rows();
    let stored = [
        encode_row(&rows.thread).unwrap(),
        encode_row(&rows.message).unwrap(),
        encode_row(&rows.tasks[0]).unwrap(),
        encode_row(&rows.tasks[1]).unwrap(),
        encode_row(&rows.tasks[2]).unwrap(),
        encode_row(&rows.instruction).unwrap(),
        encode_row(&rows.migration).unwrap(),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    let property = |(which, changes): (usize, Vec<(prop::sample::Index, u8)>)| {
        let mut bytes = stored[which].clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        all_kinds(&bytes)
    };
    try_property(4_000, &(0..stored.len(), changes), property).unwrap();
}

/// Nine bytes that announce a text of sixteen exabytes: without a limit they would ask for as much memory.
#[test]
fn a_length_without_a_text_asks_for_no_memory() {
    let rows = rows();
    let mut bytes = vec![1];
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(&[0, 0, 253]);
    bytes.extend_from_slice(&u64::MAX.to_le_bytes());
    all_kinds(&bytes).unwrap();
    assert!(decode_row::<Message>(&rows.message.id, &bytes).is_err());
}

fn surplus_bytes_are_refused((which, surplus): (usize, Vec<u8>)) -> Result<(), TestCaseError> {
    let rows = rows();
    let bytes = [encode_row(&rows.tasks[which]).unwrap(), surplus].concat();
    prop_assert!(decode_row::<TaskRow>(&rows.tasks[which].id(), &bytes).is_err());
    Ok(())
}

#[test]
fn a_row_with_surplus_bytes_is_an_error() {
    let inputs = (0_usize..3, prop::collection::vec(any::<u8>(), 1..20));
    try_property(50, &inputs, surplus_bytes_are_refused).unwrap();
}

#[test]
fn control_surplus_bytes_accepted_is_seen() {
    let inputs = (0_usize..3, prop::collection::vec(any::<u8>(), 1..20));
    must_fail(Bug::SurplusBytesAccepted, &inputs, surplus_bytes_are_refused);
}

/// What the fuzzer in `fuzz/` begins with would be of no use if the format had moved on.
#[test]
fn the_fuzzers_seeds_are_rows() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/rows");
    let seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(|seed| seed.unwrap().path()).collect();
    assert_eq!(seeds.len(), 8);
    for seed in seeds {
        let kinds = read_as_rows(&std::fs::read(&seed).unwrap()).unwrap();
        assert!(kinds > 0, "{} is no row", seed.display());
    }
}
