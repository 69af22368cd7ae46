//! Applying committed entries, and forgetting those that nobody needs.

use super::*;

/// How many times what is kept in any case a leader keeps for a follower that lags.
const WINDOWS: u64 = 4;
/// Entries that are kept however long they are.
const ENTRIES_MIN: u64 = 4;
/// Election time-outs within which a follower that had a snapshot gets all that was written meanwhile.
const CATCH_UP_TIMEOUTS: u64 = 10;

impl<M: Machine> Group<M> {
    pub(super) fn apply(
        &mut self,
        entries: Vec<Entry>,
        batch: &mut Batch,
        out: &mut GroupReady<M::Reply, M::Event>,
    ) -> Result<(), EngineError> {
        if entries.is_empty() {
            return Ok(());
        }
        for entry in entries {
            assert_eq!(entry.index, self.row.applied + 1, "{}: applied out of order", self.shard);
            self.apply_entry(&entry, batch, out)?;
        }
        self.row.machine = self.machine.as_ref().expect("only a machine applies").row().into();
        self.row.write(self.shard, batch);
        // The commit that these entries rest on must not be older on disk than what was applied.
        self.raft.store().write_hard(batch);
        Ok(())
    }

    pub(super) fn apply_entry(
        &mut self,
        entry: &Entry,
        batch: &mut Batch,
        out: &mut GroupReady<M::Reply, M::Event>,
    ) -> Result<(), EngineError> {
        let machine = self.machine.as_mut().expect("only a machine applies");
        let is_change = entry.get_entry_type() != EntryType::EntryNormal;
        let commands: Vec<Bytes> = match if is_change { &entry.context } else { &entry.data } {
            empty if empty.is_empty() => Vec::new(),
            bytes => decode(bytes)?,
        };
        let mut tokens = self.proposals.take(entry.index, entry.term, &mut out.outcomes).into_iter();
        for command in commands {
            let reply = machine.apply(decode(&command)?, batch)?;
            if is_change && M::accepted(&reply) {
                let conf = change_membership(&mut self.raft, entry)?;
                self.row.set_conf_state(&conf);
                if self.raft.raft.state == StateRole::Leader {
                    // A new replica is born by a heartbeat.
                    self.raft.ping();
                }
            }
            out.outcomes.extend(tokens.next().map(|token| (token, Outcome::Applied(reply))));
        }
        out.events.extend(machine.take_events());
        self.row.applied = entry.index;
        self.row.applied_term = entry.term;
        self.row.rolling = roll(self.row.rolling, entry);
        out.facts.push(Fact::Applied {
            shard: self.shard,
            replica: self.row.replica,
            index: entry.index,
            term: entry.term,
            rolling: self.row.rolling,
            data: machine.data_hash(),
        });
        if is_change {
            self.count_silence_anew();
        }
        Ok(())
    }

    /// Forgets entries that are applied by an earlier commit, and not needed by a follower that lags within reason.
    pub(super) fn compact(&mut self, applied_in_view: u64, batch: &mut Batch) {
        let held = self.held_for_snapshots();
        let log = self.raft.store();
        if !self.row.is_initialised() || held.is_some_and(|held| held <= log.truncated()) {
            return;
        }
        let applied = applied_in_view.min(self.row.applied);
        let mut to = self.kept_behind(applied, 1);
        if self.leads() {
            // One that lags further gets a snapshot instead. One that nothing was heard of yet may have what is kept.
            let window = self.kept_behind(applied, WINDOWS);
            let lags = self.raft.raft.prs().iter().map(|(_, progress)| progress.matched);
            let waited_for = lags.filter(|matched| *matched.max(&log.truncated()) >= window);
            to = waited_for.chain(held).fold(to, u64::min);
        }
        let keep = self.config.compact_threshold.max(1);
        let is_long = log.bytes() > self.config.compact_bytes;
        if to < log.truncated() + if is_long { 1 } else { keep } {
            return;
        }
        self.raft.mut_store().truncate(to, batch);
        self.row.truncated = to;
        self.row.truncated_term = raft::Storage::term(self.raft.store(), to).expect("the truncation point has a term");
        self.row.write(self.shard, batch);
        self.raft.store().write_hard(batch);
    }

    /// Up to where entries may go if so many `windows` of them are kept behind what is applied.
    pub(super) fn kept_behind(&self, applied: u64, windows: u64) -> u64 {
        let GroupConfig { compact_threshold, compact_bytes, .. } = self.config;
        let by_bytes =
            self.raft.store().beyond(windows * compact_bytes).min(applied.saturating_sub(windows * ENTRIES_MIN));
        applied.saturating_sub(windows * compact_threshold).max(by_bytes)
    }

    /// On a leader: whence followers go on that are being sent a snapshot, or were until lately. All that was written
    /// meanwhile is there for them; if it went at the snapshot's end, the next append would be another snapshot.
    fn held_for_snapshots(&mut self) -> Option<u64> {
        if !self.leads() {
            self.recovering.clear();
            return None;
        }
        let until = self.ticks + CATCH_UP_TIMEOUTS * self.config.election_ticks as u64;
        // Whoever needs what is gone already needs another snapshot.
        let truncated = self.raft.store().truncated();
        let mut held = None;
        for (id, progress) in self.raft.raft.prs().iter() {
            let from = if progress.state == raft::ProgressState::Snapshot {
                self.recovering.insert(*id, until);
                Some(progress.pending_snapshot)
            } else {
                let is_recovering = self.recovering.get(id).is_some_and(|until| self.ticks < *until);
                let is_there = progress.matched >= truncated && !self.is_silent(*id);
                (is_recovering && is_there).then_some(progress.matched)
            };
            held = held.into_iter().chain(from).min();
        }
        held
    }
}

fn change_membership(raft: &mut RawNode<Log>, entry: &Entry) -> Result<ConfState, EngineError> {
    let damaged = |error: String| EngineError::Damaged(format!("membership entry {}: {error}", entry.index));
    let change = ConfChange::parse_from_bytes(&entry.data).map_err(|error| damaged(error.to_string()))?;
    let conf = raft.apply_conf_change(&change).map_err(|error| damaged(error.to_string()))?;
    raft.mut_store().set_conf(conf.clone());
    Ok(conf)
}

/// The hash over all entries up to this one.
fn roll(before: u64, entry: &Entry) -> u64 {
    let stamp = [before, entry.index, entry.term].map(u64::to_be_bytes).concat();
    xxh3_64_with_seed(&entry.data, xxh3_64_with_seed(&entry.context, xxhash_rust::xxh3::xxh3_64(&stamp)))
}
