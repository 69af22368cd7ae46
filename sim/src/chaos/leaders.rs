//! Who leads, as the nodes themselves say when they are asked as an operator would ask.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::cluster::Cluster;
use crate::{check::probe, plan::Target, workload::Ground};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Answer {
    store_id: u64,
    shards: Vec<Shard>,
}
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Shard {
    shard_id: u64,
    term: u64,
    replicas: Vec<Replica>,
}
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Replica {
    store_id: u64,
    role: String,
}
#[derive(Deserialize)]
struct Prophet {
    leader: u64,
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    id: u64,
    name: String,
}

impl Cluster {
    /// The node that is meant, if it runs.
    pub async fn resolve(&self, target: Target) -> Option<usize> {
        match target {
            Target::Node(node) => Some(node),
            Target::Leader(group) => {
                let leaders = self.leaders().await;
                leaders.get(group.checked_rem(leaders.len() as u64)? as usize).copied()
            }
            Target::ProphetLeader => self.prophet_leader().await,
        }
    }

    /// The nodes that lead a shard, by shard, as the nodes themselves say.
    async fn leaders(&self) -> Vec<usize> {
        // Two may say so, one of them too late: the later term counts.
        let mut leaders: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
        for node in self.nodes_up() {
            let body = probe::get(self, node, "/shards?local=true").await.unwrap_or_default();
            let Ok(answer) = serde_json::from_str::<Answer>(&body) else { continue };
            let leads = |shard: &&Shard| {
                shard.replicas.iter().any(|replica| replica.store_id == answer.store_id && replica.role == "L")
            };
            for shard in answer.shards.iter().filter(leads) {
                let leader = leaders.entry(shard.shard_id).or_insert((shard.term, node));
                *leader = (*leader).max((shard.term, node));
            }
        }
        leaders.into_values().map(|(_, node)| node).collect()
    }

    async fn prophet_leader(&self) -> Option<usize> {
        let body = probe::get(self, *self.nodes_up().first()?, "/prophet").await.ok()?;
        let Prophet { leader, members } = serde_json::from_str(&body).ok()?;
        let member = members.into_iter().find(|member| member.id == leader)?;
        member.name.strip_prefix("node")?.parse().ok()
    }
}
