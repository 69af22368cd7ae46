//! [`View`]: the engine as of one commit. [`Batch`]: a view with changes on top, which reads its own writes.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction};

use super::{EngineError, Table, record::AllChanges};

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;
/// Rows of a table that are written, or removed.
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Bytes>>;

static NONE: Changes = Changes::new();

/// The state right after some commit. Cheap to clone.
#[derive(Clone)]
pub struct View {
    tables: Arc<Vec<Rows>>,
}

impl View {
    pub(super) fn new(transaction: &ReadTransaction) -> Result<View, EngineError> {
        let tables = Table::ALL
            .iter()
            .map(|table| transaction.open_table(table.definition()).map_err(EngineError::disk))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(View { tables: Arc::new(tables) })
    }

    fn rows(&self, table: Table) -> &Rows {
        &self.tables[table as usize]
    }

    /// The value at `key`.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let found = self.rows(table).get(key).map_err(EngineError::disk)?;
        Ok(found.map(|value| Bytes::copy_from_slice(value.value())))
    }

    /// The rows with `start <= key < end` (an empty `end` is no end), ascending.
    pub fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: &[u8],
    ) -> Result<impl Iterator<Item = Result<(Vec<u8>, Bytes), EngineError>> + use<>, EngineError> {
        let upper = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        // redb refuses no empty range, but a reversed one is a mistake of ours.
        assert!(end.is_empty() || start <= end, "a scan from {start:?} to {end:?}");
        let rows = self.rows(table).range::<&[u8]>((Bound::Included(start), upper)).map_err(EngineError::disk)?;
        Ok(rows.map(|row| {
            let (key, value) = row.map_err(EngineError::disk)?;
            Ok((key.value().to_vec(), Bytes::copy_from_slice(value.value())))
        }))
    }
}

/// Changes that become durable together. Reads see the changes.
pub struct Batch {
    view: View,
    changes: AllChanges,
    bytes: u64,
    /// Whether something rests on these changes being durable. See [`Batch::may_be_lost`].
    must_sync: bool,
}

impl Batch {
    /// No changes yet, on top of `view`.
    pub fn new(view: View) -> Batch {
        Batch { view, changes: AllChanges::new(), bytes: 0, must_sync: false }
    }

    /// What is committed: the state without the changes.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What is committed, for another batch.
    pub fn into_view(self) -> View {
        self.view
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of keys and values that were put, and of keys that were deleted.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether these changes must be durable before anybody hears of them: so it is with every change, unless whoever
    /// made it said otherwise.
    pub fn must_sync(&self) -> bool {
        self.must_sync
    }

    /// All changes so far follow from what is durable already, and are made again from it if power goes: they become
    /// durable with the next batch that is synced.
    pub fn may_be_lost(&mut self) {
        self.must_sync = false;
    }

    /// The value at `key`, changes included.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        match self.changes.get(&table).and_then(|changes| changes.get(key)) {
            Some(change) => Ok(change.clone()),
            None => self.view.get(table, key),
        }
    }

    /// Writes a row.
    pub fn put(&mut self, table: Table, key: Vec<u8>, value: Bytes) {
        self.bytes += (key.len() + value.len()) as u64;
        self.must_sync = true;
        self.changes.entry(table).or_default().insert(key, Some(value));
    }

    /// Removes a row, also where there is none.
    pub fn delete(&mut self, table: Table, key: Vec<u8>) {
        self.bytes += key.len() as u64;
        self.must_sync = true;
        self.changes.entry(table).or_default().insert(key, None);
    }

    /// The rows with `start <= key < end` (an empty `end` is no end), ascending, changes included.
    pub fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: &[u8],
    ) -> Result<impl Iterator<Item = Result<(Vec<u8>, Bytes), EngineError>> + '_, EngineError> {
        let upper = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        let changes = self.changes.get(&table).unwrap_or(&NONE);
        let mut ours = changes.range::<[u8], _>((Bound::Included(start), upper)).peekable();
        let mut theirs = self.view.scan(table, start, end)?.peekable();
        Ok(std::iter::from_fn(move || {
            loop {
                let is_ours = match (ours.peek(), theirs.peek()) {
                    (Some((own, _)), Some(Ok((key, _)))) if *own == key => {
                        theirs.next();
                        true
                    }
                    (Some((own, _)), Some(Ok((key, _)))) => *own < key,
                    (Some(_), None) => true,
                    _ => false,
                };
                if !is_ours {
                    return theirs.next();
                }
                if let Some((key, Some(value))) = ours.next() {
                    return Some(Ok((key.clone(), value.clone())));
                }
            }
        }))
    }

    /// Takes over all changes of `other`, which was made on the same view and touched other rows.
    pub fn absorb(&mut self, other: Batch) {
        self.bytes += other.bytes;
        self.must_sync |= other.must_sync;
        for (table, changes) in other.changes {
            self.changes.entry(table).or_default().extend(changes);
        }
    }

    pub(super) fn into_changes(self) -> AllChanges {
        self.changes
    }
}
