//! Clocks that step.
