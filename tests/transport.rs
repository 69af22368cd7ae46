//! The network over real TCP, on the loopback: what arrives, what is given back, who is refused.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test runs on the real world")]

use std::{
    collections::{BTreeSet, VecDeque},
    io::{Read, Write},
    time::Duration,
};

use bytes::Bytes;
use matrixkv::{
    env::{
        Channel, Env, Identity, Listen, Network, NetworkEvent, NetworkLimits, NetworkSetup, SharedIdentity, Via,
        link::{self, Hello},
        real::RealEnv,
    },
    types::{Boot, CallId, ClusterId, NodeToken, Peer, PeerRole, ReplicaId, ShardId, StoreId},
    wire::{Body, RaftMessage, Request, Response},
};
use tokio::{sync::mpsc, time::timeout};

type Wire = <RealEnv as Env>::Network;

const PATIENCE: Duration = Duration::from_secs(10);
const FRAME_BYTES_MAX: u64 = 64 << 20;

/// A node that is nothing but a network.
struct Node {
    network: Wire,
    identity: SharedIdentity,
    events: mpsc::Receiver<NetworkEvent>,
    passed: VecDeque<NetworkEvent>,
    address: String,
}

fn identity(node: u64, cluster: u64, boot: u64) -> Identity {
    Identity { cluster: ClusterId(cluster), node: NodeToken(node), store: StoreId(node), boot: Boot(boot) }
}

/// An address that nobody listens on at this moment.
fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn limits() -> NetworkLimits {
    NetworkLimits {
        queue_messages_max: 1000,
        queue_bytes_max: 4 << 20,
        frame_bytes_max: FRAME_BYTES_MAX,
        events_max: 1000,
        connections_max: 100,
    }
}

impl Node {
    async fn start(identity: Identity) -> Node {
        Self::start_at(identity, free_address(), limits()).await
    }

    async fn start_at(identity: Identity, address: String, limits: NetworkLimits) -> Node {
        let identity = SharedIdentity::new(identity);
        let channels = vec![Channel::Raft, Channel::Bulk, Channel::Client];
        let listen = vec![Listen { address: address.clone(), channels }];
        let setup = NetworkSetup { identity: identity.clone(), listen, limits };
        let (network, events) = RealEnv::new().network(setup).await.expect("the address is free");
        Node { network, identity, events, passed: VecDeque::new(), address }
    }

    /// The first event that `pick` takes; the others are kept for later calls.
    async fn find<T>(&mut self, pick: impl Fn(&NetworkEvent) -> Option<T>) -> T {
        if let Some(at) = self.passed.iter().position(|event| pick(event).is_some()) {
            return pick(&self.passed.remove(at).unwrap()).unwrap();
        }
        loop {
            let event = timeout(PATIENCE, self.events.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("nothing came; before: {:?}", self.passed)).expect("it runs");
            if let Some(found) = pick(&event) {
                return found;
            }
            self.passed.push_back(event);
        }
    }

    async fn message(&mut self) -> (Identity, Via, Body) {
        self.find(|event| match event {
            NetworkEvent::Message { sender, via, body, .. } => Some((sender.identity, via.clone(), body.clone())),
            _ => None,
        })
        .await
    }

    async fn up(&mut self) -> Identity {
        self.find(|event| match event {
            NetworkEvent::PeerUp { peer, .. } => Some(*peer),
            _ => None,
        })
        .await
    }

    async fn lost(&mut self) -> String {
        self.find(|event| match event {
            NetworkEvent::PeerLost { address, .. } => Some(address.clone()),
            _ => None,
        })
        .await
    }

    async fn dropped(&mut self) -> Body {
        self.find(|event| match event {
            NetworkEvent::Dropped { body, .. } => Some(body.clone()),
            _ => None,
        })
        .await
    }

    async fn refused(&mut self) -> (Option<Identity>, String) {
        self.find(|event| match event {
            NetworkEvent::Refused { peer, why, .. } => Some((*peer, why.clone())),
            _ => None,
        })
        .await
    }

    async fn contact(&mut self) -> Identity {
        self.find(|event| match event {
            NetworkEvent::Contact { peer } => Some(*peer),
            _ => None,
        })
        .await
    }

    /// Sends until it arrives: for a peer that comes back.
    async fn insist(&mut self, to: &mut Node, call: u64) {
        for _ in 0..200 {
            self.network.send(Channel::Client, &to.address, question(call));
            if timeout(Duration::from_millis(50), to.message()).await.is_ok() {
                return;
            }
        }
        panic!("it never arrived");
    }
}

fn question(call: u64) -> Body {
    Body::Request { call: CallId(call), request: Request::Routes }
}

fn answer(call: u64) -> Body {
    Body::Response { call: CallId(call), response: Response::Routes { routes: vec![], stores: vec![] } }
}

fn raft(bytes: usize) -> Body {
    let peer = Peer { replica: ReplicaId(1), store: StoreId(1), role: PeerRole::Voter };
    let (epoch, message) = (Default::default(), Bytes::from(vec![7; bytes]));
    Body::Raft(RaftMessage { shard: ShardId(1), from: peer, to: peer, epoch, range: None, quiet: None, message })
}

#[tokio::test]
async fn a_question_and_its_answer_travel() {
    let mut a = Node::start(identity(1, 9, 1)).await;
    let mut b = Node::start(identity(2, 9, 5)).await;
    for call in 0..100 {
        a.network.send(Channel::Client, &b.address, question(call));
    }
    assert_eq!(a.up().await, identity(2, 9, 5));
    for call in 0..100 {
        let (from, via, body) = b.message().await;
        assert_eq!((from, body), (identity(1, 9, 1), question(call)));
        assert!(matches!(via, Via::Accepted(_)));
        b.network.reply(&via, answer(call));
        let (from, via, body) = a.message().await;
        assert_eq!((from, body), (identity(2, 9, 5), answer(call)));
        assert_eq!(via, Via::Dialled { channel: Channel::Client, address: b.address.clone() });
    }
}

#[tokio::test]
async fn a_node_may_dial_itself() {
    let mut a = Node::start(identity(1, 9, 1)).await;
    a.network.send(Channel::Client, &a.address.clone(), question(1));
    let (_, via, body) = a.message().await;
    assert_eq!(body, question(1));
    a.network.reply(&via, answer(1));
    assert_eq!(a.message().await.2, answer(1));
}

#[tokio::test]
async fn nobody_listens() {
    let mut a = Node::start(identity(1, 9, 1)).await;
    let nowhere = free_address();
    a.network.send(Channel::Client, &nowhere, question(1));
    assert_eq!(a.dropped().await, question(1));
    a.network.send(Channel::Raft, &nowhere, raft(1));
    a.network.send(Channel::Client, "no.such.name.invalid:1", question(2));
    assert_eq!(a.dropped().await, question(2));
}

#[tokio::test]
async fn a_lost_peer_comes_back_in_a_new_life() {
    let mut a = Node::start(identity(1, 9, 1)).await;
    let mut b = Node::start(identity(2, 9, 1)).await;
    a.network.send(Channel::Client, &b.address, question(1));
    b.message().await;
    assert_eq!(a.up().await.boot, Boot(1));
    let address = b.address.clone();
    drop(b);
    assert_eq!(a.lost().await, address);
    a.network.send(Channel::Client, &address, question(2));
    assert_eq!(a.dropped().await, question(2));
    let mut b = Node::start_at(identity(2, 9, 2), address, limits()).await;
    a.insist(&mut b, 3).await;
    assert_eq!(a.up().await.boot, Boot(2));
}

#[tokio::test]
async fn another_cluster_is_refused_on_both_sides() {
    let mut a = Node::start(identity(1, 7, 1)).await;
    let mut b = Node::start(identity(2, 9, 1)).await;
    a.network.send(Channel::Client, &b.address, question(1));
    let (peer, why) = b.refused().await;
    assert_eq!(peer, Some(identity(1, 7, 1)));
    assert!(why.contains("cluster-7 and cluster-9 do not mix"), "{why}");
    assert_eq!(a.dropped().await, question(1));
    let (_, why) = a.refused().await;
    assert!(why.contains("the other side refused: cluster-7 and cluster-9 do not mix"), "{why}");
}

#[tokio::test]
async fn a_node_without_a_cluster_hears_of_one() {
    let mut a = Node::start(identity(1, 0, 1)).await;
    let mut b = Node::start(identity(2, 9, 1)).await;
    a.network.send(Channel::Client, &b.address, question(1));
    assert_eq!(a.contact().await, identity(2, 9, 1));
    b.message().await;
    b.network.send(Channel::Client, &a.address, question(2));
    assert_eq!(a.contact().await, identity(2, 9, 1));
    // What it learns is told on the connection that stands.
    a.identity.set_cluster(ClusterId(9));
    a.network.send(Channel::Client, &b.address, question(3));
    assert_eq!(b.message().await.0.cluster, ClusterId(9));
}

#[tokio::test]
async fn two_that_found_clusters_of_their_own_part() {
    let mut a = Node::start(identity(1, 0, 1)).await;
    let mut b = Node::start(identity(2, 0, 1)).await;
    a.network.send(Channel::Client, &b.address, question(1));
    b.message().await;
    a.identity.set_cluster(ClusterId(7));
    b.identity.set_cluster(ClusterId(9));
    a.network.send(Channel::Client, &b.address, question(2));
    assert!(b.refused().await.1.contains("do not mix"));
    assert!(a.refused().await.1.contains("do not mix"));
    a.lost().await;
}

#[tokio::test]
async fn an_old_copy_of_a_folder_is_refused() {
    let mut new = Node::start(identity(1, 9, 8)).await;
    let mut old = Node::start(identity(1, 9, 3)).await;
    let mut b = Node::start(identity(2, 9, 1)).await;
    new.network.send(Channel::Client, &b.address, question(1));
    b.message().await;
    new.up().await;
    old.network.send(Channel::Client, &b.address, question(2));
    assert!(b.refused().await.1.contains("node-1 came as boot-3 after boot-8"));
    assert!(old.refused().await.1.contains("old copy"));
    assert_eq!(old.dropped().await, question(2));
}

#[tokio::test]
async fn a_channel_is_served_at_its_own_address() {
    let mut a = Node::start(identity(1, 9, 1)).await;
    let b = Node::start(identity(2, 9, 1)).await;
    a.network.send(Channel::Member, &b.address, question(1));
    assert!(a.refused().await.1.contains("does not serve Member"));
}

#[tokio::test]
async fn a_big_body_does_not_hold_up_small_ones() {
    let a = Node::start(identity(1, 9, 1)).await;
    let mut b = Node::start(identity(2, 9, 1)).await;
    a.network.send(Channel::Raft, &b.address, raft(0));
    b.message().await;
    a.network.send(Channel::Bulk, &b.address, raft(20 << 20));
    a.network.send(Channel::Raft, &b.address, raft(1));
    assert_eq!(b.message().await.2, raft(1));
    assert!(b.message().await.2 == raft(20 << 20));
}

#[tokio::test]
async fn a_full_queue_gives_back_and_a_slow_node_slows_its_peer() {
    let limits = NetworkLimits { queue_messages_max: 10, events_max: 10, ..limits() };
    let mut a = Node::start_at(identity(1, 9, 1), free_address(), limits).await;
    let mut b = Node::start_at(identity(2, 9, 1), free_address(), limits).await;
    // One thread: nothing is written before this task waits.
    for call in 0..15 {
        a.network.send(Channel::Client, &b.address, question(call));
    }
    for call in 10..15 {
        assert_eq!(a.dropped().await, question(call));
    }
    for call in 0..10 {
        assert_eq!(b.message().await.2, question(call));
    }
    for _ in 0..100 {
        a.network.send(Channel::Client, &b.address, raft(1 << 20));
        tokio::task::yield_now().await;
    }
    assert_eq!(b.message().await.2, raft(1 << 20));
}

/// What a socket says to `bytes`, until it closes.
async fn talk(address: &str, bytes: Vec<u8>) -> Vec<u8> {
    let address = address.to_owned();
    let talk = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        said
    });
    talk.await.unwrap()
}

fn hello(hello: Hello) -> Vec<u8> {
    let mut bytes = Vec::new();
    link::put_hello(&mut bytes, &hello);
    bytes
}

#[tokio::test]
async fn strangers_and_cut_frames_harm_nobody() {
    let mut b = Node::start(identity(2, 9, 1)).await;
    let said = talk(&b.address, b"GET /status HTTP/1.1\r\nHost: b\r\n\r\n".to_vec()).await;
    assert!(String::from_utf8_lossy(&said).contains("not from a MatrixKV peer"));
    assert!(b.refused().await.1.contains("not from a MatrixKV peer"));

    let ours = identity(1, 9, 1);
    let mut frames = hello(Hello::new(ours, Channel::Client));
    let start = frames.len();
    link::put_envelope(&mut frames, &link::Stamp::default().envelope(&ours, Boot(1), question(1)));
    for cut in [0, 1, start - 1, start + 1, frames.len() - 1] {
        talk(&b.address, frames[..cut].to_vec()).await;
    }
    let last = frames.len() - 1;
    frames[last] ^= 1;
    talk(&b.address, frames).await;
    assert!(b.refused().await.1.contains("damaged"));

    let mut a = Node::start(identity(3, 9, 1)).await;
    a.network.send(Channel::Client, &b.address, question(2));
    assert_eq!(b.message().await.2, question(2));
    assert!(!b.passed.iter().any(|event| matches!(event, NetworkEvent::Message { .. })));
    a.up().await;
}

#[tokio::test]
async fn another_protocol_version_is_told_so() {
    let mut b = Node::start(identity(2, 9, 1)).await;
    let other = Hello { protocol: link::PROTOCOL + 1, ..Hello::new(identity(1, 9, 1), Channel::Client) };
    let said = talk(&b.address, hello(other)).await;
    assert!(String::from_utf8_lossy(&said).contains("different releases"));
    assert!(b.refused().await.1.contains("different releases"));
}

#[tokio::test]
async fn too_long_a_frame_is_refused_unread() {
    let mut b = Node::start(identity(2, 9, 1)).await;
    let mut bytes = hello(Hello::new(identity(1, 9, 1), Channel::Client));
    bytes.extend((FRAME_BYTES_MAX as u32 + 1).to_le_bytes());
    bytes.extend([0; 100]);
    let said = talk(&b.address, bytes).await;
    assert!(String::from_utf8_lossy(&said).contains("at most 67108864 are taken"));
    assert!(b.refused().await.1.contains("a frame of 67108865 bytes"));
}

#[tokio::test]
async fn what_no_frame_can_hold_is_given_back() {
    let small = NetworkLimits { frame_bytes_max: 100, ..limits() };
    let mut a = Node::start_at(identity(1, 9, 1), free_address(), small).await;
    let key = Bytes::from(vec![0; 100]);
    let request = Request::Data(matrixkv::wire::DataRequest {
        shard: ShardId(1),
        epoch: Default::default(),
        op: matrixkv::wire::Op::Get { key },
    });
    let body = Body::Request { call: CallId(1), request };
    a.network.send(Channel::Client, &free_address(), body.clone());
    assert_eq!(a.dropped().await, body);
}

#[tokio::test]
async fn who_accepts_and_says_nothing_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut a = Node::start(identity(1, 9, 1)).await;
    a.network.send(Channel::Client, &silent.local_addr().unwrap().to_string(), question(1));
    assert_eq!(a.dropped().await, question(1));
}

/// Carries bytes from a socket to `to`, and cuts both ways after some of them.
async fn cutting_proxy(listener: tokio::net::TcpListener, to: String) {
    for cut in (0u64..).map(|turn| turn * 7919 % 4000) {
        let (mut from, _) = listener.accept().await.unwrap();
        let mut onward = tokio::net::TcpStream::connect(&to).await.unwrap();
        let ((from_read, mut from_write), (mut to_read, mut to_write)) = (from.split(), onward.split());
        let mut until_cut = tokio::io::AsyncReadExt::take(from_read, cut);
        tokio::select! {
            _ = tokio::io::copy(&mut until_cut, &mut to_write) => {}
            _ = tokio::io::copy(&mut to_read, &mut from_write) => {}
        }
    }
}

/// What was dropped never arrives, nothing arrives twice, and what did neither was on a connection that was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_question_has_one_fate() {
    const QUESTIONS: u64 = 2000;
    let mut a = Node::start(identity(1, 9, 1)).await;
    let mut b = Node::start(identity(2, 9, 1)).await;
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap().to_string();
    let proxy = tokio::spawn(cutting_proxy(proxy, b.address.clone()));
    let (mut arrived, mut dropped, mut lost) = (BTreeSet::new(), BTreeSet::new(), 0);
    for question_no in 0..=QUESTIONS {
        a.network.send(Channel::Client, &address, question(question_no));
        let pause = Duration::from_millis(if question_no == QUESTIONS { 500 } else { 2 * (question_no % 50 / 49) });
        loop {
            tokio::select! {
                biased;
                Some(event) = b.events.recv() => if let NetworkEvent::Message { body, .. } = event {
                    assert!(arrived.insert(call(&body)), "twice: {body:?}");
                },
                Some(event) = a.events.recv() => match event {
                    NetworkEvent::Dropped { body, .. } => assert!(dropped.insert(call(&body)), "twice: {body:?}"),
                    NetworkEvent::PeerLost { .. } => lost += 1,
                    _ => {}
                },
                () = tokio::time::sleep(pause) => break,
            }
        }
    }
    proxy.abort();
    assert!(arrived.is_disjoint(&dropped), "dropped, and arrived nevertheless");
    assert!(lost > 5 && arrived.len() > 200, "{lost} lost, {} arrived, {} dropped", arrived.len(), dropped.len());
}

fn call(body: &Body) -> CallId {
    match body {
        Body::Request { call, .. } | Body::Response { call, .. } => *call,
        other => panic!("{other:?} was not sent"),
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_is_named() {
    let a = Node::start(identity(1, 9, 1)).await;
    let listen = vec![Listen { address: a.address.clone(), channels: vec![Channel::Raft] }];
    let setup = NetworkSetup { identity: SharedIdentity::new(identity(2, 9, 1)), listen, limits: limits() };
    let error = RealEnv::new().network(setup).await.err().expect("the address is taken").to_string();
    assert!(error.contains(&format!("cannot listen on {}", a.address)), "{error}");
}

#[tokio::test]
async fn the_tasks_end_with_the_last_handle() {
    let a = Node::start(identity(1, 9, 1)).await;
    let Node { network, mut events, address, .. } = a;
    network.send(Channel::Client, &address, question(1));
    while !matches!(events.recv().await, Some(NetworkEvent::Message { .. })) {}
    let other = network.clone();
    drop(network);
    other.send(Channel::Client, &address, question(2));
    while !matches!(events.recv().await, Some(NetworkEvent::Message { .. })) {}
    drop(other);
    timeout(PATIENCE, async { while events.recv().await.is_some() {} }).await.expect("all tasks end");
    tokio::net::TcpStream::connect(&address).await.expect_err("nobody listens any more");
}
