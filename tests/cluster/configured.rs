//! What a configuration says, seen from outside of a running node.

use serde_json::json;

use crate::support::{Folder, Plan, asked, next_host, single, within};

#[test]
fn a_store_says_what_it_is_labelled_and_how_large_it_is() {
    let folder = Folder::new();
    let before = "capacity = \"3TB\"\nlabels = [[\"zone\", \"z1\"], [\"rack\", \"r2\"]]\n\
                  replication.store-heartbeat-duration = \"100ms\"\n";
    let node = single(&folder, before);
    let host = node.plan.host.clone();
    within("the first heartbeat was heard", || asked(&node, "/stores")["stores"][0]["last-heartbeat-ms-ago"].is_u64());
    let store = asked(&node, "/stores")["stores"][0].clone();
    assert_eq!(store["capacity"], 3u64 << 40);
    assert_eq!(store["labels"], json!([["zone", "z1"], ["rack", "r2"]]));
    assert_eq!(store["raft-address"], format!("{host}:20001"));
    assert_eq!(store["client-address"], format!("{host}:20002"));
    let prophet = asked(&node, "/prophet");
    assert_eq!(prophet["members"][0]["name"], host);
    assert_eq!(prophet["members"][0]["client-url"], format!("http://{host}:2379"));
    node.stop();
}

#[test]
fn what_is_advertised_is_what_others_dial() {
    let folder = Folder::new();
    let (first, outside) = (single(&folder, ""), next_host());
    // It binds every address and is known by one.
    let mut plan = Plan::store(&folder.0, &outside, &[&first.plan.host]);
    for (key, port) in [("addr-raft", 20001), ("addr-client", 20002)] {
        let bound = format!("{key} = \"{outside}:{port}\"");
        let advertised = format!("{key} = \"{outside}:{}\"\n", port + 100)
            + &format!("{} = \"{outside}:{}\"", key.replace("addr-", "addr-advertise-"), port + 100);
        plan.config = plan.config.replace(&bound, &advertised);
    }
    let mut second = plan.start();
    second.wait_until_ready();
    let dialled = |key: &str| {
        let stores = asked(&first, "/stores");
        let stores = stores["stores"].as_array().unwrap().clone();
        stores.iter().filter_map(|store| store[key].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert!(dialled("raft-address").contains(&format!("{outside}:20101")));
    assert!(dialled("client-address").contains(&format!("{outside}:20102")));
    within("it takes a replica over that address", || {
        asked(&second, "/shards?local=true")["shards"].as_array().is_some_and(|shards| shards.len() == 1)
    });
    second.stop();
    first.stop();
}

#[test]
fn a_cluster_is_founded_with_its_shards_and_replicas() {
    let folder = Folder::new();
    let replication = "\n[prophet.replication]\nmax-replicas = 1\ninitial-split-keys = [\"g\", \"p\"]\n";
    let plan = Plan::member(&folder.0, &next_host(), "", "replication.shard-heartbeat-duration = \"100ms\"\n");
    let mut first = Plan { config: plan.config.clone() + replication, ..plan }.start();
    first.wait_until_ready();
    let mut second = Plan::store(&folder.0, &next_host(), &[&first.plan.host]).start();
    second.wait_until_ready();
    within("three shards answer", || ["a", "g", "z"].iter().all(|key| first.writes(key, "v")));
    assert!(["a", "g", "z"].iter().all(|key| second.reads(key, "v")));
    let shards = asked(&first, "/shards")["shards"].as_array().unwrap().clone();
    let mut ranges: Vec<_> = shards.iter().map(|shard| shard["range"].clone()).collect();
    ranges.sort_by_key(|range| range["start"].as_str().unwrap().to_owned());
    let expected = [("", "g"), ("g", "p"), ("p", "")].map(|(start, end)| json!({"start": start, "end": end}));
    assert_eq!(ranges, expected);
    // One of them moves to the second store: it has two replicas for a moment, and then one again.
    within("both stores have shards, each of one replica", || {
        let shards = asked(&first, "/shards")["shards"].as_array().unwrap().clone();
        let homes = shards.iter().map(|shard| shard["replicas"].as_array().unwrap().clone());
        let stores: Vec<_> = homes.map(|replicas| replicas.iter().map(|r| r["store-id"].clone()).collect()).collect();
        let stores: &[Vec<serde_json::Value>] = &stores;
        stores.iter().all(|homes| homes.len() == 1) && stores.iter().any(|homes| homes != &stores[0])
    });
    assert!(["a", "g", "z"].iter().all(|key| first.reads(key, "v") && second.reads(key, "v")));
    second.stop();
    first.stop();
}

#[test]
fn an_entry_over_its_limit_is_refused() {
    let folder = Folder::new();
    let node = single(&folder, "raft.max-entry-bytes = \"2KB\"\nraft.max-size-per-msg = \"1KB\"\n");
    assert!(node.writes("k", &"v".repeat(1000)));
    let answer = node.set("k", &"w".repeat(3000));
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("max-entry-bytes"), "{answer:?}");
    assert!(node.reads("k", &"v".repeat(1000)));
    node.stop();
}
