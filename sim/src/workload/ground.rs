//! What a run stands on: a world that is simulated, or processes that run on this machine. Clients, operators and those
//! who look at the cluster ask, wait and record in either alike.

use std::time::Duration;

use matrixkv::{env::Env, http::client::Answer};

use crate::{
    check::probe,
    env::SimEnv,
    knobs::Knobs,
    run::Record,
    world::{FIRST_CLIENT, State, World, client_machine},
};

/// A cluster, whatever it is made of, and the record of what happens to it.
pub trait Ground: Clone + Send + Sync + 'static {
    /// What their connections are made of.
    type Env: Env;

    /// The world of client `number`.
    fn client_env(&self, number: usize) -> Self::Env;

    /// What was decided beforehand.
    fn knobs(&self) -> &Knobs;

    /// Where it is written down.
    fn record(&self) -> &Record;

    /// Since the start of the run.
    fn now(&self) -> Duration;

    /// The nodes that run.
    fn nodes_up(&self) -> Vec<usize>;

    /// Where `node` serves HTTP.
    fn http_address(&self, node: usize) -> String;

    /// Waits.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;

    /// Waits for this long, or until all clients are to ask at once.
    fn think(&self, duration: Duration) -> impl Future<Output = ()> + Send;

    /// Runs `task` from now on, as client `number`; then its result, or how it died.
    fn spawn<T: Send + 'static>(
        &self,
        number: usize,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Result<T, String>> + Send + 'static;

    /// The answer of `node` to somebody who is no client, or why there is none.
    fn ask(
        &self,
        node: usize,
        method: &'static str,
        path: &'static str,
        body: String,
    ) -> impl Future<Output = Result<Answer, String>> + Send;

    /// Whether the folder of a node was lost for good.
    fn lost_a_folder(&self) -> bool;
}

impl Ground for World {
    type Env = SimEnv;

    fn client_env(&self, number: usize) -> SimEnv {
        self.env(FIRST_CLIENT + number)
    }

    fn knobs(&self) -> &Knobs {
        self.knobs()
    }

    fn record(&self) -> &Record {
        self.record()
    }

    fn now(&self) -> Duration {
        self.now()
    }

    fn nodes_up(&self) -> Vec<usize> {
        self.nodes_in(State::Up)
    }

    fn http_address(&self, node: usize) -> String {
        Knobs::http_address(node)
    }

    async fn sleep(&self, duration: Duration) {
        madsim::time::sleep(duration).await;
    }

    async fn think(&self, duration: Duration) {
        self.think(duration).await;
    }
    fn spawn<T: Send + 'static>(
        &self,
        number: usize,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Result<T, String>> + Send + 'static {
        let running = client_machine(number).spawn(task);
        async move { running.await.map_err(|error| format!("it died: {error}")) }
    }

    async fn ask(&self, node: usize, method: &'static str, path: &'static str, body: String) -> Result<Answer, String> {
        let watching = self.clone();
        let asking = async move {
            let env = watching.watcher_env();
            probe::exchange(&env, &Knobs::http_address(node), node, method, path, body).await
        };
        self.watcher().spawn(asking).await.unwrap_or_else(|error| Err(format!("node{node}, {path}: {error}")))
    }

    fn lost_a_folder(&self) -> bool {
        self.lost_a_folder()
    }
}
