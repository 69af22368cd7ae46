//! What operators ask for: each is waited for until it is so, or refused with the reason and without a change.

use std::{collections::BTreeSet, process::Command};

use serde_json::{Value, json};

use crate::support::{Folder, Node, Plan, asked, next_host, within};

/// Short beats, so that what happens is seen soon.
const BEATS: &str =
    "replication.shard-heartbeat-duration = \"200ms\"\nreplication.store-heartbeat-duration = \"200ms\"\n";
/// A store that is gone is not missed while a test lasts.
const SELDOM: &str =
    "replication.shard-heartbeat-duration = \"200ms\"\nreplication.store-heartbeat-duration = \"60s\"\n";

/// The first is Prophet's only member, all are stores and ready.
fn cluster(folder: &Folder, stores: usize, replicas: usize) -> Vec<Node> {
    cluster_that_beats(BEATS, folder, stores, replicas)
}

fn cluster_that_beats(beats: &str, folder: &Folder, stores: usize, replicas: usize) -> Vec<Node> {
    let first = Plan::member(&folder.0, &next_host(), "", "");
    let replication = format!("\n[prophet.replication]\nmax-replicas = {replicas}\n");
    let others: Vec<_> = (1..stores).map(|_| Plan::store(&folder.0, &next_host(), &[&first.host])).collect();
    let mut nodes = Vec::new();
    for plan in std::iter::once(first).chain(others) {
        // The first one registers first and gets the first shard.
        let config = format!("{beats}{}{replication}", plan.config);
        let mut node = Plan { config, ..plan }.start();
        node.wait_until_ready();
        nodes.push(node);
    }
    within("every store is known and every shard is whole", || {
        let known = asked(&nodes[0], "/stores")["stores"].as_array().map_or(0, Vec::len);
        let whole = shards(&nodes[0]).iter().all(|shard| voters(shard).len() == replicas && leader(shard).is_some());
        let told = |shard| nodes[0].request("GET", &format!("/explain?shard={}", id(shard)), b"").status == 200;
        known == stores && whole && !shards(&nodes[0]).is_empty() && shards(&nodes[0]).iter().all(told)
    });
    nodes
}

fn shards(node: &Node) -> Vec<Value> {
    asked(node, "/shards")["shards"].as_array().cloned().unwrap_or_default()
}

/// The shard that begins at `start`.
fn shard_at(node: &Node, start: &str) -> Value {
    let all = shards(node);
    all.iter().find(|shard| shard["range"]["start"] == start).unwrap_or_else(|| panic!("{start:?}: {all:?}")).clone()
}

fn id(shard: &Value) -> u64 {
    shard["shard-id"].as_u64().unwrap()
}

fn replicas(shard: &Value) -> impl Iterator<Item = &Value> {
    shard["replicas"].as_array().unwrap().iter()
}

fn store(replica: &Value) -> u64 {
    replica["store-id"].as_u64().unwrap()
}

fn voters(shard: &Value) -> BTreeSet<u64> {
    replicas(shard).filter(|replica| replica["learner"] == false).map(store).collect()
}

fn leader(shard: &Value) -> Option<u64> {
    replicas(shard).find(|replica| replica["role"] == "L").map(store)
}

fn store_of(node: &Node) -> u64 {
    asked(node, "/shards?local=true")["store-id"].as_u64().unwrap()
}

fn state(node: &Node, store: u64) -> String {
    let stores = asked(node, "/stores")["stores"].as_array().unwrap().clone();
    stores.iter().find(|info| info["store-id"] == store).unwrap()["state"].as_str().unwrap().to_owned()
}

/// What no refused command may change: who holds what, and what is decided about stores.
fn decided(node: &Node) -> Value {
    let shards: Vec<_> = shards(node)
        .iter()
        .map(|shard| {
            let members: Vec<_> =
                replicas(shard).map(|r| json!([r["replica-id"], r["store-id"], r["learner"]])).collect();
            json!([shard["shard-id"], shard["range"], shard["epoch"], members])
        })
        .collect();
    let stores = asked(node, "/stores")["stores"].as_array().unwrap().clone();
    let states: Vec<_> = stores.iter().map(|store| json!([store["store-id"], store["state"]])).collect();
    let begun = asked(node, "/operators")["total"].clone();
    json!({ "shards": shards, "stores": states, "operators": begun })
}

/// Exit status, standard output, standard error.
fn ctl(node: &Node, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_matrixkv"))
        .args(["ctl", "--node", &node.plan.address()])
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn done(node: &Node, arguments: &[&str]) -> String {
    let (code, out, error) = ctl(node, arguments);
    assert_eq!(code, 0, "{arguments:?}: {out}{error}");
    out
}

/// `ctl` ends with `code`, says `why`, and nothing is otherwise than before.
fn refused(node: &Node, arguments: &[&str], code: i32, why: &str) {
    let before = decided(node);
    let (found, out, error) = ctl(node, arguments);
    assert_eq!(found, code, "{arguments:?}: {out}{error}");
    assert!(error.contains(why), "{arguments:?}: {error:?} does not say {why:?}");
    assert_eq!(decided(node), before, "{arguments:?}");
}

fn refused_post(node: &Node, path: &str, body: &str, status: u16, why: &str) {
    let before = decided(node);
    let answer = node.request("POST", path, body.as_bytes());
    assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
    let said: Value = serde_json::from_str(&answer.body).unwrap();
    let error = said["error"].as_str().unwrap_or_default();
    assert!(error.contains(why), "{path} {body}: {error:?} does not say {why:?}");
    assert_eq!(decided(node), before, "{path} {body}");
}

#[test]
fn each_command_is_waited_for_until_it_is_so() {
    let folder = Folder::new();
    let nodes = cluster(&folder, 4, 3);
    let node = &nodes[1];
    for key in ["a", "m", "z"] {
        within("it is written", || node.writes(key, key));
    }
    done(node, &["split", "m"]);
    let [left, right] = ["", "m"].map(|start| shard_at(node, start));
    assert_eq!((&left["range"]["end"], &right["range"]["end"]), (&json!("m"), &json!("")));
    assert!(["a", "m", "z"].iter().all(|key| node.reads(key, key)));

    let shard = id(&right).to_string();
    let follows = voters(&right).into_iter().find(|store| Some(*store) != leader(&right)).unwrap().to_string();
    done(node, &["transfer-leader", &shard, &follows]);
    // A second time it is so already.
    done(node, &["transfer-leader", &shard, &follows]);

    let all: BTreeSet<u64> = nodes.iter().map(store_of).collect();
    let has_none = || *all.difference(&voters(&shard_at(node, "m"))).next().unwrap();
    done(node, &["add-replica", &shard, &has_none().to_string()]);
    let three = || voters(&shard_at(node, "m")).len() == 3;
    within("one too many goes again", three);
    let follows = voters(&shard_at(node, "m")).into_iter().next_back().unwrap().to_string();
    done(node, &["remove-replica", &shard, &follows]);
    within("one too few is made again", three);

    let drained = store_of(&nodes[3]);
    done(node, &["drain", &drained.to_string()]);
    assert_eq!(state(node, drained), "draining");
    let holds = || shards(node).iter().any(|shard| replicas(shard).any(|replica| store(replica) == drained));
    assert!(!holds());
    assert!(asked(&nodes[3], "/shards?local=true")["shards"].is_null() || !holds());
    done(node, &["undrain", &drained.to_string()]);
    assert_eq!(state(node, drained), "up");

    let said = done(node, &["operators"]);
    for part in ["admin", "an operator wants it", "done"] {
        assert!(said.contains(part), "{said} does not say {part:?}");
    }
    let said = done(node, &["shard", &shard, "--explain"]);
    for store in &all {
        assert!(said.contains(&format!("store-{store} (score")), "{said}");
    }
    assert!(done(node, &["shard", &shard]).contains("[m, )"));
    assert!(["a", "m", "z"].iter().all(|key| node.reads(key, key)));

    // What is drained for good may go for good, and its node then ends by itself.
    done(node, &["drain", &drained.to_string()]);
    // Prophet may hear of the last replica's end a heartbeat later than whoever asked.
    within("it is taken out", || ctl(node, &["remove-store", &drained.to_string()]).0 == 0);
    assert_eq!(state(node, drained), "removed");
    let mut nodes = nodes;
    assert!(nodes[3].ends_with(1).contains("removed from the cluster"));
    nodes.truncate(3);
    nodes.into_iter().for_each(|node| drop(node.stop()));
}

/// The only store that could take what the drained one holds is gone.
#[test]
fn a_drain_that_cannot_end_says_why() {
    let folder = Folder::new();
    let mut nodes = cluster(&folder, 4, 3);
    let held = voters(&shard_at(&nodes[0], ""));
    let (spare, drained) = match (1..4).partition::<Vec<_>, _>(|node| !held.contains(&store_of(&nodes[*node]))) {
        (spare, others) if spare.is_empty() => (others[0], others[1]),
        (spare, others) => (spare[0], others[0]),
    };
    let (gone, drained) = (store_of(&nodes[spare]), store_of(&nodes[drained]).to_string());
    drop(nodes.remove(spare));
    let node = &nodes[0];
    let (code, _, said) = ctl(node, &["drain", &drained, "--wait", "8"]);
    assert_eq!(code, 1, "{said}");
    for why in [&format!("store {drained} holds 1 replicas"), "nothing can be done", &format!("store-{gone}")] {
        assert!(said.contains(why), "{said} does not say {why:?}");
    }
    done(node, &["undrain", &drained]);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let folder = Folder::new();
    let nodes = cluster(&folder, 3, 3);
    let node = &nodes[2];
    within("it is written", || node.writes("m", "v"));
    done(node, &["split", "m"]);
    within("the new shard is heard of", || shards(node).len() == 2 && shards(node).iter().all(|s| leader(s).is_some()));
    let shard = id(&shard_at(node, "m")).to_string();
    let stores: Vec<String> = nodes.iter().map(|node| store_of(node).to_string()).collect();
    let long = "k".repeat(4097);

    refused(node, &["split", "m"], 1, "begins there already");
    refused(node, &["split", ""], 1, "0 bytes; 1 to 4096 are valid");
    refused(node, &["split", &long], 1, "4097 bytes; 1 to 4096 are valid");
    for store in &stores {
        refused(node, &["add-replica", &shard, store], 1, "has one");
        refused(node, &["drain", store], 1, "2 stores would be left in use, and each shard wants 3 replicas");
        refused(node, &["remove-store", store], 1, "drain it first");
    }
    for command in ["transfer-leader", "add-replica", "remove-replica"] {
        refused(node, &[command, "999999", &stores[0]], 1, "there is no shard");
        refused(node, &[command, &shard, "999999"], 1, "there is no store");
    }
    for command in ["drain", "undrain", "remove-store"] {
        refused(node, &[command, "999999"], 1, "there is no store");
    }
    refused(node, &["shard", "999999"], 1, "there is no shard");
    refused(node, &["shard", "999999", "--explain"], 1, "there is no shard");
    refused(node, &["shard", "many"], 2, "invalid value");
    refused(node, &["drain"], 2, "required");
    refused(node, &["explode", "1"], 2, "unrecognized subcommand");

    for (body, why) in [
        ("", "the body is empty"),
        ("{\"key\":", "EOF"),
        ("[\"a\"]", "expected a JSON object"),
        ("{}", "the field key is missing"),
        ("{\"key\":7}", "key: must be a JSON string"),
        ("{\"key\":null}", "key: must be a JSON string"),
        ("{\"key\":\"a\",\"shard\":1}", "unknown field \"shard\""),
        ("{\"key\":\"\"}", "0 bytes; 1 to 4096 are valid"),
    ] {
        refused_post(node, "/split", body, 400, why);
    }
    for (body, why) in [
        ("", "the body is no command"),
        ("{\"command\":", "EOF"),
        ("[]", "the body is no command"),
        ("7", "the body is no command"),
        ("{}", "missing field `command`"),
        ("{\"store\":1}", "missing field `command`"),
        ("{\"command\":\"explode\",\"store\":1}", "unknown variant `explode`"),
        ("{\"command\":7,\"store\":1}", "expected"),
        ("{\"command\":\"drain\"}", "missing field `store`"),
        ("{\"command\":\"drain\",\"store\":\"1\"}", "expected u64"),
        ("{\"command\":\"drain\",\"store\":-1}", "expected u64"),
        ("{\"command\":\"drain\",\"store\":1.5}", "expected u64"),
        ("{\"command\":\"drain\",\"store\":null}", "expected u64"),
        ("{\"command\":\"drain\",\"store\":1,\"shard\":1}", "unknown field `shard`"),
        ("{\"command\":\"transfer-leader\",\"store\":1}", "missing field `shard`"),
        ("{\"command\":\"add-replica\",\"shard\":1}", "missing field `store`"),
    ] {
        refused_post(node, "/operators", body, 400, why);
    }
    let answer = node.request("PUT", "/operators", b"{}");
    assert_eq!(answer.status, 405, "{answer:?}");
    assert!(answer.head.contains("allow: GET, POST"), "{answer:?}");
    for (path, why) in [("/explain", "shard is missing"), ("/explain?shard=one", "a shard's number is valid")] {
        let answer = node.request("GET", path, b"");
        assert!(answer.status == 400 && answer.body.contains(why), "{path}: {answer:?}");
    }
    nodes.into_iter().for_each(|node| drop(node.stop()));
}

#[test]
fn the_last_one_stays_and_a_learner_does_not_lead() {
    let folder = Folder::new();
    let mut nodes = cluster_that_beats(SELDOM, &folder, 2, 1);
    let (last, other) = (store_of(&nodes[0]).to_string(), store_of(&nodes[1]).to_string());
    let node = &nodes[0];
    within("it is written", || node.writes("k", "v"));
    let shard = shard_at(node, "");
    assert_eq!(leader(&shard).map(|store| store.to_string()), Some(last.clone()), "{shard}");
    let shard = id(&shard).to_string();

    refused(node, &["remove-replica", &shard, &last], 1, "is the last voter");
    refused(node, &["remove-replica", &shard, &other], 1, "has no replica on");
    refused(node, &["transfer-leader", &shard, &other], 1, "has no replica on");
    refused(node, &["remove-store", &last], 1, "holds 1 replicas; drain it first");
    done(node, &["drain", &other]);
    refused(node, &["drain", &last], 1, "0 stores would be left in use, and each shard wants 1 replicas");
    refused(node, &["add-replica", &shard, &other], 1, "is draining");
    done(node, &["undrain", &other]);

    // A replica that never catches up, since its node is gone and nobody has noticed: it stays a learner.
    nodes.pop().unwrap().kill();
    let node = &nodes[0];
    let (code, _, error) = ctl(node, &["add-replica", &shard, &other, "--wait", "1"]);
    assert!(code == 1 && error.contains("has no voter on store"), "{code}: {error}");
    within("there is a learner", || replicas(&shard_at(node, "")).any(|replica| replica["learner"] == true));
    refused(node, &["transfer-leader", &shard, &other], 1, "is a learner and cannot lead");
    assert!(node.reads("k", "v"));
    // It may go again, and the shard is as it was.
    done(node, &["remove-replica", &shard, &other]);
    assert!(node.writes("k", "w"));
    within("one replica is left", || replicas(&shard_at(node, "")).count() == 1);
    nodes.pop().unwrap().stop();
}
