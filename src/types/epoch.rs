//! A shard's epoch: two counters that say which past a message speaks of (TiKV's RegionEpoch).

use std::fmt;

use serde::{Deserialize, Serialize};

/// `conf_ver` grows with each membership change, `version` with each change of the key range. Both only grow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Epoch {
    /// Raised by each membership change.
    pub conf_ver: u64,
    /// Raised by each split.
    pub version: u64,
}

impl Epoch {
    /// The epoch of a shard that was just created.
    pub const FIRST: Epoch = Epoch { conf_ver: 1, version: 1 };

    /// Of a replica that has no descriptor yet.
    pub const NONE: Epoch = Epoch { conf_ver: 0, version: 0 };

    /// Whether `self` is older than `other` in either counter: what it says may be outdated.
    pub fn is_older_than(self, other: Epoch) -> bool {
        self.conf_ver < other.conf_ver || self.version < other.version
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.conf_ver, self.version)
    }
}
