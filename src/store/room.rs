//! A disk that is nearly full. A write that fails ends the node; so writes are refused while there is still room for what
//! cannot be refused: votes, changes of membership, what is removed. Reads go on, and everything does once there is room.
//!
//! The leader's store refuses what clients write; a store with even less room takes no entries and no snapshots from
//! leaders, as if they were lost on the way. So a full follower stops nobody while a majority has room.
//!
//! What the disk has does not tell of what redb holds in memory until its next checkpoint: some pages for each of 2,048 rows at most,
//! and the mebibyte of a round of the journal, for each of the node's two engines. A reserve has to be greater than that.

use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use super::Store;
use crate::wire::{Op, RaftMessage, Refusal};

/// What the disk has, in bytes; nothing is known of it at first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    pub capacity: u64,
    pub available: u64,
}

impl Room {
    fn is_below(self, reserve: u64) -> bool {
        self.capacity > 0 && self.available < reserve
    }
}

/// Whether a message makes the log longer.
pub(super) fn brings_entries(message: &RaftMessage) -> bool {
    Message::parse_from_bytes(&message.message)
        .is_ok_and(|inner| inner.get_msg_type() == MessageType::MsgAppend && !inner.entries.is_empty())
}

impl Store {
    /// Refuses a write that the disk may have no room for.
    pub(super) fn check_room(&self, op: &Op) -> Result<(), Refusal> {
        let (Room { available, .. }, reserve) = (self.room, self.config.disk_reserve);
        if op.is_read() || !self.room.is_below(reserve) {
            return Ok(());
        }
        let why = format!("the disk of {} has {available} bytes free; limits.disk-reserve is {reserve}", self.id);
        Err(Refusal::Overloaded(why))
    }

    /// Whether what leaders send must wait.
    pub(super) fn has_no_room_for_entries(&self) -> bool {
        self.room.is_below(self.config.disk_reserve / 2)
    }
}
