//! Reads: of a view, with the descriptor of the same view, so that nothing is read that the shard did not own then.

use bytes::Bytes;

use super::KvMachine;
use crate::{
    engine::{EngineError, Table, View},
    planted::{Bug, planted},
    raft::GroupRow,
    types::{KeyRange, ShardId},
    wire::decode,
};

/// The shard does not own the key in this view, or there is no such replica.
#[derive(Debug, PartialEq, Eq)]
pub struct NotOwned;

/// Rows of one shard, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Ascending by key.
    pub rows: Vec<(Bytes, Bytes)>,
    /// Where the next page begins; `None` at the end of what was asked for.
    pub next: Option<Bytes>,
}

fn machine(view: &View, shard: ShardId) -> Result<Option<KvMachine>, EngineError> {
    let row = GroupRow::read(view, shard)?.filter(GroupRow::is_initialised);
    row.map(|row| Ok(decode(&row.machine)?)).transpose()
}

/// The value of `key` in `view`.
pub fn read(view: &View, shard: ShardId, key: &[u8]) -> Result<Result<Option<Bytes>, NotOwned>, EngineError> {
    let owned = machine(view, shard)?.is_some_and(|machine| machine.shard().range.contains(key));
    if !owned && !planted(Bug::DropRangeCheck) && !planted(Bug::ReadAcrossSplit) {
        return Ok(Err(NotOwned));
    }
    Ok(Ok(view.get(Table::Data, key)?))
}

/// The rows from `range.start` on: at most `rows_max` of them and about `bytes_max` bytes, none beyond `range.end` or the
/// shard's own end. The page says where the next one begins, which may be in the next shard.
pub fn scan(
    view: &View,
    shard: ShardId,
    range: &KeyRange,
    rows_max: usize,
    bytes_max: usize,
) -> Result<Result<Page, NotOwned>, EngineError> {
    let Some(machine) = machine(view, shard)? else { return Ok(Err(NotOwned)) };
    let own = &machine.shard().range;
    if !own.contains(&range.start) {
        return Ok(Err(NotOwned));
    }
    let ends_here = !range.end.is_empty() && (own.end.is_empty() || range.end <= own.end);
    let end = if ends_here { &range.end } else { &own.end };
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for row in view.scan(Table::Data, &range.start, end)? {
        let (key, value) = row?;
        if rows.len() >= rows_max || bytes > 0 && bytes + key.len() + value.len() > bytes_max {
            return Ok(Ok(Page { rows, next: Some(key.into()) }));
        }
        bytes += key.len() + value.len();
        rows.push((key.into(), value));
    }
    let is_over = ends_here || own.end.is_empty();
    Ok(Ok(Page { rows, next: (!is_over).then(|| own.end.clone().into()) }))
}
