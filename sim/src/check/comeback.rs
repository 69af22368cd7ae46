//! C: what was deleted or replaced does not come back. Each value is written once. A write acts once, between its question
//! and its answer, and before the first read that shows it was over; a delete or another write that was asked after that
//! and acknowledged has taken the value away for good. So a read is wrong if it shows
//! - a value that was taken away before it began,
//! - nothing, though a write had acted before it began and no delete can have acted between that and the read's end,
//! - a value that nobody had tried to write before it ended, or whose write was refused.
//!
//! An operation of unknown outcome may act at any later time, so an unknown delete explains every later nothing, and an
//! unknown write every later sight of its value until one was over. Linearizability (L) demands more; this needs no search,
//! and says in one sentence what came back.

use std::collections::BTreeMap;

use super::by_key::{Peaks, by_key, is_over_before, reads, text, told};
use crate::history::{Event, Function, HistoryError, Operation, Outcome};

/// The first thing that is wrong with each key that begins with `prefix`, in words.
pub fn check(history: &[Event], prefix: &str) -> Result<Vec<String>, HistoryError> {
    let keys = by_key(history, prefix)?;
    let wrong = keys.iter().filter_map(|(key, operations)| {
        let key_check = KeyCheck::new(operations);
        let wrong = reads(operations).find_map(|read| match text(read) {
            Some(value) => key_check.came_back(read, value),
            None => key_check.lost(read),
        });
        wrong.map(|wrong| format!("key {key:?}: {wrong}"))
    });
    Ok(wrong.collect())
}

/// What is known of the operations of one key. Operations are named by their place.
struct KeyCheck<'a> {
    operations: &'a [Operation],
    /// The write of each value.
    writes: BTreeMap<&'a str, &'a Operation>,
    /// By when each value's write has acted: its answer, or the end of the first read that showed it.
    acted: BTreeMap<&'a str, usize>,
    /// Of the acknowledged writes and deletes, when they were answered: the last to be asked.
    takers: Peaks<(usize, usize)>,
    /// Of the writes that have acted, by when: the last to be asked.
    written: Peaks<(usize, usize)>,
    /// Of the deletes that may act, when they were asked: the last moment at which one may.
    deletes: Peaks<usize>,
}

impl<'a> KeyCheck<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        let changes = || operations.iter().enumerate().filter(|(_, one)| one.f != Function::Get);
        let writes: BTreeMap<_, _> = changes().filter_map(|(_, write)| Some((text(write)?, write))).collect();
        let acted = acted(operations, &writes);
        let takers = changes().filter(|(_, one)| one.outcome == Outcome::Done);
        let takers = takers.filter_map(|(place, one)| Some((one.return_index?, (one.invoke_index, place))));
        let written = changes().filter_map(|(place, write)| {
            let by = acted.get(text(write)?)?;
            Some((*by, (write.invoke_index, place)))
        });
        let deletes = changes().filter(|(_, one)| one.f == Function::Delete && one.outcome != Outcome::Failed);
        let deletes = deletes.map(|(_, one)| (one.invoke_index, one.return_index.unwrap_or(usize::MAX)));
        let (takers, written, deletes) = (Peaks::new(takers), Peaks::new(written), Peaks::new(deletes));
        KeyCheck { operations, writes, acted, takers, written, deletes }
    }

    /// `read` shows `value`, and should not.
    fn came_back(&self, read: &Operation, value: &str) -> Option<String> {
        let Some(write) = self.writes.get(value) else {
            return Some(format!("{}, which nobody wrote", told(read)));
        };
        if write.outcome == Outcome::Failed {
            return Some(format!("what was refused is there: {}, but {}", told(write), told(read)));
        }
        if is_over_before(read, write) {
            return Some(format!("it is there before it was written: {}, but {}", told(read), told(write)));
        }
        let (asked, place) = self.takers.before(read.invoke_index)?;
        // There is a moment by which it has acted: this read is over at the latest.
        if asked <= self.acted[value] {
            return None;
        }
        Some(format!(
            "{value:?} came back: {}, after {}, then {}",
            told(read),
            told(write),
            told(&self.operations[place])
        ))
    }

    /// `read` shows nothing, and should show something.
    fn lost(&self, read: &Operation) -> Option<String> {
        let (asked, place) = self.written.before(read.invoke_index)?;
        let is_explained = self.deletes.before(read.return_index?).is_some_and(|until| until > asked);
        let write = &self.operations[place];
        (!is_explained).then(|| format!("it is gone and nobody deleted it: {}, but {}", told(write), told(read)))
    }
}

fn acted<'a>(operations: &'a [Operation], writes: &BTreeMap<&'a str, &'a Operation>) -> BTreeMap<&'a str, usize> {
    let answered = writes.iter().filter(|(_, write)| write.outcome == Outcome::Done);
    let answered = answered.filter_map(|(value, write)| Some((*value, write.return_index?)));
    let seen = reads(operations).filter_map(|read| Some((text(read)?, read.return_index?)));
    let mut acted = BTreeMap::new();
    for (value, by) in answered.chain(seen) {
        acted.entry(value).and_modify(|first: &mut usize| *first = by.min(*first)).or_insert(by);
    }
    acted
}

#[cfg(test)]
mod tests {
    use super::{super::by_key::tests::history, *};

    fn judge(lines: &str) -> Vec<String> {
        check(&history("churn/0", lines), "churn/").unwrap()
    }

    /// The only complaint has these words.
    fn must_say(lines: &str, words: &[&str]) {
        let told = judge(lines);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(words.iter().all(|word| told[0].contains(word)), "{told:?}");
    }

    #[test]
    fn what_stays_away_or_may_act_late_is_right() {
        let good = [
            "2 get\n2 ok\n1 set a\n1 ok\n2 get\n2 ok a\n1 delete\n1 ok\n2 get\n2 ok\n1 set b\n1 ok\n2 get\n2 ok b",
            // The delete and the write are under way at once.
            "1 set a\n2 delete\n2 ok\n1 ok\n3 get\n3 ok a",
            "1 set a\n2 delete\n2 ok\n1 ok\n3 get\n3 ok",
            // The read begins before the delete is acknowledged.
            "1 set a\n1 ok\n2 delete\n3 get\n2 ok\n3 ok a",
            // A write that nobody knows of acts after the delete.
            "1 set a\n1 info\n2 delete\n2 ok\n3 get\n3 ok\n3 get\n3 ok a",
            // A delete that nobody knows of acts late, after another write.
            "2 delete\n2 info\n1 set a\n1 ok\n3 get\n3 ok a\n3 get\n3 ok",
            "1 set a\n1 ok\n2 delete\n2 fail\n3 get\n3 ok a",
        ];
        for lines in good {
            assert!(judge(lines).is_empty(), "{lines}: {:?}", judge(lines));
        }
    }

    #[test]
    fn what_was_deleted_and_is_there_again_is_told() {
        let lines = "1 set a\n1 ok\n2 delete\n2 ok\n3 get\n3 ok\n4 get\n4 ok a";
        must_say(
            lines,
            &["\"churn/0\"", "\"a\" came back", "node4 from 6.000000s", "a delete through node2 from 2.000000s"],
        );
    }

    /// It was seen, so it has acted, though nobody knows how it ended.
    #[test]
    fn an_unknown_write_acts_once() {
        let lines = "1 set a\n1 info\n3 get\n3 ok a\n2 delete\n2 ok\n3 get\n3 ok a";
        must_say(lines, &["\"a\" came back", "node3 from 6.000000s", "unknown"]);
        // It is still under way: its second coming is as wrong.
        let lines = "1 set a\n3 get\n3 ok a\n2 delete\n2 ok\n3 get\n3 ok a\n1 ok";
        must_say(lines, &["\"a\" came back", "node3 from 5.000000s"]);
    }

    #[test]
    fn what_was_replaced_and_is_there_again_is_told() {
        must_say("1 set a\n1 ok\n2 set b\n2 ok\n3 get\n3 ok a", &["\"a\" came back", "a write of \"b\""]);
    }

    #[test]
    fn what_is_gone_without_a_delete_is_told() {
        let lines = "2 delete\n2 ok\n1 set a\n1 ok\n3 get\n3 ok";
        must_say(lines, &["\"churn/0\"", "gone and nobody deleted it", "node3 from 4.000000s"]);
    }

    #[test]
    fn what_nobody_wrote_or_was_refused_is_told() {
        must_say("3 get\n3 ok a", &["which nobody wrote", "node3 from 0.000000s"]);
        must_say("1 set a\n1 fail\n3 get\n3 ok a", &["what was refused is there", "node3"]);
        must_say("3 get\n3 ok a\n1 set a\n1 ok", &["before it was written"]);
    }
}
