//! How replicas come to be: by Prophet's order to create a shard's first replica, or by a message of a leader that
//! counts on one.

use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use super::Store;
use crate::{
    engine::{Batch, EngineError, View},
    raft::Group,
    shard::KvMachine,
    types::{ReplicaId, Shard, ShardId},
    wire::RaftMessage,
};

/// A replica that is to be.
pub(super) enum Birth {
    /// The first replica of a new shard: empty, with data at once.
    First(Shard),
    /// A replica that waits for its snapshot.
    Waiting(ShardId, ReplicaId),
}

impl Birth {
    /// Only a leader's message bears: a vote must not be asked of a replica that nobody has counted yet.
    pub fn of_message(message: &RaftMessage) -> Option<Birth> {
        let inner = Message::parse_from_bytes(&message.message).ok()?;
        let leads = matches!(
            inner.get_msg_type(),
            MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot
        );
        (leads && inner.to == message.to.replica.0).then_some(Birth::Waiting(message.shard, message.to.replica))
    }

    fn shard(&self) -> ShardId {
        match self {
            Birth::First(shard) => shard.id,
            Birth::Waiting(shard, _) => *shard,
        }
    }
}

impl Store {
    /// Prophet wants the first replica of a new shard here. Asking again changes nothing.
    pub(super) fn bear(&mut self, shard: Shard) {
        if shard.peer_on(self.id).is_some() {
            self.births.push(Birth::First(shard));
        }
    }

    pub(super) fn write_births(&mut self, batch: &mut Batch) {
        for birth in std::mem::take(&mut self.births) {
            let id = birth.shard();
            if self.groups.contains_key(&id) || self.quarantined.contains_key(&id) || !self.opening.insert(id) {
                continue;
            }
            match birth {
                Birth::First(shard) => {
                    let replica = shard.peer_on(self.id).expect("checked when it was ordered").replica;
                    let peers = shard.peers.clone();
                    Group::write_first(id, replica, &peers, &KvMachine::empty(shard), batch);
                }
                Birth::Waiting(_, replica) => Group::<KvMachine>::write_uninitialised(id, replica, batch),
            }
        }
    }

    /// Opens what the last batch made durable.
    pub(super) fn open_born(&mut self, view: &View) -> Result<(), EngineError> {
        for shard in std::mem::take(&mut self.opening) {
            self.open_group(shard, view)?;
        }
        Ok(())
    }
}
