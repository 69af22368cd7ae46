//! Shards that split by size on a real node, however their keys and values are made.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::support::{Folder, Node, Plan, asked, next_host, within};

/// One node whose shards may hold 16 bytes.
fn tiny_shards(folder: &Folder) -> Node {
    let plan = Plan::member(&folder.0, &next_host(), "", "replication.shard-heartbeat-duration = \"100ms\"\n");
    let config = plan.config.clone() + "\n[prophet.replication]\nmax-replicas = 1\n";
    let mut node = Plan { config, arguments: vec!["--shard-capacity=16"], ..plan }.start();
    node.wait_until_ready();
    node
}

fn get(node: &Node, key: &str) -> Value {
    asked(node, &format!("/get?key={}", utf8_percent_encode(key, NON_ALPHANUMERIC)))
}

fn starts(node: &Node) -> Vec<String> {
    let shards = asked(node, "/shards")["shards"].as_array().cloned().unwrap_or_default();
    let mut starts: Vec<_> = shards.iter().map(|s| s["range"]["start"].as_str().unwrap().to_owned()).collect();
    starts.sort();
    starts
}

/// All keys, page by page.
fn scanned(node: &Node) -> Vec<String> {
    let (mut keys, mut next) = (Vec::new(), Some(String::new()));
    while let Some(start) = next {
        let page = asked(node, &format!("/scan?start={}", utf8_percent_encode(&start, NON_ALPHANUMERIC)));
        keys.extend(page["rows"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap().to_owned()));
        next = page["next"].as_str().map(str::to_owned);
    }
    keys
}

/// Every key (ascending) gets a value, and in the end a shard of its own, since no two fit into one.
fn each_gets_a_shard_of_its_own(pairs: &[(String, String)]) {
    assert!(pairs.is_sorted_by(|(before, _), (after, _)| before < after));
    let folder = Folder::new();
    let node = tiny_shards(&folder);
    for (key, value) in pairs {
        let body = json!({ "key": key, "value": value }).to_string();
        within("it is written", || node.request("POST", "/set", body.as_bytes()).status == 200);
    }
    // The first shard begins where the key space does.
    let expected: Vec<_> = [""].into_iter().chain(pairs[1..].iter().map(|(key, _)| key.as_str())).collect();
    within("each key has a shard", || starts(&node) == expected);
    for (key, value) in pairs {
        let found = get(&node, key);
        assert!(found["found"] == true && found["value"] == **value, "{key:?}");
    }
    let keys = pairs.iter().map(|(key, _)| key.clone());
    assert!(keys.eq(scanned(&node)), "{:?}", scanned(&node));
    node.stop();
}

fn small(key: impl Into<String>) -> (String, String) {
    (key.into(), "twenty bytes of value".into())
}

#[test]
fn keys_that_are_equal_in_their_first_kilobyte() {
    each_gets_a_shard_of_its_own(&(0..6).map(|n| small(format!("{:x<1024}{n}", ""))).collect::<Vec<_>>());
}

#[test]
fn keys_of_any_characters() {
    let keys =
        ["\0", "\0\0", "\n", " ", "\"", "%00", "&key=a", "+", "/../", "=", "\\u0000", "\u{7f}", "é", "\u{ffff}", "🦀"];
    each_gets_a_shard_of_its_own(&keys.map(small));
}

#[test]
fn one_huge_value_at_either_end_or_in_the_middle() {
    for huge in [0, 2, 4] {
        let mut pairs: Vec<_> = (0..5).map(|n| small(format!("key{n}"))).collect();
        pairs[huge].1 = "v".repeat(2 << 20);
        each_gets_a_shard_of_its_own(&pairs);
    }
}
