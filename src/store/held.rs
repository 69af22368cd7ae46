//! Messages for replicas that are not there yet.
//!
//! Invariants:
//! - memory is bounded: by replicas, by messages of each, and by the bytes of those that may be long;
//! - of one sender and kind, the last message counts;
//! - losing one costs time at the worst: whoever sent it sends it again.

use std::collections::BTreeMap;

use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use crate::{types::ShardId, wire::RaftMessage};

/// Messages that wait for one replica that is not there yet.
const HELD_MAX: usize = 8;
/// Replicas that are not there yet and have messages waiting.
const UNBORN_MAX: usize = 1024;
/// Bytes of an append that waits: what a new leader says first is an empty entry. Longer ones are sent again.
const HELD_APPEND_MAX: usize = 1 << 10;

/// What waits.
#[derive(Default)]
pub(super) struct Held(BTreeMap<ShardId, Vec<RaftMessage>>);

/// Which kind of message this is.
pub(super) fn kind(message: &RaftMessage) -> Option<MessageType> {
    Message::parse_from_bytes(&message.message).ok().map(|inner| inner.get_msg_type())
}

/// Whether it is short enough to be what a new leader says first.
pub(super) fn is_short(message: &RaftMessage) -> bool {
    message.message.len() <= HELD_APPEND_MAX
}

impl Held {
    /// It waits.
    pub fn hold(&mut self, message: RaftMessage) {
        if !self.0.contains_key(&message.shard) && self.0.len() >= UNBORN_MAX {
            self.0.pop_first();
        }
        let held = self.0.entry(message.shard).or_default();
        held.retain(|before| before.from.replica != message.from.replica || kind(before) != kind(&message));
        if held.len() < HELD_MAX {
            held.push(message);
        }
    }

    /// Takes out what waits for a replica of `shard`.
    pub fn take(&mut self, shard: ShardId) -> Vec<RaftMessage> {
        self.0.remove(&shard).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Epoch, Peer, PeerRole, ReplicaId, StoreId};

    fn message(shard: u64, from: u64, kind: MessageType, term: u64) -> RaftMessage {
        let peer = |replica| Peer { replica: ReplicaId(replica), store: StoreId(replica), role: PeerRole::Voter };
        let inner = Message { msg_type: kind, term, ..Default::default() };
        let message = inner.write_to_bytes().unwrap().into();
        let (shard, epoch) = (ShardId(shard), Epoch::NONE);
        RaftMessage { shard, from: peer(from), to: peer(1), epoch, range: None, quiet: None, message }
    }

    #[test]
    fn the_last_of_each_sender_and_kind_waits() {
        let mut held = Held::default();
        let (vote, append) = (MessageType::MsgRequestVote, MessageType::MsgAppend);
        let last = [message(7, 3, vote, 5), message(7, 2, append, 6), message(7, 2, vote, 6)];
        held.hold(message(7, 2, vote, 5));
        last.iter().for_each(|message| held.hold(message.clone()));
        assert!(held.take(ShardId(8)).is_empty());
        assert!(held.take(ShardId(7)) == last);
        assert!(held.take(ShardId(7)).is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut held = Held::default();
        for shard in 0..2 * UNBORN_MAX as u64 {
            (0..2 * HELD_MAX as u64).for_each(|from| held.hold(message(shard, from, MessageType::MsgRequestVote, 5)));
        }
        assert_eq!(held.0.len(), UNBORN_MAX);
        assert!(held.0.values().all(|messages| messages.len() == HELD_MAX));
    }
}
