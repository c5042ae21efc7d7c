//! Tasks that come with their ids, in whatever state they are.
//!
//! | status | the claim's three columns | `expires_at` | `finished_at` | `not_before` | attempts of at most m | thread |
//! |---|---|---|---|---|---|---|
//! | open | – | – | – | may be there | below m | active |
//! | scheduled | – | – | – | is there | below m | active |
//! | claimed | are there | is there | – | may be there | 1 to m | active |
//! | completed, failed | are there | – | is there | may be there | 1 to m | any |
//! | cancelled | – | – | is there | may be there | up to m | any |
//!
//! That is what the operations keep to; `tests/inside/imports.rs` holds this table against them.

use super::row::{BY_KEY, TaskRow};
use super::{Task, TaskStatus};
use crate::db::Row;
use crate::db::key::key;
use crate::error::{Error, Result};
use crate::limits;
use crate::tx::{Landed, WriteTx};

impl TaskStatus {
    /// The status of this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether a task that stands so is under a claim, or ended under one.
    pub(crate) const fn has_claim(self) -> bool {
        matches!(self, Self::Claimed | Self::Completed | Self::Failed)
    }
}

impl WriteTx<'_> {
    /// Takes in a task as it stood elsewhere. Whoever holds its claim settles it here.
    ///
    /// # Errors
    ///
    /// [`Error::ThreadNotFound`]; [`Error::ThreadFinished`] for an unfinished task; [`Error::KeyConflict`];
    /// [`Error::InvalidInput`] or [`Error::TooLarge`] for what no task can have.
    pub(crate) fn import_task(&mut self, task: &Task) -> Result<Landed<Task>> {
        task.check_bounds()?;
        task.check_columns_of_status()?;
        task.check_attempts()?;
        if let Some(there) = self.task(task.id)? {
            return Ok(Landed::There(there));
        }
        if task.status.is_finished() {
            self.require_thread(task.thread_id)?;
        } else {
            self.require_active_thread(task.thread_id)?;
        }
        if let Some(text) = &task.key
            && let Some(id) = self.tables().value(&BY_KEY.table, &key((task.thread_id, text.as_str())))?
        {
            return Err(Error::KeyConflict { key: text.clone(), task: TaskRow::id_of_key(&id)? });
        }
        self.count_ulid("tasks.id", task.id.to_bytes())?;
        self.count_moment("tasks.created_at", task.created_at)?;
        for (field, moment) in [("tasks.claimed_at", task.claimed_at), ("tasks.finished_at", task.finished_at)] {
            moment.map_or(Ok(()), |moment| self.count_moment(field, moment))?;
        }
        let row = TaskRow::of(task.clone());
        self.put_instruction(&row)?;
        self.put_task(&row)?;
        Ok(Landed::Added)
    }
}

impl Task {
    fn check_bounds(&self) -> Result<()> {
        limits::check_name("tasks.role", &self.role)?;
        limits::check_text("tasks.instruction", &self.instruction)?;
        limits::check_text("tasks.last_error", self.last_error.as_deref().unwrap_or_default())?;
        self.key.as_deref().map_or(Ok(()), |key| limits::check_name("tasks.key", key))?;
        limits::check_at_least_1("tasks.timeout_seconds", "a claim lasts", self.timeout_seconds, "seconds")?;
        self.max_attempts
            .map_or(Ok(()), |most| limits::check_at_least_1("tasks.max_attempts", "a task has", most, "attempts"))
    }

    fn check_columns_of_status(&self) -> Result<()> {
        let status = self.status;
        let has_claim = status.has_claim();
        let must = [
            ("tasks.claim_id", self.claim_id.is_some(), has_claim),
            ("tasks.claimed_by", self.claimed_by.is_some(), has_claim),
            ("tasks.claimed_at", self.claimed_at.is_some(), has_claim),
            ("tasks.expires_at", self.expires_at.is_some(), status == TaskStatus::Claimed),
            ("tasks.finished_at", self.finished_at.is_some(), status.is_finished()),
            ("tasks.not_before", self.not_before.is_some(), status == TaskStatus::Scheduled),
        ];
        for (field, is_there, must_be) in must {
            let may_be = must_be || field == "tasks.not_before";
            let reason = match (is_there, must_be) {
                (false, true) => format!("is null; a task that is {status} has one"),
                (true, false) if !may_be => format!("is not null; a task that is {status} has none"),
                _ => continue,
            };
            return Err(Error::InvalidInput { field, reason });
        }
        Ok(())
    }

    fn check_attempts(&self) -> Result<()> {
        let least = u32::from(self.status.has_claim());
        // One more is to come.
        let is_to_be_tried = matches!(self.status, TaskStatus::Open | TaskStatus::Scheduled);
        let most = self.max_attempts.unwrap_or(u32::MAX).saturating_sub(is_to_be_tried.into());
        if (least..=most).contains(&self.attempts) {
            return Ok(());
        }
        let (status, attempts) = (self.status, self.attempts);
        let reason = format!("is {attempts}; a task that is {status}, as this one is, has had {least} to {most}");
        Err(Error::InvalidInput { field: "tasks.attempts", reason })
    }
}
