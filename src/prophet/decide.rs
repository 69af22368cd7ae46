//! From what was heard to operators: each heartbeat of a shard moves its operator on, or lets the checkers look at it; each
//! tick lets the schedulers look at the whole.

use super::{
    Command, Prophet, Waiting,
    checker::{Verdict, Wish, location, replicas},
    cluster::{BEATS_MISSED, Cluster},
    operator::{Kind, Operator},
    scheduler,
};
use crate::{
    planted::{Bug, planted},
    types::{Fact, Peer, PeerRole, ReplicaId, ShardId, StoreId},
    wire::{ShardBeat, ShardOrder, ShardStep, StoreState},
};

/// Part of the stores and shards that a new leader wants to have heard of before it moves anything.
const HEARD_ENOUGH: f64 = 0.8;
/// Decisions about stores that are remembered.
const DECISIONS_MAX: usize = 64;

impl Prophet {
    pub(super) fn look(&self) -> Option<Cluster<'_>> {
        let stores = self.meta()?.stores();
        Some(Cluster { config: &self.config, stores, view: &self.view, now: self.now })
    }

    /// A new leader waits, bounded, for most heartbeats: the view of one that has just begun is full of holes.
    pub(super) fn has_heard_enough(&self) -> bool {
        let Some(meta) = self.meta() else { return false };
        let stores = meta.stores().values().filter(|store| store.state != StoreState::Removed).count();
        let most = |heard: usize, all: usize| heard as f64 >= all as f64 * HEARD_ENOUGH;
        let has_most = most(self.view.stores.len(), stores) && most(self.view.shards.len(), meta.shards().len());
        has_most || self.now.since(self.view.since) > self.config.patience()
    }

    /// The shard's operator moves on, or the checkers find it a new one. The order that goes back to its leader.
    pub(super) fn consider(&mut self, beat: &ShardBeat) -> Option<ShardOrder> {
        let shard = beat.route.shard.id;
        if let Some(outcome) = self.view.operators.observe(beat, self.now) {
            self.tell(format!("{shard}: operator {outcome}"));
        }
        if self.has_heard_enough() {
            self.check(beat);
        }
        self.unsent.remove(&shard);
        self.view.operators.get(shard).map(|operator| operator.order(shard))
    }

    /// Lets the checkers look at a shard that has no operator.
    fn check(&mut self, beat: &ShardBeat) {
        let shard = beat.route.shard.id;
        if self.view.operators.get(shard).is_some() {
            return;
        }
        let Some(cluster) = self.look() else { return };
        let verdict = match replicas::check(&cluster, beat) {
            Verdict::Fine => location::check(&cluster, beat),
            trouble => trouble,
        };
        let blocked = match verdict {
            Verdict::Fine => None,
            Verdict::Blocked(why) => Some(why),
            Verdict::Do(wish) => match self.limit_reached(wish.kind) {
                Some(limit) => Some(format!("{}; {limit} operators are under way", wish.reason)),
                None => self.start(shard, wish).err(),
            },
        };
        match blocked {
            Some(why) => drop(self.view.blocked.insert(shard, why)),
            None => drop(self.view.blocked.remove(&shard)),
        }
    }

    /// The limit that keeps another operator of this kind from being begun.
    pub(super) fn limit_reached(&self, kind: Kind) -> Option<&'static str> {
        let running = |kinds: &[Kind]| kinds.iter().map(|kind| self.view.operators.count(*kind)).sum::<u64>();
        let (key, limit, running) = match kind {
            Kind::Repair => ("replica-schedule-limit", self.config.repair_limit, running(&[kind])),
            Kind::BalanceLeaders => ("leader-schedule-limit", self.config.leader_limit, running(&[kind])),
            Kind::BalanceShards | Kind::Location => {
                let both = running(&[Kind::BalanceShards, Kind::Location]);
                ("resource-schedule-limit", self.config.shard_limit, both)
            }
            Kind::Admin => return None,
        };
        (running >= limit).then_some(key)
    }

    /// Looks at every shard: what is wrong with one may have begun, or become curable, without a word from the shard
    /// itself. (PD's patrol.)
    fn patrol(&mut self) {
        if self.now < self.next_patrol {
            return;
        }
        self.next_patrol = self.now + self.config.shard_beat;
        let beats: Vec<_> = self.view.shards.values().cloned().collect();
        beats.iter().for_each(|beat| self.check(beat));
    }

    /// Begins what is wished, if there are ids for it and the shard is known.
    pub(super) fn start(&mut self, shard: ShardId, wish: Wish) -> Result<(), String> {
        let beat = self.view.shards.get(&shard).ok_or_else(|| format!("{shard} has not been heard of"))?;
        let known = beat.route.shard.clone();
        let reason = wish.reason.clone();
        let new = match wish.add {
            Some(store) => {
                let replica = ReplicaId(self.ids.next().ok_or("ids are being taken")?);
                Some(Peer { replica, store, role: PeerRole::Learner })
            }
            None => None,
        };
        let peer = |replica: Option<ReplicaId>| replica.and_then(|replica| known.peer(replica)).copied();
        let voter = |peer: Peer| ShardStep::Put(Peer { role: PeerRole::Voter, ..peer });
        let mut steps = Vec::new();
        steps.extend(new.map(ShardStep::Put));
        steps.extend(new.map(voter));
        steps.extend(peer(wish.promote).map(voter));
        steps.extend(peer(wish.lead).map(ShardStep::Lead));
        steps.extend(peer(wish.remove).map(ShardStep::Remove));
        if steps.is_empty() {
            return Err("nothing is to be done".into());
        }
        let (conf_ver, since) = (known.epoch.conf_ver, self.now);
        self.tell(format!("{shard}: {}: {reason}", wish.kind));
        let operator = Operator { kind: wish.kind, steps, done: 0, reason, since, step_since: since, conf_ver };
        self.view.blocked.remove(&shard);
        self.view.operators.start(shard, operator, self.now);
        self.unsent.insert(shard);
        Ok(())
    }

    /// A decision about a store: told, and remembered for people.
    pub(super) fn decide(&mut self, decision: String) {
        self.view.decisions.push_front((self.now, decision.clone()));
        self.view.decisions.truncate(DECISIONS_MAX);
        self.tell(decision);
    }

    pub(super) fn tell(&mut self, decision: String) {
        tracing::debug!(decision);
        self.early.facts.push(Fact::Decision(decision));
    }

    /// Orders that no heartbeat has fetched yet, for the shards that `store` leads.
    pub(super) fn unsent_orders(&mut self, store: StoreId) -> Vec<ShardOrder> {
        let leads = |shard: &ShardId| {
            let leader = self.view.shards.get(shard).and_then(|beat| beat.route.leader);
            leader.is_some_and(|leader| leader.store == store)
        };
        let fetched: Vec<_> = self.unsent.iter().copied().filter(leads).collect();
        self.unsent.retain(|shard| !fetched.contains(shard));
        fetched.into_iter().filter_map(|shard| Some(self.view.operators.get(shard)?.order(shard))).collect()
    }

    /// Ends what takes too long, and evens things out.
    pub(super) fn schedule(&mut self) {
        let Some(meta) = self.group.machine() else { return };
        let in_use = |store| meta.stores().get(&store).is_some_and(|store| store.state == StoreState::Up);
        let mut operators = std::mem::take(&mut self.view.operators);
        let is_alive = |store| self.view.is_alive(store, self.now, self.config.store_beat * BEATS_MISSED);
        operators.expire(self.now, self.config.catch_up_deadline, |shard, peer| match peer {
            peer if !in_use(peer.store) => Some("cancelled: the store that it fills is not in use any more"),
            // Until the old one there is gone, its store cannot tell it from the new one.
            peer if self.view.is_quarantined_known(shard, peer) => Some("cancelled: its new replica is quarantined"),
            // It carries nothing yet: another store is quicker than waiting for this one.
            peer if !is_alive(peer.store) => Some("cancelled: the store that it fills is not heard of"),
            // A checker may take it away then, and the shard is free for what it needs.
            peer if self.is_silent(shard, peer.replica) => Some("cancelled: its new replica is silent"),
            _ => None,
        });
        self.view.operators = operators;
        if !self.has_heard_enough() {
            return;
        }
        self.patrol();
        for kind in [Kind::BalanceLeaders, Kind::BalanceShards] {
            while self.limit_reached(kind).is_none() {
                let Some(cluster) = self.look() else { return };
                let found = match kind {
                    Kind::BalanceLeaders => scheduler::leaders::schedule(&cluster),
                    _ => scheduler::shards::schedule(&cluster),
                };
                let Some((shard, wish)) = found else { break };
                if self.start(shard, wish).is_err() {
                    break;
                }
            }
        }
    }

    /// Whether the shard's leader misses the replica for longer than it may be away.
    fn is_silent(&self, shard: ShardId, replica: ReplicaId) -> bool {
        let beat = self.view.shards.get(&shard);
        beat.and_then(|beat| beat.silence(replica)).is_some_and(|silent| silent >= self.config.max_peer_down_time)
    }

    /// Stores that were silent for too long are Down, and those that are back are not. Both are replicated decisions.
    pub(super) fn judge_stores(&mut self) {
        let Some(meta) = self.meta() else { return };
        let judged = meta.stores().values().filter_map(|store| {
            let silence = self.view.silence(store.id, self.now);
            let unheard = planted(Bug::DownFromSaved) && !self.view.stores.contains_key(&store.id);
            let is_down = silence > self.config.max_store_down_time || unheard;
            match store.state {
                StoreState::Up if is_down => Some((store.id, StoreState::Down, silence)),
                StoreState::Down if self.view.stores.contains_key(&store.id) && !is_down => {
                    Some((store.id, StoreState::Up, silence))
                }
                _ => None,
            }
        });
        for (store, state, silence) in judged.collect::<Vec<_>>() {
            if self.propose(Waiting::Nobody, &Command::SetStoreState { store, state }) {
                if state == StoreState::Down {
                    let led_for = self.now.since(self.view.since);
                    self.early.facts.push(Fact::HeldDown { store, led_for });
                }
                self.decide(format!("{store} is {}: silent for {silence:.1?}", state.name()));
            }
        }
    }
}
