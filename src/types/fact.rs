//! What the machines did, said aloud. The server drops facts; the simulator hashes them into the trace and checks
//! its invariants on them (FAULTS: E, M, A, R).

use std::time::Duration;

use super::{ReplicaId, Shard, ShardId, StoreId};

/// Something that happened inside a raft group, or on the way of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// A replica was opened from disk, or created. Everything else is what its disk says.
    Opened {
        /// The group.
        shard: ShardId,
        /// The replica.
        replica: ReplicaId,
        /// The applied index that its disk knows.
        index: u64,
        /// The rolling hash that was stored with it.
        rolling: u64,
        /// Its durable term.
        term: u64,
        /// Whom it voted for in that term; none if for nobody.
        vote: ReplicaId,
    },
    /// A replica's term, or its vote in that term, is another one, and durable.
    Voted {
        /// The group.
        shard: ShardId,
        /// The replica.
        replica: ReplicaId,
        /// Its term.
        term: u64,
        /// Whom it voted for in that term; none if for nobody.
        vote: ReplicaId,
    },
    /// A replica won an election.
    BecameLeader {
        /// The group.
        shard: ShardId,
        /// The replica.
        replica: ReplicaId,
        /// The term that it leads.
        term: u64,
    },
    /// A leader leads no more, because no round of its heartbeats was answered in time.
    GaveUp {
        /// The group.
        shard: ShardId,
        /// The replica.
        replica: ReplicaId,
        /// The term that it led.
        term: u64,
    },
    /// A leader has nothing to do, and stops ticking.
    WentQuiet {
        /// The group.
        shard: ShardId,
        /// The replica.
        replica: ReplicaId,
    },
    /// A committed entry was applied.
    Applied {
        /// The group.
        shard: ShardId,
        /// The replica.
        replica: ReplicaId,
        /// The entry's index.
        index: u64,
        /// The entry's term.
        term: u64,
        /// The hash over all entries applied so far.
        rolling: u64,
        /// The hash of data and descriptor after it.
        data: u64,
    },
    /// All of a snapshot was put aside, and the replica's data begin to be replaced by it.
    Installing {
        /// The group.
        shard: ShardId,
        /// The replica.
        replica: ReplicaId,
        /// The snapshot's index.
        index: u64,
    },
    /// A snapshot replaced the replica's data.
    Installed {
        /// The group.
        shard: ShardId,
        /// The replica.
        replica: ReplicaId,
        /// The snapshot's index.
        index: u64,
        /// The rolling hash at that index.
        rolling: u64,
        /// The hash of data and descriptor.
        data: u64,
    },
    /// A chunk of a snapshot was put aside.
    Staged {
        /// The group.
        shard: ShardId,
        /// The replica.
        replica: ReplicaId,
        /// The chunk's number.
        chunk: u32,
    },
    /// A replica's descriptor is another one now: its membership changed, or a snapshot brought it.
    Described {
        /// The replica.
        replica: ReplicaId,
        /// The descriptor from now on.
        shard: Shard,
        /// Those that raft counts the votes of; `None` where the membership has changed again in the same turn.
        voters: Option<Vec<ReplicaId>>,
    },
    /// A leader proposed a split of its shard.
    SplitProposed {
        /// The shard.
        shard: ShardId,
    },
    /// A replica applied a split of its shard.
    Split {
        /// The replica.
        replica: ReplicaId,
        /// What its shard is from now on.
        left: Shard,
        /// The new shard, which takes what is right of it.
        right: Shard,
    },
    /// A replica is no more: its store holds nothing of it but the promise never to bring it back.
    Destroyed {
        /// The group.
        shard: ShardId,
        /// The replica.
        replica: ReplicaId,
    },
    /// Prophet's leader wants it decided that a store is Down.
    HeldDown {
        /// The store.
        store: StoreId,
        /// For how long this member has led, by its own clock: nobody is silent for longer.
        led_for: Duration,
    },
    /// A replica is out of service: its rows do not read, or it contradicted itself.
    Quarantined {
        /// The group.
        shard: ShardId,
        /// The replica; none if its row does not say.
        replica: ReplicaId,
        /// What is wrong.
        why: String,
    },
    /// Something came too late, twice or too early, and the rule for it was followed.
    Untimely {
        /// The shard that it is about.
        shard: ShardId,
        /// What came.
        what: Untimely,
    },
    /// A decision worth a line in the trace, such as an operator of Prophet's or a store's registration.
    Decision(String),
    /// Something done to a disk.
    Disk(DiskFact),
}

/// What came at another time than it was meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Untimely {
    /// A request for another version of its shard's range: it is refused, and taught the ranges of now.
    Route,
    /// A request whose envelope came before, or is of an earlier life of its sender: it is not carried out.
    Double,
    /// An order of Prophet's for a membership that has changed since: it is void.
    Order,
    /// A message of a replica that its shard has removed: the sender is told so.
    Removed,
    /// A message for a replica that was destroyed, or for one before it: it is dropped.
    Destroyed,
    /// A message for a replica that is not there yet: it waits, where there is room.
    Unborn,
}

/// What was asked of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DiskFact {
    /// A commit ended, and is durable if it must be: how many bytes it carried.
    Committed {
        /// Bytes of keys and values that were put, and of keys that were deleted.
        bytes: u64,
    },
    /// The disk gave an error; the node stops.
    Failed(String),
}
