//! The real disk: std's files. Errors name the path.

use std::{
    fs::{self, OpenOptions, TryLockError},
    future::Future,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use tokio::runtime::Handle;

use crate::env::{Disk, File, Lock, Space};

/// The disks of this machine.
#[derive(Clone, Debug)]
pub struct RealDisk {
    runtime: Handle,
}

impl RealDisk {
    pub(super) fn new(runtime: Handle) -> Self {
        Self { runtime }
    }
}

/// An open file.
#[derive(Debug)]
pub struct RealFile {
    file: fs::File,
    path: PathBuf,
}

/// The operating system frees the lock when the file is closed, at the latest when the process dies.
struct RealLock {
    _file: fs::File,
}

impl Lock for RealLock {}

impl Disk for RealDisk {
    type File = RealFile;

    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder).map_err(|error| named("create", folder, error))
    }

    fn open(&self, path: &Path) -> io::Result<RealFile> {
        open(OpenOptions::new().read(true).write(true), path)
    }

    fn create(&self, path: &Path) -> io::Result<RealFile> {
        open(OpenOptions::new().read(true).write(true).create(true).truncate(true), path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(|error| named("rename", from, error))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(|error| named("remove", path, error))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| name(&entry?)).collect::<io::Result<Vec<_>>>())
            .map_err(|error| named("list", folder, error))?;
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| named("sync", folder, error))
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(folder).map_err(|error| named("measure", folder, error.into()))?;
        Ok(Space { capacity: found.f_blocks * found.f_frsize, available: found.f_bavail * found.f_frsize })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let RealFile { file, .. } = open(OpenOptions::new().read(true).write(true).create(true).truncate(false), path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(TryLockError::WouldBlock) => {
                Err(named("lock", path, io::Error::new(io::ErrorKind::WouldBlock, "another process holds it")))
            }
            Err(TryLockError::Error(error)) => Err(named("lock", path, error)),
        }
    }

    fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let done = self.runtime.spawn_blocking(work);
        async move {
            match done.await {
                Ok(value) => value,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime is shutting down, and the caller with it.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|found| found.len()).map_err(|error| named("measure", &self.path, error))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset).map_err(|error| named("read", &self.path, error))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|error| named("write", &self.path, error))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len).map_err(|error| named("resize", &self.path, error))
    }

    fn sync(&self) -> io::Result<()> {
        // The data and whatever is needed to find it again, a new length included; not the time of the change.
        self.file.sync_data().map_err(|error| named("sync", &self.path, error))
    }
}

fn open(options: &OpenOptions, path: &Path) -> io::Result<RealFile> {
    let file = options.open(path).map_err(|error| named("open", path, error))?;
    Ok(RealFile { file, path: path.to_owned() })
}

fn name(entry: &fs::DirEntry) -> io::Result<String> {
    let name = entry.file_name().into_string();
    name.map_err(|name| io::Error::new(io::ErrorKind::InvalidData, format!("{name:?} is not a name of ours")))
}

fn named(verb: &str, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {verb} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Env, real::RealEnv};

    /// A folder of its own, removed in the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("matrixkv-disk-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn what_was_written_is_read() {
        let (env, folder) = (RealEnv::new(), Folder::new("write"));
        let disk = env.disk();
        let deep = folder.0.join("a/b");
        disk.create_dir(&deep).unwrap();
        let file = disk.create(&deep.join("new")).unwrap();
        file.write_at(3, b"abc").unwrap();
        file.set_len(8).unwrap();
        file.sync().unwrap();
        disk.rename(&deep.join("new"), &deep.join("name")).unwrap();
        disk.sync_dir(&deep).unwrap();
        disk.create(&deep.join("an older name")).unwrap();
        assert_eq!(disk.list(&deep).unwrap(), ["an older name", "name"]);

        let file = disk.open(&deep.join("name")).unwrap();
        let mut all = [9; 8];
        file.read_at(0, &mut all).unwrap();
        assert_eq!((&all, file.len().unwrap()), (b"\0\0\0abc\0\0", 8));
        assert_eq!(file.read_at(5, &mut all).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        disk.remove(&deep.join("name")).unwrap();
        assert_eq!(disk.open(&deep.join("name")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let Space { capacity, available } = disk.space(&deep).unwrap();
        assert!(capacity >= available && available > 0);
    }

    #[tokio::test]
    async fn a_folder_is_held_by_one() {
        let (env, folder) = (RealEnv::new(), Folder::new("lock"));
        let path = folder.0.join("lock");
        let held = env.disk().lock(&path).unwrap();
        let error = env.disk().lock(&path).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(error.to_string().contains("another process holds it"), "{error}");
        drop(held);
        env.disk().lock(&path).unwrap();
    }

    #[tokio::test]
    async fn blocking_work_is_done_elsewhere() {
        let here = std::thread::current().id();
        let there = RealEnv::new().disk().offload(|| std::thread::current().id()).await;
        assert_ne!(here, there);
    }
}
