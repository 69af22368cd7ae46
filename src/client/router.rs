//! Finds the shard's leader for a request, and corrects its guess by the answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;

use super::{Book, CallError, ProphetClient, RouteCache, Rpc};
use crate::{
    env::{Channel, Env, within},
    planted::{self, Bug, planted},
    types::{ClusterId, Instant, KeyRange, Peer, ReplicaId, Rng, ShardId, ShardRoute, StoreId},
    wire::{
        DataReply, DataRequest, MemberInfo, Op, ProphetReply, ProphetRequest, Refusal, Request, Response, StoreInfo,
        Value,
    },
};

/// How long a read waits for one store before it asks another one: this, and no more than that part of the deadline.
const READ_PATIENCE: Duration = Duration::from_millis(1000);
const READ_TRIES_MIN: u32 = 4;
/// How long Prophet is waited for before peers are asked for their routes: one silent member, and the next one's answer.
const PROPHET_PATIENCE: Duration = Duration::from_millis(1500);
/// How long a peer is waited for that was asked for its routes.
const PEER_PATIENCE: Duration = Duration::from_millis(500);
/// Routes are asked for at most once in this time.
const REFRESH_EVERY: Duration = Duration::from_millis(100);
/// Pause before a guess is made again, about: the first is short, since a shard that was just split or moved has a leader
/// within a few commits, and each is twice the one before, up to the last.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_DOUBLINGS: u32 = 5;

/// Why a data request was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request is wrong and did not happen.
    #[error("{0}")]
    Invalid(String),
    /// It did not happen now; it may be retried.
    #[error("{0}")]
    NotNow(String),
    /// A write, or something that an operator wants, that may or may not have happened.
    #[error("{0}")]
    Unknown(String),
}

/// What came of a request that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A write, or a split.
    Written,
    /// A read: `None` where the key is missing.
    Value(Option<Value>),
    /// A scan.
    Rows {
        /// Ascending by key.
        rows: Vec<(Bytes, Value)>,
        /// Where to go on; `None` at the end of what was asked for.
        next: Option<Bytes>,
    },
}

/// What this node knows of the cluster: fresh from Prophet, or as last heard.
#[derive(Clone, Debug, Default)]
pub struct ClusterStatus {
    /// This node's store.
    pub store: StoreId,
    /// The cluster.
    pub cluster: ClusterId,
    /// All shards.
    pub routes: Vec<ShardRoute>,
    /// All stores.
    pub stores: Vec<StoreInfo>,
    /// Prophet's members.
    pub members: Vec<MemberInfo>,
    /// The member that leads; none if not known.
    pub leader: ReplicaId,
    /// Replicas that are out of service, as far as this node knows.
    pub quarantined: BTreeSet<ReplicaId>,
    /// Whether Prophet's leader just said so; if false this is what was heard last.
    pub fresh: bool,
}

#[derive(Default)]
struct State {
    cache: RouteCache,
    /// Routes of this node's own replicas, as the store sees them.
    local: BTreeMap<ShardId, ShardRoute>,
    /// This node's own replicas that are out of service.
    quarantined: BTreeMap<ShardId, String>,
    /// Those of all stores, as Prophet said last.
    out_of_service: BTreeSet<ReplicaId>,
    store: StoreId,
    cluster: ClusterId,
    leader: ReplicaId,
    /// When Prophet last answered this node.
    prophet_heard: Option<Instant>,
    /// Counts the guesses where no leader was known.
    turn: usize,
    /// When routes were last asked for.
    refreshed: Option<Instant>,
    /// Whether they are being asked for.
    refreshing: bool,
}

/// The router of a node. Cheap to clone.
pub struct Router<E: Env> {
    env: E,
    rpc: Rpc<E>,
    prophet: ProphetClient<E>,
    book: Arc<Mutex<Book>>,
    state: Arc<Mutex<State>>,
    rng: Arc<Mutex<Rng>>,
    deadline: Duration,
    /// Prophet silent for longer makes the node not ready.
    prophet_patience: Duration,
}

impl<E: Env> Clone for Router<E> {
    fn clone(&self) -> Self {
        Router {
            env: self.env.clone(),
            rpc: self.rpc.clone(),
            prophet: self.prophet.clone(),
            book: self.book.clone(),
            state: self.state.clone(),
            rng: self.rng.clone(),
            deadline: self.deadline,
            prophet_patience: self.prophet_patience,
        }
    }
}

impl State {
    /// What Prophet said last, and what this node's own store says.
    fn known_quarantined(&self) -> BTreeSet<ReplicaId> {
        let routes = self.cache.all().into_iter().filter(|route| self.quarantined.contains_key(&route.shard.id));
        let own = routes.filter_map(|route| route.shard.peer_on(self.store).map(|peer| peer.replica));
        self.out_of_service.iter().copied().chain(own).collect()
    }
}

/// What comes after a try.
enum Next {
    Done(Answer),
    Failed(Failure),
    /// It did not happen; try at once, since something was learnt.
    Again(String),
    /// It did not happen; try after a pause.
    Later(String),
}

impl<E: Env> Router<E> {
    /// A router that starts from what `book` remembers.
    pub fn new(
        env: E,
        rpc: Rpc<E>,
        prophet: ProphetClient<E>,
        book: Arc<Mutex<Book>>,
        config: &crate::config::Config,
    ) -> Router<E> {
        let mut state = State::default();
        for route in &lock(&book).routes {
            state.cache.learn(route);
        }
        let rng = Arc::new(Mutex::new(env.rng()));
        let prophet_patience = config.store_heartbeat_effective() * 4;
        let deadline = config.limits.request_deadline;
        Router { env, rpc, prophet, book, state: Arc::new(Mutex::new(state)), rng, deadline, prophet_patience }
    }

    /// Does `op` on its key's shard before the deadline of `[limits] request-deadline` is over.
    pub async fn execute(&self, op: Op) -> Result<Answer, Failure> {
        let deadline = self.env.now() + self.deadline;
        let (mut tries, mut pauses) = (0, 0);
        let mut why = "no route to the key's shard is known yet".to_owned();
        loop {
            let now = self.env.now();
            if now >= deadline {
                return Err(Failure::NotNow(format!("not done in time: {why}")));
            }
            match self.attempt(&op, tries, deadline - now).await {
                Next::Done(value) => return Ok(value),
                Next::Failed(failure) => return Err(failure),
                Next::Again(reason) if tries % 4 != 3 => why = reason,
                Next::Again(reason) | Next::Later(reason) => {
                    why = reason;
                    let pause =
                        lock(&self.rng).jitter(PAUSE_MIN * (1 << PAUSE_DOUBLINGS.min(pauses))) + planted::leak();
                    pauses += 1;
                    self.env.sleep(pause.min(deadline - self.env.now())).await;
                }
            }
            tries += 1;
        }
    }

    /// The rows from `range.start` on, over as many shards as it takes: at most `rows_max` rows and about `bytes_max`
    /// bytes, linearizable shard by shard. Each shard is asked from where the answering one before it ended.
    pub async fn scan(&self, range: KeyRange, rows_max: usize, bytes_max: usize) -> Result<Answer, Failure> {
        let (mut rows, mut bytes, mut start) = (Vec::new(), 0, range.start);
        loop {
            let part = KeyRange { start, end: range.end.clone() };
            let (rows_left, bytes_left) = ((rows_max - rows.len()) as u32, (bytes_max - bytes) as u32);
            let op = Op::Scan { range: part, rows_max: rows_left, bytes_max: bytes_left };
            let Answer::Rows { rows: more, next } = self.execute(op).await? else {
                return Err(Failure::NotNow("a scan was answered with something else".into()));
            };
            bytes += more.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
            rows.extend(more);
            match next {
                Some(next) if rows.len() < rows_max && bytes < bytes_max => start = next.to_vec(),
                next => return Ok(Answer::Rows { rows, next }),
            }
        }
    }

    /// Passes a question on to Prophet's leader.
    pub async fn ask_prophet_for(&self, request: ProphetRequest) -> Result<ProphetReply, Failure> {
        match self.prophet.ask(request).await {
            Ok(ProphetReply::Refused(why)) => Err(Failure::Invalid(why)),
            Ok(ProphetReply::Unknown(why)) => Err(Failure::Unknown(format!("{why}: it may have been decided"))),
            Ok(ProphetReply::Later(why)) | Err(why) => Err(Failure::NotNow(why)),
            Ok(reply) => Ok(reply),
        }
    }

    /// One try at the peer that seems to lead. A route of which no peer leads or answers may be older than all of them
    /// (its replicas moved while nobody asked this node), so once they were all tried it is asked for again.
    async fn attempt(&self, op: &Op, tries: u32, left: Duration) -> Next {
        let Some((route, peer, address)) = self.guess(op.key()) else {
            self.refresh();
            return Next::Later("no route to the key's shard is known".into());
        };
        let next = self.try_peer(op, &route, peer, &address, left).await;
        let all_tried = (tries as usize + 1).is_multiple_of(route.shard.peers.len());
        let is_guess = !route.shard.range.contains(op.key());
        if matches!(next, Next::Later(_)) && (all_tried || is_guess) {
            self.refresh();
        }
        next
    }

    async fn try_peer(&self, op: &Op, route: &ShardRoute, peer: Peer, address: &str, left: Duration) -> Next {
        let request = DataRequest { shard: route.shard.id, epoch: route.shard.epoch, op: op.clone() };
        let patience = if op.is_read() { left.min(READ_PATIENCE).min(self.deadline / READ_TRIES_MIN) } else { left };
        let answer = self.rpc.call(Channel::Client, address, Request::Data(request), patience).await;
        match answer {
            Ok(Response::Data(reply)) => self.take_reply(op, route.shard.id, peer, reply),
            Ok(_) => Next::Later(format!("{} answered something else", peer.store)),
            Err(CallError::NotSent) => {
                lock(&self.state).cache.forget_leader(route.shard.id);
                Next::Later(format!("{} cannot be reached", peer.store))
            }
            Err(CallError::Lost) => {
                lock(&self.state).cache.forget_leader(route.shard.id);
                if op.is_read() || planted(Bug::RetryUnknown) {
                    return Next::Later(format!("{} does not answer", peer.store));
                }
                Next::Failed(Failure::Unknown(format!("the outcome is unknown: no answer from {}", peer.store)))
            }
        }
    }

    fn take_reply(&self, op: &Op, shard: ShardId, peer: Peer, reply: DataReply) -> Next {
        match reply {
            DataReply::Value(value) => Next::Done(Answer::Value(value)),
            DataReply::Rows { rows, next } => Next::Done(Answer::Rows { rows, next }),
            DataReply::Written => Next::Done(Answer::Written),
            DataReply::Unknown(why) if planted(Bug::RetryUnknown) => Next::Later(why),
            DataReply::Unknown(why) => Next::Failed(Failure::Unknown(format!("the outcome is unknown: {why}"))),
            DataReply::Refused(Refusal::Invalid(why)) => Next::Failed(Failure::Invalid(why)),
            DataReply::Refused(refusal) => self.learn_refusal(op, shard, peer, &refusal),
        }
    }

    fn learn_refusal(&self, op: &Op, shard: ShardId, peer: Peer, refusal: &Refusal) -> Next {
        let mut state = lock(&self.state);
        let mut learnt = false;
        for route in refusal.routes() {
            learnt |= state.cache.learn(route);
        }
        let why = format!("{}: {refusal}", peer.store);
        match refusal {
            // Somebody else may lead by now.
            Refusal::NoSuchShard(_) | Refusal::Unavailable(_) => state.cache.forget_leader(shard),
            Refusal::StaleEpoch(routes) if routes.is_empty() => state.cache.forget(shard),
            Refusal::NotLeader(route) if route.leader.is_none_or(|leader| leader.store == peer.store) => {
                state.cache.forget_leader(shard);
            }
            _ => {}
        }
        let knows_leader = state.cache.find(op.key()).is_some_and(|route| route.leader.is_some());
        if learnt && knows_leader { Next::Again(why) } else { Next::Later(why) }
    }

    /// The known leader, or the replicas in turn, over all requests, so that a short deadline is not spent on one that
    /// is silent again and again; with the address to ask. Where no shard is known to have the key, one that may have been
    /// split since knows which does, and says so when it refuses.
    fn guess(&self, key: &[u8]) -> Option<(ShardRoute, Peer, String)> {
        let mut state = lock(&self.state);
        let route = state.cache.find_before(key)?.clone();
        let peer = match route.leader {
            Some(leader) => leader,
            None => {
                state.turn = state.turn.wrapping_add(1);
                let peers = &route.shard.peers;
                *peers.get(state.turn.checked_rem(peers.len())?)?
            }
        };
        drop(state);
        let address = lock(&self.book).stores.get(&peer.store)?.client_address.clone();
        Some((route, peer, address))
    }

    /// Has routes asked for, once for all requests that wait for the same news. They do not wait for it but try again after
    /// a pause: whoever is asked may be silent for longer than they have time.
    fn refresh(&self) {
        if self.may_refresh() {
            let router = self.clone();
            self.env.spawn("routes", async move {
                router.ask_around().await;
                lock(&router.state).refreshing = false;
            });
        }
    }

    /// Asks Prophet for all routes; if it is away, the other stores for theirs, until one knows something new.
    async fn ask_around(&self) {
        if within(&self.env, PROPHET_PATIENCE, self.ask_prophet()).await.flatten().is_some() {
            return;
        }
        let own = lock(&self.state).store;
        let stores: Vec<String> = {
            let book = lock(&self.book);
            book.stores.values().filter(|store| store.id != own).map(|store| store.client_address.clone()).collect()
        };
        for address in stores {
            let answer = self.rpc.call(Channel::Client, &address, Request::Routes, PEER_PATIENCE).await;
            if let Ok(Response::Routes { routes, stores }) = answer {
                lock(&self.book).learn(stores, Vec::new());
                if self.learn(&routes) {
                    return;
                }
            }
        }
    }

    fn may_refresh(&self) -> bool {
        let now = self.env.now();
        let mut state = lock(&self.state);
        let may = !state.refreshing && state.refreshed.is_none_or(|before| now.since(before) >= REFRESH_EVERY);
        if may {
            (state.refreshed, state.refreshing) = (Some(now), true);
        }
        may
    }

    async fn ask_prophet(&self) -> Option<ClusterStatus> {
        match self.prophet.ask(ProphetRequest::Cluster).await {
            Ok(ProphetReply::Cluster { cluster, routes, stores, members, leader, quarantined }) => {
                self.hear_prophet();
                lock(&self.book).learn(stores.clone(), members.clone());
                self.learn(&routes);
                let mut state = lock(&self.state);
                (state.cluster, state.leader) = (cluster, leader);
                state.out_of_service = quarantined.into_iter().collect();
                let (store, routes, quarantined) = (state.store, state.cache.all(), state.known_quarantined());
                Some(ClusterStatus { store, cluster, routes, stores, members, leader, quarantined, fresh: true })
            }
            _ => None,
        }
    }

    /// Prophet answered this node just now.
    pub fn hear_prophet(&self) {
        lock(&self.state).prophet_heard = Some(self.env.now());
    }

    /// Routes were heard of. Whether one of them is newer than what was known.
    pub fn learn(&self, routes: &[ShardRoute]) -> bool {
        let mut state = lock(&self.state);
        routes.iter().filter(|route| state.cache.learn(route)).count() > 0
    }

    /// This node has a store now.
    pub fn set_store(&self, store: StoreId, cluster: ClusterId) {
        let mut state = lock(&self.state);
        (state.store, state.cluster) = (store, cluster);
    }

    /// This node's store says what has changed of what it holds.
    pub fn learn_local(
        &self,
        changed: Vec<ShardRoute>,
        gone: &[ShardId],
        quarantined: Option<BTreeMap<ShardId, String>>,
    ) {
        let mut state = lock(&self.state);
        gone.iter().for_each(|shard| drop(state.local.remove(shard)));
        for route in changed {
            state.cache.learn(&route);
            state.local.insert(route.shard.id, route);
        }
        if let Some(quarantined) = quarantined {
            state.quarantined = quarantined;
        }
    }

    /// What a peer is told that asks for routes.
    pub fn known(&self) -> (Vec<ShardRoute>, Vec<StoreInfo>) {
        let routes = lock(&self.state).cache.all();
        (routes, lock(&self.book).stores.values().cloned().collect())
    }

    /// The cluster, from Prophet if it answers soon, else as last heard.
    pub async fn status(&self) -> ClusterStatus {
        if let Some(status) = self.ask_prophet().await {
            return status;
        }
        let book = lock(&self.book).clone();
        let state = lock(&self.state);
        ClusterStatus {
            store: state.store,
            cluster: state.cluster,
            routes: state.cache.all(),
            stores: book.stores.into_values().collect(),
            members: book.members,
            leader: state.leader,
            quarantined: state.known_quarantined(),
            fresh: false,
        }
    }

    /// This node's store; none before it is registered.
    pub fn store(&self) -> StoreId {
        lock(&self.state).store
    }

    /// The shards that have a replica on this node's store, as the store itself sees them, and which replicas are out of
    /// service, as far as known. Of a shard whose own replica is, only others can tell.
    pub async fn local(&self) -> (Vec<ShardRoute>, BTreeSet<ReplicaId>) {
        let state = lock(&self.state);
        let elsewhere = state.cache.all().into_iter().filter(|route| state.quarantined.contains_key(&route.shard.id));
        let here = elsewhere.filter(|route| route.shard.peer_on(state.store).is_some());
        (state.local.values().cloned().chain(here).collect(), state.known_quarantined())
    }

    /// Whether this node leads a shard that another node could lead.
    pub async fn leads_with_others(&self) -> bool {
        let state = lock(&self.state);
        let leads = |route: &ShardRoute| route.leader.is_some_and(|leader| leader.store == state.store);
        state.local.values().any(|route| leads(route) && route.shard.voters().count() > 1)
    }

    /// Whether this node knows Prophet and routes and its shards can reach a majority; else why not.
    pub async fn ready(&self) -> Result<(), String> {
        // A store without replicas hears of no routes until it asks.
        if lock(&self.state).cache.is_empty() {
            self.refresh();
        }
        let state = lock(&self.state);
        if state.store.is_none() {
            return Err("the store is not registered with Prophet yet".into());
        }
        let heard = state.prophet_heard.ok_or("Prophet has not answered since this node started")?;
        if self.env.now().since(heard) > self.prophet_patience {
            return Err(format!("Prophet has not answered for {:?}", self.env.now().since(heard)));
        }
        if let Some((shard, why)) = state.quarantined.first_key_value() {
            return Err(format!("{shard} is quarantined: {why}"));
        }
        if let Some(route) = state.local.values().find(|route| route.leader.is_none()) {
            return Err(format!("{} has no leader that this node can hear", route.shard.id));
        }
        if state.cache.is_empty() {
            return Err("no routes are known yet".into());
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}
