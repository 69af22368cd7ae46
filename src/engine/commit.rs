//! A batch in the journal and in redb.

use redb::{Durability, ReadTransaction, TableDefinition, WriteTransaction};

use super::{
    Batch, EngineError,
    journal::{Appended, Journal, Mark},
    record::AllChanges,
};
use crate::planted::{Bug, planted};

/// The mark of the last batch that the file holds. A table of its own, whose one leaf is small: each commit writes it.
const MARK: TableDefinition<(), (u64, u64)> = TableDefinition::new("mark");

/// Commits the batch. After an error neither the journal nor what redb shows is to be built upon.
pub(super) fn write(mut transaction: WriteTransaction, journal: &mut Journal, batch: Batch) -> Result<(), EngineError> {
    let must_sync = batch.must_sync() && !planted(Bug::SkipSync);
    let changes = batch.into_changes();
    match journal.append(&changes).map_err(EngineError::disk)? {
        Appended::Written => {
            if must_sync {
                journal.sync().map_err(EngineError::disk)?;
            }
            transaction.set_durability(Durability::None).map_err(EngineError::disk)?;
            apply(&transaction, changes)?;
            // Whatever makes it durable, redb's own close too, says how far the file goes.
            put_mark(&transaction, journal.mark())?;
            transaction.commit().map_err(EngineError::disk)
        }
        Appended::Full => checkpoint(transaction, journal, [changes]),
    }
}

/// Makes these changes, and all before them, durable in redb.
pub(super) fn checkpoint(
    mut transaction: WriteTransaction,
    journal: &mut Journal,
    batches: impl IntoIterator<Item = AllChanges>,
) -> Result<(), EngineError> {
    batches.into_iter().try_for_each(|changes| apply(&transaction, changes))?;
    let mark = journal.next_mark();
    put_mark(&transaction, mark)?;
    // So that the file opens at once after a crash, however big it is.
    transaction.set_quick_repair(true);
    transaction.commit().map_err(EngineError::disk)?;
    journal.begin(mark).map_err(EngineError::disk)
}

fn apply(transaction: &WriteTransaction, changes: AllChanges) -> Result<(), EngineError> {
    for (table, changes) in changes {
        let mut table = transaction.open_table(table.definition()).map_err(EngineError::disk)?;
        for (key, value) in changes {
            match value {
                Some(value) => table.insert(&key[..], &value[..]).map(drop),
                None => table.remove(&key[..]).map(drop),
            }
            .map_err(EngineError::disk)?;
        }
    }
    Ok(())
}

pub(super) fn put_mark(transaction: &WriteTransaction, mark: Mark) -> Result<(), EngineError> {
    let mut marks = transaction.open_table(MARK).map_err(EngineError::disk)?;
    marks.insert((), (mark.number, mark.seed)).map(drop).map_err(EngineError::disk)
}

/// Up to where the batches are in the file, without its journal.
pub(super) fn mark(transaction: &ReadTransaction) -> Result<Mark, EngineError> {
    let row = transaction.open_table(MARK).map_err(EngineError::disk)?.get(()).map_err(EngineError::disk)?;
    let (number, seed) = row.ok_or_else(|| EngineError::Damaged("the file says not how far it goes".into()))?.value();
    Ok(Mark { number, seed })
}
