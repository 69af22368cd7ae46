//! Prophet turned by hand: ids, registrations, heartbeats, orders, joins.

#[path = "support/memory.rs"]
mod memory;

use std::{path::Path, time::Duration};

use matrixkv::{
    config::Config,
    engine::{Batch, Engine},
    prophet::{Input, Prophet, ProphetConfig, Send, Ticket},
    types::{Boot, ClusterId, Instant, NodeToken, Peer, PeerRole, ReplicaId, Rng, Shard, ShardRoute, StoreId},
    wire::{
        AdminRequest, JoinReply, JoinRequest, MemberInfo, MembershipAsk, ProphetReply, ProphetRequest, ShardBeat,
        ShardOrder, ShardStep, StoreBeat, StoreInfo, StoreOrders, StoreState,
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
        initial_split_keys: vec![b"m".to_vec()],
        store_beat: Duration::from_secs(10),
        shard_beat: Duration::from_secs(2),
        max_store_down_time: Duration::from_secs(60),
        ..ProphetConfig::new(&Config::default())
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
        state: StoreState::Up,
        heard_ms_ago: None,
    }
}

impl Member {
    fn found() -> Member {
        Member::found_with(config())
    }

    fn found_with(config: ProphetConfig) -> Member {
        let engine = Engine::open(&MemoryDisk::default(), Path::new("/prophet/prophet.redb")).unwrap();
        let mut batch = Batch::new(engine.view().unwrap());
        Prophet::write_founding(CLUSTER, &member(1, "first"), &mut batch).unwrap();
        engine.commit(batch).unwrap();
        let prophet = Prophet::open(Instant(1), Boot(1), config, Rng::new(1), &engine.view().unwrap()).unwrap();
        let mut member = Member { engine, prophet, boot: 1, now: Instant(1), tickets: 0 };
        member.turn();
        member
    }

    fn restart(&mut self) {
        self.boot += 1;
        self.prophet = open(self.now, self.boot, &self.engine);
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
        match self
            .ask(node, ProphetRequest::StoreBeat(StoreBeat { info: store(id.0, node, boot), quarantined: vec![] }))
        {
            ProphetReply::Store(orders) => Ok(orders),
            ProphetReply::Refused(why) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    fn shard_beat(&mut self, shard: &Shard, caught_up: &[ReplicaId]) -> Vec<ShardOrder> {
        let route = ShardRoute { leader: shard.peers.first().copied(), shard: shard.clone(), term: 6 };
        let beat = ShardBeat { route, caught_up: caught_up.to_vec(), down: vec![], size: 0 };
        let store = beat.route.leader.unwrap().store;
        match self.ask(1, ProphetRequest::ShardBeats { store, beats: vec![beat] }) {
            ProphetReply::Shards { orders, .. } => orders,
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

fn open(now: Instant, boot: u64, engine: &Engine) -> Prophet {
    Prophet::open(now, Boot(boot), config(), Rng::new(1), &engine.view().unwrap()).unwrap()
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

fn put(orders: &[ShardOrder]) -> Peer {
    match orders {
        [ShardOrder { step: ShardStep::Put(peer), .. }] => *peer,
        other => panic!("{other:?}"),
    }
}

/// Two stores, and two shards on the first of them.
fn two_stores(prophet: &mut Member) -> (StoreId, StoreId, Shard, Shard) {
    let (first, second) = (prophet.register(10), prophet.register(20));
    let mut created = prophet.beat(first, 10, 1).unwrap().create;
    let right = created.pop().unwrap();
    (first, second, created.pop().unwrap(), right)
}

#[test]
fn a_shard_is_brought_to_its_replicas_one_step_at_a_time() {
    let mut prophet = Member::found();
    let (_, second, mut shard, other) = two_stores(&mut prophet);
    let own = shard.peers[0].replica;
    assert!(prophet.shard_beat(&shard, &[own]).is_empty(), "not every store was heard of yet");
    prophet.beat(second, 20, 1).unwrap();
    prophet.shard_beat(&other, &[own]);
    let learner = put(&prophet.shard_beat(&shard, &[own]));
    assert_eq!((learner.store, learner.role), (second, PeerRole::Learner));
    assert_eq!(put(&prophet.shard_beat(&shard, &[own])), learner, "repeated until it shows");
    shard.peers.push(learner);
    shard.epoch.conf_ver += 1;
    let orders = prophet.shard_beat(&shard, &[own]);
    assert_eq!(put(&orders), Peer { role: PeerRole::Voter, ..learner }, "its leader waits until it has caught up");
    assert_eq!(orders[0].conf_ver, shard.epoch.conf_ver);
    // An account from before the change orders nothing and is not believed.
    let old = Shard { peers: shard.peers[..1].to_vec(), epoch: matrixkv::types::Epoch::FIRST, ..shard.clone() };
    assert!(prophet.shard_beat(&old, &[own]).is_empty());
}

#[test]
fn an_operator_ends_when_the_membership_changes_otherwise() {
    let mut prophet = Member::found();
    let (_, second, mut shard, other) = two_stores(&mut prophet);
    let own = shard.peers[0].replica;
    prophet.beat(second, 20, 1).unwrap();
    prophet.shard_beat(&other, &[own]);
    let learner = put(&prophet.shard_beat(&shard, &[own]));
    // Another Prophet had another idea, and added its own learner there.
    let stranger = Peer { replica: ReplicaId(9999), ..learner };
    shard.peers.push(stranger);
    shard.epoch.conf_ver += 1;
    let next = put(&prophet.shard_beat(&shard, &[own, stranger.replica]));
    assert_eq!(next, Peer { role: PeerRole::Voter, ..stranger }, "the learner that is there is made use of");
    let ProphetReply::Operators { recent, .. } = prophet.ask(10, ProphetRequest::Operators) else { panic!() };
    assert!(recent[0].outcome.contains("the membership changed otherwise"), "{recent:?}");
}

#[test]
fn a_new_leader_orders_nothing_before_it_heard_of_the_cluster() {
    let mut prophet = Member::found();
    let (first, second, shard, _) = two_stores(&mut prophet);
    prophet.beat(second, 20, 1).unwrap();
    prophet.restart();
    let own = shard.peers[0].replica;
    prophet.beat(first, 10, 1).unwrap();
    assert!(prophet.shard_beat(&shard, &[own]).is_empty());
    let drain = ProphetRequest::Admin(AdminRequest::Drain(first));
    let ProphetReply::Later(why) = prophet.ask(10, drain.clone()) else { panic!() };
    assert!(
        why.contains("new and waits for heartbeats"),
        "nothing is refused for good for what it has not heard: {why}"
    );
    prophet.wait(31);
    let ProphetReply::Refused(why) = prophet.ask(10, drain) else { panic!() };
    assert!(why.contains("stores would be left in use"), "{why}");
    prophet.beat(first, 10, 1).unwrap();
    assert!(prophet.shard_beat(&shard, &[own]).is_empty(), "the only other store was not heard of: no place");
    prophet.beat(second, 20, 1).unwrap();
    assert_eq!(prophet.shard_beat(&shard, &[own]).len(), 1);
}

#[test]
fn a_silent_store_is_down_and_comes_back() {
    let mut prophet = Member::found();
    let (first, second, ..) = two_stores(&mut prophet);
    let state = |prophet: &mut Member, id: StoreId| match prophet.ask(10, ProphetRequest::Cluster) {
        ProphetReply::Cluster { stores, .. } => stores.iter().find(|store| store.id == id).unwrap().state,
        other => panic!("{other:?}"),
    };
    prophet.beat(second, 20, 1).unwrap();
    for _ in 0..7 {
        prophet.wait(10);
        prophet.beat(first, 10, 1).unwrap();
    }
    assert_eq!((state(&mut prophet, first), state(&mut prophet, second)), (StoreState::Up, StoreState::Down));
    let ProphetReply::Operators { decisions, .. } = prophet.ask(10, ProphetRequest::Operators) else { panic!() };
    let what = &decisions.first().expect("one was made").what;
    assert!(what.contains(&format!("{second} is down: silent for")), "{what}");
    prophet.restart();
    assert_eq!(state(&mut prophet, second), StoreState::Down, "it is a replicated decision");
    prophet.beat(second, 20, 2).unwrap();
    prophet.wait(1);
    assert_eq!(state(&mut prophet, second), StoreState::Up);
}

#[test]
fn an_election_makes_no_store_down() {
    let mut prophet = Member::found();
    let (first, second, ..) = two_stores(&mut prophet);
    prophet.beat(first, 10, 1).unwrap();
    prophet.beat(second, 20, 1).unwrap();
    // The whole cluster was without power for an hour.
    prophet.now = prophet.now + Duration::from_secs(3600);
    prophet.restart();
    prophet.wait(30);
    let ProphetReply::Cluster { stores, .. } = prophet.ask(10, ProphetRequest::Cluster) else { panic!() };
    assert!(stores.iter().all(|store| store.state == StoreState::Up), "{stores:?}");
}

#[test]
fn ids_of_splits_are_given_once_and_grow() {
    let mut prophet = Member::found();
    prophet.register(10);
    let mut last = 0;
    for round in 0..600 {
        let shard = matrixkv::types::ShardId(1);
        match prophet.ask(10, ProphetRequest::SplitIds { shard, replicas: 3 }) {
            ProphetReply::SplitIds { shard, replicas } => {
                assert!(shard.0 > last && replicas.iter().all(|replica| replica.0 > shard.0));
                assert_eq!(replicas.len(), 3);
                last = replicas[2].0;
            }
            other => panic!("{round}: {other:?}"),
        }
        if round % 100 == 50 {
            prophet.restart();
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut prophet = Member::found();
    let (first, second, shard, other) = two_stores(&mut prophet);
    prophet.beat(second, 20, 1).unwrap();
    let own = shard.peers[0].replica;
    prophet.shard_beat(&shard, &[own]);
    prophet.shard_beat(&other, &[own]);
    let (known, nobody) = (shard.id, matrixkv::types::ShardId(777));
    for (request, why) in [
        (AdminRequest::TransferLeader(nobody, first), "there is no shard-777"),
        (AdminRequest::TransferLeader(known, StoreId(777)), "there is no store-777"),
        (AdminRequest::TransferLeader(known, second), "has no replica on"),
        (AdminRequest::AddReplica(known, first), "has one"),
        (AdminRequest::RemoveReplica(known, first), "the last voter"),
        (AdminRequest::RemoveReplica(known, second), "has no replica on"),
        (AdminRequest::Drain(first), "would be left in use"),
        (AdminRequest::Drain(StoreId(777)), "there is no store-777"),
        (AdminRequest::RemoveStore(first), "holds 2 replicas; drain it first"),
    ] {
        match prophet.ask(10, ProphetRequest::Admin(request)) {
            ProphetReply::Refused(said) => assert!(said.contains(why), "{request:?}: {said}"),
            other => panic!("{request:?}: {other:?}"),
        }
    }
    // The empty one may go, for good.
    assert_eq!(prophet.ask(10, ProphetRequest::Admin(AdminRequest::RemoveStore(second))), ProphetReply::Accepted);
    assert!(prophet.beat(second, 20, 1).unwrap_err().contains("was removed from the cluster"));
}

#[test]
fn a_replica_that_asks_is_told_only_of_a_newer_membership_without_it() {
    let mut prophet = Member::found();
    let (_, _, mut shard, _) = two_stores(&mut prophet);
    let (own, gone) = (shard.peers[0].replica, ReplicaId(555));
    shard.epoch.conf_ver = 4;
    prophet.shard_beat(&shard, &[own]);
    let mut ask = |shard, replica, conf_ver| {
        let asks = vec![MembershipAsk { shard, replica, conf_ver }];
        match prophet.ask(10, ProphetRequest::Membership(asks)) {
            ProphetReply::Removed(removals) => removals.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(shard.id, gone, 3), 1, "the membership went on without it");
    assert_eq!(ask(shard.id, gone, 4), 0, "the membership that it knows is as new");
    assert_eq!(ask(shard.id, own, 1), 0, "it is a member");
    assert_eq!(ask(matrixkv::types::ShardId(777), gone, 1), 0, "unknown to Prophet is never an order to destroy");
}

#[test]
fn members_join_as_learners_and_names_are_unique() {
    let mut prophet = Member::found();
    let joiner = member(5, "second");
    let Some(JoinReply::Joined { cluster, id }) = prophet.join(joiner.clone()) else { panic!() };
    let members = prophet.prophet.status().members;
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

/// Three stores, all heard of, and both shards with voters on the first two.
fn three_stores(prophet: &mut Member) -> ([StoreId; 3], Shard, Shard) {
    let (first, second, mut left, mut right) = two_stores(prophet);
    let third = prophet.register(30);
    prophet.beat(second, 20, 1).unwrap();
    prophet.beat(third, 30, 1).unwrap();
    for shard in [&mut left, &mut right] {
        let replica = ReplicaId(shard.peers[0].replica.0 + 500);
        shard.peers.push(Peer { replica, store: second, role: PeerRole::Voter });
        shard.epoch.conf_ver += 1;
    }
    ([first, second, third], left, right)
}

fn explain(prophet: &mut Member, shard: &Shard) -> String {
    match prophet.ask(10, ProphetRequest::Explain(shard.id)) {
        ProphetReply::Explained(said) => said.join("\n"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_kind_of_operator_has_its_limit() {
    let mut prophet = Member::found_with(ProphetConfig { repair_limit: 1, ..config() });
    let (_, left, right) = three_stores(&mut prophet);
    prophet.shard_beat(&left, &[]);
    assert_eq!(prophet.shard_beat(&right, &[]).len(), 1, "both are heard of, and one is repaired");
    prophet.shard_beat(&left, &[]);
    let said = explain(&mut prophet, &left);
    assert!(said.contains("2 of 3 voters; replica-schedule-limit operators are under way"), "{said}");
    let ProphetReply::Operators { running, .. } = prophet.ask(10, ProphetRequest::Operators) else { panic!() };
    assert_eq!(running.len(), 1, "{running:?}");
}

#[test]
fn no_leadership_and_no_replica_moves_where_its_limit_is_zero() {
    for (leader_limit, shard_limit, kinds) in [(0, 0, vec![]), (1, 0, vec!["balance-leaders"])] {
        let config = ProphetConfig { leader_limit, shard_limit, max_replicas: 2, ..config() };
        let mut prophet = Member::found_with(config);
        let ([_, second, third], left, right) = three_stores(&mut prophet);
        let all: Vec<_> = left.peers.iter().chain(&right.peers).map(|peer| peer.replica).collect();
        prophet.shard_beat(&left, &all);
        prophet.shard_beat(&right, &all);
        prophet.wait(1);
        let ProphetReply::Operators { running, .. } = prophet.ask(10, ProphetRequest::Operators) else { panic!() };
        assert_eq!(running.iter().map(|operator| &operator.kind[..]).collect::<Vec<_>>(), kinds, "{running:?}");
        if leader_limit == 0 {
            let said = explain(&mut prophet, &left);
            assert!(said.contains("leader-schedule-limit operators are under way"), "{said}");
        }
        assert_ne!(second, third);
    }
}

#[test]
fn an_operator_ends_at_its_deadline() {
    let mut prophet = Member::found();
    let ([first, second, third], left, right) = three_stores(&mut prophet);
    prophet.shard_beat(&left, &[]);
    prophet.shard_beat(&right, &[]);
    let learner = put(&prophet.shard_beat(&left, &[]));
    assert_eq!(learner.store, third);
    // Nobody carries it out, and a step that needs nothing but a quorum has ten seconds.
    prophet.wait(11);
    let ProphetReply::Operators { recent, .. } = prophet.ask(10, ProphetRequest::Operators) else { panic!() };
    assert!(recent.iter().any(|ended| ended.outcome == "cancelled: not done in time"), "{recent:?}");
    for (store, node) in [(first, 10), (second, 20), (third, 30)] {
        prophet.beat(store, node, 1).unwrap();
    }
    prophet.shard_beat(&left, &[]);
    assert_ne!(put(&prophet.shard_beat(&left, &[])).replica, learner.replica, "it is thought of anew");
}

#[test]
fn an_operator_ends_when_its_new_replica_is_silent() {
    let mut prophet = Member::found();
    let ([first, _, _], mut left, right) = three_stores(&mut prophet);
    prophet.shard_beat(&left, &[]);
    prophet.shard_beat(&right, &[]);
    let learner = put(&prophet.shard_beat(&left, &[]));
    left.peers.push(learner);
    left.epoch.conf_ver += 1;
    assert_eq!(put(&prophet.shard_beat(&left, &[])).role, PeerRole::Voter, "it is promoted when it has caught up");
    // Its store is in use, and does not answer.
    let route = ShardRoute { leader: left.peers.first().copied(), shard: left.clone(), term: 6 };
    let silent =
        |time| ShardBeat { down: vec![(learner.replica, time)], route: route.clone(), caught_up: vec![], size: 0 };
    let away = config().max_peer_down_time;
    for (time, ends) in [(away / 2, false), (away, true)] {
        prophet.ask(1, ProphetRequest::ShardBeats { store: first, beats: vec![silent(time)] });
        prophet.wait(1);
        let ProphetReply::Operators { recent, .. } = prophet.ask(10, ProphetRequest::Operators) else { panic!() };
        let ended = recent.iter().any(|ended| ended.outcome == "cancelled: its new replica is silent");
        assert_eq!(ended, ends, "{recent:?}");
    }
    match prophet.ask(1, ProphetRequest::ShardBeats { store: first, beats: vec![silent(away)] }) {
        ProphetReply::Shards { orders, .. } => assert_eq!(orders[0].step, ShardStep::Remove(learner), "{orders:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_waits_for_a_learner_whose_store_is_not_heard_of() {
    let mut prophet = Member::found();
    let ([first, second, third], mut left, right) = three_stores(&mut prophet);
    prophet.shard_beat(&left, &[]);
    prophet.shard_beat(&right, &[]);
    let learner = put(&prophet.shard_beat(&left, &[]));
    assert_eq!(learner.store, third);
    left.peers.push(learner);
    left.epoch.conf_ver += 1;
    prophet.shard_beat(&left, &[]);
    // It misses three heartbeats; that is far from being held for Down.
    for _ in 0..4 {
        prophet.wait(8);
        prophet.beat(first, 10, 1).unwrap();
        prophet.beat(second, 20, 1).unwrap();
    }
    let ProphetReply::Operators { recent, .. } = prophet.ask(10, ProphetRequest::Operators) else { panic!() };
    let is_given_up = |outcome: &str| outcome == "cancelled: the store that it fills is not heard of";
    assert!(recent.iter().any(|ended| is_given_up(&ended.outcome)), "{recent:?}");
    assert_eq!(prophet.shard_beat(&left, &[])[0].step, ShardStep::Remove(learner));
}

#[test]
fn why_a_shard_is_not_moved_is_explained() {
    let mut prophet = Member::found();
    let (_, mut left, right) = three_stores(&mut prophet);
    prophet.shard_beat(&left, &[]);
    prophet.shard_beat(&right, &[]);
    let said = explain(&mut prophet, &left);
    assert!(said.contains("not moved for balance or location: it has 2 voters and 0 learners"), "{said}");
    let third = put(&prophet.shard_beat(&left, &[]));
    left.peers.push(Peer { role: PeerRole::Voter, ..third });
    left.epoch.conf_ver += 2;
    let all: Vec<_> = left.peers.iter().map(|peer| peer.replica).collect();
    prophet.shard_beat(&left, &all);
    let said = explain(&mut prophet, &left);
    assert!(said.contains("its leadership, as far as balance goes: store-"), "{said}");
    assert!(said.contains("leads 0 shards, and is next to lead this one unless another comes first"), "{said}");
    assert!(said.contains("its replica, as far as balance goes: it has a replica on each store in use"), "{said}");
    let mut right = right;
    right.peers.swap(0, 1);
    prophet.shard_beat(&right, &[]);
    let said = explain(&mut prophet, &left);
    assert!(said.contains("leads 1 shards, store-") && said.contains("and they may differ by 1.0"), "{said}");
}

#[test]
fn a_quarantined_replica_that_was_told_of_is_replaced_by_the_next_order() {
    let mut prophet = Member::found_with(ProphetConfig { max_replicas: 2, ..config() });
    let ([first, second, third], left, right) = three_stores(&mut prophet);
    let all: Vec<_> = left.peers.iter().chain(&right.peers).map(|peer| peer.replica).collect();
    prophet.shard_beat(&left, &all);
    prophet.shard_beat(&right, &all);
    let bad = left.peers[1].replica;
    let beat = StoreBeat { info: store(second.0, 20, 1), quarantined: vec![(left.id, bad)] };
    prophet.ask(20, ProphetRequest::StoreBeat(beat));
    let ProphetReply::Cluster { quarantined, .. } = prophet.ask(10, ProphetRequest::Cluster) else { panic!() };
    assert_eq!(quarantined, [bad]);
    assert_eq!(put(&prophet.shard_beat(&left, &all)).store, third);
    // Nobody takes the last healthy one away meanwhile.
    let request = ProphetRequest::Admin(AdminRequest::RemoveReplica(left.id, first));
    let ProphetReply::Refused(why) = prophet.ask(10, request) else { panic!() };
    assert!(why.contains("too few voters"), "{why}");
}

#[test]
fn a_store_that_cannot_read_its_replica_is_told_when_it_is_to_have_none() {
    let mut prophet = Member::found();
    let ([_, _, third], left, _) = three_stores(&mut prophet);
    prophet.shard_beat(&left, &[]);
    let mut ask = |node| {
        let asks = vec![MembershipAsk { shard: left.id, replica: ReplicaId::NONE, conf_ver: 0 }];
        match prophet.ask(node, ProphetRequest::Membership(asks)) {
            ProphetReply::Removed(removals) => removals,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(20), [], "it has one that is a member");
    let told = ask(30);
    assert_eq!((told.len(), told[0].shard), (1, left.id));
    assert!(told[0].replica.0 >= third.0, "no later id was ever given");
}
