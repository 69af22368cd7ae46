//! `matrixkv demo`, as the README has it. Its ports are fixed, so one test does all of it.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use crate::support::{Folder, Line, signal, wait, within};

const PORTS: [u16; 4] = [8080, 8081, 8082, 8083];

struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        // Its nodes stop when it is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &Folder) -> Demo {
    let mut command = Command::new(env!("CARGO_BIN_EXE_matrixkv"));
    command.args(["demo", "--dir"]).arg(folder.0.join("demo"));
    Demo(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// What a demo says that cannot start.
fn complaint(mut demo: Demo) -> String {
    let said = BufReader::new(demo.0.stderr.take().unwrap()).lines().map(Result::unwrap).collect();
    assert_eq!(wait(&mut demo.0).code(), Some(1));
    said
}

fn ask(port: u16, request: &str) -> String {
    let mut line = Line::open(&format!("127.0.0.1:{port}"));
    line.send(request.as_bytes());
    line.answer().body
}

#[test]
fn the_demo_serves_survives_a_kill_and_stops() {
    let folder = Folder::new();
    let taken = TcpListener::bind(("127.0.0.1", PORTS[0]));
    let output = complaint(start(&folder));
    assert!(output.contains("127.0.0.1:8080 is needed and cannot be had"), "{output}");
    if taken.is_err() {
        // Past the test's own output, which nobody sees where it passes.
        let said = "SKIPPED: the demo's run; its ports are in use, by a demo or a cluster that is up";
        writeln!(std::io::stderr(), "{said}").unwrap();
        return;
    }
    drop(taken);

    let mut demo = start(&folder);
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said: Vec<String> = lines.by_ref().take_while(|line| !line.contains("Ctrl-C stops the cluster")).collect();
    let pids: Vec<&str> = said.iter().filter_map(|line| line.split(" pid ").nth(1)).collect();
    assert_eq!(pids.len(), PORTS.len(), "{said:?}");
    // One may be killed from now on, this very moment.
    let shards = ask(PORTS[0], "GET /shards HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(shards.matches("\"learner\":false").count(), 3, "{shards}");
    let set = "POST /set HTTP/1.1\r\nhost: x\r\ncontent-length: 25\r\n\r\n{\"key\":\"k1\",\"value\":\"v1\"}";
    assert_eq!(ask(PORTS[0], set), "{\"key\":\"k1\",\"error\":\"\"}");
    let read = |port| ask(port, "GET /get?key=k1 HTTP/1.1\r\nhost: x\r\n\r\n").contains("\"value\":\"v1\"");
    assert!(PORTS.into_iter().all(read));

    signal("-KILL", pids[0].parse().unwrap());
    let told = lines.find(|line| line.contains("is gone")).unwrap();
    assert!(told.contains("node0"), "{told}");
    within("the others read on", || PORTS[1..].iter().copied().all(read));

    signal("-INT", demo.0.id());
    assert_eq!(wait(&mut demo.0).code(), Some(0));
    for port in PORTS {
        TcpListener::bind(("127.0.0.1", port)).unwrap();
    }
}
