//! L: every key is a linearizable register over set, get and delete. The checker itself is [`crate::linear`]; here its
//! verdict becomes part of a run's.

use crate::{
    history::Event,
    linear::{self, Budget, Verdict},
};

/// What a run says of its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// There is an order for each key.
    Linearizable,
    /// There is none for some key; in words, with the shortest piece that shows it.
    Violated(String),
    /// The budget ran out.
    Undecided(String),
}

/// Judges `history`.
pub fn check(history: &[Event]) -> Judgement {
    match linear::check(history, Budget::default()) {
        Verdict::Linearizable { .. } => Judgement::Linearizable,
        verdict @ Verdict::Violation { .. } => Judgement::Violated(verdict.to_string()),
        verdict @ Verdict::Undecided { .. } => Judgement::Undecided(verdict.to_string()),
    }
}
