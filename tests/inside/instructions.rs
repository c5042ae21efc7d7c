//! Long instructions stand apart from their tasks' rows, and neither is there without the other.

use crate::tasks::Instruction;
use crate::{AgentId, Error, NewTask, Store, TaskId};

fn store_with_a_long_instruction() -> (Store, TaskId, String) {
    let store = Store::in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    let text = "Read it from beginning to end. ".repeat(100);
    let task = store.create_task(thread, NewTask::new("reviewer", &*text)).unwrap();
    store.create_task(thread, NewTask::new("reviewer", "Short.")).unwrap();
    assert_eq!(task.instruction, text);
    store.verify().unwrap();
    (store, task.id, text)
}

fn is_damage<T: std::fmt::Debug>(outcome: &Result<T, Error>) {
    assert!(matches!(outcome, Err(Error::Corrupt { table: "instructions", .. })), "{outcome:?}");
}

#[test]
fn a_claim_and_every_list_give_the_whole_instruction() {
    let (store, task, text) = store_with_a_long_instruction();
    assert_eq!(store.task(task).unwrap().unwrap().instruction, text);
    assert_eq!(store.open_tasks(1).unwrap()[0].instruction, text);
    assert_eq!(store.tasks(&crate::TaskFilter::new()).unwrap().items[0].instruction, text);
    let claim = store.claim_task(task, &AgentId::new("ada").unwrap()).unwrap().unwrap();
    assert_eq!(claim.task.instruction, text);
}

#[test]
fn an_instruction_that_is_missing_is_damage_and_not_an_empty_text() {
    let (store, task, _) = store_with_a_long_instruction();
    assert!(store.write(move |tx| tx.remove::<Instruction>(&task)).unwrap());
    is_damage(&store.task(task));
    is_damage(&store.open_tasks(10));
    is_damage(&store.claim_task(task, &AgentId::new("ada").unwrap()));
    is_damage(&store.verify());
}

#[test]
fn an_instruction_without_a_task_is_damage() {
    let (store, _, text) = store_with_a_long_instruction();
    let other = TaskId::from_bytes([7; 16]);
    store.write(move |tx| tx.put(&Instruction { task: other, text: text.clone() })).unwrap();
    is_damage(&store.verify());
    assert!(store.write(move |tx| tx.remove::<Instruction>(&other)).unwrap());
    store.verify().unwrap();
}

#[test]
fn an_instruction_goes_with_its_thread() {
    let (store, task, _) = store_with_a_long_instruction();
    let thread = store.task(task).unwrap().unwrap().thread_id;
    assert!(store.delete_thread(thread).unwrap());
    store.verify().unwrap();
    assert!(!store.write(move |tx| tx.remove::<Instruction>(&task)).unwrap());
}
