//! How many pages a durable commit writes, counted by the disk: the cost that does not depend on the machine.

use crate::db::TestDisk;
use crate::{AgentId, Claim, ManualClock, NewMessage, NewTask, Store, Task, TaskFilter, ThreadId, Timestamp};

/// What is in the store while it is measured: so many tasks and as many messages.
#[derive(Clone, Copy)]
struct Content {
    rows: usize,
    threads: usize,
    instruction_bytes: usize,
}

const MANY: Content = Content { rows: 1_000_000, threads: 100_000, instruction_bytes: 100 };

/// Instructions as they are given to language models.
const LONG: Content = Content { rows: 100_000, threads: 10_000, instruction_bytes: 2_048 };

/// The most pages one commit may write, for one operation, a batch of 32, and one of 128: what the layout was measured
/// at before the first line of the store was written, and one page for what a prototype leaves out.
type Most = [(&'static str, [u64; 3]); 4];

const MOST: Most = [
    ("create task", [18 + 1, 84 + 1, 257 + 1]),
    ("claim", [17 + 1, 21 + 1, 31 + 1]),
    ("complete", [15 + 1, 18 + 1, 28 + 1]),
    ("append 256 B", [14 + 1, 79 + 1, 247 + 1]),
];

/// With long instructions as many as were counted when they left the rows, and one. In the rows it had been 19, 59 and 158
/// for a claim and 14, 47 and 145 for a completion.
const MOST_LONG: Most = [
    ("create task", [19 + 1, 93 + 1, 293 + 1]),
    ("claim", [14 + 1, 16 + 1, 22 + 1]),
    ("complete", [12 + 1, 14 + 1, 19 + 1]),
    ("append 256 B", [12 + 1, 55 + 1, 162 + 1]),
];

#[test]
fn a_commit_writes_no_more_pages_than_its_operations_need() {
    writes_at_most(MANY, MOST);
}

#[test]
fn a_claim_and_a_completion_do_not_write_a_long_instruction_again() {
    writes_at_most(LONG, MOST_LONG);
}

fn writes_at_most(content: Content, most: Most) {
    let disk = TestDisk::default();
    let store = Store::builder().cache_bytes(1 << 30).open_on(disk.clone()).unwrap();
    let threads = load(&store, content);
    let measured = measure(&store, &disk, content, &threads);
    println!(
        "pages per durable commit at {} rows, instructions of {} bytes: one operation / 32 / 128, and the most allowed:",
        content.rows, content.instruction_bytes
    );
    for ((name, pages), (_, most)) in measured.iter().zip(most) {
        println!("  {name:<12} {pages:?}  {most:?}");
    }
    for ((name, pages), (_, most)) in measured.iter().zip(most) {
        for (pages, most) in pages.iter().zip(most) {
            assert!(*pages <= most, "{name}: {pages} pages, at most {most} are allowed");
        }
    }
}

/// A fixed sequence of scattered numbers: each thread's messages and tasks lie all over the store.
fn scattered(n: usize, below: usize) -> usize {
    (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31) as usize % below
}

fn load(store: &Store, content: Content) -> Vec<ThreadId> {
    let Content { rows, threads: thread_count, instruction_bytes } = content;
    let mut threads = Vec::new();
    for _ in 0..thread_count / 10_000 {
        threads.extend(
            store
                .write(|tx| {
                    (0..10_000).map(|_| Ok(tx.create_thread("review", "ada")?.id)).collect::<crate::Result<Vec<_>>>()
                })
                .unwrap(),
        );
    }
    for first in (0..rows).step_by(20_000) {
        let threads = threads.clone();
        store
            .write(move |tx| {
                for n in first..first + 20_000 {
                    let thread = threads[scattered(n, thread_count)];
                    tx.create_task(thread, &task(instruction_bytes))?;
                    tx.append_message(thread, &message())?;
                }
                Ok(())
            })
            .unwrap();
    }
    threads
}

fn task(instruction_bytes: usize) -> NewTask {
    NewTask::new("reviewer", "i".repeat(instruction_bytes))
}

fn message() -> NewMessage {
    NewMessage::new("assistant", "m".repeat(256))
}

/// The pages of one commit, at the median of several, for each kind of operation and each size of batch.
fn measure(store: &Store, disk: &TestDisk, content: Content, threads: &[ThreadId]) -> Vec<(&'static str, [u64; 3])> {
    const REPEATS: usize = 15;
    let mut measured: Vec<(&str, [u64; 3])> = MOST.iter().map(|(name, _)| (*name, [0; 3])).collect();
    let agent = AgentId::new("ada").unwrap();
    for (column, batch) in [1, 32, 128].into_iter().enumerate() {
        let mut pages: [Vec<u64>; 4] = Default::default();
        for round in 0..REPEATS {
            let at = move |n: usize| (round * batch + n) * 7 + column;
            let mut count = |kind: usize, run: &mut dyn FnMut()| {
                let before = disk.pages_written();
                run();
                pages[kind].push(disk.pages_written() - before);
            };
            let some: Vec<_> = (0..batch).map(|n| threads[scattered(at(n), content.threads)]).collect();
            let to_create = some.clone();
            count(0, &mut || {
                let to_create = to_create.clone();
                store
                    .write(move |tx| {
                        to_create
                            .iter()
                            .try_for_each(|thread| tx.create_task(*thread, &task(content.instruction_bytes)).map(drop))
                    })
                    .unwrap();
            });
            let open: Vec<Task> = store.open_tasks(batch).unwrap();
            let mut claims: Vec<Claim> = Vec::new();
            count(1, &mut || {
                let (open, agent) = (open.clone(), agent.clone());
                let claim_all = move |tx: &mut crate::WriteTx<'_>| {
                    open.iter().map(|task| Ok(tx.claim_task(task.id, &agent)?.unwrap())).collect()
                };
                claims = store.write(claim_all).unwrap();
            });
            count(2, &mut || {
                let claims = claims.clone();
                store
                    .write(move |tx| {
                        claims.iter().try_for_each(|claim| tx.complete_task(claim.task.id, claim.id).map(drop))
                    })
                    .unwrap();
            });
            count(3, &mut || {
                let some = some.clone();
                store
                    .write(move |tx| {
                        some.iter().try_for_each(|thread| tx.append_message(*thread, &message()).map(drop))
                    })
                    .unwrap();
            });
        }
        for (kind, pages) in pages.iter_mut().enumerate() {
            pages.sort_unstable();
            measured[kind].1[column] = pages[REPEATS / 2];
        }
    }
    measured
}

#[test]
fn a_batch_in_which_nobody_wrote_is_not_synced() {
    let disk = TestDisk::default();
    let clock = ManualClock::new(Timestamp::from_micros(1_000_000));
    let store = Store::builder().clock(clock).open_on(disk.clone()).unwrap();
    let thread = store.create_thread("review", "ada").unwrap();
    let [held, done] = [1, 2].map(|_| store.create_task(thread.id, task(100)).unwrap().id);
    let agent = AgentId::new("ada").unwrap();
    let [claim, completed] = [held, done].map(|task| store.claim_task(task, &agent).unwrap().unwrap().id);
    assert!(store.complete_task(done, completed).unwrap());
    let (pages, syncs) = (disk.pages_written(), disk.syncs());
    assert_eq!(store.claim_task(held, &agent).unwrap(), None, "a lost race");
    assert_eq!(store.claim_next(&agent, &TaskFilter::new()).unwrap(), None);
    assert!(store.renew_claim(held, claim).unwrap(), "a claim that lasts as long already");
    assert!(!store.release_task(held, completed).unwrap(), "a claim that is not the task's");
    assert!(store.complete_task(done, completed).unwrap(), "a call repeated");
    assert!(!store.cancel_task(done).unwrap());
    assert_eq!(store.expire_timed_out_tasks().unwrap(), 0);
    assert!(store.write(|tx| tx.create_thread("", "ada")).is_err(), "an early failure");
    assert_eq!((disk.pages_written(), disk.syncs()), (pages, syncs));
    store.append_message(thread.id, message()).unwrap();
    assert_eq!(disk.syncs(), syncs + 1, "a commit costs one sync");
    store.verify().unwrap();
}
