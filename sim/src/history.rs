//! What the clients of a run asked and were told: the history.
//!
//! A client writes an event when it asks and another when it knows the answer, each as one JSON object on a line
//! of `history.jsonl`. Events come in the order in which they happened; that order, not the time, says what came
//! before what. [`operations`] pairs each question with its answer for whoever checks the run afterwards.
//! `docs/history.md` describes the format for readers outside this code.
//!
//! Invariants:
//! - A process has at most one open operation.
//! - Time never goes backwards.
//! - An operation has a return index only where its outcome is known. Without one it may act at any time after
//!   its invocation, or never.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Whether an event opens an operation, or how it closes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventType {
    /// The client asks.
    Invoke,
    /// It was done.
    Ok,
    /// It did not happen, and never will.
    Fail,
    /// Nobody knows: it may act at any later time, or never.
    Info,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// Read the value.
    Get,
    /// Write the value, whatever was there.
    Set,
    /// Remove the value, whatever was there.
    Delete,
    /// Write the new value where the expected one is found.
    Cas,
    /// Add the text at the end of the value; a missing value counts as empty.
    Append,
}

/// The value of an event: `null` (a missing key, or nothing to say), a string, or for cas a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A string, or `null`.
    Text(Option<String>),
    /// `[expected, new]`, each a string or `null` for a missing key.
    Pair([Option<String>; 2]),
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The sequential client that asks.
    pub process: u64,
    /// Question or kind of answer.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// What is asked.
    pub f: Function,
    /// The key that it is about.
    pub key: String,
    /// The argument, and in the answer to a `get` what was read.
    pub value: Value,
    /// Virtual nanoseconds since the run began.
    pub time: u64,
    /// The node that was asked, where there is one.
    pub node: Option<u64>,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, between its invocation and its return.
    Done,
    /// It did not happen.
    Failed,
    /// It may have happened, may yet happen, or not.
    Unknown,
}

impl Outcome {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Failed => "failed",
            Outcome::Unknown => "unknown",
        }
    }
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The sequential client that asked.
    pub process: u64,
    /// The node that it asked.
    pub node: Option<u64>,
    /// The key that it is about.
    pub key: String,
    /// What was asked.
    pub f: Function,
    /// The argument; of a `get` that was done, what it read.
    pub value: Value,
    /// How it ended.
    pub outcome: Outcome,
    /// Place of the invocation in the history.
    pub invoke_index: usize,
    /// Place of the answer in the history; `None` where the outcome is unknown.
    pub return_index: Option<usize>,
    /// Virtual nanoseconds at the invocation.
    pub invoke_time: u64,
    /// Virtual nanoseconds at the answer; `None` where the outcome is unknown.
    pub return_time: Option<u64>,
}

/// Why a history could not be read. Nothing was checked.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file could not be read.
    #[error("cannot read the history: {0}")]
    Io(#[from] io::Error),
    /// A line is not an event, or contradicts the lines before it.
    #[error("line {line}: {why}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The first line fits no known format.
    #[error("unknown format: the first line is neither a JSON event, a Jepsen log line, an EDN map nor a kv map event")]
    Format,
}

impl HistoryError {
    /// An error about the line of the event at `index`.
    pub(crate) fn at(index: usize, why: impl Into<String>) -> Self {
        Self::Line { line: index + 1, why: why.into() }
    }
}

/// Writes events as they happen, one line each.
#[derive(Debug)]
pub struct HistoryWriter<W: Write> {
    out: W,
}

impl<W: Write> HistoryWriter<W> {
    /// A writer on `out`, which should buffer: every event is a small write.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Adds a line.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, event)?;
        self.out.write_all(b"\n")
    }

    /// Flushes and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Writes a whole history: as Jepsen's EDN where `path` ends in `.edn`, as `history.jsonl` elsewhere.
pub fn write_file(path: &Path, history: &[Event]) -> io::Result<()> {
    let mut out = io::BufWriter::new(std::fs::File::create(path)?);
    if path.extension().is_some_and(|extension| extension == "edn") {
        crate::linear::edn::write(history, &mut out)?;
        return out.flush();
    }
    let mut writer = HistoryWriter::new(out);
    history.iter().try_for_each(|event| writer.write(event))?;
    writer.finish().map(drop)
}

/// Reads a whole `history.jsonl`.
pub fn read(input: impl BufRead) -> Result<Vec<Event>, HistoryError> {
    read_lines(input, |index, line| {
        serde_json::from_str(line).map_err(|error| HistoryError::at(index, error.to_string()))
    })
}

/// Reads the `history.jsonl` at `path`.
pub fn read_file(path: &Path) -> Result<Vec<Event>, HistoryError> {
    read(BufReader::new(std::fs::File::open(path)?))
}

/// Every line is one event, in any format; so the place of an event is its line.
pub(crate) fn read_lines(
    input: impl BufRead,
    parse: impl Fn(usize, &str) -> Result<Event, HistoryError>,
) -> Result<Vec<Event>, HistoryError> {
    input.lines().enumerate().map(|(index, line)| parse(index, &line?)).collect()
}

/// Pairs questions with answers, in the order of the questions. What is still open at the end is unknown.
pub fn operations(history: &[Event]) -> Result<Vec<Operation>, HistoryError> {
    let mut operations: Vec<Operation> = Vec::with_capacity(history.len() / 2);
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    let mut time = 0;
    for (index, event) in history.iter().enumerate() {
        if event.time < time {
            return Err(HistoryError::at(index, format!("time goes back from {time} to {}", event.time)));
        }
        time = event.time;
        match event.event_type {
            EventType::Invoke => {
                let operation = invoked(index, event)?;
                if open.insert(event.process, operations.len()).is_some() {
                    return Err(HistoryError::at(index, format!("process {} asks twice at once", event.process)));
                }
                operations.push(operation);
            }
            _ => {
                let Some(place) = open.remove(&event.process) else {
                    return Err(HistoryError::at(index, format!("process {} has asked nothing", event.process)));
                };
                answered(index, event, &mut operations[place])?;
            }
        }
    }
    Ok(operations)
}

/// The operation that `event` opens.
fn invoked(index: usize, event: &Event) -> Result<Operation, HistoryError> {
    let fits = match event.f {
        Function::Get | Function::Delete => event.value == Value::Text(None),
        Function::Set | Function::Append => matches!(event.value, Value::Text(Some(_))),
        Function::Cas => matches!(event.value, Value::Pair(_)),
    };
    if !fits {
        let why = "get and delete are asked with null, set and append with a string, cas with [expected, new]";
        return Err(HistoryError::at(index, why));
    }
    Ok(Operation {
        process: event.process,
        node: event.node,
        key: event.key.clone(),
        f: event.f,
        value: event.value.clone(),
        outcome: Outcome::Unknown,
        invoke_index: index,
        return_index: None,
        invoke_time: event.time,
        return_time: None,
    })
}

/// Closes `operation` with its answer.
fn answered(index: usize, event: &Event, operation: &mut Operation) -> Result<(), HistoryError> {
    if event.f != operation.f || event.key != operation.key {
        let asked = operation.invoke_index + 1;
        return Err(HistoryError::at(index, format!("the answer does not fit the question on line {asked}")));
    }
    operation.outcome = match event.event_type {
        EventType::Ok => Outcome::Done,
        EventType::Fail => Outcome::Failed,
        EventType::Info => Outcome::Unknown,
        EventType::Invoke => unreachable!("an invocation is no answer"),
    };
    if operation.outcome != Outcome::Unknown {
        operation.return_index = Some(index);
        operation.return_time = Some(event.time);
    }
    match (&event.value, event.f, event.event_type) {
        (Value::Text(_), Function::Get, EventType::Ok) => operation.value = event.value.clone(),
        (Value::Text(None), _, _) => {}
        (value, _, _) if *value == operation.value => {}
        _ => return Err(HistoryError::at(index, "the answer repeats another value than was asked")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"process":1,"type":"invoke","f":"cas","key":"k\n","value":[null,"a"],"time":5,"node":2}
{"process":2,"type":"invoke","f":"get","key":"k\n","value":null,"time":6,"node":null}
{"process":1,"type":"info","f":"cas","key":"k\n","value":[null,"a"],"time":7,"node":2}
{"process":2,"type":"ok","f":"get","key":"k\n","value":"a","time":9,"node":null}
"#;

    #[test]
    fn lines_survive_a_round_trip() {
        let events = read(LINES.as_bytes()).unwrap();
        let mut writer = HistoryWriter::new(Vec::new());
        events.iter().for_each(|event| writer.write(event).unwrap());
        assert_eq!(String::from_utf8(writer.finish().unwrap()).unwrap(), LINES);
    }

    #[test]
    fn questions_meet_their_answers() {
        let found = operations(&read(LINES.as_bytes()).unwrap()).unwrap();
        assert_eq!((found[0].outcome, found[0].return_index), (Outcome::Unknown, None));
        assert_eq!((found[1].outcome, found[1].return_index), (Outcome::Done, Some(3)));
        assert_eq!(found[1].value, Value::Text(Some("a".into())));
    }

    #[test]
    fn errors_name_the_line() {
        let broken = LINES.replace(r#""f":"get","key":"k\n","value":null"#, r#""f":"got""#);
        assert!(read(broken.as_bytes()).unwrap_err().to_string().starts_with("line 2: "));
        let cases = [
            (
                LINES.replace("\"process\":2,\"type\":\"invoke\"", "\"process\":1,\"type\":\"invoke\""),
                "line 2: process 1 asks twice",
            ),
            (
                LINES.replace("\"process\":2,\"type\":\"ok\"", "\"process\":3,\"type\":\"ok\""),
                "line 4: process 3 has asked",
            ),
            (LINES.replace("\"time\":9", "\"time\":4"), "line 4: time goes back"),
            (
                LINES.replace("\"value\":[null,\"a\"],\"time\":7", "\"value\":[null,\"b\"],\"time\":7"),
                "line 3: the answer repeats",
            ),
        ];
        for (lines, expected) in cases {
            let error = operations(&read(lines.as_bytes()).unwrap()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
