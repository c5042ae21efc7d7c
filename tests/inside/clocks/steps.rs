//! Every step of the clock, across every kind of reopening, before everything that has its time: it is due at its moment
//! and not a microsecond earlier, and what has ended stays ended when the clock goes the other way.

use std::time::Duration;

use super::world::{AROUND, Around, World, jumps};
use super::{HOUR, SECOND, STEPS, TEN_YEARS};
use crate::planted::{Bug, with_bug};
use crate::{AgentId, ClaimId, Error, NewMessage, NewTask, TaskId, ThreadId, Timestamp};

use super::super::campaign::report;

/// 2026-01-01.
const TODAY: Timestamp = Timestamp::from_micros(1_767_225_600 * SECOND);

/// What has its time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Thing {
    /// A claim, which then can be taken away.
    Claim,
    /// One that was renewed before the jump.
    RenewedBefore,
    /// One that is renewed after the jump.
    RenewedAfter,
    /// A task that may be claimed then.
    Scheduled,
    /// One that failed, and rests until then.
    Backoff,
}

const THINGS: [Thing; 5] = [Thing::Claim, Thing::RenewedBefore, Thing::RenewedAfter, Thing::Scheduled, Thing::Backoff];

/// How far off its time is: each step of the clock goes over some of these and stays before the others.
const SECONDS: [u32; 5] = [2, 1_800, 7_200, 80_000, 600_000_000];

/// A task in a thread, and who had it.
struct Stage {
    world: World,
    thread: ThreadId,
    task: TaskId,
    stale: Option<ClaimId>,
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

impl Stage {
    fn new(start: Timestamp, thing: Thing, seconds: u32) -> Result<Self, String> {
        let mut world = World::at(start);
        let thread = world.done(|tx| tx.create_thread("clocks", "test"))?.id;
        let later = start + Duration::from_secs(seconds.into());
        let task = world.done(move |tx| {
            let task = NewTask::new("writer", "").timeout_seconds(seconds);
            let task = match thing {
                Thing::Scheduled => task.not_before(later),
                Thing::Backoff => task.backoff_seconds(seconds),
                _ => task,
            };
            tx.create_task(thread, &task)
        })?;
        let mut stage = Self { world, thread, task: task.id, stale: None };
        if thing != Thing::Scheduled {
            stage.stale = stage.claim("late")?;
        }
        Ok(stage)
    }

    fn claim(&mut self, name: &'static str) -> Result<Option<ClaimId>, String> {
        let task = self.task;
        Ok(self.world.done(move |tx| tx.claim_task(task, &agent(name)))?.map(|claim| claim.id))
    }

    /// What the thing's time is, once it has one.
    fn due(&self, thing: Thing) -> Result<Timestamp, String> {
        let task = self.world.store().task(self.task).map_err(|error| error.to_string())?.ok_or("the task is gone")?;
        let due = if matches!(thing, Thing::Scheduled | Thing::Backoff) { task.not_before } else { task.expires_at };
        due.ok_or_else(|| format!("it has no time: {task:?}"))
    }

    fn renew(&mut self) -> Result<(), String> {
        let (task, claim) = (self.task, self.stale.ok_or("there is a claim")?);
        if self.world.done(move |tx| tx.renew_claim(task, claim))? { Ok(()) } else { Err("renewed in vain".into()) }
    }

    /// Whether its time has come; if so somebody else has it now.
    fn take(&mut self, thing: Thing) -> Result<Option<ClaimId>, String> {
        if !matches!(thing, Thing::Scheduled | Thing::Backoff) {
            let expired = self.world.expire()?;
            if expired == 0 {
                return Ok(None);
            }
        }
        self.claim("next")
    }

    /// The claim that is over moves nothing, and the one that is not does.
    fn nothing_is_revived(&mut self, holder: ClaimId) -> Result<(), String> {
        let (thread, task) = (self.thread, self.task);
        if let Some(stale) = self.stale {
            let settled = self.world.done(move |tx| {
                let renewed = tx.renew_claim(task, stale)? || tx.release_task(task, stale)?;
                Ok(renewed || tx.complete_task(task, stale)? || tx.fail_task(task, stale, "late")?)
            })?;
            let message = move || NewMessage::new("writer", "late").under(task, stale);
            let said = self.world.write(move |tx| tx.append_message(thread, &message()))?;
            if settled || !matches!(said, Err(Error::ClaimLost(_))) {
                return Err("a claim that was taken away is alive".into());
            }
        }
        if !self.world.done(move |tx| tx.complete_task(task, holder))? {
            return Err("the claim that holds was turned away".into());
        }
        self.world.store().verify().map_err(|error| error.to_string())
    }
}

/// The error says what is wrong.
fn comes_in_its_time(
    start: Timestamp,
    thing: Thing,
    seconds: u32,
    (step, around): (i64, Around),
) -> Result<(), String> {
    let mut stage = Stage::new(start, thing, seconds)?;
    let whole = Duration::from_secs(seconds.into());
    let mut expected = start + whole;
    match thing {
        Thing::RenewedBefore => {
            stage.world.pass(whole / 2);
            stage.renew()?;
            expected = expected + whole / 2;
        }
        Thing::Backoff => {
            let (task, claim) = (stage.task, stage.stale.ok_or("there is a claim")?);
            stage.world.done(move |tx| tx.fail_task(task, claim, "no"))?;
            // At most a day.
            expected = start + whole.min(Duration::from_secs(86_400));
        }
        _ => {}
    }
    stage.world.jump(step, around);
    if thing == Thing::RenewedAfter {
        stage.renew()?;
        expected = expected.max(stage.world.last() + whole);
    }
    if stage.due(thing)? != expected {
        return Err(format!("its time is {}, and must be {expected}", stage.due(thing)?));
    }
    stage.world.done(|_| Ok(()))?;
    let rest = expected.duration_since(stage.world.last());
    if let Some(almost) = rest.checked_sub(Duration::from_micros(1)) {
        stage.world.pass(almost);
        stage.world.moment_of_a_read()?;
        if stage.take(thing)?.is_some() {
            return Err("it came early".into());
        }
        stage.world.pass(Duration::from_micros(1));
    }
    let holder = stage.take(thing)?.ok_or("its time has passed, and it never came")?;
    stage.world.jump(-step, around);
    stage.nothing_is_revived(holder)
}

/// How many of all scenes there were, and what is wrong with those in which something is.
fn all_scenes() -> (usize, Vec<String>) {
    let (mut scenes, mut wrong) = (0, vec![]);
    for start in [TODAY, Timestamp::MIN] {
        for thing in THINGS {
            for (seconds, jump) in SECONDS.into_iter().flat_map(|seconds| jumps().map(move |jump| (seconds, jump))) {
                scenes += 1;
                if let Err(what) = comes_in_its_time(start, thing, seconds, jump) {
                    wrong.push(format!("{thing:?} of {seconds} s from {start}, a jump of {jump:?}: {what}"));
                }
            }
        }
    }
    (scenes, wrong)
}

#[test]
fn everything_comes_in_its_time_whatever_the_clock_does_and_nothing_comes_back() {
    let (scenes, wrong) = all_scenes();
    assert!(wrong.is_empty(), "{} of {scenes}:\n{}", wrong.len(), wrong.join("\n"));
    report(format_args!("clocks: {scenes} scenes of a step, none wrong"));
}

/// The control of the scenes: with this bug in place some must fail, and with these words.
fn seen_in_scenes(bug: Bug, words: &str) {
    let (scenes, wrong) = with_bug(Some(bug), all_scenes);
    let seen = wrong.iter().filter(|what| what.contains(words)).count();
    report(format_args!("clocks: {bug:?} seen in {} of {scenes} scenes of a step", wrong.len()));
    assert!(seen > 0, "nobody saw that {words:?}: {}", wrong.join("\n"));
}

#[test]
fn control_time_that_follows_the_clock_back_is_seen_in_a_step() {
    seen_in_scenes(Bug::TimeFollowsClock, "it is");
}

#[test]
fn control_time_that_stands_still_is_seen_in_a_step() {
    seen_in_scenes(Bug::TimeStandsStill, "must be");
}

#[test]
fn control_an_early_expiry_is_seen_in_a_step() {
    seen_in_scenes(Bug::ExpireEarly, "it came early");
}

#[test]
fn control_a_claim_that_is_revived_is_seen_in_a_step() {
    seen_in_scenes(Bug::CompleteWithoutCheck, "is alive");
}

/// There and back again: what was made in between has its time at the clock's pace, not ten years later.
#[test]
fn what_is_made_during_a_jump_forward_and_back_comes_in_its_time() {
    for (jump, around) in STEPS.into_iter().filter(|step| *step > 0).flat_map(|step| AROUND.map(|a| (step, a))) {
        let mut world = World::at(TODAY);
        world.jump(jump, around);
        let tasks = world.done(|tx| {
            let thread = tx.create_thread("clocks", "test")?.id;
            let minute = tx.now() + Duration::from_secs(60);
            let claimed = tx.create_task(thread, &NewTask::new("writer", "").timeout_seconds(60))?.id;
            tx.claim_task(claimed, &agent("late"))?;
            let scheduled = tx.create_task(thread, &NewTask::new("writer", "").not_before(minute))?.id;
            Ok([claimed, scheduled])
        });
        let tasks = tasks.unwrap();
        world.jump(-jump, around);
        world.done(|_| Ok(())).unwrap();
        let is_open = |world: &World| tasks.map(|task| world.store().task(task).unwrap().unwrap().status.as_str());
        world.pass(Duration::from_micros(59_999_999));
        assert_eq!(world.expire().unwrap(), 0);
        assert_eq!(is_open(&world), ["claimed", "scheduled"]);
        world.pass(Duration::from_micros(1));
        assert_eq!(world.expire().unwrap(), 1);
        assert_eq!(is_open(&world), ["open", "open"], "{jump} {around:?}");
        world.store().verify().unwrap();
    }
}

/// A clock that is behind counts from the opening on, though nobody has written since.
#[test]
fn a_claim_times_out_at_the_pace_of_a_clock_that_is_behind_at_opening() {
    for around in [Around::Closed, Around::Killed] {
        let mut stage = Stage::new(TODAY, Thing::Claim, 60).unwrap();
        stage.world.jump(-TEN_YEARS, around);
        stage.world.pass(Duration::from_secs(60));
        assert_eq!(stage.world.store().stats().unwrap().claims_due, 1, "who only reads sees it");
        assert_eq!(stage.world.expire().unwrap(), 1);
    }
}

/// How much of what the clock says is a step and how much has passed is known from the first write after it.
#[test]
fn after_a_step_back_time_goes_on_for_readers_too_from_the_first_write_on() {
    let mut stage = Stage::new(TODAY, Thing::Claim, 60).unwrap();
    stage.world.jump(-HOUR, Around::Open);
    stage.world.pass(Duration::from_secs(30));
    assert_eq!(stage.world.moment_of_a_read().unwrap(), TODAY);
    stage.world.done(|_| Ok(())).unwrap();
    stage.world.pass(Duration::from_secs(60));
    assert_eq!(stage.world.moment_of_a_read().unwrap(), TODAY + Duration::from_secs(60), "at the clock's pace");
    assert_eq!(stage.world.store().stats().unwrap().claims_due, 1);
    assert_eq!(stage.world.expire().unwrap(), 1);
}
