//! The driver: turns one machine on one engine. Generic over the world.

use std::{path::PathBuf, time::Duration};

use tokio::sync::mpsc;

use super::watchdog::Watch;
use crate::{
    engine::{Batch, Engine, EngineError, View},
    env::{Disk, Env, Space, within},
    types::{DiskFact, Fact, Instant, Steady},
};

/// Inputs that one turn takes at the most: a bound on its batch and on the delay of a tick.
const INPUTS_PER_TURN: usize = 1024;

/// Ticks that pass for a machine at the most from one look at the clock to the next, whatever the clock says.
const LEAP_TICKS_MAX: u32 = 10;

/// A machine that is turned by hand: Store and Prophet.
pub(super) trait Machine: Send + 'static {
    type Input: Send + 'static;
    type Send: Send + 'static;

    fn tick() -> Self::Input;
    /// What tells the machine how much room its disk has after a commit, if it wants to know.
    fn space(_: Space) -> Option<Self::Input> {
        None
    }
    fn step(&mut self, now: Instant, input: Self::Input);
    fn has_work(&self) -> bool;
    fn ready(&mut self, batch: &mut Batch) -> Result<Turn<Self::Send>, EngineError>;
    fn advance(&mut self) -> Vec<Self::Send>;
}

/// What a turn gives.
pub(super) struct Turn<S> {
    pub now: Vec<S>,
    pub after: Vec<S>,
    pub facts: Vec<Fact>,
}

/// How a machine is driven.
pub(super) struct Pace {
    pub tick_interval: Duration,
    /// Who looks whether its turns end.
    pub watch: Watch,
    /// Where its engine's file is.
    pub folder: PathBuf,
}

/// Turns `machine` until the inbox is closed. `deliver` carries out what it wants said and looks at it after each
/// turn.
pub(super) async fn drive<E: Env, M: Machine>(
    env: E,
    engine: Engine,
    mut machine: M,
    mut inbox: mpsc::Receiver<M::Input>,
    pace: Pace,
    mut deliver: impl FnMut(&M, Vec<M::Send>) + Send,
) -> Result<(), EngineError> {
    let tick_interval = pace.tick_interval;
    let mut next_tick = env.now() + tick_interval;
    let mut steady = Steady::new(env.now(), tick_interval * LEAP_TICKS_MAX);
    let mut view = None;
    loop {
        if !machine.has_work() {
            match within(&env, next_tick.since(env.now()), inbox.recv()).await {
                Some(Some(input)) => machine.step(steady.at(env.now()), input),
                Some(None) => return Ok(()),
                None => {}
            }
        }
        let clock = env.now();
        let now = steady.at(clock);
        for _ in 0..INPUTS_PER_TURN {
            match inbox.try_recv() {
                Ok(input) => machine.step(now, input),
                Err(mpsc::error::TryRecvError::Disconnected) => return Ok(()),
                Err(mpsc::error::TryRecvError::Empty) => break,
            }
        }
        if clock >= next_tick {
            // Missed ticks are not made up for: a stalled disk must not make elections of a burst of ticks.
            next_tick = clock + tick_interval;
            // An old view keeps the engine from using the pages again that others have freed.
            view = None;
            machine.step(now, M::tick());
        }
        if machine.has_work() {
            if let Some(input) = turn(&env, &engine, &mut view, &mut machine, &pace, &mut deliver).await? {
                machine.step(now, input);
            }
            // Long work comes in slices; whoever shares the thread goes on between them.
            tokio::task::yield_now().await;
        }
    }
}

/// One turn. Gives what the machine is to know of it. `view` is what the engine holds, if it is known: others commit rows of
/// [`Table::Meta`](crate::engine::Table::Meta) only, which no machine reads.
async fn turn<E: Env, M: Machine>(
    env: &E,
    engine: &Engine,
    view: &mut Option<View>,
    machine: &mut M,
    pace: &Pace,
    deliver: &mut (impl FnMut(&M, Vec<M::Send>) + Send),
) -> Result<Option<M::Input>, EngineError> {
    // Rows are read on this thread: a disk that hangs may do so there as well as in the commit.
    let _underway = pace.watch.begin();
    let mut batch = Batch::new(view.take().map_or_else(|| engine.view(), Ok)?);
    let turn = machine.ready(&mut batch)?;
    deliver(machine, turn.now);
    let mut space = None;
    if batch.is_empty() {
        *view = Some(batch.into_view());
    } else {
        let bytes = batch.bytes();
        let (committer, disk, folder) = (engine.clone(), env.disk().clone(), pace.folder.clone());
        let work = move || committer.commit(batch).map(|()| disk.space(&folder).ok());
        let committed = env.disk().offload(work).await;
        space = committed.inspect_err(|error| env.observe(&Fact::Disk(DiskFact::Failed(error.to_string()))))?;
        env.observe(&Fact::Disk(DiskFact::Committed { bytes }));
    }
    turn.facts.iter().for_each(|fact| env.observe(fact));
    deliver(machine, turn.after);
    let released = machine.advance();
    deliver(machine, released);
    Ok(space.and_then(M::space))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::env::real::RealEnv;

    /// A machine that reads a row which does not come until somebody says so.
    struct Hangs(Receiver<()>);

    impl Machine for Hangs {
        type Input = ();
        type Send = ();

        fn tick() {}
        fn step(&mut self, _: Instant, (): ()) {}

        fn has_work(&self) -> bool {
            true
        }

        fn ready(&mut self, _: &mut Batch) -> Result<Turn<()>, EngineError> {
            let _ = self.0.recv();
            Ok(Turn { now: Vec::new(), after: Vec::new(), facts: Vec::new() })
        }

        fn advance(&mut self) -> Vec<()> {
            Vec::new()
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_read_that_hangs_is_told() {
        let (env, limit) = (RealEnv::new(), Duration::from_millis(80));
        let folder = std::env::temp_dir().join(format!("matrixkv-drive-{}", std::process::id()));
        env.disk().create_dir(&folder).unwrap();
        let engine = Engine::open(env.disk(), &folder.join("hangs.redb")).unwrap();
        let (release, held): (Sender<()>, _) = channel();
        let (input, inbox) = mpsc::channel(1);
        let pace = Pace { tick_interval: limit, watch: Watch::default(), folder: folder.clone() };
        let watch = pace.watch.clone();
        let (end, ended) = tokio::sync::oneshot::channel();
        let driver = drive(env.clone(), engine, Hangs(held), inbox, pace, |_, _| {});
        env.spawn("driver", async move { end.send(driver.await).unwrap() });
        let told = within(&env, limit * 50, watch.watch(env.clone(), limit)).await;
        assert!(told.is_some(), "nobody noticed");
        drop((release, input));
        ended.await.unwrap().unwrap();
        let files = env.disk().list(&folder).unwrap();
        files.iter().for_each(|file| env.disk().remove(&folder.join(file)).unwrap());
    }
}
