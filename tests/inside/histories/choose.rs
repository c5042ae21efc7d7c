//! What a thread of a history does next: at random, on what the threads have in common.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;

use super::super::harness::Wanted;
use super::super::life::{Plan, STATUSES, Settle, agent, later, role};
use super::calls::{Answer, Listed, Next, Read, Said, Spoilt, Write};
use super::record::Asked;
use crate::{ClaimId, MessageId, TaskId, TaskStatus, ThreadId, ThreadStatus, Timestamp};

/// What was made last, by whomever. So few that the threads meet; what is gone meanwhile stays on it for a while, for
/// there are those who come late.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    threads: Recent<ThreadId, 8>,
    /// Those that were made before them, and are to go one day: a history costs the more to check the more is there.
    old_threads: VecDeque<ThreadId>,
    tasks: Recent<TaskId, 40>,
    claims: Recent<(ThreadId, TaskId, ClaimId), 40>,
    messages: Recent<(ThreadId, MessageId), 16>,
    tokens: Recent<String, 6>,
}

/// How many threads stay that nobody does anything to.
const OLD_THREADS: usize = 50;

/// The last so many.
#[derive(Debug)]
struct Recent<T, const MOST: usize>(VecDeque<T>);

impl<T, const MOST: usize> Default for Recent<T, MOST> {
    fn default() -> Self {
        Self(VecDeque::with_capacity(MOST))
    }
}

impl<T: Clone, const MOST: usize> Recent<T, MOST> {
    /// Gives back the one that is no longer among them.
    fn add(&mut self, item: T) -> Option<T> {
        let old = if self.0.len() == MOST { self.0.pop_front() } else { None };
        self.0.push_back(item);
        old
    }

    fn any(&self, random: &mut Rng) -> Option<T> {
        self.0.get(random.usize(..self.0.len().max(1))).cloned()
    }
}

impl Board {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what an answer speaks of.
    pub(super) fn learn(&self, answer: &Answer) {
        let mut known = self.known();
        match answer {
            Answer::Thread(thread) if thread.updated_at == thread.created_at => {
                let old = known.threads.add(thread.id);
                known.old_threads.extend(old);
            }
            Answer::Task(task) if task.attempts == 0 => drop(known.tasks.add(task.id)),
            Answer::Claim(Some(claim)) => {
                known.claims.add((claim.task.thread_id, claim.task.id, claim.id));
            }
            Answer::Message(message) => drop(known.messages.add((message.thread_id, message.id))),
            Answer::Pair(one, other) => {
                known.tasks.add(one.id);
                known.tasks.add(other.id);
            }
            Answer::Turn(message, task) => {
                known.messages.add((message.thread_id, message.id));
                known.tasks.add(task.id);
            }
            Answer::Token(token) => drop(known.tokens.add(token.clone())),
            _ => {}
        }
    }

    /// What to do next at this moment; `None` where there is nothing yet to do it to.
    pub(super) fn choose(&self, random: &mut Rng, now: Timestamp) -> Option<Asked> {
        let mut known = self.known();
        if known.old_threads.len() > OLD_THREADS {
            let old = known.old_threads.pop_front()?;
            let finish = Write::Finish(old, ThreadStatus::Completed, None);
            return Some(Asked::Write(if random.bool() { finish } else { Write::Delete(old) }));
        }
        match random.u32(..100) {
            0..15 => known.read(random, now).map(Asked::Read),
            _ => known.write(random, now).map(Asked::Write),
        }
    }
}

/// Nearly all tasks are for two roles.
fn any_role(random: &mut Rng) -> u8 {
    if random.u8(..20) == 0 { 2 } else { random.u8(..2) }
}

fn one_in(n: u32, random: &mut Rng) -> bool {
    random.u32(..n) == 0
}

fn plan(random: &mut Rng) -> Plan {
    Plan {
        role: any_role(random),
        timeout_seconds: random.u32(1..30),
        max_attempts: one_in(3, random).then(|| random.u32(1..4)),
        backoff_seconds: if one_in(3, random) { random.u32(1..20) } else { 0 },
        priority: if one_in(4, random) { random.i16(-2..3) } else { 0 },
        delay_seconds: one_in(6, random).then(|| random.i64(-5..20)),
        key: one_in(4, random).then(|| random.u8(..4)),
    }
}

pub(super) fn next(random: &mut Rng) -> Next {
    Next { role: (!one_in(3, random)).then(|| any_role(random)), thread: None }
}

fn said(random: &mut Rng) -> Said {
    Said { role: any_role(random), step: random.u64(..3) }
}

impl Known {
    fn write(&self, random: &mut Rng, now: Timestamp) -> Option<Write> {
        let me = agent(random.u8(..6));
        Some(match random.u32(..850) {
            0..12 => Write::CreateThread,
            12..22 => {
                // Without keys, which could have one refused when the other is there.
                let keyless = |random: &mut Rng| Plan { key: None, ..plan(random) };
                Write::CreatePair(self.threads.any(random)?, keyless(random), keyless(random))
            }
            22..150 => {
                let plan = plan(random);
                let not_before = plan.delay_seconds.map(|delay| later(now, delay));
                Write::CreateTask(self.threads.any(random)?, plan, not_before)
            }
            150..270 => Write::Claim(self.tasks.any(random)?, me),
            270..400 => Write::ClaimNext(me, self.next(random)),
            400..420 => {
                let patience = Duration::from_micros(random.u64(..3000));
                Write::ClaimNextWithin(me, self.next(random), patience)
            }
            420..660 => {
                let (_, task, claim) = self.claims.any(random)?;
                // Now and then a claim of another task.
                let task = if one_in(40, random) { self.tasks.any(random)? } else { task };
                let how = [Settle::Complete, Settle::Complete, Settle::Renew, Settle::Release, Settle::Fail];
                Write::Settle(how[random.usize(..how.len())], task, claim)
            }
            660..675 => Write::Cancel(self.tasks.any(random)?),
            675..695 => Write::Expire,
            695..745 => {
                let under = if random.bool() { self.claims.any(random) } else { None };
                let thread = under.map_or_else(|| self.threads.any(random), |(thread, ..)| Some(thread))?;
                Write::Append(thread, said(random), under.map(|(_, task, claim)| (task, claim)))
            }
            745..770 => {
                let (thread, newest) = self.messages.any(random)?;
                Write::AppendAt(thread, said(random), (!one_in(5, random)).then_some(newest))
            }
            770..810 => {
                let (thread, task, claim) = self.claims.any(random)?;
                Write::Turn(thread, task, claim, plan(random))
            }
            810..819 => {
                let result = random.bool().then_some("done");
                Write::Finish(self.threads.any(random)?, STATUSES[random.usize(..STATUSES.len())], result)
            }
            819..822 => Write::Delete(self.threads.any(random)?),
            822..825 => Write::Prune(later(now, -random.i64(0..40))),
            825..828 => Write::PruneAtOnce(later(now, -random.i64(0..40))),
            828..838 => Write::Register(me),
            838..842 => Write::Rotate(me),
            842..846 => Write::Remove(me),
            846..848 => Write::Spoil(Spoilt::Refuses),
            _ => Write::Spoil(Spoilt::Panics),
        })
    }

    fn next(&self, random: &mut Rng) -> Next {
        let thread = if one_in(5, random) { self.threads.any(random) } else { None };
        Next { thread, ..next(random) }
    }

    fn read(&self, random: &mut Rng, now: Timestamp) -> Option<Read> {
        let limit = random.usize(1..12);
        Some(match random.u32(..150) {
            0..45 => Read::Task(self.tasks.any(random)?),
            45..55 => Read::Thread(self.threads.any(random)?),
            55..75 => Read::OpenTasks(limit),
            75..92 => Read::Tasks(self.listed(random, limit)),
            92..98 => Read::Threads(one_in(2, random).then(|| STATUSES[random.usize(..4)]), random.bool(), limit),
            98..130 => {
                let wanted = Wanted {
                    role: one_in(3, random).then(|| role(any_role(random))),
                    step: one_in(3, random).then(|| random.u64(..3)),
                    after: if one_in(3, random) { self.messages.any(random).map(|(_, id)| id) } else { None },
                    since: one_in(3, random).then(|| later(now, -random.i64(0..40))),
                    last: one_in(3, random).then(|| random.usize(..5)),
                };
                Read::Messages(self.threads.any(random)?, wanted)
            }
            130..134 => Read::Agents(limit),
            134..139 => Read::Agent(agent(random.u8(..6))),
            139..147 => Read::Authenticate(self.tokens.any(random)?),
            _ => Read::Stats,
        })
    }

    fn listed(&self, random: &mut Rng, limit: usize) -> Listed {
        const ALL: [TaskStatus; 6] = [
            TaskStatus::Open,
            TaskStatus::Scheduled,
            TaskStatus::Claimed,
            TaskStatus::Completed,
            TaskStatus::Failed,
            TaskStatus::Cancelled,
        ];
        Listed {
            role: one_in(3, random).then(|| any_role(random)),
            thread: if one_in(3, random) { self.threads.any(random) } else { None },
            status: one_in(2, random).then(|| ALL[random.usize(..ALL.len())]),
            holder: one_in(5, random).then(|| agent(random.u8(..6))),
            newest_first: random.bool(),
            limit,
        }
    }
}
