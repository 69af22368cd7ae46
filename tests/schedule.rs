//! What Prophet decides: checkers and schedulers on a cluster that is made by hand, one rule a test.

use std::{collections::BTreeMap, time::Duration};

use matrixkv::{
    config::Config,
    prophet::{
        ClusterView, ProphetConfig,
        checker::{Verdict, Wish, location, replicas},
        cluster::Cluster,
        operator::{Kind, Operator},
        scheduler,
    },
    types::{
        Boot, Epoch, Instant, KeyRange, NodeToken, Peer, PeerRole, ReplicaId, Shard, ShardId, ShardRoute, StoreId,
    },
    wire::{ShardBeat, ShardStep, StoreBeat, StoreInfo, StoreState},
};

const MB: u64 = 1 << 20;

/// A cluster: stores that were all heard of just now, and whatever shards a test puts into it.
struct Made {
    config: ProphetConfig,
    stores: BTreeMap<StoreId, StoreInfo>,
    view: ClusterView,
    now: Instant,
}

fn replica(shard: u64, store: u64) -> ReplicaId {
    ReplicaId(shard * 100 + store)
}

fn info(id: u64) -> StoreInfo {
    StoreInfo {
        id: StoreId(id),
        node: NodeToken(id),
        boot: Boot(1),
        raft_address: format!("host{id}:1"),
        client_address: format!("host{id}:2"),
        labels: vec![],
        capacity: 100,
        available: 100,
        shard_count: 0,
        leader_count: 0,
        state: StoreState::Up,
        heard_ms_ago: None,
    }
}

impl Made {
    fn new(stores: u64) -> Made {
        let config = ProphetConfig {
            store_beat: Duration::from_secs(10),
            max_peer_down_time: Duration::from_secs(600),
            ..ProphetConfig::new(&Config::default())
        };
        let now = Instant(1);
        let mut made = Made { config, stores: BTreeMap::new(), view: ClusterView::new(now), now };
        (1..=stores).for_each(|id| made.hear(info(id), vec![]));
        made
    }

    /// Stores in racks: their labels are `zone` and `rack`.
    fn in_racks(racks: &[(&str, &str)]) -> Made {
        let mut made = Made::new(0);
        made.config.location_labels = vec!["zone".into(), "rack".into()];
        for (n, (zone, rack)) in racks.iter().enumerate() {
            let labels = vec![("zone".into(), zone.to_string()), ("rack".into(), rack.to_string())];
            made.hear(StoreInfo { labels, ..info(1 + n as u64) }, vec![]);
        }
        made
    }

    fn hear(&mut self, info: StoreInfo, quarantined: Vec<(ShardId, ReplicaId)>) {
        self.stores.insert(info.id, info.clone());
        self.view.hear_store(self.now, StoreBeat { info, quarantined });
    }

    fn set_state(&mut self, store: u64, state: StoreState) {
        self.stores.get_mut(&StoreId(store)).unwrap().state = state;
    }

    /// A shard with voters there, led by the first, all healthy.
    fn shard(&mut self, id: u64, on: &[u64]) -> ShardBeat {
        self.sized(id, on, 0)
    }

    fn sized(&mut self, id: u64, on: &[u64], size: u64) -> ShardBeat {
        let peer = |store: &u64| Peer { replica: replica(id, *store), store: StoreId(*store), role: PeerRole::Voter };
        let peers: Vec<_> = on.iter().map(peer).collect();
        let range = KeyRange { start: format!("{id:04}").into(), end: format!("{:04}", id + 1).into() };
        let epoch = Epoch { conf_ver: 1, version: 1 };
        let shard = Shard { id: ShardId(id), range, epoch, peers };
        let caught_up = shard.peers.iter().map(|peer| peer.replica).collect();
        let leader = shard.peers.first().copied();
        let beat = ShardBeat { route: ShardRoute { shard, leader, term: 6 }, caught_up, down: vec![], size };
        assert!(self.view.hear_shard(beat.clone()));
        beat
    }

    fn learner(&mut self, mut beat: ShardBeat, store: u64, has_caught_up: bool) -> ShardBeat {
        let id = replica(beat.route.shard.id.0, store);
        beat.route.shard.peers.push(Peer { replica: id, store: StoreId(store), role: PeerRole::Learner });
        beat.route.shard.epoch.conf_ver += 1;
        if has_caught_up {
            beat.caught_up.push(id);
        }
        assert!(self.view.hear_shard(beat.clone()));
        beat
    }

    fn cluster(&self) -> Cluster<'_> {
        Cluster { config: &self.config, stores: &self.stores, view: &self.view, now: self.now }
    }

    fn check(&self, beat: &ShardBeat) -> Verdict {
        replicas::check(&self.cluster(), beat)
    }

    fn start(&mut self, shard: u64, kind: Kind, steps: Vec<ShardStep>) {
        let since = self.now;
        let operator = Operator { kind, steps, done: 0, reason: String::new(), since, step_since: since, conf_ver: 1 };
        self.view.operators.start(ShardId(shard), operator, since);
    }

    /// Does what is wished, as a shard's leader would have by its next heartbeat.
    fn carry_out(&mut self, shard: ShardId, wish: &Wish) {
        let mut beat = self.view.shards[&shard].clone();
        let peers = &mut beat.route.shard.peers;
        if let Some(store) = wish.add {
            peers.push(Peer { replica: replica(shard.0, store.0), store, role: PeerRole::Voter });
        }
        peers.retain(|peer| Some(peer.replica) != wish.remove);
        let lead = wish.lead.and_then(|lead| peers.iter().find(|peer| peer.replica == lead)).copied();
        let stays = beat.route.leader.filter(|leader| peers.iter().any(|peer| peer.replica == leader.replica));
        beat.route.leader = lead.or(stays).or(peers.first().copied());
        beat.caught_up = peers.iter().map(|peer| peer.replica).collect();
        beat.route.shard.epoch.conf_ver += 2;
        assert!(self.view.hear_shard(beat));
    }
}

fn wish(verdict: Verdict) -> Wish {
    match verdict {
        Verdict::Do(wish) => wish,
        other => panic!("{other:?}"),
    }
}

fn blocked(verdict: Verdict) -> String {
    match verdict {
        Verdict::Blocked(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_voter_is_added() {
    let mut made = Made::new(3);
    let beat = made.shard(1, &[1, 2]);
    let wish = wish(made.check(&beat));
    assert_eq!((wish.kind, wish.add, wish.remove), (Kind::Repair, Some(StoreId(3)), None));
    let whole = made.shard(2, &[1, 2, 3]);
    assert_eq!(made.check(&whole), Verdict::Fine);
}

#[test]
fn a_silent_replica_on_a_store_that_is_up_is_replaced() {
    let mut made = Made::new(4);
    let mut beat = made.shard(1, &[1, 2, 3]);
    beat.down = vec![(replica(1, 2), Duration::from_secs(599))];
    assert_eq!(made.check(&beat), Verdict::Fine, "max-peer-down-time is not over");
    beat.down = vec![(replica(1, 2), Duration::from_secs(600))];
    let wish = wish(made.check(&beat));
    assert_eq!((wish.add, wish.remove), (Some(StoreId(4)), Some(replica(1, 2))));
    made.set_state(4, StoreState::Draining);
    assert!(blocked(made.check(&beat)).contains("no store takes a replica"), "add before remove");
}

#[test]
fn one_too_many_goes_one_in_trouble_first() {
    let mut made = Made::new(4);
    for id in 2..5 {
        made.shard(id, &[3]);
    }
    let mut beat = made.shard(1, &[1, 2, 3, 4]);
    assert_eq!(wish(made.check(&beat)).remove, Some(replica(1, 3)), "its store carries most");
    beat.down = vec![(replica(1, 4), Duration::from_secs(601))];
    assert_eq!(wish(made.check(&beat)).remove, Some(replica(1, 4)));
}

#[test]
fn a_learner_left_over_is_made_use_of_or_goes() {
    let mut made = Made::new(4);
    let beat = made.shard(1, &[1, 2]);
    let lagging = made.learner(beat.clone(), 3, false);
    assert!(blocked(made.check(&lagging)).contains("has not caught up"));
    let ready = made.learner(beat, 3, true);
    assert_eq!(wish(made.check(&ready)).promote, Some(replica(1, 3)));
    let beat = made.shard(2, &[1, 2, 3]);
    let surplus = made.learner(beat, 4, true);
    assert_eq!(wish(made.check(&surplus)).remove, Some(replica(2, 4)));
}

#[test]
fn what_a_store_had_that_is_down_is_made_anew() {
    let mut made = Made::new(4);
    let beat = made.shard(1, &[1, 2, 3]);
    made.set_state(3, StoreState::Down);
    let wish = wish(made.check(&beat));
    assert_eq!((wish.add, wish.remove), (Some(StoreId(4)), Some(replica(1, 3))));
}

#[test]
fn a_drained_store_is_emptied_and_gets_nothing() {
    let mut made = Made::new(4);
    let beat = made.shard(1, &[1, 2, 3]);
    made.set_state(2, StoreState::Draining);
    let wish = wish(made.check(&beat));
    assert_eq!((wish.add, wish.remove), (Some(StoreId(4)), Some(replica(1, 2))));
    let beat = made.shard(2, &[1, 3]);
    assert_eq!(self::wish(made.check(&beat)).add, Some(StoreId(4)));
    made.set_state(4, StoreState::Down);
    assert!(blocked(made.check(&beat)).contains("store-2 is draining"));
}

#[test]
fn a_new_replica_is_placed_apart_by_the_first_label_first() {
    let racks = [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("b", "1"), ("c", "1")];
    let mut made = Made::in_racks(&racks);
    let beat = made.shard(1, &[1, 4]);
    assert_eq!(wish(made.check(&beat)).add, Some(StoreId(6)), "another zone before another rack");
    made.set_state(6, StoreState::Draining);
    // It carries most, and is the only one in a rack of its own.
    made.set_state(3, StoreState::Draining);
    made.shard(2, &[2]);
    assert_eq!(wish(made.check(&beat)).add, Some(StoreId(2)), "another rack before a lighter store");
}

#[test]
fn a_store_over_low_space_ratio_takes_nothing() {
    let mut made = Made::new(2);
    let beat = made.shard(1, &[1, 2]);
    made.hear(StoreInfo { available: 19, ..info(3) }, vec![]);
    assert!(blocked(made.check(&beat)).contains("store-3 is full"));
    made.hear(StoreInfo { available: 20, ..info(3) }, vec![]);
    assert_eq!(wish(made.check(&beat)).add, Some(StoreId(3)));
}

#[test]
fn a_store_over_high_space_ratio_is_the_last_choice() {
    let mut made = Made::new(4);
    let beat = made.shard(1, &[1, 2]);
    made.shard(2, &[4]);
    assert_eq!(wish(made.check(&beat)).add, Some(StoreId(3)), "it carries less");
    made.hear(StoreInfo { available: 29, ..info(3) }, vec![]);
    assert_eq!(wish(made.check(&beat)).add, Some(StoreId(4)), "it has more room");
    made.set_state(4, StoreState::Draining);
    assert_eq!(wish(made.check(&beat)).add, Some(StoreId(3)));
}

#[test]
fn a_store_takes_max_snapshots_at_once() {
    let mut made = Made::new(3);
    let beat = made.shard(1, &[1, 2]);
    for id in 2..5 {
        made.sized(id, &[1, 2], 8 * MB);
        let learner = Peer { replica: replica(id, 3), store: StoreId(3), role: PeerRole::Learner };
        made.start(id, Kind::Repair, vec![ShardStep::Put(learner)]);
    }
    assert!(blocked(made.check(&beat)).contains("is being sent 3 snapshots"));
    made.config.max_snapshots = 4;
    assert_eq!(wish(made.check(&beat)).add, Some(StoreId(3)));
}

#[test]
fn a_store_takes_max_pending_peers_at_once() {
    let mut made = Made::new(3);
    made.config.max_pending_peers = 2;
    let beat = made.shard(1, &[1, 2]);
    for id in 2..4 {
        let beat = made.shard(id, &[1, 2]);
        made.learner(beat, 3, false);
    }
    assert!(blocked(made.check(&beat)).contains("has 2 replicas that lag"));
    made.config.max_pending_peers = 3;
    assert_eq!(wish(made.check(&beat)).add, Some(StoreId(3)));
}

#[test]
fn leaderships_even_out_by_count_and_stay() {
    let mut made = Made::new(3);
    for id in 1..10 {
        made.shard(id, &[1, 2, 3]);
    }
    for _ in 0..6 {
        let (shard, wish) = scheduler::leaders::schedule(&made.cluster()).unwrap();
        made.carry_out(shard, &wish);
    }
    assert_eq!(scheduler::leaders::schedule(&made.cluster()), None, "three each");
    assert!((1..=3).all(|id| made.view.load(StoreId(id)).leaders == 3));
}

#[test]
fn shards_even_out_by_count_and_size_without_flapping() {
    for sizes in [vec![0; 24], (0..24).map(|n| (n % 7) * MB).collect::<Vec<_>>(), vec![64 * MB, 0, 0, 0, 0, 0]] {
        let mut made = Made::new(5);
        for (id, size) in sizes.iter().enumerate() {
            made.sized(1 + id as u64, &[1, 2, 3], *size);
        }
        let mut moves = 0;
        while let Some((shard, wish)) = scheduler::shards::schedule(&made.cluster()) {
            assert!(made.view.shards[&shard].route.shard.peer_on(wish.add.unwrap()).is_none());
            made.carry_out(shard, &wish);
            moves += 1;
            assert!(moves <= 3 * sizes.len(), "it moves for ever");
        }
        let scores: Vec<_> = (1..=5).map(|id| made.cluster().score(StoreId(id))).collect();
        let least = scores.iter().copied().fold(f64::MAX, f64::min);
        let heaviest = (0..sizes.len()).map(|n| made.cluster().weight(sizes[n])).fold(0.0, f64::max);
        assert!(scores.iter().all(|score| score - least <= 2.0 * heaviest), "{scores:?} after {moves} moves");
    }
}

#[test]
fn a_heartbeat_of_an_older_epoch_or_term_is_not_believed() {
    let mut made = Made::new(3);
    let beat = made.shard(1, &[1, 2, 3]);
    let mut stale = beat.clone();
    stale.route.term -= 1;
    assert!(!made.view.hear_shard(stale), "an older term");
    for change in [|epoch: &mut Epoch| epoch.conf_ver -= 1, |epoch: &mut Epoch| epoch.version -= 1] {
        let mut stale = beat.clone();
        stale.route.term += 1;
        change(&mut stale.route.shard.epoch);
        assert!(!made.view.hear_shard(stale), "an older epoch, whatever the term");
    }
    assert_eq!(made.view.shards[&ShardId(1)], beat);
}

#[test]
fn a_quarantined_replica_is_replaced_at_once() {
    let mut made = Made::new(4);
    let beat = made.shard(1, &[1, 2, 3]);
    made.hear(info(2), vec![(ShardId(1), replica(1, 2)), (ShardId(9), replica(9, 2))]);
    let wish = wish(made.check(&beat));
    assert_eq!((wish.add, wish.remove), (Some(StoreId(4)), Some(replica(1, 2))));
    assert!(wish.reason.contains("quarantined"), "{}", wish.reason);
    made.hear(info(2), vec![(ShardId(1), ReplicaId(777)), (ShardId(9), replica(9, 2))]);
    assert_eq!(made.check(&beat), Verdict::Fine, "another replica than that one");
    made.hear(info(2), vec![(ShardId(1), ReplicaId::NONE)]);
    assert_eq!(self::wish(made.check(&beat)).remove, Some(replica(1, 2)), "whichever is there");
}

#[test]
fn a_quarantined_replica_goes_first_where_no_other_store_is_left() {
    let mut made = Made::new(3);
    let mut beat = made.shard(1, &[1, 2, 3]);
    made.hear(info(2), vec![(ShardId(1), replica(1, 2))]);
    let first = wish(made.check(&beat));
    assert_eq!((first.add, first.remove), (None, Some(replica(1, 2))));
    // Not while the others are less than healthy.
    beat.down = vec![(replica(1, 3), Duration::from_secs(700))];
    assert!(blocked(made.check(&beat)).contains("no store takes a replica"));
    beat.down = vec![];
    beat.caught_up.retain(|id| *id != replica(1, 3));
    assert!(blocked(made.check(&beat)).contains("no store takes a replica"));
    // Nor where another store is only short of room for snapshots just now.
    let beat = made.shard(2, &[1, 2, 3]);
    made.hear(info(2), vec![(ShardId(2), replica(2, 2))]);
    made.hear(info(4), vec![]);
    made.config.max_pending_peers = 0;
    assert!(blocked(made.check(&beat)).contains("replicas that lag"));
    // Once it has gone, a missing voter is what is wrong.
    made.config.max_pending_peers = 16;
    made.set_state(4, StoreState::Down);
    let beat = made.shard(3, &[1, 3]);
    assert_eq!(wish(made.check(&beat)).add, Some(StoreId(2)));
    made.hear(info(2), vec![(ShardId(3), ReplicaId::NONE)]);
    assert!(blocked(made.check(&beat)).contains("has not destroyed it yet"));
}

#[test]
fn two_voters_of_which_one_is_quarantined_wait_for_people() {
    let mut made = Made::new(2);
    let beat = made.shard(1, &[1, 2]);
    made.hear(info(2), vec![(ShardId(1), replica(1, 2))]);
    assert!(blocked(made.check(&beat)).contains("2 of 3 voters"));
}

#[test]
fn a_quarantined_learner_is_removed() {
    let mut made = Made::new(3);
    let beat = made.shard(1, &[1, 2]);
    let beat = made.learner(beat, 3, true);
    made.hear(info(3), vec![(ShardId(1), replica(1, 3))]);
    assert_eq!(wish(made.check(&beat)).remove, Some(replica(1, 3)));
}

#[test]
fn a_replica_moves_to_where_its_shard_is_more_apart() {
    let mut made = Made::in_racks(&[("a", "1"), ("a", "2"), ("b", "1")]);
    let beat = made.shard(1, &[1, 2, 3]);
    assert_eq!(location::check(&made.cluster(), &beat), Verdict::Fine, "there is no other store");
    let labels = vec![("zone".into(), "c".to_string())];
    made.hear(StoreInfo { labels, ..info(4) }, vec![]);
    let wish = wish(location::check(&made.cluster(), &beat));
    assert_eq!((wish.kind, wish.add), (Kind::Location, Some(StoreId(4))));
    let remove = wish.remove.unwrap();
    assert!([replica(1, 1), replica(1, 2)].contains(&remove), "one of those that share a zone");
    made.carry_out(ShardId(1), &wish);
    let beat = made.view.shards[&ShardId(1)].clone();
    assert_eq!(location::check(&made.cluster(), &beat), Verdict::Fine, "and stays");
}

#[test]
fn nothing_moves_where_it_would_not_be_more_apart_or_the_shard_is_not_calm() {
    let racks = [("a", "1"), ("b", "1"), ("c", "1"), ("a", "2"), ("b", "1"), ("d", "1")];
    let mut made = Made::in_racks(&racks);
    let apart = made.shard(1, &[1, 2, 3]);
    assert_eq!(location::check(&made.cluster(), &apart), Verdict::Fine, "another zone is no further");
    let crowded = made.shard(2, &[1, 4, 3]);
    assert!(matches!(location::check(&made.cluster(), &crowded), Verdict::Do(_)));
    let restless = ShardBeat { down: vec![(replica(2, 3), Duration::from_secs(1))], ..crowded.clone() };
    assert_eq!(location::check(&made.cluster(), &restless), Verdict::Fine, "somebody is silent");
    made.hear(
        StoreInfo { labels: made.stores[&StoreId(3)].labels.clone(), ..info(3) },
        vec![(ShardId(2), replica(2, 3))],
    );
    assert_eq!(location::check(&made.cluster(), &crowded), Verdict::Fine, "somebody is quarantined");
    made.config.location_labels.clear();
    made.hear(StoreInfo { labels: vec![], ..info(3) }, vec![]);
    assert_eq!(location::check(&made.cluster(), &crowded), Verdict::Fine, "nobody asked for it");
}

/// Whatever the stores' labels, moves for the sake of location and of balance come to an end together.
#[test]
fn location_and_balance_do_not_undo_each_other() {
    for seed in 0..40_u64 {
        let mut dice = matrixkv::types::Rng::new(seed);
        let names = ["a", "b", "c", "d"];
        let label = |dice: &mut matrixkv::types::Rng| names[dice.below(4) as usize];
        let racks: Vec<_> = (0..8).map(|_| (label(&mut dice), label(&mut dice))).collect();
        let mut made = Made::in_racks(&racks);
        for id in 1..=12 {
            let first = 1 + dice.below(6);
            made.sized(id, &[first, first + 1, first + 2], dice.below(4) * MB);
        }
        let mut moves = 0;
        while let Some((shard, wish)) = next_move(&made) {
            made.carry_out(shard, &wish);
            moves += 1;
            assert!(moves < 200, "seed {seed}: it moves for ever");
        }
    }
}

fn next_move(made: &Made) -> Option<(ShardId, Wish)> {
    let mut beats = made.view.shards.values();
    let found = beats.find_map(|beat| match location::check(&made.cluster(), beat) {
        Verdict::Do(wish) => Some((beat.route.shard.id, wish)),
        _ => None,
    });
    found.or_else(|| scheduler::shards::schedule(&made.cluster()))
}
