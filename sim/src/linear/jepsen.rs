//! Reads the log that Jepsen keeps of one register: `INFO  jepsen.util - 3 :ok :cas [1 2]`.
//!
//! The log names no key, so all events get [`KEY`]; it has no times, so the line stands in. A failed cas counts as
//! not having happened, as everywhere here: that it saw another value than the expected one is not used.

use std::io::BufRead;

use crate::history::{Event, EventType, Function, HistoryError, Value, read_lines};

/// The key of the only register.
pub const KEY: &str = "register";

/// What comes before the event on each line.
pub(super) const MARK: &str = "jepsen.util - ";

/// Reads a whole log.
pub fn read(input: impl BufRead) -> Result<Vec<Event>, HistoryError> {
    read_lines(input, |index, line| {
        parse(index, line).ok_or_else(|| HistoryError::at(index, format!("not an event of a Jepsen log: {line:?}")))
    })
}

fn parse(index: usize, line: &str) -> Option<Event> {
    let (_, line) = line.split_once(MARK)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let (process, event_type, f) = (words.first()?.parse().ok()?, words.get(1)?, words.get(2)?);
    let event_type = super::file::event_type(event_type)?;
    let f = match *f {
        ":read" => Function::Get,
        ":write" => Function::Set,
        ":cas" => Function::Cas,
        _ => return None,
    };
    let value = value(event_type, &words.get(3..)?.join(" "))?;
    Some(Event { process, event_type, f, key: KEY.into(), value, time: index as u64, node: None })
}

/// `nil`, a number, `[expected new]`, or `:timed-out`, which is no value.
fn value(event_type: EventType, text: &str) -> Option<Value> {
    let text = text.trim();
    if matches!(event_type, EventType::Fail | EventType::Info) && text.starts_with(':') || text == "nil" {
        return Some(Value::Text(None));
    }
    let Some(pair) = text.strip_prefix('[') else { return Some(Value::Text(Some(text.into()))) };
    let (expected, new) = pair.strip_suffix(']')?.split_once(' ')?;
    let one = |text: &str| (text != "nil").then(|| text.trim().to_string());
    Some(Value::Pair([one(expected), one(new)]))
}
