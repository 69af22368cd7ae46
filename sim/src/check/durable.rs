//! D: each acknowledged write is there after everything is healed.
//!
//! A final read through each node closes the history, so the linearizability checker sees lost writes as well; this
//! check says it in one sentence. The value that is read must come from a write that no acknowledged one followed:
//! a write that began after another one was acknowledged replaces it, and what was replaced must not come back.

use std::collections::BTreeMap;

use crate::history::{Event, Function, HistoryError, Operation, Outcome, Value, operations};

/// Looks at the reads that were asked at or after `from` (nanoseconds of the run). The first lost write of each such
/// read, in words.
pub fn check(history: &[Event], from: u64) -> Result<Vec<String>, HistoryError> {
    let operations = operations(history)?;
    let finals = operations.iter().filter(|operation| operation.is_final_read(from));
    let mut writes: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for write in operations.iter().filter(|operation| operation.is_write_that_may_have_happened()) {
        writes.entry(&write.key).or_default().push(write);
    }
    Ok(finals.filter_map(|read| lost(read, writes.get(read.key.as_str())?)).collect())
}

impl Operation {
    fn is_final_read(&self, from: u64) -> bool {
        self.f == Function::Get && self.outcome == Outcome::Done && self.invoke_time >= from
    }

    /// What the key holds after this; `None` for "missing".
    fn written(&self) -> Option<&String> {
        match &self.value {
            Value::Text(Some(text)) if self.f == Function::Set => Some(text),
            _ => None,
        }
    }

    fn is_write_that_may_have_happened(&self) -> bool {
        self.f != Function::Get && self.outcome != Outcome::Failed
    }
}

/// What is wrong with `read`, in the light of all `writes` of its key.
fn lost(read: &Operation, writes: &[&Operation]) -> Option<String> {
    let Value::Text(found) = &read.value else { return None };
    let possible =
        |write: &&&Operation| write.written() == found.as_ref() && replaced_by(write, read, writes).is_none();
    if writes.iter().any(|write| possible(&write)) {
        return None;
    }
    // Nothing was ever acknowledged before the read: a key that never was is missing.
    let acknowledged = writes.iter().rev().find(|write| write.returned_before(read))?;
    Some(format!(
        "key {:?} reads {} on node{}, though {} was acknowledged at {:.6}s and nothing later explains it",
        read.key,
        found.as_ref().map_or("as missing".into(), |text| format!("{text:?}")),
        read.node.unwrap_or_default(),
        acknowledged.written().map_or("its deletion".into(), |text| format!("{text:?}")),
        acknowledged.return_time.unwrap_or_default() as f64 / 1e9,
    ))
}

impl Operation {
    fn returned_before(&self, later: &Operation) -> bool {
        self.return_index.is_some_and(|index| index < later.invoke_index)
    }
}

/// The acknowledged write that came after `write` was over and before `read` began.
fn replaced_by<'a>(write: &Operation, read: &Operation, writes: &[&'a Operation]) -> Option<&'a Operation> {
    writes.iter().copied().find(|later| write.returned_before(later) && later.returned_before(read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::EventType;

    /// Events by hand: process, type, function, value.
    fn history(lines: &[(u64, EventType, Function, Option<&str>)]) -> Vec<Event> {
        let event =
            |(time, (process, event_type, f, value)): (usize, &(u64, EventType, Function, Option<&str>))| Event {
                process: *process,
                event_type: *event_type,
                f: *f,
                key: "k".into(),
                value: Value::Text(value.map(String::from)),
                time: time as u64,
                node: Some(0),
            };
        lines.iter().enumerate().map(event).collect()
    }

    use EventType::{Info, Invoke, Ok as Done};
    use Function::{Get, Set};

    #[test]
    fn an_acknowledged_write_that_is_gone_is_told() {
        let lines = [
            (1, Invoke, Set, Some("a")),
            (1, Done, Set, Some("a")),
            (1, Invoke, Set, Some("b")),
            (1, Done, Set, Some("b")),
            (2, Invoke, Get, None),
            (2, Done, Get, Some("a")),
        ];
        let told = check(&history(&lines), 4).unwrap();
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("\"b\" was acknowledged"), "{}", told[0]);
    }

    #[test]
    fn a_write_of_unknown_outcome_explains_what_is_read() {
        let lines = [
            (1, Invoke, Set, Some("a")),
            (1, Info, Set, Some("a")),
            (3, Invoke, Set, Some("b")),
            (3, Done, Set, Some("b")),
            (2, Invoke, Get, None),
            (2, Done, Get, Some("a")),
        ];
        assert!(check(&history(&lines), 4).unwrap().is_empty());
    }

    #[test]
    fn a_key_that_was_never_written_is_missing() {
        let lines = [(2, Invoke, Get, None), (2, Done, Get, None)];
        assert!(check(&history(&lines), 0).unwrap().is_empty());
    }

    #[test]
    fn a_missing_key_after_an_acknowledged_write_is_told() {
        let lines =
            [(1, Invoke, Set, Some("a")), (1, Done, Set, Some("a")), (2, Invoke, Get, None), (2, Done, Get, None)];
        assert_eq!(check(&history(&lines), 2).unwrap().len(), 1);
    }
}
