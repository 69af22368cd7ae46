//! What happened in a run, in order: messages, disk operations, facts. All of it goes into one running hash; two runs
//! of a seed are the same run if their hashes are equal. The last entries are kept as well, or all of them where
//! somebody wants to read.
//!
//! Invariants:
//! - an entry holds nothing but virtual time, a node's number and what follows from the seed: no address, no real time;
//! - what happens outside of virtual time (the runtime is being taken down) is not recorded.
//!
//! Entries become text only when they are read: a run has millions of them.

use std::{
    collections::VecDeque,
    fmt::{self, Display, Write},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard},
};

use matrixkv::types::Fact;
use xxhash_rust::xxh3::Xxh3;

use super::film::Film;

/// Entries that are kept where not all are.
const TAIL_ENTRIES: usize = 200;

/// Numbers that an entry has room for.
const NUMBERS_MAX: usize = 4;

/// The trace of a run. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    hash: Xxh3,
    entries: VecDeque<Entry>,
    entries_max: usize,
    recorded: u64,
    film: Option<Film>,
}

struct Entry {
    at: u64,
    node: usize,
    what: What,
}

enum What {
    Text(&'static str, String),
    /// The words, with `{}` where a number goes.
    Numbers(&'static str, [u64; NUMBERS_MAX]),
    Fact(Fact),
}

impl Trace {
    /// Keeps the hash and the last entries.
    pub fn new() -> Self {
        Self::keeping(TAIL_ENTRIES)
    }

    /// Keeps every entry.
    pub fn with_text() -> Self {
        Self::keeping(usize::MAX)
    }

    fn keeping(entries_max: usize) -> Self {
        let inner = Inner { hash: Xxh3::new(), entries: VecDeque::new(), entries_max, recorded: 0, film: None };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Keeps a film as well.
    pub fn filming(self) -> Self {
        self.inner().film = Some(Film::default());
        self
    }

    /// Adds to the film, where there is one.
    pub fn film(&self, shoot: impl FnOnce(&mut Film)) {
        if let Some(film) = &mut self.inner().film {
            shoot(film);
        }
    }

    /// Takes out the film.
    pub fn take_film(&self) -> Option<Film> {
        self.inner().film.take()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic of a node must not hide what led to it.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// At `now` (true nanoseconds), `node` did `kind`. For what is rare: the text is made at once.
    pub fn record(&self, now: u64, node: usize, kind: &'static str, what: impl Display) {
        let text = what.to_string();
        let mut inner = self.inner();
        inner.hash.update(text.as_bytes());
        inner.push(now, node, kind, What::Text(kind, text));
    }

    /// As [`Self::record`], for what is frequent: each `{}` in `words` stands for one of the numbers.
    pub fn note<const N: usize>(&self, now: u64, node: usize, words: &'static str, numbers: [u64; N]) {
        const { assert!(N <= NUMBERS_MAX) };
        let mut all = [0; NUMBERS_MAX];
        all[..N].copy_from_slice(&numbers);
        let mut inner = self.inner();
        for number in numbers {
            inner.hash.update(&number.to_le_bytes());
        }
        inner.push(now, node, words, What::Numbers(words, all));
    }

    /// At `now`, a machine on `node` said `fact`.
    pub fn fact(&self, now: u64, node: usize, fact: &Fact) {
        let mut inner = self.inner();
        fact.hash(&mut inner.hash);
        if let Some(film) = &mut inner.film {
            film.fact(now, node, fact);
        }
        inner.push(now, node, "fact", What::Fact(fact.clone()));
    }

    /// The hash of all that was recorded so far.
    pub fn hash(&self) -> u64 {
        self.inner().hash.digest()
    }

    /// How many entries were recorded so far.
    pub fn recorded(&self) -> u64 {
        self.inner().recorded
    }

    /// The last entries.
    pub fn tail(&self) -> Vec<String> {
        let inner = self.inner();
        let skipped = inner.entries.len().saturating_sub(TAIL_ENTRIES);
        inner.entries.iter().skip(skipped).map(Entry::to_string).collect()
    }

    /// All entries that were kept, a line each.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for entry in &self.inner().entries {
            writeln!(text, "{entry}").expect("a string takes everything");
        }
        text
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    fn push(&mut self, at: u64, node: usize, words: &str, what: What) {
        self.recorded += 1;
        self.hash.update(words.as_bytes());
        self.hash.update(&at.to_le_bytes());
        self.hash.update(&(node as u64).to_le_bytes());
        if self.entries.len() >= self.entries_max {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { at, node, what });
    }
}

impl Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>15.9} n{:<3} ", self.at as f64 / 1e9, self.node)?;
        match &self.what {
            What::Text(kind, text) => write!(f, "{kind} {text}"),
            What::Fact(fact) => write!(f, "{fact:?}"),
            What::Numbers(words, numbers) => {
                let mut numbers = numbers.iter();
                for (place, piece) in words.split("{}").enumerate() {
                    if place > 0 {
                        write!(f, "{}", numbers.next().expect("as many numbers as places"))?;
                    }
                    f.write_str(piece)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_sees_order_time_node_and_words() {
        let hash = |entries: &[(u64, usize, &'static str, u64)]| {
            let trace = Trace::new();
            entries.iter().for_each(|(at, node, words, number)| trace.note(*at, *node, words, [*number]));
            trace.hash()
        };
        let (a, b) = ((1, 1, "sent {}", 1), (1, 1, "sent {}", 2));
        assert_eq!(hash(&[a, b]), hash(&[a, b]));
        assert_ne!(hash(&[a, b]), hash(&[b, a]));
        for other in [(2, 1, "sent {}", 1), (1, 2, "sent {}", 1), (1, 1, "lost {}", 1)] {
            assert_ne!(hash(&[a]), hash(&[other]));
        }
    }

    #[test]
    fn entries_read_as_lines() {
        let trace = Trace::new();
        trace.note(1_500_000_000, 2, "-> node{}, {} bytes", [3, 77]);
        trace.record(2, 100, "decides", "to stop");
        trace.fact(3, 0, &Fact::Decision("x".into()));
        assert_eq!(trace.tail()[0], "    1.500000000 n2   -> node3, 77 bytes");
        assert_eq!(trace.text().lines().count(), 3);
        (0..1000).for_each(|n| trace.note(n, 0, "{}", [n]));
        assert_eq!((trace.tail().len(), trace.recorded()), (TAIL_ENTRIES, 1003));
    }
}
