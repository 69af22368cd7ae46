//! The kinds of faults, for counting: a sweep in which one of them never happened has not tested it.

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
        pub enum Kind { $($(#[$doc])* #[serde(rename = $name)] $kind,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// Its name in prints and counters.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    /// A node stops in an orderly way and starts again.
    Restart = "restart",
    /// A process dies.
    Kill = "kill",
    /// The process that leads some group dies.
    KillLeader = "kill-leader",
    /// A process dies again and again.
    KillLoop = "kill-loop",
    /// A node loses power.
    PowerLoss = "power-loss",
    /// All nodes lose power at once.
    PowerLossAll = "power-loss-all",
    /// A node loses power inside a disk operation.
    ArmedCrash = "armed-crash",
    /// A process stands still.
    Pause = "pause",
    /// Two nodes do not hear each other.
    CutPair = "cut-pair",
    /// A node does not hear another one.
    CutOneWay = "cut-one-way",
    /// A node is cut off from all others.
    Isolate = "isolate",
    /// The node that leads some group is cut off, with its clients.
    CutLeader = "cut-leader",
    /// Two sides do not hear each other.
    Split = "split",
    /// The connections between two nodes break.
    Reset = "reset",
    /// Envelopes are lost.
    Loss = "loss",
    /// Envelopes take long.
    Delay = "delay",
    /// Envelopes arrive twice.
    Duplicate = "duplicate",
    /// Envelopes overtake each other.
    Reorder = "reorder",
    /// A disk stands still.
    DiskStall = "disk-stall",
    /// A disk is slow.
    SlowDisk = "slow-disk",
    /// One replica is damaged on the disk of a node that does not run.
    Damage = "damage",
    /// An operator splits a shard.
    SplitAt = "split-at",
    /// Something happens to the node at which a certain moment comes.
    AtMoment = "at-moment",
    /// All clients ask at once when a shard is just being split.
    Rush = "rush",
    /// An operator moves a leadership.
    TransferLeader = "transfer-leader",
    /// An operator adds a replica.
    AddReplica = "add-replica",
    /// An operator removes a replica.
    RemoveReplica = "remove-replica",
    /// An operator drains a store.
    Drain = "drain",
    /// Nodes are cut off one by one and come back in another order.
    Swizzle = "swizzle",
    /// A link comes and goes.
    Flapping = "flapping",
    /// One direction of one link gets worse.
    BadLink = "bad-link",
    /// A clock jumps ahead.
    ClockJump = "clock-jump",
    /// A clock runs too fast or too slow.
    ClockDrift = "clock-drift",
    /// A clock stands still.
    ClockFreeze = "clock-freeze",
    /// An operation of a disk fails.
    DiskError = "disk-error",
    /// A disk is nearly full.
    DiskFull = "disk-full",
    /// A bit flips at rest.
    BitFlip = "bit-flip",
    /// All clients ask all the time while disks are slow.
    Overload = "overload",
    /// A node comes back with an empty folder.
    EmptyFolder = "empty-folder",
    /// A node comes back with an old copy of its folder.
    OldFolder = "old-folder",
    /// Somebody who is no peer connects to a node.
    Stranger = "stranger",
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
