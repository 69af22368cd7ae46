//! What the checkers of workloads share: the operations of each key, what was the greatest so far, and words.

use std::collections::BTreeMap;

use crate::history::{Event, Function, HistoryError, Operation, Outcome, Value, operations};

/// The operations on each key that begins with `prefix`, as they were asked.
pub(super) fn by_key(history: &[Event], prefix: &str) -> Result<BTreeMap<String, Vec<Operation>>, HistoryError> {
    let mut keys: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    for operation in operations(history)?.into_iter().filter(|operation| operation.key.starts_with(prefix)) {
        keys.entry(operation.key.clone()).or_default().push(operation);
    }
    Ok(keys)
}

/// The reads that were done.
pub(super) fn reads(operations: &[Operation]) -> impl Iterator<Item = &Operation> + Clone {
    operations.iter().filter(|operation| operation.f == Function::Get && operation.outcome == Outcome::Done)
}

/// The text of a set, or what a get has read; `None` where it is missing, or a delete.
pub(super) fn text(operation: &Operation) -> Option<&str> {
    match &operation.value {
        Value::Text(text) => text.as_deref(),
        Value::Pair(_) => None,
    }
}

/// Whether `earlier` was answered before `later` was asked.
pub(super) fn is_over_before(earlier: &Operation, later: &Operation) -> bool {
    earlier.return_index.is_some_and(|index| index < later.invoke_index)
}

/// The greatest so far at each moment, of points that come in any order.
pub(super) struct Peaks<T>(Vec<(usize, T)>);

impl<T: Ord + Copy> Peaks<T> {
    /// Of these moments and what came at each.
    pub(super) fn new(points: impl IntoIterator<Item = (usize, T)>) -> Self {
        let mut points: Vec<_> = points.into_iter().collect();
        points.sort();
        for place in 1..points.len() {
            points[place].1 = points[place].1.max(points[place - 1].1);
        }
        Peaks(points)
    }

    /// The greatest that came before `moment`.
    pub(super) fn before(&self, moment: usize) -> Option<T> {
        let count = self.0.partition_point(|(at, _)| *at < moment);
        count.checked_sub(1).map(|last| self.0[last].1)
    }
}

/// An operation in words, with its node and its moment.
pub(super) fn told(operation: &Operation) -> String {
    let asked = seconds(operation.invoke_time);
    let when = match operation.return_time {
        Some(answered) => format!("from {asked} to {}", seconds(answered)),
        None => format!("from {asked} on"),
    };
    let node = operation.node.map_or(String::new(), |node| format!(" through node{node}"));
    let what = match (operation.f, text(operation)) {
        (Function::Get, None) => "a read of nothing".into(),
        (Function::Get, Some(found)) => format!("a read of {found:?}"),
        (Function::Delete, _) => "a delete".into(),
        (_, text) => format!("a write of {:?}", text.unwrap_or_default()),
    };
    format!("{what}{node} {when}, {}", operation.outcome.name())
}

fn seconds(nanoseconds: u64) -> String {
    format!("{:.6}s", nanoseconds as f64 / 1e9)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::history::EventType;

    /// A history by hand, a line each: `process what`, where what is `set V`, `delete` or `get`, which ask, or `ok`, `ok V`,
    /// `fail` or `info`, which answer. The place of a line is its time in seconds. Process n asks node n.
    pub(in super::super) fn history(key: &str, lines: &str) -> Vec<Event> {
        let mut asked: BTreeMap<u64, (Function, Option<String>)> = BTreeMap::new();
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate();
        let event = |(place, line): (usize, &str)| {
            let words: Vec<_> = line.split(' ').collect();
            let (process, value) = (words[0].parse().unwrap(), words.get(2).map(|word| word.to_string()));
            let question = match words[1] {
                "set" => Some(Function::Set),
                "delete" => Some(Function::Delete),
                "get" => Some(Function::Get),
                _ => None,
            };
            if let Some(f) = question {
                asked.insert(process, (f, value.clone()));
            }
            let (f, of_question) = asked[&process].clone();
            let event_type = match words[1] {
                "ok" => EventType::Ok,
                "fail" => EventType::Fail,
                "info" => EventType::Info,
                _ => EventType::Invoke,
            };
            let time = place as u64 * 1_000_000_000;
            let value = Value::Text(value.or(of_question));
            Event { process, event_type, f, key: key.into(), value, time, node: Some(process) }
        };
        lines.map(event).collect()
    }

    #[test]
    fn the_greatest_so_far() {
        let peaks = Peaks::new([(7, 1), (3, 5), (5, 2), (9, 8)]);
        assert_eq!(
            [0, 3, 4, 8, 9, 10].map(|moment| peaks.before(moment)),
            [None, None, Some(5), Some(5), Some(5), Some(8)]
        );
    }
}
