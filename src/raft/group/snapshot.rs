//! Snapshots. raft-rs asks for one and gets a promise; the message that it makes of it is filled in the next turn from that
//! turn's view, with index, term, membership and what the machine says of itself. How the rows travel is the holder's
//! affair: it is told of the message by [`Outgoing::is_snapshot`], reads the rows from the same view, and reports the end.

use super::*;

/// What a snapshot would be to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotUse {
    /// It brings what this replica lacks.
    Needed,
    /// All that it holds is here already.
    Useless,
    /// It is of an earlier leader, or of a membership without this replica.
    Outdated,
}

/// What raft says of a snapshot, and what its data are.
fn metadata(message: &Message) -> &SnapshotMetadata {
    message.get_snapshot().get_metadata()
}

impl<M: Machine> Group<M> {
    /// What the machine will be once the snapshot of this message is installed.
    pub fn machine_of(message: &RaftMessage, view: &View) -> Result<M, EngineError> {
        let message = Message::parse_from_bytes(&message.message).map_err(|e| EngineError::Damaged(e.to_string()))?;
        let (_, data): (u64, Vec<u8>) = decode(&message.get_snapshot().data)?;
        M::open(&data, view)
    }

    /// The index that the snapshot of this message is of; 0 where it cannot be read.
    pub fn snapshot_index(message: &RaftMessage) -> u64 {
        Message::parse_from_bytes(&message.message).map_or(0, |message| metadata(&message).index)
    }

    /// What a snapshot would be to this replica now. raft-rs installs just those that are [`SnapshotUse::Needed`].
    pub fn judge_snapshot(&self, message: &RaftMessage) -> SnapshotUse {
        let Ok(message) = Message::parse_from_bytes(&message.message) else { return SnapshotUse::Outdated };
        let (metadata, raft) = (metadata(&message), &self.raft.raft);
        let conf = metadata.get_conf_state();
        let is_member = conf.voters.contains(&raft.id) || conf.learners.contains(&raft.id);
        if message.term < raft.term || self.leads() || !is_member {
            return SnapshotUse::Outdated;
        }
        let log = &raft.raft_log;
        if metadata.index <= log.committed || log.match_term(metadata.index, metadata.term) {
            return SnapshotUse::Useless;
        }
        SnapshotUse::Needed
    }

    /// Whether raft-rs waits for that replica to get a snapshot.
    pub fn is_sending_snapshot(&self, replica: ReplicaId) -> bool {
        let progress = self.raft.raft.prs().get(replica.0);
        self.leads() && progress.is_some_and(|progress| progress.state == raft::ProgressState::Snapshot)
    }

    /// More of a snapshot has arrived at that replica.
    pub fn snapshot_moves(&mut self, replica: ReplicaId) {
        if let Some(ticks) = self.snapshot_ticks.get_mut(&replica.0) {
            *ticks = 0;
        }
    }

    /// A snapshot has arrived, or never will.
    pub fn snapshot_ended(&mut self, replica: ReplicaId, has_arrived: bool) {
        if self.is_sending_snapshot(replica) {
            let status = if has_arrived { raft::SnapshotStatus::Finish } else { raft::SnapshotStatus::Failure };
            self.raft.report_snapshot(replica.0, status);
        }
        self.snapshot_ticks.remove(&replica.0);
    }

    /// A snapshot may be lost; raft-rs would wait for it for ever.
    pub(super) fn retry_snapshots(&mut self) {
        let patience = SNAPSHOT_ELECTIONS * self.config.election_ticks;
        self.snapshot_ticks.values_mut().for_each(|ticks| *ticks += 1);
        let lost: Vec<_> =
            self.snapshot_ticks.iter().filter(|(_, ticks)| **ticks > patience).map(|(id, _)| *id).collect();
        lost.into_iter().for_each(|id| self.snapshot_ended(ReplicaId(id), false));
        if !self.leads() {
            self.snapshot_ticks.clear();
        }
    }

    /// Fills the snapshot messages that were made since the last turn.
    pub(super) fn keep_promises(
        &mut self,
        view: &View,
        out: &mut GroupReady<M::Reply, M::Event>,
    ) -> Result<(), EngineError> {
        let promised = std::mem::take(&mut self.promised);
        if promised.is_empty() || !self.leads() {
            return Ok(());
        }
        let row = GroupRow::read(view, self.shard)?.filter(|row| row.is_initialised());
        let row = row.ok_or_else(|| EngineError::Damaged(format!("{}: a leader without a row", self.shard)))?;
        let snapshot = snapshot(&row, encode(&(row.rolling, M::snapshot(&row.machine, view)?)));
        for mut message in promised.into_iter().filter(|message| message.term == self.raft.raft.term) {
            message.set_snapshot(snapshot.clone());
            self.snapshot_ticks.insert(message.to, 0);
            out.now.extend(self.address(&message));
        }
        Ok(())
    }

    pub(super) fn install(
        &mut self,
        snapshot: Snapshot,
        batch: &mut Batch,
        out: &mut GroupReady<M::Reply, M::Event>,
    ) -> Result<(), EngineError> {
        let metadata = snapshot.get_metadata();
        assert!(metadata.index > self.row.applied, "{}: a snapshot goes back", self.shard);
        let (rolling, data): (u64, Vec<u8>) = decode(&snapshot.data)?;
        let mut machine = M::install(&data, batch)?;
        let conf = metadata.get_conf_state().clone();
        self.row.applied = metadata.index;
        self.row.applied_term = metadata.term;
        self.row.rolling = rolling;
        self.row.truncated = metadata.index;
        self.row.truncated_term = metadata.term;
        self.row.set_conf_state(&conf);
        self.row.machine = machine.row().into();
        self.row.write(self.shard, batch);
        self.raft.mut_store().restart_from(metadata.index, metadata.term, conf, batch);
        out.facts.push(Fact::Installed {
            shard: self.shard,
            replica: self.row.replica,
            index: metadata.index,
            rolling,
            data: machine.data_hash(),
        });
        out.events.extend(machine.take_events());
        self.machine = Some(machine);
        Ok(())
    }
}

/// The snapshot that `row` and its machine's `data` make.
fn snapshot(row: &GroupRow, data: Vec<u8>) -> Snapshot {
    let metadata = SnapshotMetadata {
        index: row.applied - u64::from(planted(Bug::SnapshotIndex)),
        term: row.applied_term,
        conf_state: protobuf::SingularPtrField::some(row.conf_state()),
        ..Default::default()
    };
    let mut snapshot = Snapshot { data: data.into(), ..Default::default() };
    snapshot.set_metadata(metadata);
    snapshot
}
