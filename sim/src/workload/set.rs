//! A set: each client adds elements, each once, and at the end one read through every node says which are there. An element
//! is a key of its own, so a set is spread over a range of keys, in which shards split and from which they move away.

use std::time::Duration;

use matrixkv::types::Rng;

use super::{
    Asker,
    registers::{Ask, Told},
};
use crate::{history::Function, knobs::Knobs};

/// How the keys begin.
pub const PREFIX: &str = "set/";

/// Clients that add.
pub const CLIENTS: usize = 2;

/// The longest pause: all are added in about fifty seconds.
pub const PAUSE_MAX: Duration = Duration::from_millis(2500);

/// Elements that a client adds.
const ELEMENTS: u64 = 40;

/// Where a few of them fill a shard: one more shard costs more than many requests.
const ELEMENTS_OF_TINY_SHARDS: u64 = 6;

/// Up to how many bytes a shard is tiny.
const TINY: u64 = 256;

/// Places for elements, a prime, and how far one is from the next: they come all over the range, and not in its order.
const PLACES: u64 = 101;
const STRIDE: u64 = 37;

/// Bytes of the longest value.
const VALUE_BYTES_MAX: u64 = 100;

fn elements(knobs: &Knobs) -> u64 {
    if knobs.shard_capacity <= TINY { ELEMENTS_OF_TINY_SHARDS } else { ELEMENTS }
}

/// How many elements there are at most.
pub fn keys_max(knobs: &Knobs) -> usize {
    CLIENTS * elements(knobs) as usize
}

/// Those who add.
pub fn askers(knobs: &Knobs) -> Vec<Box<dyn Asker>> {
    let adder = |client| Box::new(Adder { client, tried: 0, elements: elements(knobs) }) as Box<dyn Asker>;
    (0..CLIENTS).map(adder).collect()
}

struct Adder {
    client: usize,
    tried: u64,
    elements: u64,
}

impl Asker for Adder {
    fn next(&mut self, rng: &mut Rng) -> Option<Ask> {
        if self.tried == self.elements {
            return None;
        }
        self.tried += 1;
        let key = format!("{PREFIX}{}/{:03}", self.client, self.tried * STRIDE % PLACES);
        let (name, length) = (format!("s{}-{}", self.client, self.tried), rng.between(0, VALUE_BYTES_MAX) as usize);
        Some(Ask { f: Function::Set, key, value: Some(format!("{name:.<length$}")) })
    }

    /// What was refused is not tried again: it must not be there in the end.
    fn told(&mut self, _ask: &Ask, _told: &Told) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_element_is_added_twice() {
        let knobs = Knobs { shard_capacity: 1024, ..Knobs::draw(1) };
        let mut keys = Vec::new();
        for mut adder in askers(&knobs) {
            keys.extend(std::iter::from_fn(|| adder.next(&mut Rng::new(1)).map(|ask| ask.key)));
        }
        let all = keys.len();
        assert!(all == keys_max(&knobs) && !keys.is_sorted());
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
