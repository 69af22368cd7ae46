//! An open file on a simulated disk.

use std::{fmt, io, path::PathBuf};

use matrixkv::env::File;

use super::{
    SimDisk,
    machine::{Machine, Operation},
    names::Inode,
};

/// An open file. It is of the process that opened it, and fails when that is dead.
pub struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) path: PathBuf,
    pub(super) file: Inode,
}

impl SimFile {
    fn operate(&self, operation: Operation, work: impl FnOnce(&mut super::content::Content)) -> io::Result<()> {
        let mut machine = self.disk.admitted()?;
        self.make_room(&mut machine, operation)?;
        machine.operate(operation, &self.path, |_| {
            work(&mut self.file.lock().expect("no holder panics"));
            Ok(())
        })
    }

    fn make_room(&self, machine: &mut Machine, operation: Operation) -> io::Result<()> {
        let Operation::Write { offset, bytes } = operation else { return Ok(()) };
        let more = self.file.lock().expect("no holder panics").room_for(offset as usize, bytes as usize);
        machine.make_room(more)
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        drop(self.disk.admitted()?);
        Ok(self.file.lock().expect("no holder panics").len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.admitted()?.read(&self.path, offset, out.len() as u64)?;
        let read = self.file.lock().expect("no holder panics").read(offset as usize, out);
        read.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before"))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let operation = Operation::Write { offset, bytes: bytes.len() as u64 };
        self.operate(operation, |content| content.write(offset as usize, bytes))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.operate(Operation::SetLen { len }, |content| content.set_len(len as usize))
    }

    fn sync(&self) -> io::Result<()> {
        self.operate(Operation::Sync, super::content::Content::sync)
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.path.display())
    }
}
