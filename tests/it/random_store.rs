//! Stores with a bit of everything in them: rows in every state, odd texts, gaps where something was deleted.

use std::time::Duration;

use fastrand::Rng;
use khala::{AgentId, Claim, ManualClock, NewMessage, NewTask, Store, TaskFilter, ThreadId, ThreadStatus, Timestamp};

/// Where the clock of such a store begins.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_764_066_120_000_001);

const TEXTS: [&str; 6] =
    ["", "a", "zwei\nZeilen\t\"quoted\"\\", "\u{0}\u{1f}\u{7f}", "日本語 \u{1f600}\u{2028}", "{\"a\":[1]}"];

fn text(rng: &mut Rng) -> String {
    let text = TEXTS[rng.usize(..TEXTS.len())].repeat(rng.usize(1..4));
    if rng.u8(..8) == 0 { text + &"long ".repeat(200) } else { text }
}

fn name(rng: &mut Rng) -> String {
    format!("n{}{}", rng.u8(..4), text(rng)).chars().take(60).collect()
}

fn agent(rng: &mut Rng) -> AgentId {
    AgentId::new(format!("agent-{}", rng.u8(..5))).unwrap()
}

/// Does this many random things to a store.
pub(crate) fn live(store: &Store, clock: &ManualClock, steps: usize, rng: &mut Rng) {
    let mut threads: Vec<ThreadId> = vec![store.create_thread("review", "ada").unwrap().id];
    let mut claims: Vec<Claim> = Vec::new();
    for _ in 0..steps {
        clock.advance(Duration::from_micros(rng.u64(..30_000_000)));
        let thread = threads[rng.usize(..threads.len())];
        // What is refused, as a message to a finished thread is, leaves things as they are.
        match rng.u8(..20) {
            0 => threads.push(store.create_thread(&name(rng), &name(rng)).unwrap().id),
            1 => drop(store.register_agent(&agent(rng))),
            2 => drop(store.rotate_token(&agent(rng))),
            3 if rng.u8(..4) == 0 => {
                let status = [ThreadStatus::Completed, ThreadStatus::Failed, ThreadStatus::Cancelled][rng.usize(..3)];
                let result = text(rng);
                drop(store.finish_thread(thread, status, rng.bool().then_some(result.as_str())));
            }
            4 if rng.u8(..8) == 0 => drop(store.delete_thread(thread)),
            5..=8 => {
                let mut message = NewMessage::new(name(rng), text(rng)).step(rng.u64(..4));
                if rng.bool() {
                    message = message.meta(text(rng)).agent(&agent(rng));
                }
                drop(store.append_message(thread, message));
            }
            9..=12 => {
                let mut task = NewTask::new(name(rng), text(rng)).timeout_seconds(rng.u32(1..200));
                if rng.bool() {
                    task = task.max_attempts(rng.u32(1..3)).backoff_seconds(rng.u32(..100)).priority(rng.i16(..));
                }
                if rng.u8(..4) == 0 {
                    task = task.not_before(START + Duration::from_secs(rng.u64(..3_600)));
                }
                if rng.bool() {
                    task = task.key(name(rng));
                }
                drop(store.create_task(thread, task));
            }
            13..=15 => claims.extend(store.claim_next(&agent(rng), &TaskFilter::new()).unwrap()),
            16 => drop(store.expire_timed_out_tasks()),
            _ if claims.is_empty() => {}
            _ => {
                let Claim { id, task, .. } = claims.swap_remove(rng.usize(..claims.len()));
                match rng.u8(..5) {
                    0 => drop(store.release_task(task.id, id)),
                    1 => drop(store.fail_task(task.id, id, &text(rng))),
                    2 => drop(store.cancel_task(task.id)),
                    3 => drop(store.renew_claim(task.id, id)),
                    _ => drop(store.complete_task(task.id, id)),
                }
            }
        }
    }
    store.verify().unwrap();
}
