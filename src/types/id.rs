//! Ids. Each is a type of its own, so that two of them are never both `u64`. Zero means "not yet known".

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Not yet known, or none.
            pub const NONE: Self = Self(0);

            /// Whether this is [`Self::NONE`].
            pub fn is_none(self) -> bool {
                self == Self::NONE
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A shard, and the raft group that replicates it. Given by Prophet, never twice.
    ShardId, "shard-"
);
id!(
    /// A store: what one node keeps on its disk. Given by Prophet at the first registration, never twice.
    StoreId, "store-"
);
id!(
    /// A replica of a shard (or a member of Prophet's group). Never reused: a replica that was removed and added
    /// again on the same store has another id, which is how late messages are told apart.
    ReplicaId, "replica-"
);
id!(
    /// A cluster, drawn once by the Prophet node that founded it.
    ClusterId, "cluster-"
);
id!(
    /// A data folder, drawn once when it was created. Survives restarts; a folder that was lost comes back with
    /// another token, an old copy with the same token and a lower [`Boot`].
    NodeToken, "node-"
);
id!(
    /// The durable number of a start of a node. Each start raises it, so that what was addressed to an earlier life
    /// is told apart.
    Boot, "boot-"
);
id!(
    /// A request between nodes, unique within one boot of the asking node.
    CallId, "call-"
);

impl ShardId {
    /// The group of Prophet's metadata. It lives in an engine of its own, so it cannot meet a shard.
    pub const METADATA: ShardId = ShardId(0);
}
