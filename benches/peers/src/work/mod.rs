//! The work, written once for all peers.
//!
//! | file | work |
//! |---|---|
//! | `writes.rs` | claims, creations, appends: as many as there is time for |
//! | `drain.rs` | a race for so many tasks |
//! | `reads.rs` | messages of a thread |
//! | `queue.rs` | listing open tasks, expiring claims |
//! | `storage.rs` | loading, memory, room on the disk, reopening |
//!
//! In every round each peer does a slice of the same work, one after the other, and another one begins each time: whatever
//! else the machine does meets all alike.

mod drain;
mod queue;
mod reads;
mod storage;
mod writes;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::Result;

use crate::loaded::Loaded;
use crate::measure::Work;
use crate::options::Plan;
use crate::peer::PeerName;
use crate::recorder::Recorder;

/// Does everything that the plan asks for.
pub(crate) fn run(plan: &Plan, base: &Path, reuse: bool, recorder: &mut Recorder) -> Result<()> {
    let wants_any = |works: &[Work]| works.iter().any(|work| plan.wants(*work));
    let mut kept = Kept::default();
    if plan.wants(Work::Load) || wants_kept(plan) {
        storage::load_kept(plan, base, reuse, recorder)?;
    }
    if plan.wants(Work::Reopen) {
        storage::reopen(plan, base, recorder)?;
    }
    if wants_kept(plan) {
        kept = open_kept(plan, base)?;
    }
    reads::run(plan, &mut kept, recorder)?;
    if wants_any(&[Work::OpenTasks, Work::ExpireDue, Work::ExpireNone]) {
        queue::run(plan, base, recorder)?;
    }
    if plan.wants(Work::Drain) {
        drain::run(plan, base, recorder)?;
    }
    writes::run(plan, base, &mut kept, recorder)?;
    kept.into_values().try_for_each(Loaded::close)
}

/// The stores that are loaded once and used on, by who and how many rows.
type Kept = BTreeMap<(PeerName, usize), Loaded>;

/// Whether any of the work is done in a store that is kept.
fn wants_kept(plan: &Plan) -> bool {
    let reads = reads::WORK.iter().any(|(work, _)| plan.wants(*work));
    let writes = writes::WORK.iter().any(|(work, _)| plan.wants(*work));
    plan.wants(Work::Reopen) || reads || (writes && plan.rows.iter().any(|rows| plan.is_kept(*rows)))
}

/// The sizes of stores that are kept: those that are large enough, and the largest in any case, which is read.
fn kept_rows(plan: &Plan) -> Vec<usize> {
    let most = plan.most_rows();
    plan.rows.iter().copied().filter(|rows| plan.is_kept(*rows) || *rows == most).collect()
}

fn open_kept(plan: &Plan, base: &Path) -> Result<Kept> {
    let mut kept = Kept::new();
    for rows in kept_rows(plan) {
        for name in plan.stores() {
            kept.insert((name, rows), Loaded::kept(name, &storage::folder(base, name, rows))?);
        }
    }
    Ok(kept)
}

/// Lets nobody pay for what another has left to the operating system.
fn quiet(base: &Path) -> Result<()> {
    Ok(rustix::fs::syncfs(File::open(base)?)?)
}
