//! Whole clusters, run under faults: the named scenarios, plans written by hand for what random search seldom composes, whose
//! numbers are those of the list of scenarios in the project's plan of faults; fixed seeds; runs that failed once; workloads.
//!
//! One binary, so that the last long run of one file does not leave a core idle before the next begins.

mod crashes;
mod links;
mod liveness;
mod machines;
mod moves;
mod prophet;
mod quarantine;
mod regressions;
mod seeds;
mod snapshots;
mod splits;
mod support;
mod workloads;
