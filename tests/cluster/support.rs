//! Processes with a folder and a loopback address of their own, and a client that can also misbehave.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long something may take that must come.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(30);

/// A folder that is removed in the end, unless the test failed.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("matrixkv-cluster-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A loopback address that no other node of these tests has, so that every node can use the default ports.
pub fn next_host() -> String {
    static HOST: AtomicU8 = AtomicU8::new(1);
    let (pid, host) = (std::process::id(), HOST.fetch_add(1, Ordering::Relaxed));
    format!("127.{}.{}.{host}", 64 + (pid >> 8) % 64, pid % 256)
}

/// What a node is started with.
#[derive(Clone)]
pub struct Plan {
    pub host: String,
    pub folder: PathBuf,
    pub config: String,
    /// On the command line, beside address and configuration.
    pub arguments: Vec<&'static str>,
}

impl Plan {
    /// A node at `host` with its addresses and data folder; `prophet` goes on in the section of that name.
    pub fn new(folder: &Path, host: &str, before: &str, prophet: &str) -> Plan {
        let folder = folder.join(host);
        fs::create_dir_all(&folder).unwrap();
        let data = folder.join("data").display().to_string();
        let config = format!(
            "addr-raft = \"{host}:20001\"\naddr-client = \"{host}:20002\"\ndir-data = {data:?}\n{before}\n\
             [prophet]\nname = \"{host}\"\nrpc-addr = \"{host}:10001\"\n{prophet}\n"
        );
        Plan { host: host.to_owned(), folder, config, arguments: Vec::new() }
    }

    /// A Prophet member: the first if `join` is empty.
    pub fn member(folder: &Path, host: &str, join: &str, before: &str) -> Plan {
        let prophet = format!(
            "prophet-node = true\nfounding-wait = \"200ms\"\n[prophet.embed-etcd]\njoin = {join:?}\n\
             client-urls = \"http://{host}:2379\"\npeer-urls = \"http://{host}:2380\""
        );
        Self::new(folder, host, before, &prophet)
    }

    /// A node that is only a store, of the cluster whose members are `members`.
    pub fn store(folder: &Path, host: &str, members: &[&str]) -> Plan {
        let urls: Vec<_> = members.iter().map(|member| format!("http://{member}:2379")).collect();
        Self::new(folder, host, "", &format!("external-etcd = {urls:?}"))
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn address(&self) -> String {
        format!("{}:8080", self.host)
    }

    /// Starts the process.
    pub fn start(&self) -> Node {
        let config = self.folder.join("cube.toml");
        fs::write(&config, &self.config).unwrap();
        let log = fs::File::create(self.folder.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_matrixkv"))
            .arg(format!("--addr={}", self.address()))
            .arg(format!("--cfg={}", config.display()))
            .arg("--die-with-parent")
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Node { plan: self.clone(), child }
    }

    /// Starts a node that must end on its own with exit status 1. What it said.
    pub fn start_in_vain(&self) -> String {
        self.start().ends_with(1)
    }
}

/// A running process; killed when it is dropped.
pub struct Node {
    pub plan: Plan,
    child: Child,
}

impl Node {
    /// What it said since it was started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.plan.folder.join("log")).unwrap()
    }

    /// Waits until it says that, and shows what it said if it does not.
    pub fn wait_until_it_says(&mut self, what: &str) {
        let began = Instant::now();
        while !self.log().contains(what) {
            let is_waiting = self.is_running() && began.elapsed() < PATIENCE;
            assert!(is_waiting, "{what:?} was not said within {PATIENCE:?}:\n{}", self.log());
            sleep(POLL);
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// As `kill -9`.
    pub fn kill(mut self) -> Plan {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        assert!(!self.log().contains("panicked"), "{}", self.log());
        self.plan.clone()
    }

    /// It ends with exit status `code`, and never panicked. What it said.
    pub fn ends_with(&mut self, code: i32) -> String {
        let status = wait(&mut self.child);
        let said = self.log();
        assert_eq!(status.code(), Some(code), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        said
    }

    /// Asks it to stop. Asked twice, it ends at once with status 1.
    pub fn ask_to_stop(&self) {
        signal("-TERM", self.child.id());
    }

    /// Asks it to stop; it must end in order.
    pub fn stop(mut self) -> Plan {
        self.ask_to_stop();
        self.ends_with(0);
        self.plan.clone()
    }

    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let mut line = Line::open(&self.plan.address());
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        line.send(head.as_bytes());
        // A node that refuses a large body need not read it.
        let _ = line.0.write_all(body);
        line.answer()
    }

    pub fn get(&self, key: &str) -> Answer {
        self.request("GET", &format!("/get?key={key}"), b"")
    }

    pub fn set(&self, key: &str, value: &str) -> Answer {
        self.request("POST", "/set", format!("{{\"key\":{key:?},\"value\":{value:?}}}").as_bytes())
    }

    pub fn reads(&self, key: &str, value: &str) -> bool {
        self.get(key).is(200, &format!("{{\"key\":{key:?},\"value\":{value:?},\"error\":\"\",\"found\":true}}"))
    }

    pub fn writes(&self, key: &str, value: &str) -> bool {
        self.set(key, value).is(200, &format!("{{\"key\":{key:?},\"error\":\"\"}}"))
    }

    pub fn has_nothing_at(&self, key: &str) -> bool {
        self.get(key).is(200, &format!("{{\"key\":{key:?},\"value\":\"\",\"error\":\"\",\"found\":false}}"))
    }

    pub fn wait_until_ready(&mut self) {
        within("the node is ready", || {
            assert!(self.is_running(), "{}", self.log());
            TcpStream::connect(self.plan.address()).is_ok() && self.request("GET", "/ready", b"").status == 200
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer; status 0 if the connection was closed without one.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn is(&self, status: u16, body: &str) -> bool {
        self.status == status && self.body == body
    }
}

/// A connection that does as it is told.
pub struct Line(pub TcpStream);

impl Line {
    pub fn open(address: &str) -> Line {
        let address = address.to_socket_addrs().unwrap().next().unwrap();
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Line(stream)
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Whether a request is answered on it.
    pub fn is_served(&mut self) -> bool {
        self.0.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").is_ok() && self.answer().status == 200
    }

    /// One answer; the connection may go on after it.
    pub fn answer(&mut self) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                Ok(_) => return Answer { status: 0, head: String::new(), body: String::new() },
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Answer { status: 0, head: String::new(), body: String::new() };
                }
                Err(error) => panic!("no answer: {error}"),
            }
        }
        let head = String::from_utf8(head).unwrap();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: String::from_utf8(body).unwrap() }
    }

    /// Whether the other side closes it before anything else comes.
    pub fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// What a node answers to a question, which must be done.
pub fn asked(node: &Node, path: &str) -> serde_json::Value {
    let answer = node.request("GET", path, b"");
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

/// Sends a signal, by `kill`'s name of it.
pub fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// Waits for a process that must end.
pub fn wait(child: &mut Child) -> ExitStatus {
    let mut status = None;
    within("the process ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// Looks until it is so.
pub fn within(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        sleep(POLL);
    }
}

/// A cluster of one node that is ready, with `before` in front of its configuration's sections.
pub fn single(folder: &Folder, before: &str) -> Node {
    let mut node = Plan::member(&folder.0, &next_host(), "", before).start();
    node.wait_until_ready();
    node
}
