//! Reads all that a workload wrote through a node: `GET /scan`, page by page. It is written down as a get of each key that
//! was ever asked for, from the scan's first question to its last answer, and of each key that it finds beyond those. So
//! whoever checks gets looks at scans as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Deserialize;

use super::{
    Ground, Workload,
    registers::{BACK_OFF, Client},
};
use crate::history::{Event, EventType, Function, Value};

/// Rows of a page: few, so that a scan goes on in the middle of a shard.
const ROWS_MAX: usize = 15;

/// Processes below this are clients that get one key after the other; each key of a scan has one above.
const FIRST_PROCESS: u64 = 1_000_000;

type Rows = BTreeMap<String, String>;

/// Reads the keys of all workloads through each node that runs, trying again until `until`.
pub(super) async fn read_all(client: &mut Client<impl Ground>, until: Duration) -> Result<(), String> {
    for workload in client.ground.knobs().workloads.clone() {
        for node in client.ground.nodes_up() {
            while let Err(why) = read(client, workload, node).await {
                if client.ground.now() >= until {
                    return Err(format!("a scan of {:?} through node{node} {why}", workload.prefix()));
                }
                client.ground.sleep(BACK_OFF.1).await;
            }
            client.ground.record().count(&format!("{workload} scans"), 1);
        }
    }
    Ok(())
}

async fn read(client: &mut Client<impl Ground>, workload: Workload, node: usize) -> Result<(), String> {
    let prefix = workload.prefix();
    let asked = client.ground.record().keys_asked(prefix);
    write_down(client, node, EventType::Invoke, &asked, &Rows::new());
    let rows = scan(client, prefix, node).await.inspect_err(|_| {
        write_down(client, node, EventType::Fail, &asked, &Rows::new());
    })?;
    write_down(client, node, EventType::Ok, &asked, &rows);
    let beyond = rows.keys().filter(|key| !asked.contains(*key)).cloned().collect();
    write_down(client, node, EventType::Invoke, &beyond, &Rows::new());
    write_down(client, node, EventType::Ok, &beyond, &rows);
    Ok(())
}

/// All rows from `prefix` to its end.
async fn scan(client: &mut Client<impl Ground>, prefix: &str, node: usize) -> Result<Rows, String> {
    #[derive(Deserialize)]
    struct Page {
        rows: Vec<Row>,
        next: Option<String>,
    }
    #[derive(Deserialize)]
    struct Row {
        key: String,
        value: String,
    }
    let (mut rows, mut start) = (Rows::new(), prefix.to_owned());
    let end = end_of(prefix);
    loop {
        let path = format!("/scan?start={start}&end={end}&limit={ROWS_MAX}");
        let answer = match client.send(node, "GET", &path, &[]).await {
            Some(Ok(answer)) if answer.status == 200 => answer,
            Some(Ok(answer)) => return Err(format!("is answered with {}", answer.status)),
            Some(Err(error)) => return Err(format!("is not answered: {error}")),
            None => return Err("is not answered in time".into()),
        };
        let page: Page = serde_json::from_slice(&answer.body).map_err(|error| format!("cannot be read: {error}"))?;
        for Row { key, value } in page.rows {
            if key < start || key >= end || rows.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(format!("has {key:?} at a wrong place"));
            }
            rows.insert(key, value);
        }
        match page.next.filter(|next| *next < end) {
            Some(next) if next <= start => return Err(format!("goes on from {start:?} at {next:?}")),
            Some(next) => start = next,
            None => return Ok(rows),
        }
    }
}

/// The first key behind all that begin with `prefix`.
fn end_of(prefix: &str) -> String {
    let (last, before) = prefix.as_bytes().split_last().expect("a prefix is not empty");
    let mut end = before.to_vec();
    end.push(last + 1);
    String::from_utf8(end).expect("a prefix ends with a plain letter")
}

/// The same event for each of `keys`.
fn write_down(client: &Client<impl Ground>, node: usize, event_type: EventType, keys: &BTreeSet<String>, rows: &Rows) {
    let lanes = client.ground.knobs().lanes() as u64;
    for (place, key) in (FIRST_PROCESS..).zip(keys) {
        client.ground.record().event(Event {
            process: client.number as u64 + lanes * place,
            event_type,
            f: Function::Get,
            key: key.clone(),
            value: Value::Text(rows.get(key).cloned()),
            time: client.ground.now().as_nanos() as u64,
            node: Some(node as u64),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_what_does_not_begin_with_it() {
        for workload in Workload::ALL {
            let (prefix, end) = (workload.prefix(), end_of(workload.prefix()));
            assert!(format!("{prefix}\u{10ffff}") < end && !end.starts_with(prefix), "{prefix}");
        }
    }
}
