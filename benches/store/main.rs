//! What the store does in a second, on a real file with default settings: every write is durable.
//!
//! | group | one iteration |
//! |---|---|
//! | claim race | so many agents race for one open list, until all of it is claimed |
//! | claim race against one operation per commit | the same for 10,000 tasks; both kinds of store by turns |
//! | claim and complete | every agent claims a task and completes it |
//! | claim and renew | every agent claims 16 tasks, or renews 16 claims; by turns |
//! | append | every agent appends a message |
//! | read a thread | one call of `thread_messages` |
//! | open tasks | one call of `open_tasks` |
//! | expire | one sweep |
//! | wake up | a task is created, and an agent that waits claims it; by turns with a commit of the same store |
//! | `claim_next` among open tasks of other roles | one call of `claim_next`; few and many others by turns |
//! | `claim_next` among completed tasks | the same |
//! | prune 10 finished threads among other threads | one call of `prune`; few and many others by turns |
//!
//! ```text
//! cargo bench --bench store                                 about four minutes
//! cargo bench --bench store -- append                       one group
//! cargo bench --bench store -- --test                       everything once, small: shows that it works, not how fast
//! KHALA_BENCH_DIR=/mnt/nvme cargo bench --bench store       on another disk than that of the system's temporary folder
//! ```
//!
//! The temporary folder has to be on a disk: in memory a sync costs nothing, and the figures say nothing.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a benchmark that goes wrong is to stop at once")]

mod claims;
mod crew;
mod fixture;
mod life;
mod messages;
mod tasks;
mod turns;
mod waiting;

use std::time::Duration;

use criterion::{Criterion, Throughput};

/// How many agents work at once, each on a thread of its own.
const CROWDS: [usize; 4] = [1, 8, 32, 128];

fn main() {
    // What is measured takes milliseconds and waits for a disk: few samples, each of many operations, tell enough.
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    claims::race(&mut criterion);
    let batching = claims::race_batched_and_alone(&mut criterion);
    claims::claim_and_complete(&mut criterion);
    let renewal = claims::claim_and_renew(&mut criterion);
    messages::append(&mut criterion);
    messages::read_a_thread(&mut criterion);
    tasks::open_tasks(&mut criterion);
    let expiry = tasks::expire(&mut criterion);
    let waking = waiting::wake_up(&mut criterion);
    let rare = life::claim_rare_role(&mut criterion);
    let finished = life::claim_among_finished(&mut criterion);
    let pruning = life::prune(&mut criterion);
    criterion.final_summary();
    if !fixture::is_smoke_run() {
        let sentences = [batching, renewal, expiry, waking, rare, finished, pruning];
        for sentence in sentences.into_iter().flatten() {
            println!("{sentence}\n");
        }
    }
}

/// What a benchmark with so many agents is called.
fn crowd(agents: usize) -> String {
    if agents == 1 { "1 agent".into() } else { format!("{agents} agents") }
}

/// What criterion counts per iteration.
fn elements(count: usize) -> Throughput {
    Throughput::Elements(u64::try_from(count).unwrap())
}
