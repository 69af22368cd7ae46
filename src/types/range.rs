//! Half-open key ranges over arbitrary bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The keys `start <= key < end`. An empty `end` is the end of the key space, so the range of all keys is the
/// default value.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct KeyRange {
    /// The first key inside.
    pub start: Vec<u8>,
    /// The first key beyond; empty for "no end".
    pub end: Vec<u8>,
}

impl KeyRange {
    /// All keys.
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether `key` is inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && (self.end.is_empty() || key < self.end.as_slice())
    }

    /// Whether the two share a key.
    pub fn overlaps(&self, other: &KeyRange) -> bool {
        (other.end.is_empty() || self.start < other.end) && (self.end.is_empty() || other.start < self.end)
    }

    /// What of this range is in none of `held`, ascending. Those may overlap each other.
    pub fn without(&self, mut held: Vec<KeyRange>) -> Vec<KeyRange> {
        held.retain(|range| range.overlaps(self));
        held.sort_by(|a, b| a.start.cmp(&b.start));
        let (mut rest, mut start) = (Vec::new(), self.start.clone());
        for range in held {
            if range.start > start {
                rest.push(KeyRange { start, end: range.start });
            } else if !range.end.is_empty() && range.end <= start {
                continue;
            }
            if range.end.is_empty() {
                return rest;
            }
            start = range.end;
        }
        if self.end.is_empty() || start < self.end {
            rest.push(KeyRange { start, end: self.end.clone() });
        }
        rest
    }

    /// The range cut at `keys` (ascending), left to right. Keys at or outside the borders cut nothing.
    pub fn cut(&self, keys: &[Vec<u8>]) -> Vec<KeyRange> {
        let mut ranges = vec![self.clone()];
        for key in keys {
            let last = ranges.last_mut().expect("starts with one range");
            if *key > last.start && last.contains(key) {
                let right = KeyRange { start: key.clone(), end: std::mem::replace(&mut last.end, key.clone()) };
                ranges.push(right);
            }
        }
        ranges
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.end.is_empty() { "∞".into() } else { brief(&self.end) };
        write!(f, "[{}, {})", brief(&self.start), end)
    }
}

/// Bytes of either end of a long key that people are shown.
const SHOWN: usize = 24;

/// A key for people: of a long one both ends, and how long it is.
fn brief(key: &[u8]) -> String {
    if key.len() <= 3 * SHOWN {
        return key.escape_ascii().to_string();
    }
    let (head, tail) = (&key[..SHOWN], &key[key.len() - SHOWN..]);
    format!("{}…{} ({} bytes)", head.escape_ascii(), tail.escape_ascii(), key.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cut_covers_the_range_once(cuts in proptest::collection::btree_set(proptest::collection::vec(any::<u8>(), 0..3), 0..6),
                                       key in proptest::collection::vec(any::<u8>(), 0..4)) {
            let cuts: Vec<_> = cuts.into_iter().collect();
            let ranges = KeyRange::all().cut(&cuts);
            prop_assert_eq!(ranges.iter().filter(|range| range.contains(&key)).count(), 1);
            for (i, a) in ranges.iter().enumerate() {
                for b in &ranges[i + 1..] {
                    prop_assert!(!a.overlaps(b) && !b.overlaps(a));
                }
            }
        }
    }

    fn any_range() -> impl Strategy<Value = KeyRange> {
        let key = || proptest::collection::vec(0..4_u8, 0..3);
        (key(), key()).prop_filter_map("an empty range", |(start, end)| {
            (end.is_empty() || start < end).then_some(KeyRange { start, end })
        })
    }

    proptest! {
        #[test]
        fn what_is_left_of_a_range_is_held_by_nobody(range in any_range(), held in proptest::collection::vec(any_range(), 0..5),
                                                     key in proptest::collection::vec(0..4_u8, 0..4)) {
            let rest = range.without(held.clone());
            let is_left = range.contains(&key) && !held.iter().any(|held| held.contains(&key));
            prop_assert_eq!(rest.iter().filter(|range| range.contains(&key)).count(), usize::from(is_left));
            prop_assert!(rest.windows(2).all(|pair| pair[0].start < pair[1].start));
        }
    }

    #[test]
    fn a_long_key_is_shown_by_its_ends() {
        let range = KeyRange { start: b"a\n".to_vec(), end: [vec![b'k'; 1024], b"007".to_vec()].concat() };
        let shown = format!("{range:?}");
        assert!(shown.starts_with("[a\\n, kkkk") && shown.ends_with("kkk007 (1027 bytes))"), "{shown}");
        assert!(shown.len() < 100, "{shown}");
    }

    #[test]
    fn an_empty_end_is_the_end_of_the_key_space() {
        let tail = KeyRange { start: b"m".to_vec(), end: vec![] };
        assert!(tail.contains(b"zzz") && !tail.contains(b"a"));
        assert!(tail.overlaps(&KeyRange::all()));
    }
}
