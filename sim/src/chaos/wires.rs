//! What is cut, and who must know of it. A process is told all that concerns it again and again until it has heard the
//! newest state: one that stands still or is away hears of it when it is back.

use std::{collections::BTreeSet, time::Duration};

use matrixkv::{
    env::{
        real::RealEnv,
        real::links::{Command, Cut},
        within,
    },
    http::client::Connection,
};

use super::places::{HOOK, Places};

/// How long a hook may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The inner ports of a node, and its HTTP port, over which nodes ask each other at the start.
const DIALLED: std::ops::RangeInclusive<u16> = 0..=5;

/// The directions that are cut: from, to.
#[derive(Clone, Debug, Default)]
pub struct Wires {
    /// How often they changed, and how many commands were sent.
    pub number: u64,
    /// Which are cut.
    pub cut: BTreeSet<(usize, usize)>,
}

impl Wires {
    /// What `node` must know; `reset` is whose connections break now.
    pub fn command(&mut self, places: &Places, nodes: usize, node: usize, reset: Option<usize>) -> Command {
        self.number += 1;
        let addresses = |other: usize| DIALLED.map(move |port| places.address(other, port));
        let cut =
            |other: usize| Cut { out: self.cut.contains(&(node, other)), inward: self.cut.contains(&(other, node)) };
        let others = (0..nodes).filter(|other| *other != node && cut(*other) != Cut::default());
        let cuts = others.flat_map(|other| addresses(other).map(move |address| (address, cut(other)))).collect();
        let reset = reset.map_or(Vec::new(), |other| addresses(other).collect());
        Command { number: self.number, cuts, reset }
    }
}

/// Tells the hook of `node`. Whether it obeyed.
pub async fn tell(env: &RealEnv, places: &Places, node: usize, command: &Command) -> bool {
    let body = serde_json::to_vec(command).expect("a command is JSON");
    let asked = async {
        let mut connection = Connection::open(env, &places.address(node, HOOK)).await?;
        connection.request("POST", "/cuts", &body).await
    };
    within(env, PATIENCE, asked).await.is_some_and(|answer| answer.is_ok_and(|answer| answer.status == 200))
}
