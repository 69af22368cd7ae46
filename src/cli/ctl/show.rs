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
    let mut table = table(&["shard", "range", "epoch", "replicas (replica@store; * leads, + learns)"]);
    for shard in list(&answer["shards"]) {
        let replicas = list(&shard["replicas"]).iter().map(|replica| {
            let leads = if replica["role"] == "L" { "*" } else { "" };
            let learns = if replica["learner"] == true { "+" } else { "" };
            format!("{}@{}{leads}{learns}", replica["replica-id"], replica["store-id"])
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

/// `/stores`.
pub(super) fn stores(body: &[u8]) -> End {
    let answer = parse(body);
    let mut table = table(&["store", "raft", "client", "shards", "leaders", "free", "last heartbeat"]);
    for store in list(&answer["stores"]) {
        let heard = match store["last-heartbeat-ms-ago"].as_u64() {
            Some(ago) => format!("{:.1} s ago", ago as f64 / 1000.0),
            None => "not heard of".into(),
        };
        table.add_row(vec![
            store["store-id"].to_string(),
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
