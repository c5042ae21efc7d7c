//! A disk for tests that fails at the n-th thing it is asked for, once or from then on.
//!
//! It lives in memory and knows two contents: what is on it, which a killed process leaves, and what was on it at the
//! last sync that succeeded, which is the least that a power cut leaves.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// What a disk can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Request {
    Len,
    Read,
    SetLen,
    Write,
    Sync,
    Close,
}

/// A request that came, and how many bytes it was about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) bytes: usize,
}

/// How it can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The device does not answer.
    Eio,
    /// It is full, which nobody is told who only reads.
    Enospc,
    /// A write puts down its beginning, of a length that this number chooses, and fails.
    ShortWrite(usize),
}

impl Fault {
    /// Whether a disk with this fault can fail at this request.
    pub(crate) fn concerns(self, request: Request) -> bool {
        match self {
            Self::Eio => true,
            Self::Enospc => matches!(request, Request::SetLen | Request::Write | Request::Sync),
            Self::ShortWrite(_) => request == Request::Write,
        }
    }

    /// What the operating system says.
    pub(crate) fn error(self) -> io::Error {
        match self {
            Self::Eio => io::Error::from_raw_os_error(5),
            Self::Enospc => io::Error::from_raw_os_error(28),
            Self::ShortWrite(_) => ErrorKind::WriteZero.into(),
        }
    }
}

/// When a disk is to fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How many requests it answers first.
    pub(crate) after: u64,
    /// What requests count, if not all.
    pub(crate) only: Option<Request>,
    pub(crate) fault: Fault,
    /// Whether it goes on failing at whatever the fault concerns, or fails once.
    pub(crate) for_ever: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct FailingDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    content: Vec<u8>,
    /// How to take back what came after the last sync, newest last.
    unsynced: Vec<Undo>,
    plan: Option<Plan>,
    /// How many requests of the plan's kind there were since.
    counted: u64,
    /// What it was asked for since it was armed.
    requests: Vec<Asked>,
    /// What it failed at first.
    failed_at: Option<Request>,
    is_unwatched: bool,
}

#[derive(Debug)]
enum Undo {
    Write { at: usize, before: Vec<u8> },
    SetLen { len: usize, cut_off: Vec<u8> },
}

impl FailingDisk {
    /// A disk with this content.
    pub(crate) fn of(content: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { content, ..State::default() })))
    }

    /// Lets it fail by this plan, which begins to count here; without one it is whole again.
    pub(crate) fn arm(&self, plan: Option<Plan>) {
        let mut state = self.state();
        (state.plan, state.counted, state.failed_at) = (plan, 0, None);
        state.requests.clear();
    }

    /// What it was asked for since it was armed.
    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.state().requests.clone()
    }

    /// What it failed at first since it was armed, if it did.
    pub(crate) fn failed_at(&self) -> Option<Request> {
        self.state().failed_at
    }

    /// What `f` gives back while the disk neither counts nor fails.
    pub(crate) fn unwatched<T>(&self, f: impl FnOnce() -> T) -> T {
        self.state().is_unwatched = true;
        let made = f();
        self.state().is_unwatched = false;
        made
    }

    /// What is on it.
    pub(crate) fn content(&self) -> Vec<u8> {
        self.state().content.clone()
    }

    /// What was on it at the last sync that succeeded.
    pub(crate) fn durable(&self) -> Vec<u8> {
        let state = self.state();
        let mut content = state.content.clone();
        for undo in state.unsynced.iter().rev() {
            match undo {
                Undo::Write { at, before } => content[*at..at + before.len()].copy_from_slice(before),
                Undo::SetLen { len, cut_off } => {
                    content.truncate(*len);
                    content.extend_from_slice(cut_off);
                    content.resize(*len, 0);
                }
            }
        }
        content
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    /// Counts the request. The error is the fault that is to be met now.
    fn meet(&mut self, request: Request, bytes: usize) -> Result<(), Fault> {
        if self.is_unwatched {
            return Ok(());
        }
        self.requests.push(Asked { request, bytes });
        let Some(plan) = self.plan.filter(|plan| plan.only.is_none_or(|only| only == request)) else { return Ok(()) };
        let number = self.counted;
        self.counted += 1;
        let is_now = number == plan.after || (plan.for_ever && number > plan.after);
        if !is_now || !plan.fault.concerns(request) {
            return Ok(());
        }
        self.failed_at.get_or_insert(request);
        Err(plan.fault)
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let at = usize::try_from(offset).unwrap();
        let place = &mut self.content[at..at + data.len()];
        self.unsynced.push(Undo::Write { at, before: place.to_vec() });
        place.copy_from_slice(data);
    }
}

impl StorageBackend for FailingDisk {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.state();
        state.meet(Request::Len, 0).map_err(Fault::error)?;
        Ok(u64::try_from(state.content.len()).unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.meet(Request::Read, out.len()).map_err(Fault::error)?;
        let at = usize::try_from(offset).unwrap();
        let found = at.checked_add(out.len()).and_then(|end| state.content.get(at..end));
        out.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.meet(Request::SetLen, 0).map_err(Fault::error)?;
        let (before, len) = (state.content.len(), usize::try_from(len).unwrap());
        let cut_off = state.content.get(len..).unwrap_or_default().to_vec();
        state.unsynced.push(Undo::SetLen { len: before, cut_off });
        state.content.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.meet(Request::Sync, 0).map_err(Fault::error)?;
        state.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        match state.meet(Request::Write, data.len()) {
            Ok(()) => state.write(offset, data),
            Err(fault) => {
                if let Fault::ShortWrite(number) = fault {
                    state.write(offset, &data[..number % data.len()]);
                }
                return Err(fault.error());
            }
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.state().meet(Request::Close, 0).map_err(Fault::error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_durable_is_the_content_at_the_last_sync() {
        let disk = FailingDisk::of(vec![1; 8]);
        let steps: [&dyn Fn(); 5] = [
            &|| disk.write(2, &[2; 3]).unwrap(),
            &|| disk.set_len(4).unwrap(),
            &|| disk.set_len(12).unwrap(),
            &|| disk.write(3, &[3; 9]).unwrap(),
            &|| disk.set_len(5).unwrap(),
        ];
        for step in steps {
            step();
            assert_eq!(disk.durable(), [1; 8]);
        }
        disk.sync_data().unwrap();
        assert_eq!(disk.durable(), [1, 1, 2, 3, 3]);
        assert_eq!(disk.content(), disk.durable());
    }

    #[test]
    fn it_fails_at_the_request_it_is_told_to_once_or_for_ever() {
        let disk = FailingDisk::of(vec![0; 8]);
        let ask =
            || [disk.len().is_ok(), disk.sync_data().is_ok(), disk.write(0, &[1; 8]).is_ok(), disk.sync_data().is_ok()];
        let plan = Plan { after: 1, only: None, fault: Fault::Eio, for_ever: false };
        disk.arm(Some(plan));
        assert_eq!(ask(), [true, false, true, true]);
        assert_eq!(disk.failed_at(), Some(Request::Sync));
        disk.arm(Some(Plan { for_ever: true, ..plan }));
        assert_eq!(ask(), [true, false, false, false]);
        disk.arm(Some(Plan { only: Some(Request::Sync), ..plan }));
        assert_eq!(ask(), [true, true, true, false]);
        disk.arm(Some(Plan { after: 0, fault: Fault::Enospc, for_ever: true, ..plan }));
        assert_eq!(ask(), [true, false, false, false], "a full disk can be read");
        disk.arm(None);
        assert_eq!(ask(), [true; 4]);
        disk.arm(Some(Plan { fault: Fault::ShortWrite(11), after: 3, ..plan }));
        disk.write(0, &[1; 8]).unwrap();
        assert_eq!(ask(), [true, true, false, true]);
    }

    #[test]
    fn a_short_write_puts_down_its_beginning() {
        let disk = FailingDisk::of(vec![0; 8]);
        disk.arm(Some(Plan { after: 0, only: None, fault: Fault::ShortWrite(11), for_ever: false }));
        assert_eq!(disk.write(0, &[7; 8]).unwrap_err().kind(), ErrorKind::WriteZero);
        assert_eq!(disk.content(), [7, 7, 7, 0, 0, 0, 0, 0]);
    }
}
