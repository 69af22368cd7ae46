//! One shard's state machine: its descriptor and the keys in its range.
//!
//! Invariants:
//! - a data command changes a key only if the key is in the descriptor's range *at apply* and the range is the one
//!   that the proposer knew; a membership command only if `conf_ver` is; a mismatch is a deterministic no-op with a
//!   reply that says so;
//! - `bytes` is exact: keys and values of the range, counted as entries apply;
//! - rows are keyed by the user's key alone, so a split will move nothing.

mod command;
mod kv;

pub use command::{Command, Reply};
pub use kv::{KvMachine, read};
