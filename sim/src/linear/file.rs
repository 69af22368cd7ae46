//! Checks a history in a file, in whichever of the known formats it is.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::{Budget, Verdict, check_operations, edn, jepsen, kv_map};
use crate::history::{self, Event, EventType, HistoryError};

/// The formats that are told apart by their first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Our own `history.jsonl`.
    JsonLines,
    /// Jepsen's log of one register.
    Jepsen,
    /// A map with get, put and append.
    KvMap,
    /// Jepsen's `history.edn`.
    Edn,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JsonLines => "history.jsonl",
            Self::Jepsen => "Jepsen register log",
            Self::KvMap => "kv map history",
            Self::Edn => "Jepsen history.edn",
        })
    }
}

/// Reads the history at `path` and checks it with the default budget.
pub fn check_file(path: &Path) -> Result<(Format, Vec<Event>, Verdict), HistoryError> {
    let (format, events) = read_file(path)?;
    let verdict = check_operations(&history::operations(&events)?, Budget::default());
    Ok((format, events, verdict))
}

/// Reads the history at `path`. An empty file is an empty `history.jsonl`.
pub fn read_file(path: &Path) -> Result<(Format, Vec<Event>), HistoryError> {
    let mut input = BufReader::new(File::open(path)?);
    let format = detect(&String::from_utf8_lossy(input.fill_buf()?))?;
    let events = match format {
        Format::JsonLines => history::read(input),
        Format::Jepsen => jepsen::read(input),
        Format::KvMap => kv_map::read(input),
        Format::Edn => edn::read(input),
    }?;
    Ok((format, events))
}

/// The format of a file that begins with `start`.
fn detect(start: &str) -> Result<Format, HistoryError> {
    let first = start.lines().next().unwrap_or("{");
    match first {
        _ if first.starts_with(kv_map::MARK) && first.contains(", :key \"") => Ok(Format::KvMap),
        _ if edn::is_edn(first) => Ok(Format::Edn),
        _ if first.starts_with('{') => Ok(Format::JsonLines),
        _ if first.contains(jepsen::MARK) => Ok(Format::Jepsen),
        _ => Err(HistoryError::Format),
    }
}

/// The word that both foreign formats use.
pub(super) fn event_type(word: &str) -> Option<EventType> {
    match word {
        ":invoke" => Some(EventType::Invoke),
        ":ok" => Some(EventType::Ok),
        ":fail" => Some(EventType::Fail),
        ":info" => Some(EventType::Info),
        _ => None,
    }
}
