//! How replicas come to be: by Prophet's order to create a shard's first replica, by a message of a leader or a
//! candidate that counts on one, or by a split of the shard that held the keys.
//!
//! Invariants:
//! - a replica is born only where its id is later than every one that was destroyed here;
//! - a replica without data is born only where no other replica holds any of its keys: until the split that makes room
//!   for it is applied here, requests for its vote and what a new leader says first wait, and other messages are dropped;
//! - a split gives the new replica its data *and* leaves it the vote that it gave before.

use raft::eraftpb::MessageType;

use super::{Store, StoreReady, held};
use crate::{
    engine::{Batch, EngineError, View},
    planted::{Bug, planted},
    raft::Group,
    shard::KvMachine,
    types::{Fact, ReplicaId, Shard, ShardId, Untimely},
    wire::RaftMessage,
};

/// How a replica of a split comes to lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Claim {
    /// This store's own proposal was the split, see [`Group::inherit`].
    Inherit,
    /// Its parent leads here: it need not wait for a time-out.
    Campaign,
}

/// A replica that is to be.
pub(super) enum Birth {
    /// The first replica of a new shard: empty, with data at once.
    First(Shard),
    /// A replica that waits for its snapshot.
    Waiting {
        shard: ShardId,
        replica: ReplicaId,
        /// `conf_ver` of the leader or candidate that counts on it.
        born: u64,
    },
}

impl Birth {
    fn shard(&self) -> ShardId {
        match self {
            Birth::First(shard) => shard.id,
            Birth::Waiting { shard, .. } => *shard,
        }
    }
}

impl Store {
    /// Prophet wants the first replica of a new shard here. Asking again changes nothing.
    pub(super) fn bear(&mut self, shard: Shard) {
        let free = self.ranges.overlapping(&shard.range).next().is_none() && self.has_room(shard.id, &shard.range);
        let is_new = shard.peer_on(self.id).is_some_and(|peer| !self.is_buried(shard.id, peer.replica));
        if free && is_new {
            self.births.push(Birth::First(shard));
        }
    }

    /// A message for a replica that is not here. A leader counts on it; so does a candidate, whose voters it is one of: it
    /// may have come of a split that its parent was never to apply here, because a later snapshot replaced the parent, and
    /// then nobody may lead without its vote. What was never here never acknowledged anything, so it votes as one with an
    /// empty log does; one that was destroyed has its tomb.
    pub(super) fn unborn(&mut self, message: &RaftMessage) {
        let RaftMessage { shard, to, epoch, .. } = *message;
        let has_room = message.range.as_ref().is_some_and(|range| self.has_room(shard, range));
        let kind = held::kind(message);
        // The first words of a leader, here before the split that bears the replica, or while its batch is written.
        let is_early = held::is_short(message) && (!has_room || self.opening.contains_key(&shard));
        match kind {
            Some(MessageType::MsgAppend) if is_early => self.hold(message.clone()),
            Some(MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot) if has_room => {
                self.births.push(Birth::Waiting { shard, replica: to.replica, born: epoch.conf_ver });
            }
            Some(MessageType::MsgRequestPreVote | MessageType::MsgRequestVote) => {
                // To be lost, a vote must have been given: where nothing waits, it is given before the split.
                if has_room || planted(Bug::LoseVoteOnSplit) {
                    self.births.push(Birth::Waiting { shard, replica: to.replica, born: epoch.conf_ver });
                }
                self.hold(message.clone());
            }
            _ => {}
        }
    }

    fn hold(&mut self, message: RaftMessage) {
        self.note_untimely(message.shard, Untimely::Unborn);
        self.held.hold(message);
    }

    /// Whether no other replica, and no rest of one, holds any of these keys; nor a snapshot of another shard.
    pub(super) fn has_room(&self, shard: ShardId, range: &crate::types::KeyRange) -> bool {
        self.ranges.overlapping(range).all(|other| other == shard)
            && !self.garbage.overlaps(range)
            && !self.reserved.iter().any(|(other, reserved)| *other != shard && reserved.overlaps(range))
    }

    pub(super) fn write_births(&mut self, batch: &mut Batch) -> Result<(), EngineError> {
        for birth in std::mem::take(&mut self.births) {
            let id = birth.shard();
            let is_here = self.groups.contains_key(&id) || self.opening.contains_key(&id);
            if is_here || self.quarantined.contains_key(&id) {
                continue;
            }
            match birth {
                Birth::First(shard) => {
                    let replica = shard.peer_on(self.id).expect("checked when it was ordered").replica;
                    let peers = shard.peers.clone();
                    self.ranges.set(id, &shard.range);
                    self.opening.insert(id, Some(shard.clone()));
                    Group::write_first(id, replica, &peers, &KvMachine::empty(shard), batch)?;
                }
                Birth::Waiting { replica, born, .. } => {
                    self.opening.insert(id, None);
                    Group::<KvMachine>::write_uninitialised(id, replica, born, batch);
                }
            }
        }
        Ok(())
    }

    /// The right part of a shard is a shard of its own now.
    pub(super) fn split_off(
        &mut self,
        left: Shard,
        right: KvMachine,
        batch: &mut Batch,
        out: &mut StoreReady,
    ) -> Result<(), EngineError> {
        let parent = &self.groups[&left.id];
        let (replica, leads) = (parent.replica(), parent.leads());
        let shard = right.shard().clone();
        self.ranges.set(left.id, &left.range);
        out.facts.push(Fact::Split { replica, left, right: shard.clone() });
        let here = shard.peer_on(self.id).map(|peer| peer.replica);
        let newer = |id| self.groups.get(&shard.id).is_some_and(|group| group.replica() > id);
        let is_bad = self.quarantined.contains_key(&shard.id);
        let Some(replica) = here.filter(|id| !self.is_buried(shard.id, *id) && !newer(*id) && !is_bad) else {
            // It was destroyed here before it was born, or is out of service without data: its rows are nobody's.
            self.heirs.remove(&shard.id);
            self.garbage.add(shard.id, ReplicaId::NONE, shard.range, batch);
            return Ok(());
        };
        // One that waited here without data has nothing but its vote, which stays on disk.
        self.groups.remove(&shard.id);
        self.stop_receiving(shard.id);
        self.dirty.remove(&shard.id);
        self.ranges.set(shard.id, &shard.range);
        Group::write_first(shard.id, replica, &shard.peers, &right, batch)?;
        if leads {
            let claim = if planted(Bug::ManyHeirs) { Claim::Inherit } else { Claim::Campaign };
            self.heirs.entry(shard.id).or_insert(claim);
        }
        self.opening.insert(shard.id, Some(shard));
        Ok(())
    }

    /// Opens what the last batch made durable.
    pub(super) fn open_born(&mut self, view: &View) -> Result<(), EngineError> {
        for shard in std::mem::take(&mut self.opening).into_keys() {
            let held = self.held.take(shard);
            let claim = self.heirs.remove(&shard);
            self.open_group(shard, view)?;
            let Some(replica) = self.groups.get(&shard).map(|group| group.replica()) else { continue };
            for message in held.into_iter().filter(|message| message.to.replica == replica) {
                self.with_group(shard, |group| group.step(message));
            }
            self.with_group(shard, |group| match claim {
                Some(Claim::Inherit) => group.inherit(),
                Some(Claim::Campaign) => group.campaign(),
                None => {}
            });
        }
        Ok(())
    }
}
