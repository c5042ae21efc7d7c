//! A machine whose power can be cut: an ext4 of its own, which the kernel is asked to stop.
//!
//! The kernel is asked to shut a mounted file system down without writing anything back (`FS_IOC_SHUTDOWN`, the way
//! xfstests cut the power); mounting it again recovers its journal. Half of the cuts come right after somebody else has
//! synced the file in the middle of what the store was writing, so that part of a commit is on the disk and part is not;
//! some cut the power with the journal written and not the data. The file system's block size and journal mode differ
//! from machine to machine.
//!
//! A kernel that stops goes on answering for a moment, and Linux answers wrongly in it: an `fdatasync` that meets the
//! aborted journal can succeed, and what it should have written is gone. (Linux 6.18, in 5 of 180 cuts under a program
//! that does nothing but `pwrite` and `fdatasync`, always once the ioctl had begun.) A machine without power answers
//! nobody. So what is told before the cut is a promise, and what is told from then on is in doubt: there whole, or not
//! at all.
//!
//! Perl calls the ioctl: it is in every Debian.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use super::kills::Moment;
use super::mounts::{Mounted, command};

/// How long anything may take before it is taken to hang.
const PATIENCE: Duration = Duration::from_secs(120);

const MADE_WITH: [&[&str]; 2] = [&["-b", "4096"], &["-b", "1024"]];
const MOUNTED_WITH: [&str; 5] = ["data=ordered", "data=writeback", "data=journal", "nodelalloc", "commit=1"];

/// What sits beside a mounted file system: syncs a file in it, or cuts its power. The number is `_IOR('X', 125, __u32)`.
const HAND: &str = r#"
use IO::Handle; $| = 1;
open(my $disk, '<', $ARGV[0]) or die "$ARGV[0]: $!";
print "ready\n";
while (my $order = <STDIN>) {
    chomp $order;
    my ($do, $with) = split / /, $order, 2;
    if ($do eq 'sync' and open(my $file, '+<', $with)) { $file->sync; }
    if ($do eq 'cut') { my $how = pack('I', $with); ioctl($disk, 0x8004587D, $how) or die "FS_IOC_SHUTDOWN: $!"; }
    print "done\n";
}
"#;

/// `FS_IOC_SHUTDOWN`: forgets the data but writes the journal.
const JOURNAL_IS_WRITTEN: u8 = 1;
/// `FS_IOC_SHUTDOWN`: forgets everything that is not on the disk.
const NOTHING_IS_WRITTEN: u8 = 2;

/// The hand on the power switch.
struct Hand {
    perl: Child,
    output: BufReader<ChildStdout>,
}

impl Hand {
    fn on(disk: &Path) -> Self {
        let mut perl = command("perl");
        perl.args(["-e", HAND]).arg(disk).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut perl = perl.spawn().unwrap_or_else(|error| panic!("perl, of perl-base: {error}"));
        let output = BufReader::new(perl.stdout.take().unwrap());
        let mut hand = Self { perl, output };
        hand.wait_for("ready\n");
        hand
    }

    fn wait_for(&mut self, wanted: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, wanted, "what the hand on the switch says");
    }

    fn order(&mut self, order: &str) {
        writeln!(self.perl.stdin.as_mut().unwrap(), "{order}").unwrap();
        self.wait_for("done\n");
    }

    /// Puts on the disk what is written of this file.
    fn sync(&mut self, file: &Path) {
        self.order(&format!("sync {}", file.display()));
    }

    fn cut(mut self, rng: &mut fastrand::Rng) {
        let how = if rng.u8(..5) == 0 { JOURNAL_IS_WRITTEN } else { NOTHING_IS_WRITTEN };
        self.order(&format!("cut {how}"));
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let _ = self.perl.kill();
        let _ = self.perl.wait();
    }
}

/// What was told on a machine whose power was cut.
pub(super) struct Told {
    pub(super) before: Vec<String>,
    /// From the cut on, until everybody had met it.
    pub(super) meanwhile: Vec<String>,
}

impl Told {
    pub(super) fn of_an_opening(&self) -> bool {
        self.before.iter().chain(&self.meanwhile).any(|line| line == "opened")
    }
}

/// A file system whose power can be cut.
pub(super) struct Machine {
    pub(super) disk: Mounted,
    /// How it was made and mounted.
    pub(super) described: String,
}

impl Machine {
    pub(super) fn new(rng: &mut fastrand::Rng) -> Self {
        let (made_with, options) = (rng.choice(MADE_WITH).unwrap(), rng.choice(MOUNTED_WITH).unwrap());
        let disk = Mounted::ext4(128 << 20, made_with, options);
        Self { disk, described: format!("{made_with:?} {options}") }
    }

    /// Runs `scene` on a thread of its own, waits for `moment`, cuts the power, waits for the scene's end, and starts
    /// again. Gives back what was told meanwhile, and what the scene came to.
    pub(super) fn cut<T: Send + 'static>(
        &self,
        file: &Path,
        moment: Moment,
        rng: &mut fastrand::Rng,
        scene: impl FnOnce(&Path, &Sender<String>) -> T + Send + 'static,
    ) -> Result<(Told, T), String> {
        let mut hand = Hand::on(self.disk.path());
        let (tell, told) = mpsc::channel();
        let (finished, outcome) = mpsc::channel();
        let of_scene = file.to_owned();
        std::thread::spawn(move || finished.send(scene(&of_scene, &tell)));
        let mut heard = moment.await_in(|| told.recv_timeout(PATIENCE).ok());
        if rng.bool() {
            hand.sync(file);
        }
        heard.extend(told.try_iter());
        hand.cut(rng);
        let ended = outcome.recv_timeout(PATIENCE).map_err(|_| "somebody hangs after the cut, or panicked")?;
        self.disk.restart();
        Ok((Told { before: heard, meanwhile: told.iter().collect() }, ended))
    }
}
