//! Clients. Each speaks HTTP/1.1 to the real routers: any node, any request. It asks, waits for the answer or gives
//! up, and writes both into the history.
//!
//! Invariants:
//! - every value is written once in a run, so a read says which write it saw;
//! - an answer is recorded for what it says: 200 is done; 4xx, 503, or a request that never left is "it did not
//!   happen"; everything else of a write is "nobody knows", and then the client goes on under another process number,
//!   since its old one may still be busy;
//! - each client has dice of its own.

use std::{collections::BTreeMap, time::Duration};

use madsim::{task::JoinHandle, time::sleep};
use matrixkv::{
    env::within,
    http::client::{Connection, RequestError},
    types::Rng,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    env::SimEnv,
    history::{Event, EventType, Function, Value},
    knobs::{Knobs, dice},
    run::{DONE, REFUSED, UNKNOWN},
    world::{FIRST_CLIENT, State, World, client_machine},
};

/// How much longer than the request deadline a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the first request of a client waits at most.
const FIRST_PAUSE_MAX: Duration = Duration::from_secs(3);

/// How long a client waits after an operation that was not done.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(400));

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// Done; what was read, if it was a read.
    Done(Option<String>),
    /// It did not happen.
    Refused,
    /// It may have happened.
    Unknown,
}

/// An operation to ask for.
struct Ask {
    f: Function,
    key: String,
    value: Option<String>,
}

struct Client {
    world: World,
    env: SimEnv,
    number: usize,
    process: u64,
    rng: Rng,
    written: u64,
    connections: BTreeMap<usize, Connection>,
}

/// Sets all clients to work until `until`.
pub fn start(world: &World, until: Duration) -> Vec<JoinHandle<()>> {
    let clients = (0..world.knobs().clients).map(|number| {
        let world = world.clone();
        let machine = client_machine(number);
        machine.spawn(async move { Client::new(world, number).work(until).await })
    });
    clients.collect()
}

/// Reads each key through each node that runs, as reader `reader` of [`crate::world::READERS`], in the history as well,
/// trying again until `until`. Fails with the key that does not answer.
pub async fn read_all(world: &World, reader: usize, until: Duration) -> Result<(), String> {
    let number = world.knobs().clients + reader;
    let machine = client_machine(number);
    let world = world.clone();
    let reads = machine.spawn(async move { Client::new(world, number).read_all(until).await });
    reads.await.unwrap_or_else(|error| Err(format!("the reader died: {error}")))
}

impl Client {
    fn new(world: World, number: usize) -> Self {
        let env = world.env(FIRST_CLIENT + number);
        let rng = dice(world.knobs().seed, &format!("client {number}"));
        Client { world, env, number, process: number as u64, rng, written: 0, connections: BTreeMap::new() }
    }

    async fn work(mut self, until: Duration) {
        sleep(self.rng.duration(Duration::ZERO, FIRST_PAUSE_MAX)).await;
        while self.world.now() < until {
            let ask = self.draw();
            let node = self.rng.below(self.world.knobs().nodes as u64) as usize;
            let told = self.operate(node, &ask).await;
            if !matches!(told, Told::Done(_)) {
                sleep(self.rng.duration(BACK_OFF.0, BACK_OFF.1)).await;
            }
            let pause = self.rng.duration(Duration::ZERO, self.world.knobs().think_max);
            self.world.think(pause).await;
        }
    }

    async fn read_all(mut self, until: Duration) -> Result<(), String> {
        for node in self.world.nodes_in(State::Up) {
            for key in 0..self.world.knobs().keys {
                let ask = Ask { f: Function::Get, key: self.world.knobs().key(key), value: None };
                while !matches!(self.operate(node, &ask).await, Told::Done(_)) {
                    if self.world.now() >= until {
                        return Err(format!("key {:?} does not answer from node{node}", ask.key));
                    }
                    sleep(BACK_OFF.1).await;
                }
            }
        }
        Ok(())
    }

    /// What to ask next: half of it reads, a fifth of the writes deletes.
    fn draw(&mut self) -> Ask {
        let knobs = self.world.knobs();
        let keys = knobs.keys as u64;
        // The least of several throws prefers the first keys.
        let index = (0..knobs.skew).map(|_| self.rng.below(keys)).min().expect("skew is not zero");
        let key = knobs.key(index as usize);
        match self.rng.below(10) {
            0..5 => Ask { f: Function::Get, key, value: None },
            5 => Ask { f: Function::Delete, key, value: None },
            _ => Ask { f: Function::Set, key, value: Some(self.new_value()) },
        }
    }

    fn new_value(&mut self) -> String {
        self.written += 1;
        let name = format!("c{}-{}", self.number, self.written);
        let length = self.rng.between(0, self.world.knobs().value_bytes_max as u64) as usize;
        format!("{name:.<length$}")
    }

    async fn operate(&mut self, node: usize, ask: &Ask) -> Told {
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
        self.world.record().count(counter, 1);
        if told == Told::Unknown {
            // All clients and the reader count in steps of their number, so no process is used twice.
            self.process += self.world.knobs().clients as u64 + 1;
        }
        told
    }

    fn write_down(&self, event_type: EventType, node: usize, ask: &Ask, value: Option<String>) {
        self.world.record().event(Event {
            process: self.process,
            event_type,
            f: ask.f,
            key: ask.key.clone(),
            value: Value::Text(value),
            time: self.world.now().as_nanos() as u64,
            node: Some(node as u64),
        });
    }

    /// Asks over the connection to `node`, which is opened where there is none.
    async fn exchange(&mut self, node: usize, ask: &Ask) -> Told {
        let (method, path, body) = ask.request();
        let patience = self.world.knobs().request_deadline + PATIENCE;
        let env = self.env.clone();
        let connection = self.connections.remove(&node);
        let answer = async {
            let mut connection = match connection {
                Some(connection) => connection,
                None => Connection::open(&env, &Knobs::http_address(node)).await?,
            };
            let answer = connection.request(method, &path, &body).await?;
            Ok::<_, RequestError>((connection, answer))
        };
        match within(&self.env, patience, answer).await {
            Some(Ok((connection, answer))) => {
                self.connections.insert(node, connection);
                ask.told(answer.status, &answer.body)
            }
            Some(Err(RequestError::NotSent(_))) => Told::Refused,
            Some(Err(_)) | None => Told::Unknown,
        }
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
