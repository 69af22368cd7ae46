//! Reads a history of a map with `get`, `put` and `append`, one event a line:
//! `{:process 1, :type :ok, :f :get, :key "0", :value "x"}`.
//!
//! There a missing key reads `""`, so the empty string is taken for a missing key: a `get` that answers `""` found
//! nothing and a `put` of `""` is a delete. An `append` of `""` would tell the two apart and is refused.

use std::io::BufRead;

use crate::history::{Event, Function, HistoryError, Value, read_lines};

/// How each line begins.
pub(super) const MARK: &str = "{:process ";

/// Reads a whole history.
pub fn read(input: impl BufRead) -> Result<Vec<Event>, HistoryError> {
    read_lines(input, |index, line| {
        parse(index, line).ok_or_else(|| HistoryError::at(index, format!("not an event of a kv map: {line:?}")))
    })
}

fn parse(index: usize, line: &str) -> Option<Event> {
    let (process, rest) = line.trim().strip_prefix(MARK)?.split_once(", :type ")?;
    let (event_type, rest) = rest.split_once(", :f ")?;
    let (f, rest) = rest.split_once(", :key \"")?;
    let (key, value) = rest.split_once("\", :value ")?;
    let value = match value.strip_suffix('}')? {
        "nil" | "\"\"" => None,
        quoted => Some(quoted.strip_prefix('"')?.strip_suffix('"')?.to_string()),
    };
    let f = match (f, &value) {
        (":get", _) => Function::Get,
        (":put", Some(_)) => Function::Set,
        (":put", None) => Function::Delete,
        (":append", Some(_)) => Function::Append,
        _ => return None,
    };
    Some(Event {
        process: process.parse().ok()?,
        event_type: super::file::event_type(event_type)?,
        f,
        key: key.into(),
        value: Value::Text(value),
        time: index as u64,
        node: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::EventType;

    #[test]
    fn a_line_is_an_event_or_an_error_with_its_number() {
        let events = read(&br#"{:process 1, :type :ok, :f :get, :key "0", :value "x, :f y"}"#[..]).unwrap();
        assert_eq!((events[0].process, events[0].event_type), (1, EventType::Ok));
        assert_eq!(events[0].value, Value::Text(Some("x, :f y".into())));
        let error = read(&b"{:process 1, :type :ok}"[..]).unwrap_err();
        assert!(error.to_string().starts_with("line 1: "));
    }
}
