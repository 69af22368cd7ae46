//! Ticks and heartbeats. Heartbeats only cover loss: a new leader, a changed descriptor and a learner that caught up
//! are told at the next tick.

use super::{Send, Store, quarantine::contained_each, route};
use crate::{
    raft::Group,
    shard::KvMachine,
    types::{Instant, PeerRole},
    wire::ShardBeat,
};

/// A quiet shard is reported this many times less often.
const QUIET_BEATS: u32 = 8;

impl Store {
    pub(super) fn tick(&mut self, now: Instant) {
        self.tick_watch();
        self.tick_sending();
        self.tick_receiving();
        let mut one_gave_up = false;
        let broken = contained_each(&mut self.groups, |shard, group| {
            if self.installing.contains_key(&shard) {
                return;
            }
            let was_quiet = group.is_quiet();
            group.tick(now, self.watch.ticks, &self.watch.lost);
            one_gave_up |= group.take_gave_up();
            if !was_quiet {
                self.dirty.insert(shard);
                self.status.touch(shard);
            }
        });
        self.quarantine_all(broken);
        if one_gave_up {
            self.doubt_leaderships();
        }
        self.tick_lingering();
        self.look_for_splits(now);
        self.ask_membership(now);
        self.beat_store(now);
        self.beat_shards(now);
    }

    /// Prophet's leader is new, and has not heard of most shards.
    pub(super) fn tell_all(&mut self) {
        self.next_quiet_beat = self.next_quiet_beat.min(self.next_shard_beat);
    }

    fn beat_store(&mut self, now: Instant) {
        if now < self.next_store_beat {
            return;
        }
        self.next_store_beat = now + self.config.store_beat;
        self.early.now.push(Send::StoreBeat {
            shard_count: (self.groups.len() + self.quarantined.len()) as u64,
            quarantined: self.quarantined_told(),
            leader_count: self.groups.values().filter(|group| group.leads()).count() as u64,
            capacity: self.room.capacity,
            available: self.room.available,
        });
    }

    fn beat_shards(&mut self, now: Instant) {
        let all = now >= self.next_shard_beat;
        if all {
            self.next_shard_beat = now + self.config.shard_beat;
        }
        let quiet_too = now >= self.next_quiet_beat;
        if quiet_too {
            self.next_quiet_beat = now + self.config.shard_beat * QUIET_BEATS;
        }
        let mut beats = Vec::new();
        for (shard, group) in &self.groups {
            if !group.leads() {
                self.announced.remove(shard);
                continue;
            }
            // Nothing of a quiet shard changes; the store's own beat says that it lives.
            if group.is_quiet() && !quiet_too && self.announced.contains_key(shard) {
                continue;
            }
            let Some(beat) = beat(group) else { continue };
            let learners = beat.route.shard.peers.iter().filter(|peer| peer.role == PeerRole::Learner);
            let ready = learners.map(|peer| peer.replica).filter(|id| beat.caught_up.contains(id)).collect();
            let news = (beat.route.term, beat.route.shard.epoch, ready);
            if all || quiet_too || self.announced.get(shard) != Some(&news) {
                self.announced.insert(*shard, news);
                beats.push(beat);
            }
        }
        // An empty one fetches what Prophet has decided meanwhile.
        let is_due = now >= self.next_fetch || now < self.busy_until;
        if !beats.is_empty() || is_due {
            self.next_fetch = now + self.config.shard_beat / 4;
            self.early.now.push(Send::ShardBeats(beats));
        }
    }
}

fn beat(group: &Group<KvMachine>) -> Option<ShardBeat> {
    let status = group.status();
    Some(ShardBeat {
        route: route(group)?,
        caught_up: status.caught_up,
        down: status.silent,
        size: group.machine()?.bytes(),
    })
}
