//! The tables and how their keys are made. Keys are bytes and sort as bytes.

use redb::TableDefinition;

use crate::types::ShardId;

/// A table. `Log` and `Hard` are a batch's log part, the others its data part: a later version may keep the log part
/// in a file of its own. The journal names a table by its place here: new ones come last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Table {
    /// Raft entries, by [`log_key`].
    Log,
    /// Term, vote and commit of each group, by [`group_key`].
    Hard,
    /// Applied index, membership and the machine's own row of each group, by [`group_key`].
    Group,
    /// Which replica ids of a shard may never come back, by [`group_key`].
    Tomb,
    /// Ranges whose rows nobody owns any more, by shard and replica.
    Garbage,
    /// Rows of snapshots that are being received, by [`stage_key`].
    Stage,
    /// Snapshots that have been received and are being installed, by [`group_key`].
    Install,
    /// The users' keys (in the store's engine), metadata rows (in Prophet's).
    Data,
    /// What the node itself remembers: format, identity, addresses.
    Meta,
}

impl Table {
    /// All of them.
    pub const ALL: [Table; 9] = [
        Table::Log,
        Table::Hard,
        Table::Group,
        Table::Tomb,
        Table::Garbage,
        Table::Stage,
        Table::Install,
        Table::Data,
        Table::Meta,
    ];

    pub(super) fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(match self {
            Table::Log => "log",
            Table::Hard => "hard",
            Table::Group => "group",
            Table::Tomb => "tomb",
            Table::Garbage => "garbage",
            Table::Stage => "stage",
            Table::Install => "install",
            Table::Data => "data",
            Table::Meta => "meta",
        })
    }
}

/// The key of a group's row in `Hard` and `Group`.
pub fn group_key(shard: ShardId) -> Vec<u8> {
    shard.0.to_be_bytes().to_vec()
}

/// The key of an entry in `Log`: entries of a group lie together, in order.
pub fn log_key(shard: ShardId, index: u64) -> Vec<u8> {
    [shard.0.to_be_bytes(), index.to_be_bytes()].concat()
}

/// The key of a row that was put aside under the number `stage`: the rows of a snapshot lie together, in order.
pub fn stage_key(stage: u64, key: &[u8]) -> Vec<u8> {
    [&stage.to_be_bytes(), key].concat()
}
