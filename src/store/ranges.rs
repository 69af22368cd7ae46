//! Which replica with data holds which keys: the only authority on it. What is not in here yet but is to come (a
//! snapshot that was just taken in) has reserved its place, and so have the rows of a destroyed replica until they are
//! gone.
//!
//! Invariant: ranges never overlap.

use std::{collections::BTreeMap, ops::Bound};

use crate::types::{KeyRange, ShardId};

/// Ranges by their start, and back.
#[derive(Default)]
pub(super) struct Ranges {
    by_start: BTreeMap<Vec<u8>, (KeyRange, ShardId)>,
    starts: BTreeMap<ShardId, Vec<u8>>,
}

impl Ranges {
    /// `shard` holds `range` from now on, instead of what it held before.
    pub fn set(&mut self, shard: ShardId, range: &KeyRange) {
        self.remove(shard);
        if let Some(other) = self.overlapping(range).next() {
            panic!("{shard} {range:?} overlaps {other}");
        }
        self.by_start.insert(range.start.clone(), (range.clone(), shard));
        self.starts.insert(shard, range.start.clone());
    }

    /// `shard` holds nothing any more. Gives what it held.
    pub fn remove(&mut self, shard: ShardId) -> Option<KeyRange> {
        let start = self.starts.remove(&shard)?;
        self.by_start.remove(&start).map(|(range, _)| range)
    }

    /// Whether it is known what `shard` holds.
    pub fn holds(&self, shard: ShardId) -> bool {
        self.starts.contains_key(&shard)
    }

    /// The shards that share a key with `range`, ascending by range.
    pub fn overlapping<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = ShardId> + 'a {
        self.held_in(range).map(|(_, shard)| *shard)
    }

    /// What is held of `range`, or reaches into it, and by whom, ascending.
    pub fn held_in<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = &'a (KeyRange, ShardId)> + 'a {
        let before = self.by_start.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(&range.start[..]))).next_back();
        let from = self.by_start.range::<[u8], _>((Bound::Included(&range.start[..]), Bound::Unbounded));
        let from = from.take_while(|(start, _)| range.end.is_empty() || **start < range.end);
        before.into_iter().chain(from).map(|(_, held)| held).filter(|(held, _)| held.overlaps(range))
    }

    /// The shard that holds `key`.
    #[cfg(test)]
    pub fn find(&self, key: &[u8]) -> Option<ShardId> {
        let (_, (range, shard)) =
            self.by_start.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        range.contains(key).then_some(*shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &str, end: &str) -> KeyRange {
        KeyRange { start: start.into(), end: end.into() }
    }

    #[test]
    fn finds_and_moves() {
        let mut ranges = Ranges::default();
        ranges.set(ShardId(1), &range("", "m"));
        ranges.set(ShardId(2), &range("p", ""));
        assert_eq!(ranges.find(b"a"), Some(ShardId(1)));
        assert_eq!(ranges.find(b"m"), None);
        assert_eq!(ranges.find(b"z"), Some(ShardId(2)));
        assert_eq!(ranges.overlapping(&range("l", "q")).collect::<Vec<_>>(), [ShardId(1), ShardId(2)]);
        assert_eq!(ranges.overlapping(&range("m", "p")).count(), 0);
        ranges.set(ShardId(1), &range("", "c"));
        assert_eq!(ranges.find(b"d"), None);
        ranges.remove(ShardId(2));
        assert_eq!(ranges.overlapping(&KeyRange::all()).collect::<Vec<_>>(), [ShardId(1)]);
    }

    #[test]
    #[should_panic(expected = "overlaps")]
    fn an_overlap_is_a_contradiction() {
        let mut ranges = Ranges::default();
        ranges.set(ShardId(1), &range("", "m"));
        ranges.set(ShardId(2), &range("l", ""));
    }
}
