//! Four nodes, three of them Prophet's: written to, stopped, killed and started again.

use serde_json::Value;

use crate::support::{Folder, Node, Plan, next_host, within};

fn plans(folder: &Folder) -> Vec<Plan> {
    let hosts: Vec<String> = (0..4).map(|_| next_host()).collect();
    let join = format!("http://{}:2380", hosts[0]);
    let members = [&*hosts[0], &*hosts[1], &*hosts[2]];
    vec![
        Plan::member(&folder.0, members[0], "", ""),
        Plan::member(&folder.0, members[1], &join, ""),
        Plan::member(&folder.0, members[2], &join, ""),
        Plan::store(&folder.0, &hosts[3], &members),
    ]
}

fn shards(node: &Node) -> Value {
    serde_json::from_str(&node.request("GET", "/shards", b"").body).unwrap()
}

fn replicas(node: &Node) -> Vec<Value> {
    let shards = shards(node);
    shards["shards"][0]["replicas"].as_array().cloned().unwrap_or_default()
}

/// The store that leads the one shard, as `node` knows it.
fn leader(node: &Node) -> Option<u64> {
    replicas(node).iter().find(|replica| replica["role"] == "L").and_then(|replica| replica["store-id"].as_u64())
}

fn store_id(node: &Node) -> Option<u64> {
    shards(node)["store-id"].as_u64()
}

fn all_read(nodes: &[Node], pairs: &[(&str, &str)]) {
    for node in nodes {
        for (key, value) in pairs {
            within("every node reads every key", || node.reads(key, value));
        }
    }
}

#[test]
fn nodes_are_stopped_and_killed_and_nothing_is_lost() {
    let folder = Folder::new();
    let mut nodes: Vec<Node> = plans(&folder).iter().map(Plan::start).collect();
    nodes.iter_mut().for_each(Node::wait_until_ready);
    within("the shard has three voters", || {
        replicas(&nodes[3]).iter().filter(|replica| replica["learner"] == false).count() == 3
    });
    within("a write on the first node", || nodes[0].writes("k1", "v1"));
    all_read(&nodes, &[("k1", "v1")]);

    let stopped = nodes.pop().unwrap().stop();
    within("a write while a node is stopped", || nodes[1].writes("k2", "v2"));
    all_read(&nodes, &[("k1", "v1"), ("k2", "v2")]);
    nodes.push(stopped.start());
    nodes[3].wait_until_ready();
    all_read(&nodes[3..], &[("k1", "v1"), ("k2", "v2")]);

    let mut leads = None;
    within("somebody leads", || {
        let store = leader(&nodes[0]);
        leads = nodes.iter().position(|node| store.is_some() && store_id(node) == store);
        leads.is_some()
    });
    let killed = nodes.remove(leads.unwrap()).kill();
    within("a write while the old leader is dead", || nodes[2].writes("k3", "v3"));
    all_read(&nodes, &[("k1", "v1"), ("k2", "v2"), ("k3", "v3")]);
    nodes.push(killed.start());
    nodes[3].wait_until_ready();
    all_read(&nodes, &[("k1", "v1"), ("k2", "v2"), ("k3", "v3")]);

    // The machine goes down: all at once, with a write just acknowledged.
    within("a last write", || nodes[0].writes("k4", "v4"));
    let plans: Vec<Plan> = nodes.into_iter().map(Node::kill).collect();
    let mut nodes: Vec<Node> = plans.iter().map(Plan::start).collect();
    nodes.iter_mut().for_each(Node::wait_until_ready);
    all_read(&nodes, &[("k1", "v1"), ("k2", "v2"), ("k3", "v3"), ("k4", "v4")]);
    nodes.into_iter().for_each(|node| drop(node.stop()));
}
