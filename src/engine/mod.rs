//! The only room that knows redb. An [`Engine`] is one file of ordered tables; machines read it through a [`View`]
//! and change it through a [`Batch`]; the driver commits one batch a turn, which is one transaction and at most one sync.
//!
//! Invariants:
//! - a committed batch is durable as a whole or absent as a whole, whenever power goes; one that may be lost is durable
//!   with the next one that may not, and until then only what came before it is sure to be there;
//! - a view never changes, and shows the state right after some commit;
//! - a block that is not what was written there is noticed when it is read, see [`backend`];
//! - a file appears under its name only when it is complete: creating a redb file is not crash-safe, so it is made
//!   under another name, synced, renamed, and the folder is synced.

mod backend;
mod batch;
mod compact;
mod tables;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use redb::{Database, Durability, ReadableDatabase, WriteTransaction};

pub use batch::{Batch, View};
pub use compact::Compaction;
pub use tables::{Table, group_key, log_key, stage_key};

use crate::{
    env::{Disk, File},
    planted::{Bug, planted},
};

/// The version of the folder's layout and of all rows. Another one is refused.
pub const FORMAT_VERSION: u64 = 5;

/// The last version whose blocks had no checksums, so that its rows cannot be read to learn of the version.
const LAST_WITHOUT_CHECKSUMS: u64 = 4;

/// Memory for redb's page cache, in bytes.
const CACHE_BYTES: usize = 64 << 20;

/// Commits in a row that are not synced: a bound on the pages that redb cannot use again before the next sync, and on what
/// that sync has to write. With 64 of them some writes waited for 100 ms.
const UNSYNCED_COMMITS_MAX: u32 = 4;

/// Bytes of keys and values of a batch beyond which it is synced in any case.
const UNSYNCED_BYTES_MAX: u64 = 1 << 20;

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

/// One file of tables. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    database: Arc<Database>,
    failure: backend::Failure,
    /// Commits since the last one that was synced.
    unsynced: Arc<AtomicU32>,
}

impl Engine {
    /// Opens the file at `path`, or makes it.
    pub fn open<D: Disk>(disk: &D, path: &Path) -> Result<Engine, EngineError> {
        let names = disk.list(folder_of(path)).map_err(EngineError::disk)?;
        let is_there = |path: &Path| path.file_name().is_some_and(|name| names.iter().any(|other| *name == **other));
        if !is_there(path) {
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
        let engine = Self::attach(file).map_err(|error| match error {
            EngineError::Disk(why) => EngineError::Disk(format!("{} cannot be opened: {why}", path.display())),
            other => other,
        })?;
        match engine.view()?.get(Table::Meta, FORMAT_KEY)? {
            Some(row) if row[..] == FORMAT_VERSION.to_be_bytes() => Ok(engine),
            Some(row) => {
                let found = row[..].try_into().map(u64::from_be_bytes).unwrap_or(0);
                Err(EngineError::Format { path: path.to_owned(), found })
            }
            None => Err(EngineError::Format { path: path.to_owned(), found: 0 }),
        }
    }

    fn create<D: Disk>(disk: &D, path: &Path) -> Result<(), EngineError> {
        Self::make(disk, path, |transaction| {
            for table in Table::ALL {
                transaction.open_table(table.definition()).map_err(EngineError::disk)?;
            }
            let mut meta = transaction.open_table(Table::Meta.definition()).map_err(EngineError::disk)?;
            meta.insert(FORMAT_KEY, &FORMAT_VERSION.to_be_bytes()[..]).map_err(EngineError::disk)?;
            Ok(())
        })
    }

    /// Puts a new file at `path` that holds what `fill` put in. Until it is complete and durable there is none, or the one
    /// that was there.
    fn make<D: Disk>(
        disk: &D,
        path: &Path,
        fill: impl FnOnce(&WriteTransaction) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let aside = aside(path);
        let engine = Self::attach(disk.create(&aside).map_err(EngineError::disk)?)?;
        let mut transaction = engine.database.begin_write().map_err(EngineError::disk)?;
        transaction.set_quick_repair(true);
        fill(&transaction)?;
        transaction.commit().map_err(EngineError::disk)?;
        engine.close()?;
        disk.open(&aside).and_then(|file| file.sync()).map_err(EngineError::disk)?;
        disk.rename(&aside, path).map_err(EngineError::disk)?;
        disk.sync_dir(folder_of(path)).map_err(EngineError::disk)
    }

    fn attach<F: File>(file: F) -> Result<Engine, EngineError> {
        let backend = backend::Backend::new(file);
        let failure = backend.failure();
        let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
        let database = Arc::new(database.map_err(EngineError::disk)?);
        Ok(Engine { database, failure, unsynced: Arc::default() })
    }

    /// Closes the file, if nobody else has it, and says what the disk said.
    fn close(self) -> Result<(), EngineError> {
        let Engine { database, failure, .. } = self;
        drop(database);
        failure.get().map_or(Ok(()), |why| Err(EngineError::Disk(why.clone())))
    }

    /// What is committed now.
    pub fn view(&self) -> Result<View, EngineError> {
        View::new(&self.database.begin_read().map_err(EngineError::disk)?)
    }

    /// Makes all of `batch` durable, or nothing; if it may be lost, seen by all views from now on. Blocks: call it through
    /// [`Disk::offload`].
    pub fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        let mut transaction = self.database.begin_write().map_err(EngineError::disk)?;
        if self.is_synced(&batch) {
            transaction.set_quick_repair(true);
        } else {
            transaction.set_durability(Durability::None).map_err(EngineError::disk)?;
        }
        for (table, changes) in batch.into_changes() {
            let mut table = transaction.open_table(table.definition()).map_err(EngineError::disk)?;
            for (key, value) in changes {
                match value {
                    Some(value) => table.insert(&key[..], &value[..]).map(drop),
                    None => table.remove(&key[..]).map(drop),
                }
                .map_err(EngineError::disk)?;
            }
        }
        transaction.commit().map_err(EngineError::disk)
    }

    /// Whether `batch` is to be durable when its commit ends.
    fn is_synced(&self, batch: &Batch) -> bool {
        if planted(Bug::SkipSync) {
            return false;
        }
        let commits = self.unsynced.fetch_add(1, Ordering::Relaxed) + 1;
        let is_synced = batch.must_sync() || batch.bytes() > UNSYNCED_BYTES_MAX || commits > UNSYNCED_COMMITS_MAX;
        if is_synced {
            self.unsynced.store(0, Ordering::Relaxed);
        }
        is_synced
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().expect("an engine lives in a folder")
}

/// Where a file is made that takes the place of the one at `path`.
fn aside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

const FORMAT_KEY: &[u8] = b"format";
