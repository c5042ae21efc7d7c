//! The writer's queue under a checker of schedules.
