//! A file of the Env's disk as redb's storage, in blocks that carry a checksum each.
//!
//! redb looks at its own checksums when it repairs a file, and believes the file otherwise: a bit that flips at rest would
//! be served. So what redb sees as one block lies on the disk as the block's checksum and the block. A block that does not
//! match is an error of the disk, and the node stops: what was noticed is never served.
//!
//! Invariants:
//! - a checksum depends on the block's place too, so that a block in another one's place is noticed;
//! - a block that was never written is all zeros, its checksum too;
//! - redb's header, which is the one block that is written in place, stands with its checksum in the file's first sector:
//!   a power cut leaves the old pair or the new one. Every other block is reached only after it was synced.
//!
//! Said aloud: blocks do not align with the disk's own any more, so a write that the operating system has not cached reads
//! first. It costs eight bytes of 4,104.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use redb::StorageBackend;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::env::File;

/// Bytes of a block as redb sees it: a page of redb's, or a part of a bigger one.
const BLOCK_BYTES: usize = 4096;

/// Bytes of a checksum.
const SUM_BYTES: usize = 8;

/// Bytes of a block on the disk.
const STRIDE: usize = SUM_BYTES + BLOCK_BYTES;

/// How a file begins that redb wrote without checksums of ours.
const REDB_MAGIC: [u8; 4] = *b"redb";

/// What a file's disk said first when it erred. redb swallows what it meets while it closes a file, or writes pages before
/// it must: so every commit looks here.
pub(super) type Failure = Arc<OnceLock<String>>;

/// Adapts a [`File`].
#[derive(Debug)]
pub(super) struct Backend<F: File> {
    file: F,
    failure: Failure,
}

/// Blocks that follow each other, as they are on the disk.
struct Blocks {
    first: usize,
    bytes: Vec<u8>,
}

/// Whether this is a file from before blocks had checksums.
pub(super) fn is_without_checksums<F: File>(file: &F) -> io::Result<bool> {
    let mut start = [0; REDB_MAGIC.len()];
    if file.len()? < start.len() as u64 {
        return Ok(false);
    }
    file.read_at(0, &mut start)?;
    Ok(start == REDB_MAGIC)
}

fn sum(place: usize, block: &[u8]) -> u64 {
    // Zero is the sum of what was never written.
    xxh3_64_with_seed(block, place as u64).max(1)
}

/// The blocks that hold some of these bytes.
fn places(offset: u64, bytes: usize) -> std::ops::Range<usize> {
    let offset = offset as usize;
    offset / BLOCK_BYTES..(offset + bytes).div_ceil(BLOCK_BYTES)
}

impl Blocks {
    fn read<F: File>(file: &F, places: std::ops::Range<usize>) -> io::Result<Blocks> {
        let mut bytes = vec![0; places.len() * STRIDE];
        file.read_at((places.start * STRIDE) as u64, &mut bytes)?;
        let blocks = Blocks { first: places.start, bytes };
        blocks.check()?;
        Ok(blocks)
    }

    fn check(&self) -> io::Result<()> {
        for (index, stored) in self.bytes.chunks_exact(STRIDE).enumerate() {
            let (found, block) = stored.split_at(SUM_BYTES);
            let found = u64::from_le_bytes(found.try_into().expect("eight bytes"));
            let place = self.first + index;
            let is_fresh = found == 0 && block.iter().all(|byte| *byte == 0);
            if !is_fresh && found != sum(place, block) {
                let why = format!("block {place} of the file is not what was written there: the disk is damaged");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
        Ok(())
    }

    /// Calls `work` with each part of a block that holds some of the `length` bytes from `offset` on, in their order.
    fn parts(&mut self, offset: u64, length: usize, mut work: impl FnMut(std::ops::Range<usize>, &mut [u8])) {
        let start = offset as usize - self.first * BLOCK_BYTES;
        let mut done = 0;
        while done < length {
            let (index, within) = ((start + done) / BLOCK_BYTES, (start + done) % BLOCK_BYTES);
            let part = (BLOCK_BYTES - within).min(length - done);
            let at = index * STRIDE + SUM_BYTES + within;
            work(done..done + part, &mut self.bytes[at..at + part]);
            done += part;
        }
    }

    fn seal(&mut self) {
        for (index, stored) in self.bytes.chunks_exact_mut(STRIDE).enumerate() {
            let sum = sum(self.first + index, &stored[SUM_BYTES..]);
            stored[..SUM_BYTES].copy_from_slice(&sum.to_le_bytes());
        }
    }
}

impl<F: File> Backend<F> {
    pub fn new(file: F) -> Backend<F> {
        Backend { file, failure: Failure::default() }
    }

    /// Where an error of the disk is kept.
    pub fn failure(&self) -> Failure {
        self.failure.clone()
    }

    fn kept<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            self.failure.get_or_init(|| error.to_string());
        })
    }

    fn write_blocks(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let places = places(offset, data.len());
        let is_whole = offset.is_multiple_of(BLOCK_BYTES as u64) && data.len().is_multiple_of(BLOCK_BYTES);
        let mut blocks = if is_whole {
            Blocks { first: places.start, bytes: vec![0; places.len() * STRIDE] }
        } else {
            Blocks::read(&self.file, places)?
        };
        blocks.parts(offset, data.len(), |range, part| part.copy_from_slice(&data[range]));
        blocks.seal();
        self.file.write_at((blocks.first * STRIDE) as u64, &blocks.bytes)
    }
}

impl<F: File> StorageBackend for Backend<F> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.kept(self.file.len())? / STRIDE as u64 * BLOCK_BYTES as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut blocks = self.kept(Blocks::read(&self.file, places(offset, out.len())))?;
        blocks.parts(offset, out.len(), |range, part| out[range].copy_from_slice(part));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        assert!(len.is_multiple_of(BLOCK_BYTES as u64), "redb's files are made of pages");
        self.kept(self.file.set_len(len / BLOCK_BYTES as u64 * STRIDE as u64))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.kept(self.file.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.kept(self.write_blocks(offset, data))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A file in memory.
    #[derive(Debug, Default)]
    struct Memory(Mutex<Vec<u8>>);

    impl File for Memory {
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.lock().unwrap().len() as u64)
        }

        fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            out.copy_from_slice(&self.0.lock().unwrap()[offset as usize..][..out.len()]);
            Ok(())
        }

        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.0.lock().unwrap()[offset as usize..][..bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.lock().unwrap().resize(len as usize, 0);
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn blocks(count: u64) -> Backend<Memory> {
        let backend = Backend::new(Memory::default());
        backend.set_len(count * BLOCK_BYTES as u64).unwrap();
        assert_eq!(backend.len().unwrap(), count * BLOCK_BYTES as u64);
        backend
    }

    #[test]
    fn what_was_written_is_read_and_a_flipped_bit_is_noticed() {
        let backend = blocks(4);
        let data: Vec<u8> = (0..2 * BLOCK_BYTES).map(|byte| byte as u8).collect();
        backend.write(BLOCK_BYTES as u64, &data).unwrap();
        backend.write(BLOCK_BYTES as u64 - 3, b"abcdef").unwrap();
        let mut read = vec![0; 8];
        backend.read(BLOCK_BYTES as u64 - 4, &mut read).unwrap();
        assert_eq!(read, b"\0abcdef\x03");
        // A bit of the third block, and then one of a block that was never written.
        for (place, block) in [(2 * STRIDE + 100, 2), (3 * STRIDE + 9, 3)] {
            backend.file.0.lock().unwrap()[place] ^= 4;
            let error = backend.read(block * BLOCK_BYTES as u64, &mut [0; 16]).unwrap_err();
            assert!(error.to_string().contains(&format!("block {block} of the file")), "{error}");
        }
        backend.read(0, &mut vec![0; 2 * BLOCK_BYTES]).unwrap();
    }

    #[test]
    fn a_block_in_the_place_of_another_one_is_noticed() {
        let backend = blocks(2);
        backend.write(0, &[7; 2 * BLOCK_BYTES]).unwrap();
        backend.file.0.lock().unwrap().copy_within(..STRIDE, STRIDE);
        assert!(backend.read(0, &mut [0; 16]).is_ok());
        assert!(backend.read(BLOCK_BYTES as u64, &mut [0; 16]).is_err());
    }
}
