//! Power cuts while a store is made: what is left stands under another name, see `src/db/file.rs`.

use fastrand::Rng;

use super::super::campaign::{report, seeds, with_seed};
use super::platter::Platter;
use super::state::State;
use super::verify;
use crate::db::CrashDisk;
use crate::{Error, Store};

/// Cuts the power while a store is made, so many times. Of each image: another store can be made where it lies; and had it
/// got the store's name all the same, it would be refused, or be the whole empty store. How many were that.
fn a_creation(images: u64, mut rng: Rng) -> Result<u64, String> {
    let disk = CrashDisk::default();
    drop(Store::builder().open_on(disk.clone()).unwrap());
    let events = disk.take_events();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agents.khala");
    let half_made = folder.path().join(".agents.khala.new");
    let mut whole = 0;
    for _ in 0..images {
        let mut platter = Platter::of(vec![]);
        events[..rng.usize(..=events.len())].iter().for_each(|event| platter.take(event, &mut rng));
        let image = platter.cut(&mut rng).bytes;

        std::fs::write(&half_made, &image).unwrap();
        let store =
            Store::open(&path).map_err(|error| format!("no store can be made over a half-made one: {error}"))?;
        is_new(&store)?;
        drop(store);
        assert!(!half_made.exists(), "nothing is left behind");
        std::fs::remove_file(&path).unwrap();

        std::fs::write(&path, &image).unwrap();
        match Store::builder().check_on_open(rng.bool()).open(&path) {
            Ok(store) => {
                is_new(&store)?;
                whole += 1;
            }
            Err(Error::NotAStore { .. } | Error::Corrupt { .. }) => {}
            Err(error) => return Err(format!("a half-made store is refused with {error:?}")),
        }
        std::fs::remove_file(&path).unwrap();
    }
    Ok(whole)
}

/// Empty, and everything there that a store needs.
fn is_new(store: &Store) -> Result<(), String> {
    State::default().differs(store)?;
    let history = store.schema_history().unwrap();
    if history.iter().map(|migration| migration.version).ne([1, 2, 3]) {
        return Err(format!("a new store has the history {history:?}"));
    }
    store.create_thread("review", "ada").map_err(|error| format!("a new store does not work: {error}"))?;
    verify(store)
}

#[test]
fn a_creation_that_was_cut_leaves_no_wrong_store() {
    const IMAGES: u64 = 50;
    let seeds = seeds(20);
    let images = IMAGES * (seeds.end - seeds.start);
    let whole: u64 = seeds.map(|seed| with_seed(seed, |rng| a_creation(IMAGES, rng))).sum();
    report(format!(
        "power cuts, the creation of a store: {images} images, {whole} of them whole, the rest would have been refused; \
         violations: 0"
    ));
}
