//! Snapshots: made from a view, installed in one batch, sent again when lost.

use super::*;

impl<M: Machine> Group<M> {
    /// A snapshot is one message and may be lost; raft-rs would wait for it for ever.
    pub(super) fn retry_snapshots(&mut self) {
        if !self.leads() {
            self.snapshot_ticks.clear();
            return;
        }
        let waiting = |raft: &RawNode<Log>, id| {
            raft.raft.prs().get(id).is_some_and(|progress| progress.state == raft::ProgressState::Snapshot)
        };
        let mut lost = Vec::new();
        self.snapshot_ticks.retain(|id, ticks| {
            *ticks += 1;
            if *ticks > SNAPSHOT_ELECTIONS * self.config.election_ticks {
                lost.push(*id);
            }
            waiting(&self.raft, *id) && *ticks <= SNAPSHOT_ELECTIONS * self.config.election_ticks
        });
        for id in lost {
            self.raft.report_snapshot(id, raft::SnapshotStatus::Failure);
        }
    }

    pub(super) fn offer_snapshot(&mut self, view: &View) -> Result<(), EngineError> {
        let Some(least) = self.raft.store().wants_snapshot() else { return Ok(()) };
        let Some(row) = GroupRow::read(view, self.shard)?.filter(|row| row.is_initialised()) else { return Ok(()) };
        if row.applied < least {
            return Ok(());
        }
        let data = encode(&(row.rolling, M::snapshot(&row.machine, view)?));
        let metadata = SnapshotMetadata {
            index: row.applied - u64::from(planted(Bug::SnapshotIndex)),
            term: row.applied_term,
            conf_state: protobuf::SingularPtrField::some(row.conf_state()),
            ..Default::default()
        };
        let mut snapshot = Snapshot { data: data.into(), ..Default::default() };
        snapshot.set_metadata(metadata);
        self.raft.mut_store().offer_snapshot(snapshot);
        // It is asked for again in the answer to a heartbeat.
        self.raft.ping();
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
        let mut machine = M::install(&data, self.machine.as_ref(), batch)?;
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
