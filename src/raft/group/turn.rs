//! The turn: what to write, what to say, and who is told.

use super::*;

impl<M: Machine> Group<M> {
    /// Whether [`Self::ready`] would have something to do.
    pub fn has_work(&self) -> bool {
        self.raft.has_ready()
            || !self.committed.is_empty()
            || !self.proposals.queued.is_empty()
            || self.may_ask()
            || self.reads.is_due(self.row.applied)
            || !self.promised.is_empty()
            || !self.early.outcomes.is_empty()
            || !self.early.refused_reads.is_empty()
            || !self.early.reads.is_empty()
            || !self.early.facts.is_empty()
    }

    /// Before the term's first commit raft-rs drops a ReadIndex silently.
    pub(super) fn may_ask(&self) -> bool {
        !self.reads.queued.is_empty() && self.leads() && self.raft.raft.commit_to_current_term()
    }

    /// What to write and to say. `batch` must be committed before the next `step`, then [`Self::advance`] called.
    pub fn ready(&mut self, batch: &mut Batch) -> Result<GroupReady<M::Reply, M::Event>, EngineError> {
        assert!(self.outstanding.is_none(), "{}: ready before advance", self.shard);
        let (others_must_sync, members) = (batch.must_sync(), self.row.conf_state());
        // The view is as of the last advance, so what was applied then is what it shows.
        let applied_in_view = self.row.applied;
        self.flush_proposals();
        self.flush_reads();
        let mut out = std::mem::take(&mut self.early);
        self.keep_promises(batch.view(), &mut out)?;
        let mut ready = self.raft.ready();
        for state in ready.take_read_states() {
            self.reads.confirm(&state.request_ctx, state.index);
        }
        out.reads.extend(self.reads.due(applied_in_view));
        // raft-rs lets a leader's messages leave early. A group of one voter leads before its own vote is durable, and
        // after a crash could lead the same term again: then its first messages wait too.
        let is_vote_durable = ready.hs().is_none_or(|hard| hard.term == self.raft.store().vote().0);
        let early = if is_vote_durable { &mut out.now } else { &mut out.after };
        self.send(ready.take_messages(), early);
        self.quieting = false;
        self.send(ready.take_persisted_messages(), &mut out.after);
        if !ready.snapshot().is_empty() {
            // raft-rs takes only a snapshot beyond what is committed, so it covers what was about to be applied.
            self.committed.clear();
            self.install(ready.snapshot().clone(), batch, &mut out)?;
        }
        self.raft.mut_store().append(ready.take_entries(), batch);
        if let Some(hard) = ready.hs() {
            let (hard, before) = (hard.clone(), self.raft.store().vote());
            self.raft.mut_store().set_hard(hard, batch);
            let (term, vote) = self.raft.store().vote();
            if (term, vote) != before {
                out.facts.push(Fact::Voted { shard: self.shard, replica: self.row.replica, term, vote });
            }
        }
        let mut entries = std::mem::take(&mut self.committed);
        entries.extend(ready.take_committed_entries());
        self.apply(entries, batch, &mut out)?;
        self.compact(applied_in_view, batch);
        if planted(Bug::AppliedAhead) {
            self.write_ahead(batch);
        }
        // If power goes before the next sync, what is applied is applied again from the log, which a majority has. Not so a
        // membership: until it is known again, those are asked for their votes who may be no more. And what it means to the
        // holder is not found out twice.
        let is_data = out.events.is_empty() && members == self.row.conf_state();
        if is_data && !others_must_sync && !ready.must_sync() {
            batch.may_be_lost();
        }
        self.outstanding = Some(ready);
        Ok(out)
    }

    /// Only where a bug is planted: what is committed counts as applied on disk.
    fn write_ahead(&self, batch: &mut Batch) {
        let log = &self.raft.raft.raft_log;
        if self.machine.is_some() && log.committed > self.row.applied {
            let term = log.term(log.committed).expect("what is committed is in the log");
            let row = GroupRow { applied: log.committed, applied_term: term, ..self.row.clone() };
            row.write(self.shard, batch);
        }
    }

    /// The batch of the last [`Self::ready`] is committed. Gives messages that may leave now.
    pub fn advance(&mut self) -> Vec<Outgoing> {
        let Some(ready) = self.outstanding.take() else { return Vec::new() };
        let farewell = self.step_down_if_removed();
        let mut light = self.raft.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            self.raft.mut_store().set_commit(commit);
        }
        self.raft.advance_apply_to(self.row.applied);
        self.committed = light.take_committed_entries();
        let mut messages = Vec::new();
        self.send(farewell, &mut messages);
        self.send(light.take_messages(), &mut messages);
        self.settle();
        messages
    }

    /// A leader may find its own removal in its log, proposed by an earlier one. raft-rs lets it lead on without a progress
    /// of its own, and panics at the next acknowledgement. It tells the others that this is committed, and leads no more.
    fn step_down_if_removed(&mut self) -> Vec<Message> {
        if !self.leads() || self.row.voters.contains(&self.row.replica.0) {
            return Vec::new();
        }
        self.raft.raft.bcast_append();
        // raft-rs takes no messages of a leader from a follower.
        let farewell = std::mem::take(&mut self.raft.raft.msgs);
        self.raft.raft.become_follower(self.raft.raft.term, raft::INVALID_ID);
        farewell
    }

    /// On any change of role or term: draw a new time-out, tell everybody who waits.
    pub(super) fn settle(&mut self) {
        let seen = (self.raft.raft.term, self.raft.raft.state);
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        self.led_at = self.ticks;
        self.election_ticks = draw(&mut self.rng, self.config.election_ticks);
        self.rounds.clear();
        self.proposals.give_up(&mut self.early.outcomes);
        self.early.refused_reads.extend(self.reads.give_up());
        if self.leads() {
            let (shard, replica) = (self.shard, self.row.replica);
            self.early.facts.push(Fact::BecameLeader { shard, replica, term: seen.0 });
        }
    }

    /// Batches what is queued into entries of at most `batch_bytes_max` (or of one command).
    pub(super) fn flush_proposals(&mut self) {
        let mut queued = std::mem::take(&mut self.proposals.queued).into_iter().peekable();
        while queued.peek().is_some() {
            let (mut tokens, mut commands, mut bytes) = (Vec::new(), Vec::new(), 0);
            while let Some((token, command)) =
                queued.next_if(|(_, command)| bytes == 0 || bytes + command.len() as u64 <= self.config.batch_bytes_max)
            {
                bytes += command.len() as u64;
                tokens.push(token);
                commands.push(Bytes::from(command));
            }
            match self.raft.propose(Vec::new(), encode(&commands)) {
                Ok(()) => self.appended(tokens),
                Err(_) => {
                    let refused = tokens.into_iter().map(|token| (token, Outcome::Refused(Refused::Overloaded)));
                    self.early.outcomes.extend(refused);
                }
            }
        }
    }

    pub(super) fn appended(&mut self, tokens: Vec<Token>) {
        let index = self.raft.raft.raft_log.last_index();
        self.proposals.appended(index, self.raft.raft.term, tokens);
    }

    pub(super) fn flush_reads(&mut self) {
        if planted(Bug::ReadWithoutQuorum) && self.leads() {
            let queued = std::mem::take(&mut self.reads.queued);
            self.early.reads.extend(queued);
        }
        if self.may_ask() {
            self.ask_round();
        }
    }

    pub(super) fn send(&mut self, messages: Vec<Message>, to: &mut Vec<Outgoing>) {
        for message in messages {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                self.promised.push(message);
                continue;
            }
            to.extend(self.address(&message));
        }
    }

    /// `None` for a replica whose store is not known: it was removed, or is not yet there.
    pub(super) fn address(&self, message: &Message) -> Option<Outgoing> {
        let find = |id: u64| {
            let id = ReplicaId(id);
            self.machine.as_ref().and_then(|machine| machine.peer(id)).or_else(|| self.heard.get(&id).copied())
        };
        let to = find(message.to)?;
        let own = Peer { replica: self.row.replica, store: crate::types::StoreId::NONE, role: PeerRole::Learner };
        let from = find(message.from).unwrap_or(own);
        let bytes = message.write_to_bytes().expect("a message encodes");
        let kind = message.get_msg_type();
        let is_snapshot = kind == MessageType::MsgSnapshot;
        // A replica that is not there yet is born only where there is room for what it is to hold.
        let may_bear = is_snapshot || self.is_unreached(message.to) || asks_for_vote(kind);
        let bulk = bytes.len() > BULK_BYTES || is_snapshot;
        let machine = self.machine.as_ref();
        let epoch = machine.map_or(Epoch::NONE, M::epoch);
        let range = machine.filter(|_| may_bear).and_then(M::range).cloned();
        // raft-rs cannot mark its heartbeats: those of the turn in which a leader went quiet say so.
        let quiet = match kind {
            MessageType::MsgHeartbeat if self.quieting && self.quiet => Some(self.raft.raft.raft_log.last_index()),
            MessageType::MsgHeartbeatResponse if self.quiet => Some(self.row.applied),
            _ => None,
        };
        let message = RaftMessage { shard: self.shard, from, to, epoch, range, quiet, message: bytes.into() };
        Some(Outgoing { message, bulk, is_snapshot })
    }

    /// Whether nothing of the log has got to that replica yet, as far as a leader knows.
    fn is_unreached(&self, replica: u64) -> bool {
        self.leads() && self.raft.raft.prs().get(replica).is_some_and(|progress| progress.matched == 0)
    }
}

/// Whether the sender is a candidate, or would be one.
fn asks_for_vote(kind: MessageType) -> bool {
    matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote)
}
