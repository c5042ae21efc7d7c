//! Any bytes, read as a row of every kind and as a key of every table: a row that is the same when it is stored and read
//! again, or an error that names the table as damaged.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: {
        if cfg!(feature = "planted") {
            khala::fuzzing::plant_bugs();
        }
    },
    |bytes: &[u8]| {
        if let Err(wrong) = khala::fuzzing::read_as_rows(bytes) {
            panic!("{wrong}");
        }
    }
);
