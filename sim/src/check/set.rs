//! S: what was added to the set is there. Each element is a key to which one value is written once, and nobody takes it
//! away: so an acknowledged one is there through every node, a refused one through none, nothing is there that was not
//! tried, and what was seen once stays.
//!
//! One of unknown outcome is there or not. It may act at any later time, so two reads may differ on it; but not for ever:
//! what was asked [`SETTLED`] before the final reads has acted by then or never will, since all is healed long before, and
//! so it is the same through every node.

use std::time::Duration;

use super::by_key::{by_key, is_over_before, reads, text, told};
use crate::history::{Event, Function, HistoryError, Operation, Outcome};

/// After what time an add that nobody knows of has acted or never will, in a cluster that was healed: longer than a client
/// waits for its answer, and some elections.
const SETTLED: Duration = Duration::from_secs(12);

/// What is wrong with each element whose key begins with `prefix`, in words. The final reads began at `reads_from`, if they
/// ended.
pub fn check(history: &[Event], prefix: &str, reads_from: Option<Duration>) -> Result<Vec<String>, HistoryError> {
    let keys = by_key(history, prefix)?;
    let wrong = keys.iter().filter_map(|(key, operations)| {
        let add = operations.iter().find(|operation| operation.f == Function::Set);
        let wrong = reads(operations).find_map(|read| misread(add, read)).or_else(|| vanished(operations));
        let wrong = wrong.or_else(|| differs(add?, operations, reads_from?));
        wrong.map(|wrong| format!("element {key:?}: {wrong}"))
    });
    Ok(wrong.collect())
}

/// A read that cannot be, whatever the others say.
fn misread(add: Option<&Operation>, read: &Operation) -> Option<String> {
    let Some(add) = add else {
        return text(read).map(|_| format!("{}, which was never tried", told(read)));
    };
    let why = match text(read) {
        None if add.outcome == Outcome::Done && is_over_before(add, read) => "was added and is not there",
        None => return None,
        Some(_) if add.outcome == Outcome::Failed => "was refused and is there",
        Some(_) if is_over_before(read, add) => "is there before it was tried",
        found if found != text(add) => "is there as something else",
        Some(_) => return None,
    };
    Some(format!("it {why}: {}, but {}", told(add), told(read)))
}

/// It was there, and is not any more.
fn vanished(operations: &[Operation]) -> Option<String> {
    let first = reads(operations).filter(|read| text(read).is_some()).min_by_key(|read| read.return_index)?;
    let gone = reads(operations).find(|read| text(read).is_none() && is_over_before(first, read))?;
    Some(format!("it was there and is gone: {}, but {}", told(first), told(gone)))
}

/// It is there through one node and not through another.
fn differs(add: &Operation, operations: &[Operation], reads_from: Duration) -> Option<String> {
    let reads_from = reads_from.as_nanos() as u64;
    if add.invoke_time + SETTLED.as_nanos() as u64 > reads_from {
        return None;
    }
    let finals = reads(operations).filter(|read| read.invoke_time >= reads_from);
    let (there, missing) =
        (finals.clone().find(|read| text(read).is_some())?, finals.clone().find(|read| text(read).is_none())?);
    Some(format!("it is not the same through every node: {}, but {}", told(there), told(missing)))
}

#[cfg(test)]
mod tests {
    use super::{super::by_key::tests::history, *};

    fn judge(lines: &str, reads_from: u64) -> Vec<String> {
        check(&history("set/0/007", lines), "set/", Some(Duration::from_secs(reads_from))).unwrap()
    }

    /// The only complaint has these words.
    fn must_say(lines: &str, reads_from: u64, words: &[&str]) {
        let told = judge(lines, reads_from);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(words.iter().all(|word| told[0].contains(word)), "{told:?}");
    }

    #[test]
    fn what_was_added_is_there_and_an_unknown_one_may_be() {
        let good = [
            "1 set a\n1 ok\n2 get\n2 ok a\n3 get\n3 ok a",
            "1 set a\n2 get\n1 ok\n2 ok\n3 get\n3 ok a",
            "1 set a\n1 info\n2 get\n2 ok a\n3 get\n3 ok a",
            "1 set a\n1 info\n2 get\n2 ok\n3 get\n3 ok",
            "1 set a\n1 fail\n2 get\n2 ok",
            "1 get\n1 ok",
            "1 set a\n1 ok\n2 get\n2 fail",
        ];
        for lines in good {
            assert!(judge(lines, 20).is_empty(), "{lines}: {:?}", judge(lines, 20));
        }
    }

    #[test]
    fn an_acknowledged_one_that_one_node_lacks_is_told() {
        let lines = "1 set a\n1 ok\n2 get\n2 ok a\n3 get\n3 ok";
        must_say(
            lines,
            2,
            &["\"set/0/007\"", "was added and is not there", "node1 from 0.000000s", "node3 from 4.000000s"],
        );
    }

    #[test]
    fn what_nobody_added_or_was_refused_is_told() {
        must_say("1 get\n1 ok a", 0, &["\"set/0/007\"", "node1 from 0.000000s", "never tried"]);
        must_say("1 set a\n1 fail\n2 get\n2 ok a", 2, &["was refused and is there", "node2 from 2.000000s"]);
        must_say("2 get\n2 ok a\n1 set a\n1 ok", 0, &["before it was tried"]);
        must_say("1 set a\n1 ok\n2 get\n2 ok b", 2, &["as something else", "a read of \"b\""]);
    }

    #[test]
    fn what_was_there_and_is_gone_is_told() {
        must_say("1 set a\n1 info\n2 get\n2 ok a\n3 get\n3 ok", 2, &["was there and is gone", "node3 from 4.000000s"]);
    }

    /// It turns up between two final reads: it may where it was asked just before, and not where that is long ago.
    #[test]
    fn a_settled_one_is_the_same_through_every_node() {
        let pause = "4 get\n4 fail\n".repeat(8);
        let lines = format!("1 set a\n1 info\n{pause}2 get\n2 ok\n3 get\n3 ok a");
        must_say(&lines, 18, &["not the same through every node", "node3", "node2 from 18.000000s"]);
        assert!(judge("1 set a\n1 info\n2 get\n2 ok\n3 get\n3 ok a", 2).is_empty());
    }
}
