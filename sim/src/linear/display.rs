//! A verdict as text, a violation as a table with a time-line.

use std::fmt;

use serde_json::json;

use super::{Format, Spent, Verdict};
use crate::history::{Function, Operation, Outcome, Value};

/// Characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 40;

/// Operations of a piece that are shown, the last ones: the end is where it fails.
const ROWS_MAX: usize = 40;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable { keys, operations } => {
                write!(f, "linearizable: {operations} operations on {keys} keys")
            }
            Self::Undecided { key, why } => write!(f, "undecided: key {key:?} ran out of {why}"),
            Self::Violation { key, operations, shortest, is_minimal } => {
                let rest = if *is_minimal { "" } else { ", the budget ended before they were the fewest" };
                let count = shortest.len();
                writeln!(f, "not linearizable: key {key:?}, shown by {count} of {operations} operations{rest}")?;
                write!(f, "{}", time_line(shortest))
            }
        }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(limit) => write!(f, "search steps ({limit})"),
            Self::Configurations(limit) => write!(f, "remembered configurations ({limit})"),
            Self::TextBytes(limit) => write!(f, "bytes of content ({limit})"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.f, &self.value) {
            (Function::Get, value) if self.outcome == Outcome::Done => write!(f, "get -> {}", value_text(value)),
            (Function::Get, _) => f.write_str("get"),
            (Function::Delete, _) => f.write_str("delete"),
            (Function::Set, value) => write!(f, "set {}", value_text(value)),
            (Function::Append, value) => write!(f, "append {}", value_text(value)),
            (Function::Cas, value) => write!(f, "cas {}", value_text(value)),
        }
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Text(text) => short(text.as_deref()),
        Value::Pair([expected, new]) => format!("{} to {}", short(expected.as_deref()), short(new.as_deref())),
    }
}

/// The verdict for programs: `verdict` is `linearizable`, `violation` or `undecided`; with a violation come the key and the piece
/// of its history that has no order, each operation as it was asked and answered.
pub fn verdict_json(file: &str, format: Format, verdict: &Verdict) -> serde_json::Value {
    let mut said = json!({ "file": file, "format": format.to_string() });
    let more = match verdict {
        Verdict::Linearizable { keys, operations } => {
            json!({ "verdict": "linearizable", "keys": keys, "operations": operations })
        }
        Verdict::Undecided { key, why } => json!({ "verdict": "undecided", "key": key, "why": why.to_string() }),
        Verdict::Violation { key, operations, shortest, is_minimal } => {
            let piece: Vec<_> = shortest.iter().map(operation_json).collect();
            json!({ "verdict": "violation", "key": key, "operations": operations, "piece": piece, "is-minimal": is_minimal })
        }
    };
    let (Some(said_fields), serde_json::Value::Object(more)) = (said.as_object_mut(), more) else { unreachable!() };
    said_fields.extend(more);
    said
}

fn operation_json(one: &Operation) -> serde_json::Value {
    json!({
        "process": one.process, "node": one.node, "f": one.f, "value": one.value, "outcome": one.outcome.name(),
        "invoke-time": one.invoke_time, "return-time": one.return_time,
    })
}

/// A value in quotes; of a long one the start, where our own have their names, and the end, where appends show.
fn short(text: Option<&str>) -> String {
    let Some(text) = text else { return "missing".into() };
    let start = text.char_indices().nth(VALUE_CHARS_MAX / 3);
    let end = text.char_indices().rev().nth(VALUE_CHARS_MAX * 2 / 3);
    match (start, end) {
        (Some((start, _)), Some((end, _))) if start < end => format!("{:?}...{:?}", &text[..start], &text[end..]),
        _ => format!("{text:?}"),
    }
}

/// A row for each operation. The bars share a scale on which each question and each answer is one step.
fn time_line(operations: &[Operation]) -> String {
    let hidden = operations.len().saturating_sub(ROWS_MAX);
    let shown = &operations[hidden..];
    let mut moments: Vec<usize> =
        shown.iter().flat_map(|one| [Some(one.invoke_index), one.return_index]).flatten().collect();
    moments.sort_unstable();
    let rows: Vec<[String; 4]> = shown.iter().map(|operation| row(operation, &moments)).collect();
    let mut text = String::new();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    if hidden > 0 {
        text.push_str(&format!("  {hidden} earlier ones, and\n"));
    }
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(&format!("  {}\n", cells.join("  ").trim_end()));
    }
    text
}

fn row(operation: &Operation, moments: &[usize]) -> [String; 4] {
    let node = operation.node.map_or(String::new(), |node| format!(" at node {node}"));
    let until = operation.return_time.map_or("no answer".into(), |time| format!("{time} ns"));
    [
        format!("process {}{node}", operation.process),
        operation.to_string(),
        bar(operation, moments),
        format!("{} ns to {until}", operation.invoke_time),
    ]
}

/// `|--|` from the question to the answer, `|---?` where none came.
fn bar(operation: &Operation, moments: &[usize]) -> String {
    let column = |moment: usize| 2 * moments.binary_search(&moment).expect("every moment has a column");
    let start = column(operation.invoke_index);
    let (end, mark) = match operation.return_index {
        Some(answer) => (column(answer), '|'),
        None => (2 * moments.len(), '?'),
    };
    format!("{}|{}{mark}", " ".repeat(start), "-".repeat(end - start - 1))
}
