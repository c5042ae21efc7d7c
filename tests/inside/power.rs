//! Power cuts, simulated.
