//! `matrixkv demo`: a real cluster of four nodes on loopback, each a process of its own, so that one can be killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use clap::Args;
use tokio::process::{Child, Command};

use super::serve::next_signal;
use crate::env::real::RealEnv;

mod whole;

/// Nodes; the last one is a store only.
const NODES: u16 = 4;
/// Replicas of a shard, by default.
const REPLICAS: usize = 3;
const HTTP_PORT: u16 = 8080;
/// Node `i` has its inner ports from here plus ten times `i`.
const INNER_PORT: u16 = 18_080;
/// How long the nodes may take until all serve and one may be killed.
const START_MAX: Duration = Duration::from_secs(60);
/// How long they may take to stop before they are killed.
const STOP_MAX: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(100);

/// How to run the demo.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where data, configurations and logs go; by default a fresh folder that is removed at the end
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// Runs the demo until Ctrl-C or SIGTERM.
pub fn demo(args: DemoArgs) -> ExitCode {
    let runtime = crate::cli::runtime();
    match runtime.block_on(run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("matrixkv demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: DemoArgs) -> Result<(), String> {
    check_ports()?;
    let (folder, is_fresh) = match args.dir {
        Some(folder) => (folder, false),
        None => (std::env::temp_dir().join(format!("matrixkv-demo-{}", std::process::id())), true),
    };
    let mut nodes = Vec::new();
    for number in 0..NODES {
        nodes.push(Node::start(&folder, number)?);
    }
    let outcome = attend(&mut nodes, &folder).await;
    stop(&mut nodes).await;
    if is_fresh && outcome.is_ok() {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    outcome
}

/// A port that is taken is said before anything is started.
fn check_ports() -> Result<(), String> {
    let http = (0..NODES).map(|number| HTTP_PORT + number);
    let inner = (0..NODES).flat_map(|number| (1..=5).map(move |port| INNER_PORT + 10 * number + port));
    for port in http.chain(inner) {
        std::net::TcpListener::bind(("127.0.0.1", port))
            .map_err(|error| format!("127.0.0.1:{port} is needed and cannot be had: {error}"))?;
    }
    Ok(())
}

struct Node {
    number: u16,
    child: Child,
    /// What starts it again.
    command: String,
    is_gone: bool,
}

impl Node {
    fn start(folder: &Path, number: u16) -> Result<Node, String> {
        let told = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        fs::create_dir_all(folder).map_err(|error| told(folder, error))?;
        let config = folder.join(format!("node{number}.toml"));
        fs::write(&config, config_text(folder, number)).map_err(|error| told(&config, error))?;
        let log = folder.join(format!("node{number}.log"));
        let log = fs::File::options().create(true).append(true).open(&log).map_err(|error| told(&log, error))?;
        let program = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
        let address = format!("127.0.0.1:{}", HTTP_PORT + number);
        let arguments =
            [format!("--addr={address}"), format!("--cfg={}", config.display()), "--shard-capacity=1024".to_owned()];
        let child = Command::new(&program)
            .args(&arguments)
            .arg("--die-with-parent")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C goes to the demo alone, which then stops its nodes in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start node{number}: {error}"))?;
        let command = format!("{} {}", program.display(), arguments.join(" "));
        Ok(Node { number, child, command, is_gone: false })
    }

    fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", HTTP_PORT + self.number)
    }

    /// Whether the node has just ended.
    fn has_ended(&mut self) -> Option<String> {
        if self.is_gone {
            return None;
        }
        let status = self.child.try_wait().ok().flatten()?;
        self.is_gone = true;
        Some(status.to_string())
    }
}

/// Waits until all serve and one may be lost, says what to try, then watches until the demo is to end.
async fn attend(nodes: &mut [Node], folder: &Path) -> Result<(), String> {
    println!("starting {NODES} nodes; data, configurations and logs are in {}", folder.display());
    tokio::select! {
        biased;
        () = next_signal() => return Ok(()),
        served = wait_until_served(nodes, folder) => served?,
    }
    explain(nodes);
    tokio::select! {
        biased;
        () = next_signal() => {}
        () = watch(nodes) => {}
    }
    println!("\nstopping");
    Ok(())
}

async fn wait_until_served(nodes: &mut [Node], folder: &Path) -> Result<(), String> {
    let env = RealEnv::new();
    let began = std::time::Instant::now();
    loop {
        let mut waiting = None;
        for node in nodes.iter_mut() {
            if let Some(status) = node.has_ended() {
                let log = folder.join(format!("node{}.log", node.number));
                let said = fs::read_to_string(&log).unwrap_or_default();
                let last = said.lines().last().unwrap_or("nothing").to_owned();
                return Err(format!("node{} ended with {status}; its log {} ends: {last}", node.number, log.display()));
            }
            if waiting.is_none() {
                waiting = whole::serves(&env, &node.address()).await.err();
            }
        }
        if waiting.is_none() {
            let members = usize::from(NODES - 1);
            waiting = whole::survives_a_loss(&env, &nodes[0].address(), REPLICAS, members).await.err();
        }
        let Some(why) = waiting else { return Ok(()) };
        if began.elapsed() > START_MAX {
            return Err(format!("not all nodes serve after {START_MAX:?}: {why}; logs are in {}", folder.display()));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn explain(nodes: &[Node]) {
    println!("\nall nodes serve:\n");
    for node in nodes {
        println!("  node{}  http://{}  pid {}", node.number, node.address(), node.pid());
    }
    let [first, second, _, last] = nodes else { return };
    println!(
        "\ntry:\n\n  curl -d '{{\"key\":\"k1\",\"value\":\"v1\"}}' http://{first}/set      # write on one node\n  \
         curl 'http://{second}/get?key=k1'                              # read on another\n  \
         curl http://{first}/shards; curl http://{first}/stores          # who holds what, who leads\n  \
         kill -9 {pid}                                             # kill node0 ...\n  \
         curl 'http://{last}/get?key=k1'                              # ... and read on\n\nstart it again:\n\n  {again}\n\n\
         Ctrl-C stops the cluster.",
        first = first.address(),
        second = second.address(),
        last = last.address(),
        pid = first.pid(),
        again = first.command,
    );
}

/// Says when a node ends; killing one is what the demo is for.
async fn watch(nodes: &mut [Node]) {
    loop {
        for node in nodes.iter_mut() {
            if let Some(status) = node.has_ended() {
                println!("node{} is gone ({status}); to start it again:\n\n  {}\n", node.number, node.command);
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Asks all to stop, by their own pids, and kills what does not.
async fn stop(nodes: &mut [Node]) {
    for node in nodes.iter().filter(|node| !node.is_gone) {
        let pid = i32::try_from(node.pid()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
    for node in nodes.iter_mut().filter(|node| !node.is_gone) {
        if tokio::time::timeout(STOP_MAX, node.child.wait()).await.is_err() {
            println!("node{} does not stop and is killed", node.number);
            let _ = node.child.kill().await;
        }
    }
}

fn config_text(folder: &Path, number: u16) -> String {
    let port = |offset: u16| INNER_PORT + 10 * number + offset;
    let data = folder.join(format!("node{number}"));
    let member = if number < NODES - 1 {
        let join = if number == 0 { String::new() } else { format!("http://127.0.0.1:{}", INNER_PORT + 5) };
        format!(
            "prophet-node = true\nrpc-addr = \"127.0.0.1:{}\"\n\n[prophet.embed-etcd]\njoin = \"{join}\"\n\
             client-urls = \"http://127.0.0.1:{}\"\npeer-urls = \"http://127.0.0.1:{}\"\n",
            port(3),
            port(4),
            port(5)
        )
    } else {
        let urls: Vec<_> = (0..NODES - 1).map(|i| format!("http://127.0.0.1:{}", INNER_PORT + 10 * i + 4)).collect();
        format!("external-etcd = {urls:?}\n")
    };
    format!(
        "# Written by `matrixkv demo`.\naddr-raft = \"127.0.0.1:{}\"\naddr-client = \"127.0.0.1:{}\"\ndir-data = {:?}\n\n\
         [replication]\nmax-peer-down-time = \"15s\"\n\n[prophet.schedule]\nmax-container-down-time = \"10s\"\n\n\
         [prophet]\nname = \"node{number}\"\nfounding-wait = \"1s\"\n{member}",
        port(1),
        port(2),
        data.display().to_string()
    )
}
