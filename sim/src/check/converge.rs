//! V: after healing, every shard has min(`max-replicas`, live stores) voters on different live stores, in as many zones as
//! there are for them, and one leader, as each node says over HTTP, within a bound that is computed before.
//!
//! Where a plan loses a folder and no run sees the end of the down-times, the replicas on that store are never replaced: its
//! voter is counted as if it lived. A leader on it, or a second voter beside it that is missing, is still told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    knobs::{Knobs, LONG_DOWN_TIME, zone},
    plan::Plan,
};

/// Steps that bring a shard, or Prophet's group, from one voter to three: a learner and its promotion, twice.
const STEPS_TO_FULL: u32 = 4;

/// The slowest reconnect after a peer was away, the start of a node, and the recovery of its files.
const RECONNECT: Duration = Duration::from_secs(5);

/// Within what time after healing a run of this plan must converge: the longest time that a fault lasts, the moves
/// that may be needed at one each two heartbeats, ten election time-outs, and a reconnect.
pub fn bound(knobs: &Knobs, plan: &Plan) -> Duration {
    let beat = knobs.shard_heartbeat.max(knobs.store_heartbeat);
    // Prophet's own members come first, then all shards; a slow disk or link makes each shard's snapshot wait for
    // the one before.
    let shards = if knobs.splits() { knobs.keys_beside() + knobs.keys.max(knobs.shards) } else { knobs.shards };
    let moves = beat * 2 * (2 * STEPS_TO_FULL + shards as u32);
    // What is silent for good must be found so first.
    let down = [knobs.peer_down_time, knobs.store_down_time].into_iter().filter(|time| *time < LONG_DOWN_TIME).max();
    let waits = plan.longest_down() + down.unwrap_or_default() + knobs.membership_check + knobs.founding_wait;
    waits + moves + knobs.election_timeout() * 10 + RECONNECT
}

/// What every node must say.
#[derive(Clone, Debug)]
pub struct Demand {
    /// `max-replicas`.
    pub replicas: usize,
    /// Whether the folder of one store was lost for good.
    pub lost_store: bool,
    /// How many nodes said what they know of all shards; the others named their own store.
    pub views: usize,
    /// How many zones the nodes stand in, by turns; 0 is none.
    pub zones: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Answer {
    store_id: u64,
    shards: Option<Vec<ShardView>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ShardView {
    shard_id: u64,
    replicas: Vec<ReplicaView>,
    range: RangeView,
}

#[derive(Deserialize)]
struct RangeView {
    start: String,
    end: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ReplicaView {
    replica_id: u64,
    store_id: u64,
    role: String,
    #[serde(default)]
    learner: bool,
    #[serde(default)]
    quarantined: bool,
}

/// Judges the bodies of `GET /shards` of all live nodes; only the first [`Demand::views`] are of all shards. The first
/// thing that is not as it should be, in words.
pub fn judge(demand: &Demand, bodies: &BTreeMap<usize, String>) -> Result<(), String> {
    let mut answers = BTreeMap::new();
    for (node, body) in bodies {
        let answer: Answer = serde_json::from_str(body).map_err(|error| format!("node{node} says {body}: {error}"))?;
        answers.insert(*node, answer);
    }
    let live: BTreeMap<u64, usize> =
        answers.iter().map(|(node, answer)| (answer.store_id, zone(*node, demand.zones))).collect();
    if live.len() < answers.len() || live.contains_key(&0) {
        return Err(format!("{} nodes have the stores {:?}", answers.len(), live.keys()));
    }
    answers.iter().take(demand.views).try_for_each(|(node, answer)| {
        judge_answer(demand, &live, answer).map_err(|why| format!("node{node} says: {why}"))
    })
}

fn judge_answer(demand: &Demand, live: &BTreeMap<u64, usize>, answer: &Answer) -> Result<(), String> {
    let shards = answer.shards.as_deref().unwrap_or_default();
    judge_cover(shards)?;
    shards.iter().try_for_each(|shard| {
        judge_shard(demand, live, shard).map_err(|why| format!("shard {}: {why}", shard.shard_id))
    })
}

/// The ranges cover all keys once. The keys of a run are text, so that this can be seen in an answer.
fn judge_cover(shards: &[ShardView]) -> Result<(), String> {
    let mut ranges: Vec<_> = shards.iter().map(|shard| (&shard.range.start, &shard.range.end)).collect();
    ranges.sort();
    let starts = ranges.iter().map(|(start, _)| start.as_str()).chain([""]);
    let ends = [""].into_iter().chain(ranges.iter().map(|(_, end)| end.as_str()));
    let is_whole = !ranges.is_empty() && starts.eq(ends);
    if is_whole { Ok(()) } else { Err(format!("the shards do not cover all keys once: {ranges:?}")) }
}

fn judge_shard(demand: &Demand, live: &BTreeMap<u64, usize>, shard: &ShardView) -> Result<(), String> {
    let leaders: Vec<_> = shard.replicas.iter().filter(|replica| replica.role == "L").collect();
    let [leader] = leaders.as_slice() else { return Err(format!("{} leaders", leaders.len())) };
    if !live.contains_key(&leader.store_id) {
        return Err(format!("its leader {} is on store {}, which is gone", leader.replica_id, leader.store_id));
    }
    if let Some(bad) = shard.replicas.iter().find(|replica| replica.quarantined) {
        return Err(format!("{} on store {} is quarantined", bad.replica_id, bad.store_id));
    }
    let voters: Vec<_> = shard.replicas.iter().filter(|replica| !replica.learner).collect();
    let stores: BTreeSet<u64> = voters.iter().map(|voter| voter.store_id).collect();
    let gone = stores.iter().filter(|store| !live.contains_key(store)).count();
    if stores.len() != voters.len() {
        return Err(format!("two of its voters are on one store of {stores:?}"));
    }
    if gone > usize::from(demand.lost_store) {
        return Err(format!("voters on {stores:?}, but live are {:?}", live.keys()));
    }
    let expected = demand.replicas.min(live.len() + gone);
    let learners = shard.replicas.len() - voters.len();
    if voters.len() != expected || learners > 0 {
        return Err(format!("{} voters and {learners} learners instead of {expected} voters", voters.len()));
    }
    // Nobody moves a shard for balance or location while one of its replicas is silent.
    if gone > 0 {
        return Ok(());
    }
    let zones: BTreeSet<_> = stores.iter().filter_map(|store| live.get(store)).collect();
    let possible = live.values().collect::<BTreeSet<_>>().len().min(expected);
    if zones.len() < possible {
        return Err(format!("its voters on {stores:?} are in the zones {zones:?}, and could be in {possible}"));
    }
    Ok(())
}

/// Judges the body of `GET /prophet`: its group has all its voters.
pub fn judge_prophet(members: usize, body: &str) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Answer {
        members: Vec<Member>,
    }
    #[derive(Deserialize)]
    struct Member {
        #[serde(default = "yes")]
        voter: bool,
    }
    let answer: Answer = serde_json::from_str(body).map_err(|error| format!("Prophet is {body}: {error}"))?;
    let voters = answer.members.iter().filter(|member| member.voter).count();
    if voters == members { Ok(()) } else { Err(format!("Prophet has {voters} voters instead of {members}")) }
}

/// Judges the body of `GET /operators`: nothing is under way any more.
pub fn judge_operators(body: &str) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Answer {
        running: Vec<serde_json::Value>,
    }
    let answer: Answer = serde_json::from_str(body).map_err(|error| format!("the operators are {body}: {error}"))?;
    match answer.running.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} operators are under way, such as {first}", answer.running.len())),
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(store: u64, replicas: &str) -> String {
        format!(
            r#"{{"store-id":{store},"shards":[{{"shard-id":3,"replicas":[{replicas}],"range":{{"start":"","end":""}}}}]}}"#
        )
    }

    fn bodies(replicas: &str, nodes: u64) -> BTreeMap<usize, String> {
        (0..nodes).map(|node| (node as usize, body(node + 1, replicas))).collect()
    }

    fn replica(id: u64, store: u64, role: &str) -> String {
        format!(r#"{{"replica-id":{id},"store-id":{store},"role":"{role}"}}"#)
    }

    fn judge_replicas(replicas: &[String], nodes: u64, lost_store: bool) -> Result<(), String> {
        judge(&Demand { replicas: 3, lost_store, views: usize::MAX, zones: 0 }, &bodies(&replicas.join(","), nodes))
    }

    #[test]
    fn three_voters_on_live_stores_and_a_leader_are_fine() {
        let full = [replica(10, 1, "F"), replica(11, 2, "L"), replica(12, 4, "F")];
        assert_eq!(judge_replicas(&full, 4, false), Ok(()));
        assert!(judge_replicas(&full, 3, false).unwrap_err().contains("live are"));
        assert_eq!(judge_replicas(&full, 3, true), Ok(()));
        assert!(judge_replicas(&full[..2], 4, false).unwrap_err().contains("2 voters"));
    }

    #[test]
    fn no_leader_or_two_voters_on_a_store_are_told() {
        let leaderless = [replica(10, 1, "F"), replica(11, 2, "F"), replica(12, 3, "F")];
        assert!(judge_replicas(&leaderless, 4, false).unwrap_err().contains("0 leaders"));
        let crowded = [replica(10, 1, "L"), replica(11, 2, "F"), replica(12, 2, "F")];
        assert!(judge_replicas(&crowded, 4, false).unwrap_err().contains("one store"));
    }

    #[test]
    fn voters_that_could_be_further_apart_are_told() {
        let full = [replica(10, 1, "F"), replica(11, 2, "L"), replica(12, 4, "F")].join(",");
        let judge = |nodes, zones| {
            judge(&Demand { replicas: 3, lost_store: false, views: usize::MAX, zones }, &bodies(&full, nodes))
        };
        assert_eq!(judge(5, 0), Ok(()));
        assert_eq!(judge(5, 2), Ok(()));
        // Stores 1 and 4 are in one zone of three.
        assert!(judge(5, 3).unwrap_err().contains("could be in 3"));
        assert_eq!(judge(4, 4), Ok(()));
    }

    #[test]
    fn a_node_that_knows_no_shard_is_told() {
        let bodies = BTreeMap::from([(0, r#"{"store-id":1,"shards":null}"#.to_owned())]);
        let demand = Demand { replicas: 3, lost_store: false, views: usize::MAX, zones: 0 };
        assert!(judge(&demand, &bodies).unwrap_err().contains("do not cover"));
    }
}
