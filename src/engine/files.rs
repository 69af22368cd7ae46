//! Which files an engine has, and how one of redb's appears: under its name only when it is complete and durable, since making
//! one is not crash-safe.

use std::path::{Path, PathBuf};

use redb::{Database, WriteTransaction};

use super::{
    EngineError,
    backend::{Backend, Failure},
};
use crate::env::{Disk, File};

/// Memory for redb's page cache, in bytes.
const CACHE_BYTES: usize = 64 << 20;

/// redb on this file, and what its disk says first when it errs.
pub(super) fn attach<F: File>(file: F) -> Result<(Database, Failure), EngineError> {
    let backend = Backend::new(file);
    let failure = backend.failure();
    let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
    Ok((database.map_err(EngineError::disk)?, failure))
}

/// Puts a new file at `path` that holds what `fill` put in. Until it is complete and durable there is none, or the one
/// that was there.
pub(super) fn make<D: Disk>(
    disk: &D,
    path: &Path,
    fill: impl FnOnce(&WriteTransaction) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let aside = aside(path);
    let (database, failure) = attach(disk.create(&aside).map_err(EngineError::disk)?)?;
    let mut transaction = database.begin_write().map_err(EngineError::disk)?;
    transaction.set_quick_repair(true);
    fill(&transaction)?;
    transaction.commit().map_err(EngineError::disk)?;
    drop(database);
    failure.get().map_or(Ok(()), |why| Err(EngineError::Disk(why.clone())))?;
    disk.open(&aside).and_then(|file| file.sync()).map_err(EngineError::disk)?;
    disk.rename(&aside, path).map_err(EngineError::disk)?;
    disk.sync_dir(folder_of(path)).map_err(EngineError::disk)
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().expect("an engine lives in a folder")
}

/// Where a file is made that takes the place of the one at `path`.
pub(super) fn aside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// The journal of the file at `path`.
pub(super) fn beside(path: &Path) -> PathBuf {
    path.with_extension("journal")
}
