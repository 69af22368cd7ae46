//! One replica is damaged at rest: its rows are no more what its store wrote, and everything else on the disk is sound.

use std::{ops::Range, path::Path, time::Duration};

use madsim::time::sleep;
use matrixkv::{
    engine::{Batch, Engine, EngineError, Table, View, group_key, log_key},
    raft::GroupRow,
    types::ShardId,
    wire::{decode, encode},
};

use super::Struck;
use crate::{
    check::{
        probe,
        sums::{JOURNAL, PROPHET, PROPHET_JOURNAL, STORE},
    },
    env::Death,
    plan::{Damage, Kind, Part, Target},
    world::{State, World},
};

/// How long it waits for a moment in which everything has all its voters.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it looks.
const GLANCE: Duration = Duration::from_millis(100);

/// Where a round of a journal begins, its head before it: most of the file is seldom in use.
const JOURNAL_USED: Range<u64> = 0..16 << 10;

/// What no row of ours begins with.
const RUBBISH: &[u8] = &[0xff; 16];

/// Kills a node, damages one of its replicas, and starts it again; only where every shard has its other replicas.
pub async fn damage(world: &World, node: Target, group: u64, what: Damage) -> Struck {
    let Some(node) = kill_when_whole(world, node).await else { return Struck::Skipped };
    let struck = match at_rest(world, node, group, what) {
        Ok(Some(shard)) => {
            world.record().fault(Kind::Damage, world.now(), &format!("{what:?} of {shard} on node{node}"));
            Struck::Yes
        }
        Ok(None) => Struck::Skipped,
        Err(error) => sound(node, &error),
    };
    world.restart(node);
    struck
}

/// Kills a node, flips a bit in one of its files, and starts it again; only where everything has all its voters.
pub async fn flip_bit(world: &World, node: Target, part: Part) -> Struck {
    let Some(node) = kill_when_whole(world, node).await else { return Struck::Skipped };
    if world.is_spoiled(node) {
        world.restart(node);
        return Struck::Skipped;
    }
    // Prophet's files are there on Prophet's nodes only.
    let file = match part {
        Part::Any => [PROPHET, JOURNAL, STORE, STORE][world.knobs().seed as usize % 4],
        Part::Log | Part::Data => STORE,
        Part::ProphetJournal => PROPHET_JOURNAL,
    };
    let aim = match part {
        Part::Any => (file == JOURNAL).then_some(JOURNAL_USED),
        Part::ProphetJournal => Some(JOURNAL_USED),
        Part::Log => place_of_a_row(world, node, Table::Log),
        Part::Data => place_of_a_row(world, node, Table::Data),
    };
    let is_aimed = aim.is_some() || part == Part::Any;
    let may_be_another = part != Part::ProphetJournal;
    let is_spoiled =
        is_aimed && (world.spoil(node, file, aim.clone()) || may_be_another && world.spoil(node, STORE, aim));
    if is_spoiled {
        world.record().fault(Kind::BitFlip, world.now(), &format!("node{node}, {part:?}"));
    }
    world.restart(node);
    if is_spoiled { Struck::Yes } else { Struck::Skipped }
}

/// Which bytes of the store's file hold the value of a row of `table`, whichever row the seed says.
fn place_of_a_row(world: &World, node: usize, table: Table) -> Option<Range<u64>> {
    let disk = world.disk(node);
    disk.revive();
    let open = || Engine::open(&disk.mount(), Path::new(STORE)).unwrap_or_else(|error| sound(node, &error));
    let view = |engine: &Engine| engine.view().unwrap_or_else(|error| sound(node, &error));
    let engine = open();
    let rows = view(&engine).scan(table, &[], &[]).unwrap_or_else(|error| sound(node, &error));
    let rows: Vec<_> = rows.map(|row| row.unwrap_or_else(|error| sound(node, &error))).collect();
    drop(engine);
    let nth = (world.knobs().seed as usize).checked_rem(rows.len());
    let place = nth.map(|nth| &rows[nth]).and_then(|(key, value)| {
        // Opened anew, since a page is read once: that of a small table already when the file is opened.
        let read = || {
            let engine = open();
            view(&engine).get(table, key).unwrap_or_else(|error| sound(node, &error));
            engine
        };
        disk.find_read(STORE, value, read)
    });
    disk.fence();
    place
}

fn sound(node: usize, error: &EngineError) -> ! {
    panic!("the disk of node{node} was sound: {error}")
}

/// Waits for a moment in which everything has all its voters, and ends the process of a node then.
async fn kill_when_whole(world: &World, node: Target) -> Option<usize> {
    let patience = world.now() + PATIENCE;
    while !has_all(world).await {
        if world.now() > patience {
            return None;
        }
        sleep(GLANCE).await;
    }
    let node = world.resolve(node)?;
    (world.kill(node, Death::Process).await && world.state(node) == State::Down).then_some(node)
}

async fn has_all(world: &World) -> bool {
    let seems_so = || !world.record().observer.is_damaged() && world.nodes_in(State::Up).len() == world.knobs().nodes;
    // Another fault may strike while nodes are asked.
    seems_so() && probe::is_whole(world).await.is_ok() && seems_so()
}

/// Writes the damage, unless there is nothing to damage.
fn at_rest(world: &World, node: usize, group: u64, what: Damage) -> Result<Option<ShardId>, EngineError> {
    let disk = world.disk(node);
    disk.revive();
    let engine = Engine::open(&disk.mount(), Path::new(STORE))?;
    let view = engine.view()?;
    let shards = initialised(&view)?;
    let Some(shard) = group.checked_rem(shards.len() as u64).map(|index| shards[index as usize]) else {
        return Ok(None);
    };
    if !world.record().observer.damage(node, shard) {
        return Ok(None);
    }
    let mut batch = Batch::new(view);
    write(shard, what, &mut batch)?;
    engine.commit(batch)?;
    drop(engine);
    disk.fence();
    Ok(Some(shard))
}

fn initialised(view: &View) -> Result<Vec<ShardId>, EngineError> {
    let mut shards = Vec::new();
    for row in view.scan(Table::Group, &[], &[])? {
        let (key, row) = row?;
        let row: GroupRow = decode(&row)?;
        let shard = ShardId(u64::from_be_bytes(key[..].try_into().expect("a group's key")));
        shards.extend(row.is_initialised().then_some(shard));
    }
    Ok(shards)
}

fn write(shard: ShardId, what: Damage, batch: &mut Batch) -> Result<(), EngineError> {
    let row = GroupRow::read(batch.view(), shard)?.expect("listed just now");
    let last = batch.view().scan(Table::Log, &log_key(shard, 0), &log_key(ShardId(shard.0 + 1), 0))?.last();
    match (what, last.transpose()?) {
        (Damage::Entry, Some((key, _))) => batch.put(Table::Log, key, RUBBISH.into()),
        (Damage::Contradiction, _) => {
            // raft-rs never goes back behind what is truncated.
            let row = GroupRow { applied: row.truncated - 1, ..row };
            batch.put(Table::Group, group_key(shard), encode(&row).into());
        }
        (Damage::Row | Damage::Entry, _) => batch.put(Table::Group, group_key(shard), RUBBISH.into()),
    }
    Ok(())
}
