//! Splits: prepared by one command, done by another.
//!
//! Both halves must know their exact size and content at the moment of the split, on every replica alike, and a shard
//! may be too large to be counted while an entry is applied. So the first command names the key, and from there on each
//! replica counts what changes left of it. The leader counts the rows left of the key on a view that it holds, takes off
//! what had changed until then, and the second command carries the result: the left half is that plus what was counted,
//! the right half is the rest. Nothing is estimated, and applying a split reads no row.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Event, KvMachine, Reply, Sums};
use crate::{
    engine::EngineError,
    planted::{Bug, planted},
    types::{Epoch, KeyRange, Peer, ReplicaId, Shard, ShardId},
};

/// A split that was prepared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    /// Where.
    pub key: Bytes,
    /// The shard that is to take the right part.
    pub shard: ShardId,
    /// What changed left of the key since.
    pub changed: Sums,
}

impl KvMachine {
    pub(super) fn prepare_split(&mut self, version: u64, key: Bytes, shard: ShardId) -> Reply {
        let range = &self.shard.range;
        if version != self.shard.epoch.version || key <= range.start || !range.contains(&key) {
            return Reply::Void(self.shard.clone());
        }
        self.preparation = Some(Preparation { key, shard, changed: Sums::default() });
        Reply::Written
    }

    pub(super) fn split(
        &mut self,
        epoch: Epoch,
        shard: ShardId,
        replicas: &[ReplicaId],
        left: Sums,
    ) -> Result<Reply, EngineError> {
        let stale = epoch != self.shard.epoch && !planted(Bug::DropEpochCheck);
        let is_prepared = self.preparation.as_ref().is_some_and(|preparation| preparation.shard == shard);
        if stale || !is_prepared || replicas.len() != self.shard.peers.len() {
            return Ok(Reply::Void(self.shard.clone()));
        }
        let Preparation { key, changed, .. } = self.preparation.take().expect("looked at just now");
        let left = left.plus(changed);
        if left.bytes > self.sums.bytes {
            let (part, all) = (left.bytes, self.sums.bytes);
            return Err(EngineError::Damaged(format!("{}: {part} bytes left of a split of {all}", self.shard.id)));
        }
        let right = KvMachine::new(self.right_of(&key, shard, replicas), self.sums.minus(left));
        self.sums = left;
        self.shard.range.end = key.to_vec();
        self.shard.epoch.version += 1;
        self.events.push(Event::Split { left: self.shard.clone(), right });
        Ok(Reply::Changed(self.shard.clone()))
    }

    fn right_of(&self, key: &[u8], id: ShardId, replicas: &[ReplicaId]) -> Shard {
        let beside = |(peer, replica): (&Peer, &ReplicaId)| Peer { replica: *replica, ..*peer };
        Shard {
            id,
            range: KeyRange { start: key.to_vec(), end: self.shard.range.end.clone() },
            epoch: Epoch { version: self.shard.epoch.version + 1, ..self.shard.epoch },
            peers: self.shard.peers.iter().zip(replicas).map(beside).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> KvMachine {
        let range = KeyRange { start: b"b".to_vec(), end: b"d\xff".to_vec() };
        let epoch = Epoch { conf_ver: 1, version: 4 };
        KvMachine::new(Shard { id: ShardId(1), range, epoch, peers: Vec::new() }, Sums::default())
    }

    #[test]
    fn only_a_key_inside_splits_and_it_may_be_of_any_bytes() {
        let prepare = |version, key: &'static [u8]| {
            let mut machine = machine();
            let reply = machine.prepare_split(version, Bytes::from_static(key), ShardId(2));
            assert_eq!(reply == Reply::Written, machine.preparation.is_some());
            machine.preparation.is_some()
        };
        for inside in [&b"b\0"[..], b"b\xff\xff", b"c", b"d\xfe\xff", "d\u{20ac}".as_bytes()] {
            assert!(prepare(4, inside), "{inside:?}");
            assert!(!prepare(3, inside) && !prepare(5, inside), "{inside:?} on another range");
        }
        for outside in [&b""[..], b"\0", b"a\xff", b"b", b"d\xff", b"d\xff\0", b"e"] {
            assert!(!prepare(4, outside), "{outside:?}");
        }
    }

    #[test]
    fn both_halves_meet_at_the_key() {
        let mut machine = machine();
        machine.prepare_split(4, Bytes::from_static(b"c\xff"), ShardId(2));
        let epoch = machine.shard.epoch;
        assert!(matches!(machine.split(epoch, ShardId(3), &[], Sums::default()), Ok(Reply::Void(_))), "another job's");
        assert!(matches!(machine.split(epoch, ShardId(2), &[], Sums::default()), Ok(Reply::Changed(_))));
        let [Event::Split { left, right }] = &machine.events[..] else { panic!() };
        let right = &right.shard;
        assert_eq!(
            (&left.range.end, &right.range.start, &right.range.end),
            (&b"c\xff".to_vec(), &b"c\xff".to_vec(), &b"d\xff".to_vec())
        );
        assert_eq!((left.epoch.version, right.epoch.version), (5, 5));
        assert!(
            matches!(machine.split(epoch, ShardId(2), &[], Sums::default()), Ok(Reply::Void(_))),
            "it is done once"
        );
    }
}
