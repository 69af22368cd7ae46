//! The second phase: a minority is ill for good, and every key must be read and written through all others.

use crate::{
    check::{Invariant, probe},
    plan::{Liveness, Plan},
    workload::{self, Ground},
};

/// The counter of phases that took place.
pub(crate) const ILL: &str = "minorities that fell ill";

/// Waits until the cluster is whole, so that each group can spare whoever falls ill. False, and counted as skipped, where
/// that takes so long that nothing can be demanded any more.
pub async fn wait_for_illness(ground: &impl Ground, plan: &Plan, liveness: &Liveness) -> bool {
    let latest = plan.heal_at - Liveness::patience(ground.knobs());
    assert!(liveness.from <= latest, "a plan is checked before it runs");
    let whole = probe::wait_until_whole(ground, latest).await.is_ok();
    ground.record().count(if whole { ILL } else { "skipped liveness" }, 1);
    whole
}

/// V, while it lasts.
pub async fn demand_service(ground: &impl Ground, liveness: &Liveness) {
    let (from, patience) = (ground.now(), Liveness::patience(ground.knobs()));
    let (number, nodes) = (ground.knobs().prober(), liveness.healthy(ground.knobs()));
    let asking = ground.spawn(number, workload::serve_all(ground.clone(), number, nodes, from + patience));
    match asking.await.unwrap_or_else(Err) {
        Ok(()) => {
            let took = (ground.now() - from).as_millis() as u64;
            ground.record().count("service beside the ill in ms", took);
        }
        Err(why) => {
            let message = format!("{:?} are ill, and after {patience:?}: {why}", liveness.ill);
            ground.record().violation(Invariant::Converged, ground.now(), message);
        }
    }
}
