//! Folders and files. The calls block: a real node makes them on a thread that may (see [`Disk::offload`]), and in
//! the simulator they take no real time.

use std::{fmt::Debug, future::Future, io, path::Path};

/// Holds a folder for this process until it is dropped.
pub trait Lock: Send + Sync + 'static {}

/// How much room there is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub capacity: u64,
    /// What is free.
    pub available: u64,
}

/// A disk.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: File;

    /// Makes the folder and those above it.
    fn create_dir(&self, folder: &Path) -> io::Result<()>;

    /// Opens a file that exists, to read and write.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Makes an empty file, in place of one of that name.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Renames a file, in place of one of the new name. Durable after [`Self::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`Self::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, ascending.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, folder: &Path) -> io::Result<()>;

    /// The room on the disk that holds `folder`.
    fn space(&self, folder: &Path) -> io::Result<Space>;

    /// Takes `path` for this process alone; `WouldBlock` if another one has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;

    /// Does blocking work without holding up the reactor; resolves when it is done. In the simulator it takes
    /// virtual time.
    fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static;
}

/// A file, read and written at offsets.
pub trait File: Debug + Send + Sync + 'static {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `out` from `offset`; an error if the file ends before.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file, or lengthens it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes all of it durable.
    fn sync(&self) -> io::Result<()>;
}
