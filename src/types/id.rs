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
/// A life of a node: the durable number of its start, which each start raises, so that what was addressed to an earlier life
/// is told apart; and dice thrown at that start. Two copies of one folder come to the same number, and not to the same dice.
///
/// The number is in the low 32 bits, the dice are the [`Boot::DICE_BITS`] above, so that all of it is exact as a JSON number.
/// Lives are in the order of their numbers; which of two with one number is the later one nobody knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Boot(pub u64);

id!(
    /// A request between nodes, unique within one boot of the asking node.
    CallId, "call-"
);

impl Boot {
    /// Not yet known, or none.
    pub const NONE: Self = Self(0);

    /// Bits of dice.
    pub const DICE_BITS: u32 = 20;

    /// Whether this is [`Self::NONE`].
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// The life after this one; `dice` are any number.
    pub fn next(self, dice: u64) -> Boot {
        let dice = dice & ((1 << Self::DICE_BITS) - 1);
        Boot(dice << 32 | u64::from(self.number() + 1))
    }

    /// How many lives there were, with this one.
    pub fn number(self) -> u32 {
        self.0 as u32
    }

    /// Whether a folder that was heard of in the life `heard` may come to this one: it is that one or a later one. Another
    /// life of the same number is a copy's.
    pub fn may_follow(self, heard: Boot) -> bool {
        self == heard || self.number() > heard.number()
    }

    fn rank(self) -> (u32, u64) {
        (self.number(), self.0)
    }
}

impl Ord for Boot {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Boot {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 32 {
            0 => write!(f, "boot-{}", self.number()),
            dice => write!(f, "boot-{}/{dice:x}", self.number()),
        }
    }
}

impl fmt::Debug for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ShardId {
    /// The group of Prophet's metadata. It lives in an engine of its own, so it cannot meet a shard.
    pub const METADATA: ShardId = ShardId(0);
}

#[cfg(test)]
mod tests {
    use super::Boot;

    #[test]
    fn a_copy_comes_to_the_same_number_and_is_told_apart() {
        let copied = Boot(7);
        let (real, copy) = (copied.next(1), copied.next(u64::MAX));
        assert_eq!((real.number(), copy.number()), (8, 8));
        assert!(real > copied && real.may_follow(copied) && real.may_follow(real));
        assert!(!copy.may_follow(real) && !real.may_follow(copy) && !copied.may_follow(real));
        assert!(real.next(5).may_follow(copy) && real.next(5) > copy);
        assert_eq!((copied.to_string(), real.to_string()), ("boot-7".into(), "boot-8/1".into()));
        assert!(copy.0 < 1 << 53, "a JSON number holds it");
    }
}
