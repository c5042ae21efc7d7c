//! Faults at every single input or output of a workload.
