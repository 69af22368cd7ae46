//! Starts that must not succeed: what is said, and that the folder is as it was.

use std::{fs, net::TcpListener, process::Command};

use crate::support::{Folder, Node, Plan, next_host, single};

fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{said:?} does not say {part:?}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let folder = Folder::new();
    let plan = Plan::member(&folder.0, &next_host(), "", "");
    for port in [8080, 20001, 20002, 10001, 2379, 2380] {
        let address = format!("{}:{port}", plan.host);
        let taken = TcpListener::bind(&address).unwrap();
        says(&plan.start_in_vain(), &[&address, "in use"]);
        drop(taken);
    }
    let mut node = plan.start();
    node.wait_until_ready();
    node.stop();
}

#[test]
fn a_folder_is_for_one_process() {
    let folder = Folder::new();
    let node = single(&folder, "");
    assert!(node.writes("k", "v"));
    let mut second = Plan::member(&folder.0, &next_host(), "", "");
    second.config =
        second.config.replace(&second.data().display().to_string(), &node.plan.data().display().to_string());
    says(&second.start_in_vain(), &["dir-data", "is in use by another matrixkv process"]);
    assert!(node.reads("k", "v"));
    node.stop();
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let folder = Folder::new();
    let plan = Plan::member(&folder.0, &next_host(), "", "");
    // A file where the folder should be stops root as well, which permissions do not.
    fs::write(plan.data(), "a file").unwrap();
    says(&plan.start_in_vain(), &["dir-data", "cannot be made"]);
    fs::remove_file(plan.data()).unwrap();

    fs::create_dir_all(plan.data()).unwrap();
    fs::write(plan.data().join("store.redb"), vec![b'x'; 8192]).unwrap();
    says(&plan.start_in_vain(), &["store.redb"]);
    assert_eq!(fs::read(plan.data().join("store.redb")).unwrap(), vec![b'x'; 8192], "it was changed");
    fs::remove_file(plan.data().join("store.redb")).unwrap();

    fs::write(plan.data().join("prophet.redb"), vec![b'x'; 8192]).unwrap();
    says(&plan.start_in_vain(), &["prophet.redb"]);
    assert_eq!(fs::read(plan.data().join("prophet.redb")).unwrap(), vec![b'x'; 8192], "it was changed");
}

#[test]
fn a_folder_of_another_node_is_refused() {
    let folder = Folder::new();
    let node = single(&folder, "");
    assert!(node.writes("k", "v"));
    let plan = node.stop();
    let named = |name: &str| {
        let config = plan.config.replace(&format!("name = {:?}", plan.host), &format!("name = {name:?}"));
        Plan { config, ..plan.clone() }
    };
    says(&named("somebody").start_in_vain(), &["belongs to the node", &plan.host, "somebody"]);
    let member = plan.config.replace("prophet-node = true", "external-etcd = [\"http://127.0.0.1:1\"]");
    let left_out = Plan { config: member, ..plan.clone() };
    says(&left_out.start_in_vain(), &["prophet.prophet-node = false", "holds a Prophet member"]);

    let mut node = plan.start();
    node.wait_until_ready();
    assert!(node.reads("k", "v"));
    node.stop();
}

#[test]
fn a_store_of_another_cluster_is_refused() {
    let folder = Folder::new();
    let (ours, theirs) = (single(&folder, ""), single(&folder, ""));
    assert!(ours.writes("k", "ours") && theirs.writes("k", "theirs"));
    let host = next_host();
    let mut store = Plan::store(&folder.0, &host, &[&ours.plan.host]).start();
    store.wait_until_ready();
    assert!(store.reads("k", "ours"));
    store.stop();

    let mut stray: Node = Plan::store(&folder.0, &host, &[&theirs.plan.host]).start();
    stray.wait_until_it_says("another cluster");
    assert_eq!(stray.request("GET", "/ready", b"").status, 503);
    assert_eq!(stray.get("k").status, 503, "{}", stray.log());
    drop(stray);
    assert!(theirs.reads("k", "theirs"));
    theirs.stop();
    let mut store = Plan::store(&folder.0, &host, &[&ours.plan.host]).start();
    store.wait_until_ready();
    assert!(store.reads("k", "ours"));
    store.stop();
    ours.stop();
}

#[test]
fn a_wrong_configuration_starts_nothing() {
    let folder = Folder::new();
    let plan = Plan::member(&folder.0, &next_host(), "", "");
    let wrong = |line: &str| Plan { config: format!("{line}\n{}", plan.config), ..plan.clone() }.start_in_vain();
    says(&wrong("capacity = \"much\""), &["capacity", "much", "expected a size"]);
    says(&wrong("capacity ="), &["cube.toml"]);
    says(&wrong("raft.tick-interval = \"0s\""), &["raft.tick-interval", "expected a duration from"]);
    assert!(!plan.data().exists(), "a data folder was made");

    let matrixkv = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_matrixkv")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = matrixkv(&["--cfg", "/nowhere/cube.toml"]);
    assert_eq!(code, Some(1));
    says(&said, &["/nowhere/cube.toml"]);
    let (code, said) = matrixkv(&["--shard-capacity", "many"]);
    assert_eq!(code, Some(2));
    says(&said, &["--shard-capacity"]);
    let config = plan.folder.join("cube.toml");
    fs::write(&config, &plan.config).unwrap();
    let (code, said) = matrixkv(&["--cfg", config.to_str().unwrap(), "--addr", "nowhere"]);
    assert_eq!(code, Some(2));
    says(&said, &["--addr", "nowhere"]);
}

#[test]
fn an_unknown_key_is_a_warning_and_the_node_starts() {
    let folder = Folder::new();
    let node = single(&folder, "raft.tick-intervall = \"1s\"");
    says(&node.log(), &["raft.tick-intervall", "unknown"]);
    node.stop();
}
