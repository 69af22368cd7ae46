//! Rounds of heartbeats: a leader knows how long its followers take to answer one, and leads no more when a majority takes too
//! long. That is what Ongaro's dissertation demands of a leader (section 6.2): not that it hears something, but that a round
//! succeeds.
//!
//! raft-rs counts any message that arrived within the time-out, also an answer to what was said long before. So a leader whose
//! machine or links are slow, which hears everybody late and all the time, would lead for ever, and everybody who asks it
//! would wait in vain. Here an answer counts for the round that it answers: reads have a context ([`Reads::ask`]), and where
//! nobody reads the leader asks for a round of its own, one each election time-out, while its group is not quiet.
//!
//! It steps down after two election time-outs: where so much is usual between all replicas, no candidate would be elected
//! either. Who answers later than one time-out is slow: it is not asked to lead, and is not counted as caught up.
//!
//! While a round is under way the group does not go quiet. Where one leader of a store gives up, all its quiet leaders wake and ask
//! for a round as well ([`crate::store`]): else each of them would be found out only when somebody asks it for something, one
//! after another.
//!
//! It is counted in time and not in ticks: those of a replica whose disk is slow come late, and are not made up for.

use super::*;

impl<M: Machine> Group<M> {
    fn time_out(&self) -> Duration {
        self.config.tick * self.config.election_ticks as u32
    }

    /// The time of the last tick.
    pub(super) fn now(&self) -> Instant {
        self.now.unwrap_or_default()
    }

    /// Whether a replica answers, but too late to lead.
    pub(super) fn is_slow(&self, id: u64) -> bool {
        self.rounds.get(&id).is_some_and(|took| *took > self.time_out())
    }

    /// Whether it gave up its leadership since it was asked last.
    pub fn take_gave_up(&mut self) -> bool {
        std::mem::take(&mut self.gave_up)
    }

    /// A quiet leader wakes, and asks for a round at the next tick.
    pub fn doubt(&mut self) {
        self.wake();
        self.round_at = Instant::default();
    }

    /// Asks everybody whether this replica still leads, for all reads that wait for it.
    pub(super) fn ask_round(&mut self) {
        self.round_at = self.now();
        let context = self.reads.ask(self.row.replica.0, self.boot.0, self.now());
        self.raft.read_index(context);
    }

    /// How long the sender of `message` took, if it answers a round.
    pub(super) fn measure_round(&mut self, message: &Message) {
        let is_answer = message.get_msg_type() == MessageType::MsgHeartbeatResponse && self.leads();
        let is_current = is_answer && message.term == self.raft.raft.term;
        let asked = Reads::asked_at(self.row.replica.0, self.boot.0, &message.context).filter(|_| is_current);
        if let Some(asked) = asked {
            self.rounds.insert(message.from, self.now().since(asked));
        }
    }

    /// On a leader that ticks: gives up where the oldest round has taken too long, and asks for a new one when it is time.
    pub(super) fn count_rounds(&mut self) {
        if !self.leads() || !self.raft.raft.commit_to_current_term() {
            return;
        }
        let (now, time_out, oldest) = (self.now(), self.time_out(), self.reads.oldest());
        if oldest.is_some_and(|asked| now.since(asked) > time_out * 2) {
            let (shard, replica, term) = (self.shard, self.row.replica, self.raft.raft.term);
            self.early.facts.push(Fact::GaveUp { shard, replica, term });
            self.gave_up = true;
            return self.raft.raft.become_follower(term, raft::INVALID_ID);
        }
        if oldest.is_none() && now.since(self.round_at) >= time_out {
            self.ask_round();
        }
    }
}
