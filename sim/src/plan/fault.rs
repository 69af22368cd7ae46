//! The faults: what may happen to a cluster, each with all that decides how.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{EMPTY_PATIENCE, Kind, OLD_LIFE, Target, span};
use crate::knobs::Links;

/// What an operator moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Move {
    /// A leadership, to a store.
    Leader,
    /// A replica comes to a store.
    Add,
    /// A replica goes from a store.
    Remove,
}

/// A moment of which the facts tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// A leader has proposed a split.
    Proposed,
    /// The first replica, which is its leader's, has applied a split.
    Applied,
    /// A replica has put the first part of a snapshot aside. A small one has no other part.
    Receiving,
    /// A replica has all of a snapshot, and begins to put it in the place of what it had.
    Installing,
    /// A replica's vote for somebody is durable, and on its way.
    Voted,
}

/// What happens to the node at which it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Harm {
    /// Its process dies.
    Kill,
    /// It loses power.
    PowerLoss,
    /// It stands still.
    Pause,
    /// It and the others do not hear each other.
    Isolate,
    /// Its disk stands still.
    DiskStall,
}

/// What is wrong with the rows of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// The replica's row does not decode: nobody knows which replica it was.
    Row,
    /// An entry of its log does not decode.
    Entry,
    /// Its row says what cannot be, and an assertion fails when it is opened.
    Contradiction,
}

/// Which bytes of a node's files a bit flips in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Any of a file: mostly what nobody reads again.
    #[default]
    Any,
    /// Those that hold an entry of a replica's log.
    Log,
    /// Those that hold a row of a replica's data.
    Data,
    /// Those in use of the journal of Prophet's file, on a node that is a member of Prophet's. Random plans do not draw it.
    ProphetJournal,
}

/// Who connects to a node and is no peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stranger {
    /// A node of another cluster.
    Cluster,
    /// One that speaks another version of the protocol.
    Protocol,
    /// One whose connection is reset in the middle of its first words.
    HalfFrame,
}

/// What a disk is asked when it errs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// To read, just after the process was started again: later reads are answered from memory.
    Read,
    /// To write, to sync, or to change a name.
    Change,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The node is asked to stop, and started again.
    Restart {
        /// Which node.
        node: Target,
        /// How long it is away.
        #[serde(with = "span")]
        down: Duration,
    },
    /// The process dies; what it gave to the operating system survives.
    Kill {
        /// Which node.
        node: Target,
        /// How long it is away.
        #[serde(with = "span")]
        down: Duration,
    },
    /// The process dies again and again, soon after each start.
    KillLoop {
        /// Which node.
        node: Target,
        /// How long it lives each time.
        #[serde(with = "span::many")]
        lives: Vec<Duration>,
    },
    /// The node loses power: unsynced writes are lost, kept or torn.
    PowerLoss {
        /// Which node.
        node: Target,
        /// How long it is away.
        #[serde(with = "span")]
        down: Duration,
    },
    /// All nodes lose power at once; each comes back after a time of its own.
    PowerLossAll {
        /// How long each is away.
        #[serde(with = "span::many")]
        down: Vec<Duration>,
    },
    /// The node loses power inside one of its next disk operations.
    ArmedCrash {
        /// Which node.
        node: Target,
        /// Inside which operation from now.
        operation: u64,
        /// How long it is away.
        #[serde(with = "span")]
        down: Duration,
    },
    /// The process stands still.
    Pause {
        /// Which node.
        node: Target,
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// Two nodes do not hear each other.
    CutPair {
        /// One.
        a: usize,
        /// The other.
        b: usize,
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// One node does not hear another, which hears it.
    CutOneWay {
        /// Whose envelopes are lost.
        from: usize,
        /// Who misses them.
        to: usize,
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// One node and the others do not hear each other; clients still reach it.
    Isolate {
        /// Which node.
        node: Target,
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// Two sides do not hear each other.
    Split {
        /// One side; the other nodes are the other one.
        side: Vec<usize>,
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// Every connection between two nodes breaks, in the midst of what is under way; it may be made anew at once.
    Reset {
        /// One.
        a: usize,
        /// The other.
        b: usize,
    },
    /// All links get worse.
    Links {
        /// As what this is counted.
        kind: Kind,
        /// How envelopes travel meanwhile.
        links: Links,
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// No operation of the disk ends.
    DiskStall {
        /// Which node.
        node: Target,
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// Each operation of the disk takes long.
    SlowDisk {
        /// Which node.
        node: Target,
        /// How long each operation takes.
        #[serde(with = "span")]
        latency: Duration,
        /// For how long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// The process dies, one of its replicas is damaged, and it starts again.
    Damage {
        /// Which node.
        node: Target,
        /// The number picks the replica.
        group: u64,
        /// How.
        what: Damage,
    },
    /// Nodes are cut off one by one, and taken back one by one in another order.
    Swizzle {
        /// Which, in the order of being cut off.
        order: Vec<usize>,
        /// The same ones, in the order of coming back.
        back: Vec<usize>,
        /// Between one and the next.
        #[serde(with = "span")]
        every: Duration,
    },
    /// Two nodes do not hear each other, do, do not, and so on.
    Flapping {
        /// One.
        a: usize,
        /// The other.
        b: usize,
        /// How long they hear each other, and how long they do not.
        #[serde(with = "span")]
        every: Duration,
        /// How long all of it.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// One link gets worse, in one direction.
    BadLink {
        /// Whose envelopes suffer.
        from: usize,
        /// On their way to whom.
        to: usize,
        /// How they travel meanwhile.
        links: Links,
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// A node's clock jumps ahead.
    ClockJump {
        /// Which node.
        node: Target,
        /// By how much.
        #[serde(with = "span")]
        by: Duration,
    },
    /// A node's clock runs wrong.
    ClockDrift {
        /// Which node.
        node: Target,
        /// How many millionths too fast, or too slow if below zero.
        millionths: i32,
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// A node's clock stands still, and so do its timers; whatever comes in is answered.
    ClockFreeze {
        /// Which node.
        node: Target,
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// One operation of the disk fails. The node must stop, and is started again.
    DiskError {
        /// Which node.
        node: Target,
        /// What it is asked.
        on: Access,
        /// Which of the next operations.
        operation: u64,
        /// How long it is away.
        #[serde(with = "span")]
        down: Duration,
    },
    /// The disk is nearly full.
    DiskFull {
        /// Which node.
        node: Target,
        /// Bytes that are left.
        left: u64,
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// The process dies, one bit of its files changes, and it starts again. Whatever it reads of that must be noticed; then
    /// it stays out for good.
    BitFlip {
        /// Which node.
        node: Target,
        /// Where.
        #[serde(default)]
        part: Part,
    },
    /// All clients ask without a pause, while all disks are slow.
    Overload {
        /// How long an operation of a disk takes.
        #[serde(with = "span")]
        latency: Duration,
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// An operator splits the shard of a key there.
    SplitAt {
        /// Which of the clients' keys.
        key: usize,
    },
    /// Waits for the next such moment, and harms the node at which it comes.
    AtMoment {
        /// Which.
        moment: Moment,
        /// How long after it.
        #[serde(with = "span")]
        delay: Duration,
        /// What happens.
        harm: Harm,
        /// How long it lasts.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// Waits for the next such moment; then all clients that are not waiting for an answer ask at once.
    Rush {
        /// Which.
        moment: Moment,
        /// How long after it.
        #[serde(with = "span")]
        delay: Duration,
    },
    /// An operator moves a leadership or a replica.
    Move {
        /// What.
        what: Move,
        /// The number picks the shard.
        group: u64,
        /// To, or from, the store of this node.
        node: usize,
    },
    /// An operator drains the store of a node, and takes it back.
    Drain {
        /// Which node.
        node: usize,
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// A node comes back with an empty folder. A member of Prophet must refuse, the first one to found a second cluster, and
    /// stays out; a store is a new one.
    EmptyFolder {
        /// Which node.
        #[serde(default)]
        node: usize,
        /// How long it is away.
        #[serde(with = "span")]
        down: Duration,
    },
    /// The process dies, its folder is copied, and it starts again; then the power goes, and it comes back with the copy, which
    /// comes to a life of the same number. Nobody may listen to it, and it is taken away.
    OldFolder {
        /// Which node.
        node: usize,
        /// How long it is away, each time.
        #[serde(with = "span")]
        down: Duration,
    },
    /// Somebody who is no peer connects to where the nodes of the cluster talk to each other. It is refused, and nothing
    /// changes. Where envelopes travel one by one there is nothing to connect to.
    Stranger {
        /// Which node.
        node: usize,
        /// What is wrong with it.
        who: Stranger,
    },
}

impl Fault {
    /// As what it is counted.
    pub fn kind(&self) -> Kind {
        match self {
            Fault::Restart { .. } => Kind::Restart,
            Fault::Kill { node: Target::Node(_), .. } => Kind::Kill,
            Fault::Kill { .. } => Kind::KillLeader,
            Fault::KillLoop { .. } => Kind::KillLoop,
            Fault::PowerLoss { .. } => Kind::PowerLoss,
            Fault::PowerLossAll { .. } => Kind::PowerLossAll,
            Fault::ArmedCrash { .. } => Kind::ArmedCrash,
            Fault::Pause { .. } => Kind::Pause,
            Fault::CutPair { .. } => Kind::CutPair,
            Fault::CutOneWay { .. } => Kind::CutOneWay,
            Fault::Isolate { node: Target::Node(_), .. } => Kind::Isolate,
            Fault::Isolate { .. } => Kind::CutLeader,
            Fault::Split { .. } => Kind::Split,
            Fault::Reset { .. } => Kind::Reset,
            Fault::AtMoment { .. } => Kind::AtMoment,
            Fault::Rush { .. } => Kind::Rush,
            Fault::Links { kind, .. } => *kind,
            Fault::DiskStall { .. } => Kind::DiskStall,
            Fault::SlowDisk { .. } => Kind::SlowDisk,
            Fault::Damage { .. } => Kind::Damage,
            Fault::Swizzle { .. } => Kind::Swizzle,
            Fault::Flapping { .. } => Kind::Flapping,
            Fault::BadLink { .. } => Kind::BadLink,
            Fault::ClockJump { .. } => Kind::ClockJump,
            Fault::ClockDrift { .. } => Kind::ClockDrift,
            Fault::ClockFreeze { .. } => Kind::ClockFreeze,
            Fault::DiskError { .. } => Kind::DiskError,
            Fault::DiskFull { .. } => Kind::DiskFull,
            Fault::BitFlip { .. } => Kind::BitFlip,
            Fault::Overload { .. } => Kind::Overload,
            Fault::SplitAt { .. } => Kind::SplitAt,
            Fault::Move { what: Move::Leader, .. } => Kind::TransferLeader,
            Fault::Move { what: Move::Add, .. } => Kind::AddReplica,
            Fault::Move { what: Move::Remove, .. } => Kind::RemoveReplica,
            Fault::Drain { .. } => Kind::Drain,
            Fault::EmptyFolder { .. } => Kind::EmptyFolder,
            Fault::OldFolder { .. } => Kind::OldFolder,
            Fault::Stranger { .. } => Kind::Stranger,
        }
    }

    /// Whether it waits for an occasion, so that nobody knows when it happens.
    pub fn waits(&self) -> bool {
        matches!(self, Fault::AtMoment { .. } | Fault::Rush { .. })
    }

    /// Whether a node loses its folder for good.
    pub fn loses_a_folder(&self) -> bool {
        matches!(self, Fault::EmptyFolder { .. } | Fault::OldFolder { .. })
    }

    /// How long it lasts, as planned.
    pub fn lasts(&self) -> Duration {
        match self {
            Fault::Restart { down, .. }
            | Fault::Kill { down, .. }
            | Fault::PowerLoss { down, .. }
            | Fault::ArmedCrash { down, .. }
            | Fault::DiskError { down, .. }
            | Fault::EmptyFolder { down, .. } => *down,
            Fault::OldFolder { down, .. } => *down * 2 + OLD_LIFE + EMPTY_PATIENCE,
            Fault::Swizzle { order, every, .. } => *every * order.len() as u32 * 2,
            Fault::KillLoop { lives, .. } => lives.iter().sum::<Duration>() * 2,
            Fault::SplitAt { .. }
            | Fault::Move { .. }
            | Fault::Reset { .. }
            | Fault::Rush { .. }
            | Fault::BitFlip { .. }
            | Fault::ClockJump { .. }
            | Fault::Stranger { .. }
            | Fault::Damage { .. } => Duration::ZERO,
            Fault::PowerLossAll { down } => down.iter().max().copied().unwrap_or_default(),
            Fault::Pause { lasts, .. }
            | Fault::CutPair { lasts, .. }
            | Fault::CutOneWay { lasts, .. }
            | Fault::Isolate { lasts, .. }
            | Fault::Split { lasts, .. }
            | Fault::Links { lasts, .. }
            | Fault::DiskStall { lasts, .. }
            | Fault::Drain { lasts, .. }
            | Fault::AtMoment { lasts, .. }
            | Fault::SlowDisk { lasts, .. }
            | Fault::Flapping { lasts, .. }
            | Fault::BadLink { lasts, .. }
            | Fault::ClockDrift { lasts, .. }
            | Fault::ClockFreeze { lasts, .. }
            | Fault::DiskFull { lasts, .. }
            | Fault::Overload { lasts, .. } => *lasts,
        }
    }
}
