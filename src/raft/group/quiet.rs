//! Groups without traffic go quiet: no ticks, no messages (CockroachDB's quiescence, TiKV's hibernation).
//!
//! A leader goes quiet when there has been nothing to do for a while and every replica that answers has all of its log,
//! committed; its last heartbeat tells the others, who go quiet if they agree. Who does not, because the heartbeat was
//! lost or its log is another one, goes on ticking, asks for votes in the end, and so wakes everybody.
//!
//! Whatever is to be done wakes a group: a proposal, a read, any message but the one that quiets it. Stores watch over
//! each other instead of their groups ([`crate::store`]): when a store is lost, the quiet groups wake that have to do
//! without their leader, or whose leader has to do without it.
//!
//! Safety does not depend on any of this: a quiet replica is one whose clock stands still.

use super::*;

impl<M: Machine> Group<M> {
    /// Whether this replica stands still.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Ticks from now on. A leader gives its peers a whole time-out before it doubts that they are there.
    pub fn wake(&mut self) {
        self.idle_since = self.ticks;
        self.tick_again();
    }

    /// As [`Self::wake`]; but there is nothing to do, so it may be quiet again soon.
    pub(super) fn tick_again(&mut self) {
        if !self.quiet {
            return;
        }
        // Who was there when silence was agreed on has not been missing since.
        let (ticks, absent) = (self.ticks, &self.absent);
        self.heard_at.iter_mut().filter(|(id, _)| !absent.contains(id)).for_each(|(_, at)| *at = ticks);
        self.quiet = false;
        self.reads.count_anew(self.now());
        if self.leads() {
            self.raft.raft.election_elapsed = 0;
        }
    }

    /// The leader's store has not been heard of for an election time-out: as if this replica had counted it itself.
    pub fn wake_to_campaign(&mut self) {
        if !self.quiet {
            return;
        }
        self.wake();
        if !self.leads() {
            self.raft.raft.election_elapsed = self.config.election_ticks.min(self.election_ticks - 1);
        }
    }

    /// On a leader that ticks: goes quiet if it may, after one more heartbeat that says so.
    pub(super) fn may_go_quiet(&mut self, lost: &BTreeSet<StoreId>) {
        let after = self.config.quiet_after_ticks;
        if after == 0 || !self.leads() || self.ticks - self.idle_since < after || !self.is_settled(lost) {
            return;
        }
        self.absent = self.replicas_on(lost);
        (self.quiet, self.quieting) = (true, true);
        self.early.facts.push(Fact::WentQuiet { shard: self.shard, replica: self.row.replica });
        self.raft.ping();
    }

    /// Nothing is under way, and every replica has everything but those on lost stores, whose return wakes the group. A
    /// learner that nothing has reached may not be there yet: then its store says nothing when it returns.
    fn is_settled(&self, lost: &BTreeSet<StoreId>) -> bool {
        let raft = &self.raft.raft;
        let last = raft.raft_log.last_index();
        let is_done = raft.raft_log.committed == last && self.row.applied == last && self.committed.is_empty();
        let nobody_asks = self.reads.len() == 0 && self.reads.oldest().is_none();
        let nobody_waits = self.proposals.len() == 0 && nobody_asks && raft.lead_transferee.is_none();
        let is_member = self.machine.as_ref().is_some_and(|machine| machine.peer(self.row.replica).is_some());
        if !is_done || !nobody_waits || !is_member || !self.promised.is_empty() {
            return false;
        }
        let absent = self.replicas_on(lost);
        let (mut complete, mut voters) = (1, 1);
        for (id, progress) in raft.prs().iter().filter(|(id, _)| **id != raft.id) {
            let is_voter = self.row.voters.contains(id);
            voters += usize::from(is_voter);
            let is_absent = absent.contains(id) && !self.never_reached(ReplicaId(*id));
            let is_complete = progress.matched == last && !is_absent && !self.is_silent(*id) && !self.is_slow(*id);
            if !is_complete && !is_absent {
                return false;
            }
            complete += usize::from(is_voter && is_complete);
        }
        2 * complete > voters
    }

    fn replicas_on(&self, stores: &BTreeSet<StoreId>) -> BTreeSet<u64> {
        let home = |id: u64| self.machine.as_ref()?.peer(ReplicaId(id)).map(|peer| peer.store);
        let all = self.raft.raft.prs().iter().map(|(id, _)| *id);
        all.filter(|id| home(*id).is_some_and(|store| stores.contains(&store))).collect()
    }

    /// For how many ticks a leader has not heard a replica. While its group is quiet, nobody is expected to speak.
    pub(super) fn silence(&self, id: u64) -> u64 {
        let heard = self.heard_at.get(&id).copied().unwrap_or(0).max(self.led_at);
        if self.quiet && !self.absent.contains(&id) { 0 } else { self.ticks - heard }
    }

    /// After a change of the membership: who has just come has not been silent yet, and who went is forgotten.
    pub(super) fn count_silence_anew(&mut self) {
        let members: BTreeSet<u64> = self.raft.raft.prs().iter().map(|(id, _)| *id).collect();
        self.heard_at.retain(|id, _| members.contains(id));
        self.rounds.retain(|id, _| members.contains(id));
        self.recovering.retain(|id, _| members.contains(id));
        for id in members {
            self.heard_at.entry(id).or_insert(self.ticks);
        }
    }

    pub(super) fn is_silent(&self, id: u64) -> bool {
        self.silence(id) > self.config.election_ticks as u64
    }

    /// After a heartbeat that says that the leader goes quiet at `last`.
    pub(super) fn follow_quiet(&mut self, from: ReplicaId, last: u64) {
        let raft = &self.raft.raft;
        let agrees = raft.leader_id == from.0 && raft.raft_log.last_index() == last && raft.raft_log.committed == last;
        self.quiet = agrees && raft.state == StateRole::Follower && self.config.quiet_after_ticks > 0;
    }
}
