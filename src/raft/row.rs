//! A group's row: everything about the applied state that must change together.

use bytes::Bytes;
use raft::eraftpb::ConfState;
use serde::{Deserialize, Serialize};

use super::FIRST_INDEX;
use crate::{
    engine::{Batch, EngineError, Table, View, group_key},
    types::{Peer, PeerRole, ReplicaId, ShardId},
    wire::{decode, encode},
};

/// Written in the batch that applies entries, truncates the log or installs a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// The replica that lives here.
    pub replica: ReplicaId,
    /// The membership in which whoever called this replica into being counted on it: only a later one without it means
    /// that it was removed.
    pub born: u64,
    /// The last applied entry's index; zero before the first snapshot.
    pub applied: u64,
    /// Its term.
    pub applied_term: u64,
    /// Hash over all applied entries: shows an entry that was applied twice even where the data converge.
    pub rolling: u64,
    /// The last entry that is no longer in the log.
    pub truncated: u64,
    /// Its term.
    pub truncated_term: u64,
    /// Replicas that vote.
    pub voters: Vec<u64>,
    /// Replicas that do not.
    pub learners: Vec<u64>,
    /// The machine's own row; empty before the first snapshot.
    pub machine: Bytes,
}

impl GroupRow {
    /// A replica that waits for its first snapshot.
    pub fn uninitialised(replica: ReplicaId, born: u64) -> GroupRow {
        GroupRow {
            replica,
            born,
            applied: 0,
            applied_term: 0,
            rolling: 0,
            truncated: 0,
            truncated_term: 0,
            voters: Vec::new(),
            learners: Vec::new(),
            machine: Bytes::new(),
        }
    }

    /// The first replica of a new group whose first members are `peers`.
    pub fn first(replica: ReplicaId, peers: &[Peer], machine: Vec<u8>) -> GroupRow {
        let of = |role| peers.iter().filter(|peer| peer.role == role).map(|peer| peer.replica.0).collect();
        GroupRow {
            replica,
            born: 0,
            applied: FIRST_INDEX,
            applied_term: FIRST_INDEX,
            rolling: 0,
            truncated: FIRST_INDEX,
            truncated_term: FIRST_INDEX,
            voters: of(PeerRole::Voter),
            learners: of(PeerRole::Learner),
            machine: machine.into(),
        }
    }

    /// Whether this replica has data: it was there from the first, or got a snapshot.
    pub fn is_initialised(&self) -> bool {
        !self.machine.is_empty()
    }

    /// The row of `shard`, if there is a replica of it.
    pub fn read(view: &View, shard: ShardId) -> Result<Option<GroupRow>, EngineError> {
        let row = view.get(Table::Group, &group_key(shard))?;
        row.map(|row| Ok(decode(&row)?)).transpose()
    }

    /// Puts the row into the batch.
    pub fn write(&self, shard: ShardId, batch: &mut Batch) {
        assert!(self.truncated <= self.applied, "the log of {shard} was truncated past what is applied");
        batch.put(Table::Group, group_key(shard), encode(self).into());
    }

    pub(super) fn conf_state(&self) -> ConfState {
        ConfState { voters: self.voters.clone(), learners: self.learners.clone(), ..Default::default() }
    }

    pub(super) fn set_conf_state(&mut self, conf: &ConfState) {
        assert!(conf.voters_outgoing.is_empty(), "no joint membership is ever proposed");
        self.voters = conf.voters.clone();
        self.learners = conf.learners.clone();
    }
}
