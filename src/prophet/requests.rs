//! What stores and routers ask of Prophet. Only the leader answers; the others say who leads.

use super::{Command, Operator, Prophet, Send, Ticket, Waiting, checker::replicas};
use crate::{
    prophet::checker::replicas::Need,
    types::{Epoch, Fact, NodeToken, Peer, PeerRole, ReplicaId, Shard, ShardRoute, StoreId},
    wire::{ProphetReply, ProphetRequest, ShardBeat, ShardOrder, StoreBeat, StoreInfo, StoreOrders},
};

/// Heartbeats that a store may miss before it is no place for a new replica.
const BEATS_MISSED: u32 = 3;

impl Prophet {
    pub(super) fn request(&mut self, ticket: Ticket, node: NodeToken, request: ProphetRequest) {
        let reply = if self.group.leads() && self.meta().is_some() {
            match request {
                ProphetRequest::Register(info) => match self.register(ticket, node, info) {
                    Some(reply) => reply,
                    None => return,
                },
                ProphetRequest::StoreBeat(beat) => self.store_beat(node, beat),
                ProphetRequest::ShardBeats(beats) => ProphetReply::Shards(self.shard_beats(beats)),
                ProphetRequest::Cluster => self.cluster(),
            }
        } else {
            ProphetReply::NotLeader(self.leader_rpc())
        };
        self.early.now.push(Send::Reply { ticket, reply });
    }

    /// `None` if the answer comes once it is decided.
    fn register(&mut self, ticket: Ticket, node: NodeToken, info: StoreInfo) -> Option<ProphetReply> {
        let meta = self.meta().expect("checked by request");
        if info.node != node {
            return Some(ProphetReply::Refused("a store registers for another data folder".into()));
        }
        if let Some(known) = meta.store_of(node) {
            return Some(ProphetReply::Registered { cluster: meta.cluster(), store: known.id });
        }
        let clash = meta.stores().values().find(|known| known.raft_address == info.raft_address);
        if let Some(known) = clash {
            // Not an error: the folder at this address was lost, and the node comes back as a new store.
            tracing::warn!(old = %known.id, address = known.raft_address, "a new data folder at a known address");
        }
        let cuts = self.config.initial_split_keys.clone();
        let taken = self.propose(Waiting::Register(ticket), &Command::Register { info, cuts });
        (!taken).then(|| ProphetReply::NotLeader(self.leader_rpc()))
    }

    fn store_beat(&mut self, node: NodeToken, StoreBeat { info }: StoreBeat) -> ProphetReply {
        let meta = self.meta().expect("checked by request");
        let Some(known) = meta.stores().get(&info.id).filter(|known| known.node == node && info.node == node) else {
            return ProphetReply::Refused(format!("{} is not a store of this data folder", info.id));
        };
        let heard = self.view.stores.get(&info.id).map_or(known.boot, |heard| heard.info.boot.max(known.boot));
        if info.boot < heard {
            return ProphetReply::Refused(format!(
                "{} was heard of in {heard}; this is {}, an old copy of its data folder",
                info.id, info.boot
            ));
        }
        let moved = known.boot != info.boot
            || known.raft_address != info.raft_address
            || known.client_address != info.client_address;
        let id = info.id;
        self.view.hear_store(self.now, info.clone());
        if moved {
            self.propose(Waiting::Nobody, &Command::PutStores(vec![info]));
        }
        ProphetReply::Store(StoreOrders { stores: self.stores(), members: self.members(), create: self.to_create(id) })
    }

    /// Shards whose only replica is to be on `store`, and which nobody has reported yet.
    fn to_create(&self, store: StoreId) -> Vec<Shard> {
        let shards = self.meta().into_iter().flat_map(|meta| meta.shards().values());
        let new = shards.filter(|shard| {
            shard.epoch == Epoch::FIRST
                && shard.peers.len() == 1
                && shard.peer_on(store).is_some()
                && !self.view.shards.contains_key(&shard.id)
        });
        new.cloned().collect()
    }

    fn shard_beats(&mut self, beats: Vec<ShardBeat>) -> Vec<ShardOrder> {
        let mut news = Vec::new();
        let mut orders = Vec::new();
        for beat in beats {
            let known = self.meta().and_then(|meta| meta.shards().get(&beat.route.shard.id)).map(|shard| shard.epoch);
            let epoch = beat.route.shard.epoch;
            if known.is_none_or(|known| epoch.is_older_than(known)) || !self.view.hear_shard(beat.clone()) {
                continue;
            }
            if known != Some(epoch) {
                news.push(beat.route.shard.clone());
            }
            orders.extend(self.order(&beat));
        }
        if !news.is_empty() {
            self.propose(Waiting::Nobody, &Command::PutShards(news));
        }
        orders
    }

    /// The operator that runs for the shard, or a new one if something is wrong with it.
    fn order(&mut self, beat: &ShardBeat) -> Option<ShardOrder> {
        let shard = &beat.route.shard;
        let (now, deadline) = (self.now, self.config.operator_deadline);
        if self.view.operators.get(&shard.id).is_some_and(|operator| now.since(operator.since) > deadline) {
            self.view.operators.remove(&shard.id);
        }
        if !self.view.operators.contains_key(&shard.id) {
            let operator = self.decide(beat)?;
            self.early.facts.push(Fact::Decision(format!("{}: {}", shard.id, operator.reason)));
            self.view.operators.insert(shard.id, operator);
        }
        let operator = &self.view.operators[&shard.id];
        Some(ShardOrder { shard: shard.clone(), change: operator.change })
    }

    fn decide(&mut self, beat: &ShardBeat) -> Option<Operator> {
        if !self.has_heard_enough() {
            return None;
        }
        let shard = &beat.route.shard;
        let patience = self.config.store_beat * BEATS_MISSED;
        let rules = replicas::Rules { max_replicas: self.config.max_replicas, patience };
        let (change, reason) = match replicas::check(&self.view, rules, self.now, beat)? {
            Need::Learner(store) => {
                let replica = ReplicaId(self.ids.next()?);
                let voters = shard.voters().count();
                let change = Peer { replica, store, role: PeerRole::Learner };
                (change, format!("add {change:?}: {voters} of {} voters", self.config.max_replicas))
            }
            Need::Promotion(replica) => {
                let change = Peer { role: PeerRole::Voter, ..*shard.peer(replica)? };
                (change, format!("promote {change:?}: it has caught up"))
            }
        };
        Some(Operator { conf_ver: shard.epoch.conf_ver, change, reason, since: self.now })
    }

    /// A new leader waits, bounded, until it has heard of every store.
    fn has_heard_enough(&self) -> bool {
        let known = self.meta().map_or(0, |meta| meta.stores().len());
        self.view.stores.len() >= known || self.now.since(self.view.since) > self.config.store_beat * 2
    }

    fn members(&self) -> Vec<crate::wire::MemberInfo> {
        self.meta().map(|meta| meta.members()).unwrap_or_default()
    }

    fn stores(&self) -> Vec<StoreInfo> {
        let known = self.meta().into_iter().flat_map(|meta| meta.stores().values());
        known
            .map(|store| match self.view.stores.get(&store.id) {
                Some(heard) => {
                    let ago = self.now.since(heard.at).as_millis() as u64;
                    StoreInfo { heard_ms_ago: Some(ago), ..heard.info.clone() }
                }
                None => store.clone(),
            })
            .collect()
    }

    fn cluster(&self) -> ProphetReply {
        let meta = self.meta().expect("checked by request");
        let routes = meta.shards().values().map(|shard| match self.view.shards.get(&shard.id) {
            Some(beat) => beat.route.clone(),
            None => ShardRoute { shard: shard.clone(), leader: None, term: 0 },
        });
        ProphetReply::Cluster {
            cluster: meta.cluster(),
            routes: routes.collect(),
            stores: self.stores(),
            members: meta.members(),
            leader: self.group.replica(),
        }
    }
}
