//! A disk in memory that forgets what was not synced when power goes. A disk belongs to a machine: it survives the
//! processes that use it, one after the other.
//!
//! Invariants:
//! - what a file held when it was synced, and was not changed since, survives every power cut; of the rest each sector
//!   is the old or the new one, whatever the order of the writes;
//! - a dead process changes nothing more: [`SimDisk::fence`] ends every handle of it, before its destructors run;
//! - a process that is killed loses nothing that it gave to the operating system: only power takes that;
//! - when power is lost inside an operation, nothing that the machine does afterwards reaches anybody: the operation
//!   fails and so does everything after it, [`Disk::offload`] never resolves, and the network is told at once. Its tasks
//!   may run on until somebody kills them; nobody hears them.
//!
//! Said aloud: reads and single writes take no time, what is done inside [`Disk::offload`] takes time by its syncs; there
//! is no bandwidth. A failed sync leaves everything unsynced, and a later one may succeed.

mod content;
mod file;
mod machine;
mod names;

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use matrixkv::env::{Disk, Lock, Space};

pub use file::SimFile;

use self::{
    machine::{CAPACITY, Machine, Operation},
    names::Names,
};
use super::{Trace, dice, time};

/// A stall counts as the reason for what happens within this time after it.
const MOMENT: Duration = Duration::from_secs(1);

/// How often what waits for a stall looks whether it is over.
const GLANCE: Duration = Duration::from_millis(20);

/// What a disk went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct DiskCounters {
    pub operations: u64,
    pub bytes_written: u64,
    pub syncs: u64,
    pub power_losses: u64,
    pub bytes_lost: u64,
    pub names_lost: u64,
    pub errors: u64,
    pub full: u64,
    pub bits_flipped: u64,
}

/// A handle to a disk: the world's, which never dies, or a process's, see [`SimDisk::mount`]. Cheap to clone.
#[derive(Clone)]
pub struct SimDisk {
    machine: Arc<Mutex<Machine>>,
    generation: u64,
}

/// A copy of all files of a disk.
pub struct Image(Names);

/// What a process locked; a dead one holds nothing.
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl SimDisk {
    /// An empty disk of `node`'s machine.
    pub fn new(seed: u64, node: usize, trace: Trace) -> Self {
        let machine = Machine::new(node, trace, dice(seed, "disk", &[node as u64]));
        Self { machine: Arc::new(Mutex::new(machine)), generation: 1 }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The machine, if this handle's process lives.
    fn admitted(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = self.machine();
        machine.admit(self.generation)?;
        Ok(machine)
    }

    /// A handle for the process that starts now.
    pub fn mount(&self) -> SimDisk {
        SimDisk { machine: self.machine.clone(), generation: self.machine().generation }
    }

    /// Calls `alarm` when power is lost inside an operation of the process that runs now.
    pub(super) fn when_power_is_lost(&self, alarm: impl FnOnce() + Send + 'static) {
        self.machine().alarm = Some(Box::new(alarm));
    }

    /// Whether the process that mounted this may still use it.
    pub(super) fn is_alive(&self) -> bool {
        self.admitted().is_ok()
    }

    /// From now on the process that used the disk is dead: whatever it still tries fails.
    pub fn fence(&self) {
        let mut machine = self.machine();
        machine.generation += 1;
        machine.locks.clear();
        machine.alarm = None;
    }

    /// Power is back, and no earlier process lives.
    pub fn revive(&self) {
        self.fence();
        self.disarm();
        let mut machine = self.machine();
        (machine.crashed, machine.failed) = (false, false);
    }

    /// Loses any part of what was not synced. The process must be dead already, or die now.
    pub fn power_loss(&self) {
        self.fence();
        self.machine().power_loss();
    }

    /// At the `operation`-th change from now (a write, a sync, a change of a name; the next one is 1), power is lost
    /// inside it. In place of an earlier call.
    pub fn arm_crash(&self, operation: u64) {
        self.machine().crash_in = Some(operation);
    }

    /// The `operation`-th change from now fails, once.
    pub fn arm_error(&self, operation: u64) {
        self.machine().error_in = Some(operation);
    }

    /// The `read`-th read from now fails, once.
    pub fn arm_read_error(&self, read: u64) {
        self.machine().read_error_in = Some(read);
    }

    /// Whether an operation failed, since the last [`Self::revive`].
    pub fn failed(&self) -> bool {
        self.machine().failed
    }

    /// Takes back what was armed and has not happened, a stall too.
    pub fn disarm(&self) {
        let mut machine = self.machine();
        (machine.crash_in, machine.error_in, machine.read_error_in) = (None, None, None);
        machine.stalled_until = machine.stalled_until.min(machine.now());
    }

    /// Whether power was lost inside an operation, since the last [`Self::revive`].
    pub fn crashed(&self) -> bool {
        self.machine().crashed
    }

    /// Nothing offloaded ends before `duration` is over.
    pub fn stall_for(&self, duration: Duration) {
        let mut machine = self.machine();
        let now = machine.now();
        let until = now + duration.as_nanos() as u64;
        if machine.stalled_until < now {
            machine.stalled_from = now;
        }
        machine.stalled_until = machine.stalled_until.max(until);
        machine.trace.note(now, machine.node, "disk stalls until {}", [until]);
    }

    /// For how long it still stands still; none where it did not stand still until a moment ago.
    pub fn stall(&self) -> Option<Duration> {
        let machine = self.machine();
        let (until, now) = (machine.stalled_until, machine.now());
        let is_recent = until > 0 && until + MOMENT.as_nanos() as u64 > now;
        is_recent.then(|| Duration::from_nanos(until.saturating_sub(now)))
    }

    /// Its process stood still since `paused_at` and goes on now: only now does it see the end of a stall that ended meanwhile.
    pub fn resume(&self, paused_at: Duration) {
        let mut machine = self.machine();
        // Of one that began later it saw nothing.
        if (machine.stalled_from..=machine.stalled_until).contains(&(paused_at.as_nanos() as u64)) {
            machine.stalled_until = machine.stalled_until.max(machine.now());
        }
    }

    /// How long a sync takes.
    pub fn set_latency(&self, low: Duration, high: Duration) {
        assert!(low <= high);
        self.machine().latency = (low, high);
    }

    /// Bytes that all files together may take. Holes take none, as on the disks of today.
    pub fn set_capacity(&self, bytes: u64) {
        self.machine().capacity = bytes;
    }

    /// So many bytes are left for all files together.
    pub fn fill_up(&self, left: u64) {
        let mut machine = self.machine();
        machine.capacity = machine.used() + left;
        machine.trace.note(machine.now(), machine.node, "disk has {} bytes left", [left]);
    }

    /// There is room again.
    pub fn make_room(&self) {
        self.set_capacity(CAPACITY);
    }

    /// Which bytes of the file whose name ends with `name` hold `needle`, among those that are read by `work`; the
    /// last ones, if it reads several. What `work` gives is dropped when that is known. Bytes with a block's
    /// checksum in their midst are not found.
    pub fn find_read<T>(&self, name: &str, needle: &[u8], work: impl FnOnce() -> T) -> Option<Range<u64>> {
        self.machine().reads = Some(Vec::new());
        let _open = work();
        let mut machine = self.machine();
        let reads = machine.reads.take()?;
        let (path, file) = machine.names.files().find(|(path, _)| path.to_string_lossy().ends_with(name))?;
        let file = file.lock().expect("no holder panics");
        let of_it = reads.into_iter().rev().filter(|(read, ..)| read == path && !needle.is_empty());
        for (_, offset, bytes) in of_it {
            let mut read = vec![0; bytes as usize];
            file.read(offset as usize, &mut read)?;
            if let Some(at) = read.windows(needle.len()).position(|window| window == needle) {
                let start = offset + at as u64;
                return Some(start..start + needle.len() as u64);
            }
        }
        None
    }

    /// Changes a bit at rest, in a file whose name ends with `name`, among those of `bytes` if any are named. Whether there
    /// was one.
    pub fn flip_bit(&self, name: &str, bytes: Option<Range<u64>>) -> bool {
        let machine = &mut *self.machine();
        let found = machine.names.files().find(|(path, _)| path.to_string_lossy().ends_with(name));
        let Some((_, file)) = found else { return false };
        let place = file.lock().expect("no holder panics").flip_bit(bytes, &mut machine.flip_rng);
        let Some(place) = place else { return false };
        machine.counters.bits_flipped += 1;
        machine.trace.note(machine.now(), machine.node, "disk flips a bit at {}", [place as u64]);
        true
    }

    /// Whether there is a file of this name.
    pub fn has_file(&self, path: &str) -> bool {
        self.machine().names.files().any(|(known, _)| known == Path::new(path))
    }

    /// A copy of all files as they are now.
    pub fn image(&self) -> Image {
        Image(self.machine().names.copied())
    }

    /// Puts a copy in the place of all files. The process must be dead.
    pub fn put_back(&self, image: &Image) {
        let mut machine = self.machine();
        machine.names = image.0.copied();
        machine.trace.note(
            machine.now(),
            machine.node,
            "disk is an old copy of {} files",
            [image.0.files().count() as u64],
        );
    }

    /// What happened to it so far.
    pub fn counters(&self) -> DiskCounters {
        self.machine().counters
    }

    /// Resolves when it is `at` and no stall is on; never, if the process is dead by then.
    async fn wait_until(&self, mut at: u64) {
        loop {
            let now = time::now().expect("offloaded work runs inside the runtime");
            if at > now {
                time::pause(Duration::from_nanos(at - now)).await;
            }
            let Ok(stalled_until) = self.admitted().map(|machine| machine.stalled_until) else {
                return std::future::pending().await;
            };
            if stalled_until <= time::now().expect("still inside") {
                return;
            }
            // The stall may be ended early.
            at = stalled_until.min(time::now().expect("still inside") + GLANCE.as_nanos() as u64);
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        self.admitted()?.names.create_dir(folder);
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        let file = self.admitted()?.names.get(path).cloned().ok_or_else(|| missing("open", path))?;
        Ok(SimFile { disk: self.clone(), path: path.to_owned(), file })
    }

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        let existing = self.admitted()?.names.get(path).cloned();
        if let Some(file) = existing {
            // It keeps its place in the folder, and loses its bytes, which a power cut may bring back.
            let file = SimFile { disk: self.clone(), path: path.to_owned(), file };
            matrixkv::env::File::set_len(&file, 0)?;
            return Ok(file);
        }
        let mut machine = self.admitted()?;
        if !path.parent().is_some_and(|folder| machine.names.is_dir(folder)) {
            return Err(missing("create", path));
        }
        let file = machine.operate(Operation::Create, path, |names| Ok(names.create(path)))?;
        Ok(SimFile { disk: self.clone(), path: path.to_owned(), file })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let found = self.admitted()?.operate(Operation::Rename, from, |names| Ok(names.rename(from, to)))?;
        found.then_some(()).ok_or_else(|| missing("rename", from))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let found = self.admitted()?.operate(Operation::Remove, path, |names| Ok(names.remove(path)))?;
        found.then_some(()).ok_or_else(|| missing("remove", path))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let machine = self.admitted()?;
        machine.names.is_dir(folder).then(|| machine.names.list(folder)).ok_or_else(|| missing("list", folder))
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        self.admitted()?.operate(Operation::SyncDir, folder, |names| {
            names.sync_dir(folder);
            Ok(())
        })
    }

    fn space(&self, _folder: &Path) -> io::Result<Space> {
        let machine = self.admitted()?;
        Ok(Space { capacity: machine.capacity, available: machine.capacity.saturating_sub(machine.used()) })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut machine = self.admitted()?;
        if machine.locks.contains_key(path) {
            let what = format!("cannot lock {}: another process holds it", path.display());
            return Err(io::Error::new(io::ErrorKind::WouldBlock, what));
        }
        machine.locks.insert(path.to_owned(), self.generation);
        Ok(Box::new(SimLock { disk: self.clone(), path: path.to_owned() }))
    }

    /// Takes as long as its syncs do, one draw each, and one at the least. The work itself happens at one moment within
    /// that time: power that is lost before finds it undone.
    fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let disk = self.clone();
        async move {
            let began = time::now().expect("offloaded work runs inside the runtime");
            let (first, share) = {
                let mut machine = disk.machine();
                (machine.draw_latency(), machine.draw_share())
            };
            disk.wait_until(began + first.mul_f64(share).as_nanos() as u64).await;
            let before = disk.counters().syncs;
            let value = work();
            let syncs = disk.counters().syncs - before;
            let more: Duration = (1..syncs).map(|_| disk.machine().draw_latency()).sum();
            disk.wait_until(began + (first + more).as_nanos() as u64).await;
            value
        }
    }
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut machine = self.disk.machine();
        if machine.locks.get(&self.path) == Some(&self.disk.generation) {
            machine.locks.remove(&self.path);
        }
    }
}

fn missing(verb: &str, path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("cannot {verb} {}: no such file or folder", path.display()))
}

#[cfg(test)]
mod tests;
