//! Bugs on purpose. A simulator that finds nothing proves nothing, so each [`Bug`] can be planted, one at a time, and
//! `matrixkv-sim bite` says which seed found it. Only a build with the feature `planted` can plant one; in every
//! other build [`planted`] is a constant `false` and the compiler removes what hangs on it.
//!
//! A bug is planted for the current thread, since the simulator runs each seed on a thread of its own; or, in a real node,
//! for the process.

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident = $name:literal,)*) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Bug { $($(#[$doc])* $bug,)* }

        impl Bug {
            /// All of them.
            pub const ALL: &[Bug] = &[$(Bug::$bug,)*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Bug::$bug => $name,)* }
            }
        }
    };
}

bugs! {
    /// A commit resolves without its sync.
    SkipSync = "skip-sync",
    /// A write is answered when it is proposed.
    AcknowledgeBeforeCommit = "acknowledge-before-commit",
    /// A leader reads without asking anybody whether it still leads.
    ReadWithoutQuorum = "read-without-quorum",
    /// Term and vote are not written.
    ForgetVote = "forget-vote",
    /// After a restart the last entries are applied once more.
    ApplyTwice = "apply-twice-after-restart",
    /// The router repeats a write whose outcome is unknown.
    RetryUnknown = "retry-unknown-write",
    /// A store proposes each copy of a doubled request.
    ProposeDoubled = "propose-doubled-envelope",
    /// An empty folder founds a cluster although a living one made contact.
    FoundTwice = "found-second-cluster",
    /// A command is applied whatever epoch it was proposed for.
    DropEpochCheck = "drop-epoch-check",
    /// A read is answered although the key is another shard's by now: it is checked neither when it is taken in nor in the
    /// view that it is done on.
    DropRangeCheck = "drop-range-check-of-reads",
    /// A message that says "you are removed" is believed whatever its epoch and whichever replica it names.
    HonourAnyDestroy = "honour-any-destroy",
    /// A replica of a shard that Prophet does not know destroys itself.
    ObeyUnknown = "obey-unknown-as-destroy",
    /// A replica that was removed still answers reads, from what it has.
    ReadAfterRemoval = "read-after-removal",
    /// A snapshot is installed with the index before its own.
    SnapshotIndex = "snapshot-without-applied-index",
    /// The vote of a replica that waited for its split is forgotten.
    LoseVoteOnSplit = "lose-vote-on-split",
    /// Prophet's leader hands out ids from where its predecessor began.
    GiveIdTwice = "give-id-twice",
    /// A removed learner is not told, and does not ask.
    LingeringLearner = "lingering-learner",
    /// Stores are declared Down by when they were heard of before the power was lost.
    DownFromSaved = "down-from-saved-heartbeats",
    /// What is applied is on disk one batch before the data are, as in etcd 3.5.
    AppliedAhead = "applied-index-before-its-data",
    /// A replica that was removed and destroyed is born again under its old id, with no memory of its votes, as RethinkDB's
    /// were when a table was reconfigured.
    ComeBack = "removed-replica-comes-back",
    /// That the rows of a destroyed replica are gone is not written down: after a restart they are swept again, and by then
    /// belong to another one, as in TiKV.
    OverlappedDestroy = "destroy-over-a-new-replica",
    /// An order of Prophet's is obeyed whatever membership it was decided on.
    ObeyStale = "stale-operator-obeyed",
    /// A learner counts as a voter for raft from the first, though it has no data.
    PhantomVoter = "phantom-voter",
    /// The read index of a shard goes on counting for the half that was split off, as long as the reader knows of no other
    /// split.
    ReadAcrossSplit = "read-index-kept-across-split",
    /// Of a shard that was split off, each replica whose parent leads when it applies the split takes the first term, and not
    /// just the one whose proposal it was.
    ManyHeirs = "inherit-without-proposing",
    /// A snapshot is put over what a replica had, which stays where nothing new covers it.
    KeepOldRows = "snapshot-over-old-rows",
    /// How long a router waits before it tries again hangs on what comes first out of a hash set, whose keys the thread
    /// drew before the run: within a run madsim answers `getrandom`.
    LeakHashOrder = "leak-hash-order",
    /// It hangs on a counter of the whole process, which other runs count up too.
    LeakCounter = "leak-global-counter",
    /// It hangs on the clock of the host, read before the run: within a run madsim answers `clock_gettime`.
    LeakClock = "leak-real-clock",
}

#[cfg(feature = "planted")]
mod switch {
    use std::{
        cell::Cell,
        hash::RandomState,
        sync::{
            OnceLock,
            atomic::{AtomicU64, Ordering},
        },
        time::{Duration, SystemTime},
    };

    use super::Bug;

    thread_local!(static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) });

    thread_local!(static PLANTED_AT: Cell<Duration> = const { Cell::new(Duration::ZERO) });

    /// That of the whole process.
    static EVERYWHERE: OnceLock<Bug> = OnceLock::new();

    /// Plants `bug` on this thread, in place of an earlier one; before a run, since what leaks into it is from outside.
    #[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "what is forbidden elsewhere is what leaks")]
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
        match bug {
            // The standard library draws the keys once a thread, and keeps them.
            Some(Bug::LeakHashOrder) => drop(RandomState::new()),
            Some(Bug::LeakClock) => PLANTED_AT.set(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()),
            _ => {}
        }
    }

    /// Plants the bug that the environment names in `MATRIXKV_PLANT` on all threads: for a real node.
    #[allow(clippy::disallowed_methods, reason = "the edge of the process, before a node runs")]
    pub fn plant_as_told() -> Result<(), String> {
        let Ok(name) = std::env::var("MATRIXKV_PLANT") else { return Ok(()) };
        let found = Bug::ALL.iter().find(|bug| bug.name() == name);
        let bug = found.ok_or_else(|| format!("MATRIXKV_PLANT: there is no bug {name:?}"))?;
        EVERYWHERE.get_or_init(|| *bug);
        Ok(())
    }

    /// Whether `bug` is planted on this thread, or in this process.
    pub fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug) || EVERYWHERE.get() == Some(&bug)
    }

    /// A little time that no seed decides; none, where no leak is planted.
    #[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "what is forbidden elsewhere is what leaks")]
    pub fn leak() -> Duration {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let nanos = if planted(Bug::LeakHashOrder) {
            (0..64).collect::<std::collections::HashSet<u64>>().into_iter().next().unwrap_or_default()
        } else if planted(Bug::LeakCounter) {
            COUNTER.fetch_add(1, Ordering::Relaxed)
        } else if planted(Bug::LeakClock) {
            u64::from(PLANTED_AT.get().subsec_nanos()) % 1_000_000
        } else {
            0
        };
        Duration::from_nanos(nanos)
    }
}

#[cfg(not(feature = "planted"))]
mod switch {
    use std::time::Duration;

    use super::Bug;

    /// Nothing leaks in this build.
    #[inline(always)]
    pub fn leak() -> Duration {
        Duration::ZERO
    }

    /// Nothing is planted in this build.
    pub fn plant_as_told() -> Result<(), String> {
        Ok(())
    }

    /// Whether `bug` is planted: never in this build.
    #[inline(always)]
    pub fn planted(_bug: Bug) -> bool {
        false
    }
}

pub use switch::*;
