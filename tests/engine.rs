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
    assert_eq!(disk.list(Path::new("/data")).unwrap(), ["store.redb"]);
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
