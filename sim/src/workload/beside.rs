//! The clients of the workloads beside the registers: who turns an [`Asker`].

use std::time::Duration;

use matrixkv::types::Rng;

use super::{
    Asker, Ground, Workload,
    registers::{BACK_OFF, Client, FIRST_PAUSE_MAX, Told},
};
use crate::{knobs::dice, plan::Plan, world::READERS};

struct Beside<G: Ground> {
    workload: Workload,
    asker: Box<dyn Asker>,
    rng: Rng,
    client: Client<G>,
}

/// The clients of the knob `workloads`, by number, each as a task that works until the plan says that they stop.
pub fn clients_beside<G: Ground>(ground: &G, plan: &Plan) -> Vec<(usize, impl Future<Output = ()> + Send + use<G>)> {
    let (knobs, until) = (ground.knobs(), plan.end_at);
    let askers = knobs.workloads.iter().flat_map(|workload| {
        let askers = workload.askers(knobs).into_iter().enumerate();
        askers.map(move |(place, asker)| (*workload, dice(knobs.seed, &format!("{workload} {place}")), asker))
    });
    // Behind the readers' numbers and the watcher's.
    let numbers = knobs.clients + READERS + 1..;
    let clients = numbers.zip(askers).map(|(number, (workload, rng, asker))| {
        let ground = ground.clone();
        let work = async move {
            let client = Client::new(ground, number);
            Beside { workload, asker, rng, client }.work(until).await
        };
        (number, work)
    });
    clients.collect()
}

impl<G: Ground> Beside<G> {
    async fn work(mut self, until: Duration) {
        let ground = self.client.ground.clone();
        ground.sleep(self.rng.duration(Duration::ZERO, FIRST_PAUSE_MAX)).await;
        loop {
            ground.think(self.rng.duration(Duration::ZERO, self.workload.pause_max(ground.knobs()))).await;
            if ground.now() >= until {
                return;
            }
            let Some(ask) = self.asker.next(&mut self.rng) else { return };
            let node = self.rng.below(ground.knobs().nodes as u64) as usize;
            let told = self.client.operate(node, &ask).await;
            let outcome = match told {
                Told::Done(_) => "done",
                Told::Refused => "refused",
                Told::Unknown => "unknown",
            };
            ground.record().count(&format!("{} {outcome}", self.workload), 1);
            self.asker.told(&ask, &told);
            if outcome != "done" {
                ground.sleep(self.rng.duration(BACK_OFF.0, BACK_OFF.1)).await;
            }
        }
    }
}
