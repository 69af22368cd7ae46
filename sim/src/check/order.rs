//! O: numbers that ascend, seen by whoever looks. One client writes 1, 2, 3 and so on into a key, and leaves the key after
//! a write of unknown outcome; so whatever the key holds, it held all smaller numbers before, and a read is wrong if it
//! shows
//! - less than what was acknowledged before it began,
//! - less than another read showed that was over before it began,
//! - more than was tried before it ended, or what was refused.
//!
//! Each rule compares a read with the greatest number so far, so no order has to be searched for.

use std::collections::BTreeSet;

use super::by_key::{Peaks, by_key, reads, text, told};
use crate::history::{Event, Function, HistoryError, Operation, Outcome};

/// The first thing that is wrong with each key that begins with `prefix`, in words.
pub fn check(history: &[Event], prefix: &str) -> Result<Vec<String>, HistoryError> {
    let keys = by_key(history, prefix)?;
    let wrong = keys.iter().filter_map(|(key, operations)| {
        let wrong = not_a_number(operations).or_else(|| misread(operations));
        wrong.map(|wrong| format!("key {key:?}: {wrong}"))
    });
    Ok(wrong.collect())
}

/// What is written or read; a missing key is 0.
fn number(operation: &Operation) -> Option<u64> {
    text(operation).map_or(Some(0), |text| text.parse().ok())
}

fn not_a_number(operations: &[Operation]) -> Option<String> {
    operations.iter().find(|operation| number(operation).is_none()).map(|wrong| format!("{}, no number", told(wrong)))
}

fn misread(operations: &[Operation]) -> Option<String> {
    let number = |operation: &Operation| number(operation).expect("all are numbers");
    let places = || operations.iter().enumerate();
    let writes = || places().filter(|(_, operation)| operation.f == Function::Set);
    // Each with the place of its operation, to tell of it.
    let answered =
        |(place, operation): (usize, &Operation)| Some((operation.return_index?, (number(operation), place)));
    let acknowledged = Peaks::new(writes().filter(|(_, write)| write.outcome == Outcome::Done).filter_map(answered));
    let is_read =
        |(_, operation): &(usize, &Operation)| operation.f == Function::Get && operation.outcome == Outcome::Done;
    let seen = Peaks::new(places().filter(is_read).filter_map(answered));
    let tried = Peaks::new(writes().map(|(place, write)| (write.invoke_index, (number(write), place))));
    let refused: BTreeSet<_> =
        writes().filter(|(_, write)| write.outcome == Outcome::Failed).map(|(_, write)| number(write)).collect();
    reads(operations).find_map(|read| {
        let found = number(read);
        let more_than = |peaks: &Peaks<(u64, usize)>| {
            let (greatest, place) = peaks.before(read.invoke_index)?;
            (greatest > found).then(|| told(&operations[place]))
        };
        if let Some(written) = more_than(&acknowledged) {
            return Some(format!("less than was acknowledged: {}, after {written}", told(read)));
        }
        if let Some(earlier) = more_than(&seen) {
            return Some(format!("it goes back: {}, after {earlier}", told(read)));
        }
        if refused.contains(&found) {
            return Some(format!("what was refused is there: {}", told(read)));
        }
        let most = tried.before(read.return_index?).map_or(0, |(most, _)| most);
        (found > most).then(|| format!("more than was tried, which is {most}: {}", told(read)))
    })
}

#[cfg(test)]
mod tests {
    use super::{super::by_key::tests::history, *};

    fn judge(lines: &str) -> Vec<String> {
        check(&history("monotonic/00", lines), "monotonic/").unwrap()
    }

    /// The only complaint has these words.
    fn must_say(lines: &str, words: &[&str]) {
        let told = judge(lines);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(words.iter().all(|word| told[0].contains(word)), "{told:?}");
    }

    #[test]
    fn what_ascends_is_right() {
        let good = [
            "2 get\n2 ok\n1 set 1\n1 ok\n2 get\n2 ok 1",
            // Both are under way: either may be seen, in the order of the reads.
            "1 set 1\n1 ok\n2 get\n1 set 2\n2 ok 2\n3 get\n3 ok 2\n1 ok",
            "1 set 1\n1 ok\n1 set 2\n2 get\n3 get\n3 ok 2\n2 ok 1\n1 ok",
            // The last one, of which nobody knows, acts whenever it likes.
            "1 set 1\n1 ok\n1 set 2\n1 info\n2 get\n2 ok 1\n3 get\n3 ok 2\n2 get\n2 ok 2",
            "1 set 1\n1 ok\n1 set 2\n1 fail\n2 get\n2 ok 1\n1 set 3\n1 ok\n2 get\n2 ok 3",
            "1 set 1\n1 ok\n2 get\n2 fail",
        ];
        for lines in good {
            assert!(judge(lines).is_empty(), "{lines}: {:?}", judge(lines));
        }
    }

    #[test]
    fn less_than_was_acknowledged_is_told() {
        let lines = "1 set 1\n1 ok\n1 set 2\n1 ok\n2 get\n2 ok 1";
        must_say(
            lines,
            &["\"monotonic/00\"", "less than was acknowledged", "\"1\" through node2 from 4.000000s", "\"2\""],
        );
        must_say("1 set 1\n1 ok\n2 get\n2 ok", &["less than was acknowledged", "a read of nothing"]);
    }

    #[test]
    fn going_back_is_told_also_across_readers() {
        let lines = "1 set 1\n1 ok\n1 set 2\n2 get\n2 ok 2\n3 get\n3 ok 1\n1 ok";
        must_say(lines, &["it goes back", "\"1\" through node3 from 5.000000s", "\"2\" through node2"]);
        must_say("1 set 1\n1 info\n2 get\n2 ok 1\n2 get\n2 ok", &["it goes back", "a read of nothing"]);
    }

    #[test]
    fn what_was_not_tried_or_refused_is_told() {
        must_say(
            "1 set 1\n1 ok\n2 get\n2 ok 2\n1 set 2\n1 ok",
            &["more than was tried, which is 1", "node2 from 2.000000s"],
        );
        must_say(
            "1 set 1\n1 ok\n1 set 2\n1 fail\n2 get\n2 ok 2",
            &["what was refused is there", "node2 from 4.000000s"],
        );
        must_say("1 set 1\n1 ok\n2 get\n2 ok one", &["\"one\"", "no number"]);
    }
}
