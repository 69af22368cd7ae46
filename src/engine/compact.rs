//! A file gives back what it does not use. redb uses freed pages again and gives none of them back, so a file stays as
//! long as it ever was, unless it is made anew; and that needs the file for itself. So it is done when a node opens its
//! folder, before anybody reads, and only where it is worth the time: the file is mostly free, and by more than a limit.
//!
//! Its rows go into a new file that takes the old one's place when it is complete and durable: whenever power goes, one
//! or the other is there. (redb's own compaction commits in one phase now and then. After a power cut it would have to
//! read what was never synced, which a checksum cannot tell from damage.)
//!
//! Said aloud: how much of a file is free is found out by a walk over its pages, so a file over the limit is read once
//! at each start, whatever comes of it. Meanwhile both files are on the disk; where there is no room for that, the old one
//! stays as it is.

use std::path::Path;

use redb::{ReadableDatabase as _, ReadableTable as _};

use super::{
    Engine, EngineError, Table,
    commit::{mark, put_mark},
    files::{folder_of, make},
};
use crate::env::{Disk, File};

/// How many times what it holds a disk must have free for a file to be made anew.
const ROOM: u64 = 2;

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
        let engine = Self::open(disk, path)?;
        let before = length(disk, path)?;
        if before <= slack_bytes_max {
            return Ok((engine, None));
        }
        let used = engine.bytes_used()?;
        let free = before.saturating_sub(used);
        if free <= slack_bytes_max || free <= before / 2 {
            return Ok((engine, None));
        }
        let room = disk.space(folder_of(path)).map_err(EngineError::disk)?.available;
        if room < used * ROOM {
            tracing::warn!(path = %path.display(), used, room, "the file is mostly free; there is no room to make it anew");
            return Ok((engine, None));
        }
        engine.copy_over(disk, path)?;
        let after = length(disk, path)?;
        Ok((Self::open(disk, path)?, Some(Compaction { before, after })))
    }

    /// Puts a new file with the same rows in the place of the one at `path`, which is this one.
    fn copy_over<D: Disk>(self, disk: &D, path: &Path) -> Result<(), EngineError> {
        make(disk, path, |transaction| {
            let read = self.0.database.begin_read().map_err(EngineError::disk)?;
            put_mark(transaction, mark(&read)?)?;
            for table in Table::ALL {
                let rows = read.open_table(table.definition()).map_err(EngineError::disk)?;
                let mut copy = transaction.open_table(table.definition()).map_err(EngineError::disk)?;
                for row in rows.iter().map_err(EngineError::disk)? {
                    let (key, value) = row.map_err(EngineError::disk)?;
                    copy.insert(key.value(), value.value()).map_err(EngineError::disk)?;
                }
            }
            Ok(())
        })?;
        self.close()
    }

    /// Bytes of the pages that hold something. Walks over all of them.
    pub fn bytes_used(&self) -> Result<u64, EngineError> {
        let transaction = self.0.database.begin_write().map_err(EngineError::disk)?;
        let stats = transaction.stats().map_err(EngineError::disk)?;
        transaction.abort().map_err(EngineError::disk)?;
        Ok(stats.allocated_pages() * stats.page_size() as u64)
    }
}

fn length<D: Disk>(disk: &D, path: &Path) -> Result<u64, EngineError> {
    disk.open(path).and_then(|file| file.len()).map_err(EngineError::disk)
}
