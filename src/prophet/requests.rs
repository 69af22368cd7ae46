//! What stores and routers ask of Prophet. Only the leader answers; the others say who leads.

use super::{Command, Prophet, Send, Ticket, Waiting};
use crate::{
    planted::{Bug, planted},
    types::{Epoch, NodeToken, ReplicaId, Shard, ShardId, ShardRoute, StoreId},
    wire::{
        Decision, MembershipAsk, ProphetReply, ProphetRequest, Removal, ShardBeat, ShardOrder, StoreBeat, StoreInfo,
        StoreOrders, StoreState,
    },
};

/// Replicas of one shard for which ids may be asked. Far more than `max-replicas` may be.
const SPLIT_REPLICAS_MAX: u32 = 64;

impl Prophet {
    pub(super) fn request(&mut self, ticket: Ticket, node: NodeToken, request: ProphetRequest) {
        let reply = if self.group.leads() && self.meta().is_some() {
            match request {
                ProphetRequest::Register(info) => match self.register(ticket, node, info) {
                    Some(reply) => reply,
                    None => return,
                },
                ProphetRequest::StoreBeat(beat) => match self.store_beat(ticket, node, beat) {
                    Some(reply) => reply,
                    None => return,
                },
                ProphetRequest::ShardBeats { store, beats } => {
                    let orders = self.shard_beats(store, beats);
                    ProphetReply::Shards { orders, tell_all: !self.has_heard_enough() }
                }
                ProphetRequest::Cluster => self.cluster(),
                ProphetRequest::SplitIds { shard, replicas } => self.split_ids(shard, replicas),
                ProphetRequest::Membership(asks) => ProphetReply::Removed(self.removed(node, &asks)),
                ProphetRequest::Admin(request) => match self.admin(ticket, request) {
                    Some(reply) => reply,
                    None => return,
                },
                ProphetRequest::Operators => {
                    let (running, recent) = self.view.operators.describe(self.now);
                    let decisions = self.view.decisions.iter();
                    let decisions = decisions.map(|(at, what)| Decision {
                        what: what.clone(),
                        age_ms: self.now.since(*at).as_millis() as u64,
                    });
                    let (decisions, total) = (decisions.collect(), self.view.operators.begun());
                    ProphetReply::Operators { running, recent, decisions, total }
                }
                ProphetRequest::Explain(shard) => match self.explain(shard) {
                    Ok(said) => ProphetReply::Explained(said),
                    Err(why) => ProphetReply::Refused(why),
                },
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

    /// `None` if the answer comes once it is sure. A store that is refused ends, and this member may lead no more or not
    /// have applied yet what the leader before it has answered: only a confirmed leader knows that there is no such store.
    fn store_beat(&mut self, ticket: Ticket, node: NodeToken, beat: StoreBeat) -> Option<ProphetReply> {
        match self.knows(node, &beat.info) {
            Some(known) => Some(self.hear(known, beat)),
            None => {
                let taken = self.confirm(Waiting::Unknown(ticket, node, beat));
                (!taken).then(|| ProphetReply::NotLeader(self.leader_rpc()))
            }
        }
    }

    /// The answer to a store that was not known, now that this member has led since it asked.
    pub(super) fn judge_unknown(&mut self, node: NodeToken, beat: StoreBeat) -> ProphetReply {
        match self.knows(node, &beat.info) {
            Some(known) => self.hear(known, beat),
            None => ProphetReply::Refused(format!("{} is not a store of this data folder", beat.info.id)),
        }
    }

    /// What is written of the store, if it lives in the folder that asks.
    fn knows(&self, node: NodeToken, info: &StoreInfo) -> Option<StoreInfo> {
        let known = self.meta()?.stores().get(&info.id)?;
        (known.node == node && info.node == node).then(|| known.clone())
    }

    fn hear(&mut self, known: StoreInfo, beat: StoreBeat) -> ProphetReply {
        let info = beat.info.clone();
        let heard = self.view.stores.get(&info.id).map_or(known.boot, |heard| heard.info.boot.max(known.boot));
        if !info.boot.may_follow(heard) {
            return ProphetReply::Refused(format!(
                "{} was heard of in {heard}; this is {}, an old copy of its data folder",
                info.id, info.boot
            ));
        }
        if known.state == StoreState::Removed {
            return ProphetReply::Refused(format!("{} was removed from the cluster by an operator", info.id));
        }
        let moved = known.boot != info.boot
            || known.raft_address != info.raft_address
            || known.client_address != info.client_address;
        let id = info.id;
        if self.view.hear_store(self.now, beat) {
            // What is out of service is replaced at once.
            self.next_patrol = self.now;
        }
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

    fn shard_beats(&mut self, store: StoreId, beats: Vec<ShardBeat>) -> Vec<ShardOrder> {
        let mut news = Vec::new();
        let mut orders = Vec::new();
        for beat in beats {
            let known = self.meta().and_then(|meta| meta.shards().get(&beat.route.shard.id)).map(|shard| shard.epoch);
            let epoch = beat.route.shard.epoch;
            // A shard that nobody has told of came from a split.
            if known.is_some_and(|known| epoch.is_older_than(known)) || !self.view.hear_shard(beat.clone()) {
                continue;
            }
            if known != Some(epoch) {
                news.push(beat.route.shard.clone());
            }
            orders.extend(self.consider(&beat));
        }
        if !news.is_empty() {
            self.propose(Waiting::Nobody, &Command::PutShards(news));
        }
        orders.extend(self.unsent_orders(store));
        orders
    }

    fn split_ids(&mut self, shard: ShardId, replicas: u32) -> ProphetReply {
        let wanted = u64::from(replicas) + 1;
        if replicas == 0 || replicas > SPLIT_REPLICAS_MAX {
            return ProphetReply::Refused(format!(
                "{shard} has {replicas} replicas; 1 to {SPLIT_REPLICAS_MAX} are valid"
            ));
        }
        if self.ids.end - self.ids.start < wanted {
            self.refill_ids();
            return ProphetReply::Later("ids are being taken".into());
        }
        let first = self.ids.start;
        self.ids.start += wanted;
        self.refill_ids();
        let replicas = (first + 1..first + wanted).map(ReplicaId).collect();
        ProphetReply::SplitIds { shard: ShardId(first), replicas }
    }

    /// Those of the asking replicas that a newer membership does not have. What is not known here is never a reason.
    fn removed(&self, node: NodeToken, asks: &[MembershipAsk]) -> Vec<Removal> {
        let judge = |ask: &MembershipAsk| {
            let MembershipAsk { shard, replica, conf_ver } = *ask;
            let heard = self.view.shards.get(&shard).map(|beat| &beat.route.shard);
            if replica.is_none() {
                return self.removed_all(node, heard?);
            }
            let Some(known) = heard.or_else(|| self.meta()?.shards().get(&shard)) else {
                let epoch = Epoch { conf_ver: u64::MAX, version: u64::MAX };
                return planted(Bug::ObeyUnknown).then_some(Removal { shard, replica, epoch });
            };
            let is_removed = known.peer(replica).is_none() && known.epoch.conf_ver > conf_ver;
            is_removed.then_some(Removal { shard, replica, epoch: known.epoch })
        };
        asks.iter().filter_map(judge).collect()
    }

    /// The asking store cannot read which replica of the shard it has. If it is to have none, it is one of those that
    /// were there before, and the last id that was given is later than theirs. Should Prophet not have heard yet that
    /// one was added there: what cannot be read never serves again anyway, and a member that is lost is replaced.
    fn removed_all(&self, node: NodeToken, known: &Shard) -> Option<Removal> {
        let store = self.meta()?.store_of(node)?.id;
        let last = ReplicaId(self.ids.start.checked_sub(1)?);
        let epoch = known.epoch;
        known.peer_on(store).is_none().then_some(Removal { shard: known.id, replica: last, epoch })
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
                    StoreInfo { heard_ms_ago: Some(ago), state: store.state, ..heard.info.clone() }
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
            quarantined: self.quarantined(),
        }
    }

    /// Replicas that are out of service and still members.
    fn quarantined(&self) -> Vec<ReplicaId> {
        let told =
            self.view.stores.iter().flat_map(|(store, heard)| heard.quarantined.iter().map(|(id, _)| (*store, *id)));
        let peers = told.filter_map(|(store, id)| {
            let peer = self.view.shards.get(&id)?.route.shard.peer_on(store)?;
            self.view.is_quarantined(id, peer).then_some(peer.replica)
        });
        peers.collect()
    }
}
