//! How a batch lies in the [journal](super::journal): checksum, number, length, changes. The checksum of a record is seeded with
//! that of the record before, so that a record is read only where it was written.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Table, batch::Changes};

/// Bytes of a record before its changes.
const PREFIX_BYTES: usize = 8 + 8 + 4;

/// Bytes before a table's rows: which table, and how many rows.
const TABLE_BYTES: usize = 1 + 4;

/// Bytes of a row's lengths: of its key, of its value.
const ROW_BYTES: usize = 4 + 4;

/// What stands for the length of a value where a row is removed.
const REMOVED: u32 = u32::MAX;

/// What a batch changes.
pub(super) type AllChanges = BTreeMap<Table, Changes>;

/// A record as it was found.
pub(super) struct Record<'a> {
    pub number: u64,
    pub sum: u64,
    changes: &'a [u8],
}

/// Never zero, which is what was never written.
pub(super) fn sum(seed: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, seed).max(1)
}

/// How many bytes a record of these changes has.
pub(super) fn length(changes: &AllChanges) -> usize {
    let row = |(key, value): (&Vec<u8>, &Option<Bytes>)| ROW_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len);
    let tables = changes.values().map(|rows| TABLE_BYTES + rows.iter().map(row).sum::<usize>());
    PREFIX_BYTES + tables.sum::<usize>()
}

/// A record, and its checksum.
pub(super) fn encode(seed: u64, number: u64, changes: &AllChanges) -> (Vec<u8>, u64) {
    let length = length(changes);
    let mut record = Vec::with_capacity(length);
    record.put_u64_le(0);
    record.put_u64_le(number);
    record.put_u32_le((length - PREFIX_BYTES) as u32);
    for (table, rows) in changes {
        record.put_u8(*table as u8);
        record.put_u32_le(rows.len() as u32);
        for (key, value) in rows {
            record.put_u32_le(key.len() as u32);
            record.put_u32_le(value.as_ref().map_or(REMOVED, |value| value.len() as u32));
            record.put_slice(key);
            record.put_slice(value.as_deref().unwrap_or_default());
        }
    }
    assert_eq!(record.len(), length, "a record is as long as was said");
    let sum = sum(seed, &record[8..]);
    record[..8].copy_from_slice(&sum.to_le_bytes());
    (record, sum)
}

/// The records of a round that began with this seed, as far as they are sound.
pub(super) fn found(mut bytes: &[u8], mut seed: u64) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    while bytes.len() >= PREFIX_BYTES {
        let mut rest = bytes;
        let (found, number, length) = (rest.get_u64_le(), rest.get_u64_le(), rest.get_u32_le() as usize);
        if length > rest.len() || found != sum(seed, &bytes[8..PREFIX_BYTES + length]) {
            break;
        }
        records.push(Record { number, sum: found, changes: &rest[..length] });
        (bytes, seed) = (&rest[length..], found);
    }
    records
}

impl Record<'_> {
    /// The changes; `None` if they are none of ours.
    pub fn decode(&self) -> Option<AllChanges> {
        let mut bytes = self.changes;
        let mut changes = AllChanges::new();
        while !bytes.is_empty() {
            let table = *Table::ALL.get(bytes.try_get_u8().ok()? as usize)?;
            let rows = changes.entry(table).or_default();
            for _ in 0..bytes.try_get_u32_le().ok()? {
                let (key, value) = (bytes.try_get_u32_le().ok()?, bytes.try_get_u32_le().ok()?);
                let key = take(&mut bytes, key)?.to_vec();
                let value =
                    if value == REMOVED { None } else { Some(Bytes::copy_from_slice(take(&mut bytes, value)?)) };
                rows.insert(key, value);
            }
        }
        Some(changes)
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length as usize)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_keeps_its_name() {
        for table in Table::ALL {
            let rows = Changes::from([(vec![1], Some(Bytes::from_static(b"v"))), (vec![2, 3], None)]);
            let changes = AllChanges::from([(table, rows)]);
            let (bytes, sum) = encode(7, 9, &changes);
            let records = found(&bytes, 7);
            assert_eq!((records.len(), records[0].number, records[0].sum), (1, 9, sum));
            assert_eq!(records[0].decode().unwrap(), changes);
            assert!(found(&bytes, 8).is_empty(), "a record of another round");
        }
    }
}
