//! Is a history linearizable? Could every operation have acted at one moment between its question and its answer,
//! so that all of them together are what one register a key would have said?
//!
//! Keys do not interact, so each is checked alone ("locality", Herlihy and Wing). `observe` leaves out what cannot
//! decide, `model` turns contents into numbers, `search` looks for an order, and where there is none `minimise`
//! cuts the history down to a piece that shows why. `jepsen` and `kv_map` read what other projects recorded.
//!
//! Invariants:
//! - [`Verdict::Linearizable`] is said only of an order that was found and replayed, for every key.
//! - A search that ran out of its budget is [`Verdict::Undecided`], never linearizable; unless a piece of the
//!   history is found that has no order by itself.
//! - The budget counts work and not time, and nothing depends on the order of a hash table: the same history and
//!   budget give the same verdict and the same shortest piece.
//!
//! An operation that failed did not happen and is left out. So is a cas that failed because it saw another value:
//! that it saw one is not held against the store.

use std::collections::BTreeMap;

use crate::history::{Event, Operation, operations};

mod display;
pub mod edn;
mod file;
pub mod jepsen;
pub mod kv_map;
mod list;
mod minimise;
mod model;
mod observe;
mod search;

pub use display::verdict_json;
pub use file::{Format, check_file, read_file};

/// How much work may go into one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Placements of an operation. Cutting down a violation may take as many again.
    pub steps: u64,
    /// Configurations remembered, at about forty bytes each.
    pub configurations: usize,
    /// Bytes of content held, which matters only with appends.
    pub text_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: 10_000_000, configurations: 4_000_000, text_bytes: 256 << 20 }
    }
}

/// What ran out before a key was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// [`Budget::steps`].
    Steps(u64),
    /// [`Budget::configurations`].
    Configurations(usize),
    /// [`Budget::text_bytes`].
    TextBytes(usize),
}

/// What can be said of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every key has an order that explains all answers.
    Linearizable {
        /// Keys checked.
        keys: usize,
        /// Operations on them.
        operations: usize,
    },
    /// A key has no such order.
    Violation {
        /// The first such key.
        key: String,
        /// Operations on that key.
        operations: usize,
        /// A piece of its history that has no order either, and no operation to spare.
        shortest: Vec<Operation>,
        /// Whether the budget let the piece be cut down to the end.
        is_minimal: bool,
    },
    /// No violation was found, but a key could not be decided.
    Undecided {
        /// The first such key.
        key: String,
        /// What ran out.
        why: Spent,
    },
}

/// Checks a history. One that contradicts itself (an answer without a question) is a fault of the recorder, and a
/// panic; read foreign files with [`check_file`], which reports that as an error.
pub fn check(history: &[Event], budget: Budget) -> Verdict {
    let operations = operations(history).unwrap_or_else(|error| panic!("the recorded history is broken: {error}"));
    check_operations(&operations, budget)
}

/// Checks operations, given in the order of their invocation. The budget is for each key.
pub fn check_operations(operations: &[Operation], budget: Budget) -> Verdict {
    assert!(operations.is_sorted_by_key(|operation| operation.invoke_index), "operations come as they were invoked");
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        keys.entry(&operation.key).or_default().push(operation);
    }
    let mut undecided = None;
    for (key, of_key) in &keys {
        let answer = search::search(of_key, budget);
        let piece = match answer.found {
            Ok(true) => continue,
            Ok(false) => Some(minimise::minimise(of_key, answer.reached, budget)),
            // The whole was too much, but a piece around the place where it got stuck may show a violation.
            Err(_) => minimise::minimise_near(of_key, answer.reached, budget),
        };
        if let Some((shortest, is_minimal)) = piece {
            return Verdict::Violation { key: key.to_string(), operations: of_key.len(), shortest, is_minimal };
        }
        // Another key may still be a violation, which says more.
        undecided = undecided.or(answer.found.err().map(|why| Verdict::Undecided { key: key.to_string(), why }));
    }
    undecided.unwrap_or(Verdict::Linearizable { keys: keys.len(), operations: operations.len() })
}
