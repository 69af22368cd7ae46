//! What clients ask, as a list. A seed's clients throw dice for it; what they asked is recorded, and can be asked again,
//! whole or in part.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use humantime::{format_duration, parse_duration};
use serde::{Deserialize, Serialize};

use crate::run::Asked;

/// How much later than planned a client may have asked and still have asked at once.
const AT_ONCE: Duration = Duration::from_millis(1);

/// What is asked of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Its value.
    Get,
    /// That it has a value of so many bytes, or a few more: each value has a name.
    Set(usize),
    /// That it has none.
    Delete,
}

/// One request of a client, and how long it waits before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Step {
    /// First it waits for this long, whatever happens.
    pub rest: Duration,
    /// Then for this long, or until all clients ask at once.
    pub think: Duration,
    /// Then it asks this node.
    pub node: usize,
    /// This.
    pub act: Act,
    /// Of this one of the clients' keys.
    pub key: usize,
}

/// What one client asks, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Script {
    /// Which client, from 0 on.
    pub client: usize,
    /// Its requests; after the last one it is done.
    pub asks: Vec<Step>,
}

impl Script {
    /// Scripts that ask this at about the times at which it was asked.
    pub fn of(asked: &[Asked]) -> Vec<Script> {
        let mut scripts: BTreeMap<usize, (Duration, Script)> = BTreeMap::new();
        for Asked { client, mut step, began, ended } in asked.iter().copied() {
            let new = || (Duration::ZERO, Script { client, asks: Vec::new() });
            let (free_at, script) = scripts.entry(client).or_insert_with(new);
            let waited = began.saturating_sub(*free_at);
            // What it waited longer is the time of the requests before it that are not asked any more.
            if waited > step.rest + step.think + AT_ONCE {
                step.rest = waited - step.think;
            }
            script.asks.push(step);
            *free_at = ended;
        }
        scripts.into_values().map(|(_, script)| script).collect()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, span) in [("rest", self.rest), ("think", self.think)] {
            if !span.is_zero() {
                write!(f, "{word} {}, ", format_duration(span))?;
            }
        }
        let (node, key) = (self.node, self.key);
        match self.act {
            Act::Get => write!(f, "node{node}: get {key}"),
            Act::Set(bytes) => write!(f, "node{node}: set {key} to {bytes} bytes"),
            Act::Delete => write!(f, "node{node}: delete {key}"),
        }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no request, such as \"rest 5ms, think 20ms, node1: set 3 to 24 bytes\"");
        let (mut rest, mut think) = Default::default();
        let mut left = text;
        for (word, span) in [("rest ", &mut rest), ("think ", &mut think)] {
            if let Some(behind) = left.strip_prefix(word) {
                let (time, behind) = behind.split_once(", ").ok_or_else(wrong)?;
                (*span, left) = (parse_duration(time).map_err(|_| wrong())?, behind);
            }
        }
        let (node, what) = left.strip_prefix("node").and_then(|left| left.split_once(": ")).ok_or_else(wrong)?;
        let number = |text: &str| text.parse().map_err(|_| wrong());
        let (act, key) = match what.split(' ').collect::<Vec<_>>()[..] {
            ["get", key] => (Act::Get, key),
            ["set", key, "to", bytes, "bytes"] => (Act::Set(number(bytes)?), key),
            ["delete", key] => (Act::Delete, key),
            _ => return Err(wrong()),
        };
        Ok(Step { rest, think, node: number(node)?, act, key: number(key)? })
    }
}

impl TryFrom<String> for Step {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Step> for String {
    fn from(step: Step) -> Self {
        step.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(client: usize, began_ms: u64, ended_ms: u64) -> Asked {
        let step = "rest 5ms, think 20ms, node1: get 3".parse().unwrap();
        let (began, ended) = (Duration::from_millis(began_ms), Duration::from_millis(ended_ms));
        Asked { client, step, began, ended }
    }

    #[test]
    fn what_is_left_is_asked_when_it_was() {
        let all = [asked(0, 25, 40), asked(0, 65, 70), asked(1, 25, 80), asked(0, 80, 90)];
        let rests = |scripts: &[Script]| -> Vec<Vec<u64>> {
            let of_one = |script: &Script| script.asks.iter().map(|step| step.rest.as_millis() as u64).collect();
            scripts.iter().map(of_one).collect()
        };
        // The last one was asked early, since all clients were made to ask at once: it waits as it did.
        assert_eq!(rests(&Script::of(&all)), [vec![5, 5, 5], vec![5]]);
        // Without the first two, the last one of client 0 waits for their time as well.
        assert_eq!(rests(&Script::of(&all[2..])), [vec![60], vec![5]]);
    }

    #[test]
    fn a_step_reads_as_it_was_written() {
        let (rest, think) = (Duration::from_nanos(5_000_000_001), Duration::from_millis(20));
        for act in [Act::Get, Act::Set(4000), Act::Delete] {
            for (rest, think) in [(rest, think), (rest, Duration::ZERO), (Duration::ZERO, think)] {
                let step = Step { rest, think, node: 4, act, key: 17 };
                assert_eq!(step.to_string().parse(), Ok(step));
            }
        }
    }

    #[test]
    fn what_is_no_step_is_told() {
        for text in ["", "node1", "node1: get", "node1: set 3", "nodeX: get 3", "rest, node1: get 3", "node1: get 3 4"]
        {
            let told = text.parse::<Step>().unwrap_err();
            assert!(told.contains(&format!("{text:?}")), "{told}");
        }
    }
}
