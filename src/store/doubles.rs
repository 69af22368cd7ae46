//! Which envelopes were seen: a request is proposed once, however often the network brings it.
//!
//! Invariants:
//! - of one sender and boot, a number is new at most once;
//! - an envelope of an earlier boot of its sender is never new;
//! - memory is bounded: below a floor everything counts as seen. That loses an answer at the worst, never a write's
//!   uniqueness.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{Boot, NodeToken};

/// Numbers that are remembered for each sender.
const WINDOW: usize = 4096;
/// Senders that are remembered. Far more than a cluster has nodes.
const SENDERS: usize = 1024;

/// Which envelope brought a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The sender's data folder.
    pub node: NodeToken,
    /// The sender's life.
    pub boot: Boot,
    /// The envelope's number.
    pub seq: u64,
}

#[derive(Default)]
struct Window {
    boot: Boot,
    /// Numbers up to this one count as seen.
    floor: u64,
    seen: BTreeSet<u64>,
}

/// What was seen of every sender.
#[derive(Default)]
pub struct Doubles {
    senders: BTreeMap<NodeToken, Window>,
}

impl Doubles {
    /// Whether this envelope is the first of its number; remembers it.
    pub fn is_new(&mut self, origin: Origin) -> bool {
        if !self.senders.contains_key(&origin.node) && self.senders.len() >= SENDERS {
            return false;
        }
        let window = self.senders.entry(origin.node).or_default();
        if origin.boot < window.boot {
            return false;
        }
        if origin.boot > window.boot {
            *window = Window { boot: origin.boot, ..Window::default() };
        }
        if origin.seq <= window.floor || !window.seen.insert(origin.seq) {
            return false;
        }
        if window.seen.len() > WINDOW {
            window.floor = window.seen.pop_first().expect("it is not empty");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(boot: u64, seq: u64) -> Origin {
        Origin { node: NodeToken(1), boot: Boot(boot), seq }
    }

    #[test]
    fn a_number_is_new_once_in_any_order() {
        let mut doubles = Doubles::default();
        assert!(doubles.is_new(origin(1, 5)) && doubles.is_new(origin(1, 3)));
        assert!(!doubles.is_new(origin(1, 5)) && !doubles.is_new(origin(1, 3)));
    }

    #[test]
    fn an_earlier_life_is_never_new() {
        let mut doubles = Doubles::default();
        assert!(doubles.is_new(origin(2, 1)));
        assert!(!doubles.is_new(origin(1, 9)));
        assert!(doubles.is_new(origin(3, 1)));
    }

    #[test]
    fn memory_is_bounded_and_what_was_forgotten_counts_as_seen() {
        let mut doubles = Doubles::default();
        for seq in 10..10 + 2 * WINDOW as u64 {
            assert!(doubles.is_new(origin(1, seq)));
        }
        assert!(!doubles.is_new(origin(1, 1)) && !doubles.is_new(origin(1, 11)));
        assert!(doubles.senders[&NodeToken(1)].seen.len() <= WINDOW);
    }
}
