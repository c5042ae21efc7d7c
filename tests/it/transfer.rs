//! Rows out as lines of JSON, and in: from another store, and from the SQL original.

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use khala::{
    AgentId, ClaimId, Clock, Error, ImportOptions, Imported, ManualClock, MessageFilter, MessageId, NewMessage,
    NewTask, Result, Store, Table, TaskFilter, TaskId, TaskStatus, ThreadId, ThreadStatus, Timestamp, limits,
};
use rusqlite::types::ValueRef;

use crate::random_store::{START, live};

fn new_store() -> (Store, ManualClock) {
    let clock = ManualClock::new(START);
    (Store::builder().clock(clock.clone()).in_memory().unwrap(), clock)
}

fn exported(store: &Store) -> String {
    let mut lines = Vec::new();
    let exported = store.export(&mut lines, |_| {}).unwrap();
    assert_eq!(exported.bytes, lines.len() as u64);
    let lines = String::from_utf8(lines).unwrap();
    assert_eq!(exported.rows.total(), lines.lines().count() as u64);
    lines
}

fn import(store: &Store, input: &str) -> Result<Imported> {
    store.import(input.as_bytes(), &ImportOptions::new(), |_| {})
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const THREAD: &str = "01KAXC0000000000000000000T";
const TASK: &str = "01KAXC0000000000000000000A";
const CLAIM: &str = "01KAXC0000000000000000000C";

/// A thread that others can belong to.
fn thread_line() -> String {
    format!(
        r#"{{"table":"threads","id":"{THREAD}","workflow":"review","status":"active","initiator":"ada","result":null,"created_at":"2025-11-25T10:00:00.000000Z","updated_at":"2025-11-25T10:00:00.000000Z"}}"#
    ) + "\n"
}

fn message_line(id: u64, created_at: &str) -> String {
    format!(
        r#"{{"table":"messages","id":{id},"thread_id":"{THREAD}","role":"user","content":"hello","meta":null,"step":0,"agent_id":null,"created_at":"{created_at}"}}"#
    ) + "\n"
}

/// A task with these columns in the place of its own.
fn task_line(columns: &str) -> String {
    let mut row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&format!(
        r#"{{"table":"tasks","id":"{TASK}","thread_id":"{THREAD}","role":"writer","instruction":"Draft it.","created_at":"2025-11-25 10:00:01"}}"#
    ))
    .unwrap();
    let others: serde_json::Map<_, _> = serde_json::from_str(&format!("{{{columns}}}")).unwrap();
    row.extend(others);
    serde_json::to_string(&row).unwrap() + "\n"
}

#[test]
fn what_is_exported_and_imported_is_exported_the_same_to_the_byte() {
    for seed in 0..40 {
        let (store, clock) = new_store();
        live(&store, &clock, 150, &mut Rng::with_seed(seed));
        let first = exported(&store);
        let (other, other_clock) = new_store();
        other_clock.set(clock.now());
        let mut told = Vec::new();
        let imported =
            other.import(first.as_bytes(), &ImportOptions::new(), |progress| told.push(progress.done)).unwrap();
        assert!(told.into_iter().eq(0..=imported.added.total()));
        assert_eq!(imported.already_there.total(), 0);
        other.verify().unwrap();
        assert!(exported(&other) == first, "seed {seed}");
        let again = import(&other, &first).unwrap();
        assert_eq!((again.added.total(), again.already_there), (0, imported.added), "seed {seed}");
        // Whatever is done to both comes out the same.
        for store in [&store, &other] {
            store.expire_timed_out_tasks().unwrap();
        }
        assert!(exported(&other) == exported(&store), "seed {seed}");
        live(&other, &other_clock, 50, &mut Rng::with_seed(seed));
    }
}

#[test]
fn a_line_has_the_originals_columns_in_its_order_and_then_this_stores() {
    let (store, clock) = new_store();
    let thread = store.create_thread("review", "ada").unwrap().id;
    clock.advance(Duration::from_secs(1));
    store.append_message(thread, NewMessage::new("user", "é\"\n").step(2)).unwrap();
    let task = store.create_task(thread, NewTask::new("writer", "Draft it.").key("draft")).unwrap().id;
    let claim = store.claim_task(task, &AgentId::new("ada").unwrap()).unwrap().unwrap().id;
    let expected = [
        format!(
            r#"{{"table":"threads","id":"{thread}","workflow":"review","status":"active","initiator":"ada","result":null,"created_at":"2025-11-25T10:22:00.000001Z","updated_at":"2025-11-25T10:22:00.000001Z"}}"#
        ),
        format!(
            r#"{{"table":"messages","id":1,"thread_id":"{thread}","role":"user","content":"é\"\n","meta":null,"step":2,"agent_id":null,"created_at":"2025-11-25T10:22:01.000001Z"}}"#
        ),
        format!(
            r#"{{"table":"tasks","id":"{task}","thread_id":"{thread}","role":"writer","instruction":"Draft it.","status":"claimed","claim_id":"{claim}","claimed_by":"ada","claimed_at":"2025-11-25T10:22:01.000001Z","timeout_seconds":300,"created_at":"2025-11-25T10:22:01.000001Z","expires_at":"2025-11-25T10:27:01.000001Z","finished_at":null,"attempts":1,"max_attempts":null,"backoff_seconds":0,"priority":0,"not_before":null,"key":"draft","last_error":null}}"#
        ),
    ];
    assert!(exported(&store).lines().eq(expected.iter()), "{}", exported(&store));
    store.register_agent(&AgentId::new("ada").unwrap()).unwrap();
    let first: serde_json::Value = serde_json::from_str(exported(&store).lines().next().unwrap()).unwrap();
    assert_eq!((&first["table"], &first["id"]), (&"agents".into(), &"ada".into()));
    assert_eq!(first["token_hash"].as_str().unwrap().len(), 64);
    assert_eq!(exported(&Store::in_memory().unwrap()), "");
}

/// The original's database, with rows as the original would have written them.
fn original() -> rusqlite::Connection {
    let schema = include_str!("../original.sql").split("-- claimTask").next().unwrap();
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    connection.execute_batch(schema).unwrap();
    connection
        .execute_batch(&format!(
            "INSERT INTO agents VALUES ('ada', '{}', '2025-11-25 09:00:00');
             INSERT INTO threads VALUES ('{THREAD}', 'review', 'active', 'ada', NULL, '2025-11-25 10:00:00', '2025-11-25 10:00:00.5');
             INSERT INTO messages (thread_id, role, content, meta, step, agent_id, created_at)
               VALUES ('{THREAD}', 'user', 'Grüße, \"you\"' || char(10) || 'two', '{{\"a\":1}}', 0, NULL, '2025-11-25T10:00:01.25Z'),
                      ('{THREAD}', 'writer', '', NULL, 9007199254740993, 'w-1', '2025-11-25 10:00:00');
             INSERT INTO tasks (id, thread_id, role, instruction, created_at)
               VALUES ('01KAXC0000000000000000000A', '{THREAD}', 'writer', 'open', '2025-11-25 10:00:02');
             INSERT INTO tasks VALUES
               ('01KAXC0000000000000000000B', '{THREAD}', 'writer', 'claimed', 'claimed', '{CLAIM}', 'w-1', '2025-11-25 10:00:03', 60, '2025-11-25 10:00:02'),
               ('01KAXC0000000000000000000D', '{THREAD}', 'writer', 'done', 'completed', '01KAXC0000000000000000000E', 'w-2', '2025-11-25 10:00:04', 300, '2025-11-25 10:00:02');",
            sha256_of("secret-of-another-shape"),
        ))
        .unwrap();
    connection
}

fn sha256_of(token: &str) -> String {
    use sha2::Digest as _;
    let bytes: [u8; 32] = sha2::Sha256::digest(token).into();
    bytes.map(|byte| format!("{byte:02x}")).concat()
}

/// What `sqlite3 -json` prints for all rows of a table: an array, an object on each line.
fn printed_by_sqlite3(connection: &rusqlite::Connection, table: &str) -> String {
    let mut query = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let columns: Vec<String> = query.column_names().into_iter().map(Into::into).collect();
    let rows = query.query_map([], |row| {
        let value = |(n, column): (usize, &String)| {
            let value = match row.get_ref(n).unwrap() {
                ValueRef::Null => serde_json::Value::Null,
                ValueRef::Integer(number) => number.into(),
                ValueRef::Text(text) => std::str::from_utf8(text).unwrap().into(),
                other => panic!("{other:?}"),
            };
            format!("{}:{value}", serde_json::Value::from(column.as_str()))
        };
        Ok(format!("{{{}}}", columns.iter().enumerate().map(value).collect::<Vec<_>>().join(",")))
    });
    let rows: Vec<String> = rows.unwrap().map(|row| row.unwrap()).collect();
    if rows.is_empty() { String::new() } else { format!("[{}]\n", rows.join(",\n")) }
}

#[test]
fn rows_of_the_originals_database_come_in_and_go_on_being_worked() {
    let (store, clock) = new_store();
    clock.set(at("2025-11-25T10:00:30Z"));
    let connection = original();
    for (name, table) in ["agents", "threads", "messages", "tasks"].into_iter().zip(Table::ALL) {
        let printed = printed_by_sqlite3(&connection, name);
        for is_again in [false, true] {
            let imported = store.import(printed.as_bytes(), &ImportOptions::new().table(table), |_| {}).unwrap();
            let rows = printed.lines().count() as u64;
            assert_eq!(
                (imported.added.total(), imported.already_there.total()),
                if is_again { (0, rows) } else { (rows, 0) }
            );
        }
    }
    store.verify().unwrap();

    let thread = THREAD.parse().unwrap();
    let ada = store.authenticate("secret-of-another-shape").unwrap().unwrap();
    assert_eq!((ada.id.as_str(), ada.created_at), ("ada", at("2025-11-25T09:00:00Z")));
    assert_eq!(store.authenticate("another secret").unwrap(), None);
    assert_eq!(store.authenticate(&"x".repeat(limits::TOKEN_MAX_BYTES + 1)).unwrap(), None);
    assert_eq!(store.authenticate("").unwrap(), None);
    assert_eq!(store.thread(thread).unwrap().unwrap().updated_at, at("2025-11-25T10:00:00.5Z"));
    let messages = store.thread_messages(thread, &MessageFilter::new()).unwrap();
    assert_eq!(messages[0].content, "Grüße, \"you\"\ntwo");
    assert_eq!((messages[1].step, messages[1].created_at), (9_007_199_254_740_993, at("2025-11-25T10:00:00Z")));

    let [open, claimed, completed] =
        ["A", "B", "D"].map(|end| format!("01KAXC0000000000000000000{end}").parse::<TaskId>().unwrap());
    let task = store.task(completed).unwrap().unwrap();
    assert_eq!((task.status, task.finished_at), (TaskStatus::Completed, Some(at("2025-11-25T10:00:04Z"))));
    let task = store.task(claimed).unwrap().unwrap();
    assert_eq!((task.attempts, task.expires_at), (1, Some(at("2025-11-25T10:01:03Z"))));
    // Whoever holds the claim completes it, also twice; nobody else does.
    assert!(!store.complete_task(claimed, "01KAXC0000000000000000000F".parse().unwrap()).unwrap());
    let claim: ClaimId = CLAIM.parse().unwrap();
    assert!(store.complete_task(claimed, claim).unwrap() && store.complete_task(claimed, claim).unwrap());
    let me = AgentId::new("w-3").unwrap();
    let next = store.claim_next(&me, &TaskFilter::new().role("writer")).unwrap().unwrap();
    assert_eq!(next.task.id, open);
    clock.advance(Duration::from_secs(300));
    assert_eq!(store.expire_timed_out_tasks().unwrap(), 1);
    // New ids and times lie behind those that came in.
    let message = store.append_message(thread, NewMessage::new("user", "next")).unwrap();
    assert_eq!(message.id, MessageId::from_u64(3));
    assert!(store.create_task(thread, NewTask::new("writer", "next")).unwrap().id > completed);
    store.verify().unwrap();
}

#[test]
fn an_imported_claim_times_out_where_its_time_says() {
    let (store, clock) = new_store();
    let claimed = format!(
        r#""status":"claimed","claim_id":"{CLAIM}","claimed_by":"w-1","claimed_at":"2025-11-25 10:22:00","timeout_seconds":60"#
    );
    import(&store, &(thread_line() + &task_line(&claimed))).unwrap();
    clock.set(at("2025-11-25T10:22:59Z"));
    assert_eq!(store.expire_timed_out_tasks().unwrap(), 0);
    clock.set(at("2025-11-25T10:23:00Z"));
    assert_eq!(store.expire_timed_out_tasks().unwrap(), 1);
    assert_eq!(store.task(TASK.parse().unwrap()).unwrap().unwrap().status, TaskStatus::Open);
    store.verify().unwrap();
}

#[test]
fn ids_and_times_that_came_in_are_never_given_out_again() {
    let (store, _) = new_store();
    // Half a day ahead: new ids and times go on from there.
    let ahead = "2025-11-25T22:00:00.000000Z";
    let id = "01KAYN0000ZZZZZZZZZZZZZZZZ";
    let thread = thread_line().replace(THREAD, id).replace("2025-11-25T10:00:00.000000Z", ahead);
    let message = message_line(1_000, ahead).replace(THREAD, id);
    import(&store, &(thread + &message)).unwrap();
    let next = store.create_thread("review", "ada").unwrap();
    assert!(next.id > id.parse().unwrap() && next.created_at >= at(ahead), "{next:?}");
    assert_eq!(store.append_message(next.id, NewMessage::new("user", "next")).unwrap().id, MessageId::from_u64(1_001));
    store.verify().unwrap();
}

#[test]
fn agents_who_wait_are_woken_for_what_is_imported() {
    for tasks in [1_usize, 3, 2_500] {
        let (store, _) = new_store();
        let agents: Vec<_> = (0..3)
            .map(|n| {
                let store = store.clone();
                thread::spawn(move || {
                    let me = AgentId::new(format!("w-{n}")).unwrap();
                    store
                        .claim_next_within(&me, &TaskFilter::new().role("writer"), Duration::MAX)
                        .unwrap()
                        .unwrap()
                        .task
                        .id
                })
            })
            .collect();
        let mut lines = thread_line();
        for n in 0..tasks {
            lines += &task_line(&format!(r#""id":"01KAXC0000000000000000{n:04}""#));
        }
        import(&store, &lines).unwrap();
        let thread = THREAD.parse().unwrap();
        for _ in tasks..3 {
            store.create_task(thread, NewTask::new("writer", "Draft it.")).unwrap();
        }
        let mut claimed: Vec<TaskId> = agents.into_iter().map(|agent| agent.join().unwrap()).collect();
        claimed.sort();
        claimed.dedup();
        assert_eq!(claimed.len(), 3);
        store.verify().unwrap();
    }
}

#[test]
fn messages_whose_times_are_out_of_order_are_found_by_time_all_the_same() {
    let times = [10, 30, 20, 5, 40, 35, 36, 50];
    for cut in 0..=times.len() {
        let (store, _) = new_store();
        let line = |n: usize| message_line(n as u64 + 1, &format!("2025-11-25 10:00:{:02}", times[n]));
        // In two imports, and the second one first.
        import(&store, &((cut..times.len()).fold(thread_line(), |lines, n| lines + &line(n)))).unwrap();
        import(&store, &((0..cut).fold(String::new(), |lines, n| lines + &line(n)))).unwrap();
        store.verify().unwrap();
        for since in 0..=60 {
            let moment = at("2025-11-25T10:00:00Z") + Duration::from_secs(since);
            let found = store.thread_messages(THREAD.parse().unwrap(), &MessageFilter::new().since(moment)).unwrap();
            let found: Vec<u64> = found.iter().map(|message| message.id.as_u64()).collect();
            let expected = (1..).zip(times).filter(|(_, time)| *time >= since).map(|(id, _)| id);
            assert!(found.iter().copied().eq(expected), "since {since}: {found:?}");
        }
    }
}

#[test]
fn every_way_to_write_a_moment_is_read() {
    for (text, expected) in [
        ("2025-11-25 10:22:00", "2025-11-25T10:22:00Z"),
        ("2025-11-25T10:22:00", "2025-11-25T10:22:00Z"),
        ("2025-11-25 10:22:00.123456", "2025-11-25T10:22:00.123456Z"),
        ("2025-11-25 10:22:00+01:00", "2025-11-25T09:22:00Z"),
        ("2025-11-25T10:22:00.5-01:30", "2025-11-25T11:52:00.5Z"),
        ("2025-11-25T10:22:00.000Z", "2025-11-25T10:22:00Z"),
        ("1969-12-31 23:59:59", "1969-12-31T23:59:59Z"),
        ("0000-01-01 00:00:00", "0000-01-01T00:00:00Z"),
    ] {
        let (store, _) = new_store();
        import(&store, &(thread_line() + &message_line(1, text))).unwrap();
        let messages = store.thread_messages(THREAD.parse().unwrap(), &MessageFilter::new()).unwrap();
        assert_eq!(messages[0].created_at, at(expected), "{text}");
        store.verify().unwrap();
    }
}

/// Imports a thread, and these lines behind it; expects a refusal of line 2, nothing kept, and gives back the words.
fn refused(lines: &str) -> String {
    let (store, _) = new_store();
    let before = store.create_thread("review", "ada").unwrap().created_at;
    let rows = exported(&store);
    let error = import(&store, &(thread_line() + lines)).unwrap_err();
    assert!(matches!(&error, Error::Import { line: 2, .. }), "{error:?}");
    assert_eq!(exported(&store), rows, "nothing is kept");
    let thread = store.create_thread("review", "ada").unwrap();
    assert_eq!(thread.created_at, before, "not even the time");
    assert_eq!(store.append_message(thread.id, NewMessage::new("user", "x")).unwrap().id, MessageId::from_u64(1));
    store.verify().unwrap();
    error.to_string()
}

#[test]
fn a_row_that_breaks_a_rule_is_refused_with_its_line_its_column_its_value_and_the_bound() {
    let long = "x".repeat(257);
    let claim = format!(r#""claim_id":"{CLAIM}","claimed_by":"w","claimed_at":"2025-11-25 10:00:02""#);
    let cases: Vec<(String, &str)> = vec![
        (r#""timeout_seconds":0"#.into(), "tasks.timeout_seconds is 0; a claim lasts 1 to 4294967295 seconds"),
        (
            r#""timeout_seconds":4294967296"#.into(),
            "tasks.timeout_seconds is 4294967296; it takes a whole number from 0 to 4294967295",
        ),
        (r#""timeout_seconds":-1"#.into(), "tasks.timeout_seconds is -1; it takes a whole number from 0 to 4294967295"),
        (
            r#""timeout_seconds":1.5"#.into(),
            "tasks.timeout_seconds is 1.5; it takes a whole number from 0 to 4294967295",
        ),
        (
            r#""timeout_seconds":"300""#.into(),
            "tasks.timeout_seconds is \"300\"; it takes a whole number from 0 to 4294967295",
        ),
        (r#""role":"""#.into(), "tasks.role is empty; a name has 1 to 256 bytes"),
        (r#""role":7"#.into(), "tasks.role is 7; it takes a text"),
        (r#""role":["writer"]"#.into(), "tasks.role is an array; it takes a text"),
        (r#""role":null"#.into(), "tasks.role is missing or null; it must be there"),
        (format!(r#""role":"{long}""#), "tasks.role has 257 bytes; the most is 256"),
        (format!(r#""key":"{long}""#), "tasks.key has 257 bytes; the most is 256"),
        (
            r#""status":"done""#.into(),
            "tasks.status is \"done\"; there are open, scheduled, claimed, completed, failed and cancelled",
        ),
        (r#""status":"claimed""#.into(), "tasks.claim_id is null; a task that is claimed has one"),
        (claim.clone(), "tasks.claim_id is not null; a task that is open has none"),
        (
            format!(r#"{claim},"claimed_by":null,"status":"completed""#),
            "tasks.claimed_by is null; a task that is completed has one",
        ),
        (r#""status":"scheduled""#.into(), "tasks.not_before is null; a task that is scheduled has one"),
        (r#""status":"cancelled""#.into(), "tasks.finished_at is null; a task that is cancelled has one"),
        (r#""expires_at":"2025-11-25 11:00:00""#.into(), "tasks.expires_at is not null; a task that is open has none"),
        (format!(r#"{claim},"status":"claimed","claim_id":"x""#), "tasks.claim_id \"x\" is not a ULID"),
        (
            format!(r#"{claim},"status":"claimed","claimed_by":"""#),
            "tasks.claimed_by is empty; a name has 1 to 256 bytes",
        ),
        (
            format!(r#"{claim},"status":"claimed","attempts":0"#),
            "tasks.attempts is 0; a task that is claimed, as this one is, has had 1 to 4294967295",
        ),
        (
            r#""attempts":2,"max_attempts":2"#.into(),
            "tasks.attempts is 2; a task that is open, as this one is, has had 0 to 1",
        ),
        (r#""max_attempts":0"#.into(), "tasks.max_attempts is 0; a task has 1 to 4294967295 attempts"),
        (r#""priority":40000"#.into(), "tasks.priority is 40000; it takes a whole number from -32768 to 32767"),
        (
            r#""id":"7b0c9ed4-5a5b-4b51-8f0f-0123456789ab""#.into(),
            "tasks.id \"7b0c9ed4-5a5b-4b51-8f0f-0123456789ab\" is not a ULID",
        ),
        (r#""id":"01KB0P00000000000000000000""#.into(), "tasks.id is an id of 2025-11-26T"),
        (
            r#""created_at":"2025-11-26 10:22:01""#.into(),
            "tasks.created_at is 2025-11-26T10:22:01.000000Z; the store's clock says 2025-11-25T10:22:00.000001Z, and a day more is the most",
        ),
        (r#""created_at":"yesterday""#.into(), "tasks.created_at is \"yesterday\"; it takes a moment such as"),
        (r#""created_at":1764066120"#.into(), "tasks.created_at is 1764066120; it takes a text"),
        (
            r#""created_at":"-000001-01-01 00:00:00""#.into(),
            "tasks.created_at is \"-000001-01-01 00:00:00\"; it takes a moment",
        ),
        (r#""thread_id":"01KAXC0000000000000000000Z""#.into(), "thread 01KAXC0000000000000000000Z does not exist"),
        (r#""colour":"red""#.into(), "row has a column \"colour\"; its table has id, thread_id, role, instruction"),
        (r#""table":"jobs""#.into(), "table is \"jobs\"; there are agents, threads, messages and tasks"),
        (r#""table":null"#.into(), "table is missing; a row says agents, threads, messages or tasks"),
    ];
    for (columns, words) in cases {
        let said = refused(&task_line(&columns));
        assert!(said.starts_with(&format!("line 2: {words}")), "{columns}: {said}");
    }
    let message = message_line(1, "2025-11-25 10:00:00");
    for (from, to, words) in [
        (r#""id":1"#, r#""id":0"#, "messages.id is 0; a message's id is 1 to 9223372036854775807"),
        (r#""id":1"#, r#""id":9223372036854775808"#, "messages.id is 9223372036854775808; a message's id is 1 to"),
        (r#""id":1"#, r#""id":-1"#, "messages.id is -1; it takes a whole number from 0"),
        (r#""step":0"#, r#""step":-1"#, "messages.step is -1; it takes a whole number from 0"),
        (r#""step":0"#, r#""step":0,"step":1"#, "row is not what JSON allows at its character"),
        (r#""meta":null"#, r#""meta":{"a":1}"#, "messages.meta is an object; it takes a text"),
        (r#""content":"hello","#, "", "messages.content is missing or null; it must be there"),
        (r#""agent_id":null"#, r#""agent_id":"""#, "messages.agent_id is empty; a name has 1 to 256 bytes"),
        (r#""content":"hello""#, r#""content":"hel"lo""#, "row is not what JSON allows at its character"),
        (r#""content":"hello""#, r#""content":"\ud800""#, "row is not what JSON allows at its character"),
    ] {
        assert!(message.contains(from));
        let said = refused(&message.replace(from, to));
        assert!(said.starts_with(&format!("line 2: {words}")), "{to}: {said}");
    }
    let agent = r#"{"table":"agents","id":"ada","token_hash":"HASH","created_at":"2025-11-25 10:00:00"}"#;
    let said = refused(&agent.replace("HASH", "my-secret"));
    assert_eq!(said, "line 2: agents.token_hash has 9 bytes; a SHA-256 has 64 hexadecimal digits");
    let said = refused(&agent.replace("HASH", &"é".repeat(32)));
    assert_eq!(said, "line 2: agents.token_hash has 64 bytes; a SHA-256 has 64 hexadecimal digits");
    for rubbish in ["7\n", "null\n", "\"x\"\n", "}\n", "[7]\n", "{\"table\":\n", "[{}\n"] {
        refused(rubbish);
    }
}

#[test]
fn rows_that_contradict_each_other_are_refused() {
    let (store, _) = new_store();
    let (message, task) = (message_line(1, "2025-11-25 10:00:00"), task_line(r#""key":"draft""#));
    let hash = "ab".repeat(32);
    let agent =
        format!(r#"{{"table":"agents","id":"ada","token_hash":"{hash}","created_at":"2025-11-25 10:00:00"}}"#) + "\n";
    import(&store, &(thread_line() + &agent + &message + &task)).unwrap();
    let rows = exported(&store);
    let says = |input: &str| {
        let error = import(&store, input).unwrap_err();
        assert_eq!(exported(&store), rows, "nothing is kept");
        store.verify().unwrap();
        error.to_string()
    };
    assert_eq!(
        says(&(thread_line() + &message.replace("hello", "bye"))),
        "line 2: messages.id 1 is that of a different row in the store: its content is \"bye\" here and \"hello\" there"
    );
    assert_eq!(
        says(&thread_line().replace("ada", "bob")),
        format!(
            "line 1: threads.id \"{THREAD}\" is that of a different row in the store: its initiator is \"bob\" here and \"ada\" there"
        )
    );
    assert_eq!(
        says(&task_line(r#""key":"draft","priority":1"#)),
        format!(
            "line 1: tasks.id \"{TASK}\" is that of a different row in the store: its priority is 1 here and 0 there"
        )
    );
    assert_eq!(
        says(&task_line(r#""key":"draft","id":"01KAXC0000000000000000000B""#)),
        format!("line 1: key \"draft\" is that of a different task, {TASK}")
    );
    let said = says(&agent.replace(&hash, &"cd".repeat(32)));
    assert!(said.ends_with("its token_hash") && !said.contains("cdcd"), "{said}");
    assert!(says(&agent.replace("ada", "bob")).contains("is that of agent \"ada\" too"));
    // Within one input as well, and the first error is the one that is told.
    let twice = message_line(2, "2025-11-25 10:00:00") + "\n" + &message_line(2, "2025-11-25 10:00:01") + "rubbish";
    assert!(says(&twice).starts_with("line 3: messages.id 2 is that of a different row"), "{}", says(&twice));
    // Nothing is to be done in a thread that is finished.
    store.finish_thread(THREAD.parse().unwrap(), ThreadStatus::Completed, None).unwrap();
    let rows = exported(&store);
    let error = import(&store, &task_line(r#""id":"01KAXC0000000000000000000B""#)).unwrap_err();
    assert_eq!(error.to_string(), format!("line 1: thread {THREAD} is finished"));
    assert_eq!(exported(&store), rows);
    import(&store, &message_line(2, "2025-11-25 10:00:00")).unwrap();
    store.verify().unwrap();
}

#[test]
fn a_table_that_is_named_is_that_of_all_rows() {
    let (store, _) = new_store();
    let threads = ImportOptions::new().table(Table::Threads);
    store.import(thread_line().as_bytes(), &threads, |_| {}).unwrap();
    let error = store.import(message_line(1, "2025-11-25 10:00:00").as_bytes(), &threads, |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "line 1: table is messages; only threads are imported");
    for nothing in ["", "\n \r\n\t", "[]", "\u{feff}"] {
        assert_eq!(import(&store, nothing).unwrap(), Imported::default());
    }
    store.verify().unwrap();
}

/// Reads so much and then fails, or waits to be interrupted before each piece.
struct Faulty<'a> {
    rest: &'a [u8],
    interrupts: bool,
}

impl Read for Faulty<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.interrupts = !self.interrupts;
        if self.interrupts {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match self.rest.read(out)? {
            0 => Err(io::Error::other("the cable was pulled")),
            read => Ok(read),
        }
    }
}

#[test]
fn an_input_that_cannot_be_read_to_its_end_leaves_nothing() {
    let (store, _) = new_store();
    let lines = thread_line() + &message_line(1, "2025-11-25 10:00:00");
    let faulty = BufReader::with_capacity(7, Faulty { rest: lines.as_bytes(), interrupts: false });
    let error = store.import(faulty, &ImportOptions::new(), |_| {}).unwrap_err();
    assert!(matches!(&error, Error::Io { path: None, .. }), "{error:?}");
    assert_eq!(error.to_string(), "cannot read the rows to import: the cable was pulled");
    assert_eq!(exported(&store), "");

    // Cut anywhere, it is all of the lines before, or an error of the last one.
    let first = thread_line().len();
    for cut in 0..lines.len() {
        let (store, _) = new_store();
        let is_whole = [0, first - 1, first, lines.len() - 1].contains(&cut);
        match import(&store, &lines[..cut]) {
            Ok(_) => assert!(is_whole, "cut at {cut}"),
            Err(Error::Import { line, .. }) => assert!(!is_whole && line == 1 + u64::from(cut > first), "cut at {cut}"),
            Err(error) => panic!("{error:?}"),
        }
        store.verify().unwrap();
    }
    let mut broken = lines.clone().into_bytes();
    let at = lines.find("hello").unwrap();
    broken[at] = 0xFF;
    let error = store.import(&broken[..], &ImportOptions::new(), |_| {}).unwrap_err();
    assert!(matches!(error, Error::Import { line: 2, .. }), "{error:?}");
    assert_eq!(exported(&store), "");
}

#[test]
fn a_panic_while_rows_come_in_goes_on_and_leaves_nothing() {
    let (store, _) = new_store();
    let lines = thread_line() + &message_line(1, "2025-11-25 10:00:00");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.import(lines.as_bytes(), &ImportOptions::new(), |progress| assert!(progress.done < 2, "enough"))
    }));
    assert!(panicked.is_err());
    assert_eq!(exported(&store), "");
    // The one who watches may not use the store, and is told so.
    let inside = store.clone();
    let mut told = Vec::new();
    store
        .import(lines.as_bytes(), &ImportOptions::new(), |_| {
            told.push(inside.create_thread("review", "ada").map(drop));
            told.push(inside.open_tasks(1).map(drop));
        })
        .unwrap();
    assert!(told.iter().all(|told| matches!(told, Err(Error::Nested))), "{told:?}");
    store.verify().unwrap();
}

/// The longest texts there can be, written in the longest way, go out and in; a byte more does not.
#[test]
fn the_longest_texts_go_out_and_in() {
    let longest = "\u{1}".repeat(limits::TEXT_MAX_BYTES);
    let (store, _) = new_store();
    let thread = store.create_thread("review", "ada").unwrap().id;
    store.append_message(thread, NewMessage::new("user", &*longest).meta(&*longest)).unwrap();
    let lines = exported(&store);
    let (other, _) = new_store();
    import(&other, &lines).unwrap();
    other.verify().unwrap();
    assert!(exported(&other) == lines);
    drop((store, other, lines));

    let (store, _) = new_store();
    let line = message_line(1, "2025-11-25 10:00:00").replace("hello", &"x".repeat(limits::TEXT_MAX_BYTES + 1));
    let error = import(&store, &(thread_line() + &line)).unwrap_err();
    assert_eq!(error.to_string(), "line 2: messages.content has 16777217 bytes; the most is 16777216");
    // A row that never ends is not gathered for ever.
    let endless = BufReader::new(b"{\"content\":\"".chain(io::repeat(b'x')));
    let error = store.import(endless, &ImportOptions::new(), |_| {}).unwrap_err();
    assert!(error.to_string().starts_with("line 1: row has "), "{error}");
    assert_eq!(exported(&store), "");
}

#[test]
fn an_export_that_cannot_be_written_says_so_and_changes_nothing() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (store, _) = new_store();
    store.create_thread("review", "ada").unwrap();
    let error = store.export(Full, |_| {}).unwrap_err();
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe), "{error:?}");
    assert_eq!(store.failure(), None);
    assert_eq!(exported(&store).lines().count(), 1);
}

/// One store goes into another through a pipe, while both are in use.
#[test]
fn a_store_is_poured_into_another_through_a_pipe_while_others_work_on() {
    let (from, clock) = new_store();
    live(&from, &clock, 400, &mut Rng::with_seed(3));
    let (to, to_clock) = new_store();
    to_clock.set(clock.now());
    let (output, input) = io::pipe().unwrap();
    let expected = exported(&from);
    let to = Arc::new(to);
    thread::scope(|scope| {
        let import = scope.spawn(|| to.import(BufReader::new(input_of(output)), &ImportOptions::new(), |_| {}));
        from.export(input, |_| {}).unwrap();
        import.join().unwrap().unwrap();
    });
    assert!(exported(&to) == expected);
    to.verify().unwrap();
}

fn input_of(pipe: io::PipeReader) -> impl Read {
    pipe
}

#[test]
fn statuses_of_threads_come_in() {
    let (store, _) = new_store();
    import(&store, &thread_line().replace("active", "completed").replace("\"result\":null", "\"result\":\"ok\""))
        .unwrap();
    let thread = store.thread(THREAD.parse::<ThreadId>().unwrap()).unwrap().unwrap();
    assert_eq!((thread.status, thread.result.as_deref()), (ThreadStatus::Completed, Some("ok")));
    let error = import(&store, &thread_line().replace("active", "archived").replace(THREAD, TASK)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1: threads.status is \"archived\"; there are active, completed, failed and cancelled"
    );
    assert_eq!(store.prune(at("2025-11-26T00:00:00Z")).unwrap(), 1);
    store.verify().unwrap();
}
