//! What a soak keeps an eye on: that somebody gets on, the memory, and the file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// The longest time in which nothing need get on.
const PATIENCE: Duration = Duration::from_secs(5);

const LOOK_EVERY: Duration = Duration::from_millis(50);

const MIB: u64 = 1 << 20;

/// A smaller file is mostly what the engine takes to begin with.
const SMALLEST_FILE_BYTES: u64 = 4 * MIB;

/// Said of what is wrong, and looked for by the controls.
pub(super) const NO_PROGRESS: &str = "nothing has got on for";
pub(super) const KEEPS_GROWING: &str = "memory keeps growing";
pub(super) const TOO_LARGE: &str = "the file is more than 3 times what is in it";

/// Counts what gets on.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(super) fn made(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Calls this if nothing gets on for too long. It counts its own looks, so that a machine that stood still as a whole
    /// is not taken for a store that does.
    pub(super) fn watch(&self, hangs: impl FnOnce(String) + Send + 'static) {
        let progress = self.clone();
        thread::spawn(move || {
            let (mut seen, mut looks) = (0, 0);
            while LOOK_EVERY * looks < PATIENCE {
                thread::sleep(LOOK_EVERY);
                let now = progress.0.load(Relaxed);
                looks = if now == seen { looks + 1 } else { 0 };
                seen = now;
            }
            hangs(format!("{NO_PROGRESS} {PATIENCE:?}"));
        });
    }
}

/// What a process holds of the machine's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) now_bytes: u64,
    pub(super) most_bytes: u64,
}

/// What this process holds, where the operating system says it.
pub(super) fn memory() -> Option<Memory> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    };
    Some(Memory { now_bytes: bytes("VmRSS:")?, most_bytes: bytes("VmHWM:")? })
}

/// An error if memory keeps growing, from what was held after each round: the least of the last quarter is far above the
/// most of the second. In the first the allocator and the caches fill.
pub(super) fn levels_off(held: &[u64]) -> Result<(), String> {
    let quarter = held.len() / 4;
    let early = held.iter().skip(quarter).take(quarter).max();
    let late = held.iter().rev().take(quarter).min();
    match (early, late) {
        (Some(early), Some(late)) if quarter >= 2 && *late > early + early / 4 + 8 * MIB => {
            Err(format!("{KEEPS_GROWING}: from {} to {} MiB in {} rounds", early / MIB, late / MIB, held.len()))
        }
        _ => Ok(()),
    }
}

/// An error if the file is too large for the most that was ever in it: it does not shrink.
pub(super) fn keeps_to_its_room(file_bytes: u64, live_bytes: u64) -> Result<(), String> {
    if file_bytes > SMALLEST_FILE_BYTES && file_bytes > 3 * live_bytes {
        return Err(format!("{TOO_LARGE}: {} MiB for {} MiB", file_bytes / MIB, live_bytes / MIB));
    }
    Ok(())
}
