//! The faults of a run as a list: what, when, for how long. A seed expands to it before anything runs, so that it can
//! be printed, written by hand (a named scenario), or cut down to the part that matters.
//!
//! A run has two phases: *safety* (any fault of the plan, unavailability is fine), then everything is healed at
//! [`Plan::heal_at`] and *convergence* is demanded.
//!
//! What a plan may do, so that the demands can be met:
//! - any number of nodes may die, lose power or be cut off at once: whatever was acknowledged is synced on a majority,
//!   so even a power cut of all nodes loses none of it;
//! - every fault ends by itself or at [`Plan::heal_at`];
//! - one node at most loses its folder for good ([`Fault::EmptyFolder`]): not before each shard and Prophet's group
//!   have all their voters, and nothing else goes on from a moment before until its owner must have been contacted by
//!   the living cluster ([`Plan::quiet`]). With three replicas a majority of everything survives it;
//! - one replica at a time is damaged ([`Fault::Damage`]), when each shard has all its voters, and not in a plan that
//!   takes other voters away for good;
//! - a fault that meets a node that is already down does nothing, and is counted as skipped.

mod draw;
pub mod file;
mod kind;
pub mod profile;
pub mod script;
pub(crate) mod span;

use std::{fmt, str::FromStr, time::Duration};

pub use kind::Kind;
pub use profile::Profile;
pub use script::{Act, Script, Step};
use serde::{Deserialize, Serialize};

use crate::knobs::Links;

/// By when a living cluster must have contacted a node with an empty folder, beyond the time that the node itself waits:
/// the slowest reconnect, doubled.
pub const CONTACT_MARGIN: Duration = Duration::from_secs(6);

/// How long [`Fault::EmptyFolder`] waits for a moment in which everything has all its voters.
pub const EMPTY_PATIENCE: Duration = Duration::from_secs(3);

/// A node that a fault is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// This one.
    Node(usize),
    /// The one that leads some group at that moment: the number picks the group.
    Leader(u64),
    /// The one that leads Prophet's metadata group at that moment.
    ProphetLeader,
}

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
    /// A replica has all of a snapshot, and begins to put it in the place of what it had.
    Installing,
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
    /// The first Prophet node comes back with an empty folder. It must refuse to found a second cluster, and stays out.
    EmptyFolder {
        /// How long it is away.
        #[serde(with = "span")]
        down: Duration,
    },
}

/// A fault and its moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// Since the start of the run.
    #[serde(with = "span")]
    pub at: Duration,
    /// What happens.
    #[serde(flatten)]
    pub fault: Fault,
}

/// A stretch of time without any other fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// Its start.
    pub from: Duration,
    /// Its end.
    pub until: Duration,
}

/// A stretch of time in which every key must be read and written, whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    /// Its start.
    #[serde(with = "span")]
    pub from: Duration,
    /// Its end.
    #[serde(with = "span")]
    pub until: Duration,
}

/// All faults of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Ascending by time.
    pub faults: Vec<Timed>,
    /// When progress is demanded although faults go on. Random plans demand none.
    pub serving: Vec<Serving>,
    /// What the clients ask; without, they throw dice for it.
    pub scripts: Option<Vec<Script>>,
    /// When everything is healed for good.
    pub heal_at: Duration,
    /// When the clients stop.
    pub end_at: Duration,
}

impl Plan {
    /// A plan without any fault.
    pub fn empty(length: Duration) -> Self {
        let (heal_at, end_at) = (length * 3 / 4, length);
        Self { faults: Vec::new(), serving: Vec::new(), scripts: None, heal_at, end_at }
    }

    /// This plan with one more fault, at `at`.
    pub fn with(mut self, at: Duration, fault: Fault) -> Self {
        self.faults.push(Timed { at, fault });
        self.faults.sort_by_key(|timed| timed.at);
        self
    }

    /// This plan with the demand that every key is read and written between `from` and `until`.
    pub fn must_serve(mut self, from: Duration, until: Duration) -> Self {
        assert!(from < until, "time goes forward");
        self.serving.push(Serving { from, until });
        self
    }

    /// How many requests it lists, if it lists them.
    pub fn requests(&self) -> Option<usize> {
        self.scripts.as_ref().map(|scripts| scripts.iter().map(|script| script.asks.len()).sum())
    }

    /// How long the longest fault lasts.
    pub fn longest_down(&self) -> Duration {
        self.faults.iter().map(|timed| timed.fault.lasts()).max().unwrap_or_default()
    }
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
            Fault::SplitAt { .. } => Kind::SplitAt,
            Fault::Move { what: Move::Leader, .. } => Kind::TransferLeader,
            Fault::Move { what: Move::Add, .. } => Kind::AddReplica,
            Fault::Move { what: Move::Remove, .. } => Kind::RemoveReplica,
            Fault::Drain { .. } => Kind::Drain,
            Fault::EmptyFolder { .. } => Kind::EmptyFolder,
        }
    }

    /// Whether it waits for an occasion, so that nobody knows when it happens.
    pub fn waits(&self) -> bool {
        matches!(self, Fault::AtMoment { .. } | Fault::Rush { .. })
    }

    /// How long it lasts, as planned.
    pub fn lasts(&self) -> Duration {
        match self {
            Fault::Restart { down, .. }
            | Fault::Kill { down, .. }
            | Fault::PowerLoss { down, .. }
            | Fault::ArmedCrash { down, .. }
            | Fault::EmptyFolder { down } => *down,
            Fault::KillLoop { lives, .. } => lives.iter().sum::<Duration>() * 2,
            Fault::SplitAt { .. }
            | Fault::Move { .. }
            | Fault::Reset { .. }
            | Fault::Rush { .. }
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
            | Fault::SlowDisk { lasts, .. } => *lasts,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(node) => write!(f, "node{node}"),
            Target::Leader(group) => write!(f, "leader of group {group}"),
            Target::ProphetLeader => write!(f, "leader of Prophet"),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let node = text.strip_prefix("node").and_then(|number| number.parse().ok()).map(Target::Node);
        let leader = text.strip_prefix("leader of group ").and_then(|number| number.parse().ok()).map(Target::Leader);
        let prophet = (text == "leader of Prophet").then_some(Target::ProphetLeader);
        let example = "\"node2\", \"leader of group 5\" or \"leader of Prophet\"";
        node.or(leader).or(prophet).ok_or_else(|| format!("{text:?} is none of {example}"))
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<14} ", self.kind().name())?;
        match self {
            Fault::Restart { node, .. }
            | Fault::Kill { node, .. }
            | Fault::PowerLoss { node, .. }
            | Fault::Pause { node, .. }
            | Fault::Isolate { node, .. }
            | Fault::DiskStall { node, .. } => write!(f, "{node}")?,
            Fault::KillLoop { node, lives } => write!(f, "{node}, lives {lives:?}")?,
            Fault::PowerLossAll { down } => write!(f, "back after {down:?}")?,
            Fault::ArmedCrash { node, operation, .. } => write!(f, "{node}, inside disk operation {operation}")?,
            Fault::CutPair { a, b, .. } => write!(f, "node{a} | node{b}")?,
            Fault::CutOneWay { from, to, .. } => write!(f, "node{from} -x-> node{to}")?,
            Fault::Split { side, .. } => write!(f, "nodes {side:?} | the others")?,
            Fault::Reset { a, b } => write!(f, "node{a} | node{b}")?,
            Fault::Links { links, .. } => write!(f, "{links}")?,
            Fault::SlowDisk { node, latency, .. } => write!(f, "{node}, {latency:?} an operation")?,
            Fault::Damage { node, group, what } => write!(f, "{what:?} of replica {group} on {node}")?,
            Fault::SplitAt { key } => write!(f, "at key {key}")?,
            Fault::AtMoment { moment, delay, harm, .. } => write!(f, "{harm:?} {delay:?} after {moment:?}")?,
            Fault::Rush { moment, delay } => write!(f, "{delay:?} after {moment:?}")?,
            Fault::Move { group, node, .. } => write!(f, "group {group}, node{node}")?,
            Fault::Drain { node, .. } => write!(f, "node{node}")?,
            Fault::EmptyFolder { .. } => write!(f, "node0")?,
        }
        write!(f, ", for {:?}", self.lasts())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Timed { at, fault } in &self.faults {
            writeln!(f, "  {:>9.3}s {fault}", at.as_secs_f64())?;
        }
        if let Some(requests) = self.requests() {
            writeln!(f, "  {requests} requests, one by one")?;
        }
        writeln!(f, "  {:>9.3}s all is healed", self.heal_at.as_secs_f64())?;
        write!(f, "  {:>9.3}s the clients stop", self.end_at.as_secs_f64())
    }
}
