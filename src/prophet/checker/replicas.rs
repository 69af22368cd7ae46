//! Does the shard have the replicas that it should? In this order:
//!
//! 1. a learner that no operator owns is promoted where a voter is missing, and removed where none is, or if it or its
//!    store is lost: it carries nothing yet, so nobody waits for it as for a voter;
//! 2. one too many goes: one in trouble first, else the one that is least apart from the others on the fullest store;
//! 3. a missing voter is added;
//! 4. a voter in trouble (its store Down, drained or removed; itself quarantined, or silent for `max-peer-down-time`) is
//!    replaced: the new one votes before the old one goes (add before remove). Where no store takes the new one, nothing
//!    is done;
//! 5. but for one that is quarantined on a store that works: if every other store has a replica already, it goes first,
//!    and the shard gets a new one on the same store after that. It votes no more, so nothing is lost by its going, as
//!    long as the others are healthy and are a majority of the membership that it is in.

use super::{Verdict, Wish};
use crate::{
    prophet::{cluster::Cluster, operator::Kind},
    types::{Peer, PeerRole, Shard},
    wire::ShardBeat,
};

/// What comes next for the shard that `beat` speaks of.
pub fn check(cluster: &Cluster, beat: &ShardBeat) -> Verdict {
    let shard = &beat.route.shard;
    let wanted = cluster.config.max_replicas;
    let voters = shard.voters().count();
    let lost = |peer: &&Peer| cluster.trouble(beat, peer).is_some();
    if let Some(learner) = shard.peers.iter().find(|peer| peer.role == PeerRole::Learner) {
        return left_over(cluster, beat, learner, voters < wanted);
    }
    if voters > wanted {
        let surplus = shard.voters().find(lost).or_else(|| least_useful(cluster, beat));
        return surplus.map_or(Verdict::Fine, |peer| {
            let reason = format!("{voters} voters, {wanted} are wanted");
            Verdict::Do(Wish { remove: Some(peer.replica), ..Wish::new(Kind::Repair, reason) })
        });
    }
    if voters < wanted {
        return match cluster.place(shard, None) {
            Ok(store) => {
                let wish = Wish::new(Kind::Repair, format!("{voters} of {wanted} voters"));
                Verdict::Do(Wish { add: Some(store), ..wish })
            }
            Err(why) => renew(cluster, beat).unwrap_or(Verdict::Blocked(format!("{voters} of {wanted} voters; {why}"))),
        };
    }
    shard.voters().find(lost).map_or(Verdict::Fine, |peer| replace(cluster, beat, peer))
}

fn left_over(cluster: &Cluster, beat: &ShardBeat, learner: &Peer, is_wanted: bool) -> Verdict {
    let (replica, store) = (learner.replica, learner.store);
    let unheard = || format!("the learner {replica} is on {store}, which is not heard of");
    let lost = cluster.trouble(beat, learner).or_else(|| (!cluster.is_alive(store)).then(unheard));
    match (lost, is_wanted) {
        (None, true) if beat.caught_up.contains(&replica) => {
            let wish = Wish::new(Kind::Repair, format!("the learner {replica} has caught up"));
            Verdict::Do(Wish { promote: Some(replica), ..wish })
        }
        (None, true) => Verdict::Blocked(format!("the learner {replica} on {} has not caught up", learner.store)),
        (lost, _) => {
            let reason = lost.unwrap_or_else(|| format!("the learner {replica} is left over"));
            Verdict::Do(Wish { remove: Some(replica), ..Wish::new(Kind::Repair, reason) })
        }
    }
}

fn replace(cluster: &Cluster, beat: &ShardBeat, old: &Peer) -> Verdict {
    let shard = &beat.route.shard;
    let why = cluster.trouble(beat, old).expect("only a voter in trouble is replaced");
    match cluster.place(shard, Some(old.replica)) {
        Ok(store) => Verdict::Do(Wish { add: Some(store), remove: Some(old.replica), ..Wish::new(Kind::Repair, why) }),
        Err(no_place) => renew(cluster, beat).unwrap_or(Verdict::Blocked(format!("{why}; {no_place}"))),
    }
}

/// A quarantined voter goes before the new one comes, since that one needs its store.
fn renew(cluster: &Cluster, beat: &ShardBeat) -> Option<Verdict> {
    let shard = &beat.route.shard;
    let old = shard.voters().find(|peer| cluster.view.is_quarantined(shard.id, peer))?;
    if cluster.is_place_likely(shard) || !cluster.can_renew(old.store) || !can_spare(cluster, beat, old) {
        return None;
    }
    let reason = format!("{} on {} is quarantined, and no other store takes its place", old.replica, old.store);
    Some(Verdict::Do(Wish { remove: Some(old.replica), ..Wish::new(Kind::Repair, reason) }))
}

/// Whether the other voters are all healthy, and a majority of the membership as it is.
fn can_spare(cluster: &Cluster, beat: &ShardBeat, old: &Peer) -> bool {
    let shard = &beat.route.shard;
    let others: Vec<_> = shard.voters().filter(|peer| peer.replica != old.replica).collect();
    let is_healthy = |peer: &&Peer| cluster.trouble(beat, peer).is_none() && beat.caught_up.contains(&peer.replica);
    others.iter().all(is_healthy) && 2 * others.len() > shard.voters().count()
}

/// The voter whose going costs least: little isolation, a full store, no leadership.
fn least_useful<'a>(cluster: &Cluster, beat: &'a ShardBeat) -> Option<&'a Peer> {
    let shard: &Shard = &beat.route.shard;
    let others = |peer: &Peer| {
        let replica = peer.replica;
        shard.peers.iter().filter(move |other| other.replica != replica).map(|other| other.store)
    };
    let leads = |peer: &Peer| beat.route.leader.is_some_and(|leader| leader.replica == peer.replica);
    shard.voters().min_by(|a, b| {
        let isolation = |peer: &Peer| cluster.isolation(peer.store, others(peer));
        let fuller = cluster.score(b.store).total_cmp(&cluster.score(a.store));
        isolation(a).cmp(&isolation(b)).then(fuller).then(leads(a).cmp(&leads(b))).then(b.replica.cmp(&a.replica))
    })
}
