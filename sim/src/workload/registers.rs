//! The registers, and what a client is. Each speaks HTTP/1.1 to the real routers: any node, any request. It asks, waits for the answer or gives
//! up, and writes both into the history.
//!
//! Invariants:
//! - every value is written once in a run, so a read says which write it saw;
//! - an answer is recorded for what it says: 200 is done; 4xx, 503, or a request that never left is "it did not
//!   happen"; everything else of a write is "nobody knows", and then the client goes on under another process number,
//!   since its old one may still be busy;
//! - each client has dice of its own, or a script;
//! - what it asks is recorded as a script that asks the same again.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use matrixkv::{
    env::within,
    http::client::{Answer, Connection, RequestError},
    types::Rng,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Ground, scan};
use crate::{
    history::{Event, EventType, Function, Value},
    knobs::{Knobs, dice},
    plan::{Act, Plan, Step},
    run::{DONE, REFUSED, UNKNOWN},
};

/// How much longer than the request deadline a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the first request of a client waits at most.
pub(super) const FIRST_PAUSE_MAX: Duration = Duration::from_secs(3);

/// How long a client waits after an operation that was not done.
pub(super) const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(400));

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Done; what was read, if it was a read.
    Done(Option<String>),
    /// It did not happen.
    Refused,
    /// It may have happened.
    Unknown,
}

/// An operation to ask for.
pub(super) struct Ask {
    pub f: Function,
    pub key: String,
    pub value: Option<String>,
}

/// One who asks.
pub(super) struct Client<G: Ground> {
    pub ground: G,
    env: G::Env,
    pub number: usize,
    process: u64,
    written: u64,
    connections: BTreeMap<usize, Connection>,
}

/// Where the requests of a client come from.
enum Source {
    /// The dice, whether it asked before.
    Dice(Rng, bool),
    /// A list.
    Script(VecDeque<Step>),
}

/// All clients, by number, each as a task that works until the plan says that they stop.
pub fn clients<G: Ground>(ground: &G, plan: &Plan) -> Vec<(usize, impl Future<Output = ()> + Send + use<G>)> {
    let until = plan.end_at;
    let clients = (0..ground.knobs().clients).map(|number| {
        let ground = ground.clone();
        let source = Source::of(plan, ground.knobs(), number);
        (number, async move { Client::new(ground, number).work(source, until).await })
    });
    clients.collect()
}

/// Reads each key through each node that runs, as client `number`, in the history as well, trying again until `until`;
/// those of the other workloads too. Fails with the key that does not answer.
pub async fn read_all<G: Ground>(ground: G, number: usize, until: Duration) -> Result<(), String> {
    let mut reader = Client::new(ground, number);
    reader.read_all(until).await?;
    scan::read_all(&mut reader, until).await
}

/// Writes each key through one of `nodes` in turn and reads it through all of them, as client `number`, in the history as
/// well, trying again until `until`; after that each must be done at the first try. Fails with the key that is not served.
pub async fn serve_all<G: Ground>(ground: G, number: usize, nodes: Vec<usize>, until: Duration) -> Result<(), String> {
    let mut client = Client::new(ground, number);
    for key in 0..client.ground.knobs().keys {
        let name = client.ground.knobs().key(key);
        let value = Some(client.new_value(0));
        let write = Ask { f: Function::Set, key: name.clone(), value };
        client.insist(nodes[key % nodes.len()], &write, until).await?;
        for node in &nodes {
            client.insist(*node, &Ask { f: Function::Get, key: name.clone(), value: None }, until).await?;
        }
    }
    Ok(())
}

impl Source {
    fn of(plan: &Plan, knobs: &Knobs, client: usize) -> Self {
        match &plan.scripts {
            None => Source::Dice(dice(knobs.seed, &format!("client {client}")), false),
            Some(scripts) => {
                let own = scripts.iter().filter(|script| script.client == client);
                Source::Script(own.flat_map(|script| script.asks.iter().copied()).collect())
            }
        }
    }

    /// What to ask next; `None` when a script is over.
    fn next(&mut self, knobs: &Knobs, last_was_done: bool) -> Option<Step> {
        match self {
            Source::Script(steps) => steps.pop_front(),
            Source::Dice(rng, asked) => Some(draw(knobs, rng, std::mem::replace(asked, true).then_some(last_was_done))),
        }
    }
}

/// Half of it reads, a fifth of the writes deletes.
fn draw(knobs: &Knobs, rng: &mut Rng, last_was_done: Option<bool>) -> Step {
    let (rest, think) = match last_was_done {
        None => (rng.duration(Duration::ZERO, FIRST_PAUSE_MAX), Duration::ZERO),
        Some(true) => (Duration::ZERO, rng.duration(Duration::ZERO, knobs.think_max)),
        Some(false) => (rng.duration(BACK_OFF.0, BACK_OFF.1), rng.duration(Duration::ZERO, knobs.think_max)),
    };
    // The least of several throws prefers the first keys.
    let key = (0..knobs.skew).map(|_| rng.below(knobs.keys as u64)).min().expect("skew is not zero") as usize;
    let act = match rng.below(10) {
        0..5 => Act::Get,
        5 => Act::Delete,
        _ => Act::Set(rng.between(0, knobs.value_bytes_max as u64) as usize),
    };
    Step { rest, think, node: rng.below(knobs.nodes as u64) as usize, act, key }
}

impl<G: Ground> Client<G> {
    pub fn new(ground: G, number: usize) -> Self {
        let env = ground.client_env(number);
        Client { ground, env, number, process: number as u64, written: 0, connections: BTreeMap::new() }
    }

    async fn work(mut self, mut source: Source, until: Duration) {
        let mut last_was_done = true;
        while let Some(step) = source.next(self.ground.knobs(), last_was_done) {
            if !step.rest.is_zero() {
                self.ground.sleep(step.rest).await;
            }
            if !step.think.is_zero() {
                self.ground.think(step.think).await;
            }
            if self.ground.now() >= until {
                return;
            }
            let ask = self.ask(&step);
            let number = self.ground.record().asks(self.number, step, self.ground.now());
            let told = self.operate(step.node, &ask).await;
            self.ground.record().answered(number, self.ground.now());
            last_was_done = matches!(told, Told::Done(_));
        }
    }

    async fn read_all(&mut self, until: Duration) -> Result<(), String> {
        for node in self.ground.nodes_up() {
            for key in 0..self.ground.knobs().keys {
                let ask = Ask { f: Function::Get, key: self.ground.knobs().key(key), value: None };
                self.insist(node, &ask, until).await?;
            }
        }
        Ok(())
    }

    /// Asks until it is done, or it is `until`.
    async fn insist(&mut self, node: usize, ask: &Ask, until: Duration) -> Result<(), String> {
        while !matches!(self.operate(node, ask).await, Told::Done(_)) {
            if self.ground.now() >= until {
                return Err(format!("key {:?} does not answer from node{node}", ask.key));
            }
            self.ground.sleep(BACK_OFF.1).await;
        }
        Ok(())
    }

    fn ask(&mut self, step: &Step) -> Ask {
        let key = self.ground.knobs().key(step.key);
        match step.act {
            Act::Get => Ask { f: Function::Get, key, value: None },
            Act::Delete => Ask { f: Function::Delete, key, value: None },
            Act::Set(bytes) => Ask { f: Function::Set, key, value: Some(self.new_value(bytes)) },
        }
    }

    fn new_value(&mut self, length: usize) -> String {
        self.written += 1;
        let name = format!("c{}-{}", self.number, self.written);
        format!("{name:.<length$}")
    }

    pub async fn operate(&mut self, node: usize, ask: &Ask) -> Told {
        self.write_down(EventType::Invoke, node, ask, ask.value.clone());
        let told = match self.exchange(node, ask).await {
            Told::Unknown if ask.f == Function::Get => Told::Refused,
            told => told,
        };
        let (event_type, counter) = match told {
            Told::Done(_) => (EventType::Ok, DONE),
            Told::Refused => (EventType::Fail, REFUSED),
            Told::Unknown => (EventType::Info, UNKNOWN),
        };
        let value = match &told {
            Told::Done(read) if ask.f == Function::Get => read.clone(),
            _ => ask.value.clone(),
        };
        self.write_down(event_type, node, ask, value);
        self.ground.record().count(counter, 1);
        if told == Told::Unknown {
            // All who ask count in steps of their number, so no process is used twice.
            self.process += self.ground.knobs().lanes() as u64;
        }
        told
    }

    fn write_down(&self, event_type: EventType, node: usize, ask: &Ask, value: Option<String>) {
        self.ground.record().event(Event {
            process: self.process,
            event_type,
            f: ask.f,
            key: ask.key.clone(),
            value: Value::Text(value),
            time: self.ground.now().as_nanos() as u64,
            node: Some(node as u64),
        });
    }

    /// Asks over the connection to `node`, which is opened where there is none.
    async fn exchange(&mut self, node: usize, ask: &Ask) -> Told {
        let (method, path, body) = ask.request();
        match self.send(node, method, &path, &body).await {
            Some(Ok(answer)) => ask.told(answer.status, &answer.body),
            Some(Err(RequestError::NotSent(_))) => Told::Refused,
            Some(Err(_)) | None => Told::Unknown,
        }
    }

    /// The answer to this request, or why there is none; `None` where it takes too long.
    pub async fn send(
        &mut self,
        node: usize,
        method: &'static str,
        path: &str,
        body: &[u8],
    ) -> Option<Result<Answer, RequestError>> {
        let patience = self.ground.knobs().request_deadline + PATIENCE;
        let env = self.env.clone();
        let connection = self.connections.remove(&node);
        let answer = async {
            let mut connection = match connection {
                Some(connection) => connection,
                None => Connection::open(&env, &self.ground.http_address(node)).await?,
            };
            let answer = connection.request(method, path, body).await?;
            Ok::<_, RequestError>((connection, answer))
        };
        let answered = within(&self.env, patience, answer).await?;
        Some(answered.map(|(connection, answer)| {
            self.connections.insert(node, connection);
            answer
        }))
    }
}

impl Ask {
    fn request(&self) -> (&'static str, String, Vec<u8>) {
        let key = &self.key;
        match self.f {
            Function::Get => ("GET", format!("/get?key={}", utf8_percent_encode(key, NON_ALPHANUMERIC)), Vec::new()),
            Function::Delete => ("POST", "/delete".into(), serde_json::json!({ "key": key }).to_string().into_bytes()),
            _ => {
                let value = self.value.as_deref().unwrap_or_default();
                let body = serde_json::json!({ "key": key, "value": value });
                ("POST", "/set".into(), body.to_string().into_bytes())
            }
        }
    }

    fn told(&self, status: u16, body: &[u8]) -> Told {
        match status {
            200 if self.f == Function::Get => read_answer(body),
            200 => Told::Done(None),
            400..500 | 503 => Told::Refused,
            _ => Told::Unknown,
        }
    }
}

/// What `GET /get` says; `None` inside for a missing key.
fn read_answer(body: &[u8]) -> Told {
    #[derive(serde::Deserialize)]
    struct Answer {
        value: String,
        found: bool,
    }
    match serde_json::from_slice::<Answer>(body) {
        Ok(answer) => Told::Done(answer.found.then_some(answer.value)),
        Err(_) => Told::Unknown,
    }
}
