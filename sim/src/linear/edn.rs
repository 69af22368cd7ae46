//! Jepsen's own histories, `history.edn`: a map for each event, one after the other or in one vector, as
//! `{:index 0, :time 12, :type :invoke, :process 3, :f :write, :value ["k1" "v1"]}`.
//!
//! A value `[key value]` is that of an independent key, any other one that of the only register, [`super::jepsen::KEY`]. The
//! functions are `:read`, `:write` and `:cas` (`[expected new]`), and our own `:get`, `:set`, `:delete`, `:append`. A write of
//! `nil` is a delete: to a register both leave nothing. Numbers and words become text. What the nemesis says is left out.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
};

use clojure_reader::edn::{self, Edn};

use super::jepsen::KEY;
use crate::history::{Event, EventType, Function, HistoryError, Value};

/// Whether a file that begins with this line is one.
pub(super) fn is_edn(first: &str) -> bool {
    let first = first.trim_start();
    first.starts_with("{:") || first.starts_with('[') || first.starts_with("#jepsen")
}

/// Reads a whole history. Errors count events from 1, which are lines where each has its own.
pub fn read(mut input: impl BufRead) -> Result<Vec<Event>, HistoryError> {
    let mut text = String::from("[");
    input.read_to_string(&mut text)?;
    text.push_str("\n]");
    let all = edn::read_string(&text).map_err(|error| HistoryError::Line {
        line: error.line.unwrap_or_default(),
        why: format!("not EDN: {error}"),
    })?;
    let Edn::Vector(outer) = &all else { unreachable!("it was put into brackets") };
    let maps = match &outer[..] {
        [Edn::Vector(inner)] => inner,
        _ => outer,
    };
    let mut events: Vec<Event> = Vec::with_capacity(maps.len());
    for (index, map) in maps.iter().enumerate() {
        let before = events.last().map_or(0, |event| event.time);
        events.extend(event(index, before, map).map_err(|why| HistoryError::at(index, why))?);
    }
    Ok(events)
}

/// `None` for the nemesis.
fn event(index: usize, before: u64, map: &Edn) -> Result<Option<Event>, String> {
    let map = match map {
        Edn::Tagged(_, inner) => &**inner,
        map => map,
    };
    let Edn::Map(fields) = map else { return Err(format!("not an event: {map}")) };
    let field = |name: &'static str| fields.get(&Edn::Key(name.into()));
    let Some(Edn::Int(process)) = field("process") else { return Ok(None) };
    let process = u64::try_from(*process).map_err(|_| format!(":process {process} is negative"))?;
    let event_type = match field("type") {
        Some(Edn::Key(word)) => super::file::event_type(&format!(":{word}")),
        _ => None,
    };
    let event_type = event_type.ok_or(":type must be :invoke, :ok, :fail or :info")?;
    let f = match field("f") {
        Some(Edn::Key(word)) => function(word).ok_or_else(|| format!(":f :{word} is not known"))?,
        _ => return Err(":f is missing".into()),
    };
    let (key, value) = key_and_value(f, event_type, field("value").unwrap_or(&Edn::Nil));
    let f = if f == Function::Set && value == Value::Text(None) { Function::Delete } else { f };
    let value = if f == Function::Delete { Value::Text(None) } else { value };
    let time = match field("time") {
        Some(Edn::Int(time)) => u64::try_from(*time).unwrap_or_default().max(before),
        _ => before.max(index as u64),
    };
    let node = match field("node") {
        Some(Edn::Int(node)) => u64::try_from(*node).ok(),
        _ => None,
    };
    Ok(Some(Event { process, event_type, f, key, value, time, node }))
}

fn function(word: &str) -> Option<Function> {
    match word {
        "read" | "get" => Some(Function::Get),
        "write" | "set" | "put" => Some(Function::Set),
        "cas" => Some(Function::Cas),
        "delete" => Some(Function::Delete),
        "append" => Some(Function::Append),
        _ => None,
    }
}

fn key_and_value(f: Function, event_type: EventType, value: &Edn) -> (String, Value) {
    let pair = |pair: &[Edn]| Value::Pair([text(&pair[0]), text(&pair[1])]);
    let (key, value) = match value {
        Edn::Vector(both) if both.len() == 2 => match (f, &both[1]) {
            (Function::Cas, Edn::Vector(inner)) if inner.len() == 2 => (text(&both[0]), pair(inner)),
            (Function::Cas, _) if event_type == EventType::Invoke => (None, pair(both)),
            (Function::Cas, Edn::Nil) => (text(&both[0]), Value::Text(None)),
            (Function::Cas, _) => (None, pair(both)),
            (_, value) => (text(&both[0]), Value::Text(text(value))),
        },
        value => (None, Value::Text(text(value))),
    };
    (key.unwrap_or_else(|| KEY.into()), value)
}

fn text(edn: &Edn) -> Option<String> {
    match edn {
        Edn::Nil => None,
        Edn::Str(text) => Some(text.to_string()),
        other => Some(other.to_string()),
    }
}

/// Writes a history, an event a line, each with its key before its value.
pub fn write(events: &[Event], out: &mut impl Write) -> io::Result<()> {
    for (index, event) in events.iter().enumerate() {
        let word = |word: &'static str| Edn::Key(word.into());
        let text = |text: &Option<String>| text.as_ref().map_or(Edn::Nil, |text| Edn::Str(text.clone().into()));
        let event_type = match event.event_type {
            EventType::Invoke => "invoke",
            EventType::Ok => "ok",
            EventType::Fail => "fail",
            EventType::Info => "info",
        };
        let f = match event.f {
            Function::Get => "read",
            Function::Set | Function::Delete => "write",
            Function::Cas => "cas",
            Function::Append => "append",
        };
        let value = match &event.value {
            Value::Text(one) => text(one),
            Value::Pair([expected, new]) => Edn::Vector(vec![text(expected), text(new)]),
        };
        let key = Edn::Str(event.key.clone().into());
        let number = |n: u64| Edn::Int(i64::try_from(n).unwrap_or(i64::MAX));
        let mut fields = BTreeMap::from([
            (word("index"), number(index as u64)),
            (word("time"), number(event.time)),
            (word("type"), word(event_type)),
            (word("process"), number(event.process)),
            (word("f"), word(f)),
            (word("value"), Edn::Vector(vec![key, value])),
        ]);
        fields.extend(event.node.map(|node| (word("node"), number(node))));
        writeln!(out, "{}", Edn::Map(fields))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event_type: EventType, f: Function, key: &str, value: Value) -> Event {
        Event { process: 3, event_type, f, key: key.into(), value, time: 5, node: Some(2) }
    }

    #[test]
    fn what_was_written_reads_the_same() {
        let some = |text: &str| Value::Text(Some(text.into()));
        let keys = ["k1", "\0", "a \"quoted\"\\\n\t\r key", "\u{1f980}", "[1 2]", ":k"];
        let mut events = Vec::new();
        for key in keys {
            for event_type in [EventType::Invoke, EventType::Ok, EventType::Fail, EventType::Info] {
                events.push(event(event_type, Function::Get, key, Value::Text(None)));
                events.push(event(event_type, Function::Set, key, some("a \"value\"\n")));
                events.push(event(event_type, Function::Delete, key, Value::Text(None)));
                events.push(event(event_type, Function::Append, key, some("x")));
                events.push(event(event_type, Function::Cas, key, Value::Pair([None, Some("x".into())])));
            }
            events.push(event(EventType::Ok, Function::Get, key, some("")));
        }
        let mut written = Vec::new();
        write(&events, &mut written).unwrap();
        assert_eq!(read(&written[..]).unwrap(), events, "{}", String::from_utf8_lossy(&written));
    }

    #[test]
    fn what_jepsen_writes_is_read() {
        let history = r#"
            {:type :invoke, :f :write, :value 3, :process 0, :time 10, :index 0}
            #jepsen.history.Op{:index 1, :time 11, :type :info, :process :nemesis, :f :start, :value nil}
            {:index 2, :time 9, :type :ok, :process 0, :f :write, :value 3} ; a clock that went back
            {:index 3, :time 12, :type :invoke, :process 1, :f :cas, :value [3 4]}
            {:index 4, :time 13, :type :fail, :process 1, :f :cas, :value [3 4], :error :timeout}
            {:index 5, :time 14, :type :invoke, :process 1, :f :read, :value ["k" nil]}
            {:index 6, :time 15, :type :ok, :process 1, :f :read, :value ["k" 7]}"#;
        let read_them = |text: &str| read(text.as_bytes()).unwrap();
        let events = read_them(history);
        assert_eq!(events, read_them(&format!("[{history}\n]")), "in one vector");
        assert_eq!(events.len(), 6, "without the nemesis");
        assert_eq!((events[0].f, &events[0].key[..], events[1].time), (Function::Set, KEY, 10));
        assert_eq!(events[2].value, Value::Pair([Some("3".into()), Some("4".into())]));
        assert_eq!((&events[5].key[..], &events[5].value), ("k", &Value::Text(Some("7".into()))));
    }

    #[test]
    fn what_is_no_history_is_told_with_its_place() {
        let told = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        assert!(told("{:type :invoke").contains("not EDN"));
        assert!(
            told("{:type :invoke, :process 1, :f :read}\n{:type :soon, :process 1, :f :read}")
                .contains("line 2: :type")
        );
        assert!(told("{:type :invoke, :process 1, :f :dance}").contains(":f :dance is not known"));
        assert!(told("7").contains("not an event"));
    }
}
