//! Histories of real threads.
