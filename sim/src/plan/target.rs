//! Whom a fault is meant for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A node that a fault is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// This one.
    Node(usize),
    /// The one that leads some group at that moment: the number picks the group.
    Leader(u64),
    /// The one that leads Prophet's metadata group at that moment.
    ProphetLeader,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(node) => write!(f, "node{node}"),
            Target::Leader(group) => write!(f, "leader of group {group}"),
            Target::ProphetLeader => write!(f, "leader of Prophet"),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let node = text.strip_prefix("node").and_then(|number| number.parse().ok()).map(Target::Node);
        let leader = text.strip_prefix("leader of group ").and_then(|number| number.parse().ok()).map(Target::Leader);
        let prophet = (text == "leader of Prophet").then_some(Target::ProphetLeader);
        let example = "\"node2\", \"leader of group 5\" or \"leader of Prophet\"";
        node.or(leader).or(prophet).ok_or_else(|| format!("{text:?} is none of {example}"))
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}
