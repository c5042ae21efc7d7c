//! Reading a thread's messages in the largest store, another thread each time.

use anyhow::{Context, Result, ensure};

use super::Kept;
use crate::crew::{More, work_together};
use crate::loaded::{Loaded, MESSAGE_BYTES, MESSAGES_PER_STEP, messages_of};
use crate::measure::{Measure, Place, Work};
use crate::options::{Plan, in_turn};
use crate::peer::{Seen, Which};
use crate::recorder::{Recorder, value};

pub(super) const WORK: [(Work, Measure); 3] =
    [(Work::ReadAll, Measure::ReadAll), (Work::ReadLast, Measure::ReadLast), (Work::ReadStep, Measure::ReadStep)];

const LAST: usize = 20;

pub(super) fn run(plan: &Plan, kept: &mut Kept, recorder: &mut Recorder) -> Result<()> {
    let rows = plan.most_rows();
    for (_, measure) in WORK.into_iter().filter(|(work, _)| plan.wants(*work)) {
        let place = Place { measure, rows, threads: 1 };
        for round in 0..plan.rounds {
            for peer in in_turn(round, plan.stores()) {
                let store = kept.get(&(peer, rows)).context("the store was loaded")?;
                let done = work_together(1, plan.slice, |worker| read(store, rows, measure, &mut worker.dice))?;
                recorder.add(place, peer, round, value(measure, done));
            }
        }
        recorder.tell(place);
    }
    Ok(())
}

fn read(store: &Loaded, rows: usize, measure: Measure, dice: &mut fastrand::Rng) -> Result<More> {
    let (number, thread) = store.content.quiet_thread(dice)?;
    let all = messages_of(rows, number);
    let (which, expected) = match measure {
        Measure::ReadLast => (Which::Last(LAST), LAST.min(all)),
        Measure::ReadStep => {
            let step = dice.usize(0..all / MESSAGES_PER_STEP);
            (Which::Step(u64::try_from(step)?), MESSAGES_PER_STEP)
        }
        _ => (Which::All, all),
    };
    let seen = store.peer.messages(thread, which)?;
    let expected = Seen { rows: expected, text_bytes: expected * MESSAGE_BYTES };
    ensure!(seen == expected, "{} read {seen:?}, not {expected:?}", store.name.label());
    Ok(More::Yes)
}
