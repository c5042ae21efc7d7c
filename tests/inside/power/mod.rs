//! Power cuts, simulated: a store works on a disk that writes everything down, and then the power goes, thousands of times
//! over, at any moment of it and during the recovery from the cut before.
//!
//! ```text
//!   work.rs      a store works ──> what its disk was asked for, which states were acknowledged when
//!   platter.rs   a moment of it ──> an image: what a disk may hold after a cut at that moment
//!   here         the image is opened, compared with state.rs, worked on, and cut again
//!   cases.rs     which work it is that is cut; creation.rs: a store that was not there before
//!   controls.rs  bugs that must be seen
//! ```
//!
//! Of every image: the store opens; it holds the state after some whole number of batches, none that was acknowledged
//! is missing and none is there that nobody asked for; every index is the one recomputed from the rows; stored time goes
//! on, and no id is given out again; and the work goes on as the model says.

mod cases;
mod controls;
mod creation;
mod platter;
mod state;
mod work;

use std::iter::Sum;
use std::ops::Add;

use fastrand::Rng;

use self::platter::Platter;
use self::state::State;
use self::work::{Recording, Work};
use crate::Store;

/// How often the power goes in a recording, and what happens then.
#[derive(Clone, Copy)]
struct Cuts {
    images: u64,
    /// The recovery dies as well, so many times in a row, from as many images each time.
    deaths: u32,
    images_of_a_recovery: u64,
}

impl Cuts {
    fn of(images: u64) -> Self {
        Self { images, deaths: 0, images_of_a_recovery: 0 }
    }
}

/// What was tried.
#[derive(Clone, Copy, Default)]
struct Figures {
    images: u64,
    /// Images with a batch in them that nobody had been told of.
    ahead: u64,
}

impl Add for Figures {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self { images: self.images + more.images, ahead: self.ahead + more.ahead }
    }
}

impl Sum for Figures {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::add)
    }
}

/// Cuts the power at random moments of what was recorded. The error is what one of the images lost.
fn cut(recording: &Recording, cuts: Cuts, rng: &mut Rng) -> Result<Figures, String> {
    let moment = |_| rng.usize(recording.begins()..=recording.events.len());
    let mut moments: Vec<_> = (0..cuts.images).map(moment).collect();
    moments.sort_unstable();
    let mut platter = Platter::of(recording.start.clone());
    let (mut taken, mut figures) = (0, Figures::default());
    for moment in moments {
        for event in &recording.events[taken..moment] {
            platter.take(event, rng);
        }
        taken = moment;
        let image = platter.cut(rng);
        let survived = survives(image.bytes, recording.expected(moment), cuts, rng).map_err(|wrong| {
            let (images, events) = (figures.images, recording.events.len());
            let before = &recording.events[moment.saturating_sub(30)..moment];
            format!(
                "{wrong}\nafter {images} images, cut before event {moment} of {events}: {}\n{before:?}",
                image.survived
            )
        })?;
        figures = figures + survived;
    }
    Ok(figures)
}

/// Opens an image and goes on with it.
fn survives(image: Vec<u8>, expected: &[State], cuts: Cuts, rng: &mut Rng) -> Result<Figures, String> {
    let failing_sync = (cuts.deaths > 0 && rng.u8(..4) == 0).then(|| rng.u64(..8));
    let mut work = Work::recover(image, expected, failing_sync, rng.fork())?;
    let figures = Figures { images: 1, ahead: work.found().min(1) };
    verify(work.store())?;
    let steps = if cuts.deaths > 0 { 4 } else { 1 };
    if !work.go_on(steps)? {
        work.reopen()?;
        work.batch(1)?;
    }
    verify(work.store())?;
    if cuts.deaths == 0 {
        return Ok(figures);
    }
    let again = Cuts { images: cuts.images_of_a_recovery, deaths: cuts.deaths - 1, ..cuts };
    Ok(figures + cut(&work.end(), again, rng).map_err(|wrong| format!("{wrong}\nin the recovery of an image"))?)
}

fn verify(store: &Store) -> Result<(), String> {
    store.verify().map_err(|error| format!("verify says: {error}"))
}
