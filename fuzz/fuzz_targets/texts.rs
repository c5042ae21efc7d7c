//! Any text, read as every identifier, as a moment, as a cursor, and as the JSON of everything that has one: an error, or
//! a value that is the same when it is written and read again.

#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use khala::{
    Agent, AgentId, AppliedMigration, Claim, ClaimId, Cursor, Message, MessageId, Task, TaskId, TaskStatus, Thread,
    ThreadId, ThreadStatus, Timestamp,
};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(
    init: {
        if cfg!(feature = "planted") {
            khala::fuzzing::plant_bugs();
        }
    },
    |text: &str| {
        for id in [parsed::<ThreadId>(text), parsed::<TaskId>(text), parsed::<ClaimId>(text)].into_iter().flatten() {
            assert!(id.eq_ignore_ascii_case(text), "{text:?} is read as {id}");
        }
        parsed::<MessageId>(text);
        if let Some(name) = parsed::<AgentId>(text) {
            assert_eq!(name, text);
        }
        parsed::<Timestamp>(text);
        if let Some(cursor) = parsed::<Cursor>(text) {
            assert!(cursor.eq_ignore_ascii_case(text), "{text:?} is read as {cursor}");
        }
        json::<ThreadId>(text);
        json::<MessageId>(text);
        json::<AgentId>(text);
        json::<Timestamp>(text);
        json::<Agent>(text);
        json::<Thread>(text);
        json::<ThreadStatus>(text);
        json::<Message>(text);
        json::<Task>(text);
        json::<TaskStatus>(text);
        json::<Claim>(text);
        json::<AppliedMigration>(text);
    }
);

/// What is printed of the value that this text is, if it is one.
fn parsed<T: FromStr<Err = khala::Error> + Display + Debug + PartialEq>(text: &str) -> Option<String> {
    match text.parse::<T>() {
        Ok(value) => {
            let printed = value.to_string();
            assert_eq!(printed.parse::<T>().unwrap(), value, "{text:?}");
            Some(printed)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

fn json<T: DeserializeOwned + Serialize + Debug + PartialEq>(text: &str) {
    if let Ok(value) = serde_json::from_str::<T>(text) {
        let written = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<T>(&written).unwrap(), value, "{text:?}");
    }
}
