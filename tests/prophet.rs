//! Prophet turned by hand: ids, registrations, heartbeats, orders, joins.

#[path = "support/memory.rs"]
mod memory;

use std::{path::Path, time::Duration};

use matrixkv::{
    engine::{Batch, Engine},
    prophet::{Input, Prophet, ProphetConfig, Send, Ticket},
    raft::GroupConfig,
    types::{Boot, ClusterId, Instant, NodeToken, Peer, PeerRole, ReplicaId, Rng, Shard, ShardRoute, StoreId},
    wire::{
        JoinReply, JoinRequest, MemberInfo, ProphetReply, ProphetRequest, ShardBeat, ShardOrder, StoreBeat, StoreInfo,
        StoreOrders,
    },
};
use memory::MemoryDisk;

const CLUSTER: ClusterId = ClusterId(77);

struct Member {
    engine: Engine,
    prophet: Prophet,
    boot: u64,
    now: Instant,
    tickets: u64,
}

fn config() -> ProphetConfig {
    ProphetConfig {
        group: GroupConfig {
            heartbeat_ticks: 2,
            election_ticks: 10,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 16,
            batch_bytes_max: 1 << 16,
            max_entry_bytes: 1 << 20,
            compact_threshold: 8,
            proposals_max: 100,
            reads_max: 100,
        },
        max_replicas: 3,
        initial_split_keys: vec![b"m".to_vec()],
        store_beat: Duration::from_secs(10),
        save_interval: Duration::from_secs(60),
        operator_deadline: Duration::from_secs(60),
    }
}

fn member(node: u64, name: &str) -> MemberInfo {
    MemberInfo {
        id: ReplicaId(node),
        node: NodeToken(node),
        name: name.into(),
        peer_address: format!("{name}:1"),
        client_url: String::new(),
        rpc_address: format!("{name}:2"),
        voter: true,
    }
}

fn store(id: u64, node: u64, boot: u64) -> StoreInfo {
    StoreInfo {
        id: StoreId(id),
        node: NodeToken(node),
        boot: Boot(boot),
        raft_address: format!("host{node}:1"),
        client_address: format!("host{node}:2"),
        labels: vec![],
        capacity: 0,
        available: 0,
        shard_count: 0,
        leader_count: 0,
        heard_ms_ago: None,
    }
}

impl Member {
    fn found() -> Member {
        let engine = Engine::open(&MemoryDisk::default(), Path::new("/prophet/prophet.redb")).unwrap();
        let mut batch = Batch::new(engine.view().unwrap());
        Prophet::write_founding(CLUSTER, &member(1, "first"), &mut batch);
        engine.commit(batch).unwrap();
        let prophet = open(1, &engine);
        let mut member = Member { engine, prophet, boot: 1, now: Instant(1), tickets: 0 };
        member.turn();
        member
    }

    fn restart(&mut self) {
        self.boot += 1;
        self.prophet = open(self.boot, &self.engine);
        self.turn();
    }

    fn turn(&mut self) -> Vec<Send> {
        let mut sends = Vec::new();
        while self.prophet.has_work() {
            let mut batch = Batch::new(self.engine.view().unwrap());
            let ready = self.prophet.ready(&mut batch).unwrap();
            self.engine.commit(batch).unwrap();
            sends.extend(ready.now);
            sends.extend(ready.after);
            sends.extend(self.prophet.advance());
        }
        sends
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.prophet.step(self.now, Input::Tick);
        self.turn();
    }

    fn ask(&mut self, node: u64, request: ProphetRequest) -> ProphetReply {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.prophet.step(self.now, Input::Request { ticket, node: NodeToken(node), request });
        let replies = self.turn().into_iter().filter_map(|send| match send {
            Send::Reply { ticket: t, reply } if t == ticket => Some(reply),
            _ => None,
        });
        let replies: Vec<_> = replies.collect();
        assert_eq!(replies.len(), 1, "each question is answered once");
        replies.into_iter().next().unwrap()
    }

    fn register(&mut self, node: u64) -> StoreId {
        match self.ask(node, ProphetRequest::Register(store(0, node, 1))) {
            ProphetReply::Registered { cluster, store } => {
                assert_eq!(cluster, CLUSTER);
                store
            }
            other => panic!("{other:?}"),
        }
    }

    fn beat(&mut self, id: StoreId, node: u64, boot: u64) -> Result<StoreOrders, String> {
        match self.ask(node, ProphetRequest::StoreBeat(StoreBeat { info: store(id.0, node, boot) })) {
            ProphetReply::Store(orders) => Ok(orders),
            ProphetReply::Refused(why) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    fn shard_beat(&mut self, shard: &Shard, caught_up: &[ReplicaId]) -> Vec<ShardOrder> {
        let route = ShardRoute { leader: shard.peers.first().copied(), shard: shard.clone(), term: 6 };
        let beat = ShardBeat { route, caught_up: caught_up.to_vec(), down: vec![], size: 0 };
        match self.ask(1, ProphetRequest::ShardBeats(vec![beat])) {
            ProphetReply::Shards(orders) => orders,
            other => panic!("{other:?}"),
        }
    }

    fn join(&mut self, member: MemberInfo) -> Option<JoinReply> {
        let request = JoinRequest { member };
        self.prophet.step(self.now, Input::Join { ticket: Ticket(0), request });
        self.turn().into_iter().find_map(|send| match send {
            Send::JoinReply { reply, .. } => Some(reply),
            _ => None,
        })
    }
}

fn open(boot: u64, engine: &Engine) -> Prophet {
    Prophet::open(Boot(boot), config(), vec![], Rng::new(1), &engine.view().unwrap()).unwrap()
}

#[test]
fn a_data_folder_has_one_store_id_for_ever() {
    let mut prophet = Member::found();
    let first = prophet.register(10);
    assert_eq!(prophet.register(10), first);
    let second = prophet.register(20);
    assert_ne!(second, first);
    prophet.restart();
    assert_eq!(prophet.register(10), first);
    assert!(prophet.register(30) > second, "an id that was given is never given again");
}

#[test]
fn the_first_shards_are_created_once_and_cut_as_configured() {
    let mut prophet = Member::found();
    let first = prophet.register(10);
    let second = prophet.register(20);
    let create = prophet.beat(first, 10, 1).unwrap().create;
    assert_eq!(create.len(), 2);
    assert_eq!(create[0].range.end, b"m");
    assert!(prophet.beat(second, 20, 1).unwrap().create.is_empty());
    prophet.shard_beat(&create[0], &[]);
    assert_eq!(prophet.beat(first, 10, 1).unwrap().create, create[1..], "what was reported is not ordered again");
}

#[test]
fn a_store_of_another_folder_or_an_earlier_life_is_refused() {
    let mut prophet = Member::found();
    let id = prophet.register(10);
    prophet.beat(id, 10, 3).unwrap();
    assert!(prophet.beat(id, 11, 9).unwrap_err().contains("not a store of this data folder"));
    assert!(prophet.beat(id, 10, 2).unwrap_err().contains("old copy"));
    prophet.restart();
    assert!(prophet.beat(id, 10, 2).unwrap_err().contains("old copy"), "the boot is durable");
}

#[test]
fn a_shard_is_brought_to_its_replicas_one_step_at_a_time() {
    let mut prophet = Member::found();
    let (first, second) = (prophet.register(10), prophet.register(20));
    let mut shard = prophet.beat(first, 10, 1).unwrap().create.remove(0);
    let own = shard.peers[0].replica;
    assert!(prophet.shard_beat(&shard, &[own]).is_empty(), "not every store was heard of yet");
    prophet.beat(second, 20, 1).unwrap();
    let orders = prophet.shard_beat(&shard, &[own]);
    let learner = orders[0].change;
    assert_eq!((learner.store, learner.role), (second, PeerRole::Learner));
    assert_eq!(prophet.shard_beat(&shard, &[own]), orders, "repeated until it shows");
    shard.peers.push(learner);
    shard.epoch.conf_ver += 1;
    assert!(prophet.shard_beat(&shard, &[own]).is_empty(), "it has not caught up");
    let orders = prophet.shard_beat(&shard, &[own, learner.replica]);
    assert_eq!(orders[0].change, Peer { role: PeerRole::Voter, ..learner });
    // An account from before the change orders nothing and is not believed.
    let old = Shard { peers: shard.peers[..1].to_vec(), epoch: matrixkv::types::Epoch::FIRST, ..shard.clone() };
    assert!(prophet.shard_beat(&old, &[own]).is_empty());
}

#[test]
fn a_new_leader_orders_nothing_before_it_heard_of_the_stores() {
    let mut prophet = Member::found();
    let (first, second) = (prophet.register(10), prophet.register(20));
    let shard = prophet.beat(first, 10, 1).unwrap().create.remove(0);
    prophet.beat(second, 20, 1).unwrap();
    prophet.restart();
    let own = shard.peers[0].replica;
    prophet.beat(first, 10, 1).unwrap();
    assert!(prophet.shard_beat(&shard, &[own]).is_empty());
    prophet.wait(21);
    prophet.beat(first, 10, 1).unwrap();
    assert!(prophet.shard_beat(&shard, &[own]).is_empty(), "the only other store was not heard of: no place");
    prophet.beat(second, 20, 1).unwrap();
    assert_eq!(prophet.shard_beat(&shard, &[own]).len(), 1);
}

#[test]
fn members_join_as_learners_and_names_are_unique() {
    let mut prophet = Member::found();
    let joiner = member(5, "second");
    let Some(JoinReply::Joined { cluster, id, members }) = prophet.join(joiner.clone()) else { panic!() };
    assert_eq!((cluster, members.len()), (CLUSTER, 2));
    assert!(!members.iter().find(|member| member.id == id).unwrap().voter);
    // Its answer was lost: nothing has reached it, so it may ask again and gets the same id.
    let Some(JoinReply::Joined { id: again, .. }) = prophet.join(joiner) else { panic!() };
    assert_eq!(again, id);
    let Some(JoinReply::Refused(why)) = prophet.join(member(6, "second")) else { panic!() };
    assert!(why.contains("names and addresses are unique"), "{why}");
    let Some(JoinReply::Refused(why)) = prophet.join(member(1, "first")) else { panic!() };
    assert!(why.contains("lost its data"), "{why}");
}
