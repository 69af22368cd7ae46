//! Applying committed entries, and forgetting those that nobody needs.

use super::*;

/// How many times what is kept in any case a leader keeps for a follower that lags.
const WINDOWS: u64 = 4;

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

    /// Forgets entries that are durable, applied, and not needed by a follower that lags within reason.
    pub(super) fn compact(&mut self, applied_in_view: u64, batch: &mut Batch) {
        let (keep, keep_bytes) = (self.config.compact_threshold, self.config.compact_bytes);
        let log = self.raft.store();
        let applied = applied_in_view.min(self.row.applied);
        let mut to = applied.saturating_sub(keep).max(log.beyond(keep_bytes)).min(applied);
        if self.leads() {
            let window = log.beyond(WINDOWS * keep_bytes);
            let needed = self.raft.raft.prs().iter().filter_map(|(_, progress)| match progress.state {
                // It goes on from there, or from later.
                raft::ProgressState::Snapshot => Some(progress.pending_snapshot),
                // One that lags further gets a snapshot instead.
                _ => Some(progress.matched)
                    .filter(|matched| matched + WINDOWS * keep > applied_in_view && *matched >= window),
            });
            to = to.min(needed.min().unwrap_or(to));
        }
        let is_worth_it = to >= log.truncated() + keep.max(1) || to > log.truncated() && log.bytes() > keep_bytes;
        if !is_worth_it || !self.row.is_initialised() {
            return;
        }
        self.raft.mut_store().truncate(to, batch);
        self.row.truncated = to;
        self.row.truncated_term = raft::Storage::term(self.raft.store(), to).expect("the truncation point has a term");
        self.row.write(self.shard, batch);
        self.raft.store().write_hard(batch);
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
