//! Answers as tables.

use comfy_table::Table;
use serde_json::Value;

use super::End;

/// The value of a key.
pub(super) fn value(body: &[u8]) -> End {
    let answer = parse(body);
    if answer["found"] == true {
        println!("{}", answer["value"].as_str().unwrap_or_default());
        return End::Done;
    }
    eprintln!("matrixkv: {} is missing", answer["key"]);
    End::NotDone
}

/// `/shards`.
pub(super) fn shards(body: &[u8]) -> End {
    let answer = parse(body);
    let mut table =
        table(&["shard", "range", "epoch", "replicas (replica@store; * leads, + learns, ! is quarantined)"]);
    for shard in list(&answer["shards"]) {
        let replicas = list(&shard["replicas"]).iter().map(|replica| {
            let leads = if replica["role"] == "L" { "*" } else { "" };
            let learns = if replica["learner"] == true { "+" } else { "" };
            let bad = if replica["quarantined"] == true { "!" } else { "" };
            format!("{}@{}{leads}{learns}{bad}", replica["replica-id"], replica["store-id"])
        });
        let range = &shard["range"];
        table.add_row(vec![
            shard["shard-id"].to_string(),
            format!("[{}, {})", text(&range["start"]), text(&range["end"])),
            format!("{}.{}", shard["epoch"]["conf-ver"], shard["epoch"]["version"]),
            replicas.collect::<Vec<_>>().join("  "),
        ]);
    }
    println!("{table}");
    End::Done
}

/// One of `/shards`.
pub(super) fn shard(body: &[u8], id: u64) -> End {
    let mut answer = parse(body);
    let one: Vec<_> = list(&answer["shards"]).iter().filter(|shard| shard["shard-id"] == id).cloned().collect();
    if one.is_empty() {
        eprintln!("matrixkv: there is no shard {id}");
        return End::NotDone;
    }
    answer["shards"] = one.into();
    shards(answer.to_string().as_bytes())
}

/// `/explain`.
pub(super) fn explanation(body: &[u8]) -> End {
    list(&parse(body)["explanation"]).iter().for_each(|line| println!("{}", text(line)));
    End::Done
}

/// `/scan`.
pub(super) fn rows(body: &[u8]) -> End {
    let answer = parse(body);
    list(&answer["rows"]).iter().for_each(|row| println!("{}\t{}", text(&row["key"]), text(&row["value"])));
    if let Some(next) = answer["next"].as_str() {
        eprintln!("matrixkv: there may be more, from {next:?} on");
    }
    End::Done
}

/// `/operators`.
pub(super) fn operators(body: &[u8]) -> End {
    let answer = parse(body);
    let mut table = table(&["shard", "kind", "steps", "why", "outcome", "age"]);
    for operator in list(&answer["running"]).iter().chain(list(&answer["recent"])) {
        let done = operator["done"].as_u64().unwrap_or_default() as usize;
        let steps = list(&operator["steps"]).iter().enumerate().map(|(step, what)| {
            let mark = if step < done { "x" } else { " " };
            format!("[{mark}] {}", text(what))
        });
        let outcome = text(&operator["outcome"]);
        table.add_row(vec![
            operator["shard"].to_string(),
            text(&operator["kind"]),
            steps.collect::<Vec<_>>().join("\n"),
            text(&operator["reason"]),
            if outcome.is_empty() { "under way".into() } else { outcome },
            format!("{:.1} s", operator["age_ms"].as_u64().unwrap_or_default() as f64 / 1000.0),
        ]);
    }
    println!("{table}");
    for decision in list(&answer["decisions"]) {
        let ago = decision["age_ms"].as_u64().unwrap_or_default() as f64 / 1000.0;
        println!("{ago:.1} s ago: {}", text(&decision["what"]));
    }
    End::Done
}

/// `/stores`.
pub(super) fn stores(body: &[u8]) -> End {
    let answer = parse(body);
    let mut table = table(&["store", "state", "raft", "client", "shards", "leaders", "free", "last heartbeat"]);
    for store in list(&answer["stores"]) {
        let heard = match store["last-heartbeat-ms-ago"].as_u64() {
            Some(ago) => format!("{:.1} s ago", ago as f64 / 1000.0),
            None => "not heard of".into(),
        };
        table.add_row(vec![
            store["store-id"].to_string(),
            text(&store["state"]),
            text(&store["raft-address"]),
            text(&store["client-address"]),
            store["shard-count"].to_string(),
            store["leader-count"].to_string(),
            indicatif::HumanBytes(store["available"].as_u64().unwrap_or_default()).to_string(),
            heard,
        ]);
    }
    println!("{table}");
    freshness(&answer);
    End::Done
}

/// `/prophet`.
pub(super) fn prophet(body: &[u8]) -> End {
    let answer = parse(body);
    let mut table = table(&["member", "name", "peer", "client URL", "RPC", "role"]);
    for member in list(&answer["members"]) {
        let role = match (member["id"] == answer["leader"], member["voter"] == true) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        };
        table.add_row(vec![
            member["id"].to_string(),
            text(&member["name"]),
            text(&member["peer-address"]),
            text(&member["client-url"]),
            text(&member["rpc-address"]),
            role.to_owned(),
        ]);
    }
    println!("cluster {}\n{table}", answer["cluster-id"]);
    freshness(&answer);
    End::Done
}

fn freshness(answer: &Value) {
    if answer["fresh"] == false {
        println!("Prophet does not answer: this is what the node heard last");
    }
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.set_header(header.to_vec());
    table
}
