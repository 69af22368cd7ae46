//! The engine: what is committed is there after opening again, and a batch reads as the map that it stands for.

#[path = "support/memory.rs"]
mod memory;

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use matrixkv::{
    engine::{Batch, Engine, EngineError, Table},
    env::{Disk, File},
};
use memory::MemoryDisk;
use proptest::prelude::*;

const FILE: &str = "/data/store.redb";

const JOURNAL_BYTES: usize = 4096 + (1 << 20);

#[test]
fn a_committed_batch_is_there_after_opening_again() {
    let (disk, path) = (MemoryDisk::default(), Path::new(FILE));
    let engine = Engine::open(&disk, path).unwrap();
    let mut batch = Batch::new(engine.view().unwrap());
    batch.put(Table::Data, b"k".to_vec(), Bytes::from_static(b"v"));
    engine.commit(batch).unwrap();
    drop(engine);
    let engine = Engine::open(&disk, path).unwrap();
    assert_eq!(engine.view().unwrap().get(Table::Data, b"k").unwrap().unwrap(), "v");
    assert_eq!(disk.list(Path::new("/data")).unwrap(), ["store.journal", "store.redb"]);
}

/// What a process that is killed now leaves behind.
fn killed(disk: &MemoryDisk) -> MemoryDisk {
    let (copy, folder) = (MemoryDisk::default(), Path::new("/data"));
    for name in disk.list(folder).unwrap() {
        let file = disk.open(&folder.join(&name)).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        copy.create(&folder.join(&name)).unwrap().write_at(0, &bytes).unwrap();
    }
    copy
}

fn commit(engine: &Engine, key: u8, value: usize, may_be_lost: bool) {
    let mut batch = Batch::new(engine.view().unwrap());
    batch.put(Table::Data, vec![key], Bytes::from(vec![key; value]));
    if may_be_lost {
        batch.may_be_lost();
    }
    engine.commit(batch).unwrap();
}

fn keys(engine: &Engine) -> Vec<u8> {
    engine.view().unwrap().scan(Table::Data, &[], &[]).unwrap().map(|row| row.unwrap().0[0]).collect()
}

#[test]
fn a_killed_process_leaves_all_that_it_committed() {
    let (mut disk, path) = (MemoryDisk::default(), Path::new(FILE));
    // Within a round of the journal, over several, by bytes and by rows, and with batches that no round has room for.
    let lives = [(20, 0), (20, 1_000), (20, 400_000), (20, 3_000_000), (5_000, 10)];
    for (life, (commits, bytes)) in lives.into_iter().enumerate() {
        let engine = Engine::open(&disk, path).unwrap();
        let before = keys(&engine);
        let key = |n: usize| (life * 50 + n % 20) as u8;
        (0..commits).for_each(|n| commit(&engine, key(n), bytes, n % 3 == 0));
        disk = killed(&disk);
        let expected: Vec<_> = before.into_iter().chain((0..20).map(key)).collect();
        assert_eq!(keys(&Engine::open(&killed(&disk), path).unwrap()), expected, "life {life}");
    }
}

#[test]
fn a_journal_that_is_damaged_or_missing_is_refused() {
    let (disk, path, journal) = (MemoryDisk::default(), Path::new(FILE), Path::new("/data/store.journal"));
    let engine = Engine::open(&disk, path).unwrap();
    (0..9).for_each(|key| commit(&engine, key, 100, false));
    let (mut refused, mut whole) = (0, 0);
    for place in (0..6000).step_by(7) {
        let disk = killed(&disk);
        let (file, mut byte) = (disk.open(journal).unwrap(), [0]);
        file.read_at(place, &mut byte).unwrap();
        file.write_at(place, &[byte[0] ^ 4]).unwrap();
        match Engine::open(&disk, path) {
            Ok(engine) => {
                assert_eq!(keys(&engine), (0..9).collect::<Vec<_>>(), "a bit at {place}");
                whole += 1;
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("store.journal") && error.contains("the disk is damaged"), "{error}");
                refused += 1;
            }
        }
    }
    // Of the head 16 bytes are in use; nine records of about 140 bytes lie behind it.
    println!("{refused} refused, {whole} whole");
    assert!(refused > 150 && whole > 400);
    for zeros in [16, 8192, JOURNAL_BYTES] {
        let disk = killed(&disk);
        disk.open(journal).unwrap().write_at(0, &vec![0; zeros]).unwrap();
        let error = Engine::open(&disk, path).err().expect("refused").to_string();
        assert!(error.contains("store.journal") && error.contains("the disk is damaged"), "{zeros} zeros: {error}");
    }
    let disk = killed(&disk);
    disk.remove(journal).unwrap();
    let error = Engine::open(&disk, path).err().unwrap().to_string();
    assert!(error.contains("store.journal") && error.contains("missing"), "{error}");
}

#[test]
fn a_file_that_does_not_go_with_its_journal_is_refused() {
    let (disk, path) = (MemoryDisk::default(), Path::new(FILE));
    let engine = Engine::open(&disk, path).unwrap();
    commit(&engine, 0, 100, false);
    let old = killed(&disk);
    // A batch that no round has room for is a checkpoint.
    (1..4).for_each(|key| commit(&engine, key, JOURNAL_BYTES, false));
    let disk = killed(&disk);
    let mut bytes = vec![0; old.open(path).unwrap().len().unwrap() as usize];
    old.open(path).unwrap().read_at(0, &mut bytes).unwrap();
    let mixed = killed(&disk);
    mixed.create(path).unwrap().write_at(0, &bytes).unwrap();
    let error = Engine::open(&mixed, path).err().expect("refused").to_string();
    assert!(error.contains("store.journal") && error.contains("the disk is damaged"), "an older file: {error}");

    disk.remove(path).unwrap();
    let error = Engine::open(&disk, path).err().expect("refused").to_string();
    assert!(error.contains("store.redb") && error.contains("missing"), "{error}");
    assert_eq!(disk.list(Path::new("/data")).unwrap(), ["store.journal"], "what is left stays as it is");
}

#[test]
fn another_format_is_refused() {
    let (disk, path) = (MemoryDisk::default(), Path::new(FILE));
    let engine = Engine::open(&disk, path).unwrap();
    let mut batch = Batch::new(engine.view().unwrap());
    batch.put(Table::Meta, b"format".to_vec(), Bytes::copy_from_slice(&7u64.to_be_bytes()));
    engine.commit(batch).unwrap();
    drop(engine);
    let error = Engine::open(&disk, path).err().unwrap();
    assert!(matches!(error, EngineError::Format { found: 7, .. }), "{error}");
}

#[test]
fn a_file_that_is_mostly_free_shrinks_when_it_is_opened() {
    let (disk, path) = (MemoryDisk::default(), Path::new(FILE));
    let engine = Engine::open(&disk, path).unwrap();
    let keys = || (0..200u8).map(|key| vec![key]);
    let mut batch = Batch::new(engine.view().unwrap());
    keys().for_each(|key| batch.put(Table::Data, key, Bytes::from(vec![1; 20_000])));
    engine.commit(batch).unwrap();
    drop(engine);

    let length = || disk.open(path).unwrap().len().unwrap();
    let full = length();
    let (engine, compaction) = Engine::open_compact(&disk, path, 1).unwrap();
    assert_eq!((compaction, length()), (None, full), "most of it is in use");
    let mut batch = Batch::new(engine.view().unwrap());
    keys().take(190).for_each(|key| batch.delete(Table::Data, key));
    engine.commit(batch).unwrap();
    drop(engine);

    // redb gives back what is free at the end of a file when it closes it, and nothing else.
    let holed = length();
    println!("{full} bytes in use, {holed} after the rows were deleted");
    let (engine, compaction) = Engine::open_compact(&disk, path, holed).unwrap();
    assert_eq!(compaction, None, "no more is free than the limit");
    drop(engine);
    let (engine, compaction) = Engine::open_compact(&disk, path, holed / 2).unwrap();
    let compaction = compaction.unwrap();
    assert!(compaction.after < holed / 4 && compaction.after == length(), "{holed} bytes: {compaction:?}");
    let rows = engine.view().unwrap().scan(Table::Data, &[], &[]).unwrap().count();
    assert_eq!(rows, 10);
    drop(engine);
    assert_eq!(Engine::open_compact(&disk, path, 1).unwrap().1, None, "there is nothing left to give back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A batch over a view reads as the plain map that it stands for.
    #[test]
    fn a_batch_reads_its_own_writes(before in proptest::collection::btree_map(0u8..20, 0u8..9, 0..12),
                                    changes in proptest::collection::vec((0u8..20, proptest::option::of(0u8..9)), 0..20),
                                    start in 0u8..20, end in 0u8..20) {
        let engine = Engine::open(&MemoryDisk::default(), Path::new(FILE)).unwrap();
        let mut batch = Batch::new(engine.view().unwrap());
        for (key, value) in &before {
            batch.put(Table::Data, vec![*key], Bytes::from(vec![*value]));
        }
        engine.commit(batch).unwrap();
        let mut model: BTreeMap<u8, u8> = before;
        let mut batch = Batch::new(engine.view().unwrap());
        for (key, value) in changes {
            match value {
                Some(value) => { model.insert(key, value); batch.put(Table::Data, vec![key], Bytes::from(vec![value])); }
                None => { model.remove(&key); batch.delete(Table::Data, vec![key]); }
            }
        }
        let end = end.max(start);
        let want: Vec<_> = model.range(start..end).map(|(k, v)| (vec![*k], Bytes::from(vec![*v]))).collect();
        let found = batch.scan(Table::Data, &[start], &[end]).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        prop_assert_eq!(found, want);
        for key in 0..20 {
            prop_assert_eq!(batch.get(Table::Data, &[key]).unwrap(), model.get(&key).map(|v| Bytes::from(vec![*v])));
        }
        }
}
