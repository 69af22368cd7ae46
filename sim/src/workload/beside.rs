//! The clients of the workloads beside the registers: who turns an [`Asker`].

use std::time::Duration;

use madsim::{task::JoinHandle, time::sleep};
use matrixkv::types::Rng;

use super::{
    Asker, Workload,
    registers::{BACK_OFF, Client, FIRST_PAUSE_MAX, Told},
};
use crate::{
    knobs::dice,
    plan::Plan,
    world::{READERS, World, client_machine},
};

struct Beside {
    workload: Workload,
    asker: Box<dyn Asker>,
    rng: Rng,
    client: Client,
}

/// Sets the clients of the knob `workloads` to work until the plan says that they stop.
pub fn start(world: &World, plan: &Plan) -> Vec<JoinHandle<()>> {
    let (knobs, until) = (world.knobs(), plan.end_at);
    let askers = knobs.workloads.iter().flat_map(|workload| {
        let askers = workload.askers(knobs).into_iter().enumerate();
        askers.map(move |(place, asker)| (*workload, dice(knobs.seed, &format!("{workload} {place}")), asker))
    });
    // Behind the readers' machines and the watcher's.
    let numbers = knobs.clients + READERS + 1..;
    let clients = numbers.zip(askers).map(|(number, (workload, rng, asker))| {
        let world = world.clone();
        client_machine(number).spawn(async move {
            let client = Client::new(world, number);
            Beside { workload, asker, rng, client }.work(until).await
        })
    });
    clients.collect()
}

impl Beside {
    async fn work(mut self, until: Duration) {
        sleep(self.rng.duration(Duration::ZERO, FIRST_PAUSE_MAX)).await;
        loop {
            let world = self.client.world.clone();
            world.think(self.rng.duration(Duration::ZERO, self.workload.pause_max(world.knobs()))).await;
            if world.now() >= until {
                return;
            }
            let Some(ask) = self.asker.next(&mut self.rng) else { return };
            let node = self.rng.below(world.knobs().nodes as u64) as usize;
            let told = self.client.operate(node, &ask).await;
            let outcome = match told {
                Told::Done(_) => "done",
                Told::Refused => "refused",
                Told::Unknown => "unknown",
            };
            world.record().count(&format!("{} {outcome}", self.workload), 1);
            self.asker.told(&ask, &told);
            if outcome != "done" {
                sleep(self.rng.duration(BACK_OFF.0, BACK_OFF.1)).await;
            }
        }
    }
}
