//! Snapshots on their way from store to store: in chunks, each acknowledged, so that a lost connection costs a chunk and not
//! the whole.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{CodecError, RaftMessage, decode, encode};
use crate::types::{Boot, Peer, ShardId};

/// Names one reading-out of a shard: unique among those of the sending store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct SnapshotId {
    /// The sending store's life.
    pub boot: Boot,
    /// Grows with each snapshot of that life.
    pub number: u64,
}

/// A row of a snapshot: key and value.
pub type SnapshotRow = (Vec<u8>, Bytes);

/// Some rows of a snapshot, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// Which snapshot.
    pub id: SnapshotId,
    /// Which part of it, from zero.
    pub number: u32,
    /// Whether it is the last one.
    pub is_last: bool,
    /// raft's snapshot message: index, term, membership and the machine's row, without any data.
    pub head: RaftMessage,
    /// [`SnapshotRow`]s, encoded.
    rows: Bytes,
    /// Of the encoded rows.
    checksum: u64,
}

impl SnapshotChunk {
    /// Part `number` of the snapshot `id`.
    pub fn new(id: SnapshotId, number: u32, is_last: bool, head: RaftMessage, rows: &[SnapshotRow]) -> SnapshotChunk {
        let rows = Bytes::from(encode(&rows));
        let checksum = xxh3_64(&rows);
        SnapshotChunk { id, number, is_last, head, rows, checksum }
    }

    /// Its rows; an error if they are not what was sent.
    pub fn rows(&self) -> Result<Vec<SnapshotRow>, CodecError> {
        if xxh3_64(&self.rows) != self.checksum {
            return Err(CodecError::Malformed("a snapshot's chunk does not match its checksum".into()));
        }
        decode(&self.rows)
    }

    /// Bytes of its rows.
    pub fn bytes(&self) -> u64 {
        self.rows.len() as u64
    }
}

/// What the receiver of a chunk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotAck {
    /// The shard.
    pub shard: ShardId,
    /// The receiving replica.
    pub replica: Peer,
    /// Which snapshot.
    pub id: SnapshotId,
    /// What it has.
    pub state: SnapshotState,
}

/// How far the receiver of a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotState {
    /// It has durably put aside all chunks before this one.
    Has(u32),
    /// It has installed the snapshot, or knows all that it holds already.
    Done,
    /// It takes no chunk of this snapshot: it has lost the earlier ones, or has no room for the keys just now.
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Epoch, PeerRole, ReplicaId, StoreId};

    #[test]
    fn rows_that_are_not_what_was_sent_are_refused() {
        let peer = Peer { replica: ReplicaId(1), store: StoreId(1), role: PeerRole::Voter };
        let head = RaftMessage {
            shard: ShardId(1),
            from: peer,
            to: peer,
            epoch: Epoch::NONE,
            range: None,
            quiet: None,
            message: Bytes::new(),
        };
        let rows = vec![(b"key\xff".to_vec(), Bytes::from_static(b"value")), (vec![0], Bytes::new())];
        let sent = SnapshotChunk::new(SnapshotId { boot: Boot(1), number: 1 }, 0, true, head, &rows);
        assert_eq!(sent.rows(), Ok(rows));
        for bit in 0..sent.rows.len() * 8 {
            let mut bytes = sent.rows.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let arrived = SnapshotChunk { rows: bytes.into(), ..sent.clone() };
            assert!(arrived.rows().is_err(), "bit {bit}");
        }
    }
}
