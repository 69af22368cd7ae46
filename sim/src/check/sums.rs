//! A, second part: the size and content that a replica has counted as entries were applied, through splits and snapshots,
//! are what its rows add up to; R, second part: no two replicas of a store overlap, and every row has an owner. Looked at on
//! the disks of nodes that have stopped, with the eyes of `matrixkv inspect`.

use std::path::Path;

use matrixkv::{
    engine::{Engine, EngineError, Table, View, group_key},
    raft::GroupRow,
    shard::KvMachine,
    store::inspect,
    types::ShardId,
    wire::decode,
};

use super::{Invariant, matching::Kept};
use crate::env::SimDisk;

/// Where a node of a run keeps its replicas.
pub const STORE: &str = "/data/matrixkv/store.redb";

/// What it committed since the last checkpoint.
pub const JOURNAL: &str = "/data/matrixkv/store.journal";

/// Where a member of Prophet keeps what it knows.
pub const PROPHET: &str = "/data/matrixkv/prophet.redb";

/// The journal of Prophet's file.
pub const PROPHET_JOURNAL: &str = "/data/matrixkv/prophet.journal";

/// What does not add up on this disk, in words. Its logs are added to those that are `kept`.
pub fn recount(node: usize, disk: &SimDisk, kept: &mut Kept) -> Vec<(Invariant, String)> {
    disk.revive();
    let (mount, mut found) = (disk.mount(), Vec::new());
    for file in [STORE, PROPHET].into_iter().filter(|file| disk.has_file(file)) {
        let looked = Engine::open(&mount, Path::new(file)).and_then(|engine| {
            let view = engine.view()?;
            kept.read(node, &view)?;
            if file == STORE { judge(&view) } else { Ok(Vec::new()) }
        });
        let unread = |error| vec![(Invariant::Applied, format!("{file} cannot be read: {error}"))];
        found.extend(looked.unwrap_or_else(unread));
    }
    disk.fence();
    found
}

fn judge(view: &View) -> Result<Vec<(Invariant, String)>, EngineError> {
    let miscounted = miscounted(view)?;
    if !miscounted.is_empty() {
        return Ok(miscounted.into_iter().map(|why| (Invariant::Applied, why)).collect());
    }
    Ok(inspect(view)?.faults.into_iter().map(|why| (Invariant::Ranges, why)).collect())
}

/// The replicas that have counted wrong.
fn miscounted(view: &View) -> Result<Vec<String>, EngineError> {
    let mut wrong = Vec::new();
    for row in view.scan(Table::Group, &[], &[])? {
        let row: GroupRow = decode(&row?.1)?;
        if !row.is_initialised() {
            continue;
        }
        let machine: KvMachine = decode(&row.machine)?;
        // Its rows are being replaced.
        if view.get(Table::Install, &group_key(machine.shard().id))?.is_some() {
            continue;
        }
        if !machine.is_counted_right(view)? {
            let id: ShardId = machine.shard().id;
            wrong.push(format!(
                "{} of {id} has counted {:?}, and its rows add up to something else",
                row.replica,
                machine.sums()
            ));
        }
    }
    Ok(wrong)
}
