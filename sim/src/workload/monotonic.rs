//! Numbers that ascend. One client writes 1, 2, 3 and so on into a key, the others read it, each through any node: what is
//! seen of the key never goes back, whoever looks.
//!
//! A write of unknown outcome may act at any later time, so it could lay an old number over a newer one, and nobody would be
//! to blame. The writer therefore never goes on with such a key: its last number is the one that nobody knows of, and the
//! next number goes to a fresh key. What was refused never acts, so there the next number may follow.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use matrixkv::types::Rng;

use super::{
    Asker,
    registers::{Ask, Told},
};
use crate::history::Function;

/// How the keys begin.
pub const PREFIX: &str = "monotonic/";

/// A writer, and those who read.
pub const CLIENTS: usize = 3;

/// After so many writes of unknown outcome the writer has done enough.
pub const KEYS_MAX: usize = 12;

/// How often a reader looks at a key that the writer has left, where a late write may show.
const LEFT_KEYS: f64 = 0.25;

/// The writer, and those who read.
pub fn askers() -> Vec<Box<dyn Asker>> {
    let current = Arc::new(AtomicU64::new(0));
    let mut askers: Vec<Box<dyn Asker>> = vec![Box::new(Writer { current: current.clone(), number: 1 })];
    askers.extend((1..CLIENTS).map(|_| Box::new(Reader { current: current.clone() }) as Box<dyn Asker>));
    askers
}

fn key(index: u64) -> String {
    format!("{PREFIX}{index:02}")
}

struct Writer {
    /// Which key is written now.
    current: Arc<AtomicU64>,
    number: u64,
}

impl Asker for Writer {
    fn next(&mut self, _rng: &mut Rng) -> Option<Ask> {
        let index = self.current.load(Ordering::Relaxed);
        let ask = || Ask { f: Function::Set, key: key(index), value: Some(self.number.to_string()) };
        (index < KEYS_MAX as u64).then(ask)
    }

    fn told(&mut self, _ask: &Ask, told: &Told) {
        match told {
            Told::Done(_) | Told::Refused => self.number += 1,
            Told::Unknown => {
                self.current.fetch_add(1, Ordering::Relaxed);
                self.number = 1;
            }
        }
    }
}

struct Reader {
    current: Arc<AtomicU64>,
}

impl Asker for Reader {
    fn next(&mut self, rng: &mut Rng) -> Option<Ask> {
        let current = self.current.load(Ordering::Relaxed).min(KEYS_MAX as u64 - 1);
        let index = if rng.chance(LEFT_KEYS) { rng.between(0, current) } else { current };
        Some(Ask { f: Function::Get, key: key(index), value: None })
    }

    fn told(&mut self, _ask: &Ask, _told: &Told) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_unknown_write_the_key_is_left() {
        let mut askers = askers();
        let mut rng = Rng::new(1);
        let mut write = |told: Told| {
            let ask = askers[0].next(&mut rng).expect("it is not done yet");
            askers[0].told(&ask, &told);
            (ask.key, ask.value.unwrap_or_default())
        };
        let told = [Told::Done(None), Told::Refused, Told::Unknown, Told::Done(None)].map(&mut write);
        let expected = [("00", "1"), ("00", "2"), ("00", "3"), ("01", "1")];
        assert_eq!(told, expected.map(|(key, number)| (format!("{PREFIX}{key}"), number.to_owned())));
        (1..KEYS_MAX).for_each(|_| drop(write(Told::Unknown)));
        assert!(askers[0].next(&mut rng).is_none() && askers[1].next(&mut rng).is_some());
    }
}
