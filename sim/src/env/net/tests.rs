use std::{io, net::Ipv4Addr};

use madsim::{
    runtime::{Handle, NodeHandle},
    task::NodeId,
    time::timeout,
};
use matrixkv::{
    env::{
        Channel, Env, Identity, Listen, Listener, Network, NetworkEvent, NetworkLimits, NetworkSetup, SharedIdentity,
    },
    types::{Boot, CallId, ClusterId, NodeToken},
    wire::{Body, Request, Response},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use super::*;
use crate::env::{EitherNetwork, NetworkKind, SimDisk, SimEnv, SimEnvSetup, run_seed};

const KINDS: [NetworkKind; 2] = [NetworkKind::Datagrams, NetworkKind::Streams];
const SEED: u64 = 7;

#[derive(Clone)]
struct World {
    net: Net,
    trace: Trace,
    kind: NetworkKind,
    machines: Arc<[NodeId]>,
}

/// A node whose events the test takes.
struct Life {
    network: EitherNetwork,
    events: mpsc::Receiver<NetworkEvent>,
}

impl World {
    fn new(kind: NetworkKind, nodes: usize) -> Self {
        let trace = Trace::with_text();
        let net = Net::new(SEED, trace.clone());
        let machine = |node: usize| {
            Handle::current().create_node().ip(Ipv4Addr::new(10, 0, 0, 1 + node as u8).into()).build().id()
        };
        World { net, trace, kind, machines: (0..nodes).map(machine).collect() }
    }

    fn env(&self, node: usize) -> SimEnv {
        SimEnv::new(SimEnvSetup {
            node,
            seed: SEED,
            disk: SimDisk::new(SEED, node, self.trace.clone()),
            net: self.net.clone(),
            trace: self.trace.clone(),
            facts: Arc::new(|_| ()),
            kind: self.kind,
        })
    }

    fn machine(&self, node: usize) -> NodeHandle {
        Handle::current().get_node(self.machines[node]).unwrap()
    }

    async fn start(&self, node: usize, boot: u64) -> Life {
        self.start_as(node, Identity { boot: Boot(boot), ..identity(node) }).await
    }

    async fn start_as(&self, node: usize, identity: Identity) -> Life {
        let world = self.clone();
        let start = self.machine(node).spawn(async move {
            let env = world.env(node);
            let listen = vec![Listen { address: "0.0.0.0:81".into(), channels: vec![Channel::Raft, Channel::Client] }];
            let limits = NetworkLimits {
                queue_messages_max: 10,
                queue_bytes_max: 1 << 20,
                frame_bytes_max: 1 << 20,
                events_max: 100,
                connections_max: 10,
            };
            let identity = SharedIdentity::new(identity);
            env.network(NetworkSetup { identity, listen, limits }).await.unwrap()
        });
        let (network, events) = start.await.unwrap();
        Life { network, events }
    }

    fn kill(&self, node: usize, death: Death) {
        self.net.kill_node(node, death);
        Handle::current().kill(self.machines[node]);
    }
}

fn identity(node: usize) -> Identity {
    Identity { cluster: ClusterId(1), node: NodeToken(1 + node as u64), boot: Boot(1), ..Identity::default() }
}

fn ask(call: u64) -> Body {
    Body::Request { call: CallId(call), request: Request::Routes }
}

impl Life {
    fn ask(&self, node: usize, call: u64) {
        self.network.send(Channel::Client, &format!("node{node}:81"), ask(call));
    }

    /// The next event, as a word.
    async fn next(&mut self) -> String {
        match timeout(Duration::from_secs(30), self.events.recv()).await {
            Err(_) => "nothing".into(),
            Ok(None) => "the end".into(),
            Ok(Some(event)) => self.word(event),
        }
    }

    fn word(&self, event: NetworkEvent) -> String {
        match event {
            NetworkEvent::Message { via, body: Body::Request { call, .. }, .. } => {
                let response = Response::Routes { routes: vec![], stores: vec![] };
                self.network.reply(&via, Body::Response { call, response });
                format!("asked {}", call.0)
            }
            NetworkEvent::Message { body: Body::Response { call, .. }, .. } => format!("answer {}", call.0),
            NetworkEvent::Message { .. } => "raft".into(),
            NetworkEvent::PeerUp { peer, .. } => format!("up {}", peer.boot),
            NetworkEvent::PeerLost { .. } => "lost".into(),
            NetworkEvent::Dropped { body: Body::Request { call, .. }, .. } => format!("dropped {}", call.0),
            NetworkEvent::Dropped { .. } => "dropped something nobody waits for".into(),
            NetworkEvent::Contact { peer } => format!("contact {}", peer.cluster),
            NetworkEvent::Refused { why, .. } => format!("refused: {why}"),
        }
    }

    async fn expect(&mut self, words: &[&str]) {
        for word in words {
            assert_eq!(self.next().await, *word, "of {words:?}");
        }
    }
}

/// Runs a story in both kinds of network.
fn story<F: Future<Output = ()>>(nodes: usize, tell: impl Fn(World) -> F + Send + Copy + 'static) {
    for kind in KINDS {
        run_seed(SEED, move || async move { tell(World::new(kind, nodes)).await });
    }
}

#[test]
fn a_question_is_answered_by_another_node_and_by_itself() {
    story(2, |world| async move {
        let (mut a, mut b) = (world.start(0, 1).await, world.start(1, 1).await);
        a.ask(1, 5);
        b.expect(&["asked 5"]).await;
        a.expect(&["up boot-1", "answer 5"]).await;
        a.ask(0, 6);
        a.expect(&["up boot-1", "asked 6", "answer 6"]).await;
    });
}

#[test]
fn a_killed_process_is_noticed_at_once_and_its_next_life_is_another() {
    story(2, |world| async move {
        let (mut a, mut b) = (world.start(0, 1).await, world.start(1, 1).await);
        a.ask(1, 1);
        b.expect(&["asked 1"]).await;
        a.expect(&["up boot-1", "answer 1"]).await;
        let killed = Instant::now();
        world.kill(1, Death::Process);
        a.expect(&["lost"]).await;
        assert!(killed.elapsed() < Duration::from_millis(5), "{:?}", killed.elapsed());
        madsim::time::sleep(Duration::from_millis(30)).await;
        a.ask(1, 2);
        a.expect(&["dropped 2"]).await;
        Handle::current().restart(world.machines[1]);
        let mut b = world.start(1, 2).await;
        madsim::time::sleep(Duration::from_millis(30)).await;
        a.ask(1, 3);
        b.expect(&["asked 3"]).await;
        a.expect(&["up boot-2", "answer 3"]).await;
    });
}

#[test]
fn a_power_cut_is_noticed_after_a_while_or_by_the_next_life() {
    story(2, |world| async move {
        let (mut a, mut b) = (world.start(0, 1).await, world.start(1, 1).await);
        a.ask(1, 1);
        b.expect(&["asked 1"]).await;
        a.expect(&["up boot-1", "answer 1"]).await;
        let killed = Instant::now();
        world.kill(1, Death::Power);
        a.ask(1, 2);
        a.expect(&["lost"]).await;
        assert!((6..8).contains(&killed.elapsed().as_secs()), "{:?}", killed.elapsed());

        Handle::current().restart(world.machines[1]);
        let mut b = world.start(1, 2).await;
        madsim::time::sleep(Duration::from_millis(30)).await;
        a.ask(1, 3);
        b.expect(&["asked 3"]).await;
        a.expect(&["up boot-2", "answer 3"]).await;
        world.kill(1, Death::Power);
        Handle::current().restart(world.machines[1]);
        let _b = world.start(1, 3).await;
        let killed = Instant::now();
        a.ask(1, 4);
        a.expect(&["lost"]).await;
        assert!(killed.elapsed() < Duration::from_millis(100), "{:?}", killed.elapsed());
    });
}

#[test]
fn a_cut_swallows_calls_until_patience_is_over() {
    story(2, |world| async move {
        let (mut a, mut b) = (world.start(0, 1).await, world.start(1, 1).await);
        world.net.cut(1, 0);
        a.ask(1, 1);
        let began = Instant::now();
        a.expect(&["dropped 1"]).await;
        assert!(began.elapsed() >= Duration::from_secs(2));
        world.net.mend(1, 0);
        madsim::time::sleep(Duration::from_secs(1)).await;
        a.ask(1, 2);
        b.expect(&["asked 2"]).await;
        a.expect(&["up boot-1", "answer 2"]).await;
    });
}

#[test]
fn a_link_that_is_cut_for_long_is_given_up() {
    story(2, |world| async move {
        let (mut a, mut b) = (world.start(0, 1).await, world.start(1, 1).await);
        a.ask(1, 1);
        b.expect(&["asked 1"]).await;
        a.expect(&["up boot-1", "answer 1"]).await;
        world.net.cut(0, 1);
        a.ask(1, 2);
        let began = Instant::now();
        a.expect(&["lost"]).await;
        assert!((6..8).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        b.expect(&["nothing"]).await;
    });
}

#[test]
fn strangers_and_old_copies_are_refused_by_name() {
    story(3, |world| async move {
        let mut a = world.start(0, 5).await;
        let mut b = world.start_as(1, Identity { cluster: ClusterId(2), ..identity(1) }).await;
        b.ask(0, 1);
        let refused = a.next().await;
        assert!(refused.starts_with("refused: cluster-2 and cluster-1 do not mix"), "{refused}");
        let words = [b.next().await, b.next().await];
        assert!(words.iter().any(|word| word == "dropped 1"), "{words:?}");
        assert!(words.iter().any(|word| word.starts_with("refused: the other side refused: cluster-2")), "{words:?}");

        let mut newcomer = world.start_as(2, Identity { cluster: ClusterId::NONE, ..identity(2) }).await;
        newcomer.ask(0, 2);
        a.expect(&["asked 2"]).await;
        newcomer.expect(&["up boot-5", "contact cluster-1", "answer 2"]).await;
    });
}

#[test]
fn an_address_is_bound_once_and_only_at_home() {
    run_seed(SEED, || async {
        let world = World::new(NetworkKind::Datagrams, 2);
        let env = world.env(0);
        let listener = env.listen("0.0.0.0:80").await.unwrap();
        let error = env.listen("node0:80").await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with("cannot listen on node0:80: "), "{error}");
        assert_eq!(env.listen("node1:80").await.err().unwrap().kind(), io::ErrorKind::AddrNotAvailable);
        drop(listener);
        env.listen("node0:80").await.unwrap();
        assert_eq!(env.connect("node1:80").await.err().unwrap().kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_stream_carries_bytes_in_order_through_bad_links_and_cuts() {
    run_seed(SEED, || async {
        let world = World::new(NetworkKind::Datagrams, 2);
        let late_by = Duration::from_millis(300);
        world.net.set_default_policy(Policy { loss: 0.1, duplicate: 0.2, late: 0.2, late_by, ..Policy::GOOD });
        let (here, there) = (world.env(0), world.env(1));
        let mut listener = there.listen("node1:80").await.unwrap();
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let writer = madsim::task::spawn(async move {
            let mut stream = here.connect("node1:80").await.unwrap();
            for piece in sent.chunks(70_000) {
                stream.write_all(piece).await.unwrap();
            }
            stream.shutdown().await.unwrap();
            assert!(stream.write_all(b"more").await.is_err());
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        });
        let (mut stream, from) = listener.accept().await.unwrap();
        assert_eq!(from, "node0");
        let net = world.net.clone();
        madsim::task::spawn(async move {
            for _ in 0..5 {
                madsim::time::sleep(Duration::from_millis(700)).await;
                net.cut(0, 1);
                madsim::time::sleep(Duration::from_secs(2)).await;
                net.mend(0, 1);
            }
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert!(received == expected, "{} bytes came, other ones", received.len());
        drop(stream);
        writer.await.unwrap();
    });
}

#[test]
fn a_writer_waits_while_nobody_reads() {
    run_seed(SEED, || async {
        let world = World::new(NetworkKind::Datagrams, 2);
        let (here, there) = (world.env(0), world.env(1));
        let mut listener = there.listen("node1:80").await.unwrap();
        let mut stream = here.connect("node1:80").await.unwrap();
        let much = vec![1; 3 << 20];
        assert!(timeout(Duration::from_secs(5), stream.write_all(&much)).await.is_err());
        let (other, _) = listener.accept().await.unwrap();
        // What nobody read is answered with a reset.
        drop(other);
        madsim::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(stream.write_all(&much).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_reset_comes_in_the_midst_of_what_was_written() {
    run_seed(SEED, || async {
        let world = World::new(NetworkKind::Datagrams, 2);
        let (here, there) = (world.env(0), world.env(1));
        let mut listener = there.listen("node1:80").await.unwrap();
        let mut parts = 0;
        for _ in 0..20 {
            let mut stream = here.connect("node1:80").await.unwrap();
            let (mut other, _) = listener.accept().await.unwrap();
            stream.write_all(&[1; 1000]).await.unwrap();
            world.net.reset(0, 1);
            let mut received = Vec::new();
            let error = other.read_to_end(&mut received).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert!(stream.write_all(&[1]).await.is_err());
            parts += usize::from((1..1000).contains(&received.len()));
        }
        assert!(parts > 10);
    });
}
