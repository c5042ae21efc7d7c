//! All rows out: one line each, table by table.

use std::io::{self, BufWriter, Write};
use std::ops::Bound;

use super::rows::Line;
use super::{Progress, RowCounts};
use crate::agents::Registration;
use crate::db::Row;
use crate::db::key::KeyRange;
use crate::error::{Error, Result};
use crate::messages::Message;
use crate::tasks::TaskRow;
use crate::threads::Thread;
use crate::tx::ReadTx;

const ALL: KeyRange = (Bound::Unbounded, Bound::Unbounded);

/// How much is gathered before it is written on.
const BUFFER_BYTES: usize = 256 * 1024;

/// What an export came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// The rows that were written.
    pub rows: RowCounts,
    /// How many bytes they take.
    pub bytes: u64,
}

/// Writes every row of this snapshot.
pub(crate) fn export(tx: &ReadTx<'_>, to: impl Write, watch: &mut dyn FnMut(Progress)) -> Result<Exported> {
    let mut lines =
        Lines { to: BufWriter::with_capacity(BUFFER_BYTES, Counting { to, bytes: 0 }), done: 0, total: 0, watch };
    for table in [Registration::TABLE, Thread::TABLE, Message::TABLE, TaskRow::TABLE] {
        lines.total += tx.tables().len(&table)?;
    }
    lines.tell();
    let rows = RowCounts {
        agents: lines.write_all(tx.tables().rows::<Registration>(&ALL)?)?,
        threads: lines.write_all(tx.tables().rows::<Thread>(&ALL)?)?,
        messages: lines.write_all(tx.tables().rows::<Message>(&ALL)?)?,
        tasks: lines.write_all(tx.tables().rows::<TaskRow>(&ALL)?.map(|row| tx.whole_task(row?)))?,
    };
    lines.to.flush().map_err(unwritten)?;
    Ok(Exported { rows, bytes: lines.to.get_ref().bytes })
}

struct Lines<'a, W: Write> {
    to: BufWriter<Counting<W>>,
    done: u64,
    total: u64,
    watch: &'a mut dyn FnMut(Progress),
}

impl<W: Write> Lines<'_, W> {
    /// Writes these rows, and says how many.
    fn write_all<L: Line>(&mut self, rows: impl Iterator<Item = Result<L>>) -> Result<u64> {
        let before = self.done;
        for row in rows {
            serde_json::to_writer(&mut self.to, &row?.to_line()).map_err(|error| unwritten(error.into()))?;
            self.to.write_all(b"\n").map_err(unwritten)?;
            self.done += 1;
            self.tell();
        }
        Ok(self.done - before)
    }

    fn tell(&mut self) {
        (self.watch)(Progress::new(self.done, Some(self.total)));
    }
}

/// Counts what goes through.
struct Counting<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += u64::try_from(written).unwrap_or(0);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn unwritten(source: io::Error) -> Error {
    Error::Io { action: "write the exported rows", path: None, source }
}
