//! The engine's journal: batches in the order in which they were committed, each durable with one sync of a few bytes. redb would
//! sync twice and write whole pages; it takes the batch over in memory, and now and then makes all of them durable at once
//! (a checkpoint). Then a new round begins at the journal's beginning. What a crash takes from redb is read from here when
//! the file is opened again.
//!
//! A file of fixed length, all written when it is made: so its syncs write no metadata and, where a file system writes in
//! place, its appends need no room.
//!
//! ```text
//! head     number of the last batch that is known to be durable, checksum
//! records  one after the other, see `record`; over those of the round before
//! ```
//!
//! Invariants:
//! - numbers ascend by one; checkpoints have one too;
//! - a round's checksums are seeded with what the ones before came to, and redb holds the seed: so a record of an earlier round
//!   or life is never taken for one of this;
//! - a record that was synced is there when the file is read again: if it is not, the disk is damaged, and that is said.
//!
//! Said aloud:
//! - of the last sync before a power cut the head may not tell, so damage to just that looks like a write that was never
//!   finished; so does an older journal beside the newest redb file;
//! - an append rewrites the sector in which the record before ends. Disks write a sector, of 512 bytes, at once or not at all.

use std::{io, path::Path};

use bytes::{Buf, BufMut};

use super::{
    EngineError,
    batch::Changes,
    files::folder_of,
    record::{self, AllChanges, sum},
};
use crate::env::{Disk, File};

/// Bytes of records: a bound on what a start reads. A batch for which no room is left makes a checkpoint.
const ROUND_BYTES: usize = 1 << 20;

/// Rows in a round. Each may lie on a page of its own, so this bounds what a checkpoint writes, for which commits wait, and
/// the pages that redb cannot use again before it.
const ROUND_ROWS: usize = 2048;

/// Where the records begin. What is written in the head lies in one sector, so a power cut leaves the old or the new.
const HEAD_BYTES: usize = 4096;

/// Bytes of all of it.
const FILE_BYTES: usize = HEAD_BYTES + ROUND_BYTES;

/// Up to where the batches are in a redb file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The number of the last one.
    pub number: u64,
    /// What seeds the checksums of the round in which it is.
    pub seed: u64,
}

impl Mark {
    /// Of a new file.
    pub const FIRST: Mark = Mark { number: 0, seed: 0 };
}

/// What became of a batch.
pub(super) enum Appended {
    /// It is written, and durable with the next sync.
    Written,
    /// It is due to be made durable without the journal, with all before it.
    Full,
}

/// The journal of an engine.
#[derive(Debug)]
pub(super) struct Journal {
    file: Box<dyn File>,
    /// Where the next record goes.
    at: usize,
    rows: usize,
    last: Mark,
    /// The checksum of the last record.
    chain: u64,
}

impl Journal {
    /// Makes an empty journal at `path`, in place of any other. Durable when it returns.
    pub fn create<D: Disk>(disk: &D, path: &Path) -> Result<(), EngineError> {
        let make = || {
            let file = disk.create(path)?;
            let mut bytes = head(Mark::FIRST.number);
            bytes.resize(FILE_BYTES, 0);
            file.write_at(0, &bytes)?;
            file.sync()?;
            disk.sync_dir(folder_of(path))
        };
        make().map_err(EngineError::disk)
    }

    /// Whether the journal at `path` says that something was committed.
    pub fn was_used<D: Disk>(disk: &D, path: &Path) -> Result<bool, EngineError> {
        let file = disk.open(path).map_err(EngineError::disk)?;
        let mut bytes = head(0);
        // A shorter one was not complete when the power went.
        if file.len().map_err(EngineError::disk)? < bytes.len() as u64 {
            return Ok(false);
        }
        file.read_at(0, &mut bytes).map_err(EngineError::disk)?;
        Ok(durable(&bytes).is_some_and(|number| number > 0))
    }

    /// Opens the journal at `path` of a redb file that holds all batches up to `held`. Gives those beyond: they must be durable in
    /// redb, with the mark of the next checkpoint, and a round must begin, before anything can be appended.
    pub fn open<D: Disk>(disk: &D, path: &Path, held: Mark) -> Result<(Journal, Vec<AllChanges>), EngineError> {
        let error = |what: &str| EngineError::Disk(format!("{}: {what}", path.display()));
        let file = disk.open(path).map_err(|found| match found.kind() {
            io::ErrorKind::NotFound => error("it is missing, and with it what was committed last"),
            _ => EngineError::disk(found),
        })?;
        let mut bytes = vec![0; FILE_BYTES];
        file.read_at(0, &mut bytes).map_err(EngineError::disk)?;
        let records = record::found(&bytes[HEAD_BYTES..], held.seed);
        let (number, chain) = records.last().map_or((held.number, held.seed), |last| (last.number, last.sum));
        let last = Mark { number: number.max(held.number), ..held };
        if durable(&bytes).is_none_or(|durable| last.number < durable) {
            return Err(error("it does not hold all that was made durable: the disk is damaged"));
        }
        let beyond = records.iter().filter(|record| record.number > held.number);
        let batches = beyond.map(|record| record.decode()).collect::<Option<Vec<_>>>();
        let batches = batches.ok_or_else(|| error("a record holds what this build cannot read"))?;
        Ok((Journal { file: Box::new(file), at: FILE_BYTES, rows: 0, last, chain }, batches))
    }

    /// Writes the changes down under the next number, unless a checkpoint is due.
    pub fn append(&mut self, changes: &AllChanges) -> io::Result<Appended> {
        let (rows, length) = (changes.values().map(Changes::len).sum::<usize>(), record::length(changes));
        if self.rows + rows > ROUND_ROWS || self.at + length > FILE_BYTES {
            return Ok(Appended::Full);
        }
        let number = self.last.number + 1;
        let (record, sum) = record::encode(self.chain, number, changes);
        self.file.write_at(self.at as u64, &record)?;
        (self.last.number, self.chain) = (number, sum);
        self.at += length;
        self.rows += rows;
        Ok(Appended::Written)
    }

    /// Makes all that was appended durable.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.say_durable()
    }

    /// The head is durable with the next sync, which is soon enough.
    fn say_durable(&mut self) -> io::Result<()> {
        self.file.write_at(0, &head(self.last.number))
    }

    /// Up to the last batch.
    pub fn mark(&self) -> Mark {
        self.last
    }

    /// Of the checkpoint that is made now.
    pub fn next_mark(&self) -> Mark {
        let number = self.last.number + 1;
        Mark { number, seed: sum(self.chain, &number.to_le_bytes()) }
    }

    /// A round begins: all up to `checkpoint` is durable in redb, and so is the mark itself.
    pub fn begin(&mut self, checkpoint: Mark) -> io::Result<()> {
        assert_eq!(checkpoint, self.next_mark(), "nothing came between");
        (self.at, self.rows, self.last, self.chain) = (HEAD_BYTES, 0, checkpoint, checkpoint.seed);
        self.say_durable()
    }
}

fn head(number: u64) -> Vec<u8> {
    let mut head = Vec::new();
    head.put_u64_le(number);
    head.put_u64_le(sum(0, &number.to_le_bytes()));
    head
}

/// The number up to which all is durable, as far as the head knows. `None`: the head is damaged.
fn durable(mut head: &[u8]) -> Option<u64> {
    let (number, found) = (head.get_u64_le(), head.get_u64_le());
    (found == sum(0, &number.to_le_bytes())).then_some(number)
}
