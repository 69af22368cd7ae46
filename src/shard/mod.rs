//! One shard's state machine: its descriptor and the keys in its range.
//!
//! Invariants:
//! - a data command changes a key only if the key is in the descriptor's range *at apply* and the range is the one
//!   that the proposer knew; a membership command only if `conf_ver` is; a split only if both are; a mismatch is a
//!   deterministic no-op with a reply that says so;
//! - [`Sums`] are exact: keys and values of the range, counted as entries apply, those of both halves of a split too;
//! - rows are keyed by the user's key alone, so a split moves nothing.

mod command;
mod kv;
mod read;
mod split;
mod sums;

pub use command::{Command, Event, Reply};
pub use kv::KvMachine;
pub use read::{NotOwned, Page, read, scan};
pub use split::Preparation;
pub use sums::Sums;
