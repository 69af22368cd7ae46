//! Every limit of the HTTP side: headers, times, connections, requests; and connections that end too early.

use std::time::{Duration, Instant};

use crate::support::{Folder, Line, Plan, next_host, single, within};

#[test]
fn headers_are_bounded_in_number_size_and_time() {
    let folder = Folder::new();
    let node = single(&folder, "[limits]\nheaders-max = 8\nheader-bytes-max = \"8KB\"\nheader-timeout = \"300ms\"\n");
    let address = node.plan.address();
    let with = |headers: &str| {
        let mut line = Line::open(&address);
        line.send(format!("GET /health HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes());
        line.answer().status
    };
    assert_eq!(with(&"a: b\r\n".repeat(7)), 200);
    assert_eq!(with(&"a: b\r\n".repeat(8)), 431);
    assert_eq!(with(&format!("a: {}\r\n", "b".repeat(4000))), 200);
    assert_eq!(with(&format!("a: {}\r\n", "b".repeat(20_000))), 431);

    let began = Instant::now();
    let mut silent = Line::open(&address);
    let mut half = Line::open(&address);
    half.send(b"GET /health HTTP/1.1\r\nhost");
    // Half the default: it is the configured time that ends them.
    for line in [&silent, &half] {
        line.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    assert!(silent.is_closed() && half.is_closed());
    assert!(began.elapsed().as_millis() >= 300, "they were given less time than configured");
    node.stop();
}

#[test]
fn half_a_body_changes_nothing_and_holds_nobody_for_ever() {
    const HEAD: &[u8] = b"POST /set HTTP/1.1\r\nhost: x\r\ncontent-length: 27\r\n\r\n{\"key\":\"k\",\"va";
    let folder = Folder::new();
    let node = single(&folder, "[limits]\nrequest-deadline = \"1s\"\nbody-bytes-max = 4096\n");
    let mut gone = Line::open(&node.plan.address());
    gone.send(HEAD);
    drop(gone);
    let mut stuck = Line::open(&node.plan.address());
    stuck.send(HEAD);
    let answer = stuck.answer();
    assert_eq!(answer.status, 408, "{answer:?}");
    assert!(answer.body.contains("limits.request-deadline"), "{answer:?}");
    assert!(node.has_nothing_at("k"));

    // A body of unknown length ends at the limit.
    let mut endless = Line::open(&node.plan.address());
    endless.send(b"POST /set HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2000\r\n");
    endless.send(&[b' '; 0x2000]);
    assert_eq!(endless.answer().status, 413);
    assert!(node.has_nothing_at("k"));
    node.stop();
}

#[test]
fn a_connection_is_kept_and_takes_requests_one_after_the_other() {
    let folder = Folder::new();
    let mut node = single(&folder, "[limits]\nheader-timeout = \"1h\"\n");
    let mut line = Line::open(&node.plan.address());
    let one = b"POST /set HTTP/1.1\r\nhost: x\r\ncontent-length: 23\r\n\r\n{\"key\":\"k\",\"value\":\"1\"}";
    let two = b"GET /get?key=k HTTP/1.1\r\nhost: x\r\n\r\n";
    line.send(&[&one[..], two].concat());
    assert_eq!(line.answer().status, 200);
    assert!(line.answer().body.contains("\"value\":\"1\""));
    line.send(two);
    assert_eq!(line.answer().status, 200);

    // An idle connection, which nothing else would close, does not keep a node from stopping in order.
    node.ask_to_stop();
    assert!(line.is_closed());
    node.ends_with(0);
}

#[test]
fn connections_over_the_limit_are_closed() {
    let folder = Folder::new();
    let node = single(&folder, "[limits]\nconnections-max = 4\n");
    let address = node.plan.address();
    let mut lines: Vec<Line> = Vec::new();
    // Connections that made the node ready may still be closing.
    within("four connections are held", || {
        let mut line = Line::open(&address);
        if line.is_served() {
            lines.push(line);
        }
        lines.len() == 4
    });
    // An idle connection is closed in the end, so this one asks.
    assert!(!Line::open(&address).is_served());
    lines.pop();
    within("a place is free again", || Line::open(&address).is_served());
    node.stop();
}

#[test]
fn requests_over_the_limit_are_told_to_come_back() {
    let folder = Folder::new();
    // A store whose cluster nobody runs: what it is asked waits for its deadline.
    let plan = Plan::store(&folder.0, &next_host(), &[&next_host()]);
    let limits = "\n[limits]\nrequests-in-flight-max = 1\nrequest-deadline = \"2s\"\n";
    let node = Plan { config: plan.config.clone() + limits, ..plan }.start();
    within("it listens", || std::net::TcpStream::connect(node.plan.address()).is_ok());
    let mut both = [(); 2].map(|()| Line::open(&node.plan.address()));
    both.iter_mut().for_each(|line| line.send(b"GET /get?key=k HTTP/1.1\r\nhost: x\r\n\r\n"));
    // Whichever came second is refused at once.
    let answers = both.map(|mut line| line.answer());
    assert!(answers.iter().all(|answer| answer.status == 503), "{answers:?}");
    for part in ["limits.requests-in-flight-max", "not done in time"] {
        assert!(answers.iter().any(|answer| answer.body.contains(part)), "{answers:?}");
    }
    assert_eq!(node.request("GET", "/health", b"").status, 200, "a node without a cluster lives");
    assert_eq!(node.request("GET", "/ready", b"").status, 503, "and is not ready");
    node.stop();
}
