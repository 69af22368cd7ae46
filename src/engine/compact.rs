//! A file gives back what it does not use. redb uses freed pages again and gives none of them back, so a file stays as
//! long as it ever was, unless it is compacted; and that needs the file for itself. So it is done when a node opens its
//! folder, before anybody reads, and only where it is worth the time: the file is mostly free, and by more than a limit.
//!
//! A compaction is a series of redb's own transactions: whenever power goes, what was committed is there. A file that
//! lost power inside of one is repaired as a whole at the next opening, which takes longer than usual.
//!
//! Said aloud: how much of a file is free is found out by a walk over its pages, so a file over the limit is read once
//! at each start, whatever comes of it.

use std::{path::Path, sync::Arc};

use super::{Engine, EngineError};
use crate::env::{Disk, File};

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Bytes of the file before.
    pub before: u64,
    /// Bytes of the file now.
    pub after: u64,
}

impl Engine {
    /// Opens the file at `path`, or makes it. If more than half of it and more than `slack_bytes_max` bytes are free, it
    /// is compacted. Blocks: call it through [`Disk::offload`].
    pub fn open_compact<D: Disk>(
        disk: &D,
        path: &Path,
        slack_bytes_max: u64,
    ) -> Result<(Engine, Option<Compaction>), EngineError> {
        let mut engine = Self::open(disk, path)?;
        let before = length(disk, path)?;
        if before <= slack_bytes_max {
            return Ok((engine, None));
        }
        let free = before.saturating_sub(engine.bytes_used()?);
        if free <= slack_bytes_max || free <= before / 2 {
            return Ok((engine, None));
        }
        let database = Arc::get_mut(&mut engine.database).expect("it was opened here and nobody else has it yet");
        database.compact().map_err(EngineError::disk)?;
        let after = length(disk, path)?;
        Ok((engine, Some(Compaction { before, after })))
    }

    /// Bytes of the pages that hold something. Walks over all of them.
    pub fn bytes_used(&self) -> Result<u64, EngineError> {
        let transaction = self.database.begin_write().map_err(EngineError::disk)?;
        let stats = transaction.stats().map_err(EngineError::disk)?;
        transaction.abort().map_err(EngineError::disk)?;
        Ok(stats.allocated_pages() * stats.page_size() as u64)
    }
}

fn length<D: Disk>(disk: &D, path: &Path) -> Result<u64, EngineError> {
    disk.open(path).and_then(|file| file.len()).map_err(EngineError::disk)
}
