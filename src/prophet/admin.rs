//! What operators ask for. Refused with the reason, and without a change, where it makes no sense; else it begins, and the
//! asker looks on.

use super::{
    Command, Prophet, Ticket, Waiting,
    checker::Wish,
    cluster::{BEATS_MISSED, Cluster},
    operator::Kind,
    scheduler,
};
use crate::{
    types::{Peer, PeerRole, ShardId, StoreId},
    wire::{AdminRequest, ProphetReply, ShardBeat, StoreState},
};

impl Prophet {
    /// `None` if the answer comes once it is decided.
    pub(super) fn admin(&mut self, ticket: Ticket, request: AdminRequest) -> Option<ProphetReply> {
        if !self.has_heard_enough() {
            // It would refuse for good what only it does not know yet.
            return Some(ProphetReply::Later("Prophet's leader is new and waits for heartbeats".into()));
        }
        let done = match request {
            AdminRequest::TransferLeader(shard, store) => self.transfer_leader(shard, store),
            AdminRequest::AddReplica(shard, store) => self.add_replica(shard, store),
            AdminRequest::RemoveReplica(shard, store) => self.remove_replica(shard, store),
            AdminRequest::Drain(store) => self.check_drain(store).map(|()| Some((store, StoreState::Draining))),
            AdminRequest::Undrain(store) => self.check_undrain(store).map(|()| Some((store, StoreState::Up))),
            AdminRequest::RemoveStore(store) => self.check_removal(store).map(|()| Some((store, StoreState::Removed))),
        };
        match done {
            Ok(None) => Some(ProphetReply::Accepted),
            Ok(Some((store, state))) => {
                self.decide(format!("{store} is to be {}: an operator wants it", state.name()));
                let taken = self.propose(Waiting::Admin(ticket), &Command::SetStoreState { store, state });
                (!taken).then(|| ProphetReply::Later("Prophet takes no proposals just now".into()))
            }
            Err(why) => Some(ProphetReply::Refused(why)),
        }
    }

    fn beat(&self, shard: ShardId) -> Result<&ShardBeat, String> {
        let known = self.meta().is_some_and(|meta| meta.shards().contains_key(&shard));
        match self.view.shards.get(&shard) {
            Some(beat) => Ok(beat),
            None if known => Err(format!("{shard} has no leader that Prophet has heard of")),
            None => Err(format!("there is no {shard}")),
        }
    }

    fn known_store(&self, store: StoreId) -> Result<StoreState, String> {
        let info = self.meta().and_then(|meta| meta.stores().get(&store));
        info.map(|info| info.state).ok_or_else(|| format!("there is no {store}"))
    }

    fn transfer_leader(&mut self, shard: ShardId, store: StoreId) -> Result<Option<(StoreId, StoreState)>, String> {
        self.known_store(store)?;
        let beat = self.beat(shard)?;
        let peer = beat.route.shard.peer_on(store).ok_or_else(|| format!("{shard} has no replica on {store}"))?;
        if peer.role != PeerRole::Voter {
            return Err(format!("the replica of {shard} on {store} is a learner and cannot lead"));
        }
        if beat.route.leader.is_some_and(|leader| leader.replica == peer.replica) {
            return Ok(None);
        }
        let wish = Wish { lead: Some(peer.replica), ..Wish::new(Kind::Admin, "an operator wants it") };
        self.start(shard, wish).map(|()| None)
    }

    fn add_replica(&mut self, shard: ShardId, store: StoreId) -> Result<Option<(StoreId, StoreState)>, String> {
        self.known_store(store)?;
        let beat = self.beat(shard)?;
        let cluster = self.look().ok_or("Prophet has no data yet")?;
        if let Some(why) = cluster.unfit(&beat.route.shard, store) {
            return Err(format!("{store} takes no replica of {shard}: {why}"));
        }
        let wish = Wish { add: Some(store), ..Wish::new(Kind::Admin, "an operator wants it") };
        self.start(shard, wish).map(|()| None)
    }

    fn remove_replica(&mut self, shard: ShardId, store: StoreId) -> Result<Option<(StoreId, StoreState)>, String> {
        self.known_store(store)?;
        let beat = self.beat(shard)?;
        let known = &beat.route.shard;
        let peer = known.peer_on(store).ok_or_else(|| format!("{shard} has no replica on {store}"))?;
        if peer.role == PeerRole::Voter && known.voters().count() == 1 {
            return Err(format!("the replica on {store} is the last voter of {shard}"));
        }
        if peer.role == PeerRole::Voter && !self.leaves_a_majority(beat, peer) {
            return Err(format!("without the replica on {store}, too few voters of {shard} are in service"));
        }
        let wish = Wish { remove: Some(peer.replica), ..Wish::new(Kind::Admin, "an operator wants it") };
        self.start(shard, wish).map(|()| None)
    }

    /// Whether the other voters can go on without `leaving`, as far as their leader and their stores say.
    fn leaves_a_majority(&self, beat: &ShardBeat, leaving: &Peer) -> bool {
        let shard = &beat.route.shard;
        let others: Vec<_> = shard.voters().filter(|peer| peer.replica != leaving.replica).collect();
        let is_silent = |peer: &Peer| beat.down.iter().any(|(replica, _)| *replica == peer.replica);
        // A leader that was elected just now has not missed anybody yet; their stores may have been missed for long.
        let is_alive = |peer: &Peer| self.view.is_alive(peer.store, self.now, self.config.store_beat * BEATS_MISSED);
        let serves = |peer: &&&Peer| !is_silent(peer) && is_alive(peer) && !self.view.is_quarantined(shard.id, peer);
        2 * others.iter().filter(serves).count() > others.len()
    }

    /// A store can be emptied only where enough others are left for every replica.
    fn check_drain(&self, store: StoreId) -> Result<(), String> {
        match self.known_store(store)? {
            StoreState::Draining => return Ok(()),
            StoreState::Removed => return Err(format!("{store} is removed")),
            StoreState::Up | StoreState::Down => {}
        }
        let cluster = self.look().ok_or("Prophet has no data yet")?;
        let left = cluster.usable().filter(|other| *other != store).count();
        let wanted = self.config.max_replicas;
        if left < wanted {
            return Err(format!("{left} stores would be left in use, and each shard wants {wanted} replicas"));
        }
        Ok(())
    }

    fn check_undrain(&self, store: StoreId) -> Result<(), String> {
        match self.known_store(store)? {
            StoreState::Draining | StoreState::Up => Ok(()),
            other => Err(format!("{store} is {}, not draining", other.name())),
        }
    }

    fn check_removal(&self, store: StoreId) -> Result<(), String> {
        if self.known_store(store)? == StoreState::Removed {
            return Ok(());
        }
        let meta = self.meta().ok_or("Prophet has no data yet")?;
        let known = meta.shards().values().filter(|shard| shard.peer_on(store).is_some()).count() as u64;
        let heard = self.view.load(store).replicas;
        match known.max(heard) {
            0 => Ok(()),
            held => Err(format!("{store} holds {held} replicas; drain it first")),
        }
    }

    /// Why the shard is not being moved to somewhere better.
    fn why_still(&self, cluster: &Cluster, beat: &ShardBeat) -> Vec<String> {
        if let Some(why) = scheduler::unrest(cluster, beat) {
            return vec![format!("it is not moved for balance or location: {why}")];
        }
        let told = [
            ("leadership", Kind::BalanceLeaders, scheduler::leaders::why_still(cluster, beat)),
            ("replica", Kind::BalanceShards, scheduler::shards::why_still(cluster, beat)),
        ];
        let told = told.into_iter().map(|(what, kind, why)| match self.limit_reached(kind) {
            Some(limit) => format!("no {what} is moved for balance: {limit} operators are under way"),
            None => format!("its {what}, as far as balance goes: {why}"),
        });
        told.collect()
    }

    /// Why the shard is as it is.
    pub(super) fn explain(&self, shard: ShardId) -> Result<Vec<String>, String> {
        let beat = self.beat(shard)?;
        let mut said = vec![format!("{:?}, {} bytes, led by {:?}", beat.route.shard, beat.size, beat.route.leader)];
        if let Some(operator) = self.view.operators.get(shard) {
            let info = operator.describe(shard, "", 0);
            let next = &info.steps[operator.done.min(info.steps.len() - 1)];
            said.push(format!("operator {} ({}): {} is next", info.kind, info.reason, next));
        }
        if let Some(why) = self.view.blocked.get(&shard) {
            said.push(format!("nothing can be done: {why}"));
        }
        for (replica, silent) in &beat.down {
            said.push(format!("{replica} has been silent for {silent:.1?}"));
        }
        let cluster = self.look().ok_or("Prophet has no data yet")?;
        if !self.has_heard_enough() {
            said.push("Prophet's leader is new and waits for heartbeats".into());
        }
        said.extend(self.why_still(&cluster, beat));
        for store in cluster.stores.keys() {
            let score = cluster.score(*store);
            said.push(match cluster.unfit(&beat.route.shard, *store) {
                Some(why) => format!("{store} (score {score:.1}) takes no replica of it: {why}"),
                None => format!("{store} (score {score:.1}) could take a replica of it"),
            });
        }
        Ok(said)
    }
}
