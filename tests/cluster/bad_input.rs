//! Requests that are wrong: each is told what is wrong, and changes nothing.

use crate::support::{Answer, Folder, Line, single};

const LIMITS: &str = "[limits]\nkey-bytes-max = 16\nvalue-bytes-max = 1024\nbody-bytes-max = 4096\n";

fn error(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    body["error"].as_str().unwrap_or("(no error)").to_owned()
}

#[test]
fn wrong_requests_are_told_so_and_change_nothing() {
    let folder = Folder::new();
    let mut node = single(&folder, LIMITS);
    assert!(node.writes("k", "before"));
    let long_key = format!("{{\"key\":\"{}\",\"value\":\"v\"}}", "k".repeat(17));
    let long_value = format!("{{\"key\":\"k\",\"value\":\"{}\"}}", "v".repeat(1025));
    let huge = vec![b' '; 1 << 20];
    let deep = "[".repeat(4000);
    let long_path = format!("/get?key={}", "k".repeat(70_000));
    let wrong: &[(&str, &str, &[u8], u16, &str)] = &[
        ("POST", "/set", b"", 400, "the body is empty"),
        ("POST", "/set", b"{\"key\":\"k\",", 400, "EOF"),
        ("POST", "/set", b"{\"key\":\"k\",\"value\":\"\xff\"}", 400, "UTF-8"),
        ("POST", "/set", b"{\"key\":\"k\",\"value\":\"\\ud800\"}", 400, "expected a JSON object"),
        ("POST", "/set", b"[\"k\",\"v\"]", 400, "expected a JSON object"),
        ("POST", "/set", deep.as_bytes(), 400, "recursion"),
        ("POST", "/set", b"{\"key\":1,\"value\":\"v\"}", 400, "key: must be a JSON string"),
        ("POST", "/set", b"{\"key\":\"k\",\"value\":null}", 400, "value: must be a JSON string"),
        ("POST", "/set", b"{\"value\":\"v\"}", 400, "the field key is missing"),
        ("POST", "/set", b"{\"key\":\"k\"}", 400, "the field value is missing"),
        ("POST", "/set", b"{\"key\":\"\",\"value\":\"v\"}", 400, "0 bytes; 1 to 16 are valid"),
        ("POST", "/set", long_key.as_bytes(), 400, "17 bytes; 1 to 16 are valid"),
        ("POST", "/set", long_value.as_bytes(), 413, "1025 bytes; 0 to 1024 are valid"),
        ("POST", "/set", &huge, 413, "larger than 4096 bytes"),
        ("POST", "/set", b"{\"key\":\"k\",\"value\":\"v\",\"ttl\":1}", 400, "unknown field \"ttl\""),
        ("POST", "/delete", b"{\"key\":[]}", 400, "key: must be a JSON string"),
        ("POST", "/delete", b"{\"key\":\"k\",\"value\":\"v\"}", 400, "unknown field \"value\""),
        ("GET", "/get", b"", 400, "the parameter key is missing"),
        ("GET", "/get?key=", b"", 400, "0 bytes; 1 to 16 are valid"),
        ("GET", "/get?key=%ff", b"", 400, "UTF-8"),
        ("GET", "/get?key=kkkkkkkkkkkkkkkkk", b"", 400, "17 bytes; 1 to 16 are valid"),
        ("GET", &long_path, b"", 414, "(no error)"),
        ("GET", "/get?key=k&consistency=stale", b"", 400, "unknown parameter \"consistency\""),
        ("GET", "/shards?local=maybe", b"", 400, "true or false are valid"),
        ("GET", "/nothing", b"", 404, "there is no path /nothing"),
        ("GET", "/", b"", 404, "there is no path /"),
        ("GET", "/set", b"", 405, "this path takes POST"),
        ("DELETE", "/delete", b"{\"key\":\"k\"}", 405, "this path takes POST"),
        ("POST", "/get?key=k", b"", 405, "this path takes GET"),
        ("BREW", "/get?key=k", b"", 405, "this path takes GET"),
    ];
    for (method, path, body, status, part) in wrong {
        let answer = node.request(method, path, body);
        assert_eq!(answer.status, *status, "{method} {path}: {answer:?}");
        assert!(error(&answer).contains(part), "{method} {path}: {answer:?} does not say {part:?}");
        assert!(*status != 405 || answer.head.contains("allow: "), "{answer:?}");
        assert!(node.reads("k", "before"), "after {method} {path}");
    }
    assert!(node.is_running());
    node.stop();
}

#[test]
fn what_is_not_http_is_refused() {
    let folder = Folder::new();
    let node = single(&folder, LIMITS);
    for (bytes, status) in [
        (&b"GET /get?key=k\r\n\r\n"[..], 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
        // Closed without a word, status 0: HTTP/2 is not spoken here, and whoever speaks it would not read HTTP/1.
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0),
        (b"GET /get?key=\x01 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"POST /set HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST /set HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"POST /set HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n", 400),
    ] {
        let mut line = Line::open(&node.plan.address());
        line.send(bytes);
        let answer = line.answer();
        assert_eq!(answer.status, status, "{:?}: {answer:?}", String::from_utf8_lossy(bytes));
    }
    // The inner ports speak another language; whoever speaks HTTP there, or noise, is cut off.
    for port in [20001, 20002, 10001, 2380] {
        let mut line = Line::open(&format!("{}:{port}", node.plan.host));
        line.send(b"GET /get?key=k HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(line.answer().status, 0, "port {port}");
    }
    assert!(node.writes("k", "v"));
    node.stop();
}
