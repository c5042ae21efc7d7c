//! What becomes of one damaged file: the part of the harness that runs in a child process.

use std::fmt;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::contents::contents;
use super::harm::Harm;
use super::images::{Image, clock, go_on};
use crate::db::{StorageBackend, TestDisk};
use crate::inside::campaign::words_of;
use crate::inside::child::say;
use crate::planted::{Bug, with_bug};
use crate::{Builder, Error, Result, Store};

/// How a file is damaged and opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    /// Damaged while nobody has it open, and opened with the check that is the default.
    Checked,
    /// The same, opened without it.
    Unchecked,
    /// Damaged under a store that has it open.
    InUse,
}

/// What a case number stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cases {
    /// A bit of the header.
    Bits,
    /// A seed.
    Seeds,
}

/// What was seen. The first four are what may be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Right,
    /// The file was not opened, and not changed.
    Refused(String),
    /// The error came behind the opening.
    Failed(String),
    /// An error told of a panic in the engine.
    FailedInPanic(String),
    /// It was not opened, but changed.
    Changed(String),
    Wrong(String),
    Panicked(String),
    /// The process died of it.
    Died(String),
    /// Nothing was heard of the process any more.
    Hung,
}

const MODES: [Mode; 3] = [Mode::Checked, Mode::Unchecked, Mode::InUse];
const CASES: [Cases; 2] = [Cases::Bits, Cases::Seeds];
const BUGS: [Bug; 4] = [Bug::CheckSkipped, Bug::ReceiptIgnored, Bug::RepairedBeforeRefused, Bug::PanicLetThrough];

/// What of these is called so.
fn named<T: Copy + fmt::Debug>(all: &[T], name: &str) -> Option<T> {
    all.iter().copied().find(|one| format!("{one:?}") == name)
}

/// The harm of this case.
pub(super) fn harm(cases: Cases, case: u64, image: &Image) -> Harm {
    match cases {
        Cases::Bits => Harm::header_bit(case),
        Cases::Seeds => Harm::random(&mut Rng::with_seed(case), image),
    }
}

/// The child: tries cases one after the other, and says before each which it is and after it what came of it.
pub(super) fn child(arguments: &[String]) {
    let [folder, mode, cases, bug, first, last] = arguments else { panic!("six arguments, not {arguments:?}") };
    let (mode, cases) = (named(&MODES, mode).unwrap(), named(&CASES, cases).unwrap());
    let image = Image::read(Path::new(folder));
    let scratch = tempfile::tempdir().unwrap();
    for case in first.parse::<u64>().unwrap()..last.parse().unwrap() {
        say(&format!("at {case}"));
        let harm = harm(cases, case, &image);
        // Now and then in a real file, where an empty one is no store; in memory it is a new one.
        let real = mode != Mode::InUse && (case.is_multiple_of(8) || matches!(harm, Harm::Truncate(..512)));
        let file = real.then(|| scratch.path().join("damaged.khala"));
        let verdict = with_bug(named(&BUGS, bug), || {
            let tried = catch_unwind(AssertUnwindSafe(|| match mode {
                Mode::InUse => in_use(&image, &harm, &mut Rng::with_seed(case)),
                Mode::Checked => opened(&image, &harm, &Place::new(harm.done_to(&image), file), true),
                Mode::Unchecked => opened(&image, &harm, &Place::new(harm.done_to(&image), file), false),
            }));
            tried.unwrap_or_else(|panic| Verdict::Panicked(words_of(panic.as_ref())))
        });
        say(&format!("done {case} {verdict}"));
    }
}

/// Where a damaged file is: on a disk in memory, or on this machine's.
enum Place {
    Disk(TestDisk),
    File(PathBuf),
}

impl Place {
    fn new(bytes: Vec<u8>, file: Option<PathBuf>) -> Self {
        match file {
            None => Self::Disk(TestDisk::of(&bytes)),
            Some(path) => {
                fs::write(&path, bytes).unwrap();
                Self::File(path)
            }
        }
    }

    fn open(&self, builder: Builder) -> Result<Store> {
        match self {
            Self::Disk(disk) => builder.open_on(disk.clone()),
            Self::File(path) => builder.open(path),
        }
    }

    fn content(&self) -> Vec<u8> {
        match self {
            Self::Disk(disk) => disk.content(),
            Self::File(path) => fs::read(path).unwrap(),
        }
    }
}

fn builder() -> Builder {
    Store::builder().clock(clock()).cache_bytes(1 << 20)
}

/// Opens a damaged file, hears everything it says, works on with it, and opens it again.
fn opened(image: &Image, harm: &Harm, place: &Place, check: bool) -> Verdict {
    let before = place.content();
    let store = match place.open(builder().check_on_open(check)) {
        Ok(store) => store,
        Err(error) if place.content() == before => return Verdict::Refused(name(&error)),
        Err(error) => return Verdict::Changed(error.to_string()),
    };
    let heard = judged(image, harm, &store).and_then(|()| worked_on(&store));
    drop(store);
    let again = heard.and_then(|()| {
        let store = place.open(builder().check_on_open(check)).map_err(|error| Verdict::of(&error))?;
        store.verify().map_err(|error| Verdict::of(&error))
    });
    again.map_or_else(|verdict| verdict, |()| Verdict::Right)
}

/// Damages the file of an open store, uses it as anyone would, closes it, and opens it again.
fn in_use(image: &Image, harm: &Harm, rng: &mut Rng) -> Verdict {
    let disk = TestDisk::of(&image.now.bytes);
    // With little memory the engine reads a page again and again; with much of it, what it knows stays good.
    let store = builder().cache_bytes([0, 1 << 16, 1 << 22][rng.usize(..3)]).open_on(disk.clone()).unwrap();
    if rng.bool() {
        contents(&store, &image.tokens).unwrap();
    }
    let whole = disk.content();
    scribble(&disk, &whole, &image.now.bytes, &harm.done_to(image));
    let mut verdicts = Vec::new();
    for _ in 0..2 {
        verdicts.extend(judged(image, harm, &store).err());
        verdicts.extend(store.verify().map_err(|error| Verdict::of(&error)).err());
        if verdicts.is_empty() {
            verdicts.extend(worked_on(&store).err());
            break;
        }
        // A store that has met damage is used again: it must not have come to harm itself.
        let _ = go_on(&store);
    }
    drop(store);
    if let Err(error) = builder().open_on(disk).and_then(|store| store.verify()) {
        verdicts.push(Verdict::of(&error));
    }
    verdicts.into_iter().max_by_key(Verdict::gravity).unwrap_or(Verdict::Right)
}

/// Writes what the harm changed over what is there.
fn scribble(disk: &TestDisk, whole: &[u8], before: &[u8], after: &[u8]) {
    for (number, page) in after.chunks(512).enumerate() {
        let at = number * 512;
        if before.get(at..at + page.len()) != Some(page) && at + page.len() <= whole.len() {
            disk.write(at as u64, page).unwrap();
        }
    }
    if after.len() != before.len() {
        disk.set_len(after.len() as u64).unwrap();
    }
}

/// Whether the store can be worked on with.
fn worked_on(store: &Store) -> Result<(), Verdict> {
    match go_on(store) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Verdict::Wrong("what was done afterwards is not there".to_owned())),
        Err(error) => Err(Verdict::of(&error)),
    }
}

/// Whether the store says what is right.
fn judged(image: &Image, harm: &Harm, store: &Store) -> Result<(), Verdict> {
    let said = contents(store, &image.tokens).map_err(|error| Verdict::of(&error))?;
    store.verify().map_err(|error| Verdict::of(&error))?;
    if harm.allows(image, &said) {
        return Ok(());
    }
    let earlier = image.earlier.iter().position(|version| version.answers.contains(&said));
    let right = &image.now.answers[0];
    let unlike = said.lines().zip(right.lines()).find(|(said, right)| said != right);
    Err(Verdict::Wrong(match (earlier, unlike) {
        (Some(version), _) => format!("what was so at the time of version {version}"),
        (None, Some((said, right))) => format!("said is {said:.200}, right is {right:.200}"),
        (None, None) => format!("{} lines, right are {}", said.lines().count(), right.lines().count()),
    }))
}

impl Verdict {
    fn of(error: &Error) -> Self {
        if error.to_string().contains("the engine panicked") {
            return Self::FailedInPanic(error.to_string());
        }
        Self::Failed(name(error))
    }

    fn gravity(&self) -> u8 {
        match self {
            Self::Right => 0,
            Self::Refused(_) | Self::Failed(_) => 1,
            Self::FailedInPanic(_) => 2,
            Self::Changed(_) | Self::Wrong(_) => 3,
            Self::Panicked(_) | Self::Died(_) | Self::Hung => 4,
        }
    }

    /// Its kind, in a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::FailedInPanic(_) => "panic told as an error",
            Self::Changed(_) => "refused and changed",
            Self::Wrong(_) => "wrong",
            Self::Panicked(_) => "panicked",
            Self::Died(_) => "died",
            Self::Hung => "hung",
        }
    }

    fn detail(&self) -> &str {
        match self {
            Self::Right | Self::Hung => "",
            Self::Refused(detail)
            | Self::Failed(detail)
            | Self::FailedInPanic(detail)
            | Self::Changed(detail)
            | Self::Wrong(detail)
            | Self::Panicked(detail)
            | Self::Died(detail) => detail,
        }
    }

    /// What was displayed as this.
    pub(super) fn parse(text: &str) -> Self {
        let (kind, detail) = text.split_once(": ").unwrap_or((text, ""));
        let detail = detail.to_owned();
        match kind {
            "right" => Self::Right,
            "refused" => Self::Refused(detail),
            "failed" => Self::Failed(detail),
            "panic told as an error" => Self::FailedInPanic(detail),
            "refused and changed" => Self::Changed(detail),
            "wrong" => Self::Wrong(detail),
            "panicked" => Self::Panicked(detail),
            other => panic!("a child said {other:?}"),
        }
    }
}

/// On one line.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind(), self.detail().replace('\n', " / "))
    }
}

fn name(error: &Error) -> String {
    let text = format!("{error:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}
