//! Stores turned by hand, and the commands that a story may use:
//!
//! - `quiet N`: before the stores are made: groups go quiet after N ticks without anything to do; `appends N`: an append
//!   carries N bytes of entries at the most, or one entry;
//! - `stores N`: stores 1 to N, each with an engine of its own; `shard A B ...`: a shard of all keys with replicas on
//!   those stores (replica 10 on store 1, and so on), `shard A B but C`: with one on store C that never was; `halves A B ...`: two shards, cut at `m`;
//! - `tick N S ...`: N ticks of those stores; `deliver`: messages travel until nobody says anything;
//! - `cut S`, `mend S`: nothing gets to or from that store; `restart S`: opened again from its engine;
//! - `set S KEY VALUE`, `get S KEY`, `delete S KEY`: a request to that store; `double S KEY VALUE`: a set in two
//!   copies of one envelope;
//! - `split S KEY`: a request to that store; Prophet gives the ids 9, and 11, 21 and so on for the replicas;
//! - `order S learner|voter|remove|again|drop T [conf_ver]`: Prophet wants of the first shard a learner on store T, a
//!   voter, none; a learner under a new id, or not that one;
//! - `damage S row|entry|applied|install|snapshot`: on the disk of store S, the first shard's row does not decode, or an
//!   entry of its log, or its applied index is one that cannot be, or its installation does not decode, or what raft is to
//!   take at the end of it; to be seen after a restart;
//! - `left S`: what there is on the disk of store S;
//! - `slow S`: that store turns no more by itself; `turn S N`: it makes N turns; `quick S`: by itself again;
//! - `lose N`: the next chunk N of a snapshot is lost; `deaf N`: no acknowledgement of N chunks or more arrives any more, and
//!   `hearing`: they do again; `overtake`: the next two chunks that travel together change places;
//! - `compact S N`: how it came about is said by the story: N writes of the key `x` on store S;
//! - `hush`, `loud`: whether messages are written down.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use bytes::Bytes;
use matrixkv::{
    engine::{Batch, Engine, Table, group_key, log_key},
    raft::{GroupConfig, GroupRow},
    store::{Input, Origin, Send, Store, StoreConfig, Ticket},
    types::{Boot, Epoch, Fact, Instant, KeyRange, NodeToken, Peer, PeerRole, ReplicaId, Rng, Shard, ShardId, StoreId},
    wire::{
        DataReply, DataRequest, Op, RaftMessage, Refusal, ShardOrder, ShardStep, SnapshotAck, SnapshotId,
        SnapshotState, StoreOrders, decode, encode,
    },
};
use protobuf::Message as _;

use crate::memory::MemoryDisk;

const SHARD: ShardId = ShardId(7);
/// The right half, where there are two.
const RIGHT: ShardId = ShardId(8);
/// More turns than any story needs: a cluster that talks for ever is a bug.
const TURNS_MAX: usize = 2000;

struct Node {
    engine: Engine,
    store: Store,
    boot: u64,
}

#[derive(Default)]
pub struct Cluster {
    nodes: BTreeMap<u64, Node>,
    queue: Vec<(u64, u64, Input)>,
    cut: Vec<u64>,
    slow: Vec<u64>,
    lost: Option<u32>,
    deaf: Option<u32>,
    overtake: bool,
    tickets: u64,
    now: u64,
    hush: bool,
    quiet: u64,
    appends: Option<u64>,
    halves: bool,
}

fn config(quiet_after_ticks: u64, appends: Option<u64>) -> StoreConfig {
    StoreConfig {
        group: GroupConfig {
            heartbeat_ticks: 2,
            election_ticks: 10,
            max_size_per_msg: appends.unwrap_or(1 << 20),
            max_inflight_msgs: 16,
            batch_bytes_max: 1 << 16,
            max_entry_bytes: 1 << 20,
            compact_threshold: 8,
            compact_bytes: 1 << 20,
            proposals_max: 100,
            reads_max: 100,
            quiet_after_ticks,
            tick: std::time::Duration::from_millis(100),
        },
        store_beat: std::time::Duration::from_secs(1 << 20),
        shard_beat: std::time::Duration::from_secs(1 << 20),
        key_bytes_max: 64,
        value_bytes_max: 1024,
        requests_max: 100,
        shard_capacity: 1 << 20,
        snapshot_chunk_bytes: 64,
        snapshot_chunks_max: 4,
        disk_reserve: 0,
        membership_check: std::time::Duration::from_secs(1 << 20),
    }
}

fn peer(store: u64, role: PeerRole) -> Peer {
    Peer { replica: ReplicaId(store * 10), store: StoreId(store), role }
}

fn open(id: u64, boot: u64, config: StoreConfig, engine: &Engine) -> Store {
    Store::open(StoreId(id), Boot(boot), config, Rng::new(id), &engine.view().unwrap()).unwrap()
}

impl Cluster {
    pub fn command(&mut self, line: &str, said: &mut String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |i: usize| words[i].parse::<u64>().unwrap_or_else(|_| panic!("{line}: word {i} is no number"));
        match words[0] {
            "stores" => (1..=number(1)).for_each(|id| self.add(id)),
            "shard" => {
                let but = words.iter().position(|word| *word == "but");
                let absent = but.map_or(vec![], |but| (but + 1..words.len()).map(number).collect());
                self.create((1..but.unwrap_or(words.len())).map(number).collect(), absent, said);
            }
            "halves" => self.halve((1..words.len()).map(number).collect(), said),
            "damage" => self.damage(number(1), words[2]),
            "left" => self.left(number(1), said),
            "tick" => {
                for _ in 0..number(1) {
                    (2..words.len()).for_each(|i| self.input(number(i), Input::Tick, said));
                }
            }
            "deliver" => self.deliver(said),
            "cut" => self.cut.push(number(1)),
            "mend" => self.cut.retain(|id| *id != number(1)),
            "slow" => self.slow.push(number(1)),
            "quick" => {
                self.slow.retain(|id| *id != number(1));
                self.turn(number(1), said);
            }
            "turn" => (0..number(2)).for_each(|_| assert!(self.turn_once(number(1), said), "{line}: nothing to do")),
            "deaf" => self.deaf = Some(number(1) as u32),
            "hearing" => self.deaf = None,
            "overtake" => self.overtake = true,
            "lose" => self.lost = Some(number(1) as u32),
            "restart" => self.restart(number(1), said),
            "set" => self.request(number(1), set(words[2], words[3]), None, said),
            "double" => {
                let origin = Origin { node: NodeToken(99), boot: Boot(1), seq: self.tickets + 1 };
                self.request(number(1), set(words[2], words[3]), Some(origin), said);
                self.request(number(1), set(words[2], words[3]), Some(origin), said);
            }
            "split" => self.request(number(1), Op::Split { key: bytes(words[2]) }, None, said),
            "get" => self.request(number(1), Op::Get { key: bytes(words[2]) }, None, said),
            "delete" => self.request(number(1), Op::Delete { key: bytes(words[2]) }, None, said),
            "order" => {
                let on = number(3);
                let step = match words[2] {
                    "voter" => ShardStep::Put(peer(on, PeerRole::Voter)),
                    "remove" => ShardStep::Remove(peer(on, PeerRole::Voter)),
                    "drop" => {
                        ShardStep::Remove(Peer { replica: ReplicaId(on * 10 + 7), ..peer(on, PeerRole::Learner) })
                    }
                    "again" => ShardStep::Put(Peer { replica: ReplicaId(on * 10 + 7), ..peer(on, PeerRole::Learner) }),
                    "learner" => ShardStep::Put(peer(on, PeerRole::Learner)),
                    other => panic!("no such order: {other}"),
                };
                let conf_ver = words.get(4).map(|word| word.parse().unwrap());
                self.order(number(1), step, conf_ver, said);
            }
            "compact" => {
                for i in 0..number(2) {
                    self.request(number(1), set("x", &i.to_string()), None, said);
                    self.deliver(said);
                }
            }
            "quiet" => self.quiet = number(1),
            "appends" => self.appends = Some(number(1)),
            "hush" => self.hush = true,
            "loud" => self.hush = false,
            other => panic!("no such command: {other}"),
        }
    }

    fn add(&mut self, id: u64) {
        let engine = Engine::open(&MemoryDisk::default(), Path::new("/store/store.redb")).unwrap();
        let store = open(id, 1, config(self.quiet, self.appends), &engine);
        self.nodes.insert(id, Node { engine, store, boot: 1 });
    }

    fn halve(&mut self, on: Vec<u64>, said: &mut String) {
        self.halves = true;
        let halves = KeyRange::all().cut(&[b"m".to_vec()]);
        let peers: Vec<_> = on.iter().map(|id| peer(*id, PeerRole::Voter)).collect();
        let right = peers.iter().map(|peer| Peer { replica: ReplicaId(peer.replica.0 + 1), ..*peer }).collect();
        self.create_shard(SHARD, halves[0].clone(), peers, &on, said);
        self.create_shard(RIGHT, halves[1].clone(), right, &on, said);
    }

    fn damage(&mut self, id: u64, what: &str) {
        let engine = self.nodes[&id].engine.clone();
        let mut batch = Batch::new(engine.view().unwrap());
        let row = GroupRow::read(batch.view(), SHARD).unwrap().unwrap();
        let last = batch.scan(Table::Log, &log_key(SHARD, 0), &log_key(RIGHT, 0)).unwrap().last();
        let rubbish = Bytes::from_static(b"rubbish");
        match what {
            "row" => batch.put(Table::Group, group_key(SHARD), rubbish),
            "entry" => batch.put(Table::Log, last.expect("there is an entry").unwrap().0, rubbish),
            "applied" => {
                let row = GroupRow { applied: row.truncated - 1, ..row };
                batch.put(Table::Group, group_key(SHARD), encode(&row).into());
            }
            "install" => batch.put(Table::Install, group_key(SHARD), rubbish),
            "snapshot" => {
                let row = batch.get(Table::Install, &group_key(SHARD)).unwrap().expect("it is being installed");
                // As the store writes it: raft's message, which snapshot it is, where its rows are, how far it is.
                let (mut head, id, stage, is_cleared): (RaftMessage, SnapshotId, u64, bool) = decode(&row).unwrap();
                let mut inner = raft::eraftpb::Message::parse_from_bytes(&head.message).unwrap();
                inner.mut_snapshot().data = rubbish;
                head.message = inner.write_to_bytes().unwrap().into();
                batch.put(Table::Install, group_key(SHARD), encode(&(head, id, stage, is_cleared)).into());
            }
            other => panic!("no such damage: {other}"),
        }
        engine.commit(batch).unwrap();
    }

    fn left(&self, id: u64, said: &mut String) {
        let view = self.nodes[&id].engine.view().unwrap();
        let count = |table| view.scan(table, &[], &[]).unwrap().count();
        let [replicas, log, installs, stages, data] =
            [Table::Group, Table::Log, Table::Install, Table::Stage, Table::Data].map(count);
        writeln!(said, "  {id} has {replicas} replicas, {log} entries, {installs} installations").unwrap();
        writeln!(said, "  {id} has {data} rows, and {stages} put aside").unwrap();
    }

    fn create(&mut self, on: Vec<u64>, absent: Vec<u64>, said: &mut String) {
        let peers = on.iter().chain(&absent).map(|id| peer(*id, PeerRole::Voter)).collect();
        self.create_shard(SHARD, KeyRange::all(), peers, &on, said);
    }

    fn create_shard(&mut self, id: ShardId, range: KeyRange, peers: Vec<Peer>, on: &[u64], said: &mut String) {
        let shard = Shard { id, range, epoch: Epoch::FIRST, peers };
        for &id in on {
            let orders = StoreOrders { stores: vec![], members: vec![], create: vec![shard.clone()] };
            self.input(id, Input::StoreOrders(orders), said);
        }
    }

    fn restart(&mut self, id: u64, said: &mut String) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.boot += 1;
        node.store = open(id, node.boot, config(self.quiet, self.appends), &node.engine);
        if !self.slow.contains(&id) {
            self.turn(id, said);
        }
    }

    fn request(&mut self, id: u64, op: Op, origin: Option<Origin>, said: &mut String) {
        self.tickets += 1;
        let shard = if self.halves && op.key() >= &b"m"[..] { RIGHT } else { SHARD };
        let request = DataRequest { shard, epoch: Epoch::FIRST, op };
        self.input(id, Input::Request { ticket: Ticket(self.tickets), origin, request }, said);
    }

    fn order(&mut self, id: u64, step: ShardStep, conf_ver: Option<u64>, said: &mut String) {
        let shard = self.nodes[&id].store.status().routes.remove(0).shard;
        let conf_ver = conf_ver.unwrap_or(shard.epoch.conf_ver);
        let order = ShardOrder { shard: shard.id, conf_ver, step };
        self.input(id, Input::ShardOrders(vec![order]), said);
    }

    fn input(&mut self, id: u64, input: Input, said: &mut String) {
        self.now += 1;
        self.nodes.get_mut(&id).unwrap().store.step(Instant(self.now), input);
        if !self.slow.contains(&id) {
            self.turn(id, said);
        }
    }

    /// Turns a store until it has nothing to do.
    fn turn(&mut self, id: u64, said: &mut String) {
        for _ in 0..TURNS_MAX {
            if !self.turn_once(id, said) {
                return;
            }
        }
        panic!("store {id} has work for ever");
    }

    /// False if there is nothing to do.
    fn turn_once(&mut self, id: u64, said: &mut String) -> bool {
        let node = self.nodes.get_mut(&id).unwrap();
        if !node.store.has_work() {
            return false;
        }
        let mut batch = Batch::new(node.engine.view().unwrap());
        let ready = node.store.ready(&mut batch).unwrap();
        node.engine.commit(batch).unwrap();
        let released = node.store.advance();
        assert_eq!(node.store.recount(&node.engine.view().unwrap()).unwrap(), [], "counters of store {id}");
        ready.facts.iter().for_each(|fact| say_fact(id, fact, said));
        for send in ready.now.into_iter().chain(ready.after).chain(released) {
            self.say(id, send, said);
        }
        true
    }

    fn say(&mut self, id: u64, send: Send, said: &mut String) {
        match send {
            Send::Raft { to, message, .. } => {
                if !self.hush {
                    writeln!(said, "  {id} -> {}: {}", to.0, describe(&message)).unwrap();
                }
                self.queue.push((id, to.0, Input::Raft(message)));
            }
            Send::Chunk { to, chunk } => {
                let last = if chunk.is_last { ", the last one" } else { "" };
                writeln!(said, "  {id} -> {}: chunk {}{last}", to.0, chunk.number).unwrap();
                self.queue.push((id, to.0, Input::Chunk(chunk)));
            }
            Send::ChunkAck { to, ack } => {
                writeln!(said, "  {id} -> {}: snapshot {:?}", to.0, ack.state).unwrap();
                self.queue.push((id, to.0, Input::ChunkAck(ack)));
            }
            Send::Reply { ticket, reply } => writeln!(said, "  {id}: request {} {}", ticket.0, answer(&reply)).unwrap(),
            Send::Forget { ticket } => writeln!(said, "  {id}: request {} is a double", ticket.0).unwrap(),
            Send::Removed { to, removal } => {
                writeln!(said, "  {id} tells {}: {} is removed", to.0, removal.replica).unwrap();
                self.queue.push((id, to.0, Input::Removed(removal)));
            }
            Send::AskSplitIds { shard, replicas } => {
                writeln!(said, "  {id} asks for ids to split {shard}").unwrap();
                let ids = Some((ShardId(9), (1..=replicas.into()).map(|n| ReplicaId(10 * n + 1)).collect()));
                self.queue.push((0, id, Input::SplitIds { shard, ids }));
            }
            Send::ShardBeats(beats) => {
                for (replica, silent) in beats.iter().flat_map(|beat| &beat.down) {
                    writeln!(said, "  {id} tells Prophet: {replica} has been silent for {silent:?}").unwrap();
                }
            }
            Send::StoreBeat { .. } | Send::AskMembership(_) | Send::Status(_) | Send::Alive { .. } => {}
        }
    }

    fn is_unheard(&self, input: &Input) -> bool {
        let Input::ChunkAck(SnapshotAck { state: SnapshotState::Has(number), .. }) = input else { return false };
        self.deaf.is_some_and(|from| *number >= from)
    }

    fn overtaken(&mut self, mut messages: Vec<(u64, u64, Input)>) -> Vec<(u64, u64, Input)> {
        let is_chunk = |(_, _, input): &(u64, u64, Input)| matches!(input, Input::Chunk(_));
        let pair = messages.windows(2).position(|pair| pair.iter().all(is_chunk));
        if let Some(first) = pair.filter(|_| self.overtake) {
            self.overtake = false;
            messages.swap(first, first + 1);
        }
        messages
    }

    fn deliver(&mut self, said: &mut String) {
        for _ in 0..TURNS_MAX {
            let messages = std::mem::take(&mut self.queue);
            if messages.is_empty() {
                return;
            }
            for (from, to, input) in self.overtaken(messages) {
                if matches!(&input, Input::Chunk(chunk) if Some(chunk.number) == self.lost) {
                    self.lost = None;
                    writeln!(said, "  the chunk is lost").unwrap();
                } else if self.is_unheard(&input) {
                    writeln!(said, "  the acknowledgement is lost").unwrap();
                } else if to != 0 && !self.cut.contains(&from) && !self.cut.contains(&to) {
                    // A replica that was removed does not know its own store any more: what answers it goes to nobody.
                    self.input(to, input, said);
                }
            }
        }
        panic!("the cluster talks for ever");
    }
}

fn bytes(word: &str) -> Bytes {
    Bytes::copy_from_slice(word.as_bytes())
}

fn set(key: &str, value: &str) -> Op {
    Op::Set { key: bytes(key), value: bytes(value) }
}

fn describe(message: &RaftMessage) -> String {
    let inner = raft::eraftpb::Message::parse_from_bytes(&message.message).unwrap();
    let mut text =
        format!("{:?} term {} index {} commit {}", inner.get_msg_type(), inner.term, inner.index, inner.commit);
    if !inner.entries.is_empty() {
        write!(text, " entries {}", inner.entries.len()).unwrap();
    }
    if inner.reject {
        text.push_str(" rejected");
    }
    text
}

fn say_fact(id: u64, fact: &Fact, said: &mut String) {
    match fact {
        Fact::Opened { index, .. } => writeln!(said, "  {id} opened at {index}").unwrap(),
        Fact::BecameLeader { term, .. } => writeln!(said, "  {id} leads term {term}").unwrap(),
        Fact::Applied { index, term, .. } => writeln!(said, "  {id} applied {index} of term {term}").unwrap(),
        Fact::Installed { index, .. } => writeln!(said, "  {id} installed a snapshot at {index}").unwrap(),
        Fact::Split { left, right, .. } => {
            writeln!(said, "  {id} splits {} {:?} from {} {:?}", right.id, right.range, left.id, left.range).unwrap()
        }
        Fact::Destroyed { replica, .. } => writeln!(said, "  {id} destroys {replica}").unwrap(),
        Fact::Quarantined { replica, why, .. } => writeln!(said, "  {id} quarantines {replica}: {why}").unwrap(),
        _ => {}
    }
}

fn answer(reply: &DataReply) -> String {
    match reply {
        DataReply::Value(Some(value)) => format!("read {}", value.escape_ascii()),
        DataReply::Value(None) => "found nothing".into(),
        DataReply::Written => "is written".into(),
        DataReply::Rows { rows, .. } => format!("read {} rows", rows.len()),
        DataReply::Refused(Refusal::NotLeader(route)) => format!("refused: not the leader; {:?} is", route.leader),
        DataReply::Refused(refusal) => format!("refused: {refusal}"),
        DataReply::Unknown(why) => format!("unknown: {why}"),
    }
}
