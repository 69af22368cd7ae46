//! What stands behind all handles to one disk: files, power, and the faults that wait for their moment.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use matrixkv::types::Rng;

use super::{DiskCounters, names::Names};
use crate::env::{Trace, time};

/// Bytes of a disk, unless said otherwise.
pub(super) const CAPACITY: u64 = 1 << 40;

/// How long an operation takes, unless said otherwise.
const LATENCY: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(2));

/// What a disk does. Power may be lost inside each of these, but for a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    Create,
    Write { offset: u64, bytes: u64 },
    SetLen { len: u64 },
    Sync,
    Rename,
    Remove,
    SyncDir,
    Read,
}

/// What else loses power with the disk.
pub(super) type Alarm = Box<dyn FnOnce() + Send>;

pub(super) struct Machine {
    pub(super) node: usize,
    pub(super) trace: Trace,
    pub(super) names: Names,
    pub(super) locks: BTreeMap<PathBuf, u64>,
    /// Handles of another generation are of a dead process.
    pub(super) generation: u64,
    /// Power was lost inside an operation, and nobody revived the disk since.
    pub(super) crashed: bool,
    /// Operations until power is lost, or until one fails.
    pub(super) crash_in: Option<u64>,
    pub(super) error_in: Option<u64>,
    pub(super) read_error_in: Option<u64>,
    /// An operation failed, and nobody revived the disk since.
    pub(super) failed: bool,
    pub(super) latency: (Duration, Duration),
    /// The last stall, also when it is over.
    pub(super) stalled_from: u64,
    pub(super) stalled_until: u64,
    pub(super) capacity: u64,
    pub(super) counters: DiskCounters,
    /// What is read, if somebody wants to know: of which file, offset and bytes.
    pub(super) reads: Option<Vec<(PathBuf, u64, u64)>>,
    /// Is told when power is lost inside an operation.
    pub(super) alarm: Option<Alarm>,
    /// Each fault has dice of its own.
    latency_rng: Rng,
    power_rng: Rng,
    pub(super) flip_rng: Rng,
}

impl Machine {
    pub(super) fn new(node: usize, trace: Trace, mut rng: Rng) -> Self {
        Machine {
            node,
            trace,
            names: Names::default(),
            locks: BTreeMap::new(),
            generation: 1,
            crashed: false,
            crash_in: None,
            error_in: None,
            read_error_in: None,
            failed: false,
            latency: LATENCY,
            stalled_from: 0,
            stalled_until: 0,
            capacity: CAPACITY,
            counters: DiskCounters::default(),
            reads: None,
            alarm: None,
            latency_rng: rng.fork(),
            power_rng: rng.fork(),
            flip_rng: rng.fork(),
        }
    }

    pub(super) fn now(&self) -> u64 {
        time::now().unwrap_or(0)
    }

    /// Fails unless a process of `generation` may still use the disk.
    pub(super) fn admit(&self, generation: u64) -> io::Result<()> {
        if self.crashed {
            return Err(io::Error::other("the power is gone"));
        }
        if self.generation != generation {
            return Err(io::Error::other("this process is dead"));
        }
        Ok(())
    }

    /// Does `operation`, unless it is the one that meets its fate.
    pub(super) fn operate<T>(
        &mut self,
        operation: Operation,
        path: &Path,
        work: impl FnOnce(&mut Names) -> io::Result<T>,
    ) -> io::Result<T> {
        self.counters.operations += 1;
        if is_due(&mut self.error_in) {
            return Err(self.fail(operation, path));
        }
        if is_due(&mut self.crash_in) {
            // What is being written may be on the disk, or a part of it; what is being synced may be.
            if !matches!(operation, Operation::Sync | Operation::SyncDir) {
                work(&mut self.names)?;
            }
            self.tell(operation, path, "loses power");
            self.crashed = true;
            self.power_loss();
            self.alarm.take().into_iter().for_each(|alarm| alarm());
            return Err(io::Error::other("the power is gone"));
        }
        self.note(operation);
        work(&mut self.names)
    }

    /// Fails if this read is the one that does.
    pub(super) fn read(&mut self, path: &Path, offset: u64, bytes: u64) -> io::Result<()> {
        if let Some(now) = time::now() {
            self.trace.note(now, self.node, "disk read at {}, {} bytes", [offset, bytes]);
        }
        self.reads.iter_mut().for_each(|reads| reads.push((path.to_owned(), offset, bytes)));
        if is_due(&mut self.read_error_in) {
            return Err(self.fail(Operation::Read, path));
        }
        Ok(())
    }

    fn fail(&mut self, operation: Operation, path: &Path) -> io::Error {
        self.counters.errors += 1;
        self.failed = true;
        self.tell(operation, path, "fails");
        io::Error::other("the disk says: input/output error")
    }

    fn note(&mut self, operation: Operation) {
        let Some(now) = time::now() else { return };
        match operation {
            Operation::Write { offset, bytes } => {
                self.counters.bytes_written += bytes;
                self.trace.note(now, self.node, "disk write at {}, {} bytes", [offset, bytes]);
            }
            Operation::SetLen { len } => self.trace.note(now, self.node, "disk set length {}", [len]),
            Operation::Sync => {
                self.counters.syncs += 1;
                self.trace.note(now, self.node, "disk sync", []);
            }
            Operation::SyncDir => {
                self.counters.syncs += 1;
                self.trace.note(now, self.node, "disk sync of a folder", []);
            }
            Operation::Create => self.trace.note(now, self.node, "disk create", []),
            Operation::Rename => self.trace.note(now, self.node, "disk rename", []),
            Operation::Remove => self.trace.note(now, self.node, "disk remove", []),
            Operation::Read => unreachable!("what is read changes nothing"),
        }
    }

    fn tell(&self, operation: Operation, path: &Path, what: &str) {
        let text = format!("{operation:?} of {} {what}", path.display());
        self.trace.record(self.now(), self.node, "disk", text);
    }

    /// Loses any part of what was not synced.
    pub(super) fn power_loss(&mut self) {
        let names = self.names.power_loss(&mut self.power_rng);
        let mut bytes = 0;
        for (_, file) in self.names.files() {
            bytes += file.lock().expect("no holder panics").power_loss(&mut self.power_rng);
        }
        self.locks.clear();
        self.counters.power_losses += 1;
        self.counters.names_lost += names;
        self.counters.bytes_lost += bytes;
        self.trace.note(self.now(), self.node, "disk loses power, {} bytes and {} names", [bytes, names]);
    }

    pub(super) fn used(&self) -> u64 {
        self.names.files().map(|(_, file)| file.lock().expect("no holder panics").room()).sum()
    }

    /// Fails if a file cannot take this much more.
    pub(super) fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > 0 && self.capacity < CAPACITY && self.used() + bytes > self.capacity {
            self.counters.full += 1;
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the disk"));
        }
        Ok(())
    }

    pub(super) fn draw_latency(&mut self) -> Duration {
        self.latency_rng.duration(self.latency.0, self.latency.1)
    }

    pub(super) fn draw_share(&mut self) -> f64 {
        self.latency_rng.below(1 << 20) as f64 / f64::from(1 << 20)
    }
}

/// Counts down; true when it hits zero, which ends it.
fn is_due(countdown: &mut Option<u64>) -> bool {
    let Some(left) = countdown else { return false };
    *left = left.saturating_sub(1);
    let due = *left == 0;
    if due {
        *countdown = None;
    }
    due
}
