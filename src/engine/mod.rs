//! The only room that knows redb. An [`Engine`] is one file of ordered tables; machines read it through a [`View`]
//! and change it through a [`Batch`]; the driver commits one batch a turn, which is one record in a journal beside the file,
//! at most one sync, and one transaction of redb's in memory; now and then it is a checkpoint instead. See [`journal`].
//!
//! Invariants:
//! - a committed batch is durable as a whole or absent as a whole, whenever power goes; one that may be lost is durable
//!   with the next one that may not, and until then only what came before it is sure to be there;
//! - what an open engine shows is durable, but for batches of its own that may be lost;
//! - a view never changes, and shows the state right after some commit;
//! - a block that is not what was written there is noticed when it is read, see [`backend`];
//! - a redb file appears under its name only when it is complete, and its journal is there before it, see [`files`].

mod backend;
mod batch;
mod commit;
mod compact;
mod files;
mod journal;
mod record;
mod tables;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use redb::{Database, ReadTransaction, ReadableDatabase};

pub use batch::{Batch, View};
pub use compact::Compaction;
pub use tables::{Table, group_key, log_key, stage_key};

use self::{
    backend::Failure,
    commit::{checkpoint, mark, put_mark, write},
    files::{aside, attach, beside, folder_of, make},
    journal::{Journal, Mark},
};
use crate::env::Disk;

/// The version of the folder's layout and of all rows. Another one is refused.
pub const FORMAT_VERSION: u64 = 6;

/// The last version whose blocks had no checksums, so that its rows cannot be read to learn of the version.
const LAST_WITHOUT_CHECKSUMS: u64 = 4;

const FORMAT_KEY: &[u8] = b"format";

/// Why the disk beneath could not do its work. The node stops: a disk that errs once is not trusted again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// redb or the disk under it.
    #[error("{0}")]
    Disk(String),
    /// The file is of another version of MatrixKV.
    #[error("{path}: data format {found}; this build reads format {FORMAT_VERSION}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// A row that we wrote does not read as what we wrote.
    #[error("a row is damaged: {0}")]
    Damaged(String),
}

impl EngineError {
    fn disk(error: impl std::fmt::Display) -> Self {
        Self::Disk(error.to_string())
    }
}

impl From<crate::wire::CodecError> for EngineError {
    fn from(error: crate::wire::CodecError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// One file of tables, and its journal. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    database: Database,
    failure: Failure,
    /// None once a commit has failed: what it left behind is not built upon.
    journal: Mutex<Option<Journal>>,
}

impl Engine {
    /// Opens the file at `path`, or makes it.
    pub fn open<D: Disk>(disk: &D, path: &Path) -> Result<Engine, EngineError> {
        let names = disk.list(folder_of(path)).map_err(EngineError::disk)?;
        let is_there = |path: &Path| path.file_name().is_some_and(|name| names.iter().any(|other| *name == **other));
        if !is_there(path) {
            if is_there(&beside(path)) && Journal::was_used(disk, &beside(path))? {
                let why = "it is missing; the journal beside it holds what was committed last";
                return Err(EngineError::Disk(format!("{}: {why}", path.display())));
            }
            Self::create(disk, path)?;
        } else if is_there(&aside(path)) {
            // It was not complete when the power went, or its process was killed.
            disk.remove(&aside(path)).map_err(EngineError::disk)?;
        }
        let file = disk.open(path).map_err(EngineError::disk)?;
        if backend::is_without_checksums(&file).map_err(EngineError::disk)? {
            return Err(EngineError::Format { path: path.to_owned(), found: LAST_WITHOUT_CHECKSUMS });
        }
        // The disk names the file in its errors; redb does not know its name.
        let (database, failure) = attach(file).map_err(|error| match error {
            EngineError::Disk(why) => EngineError::Disk(format!("{} cannot be opened: {why}", path.display())),
            other => other,
        })?;
        let read = database.begin_read().map_err(EngineError::disk)?;
        check_format(&read, path)?;
        let (mut journal, batches) = Journal::open(disk, &beside(path), mark(&read)?)?;
        drop(read);
        // Also where there is nothing to take over: nobody sees what may not have been synced, and no two lives begin alike.
        checkpoint(database.begin_write().map_err(EngineError::disk)?, &mut journal, batches)?;
        Ok(Engine(Arc::new(Inner { database, failure, journal: Mutex::new(Some(journal)) })))
    }

    /// The journal first: where the file is, it is too.
    fn create<D: Disk>(disk: &D, path: &Path) -> Result<(), EngineError> {
        Journal::create(disk, &beside(path))?;
        make(disk, path, |transaction| {
            for table in Table::ALL {
                transaction.open_table(table.definition()).map_err(EngineError::disk)?;
            }
            put_mark(transaction, Mark::FIRST)?;
            let mut meta = transaction.open_table(Table::Meta.definition()).map_err(EngineError::disk)?;
            meta.insert(FORMAT_KEY, &FORMAT_VERSION.to_be_bytes()[..]).map_err(EngineError::disk)?;
            Ok(())
        })
    }

    /// Closes the file, if nobody else has it, and says what the disk said.
    fn close(self) -> Result<(), EngineError> {
        let failure = self.0.failure.clone();
        drop(self);
        failure.get().map_or(Ok(()), |why| Err(EngineError::Disk(why.clone())))
    }

    /// What is committed now.
    pub fn view(&self) -> Result<View, EngineError> {
        View::new(&self.0.database.begin_read().map_err(EngineError::disk)?)
    }

    /// Makes all of `batch` durable, or nothing; if it may be lost, seen by all views from now on. After one that failed,
    /// all fail. Blocks: call it through [`Disk::offload`].
    pub fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        let Inner { database, journal, failure } = &*self.0;
        // redb lets in one at a time, so the order of the journal is that of the transactions.
        let transaction = database.begin_write().map_err(EngineError::disk)?;
        let mut slot = journal.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut journal) = slot.take().filter(|_| failure.get().is_none()) else {
            let why = failure.get().map_or("an earlier commit failed", |why| why);
            return Err(EngineError::Disk(why.to_owned()));
        };
        write(transaction, &mut journal, batch)?;
        *slot = Some(journal);
        Ok(())
    }
}

/// Refuses a file of another format.
fn check_format(transaction: &ReadTransaction, path: &Path) -> Result<(), EngineError> {
    let found = match View::new(transaction)?.get(Table::Meta, FORMAT_KEY)? {
        Some(row) if row[..] == FORMAT_VERSION.to_be_bytes() => return Ok(()),
        Some(row) => row[..].try_into().map_or(0, u64::from_be_bytes),
        None => 0,
    };
    Err(EngineError::Format { path: path.to_owned(), found })
}
