//! What happens at a moment: messages, facts and faults, and what clients asked.

use std::{collections::BTreeMap, time::Duration};

use matrixkv::{
    env::link::frame::Frame,
    types::{DiskFact, Fact},
    wire::{self, Body, Envelope, RaftMessage, Request, Response},
};
use protobuf::Message as _;
use raft::eraftpb::MessageType;
use serde::Serialize;

use super::{
    frames::{Framed, frames},
    words::{Word, Words},
};
use crate::{
    env::film::{Film, Flight, Said},
    history::{Event, EventType, Operation, Value},
    linear,
};

/// Bytes of a text that are shown.
const TEXT_MAX: usize = 400;

/// Characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 24;

/// When, from, to, arrival (missing: none), fate, kind, shard (0: none), text.
#[derive(Serialize)]
pub struct Message(u64, usize, usize, Option<u64>, Word, Word, u64, Word);

/// When, node (missing: all), kind, shard (0: none), text.
#[derive(Serialize)]
pub struct Happening(pub u64, Option<usize>, Word, u64, Word);

/// Client, when, answered (missing: never), outcome, what, node, whether it is part of what has no order.
#[derive(Serialize)]
pub struct Ask(pub usize, u64, Option<u64>, &'static str, Word, Option<u64>, bool);

fn cut(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A value; of a long one its start, which has its name.
fn named(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{:?}… ({} bytes)", &value[..end], value.len()),
        None => format!("{value:?}"),
    }
}

/// All messages between nodes: a run has datagrams or streams.
pub fn messages(film: &Film, words: &mut Words) -> Vec<Message> {
    let mut message = |at: u64, (from, to), arrives: Option<u64>, fate: &str, (kind, shard, text): Described| {
        let (fate, kind, text) = (words.of(fate), words.of(kind), words.of(cut(text)));
        Message(at / 1000, from, to, arrives.map(|at| at / 1000), fate, kind, shard, text)
    };
    let mut messages = Vec::new();
    for Flight { at, from, to, arrives, fate, said } in &film.flights {
        let described = match said {
            Said::Handshake(word) => ("handshake", 0, (*word).to_owned()),
            Said::Envelope(bytes) => match wire::decode(bytes) {
                Ok(envelope) => describe(&envelope),
                Err(_) => ("unreadable", 0, format!("{} bytes", bytes.len())),
            },
        };
        messages.push(message(*at, (*from, *to), *arrives, fate, described));
    }
    for Framed { at, direction, arrives, frame } in frames(&film.pieces) {
        let described = match frame {
            Frame::Hello(_) => ("handshake", 0, "hello".to_owned()),
            Frame::Refusal(why) => ("handshake", 0, format!("refusal: {why}")),
            Frame::Envelope(envelope) => describe(&envelope),
        };
        let fate = if arrives.is_some() { "arrives" } else { "does not arrive" };
        messages.push(message(at, direction, arrives, fate, described));
    }
    messages
}

/// Kind, shard (0: none), text.
type Described = (&'static str, u64, String);

fn describe(envelope: &Envelope) -> Described {
    let text = format!("{:?}", envelope.body);
    match &envelope.body {
        Body::Raft(message) => raft(message),
        Body::Member { message, .. } => {
            let (_, shard, text) = raft(message);
            ("prophet raft", shard, text)
        }
        Body::Chunk(chunk) => ("snapshot chunk", chunk.head.shard.0, text),
        Body::ChunkAck(ack) => ("snapshot chunk", ack.shard.0, text),
        Body::Removed(removal) => ("removal", removal.shard.0, text),
        Body::Alive { .. } => ("store alive", 0, text),
        Body::Request { request: Request::Data(_), .. } | Body::Response { response: Response::Data(_), .. } => {
            ("forwarded request", 0, text)
        }
        Body::Request { .. } | Body::Response { .. } => ("prophet request", 0, text),
    }
}

fn raft(message: &RaftMessage) -> Described {
    let shard = message.shard.0;
    let Ok(inner) = raft::eraftpb::Message::parse_from_bytes(&message.message) else {
        return ("unreadable", shard, format!("{message:?}"));
    };
    let kind = match inner.get_msg_type() {
        MessageType::MsgAppend | MessageType::MsgAppendResponse => "raft append",
        MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse => "raft heartbeat",
        MessageType::MsgSnapshot => "raft snapshot",
        MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse
        | MessageType::MsgTimeoutNow => "raft vote",
        _ => "raft other",
    };
    let reject = if inner.reject { ", reject" } else { "" };
    let text = format!(
        "{:?} of {}: {} -> {}, term {}, log {}@{}, {} entries, commit {}{reject}",
        inner.get_msg_type(),
        message.shard,
        message.from.replica,
        message.to.replica,
        inner.term,
        inner.index,
        inner.log_term,
        inner.entries.len(),
        inner.commit
    );
    (kind, shard, text)
}

/// All facts but commits of a disk, which say nothing of a shard.
pub fn facts(film: &Film, words: &mut Words) -> Vec<Happening> {
    let shown = film.facts.iter().filter(|(_, _, fact)| !matches!(fact, Fact::Disk(DiskFact::Committed { .. })));
    let shown = shown.map(|(at, node, fact)| {
        let (kind, shard) = kind(fact);
        let text = match fact {
            Fact::Decision(text) => text.clone(),
            fact => format!("{fact:?}"),
        };
        Happening(at / 1000, Some(*node), words.of(kind), shard, words.of(cut(text)))
    });
    shown.collect()
}

fn kind(fact: &Fact) -> (&'static str, u64) {
    match fact {
        Fact::Opened { shard, .. } => ("opened", shard.0),
        Fact::Voted { shard, .. } => ("voted", shard.0),
        Fact::BecameLeader { shard, .. } => ("leads", shard.0),
        Fact::GaveUp { shard, .. } => ("gives up", shard.0),
        Fact::WentQuiet { shard, .. } => ("quiet", shard.0),
        Fact::Applied { shard, .. } => ("applied", shard.0),
        Fact::Installing { shard, .. } | Fact::Installed { shard, .. } | Fact::Staged { shard, .. } => {
            ("snapshot", shard.0)
        }
        Fact::Described { shard, .. } => ("membership", shard.id.0),
        Fact::SplitProposed { shard } => ("split", shard.0),
        Fact::Split { left, .. } => ("split", left.id.0),
        Fact::Destroyed { shard, .. } => ("destroyed", shard.0),
        Fact::Quarantined { shard, .. } => ("quarantined", shard.0),
        Fact::Untimely { shard, .. } => ("untimely", shard.0),
        Fact::HeldDown { .. } | Fact::Decision(_) => ("decision", 0),
        Fact::Disk(_) => ("disk", 0),
    }
}

/// All faults that happened.
pub fn faults(faults: &[(Duration, String)], words: &mut Words) -> Vec<Happening> {
    let shown = faults.iter().map(|(at, text)| {
        let node = text.split(|c: char| !c.is_alphanumeric()).find_map(|word| word.strip_prefix("node")?.parse().ok());
        Happening(at.as_micros() as u64, node, words.of("fault"), 0, words.of(text.as_str()))
    });
    shown.collect()
}

/// What clients asked, in lanes: one for each of the first processes, and those that took over after an unknown outcome go on
/// where there is room. `verdict` is what was said of `operations`, which are those of `history`.
pub fn asks(
    history: &[Event],
    operations: &[Operation],
    verdict: &linear::Verdict,
    lanes: usize,
    words: &mut Words,
) -> Vec<Ask> {
    let suspects: Vec<_> = match verdict {
        linear::Verdict::Violation { shortest, .. } => shortest.iter().map(|one| one.invoke_index).collect(),
        _ => Vec::new(),
    };
    // An operation of unknown outcome ends where the client stopped waiting.
    let gave_up: BTreeMap<u64, u64> = history
        .iter()
        .filter(|event| event.event_type == EventType::Info)
        .map(|event| (event.process, event.time / 1000))
        .collect();
    let asked = operations.iter().map(|one| {
        let value = match &one.value {
            Value::Text(None) => String::new(),
            Value::Text(Some(text)) => format!(" {}", named(text)),
            pair => format!(" {pair:?}"),
        };
        let text = cut(format!("{:?} {:?}{value}", one.f, one.key));
        let answered = one.return_time.map(|at| at / 1000).or(gave_up.get(&one.process).copied());
        let lane = (one.process % lanes as u64) as usize;
        let is_suspect = suspects.contains(&one.invoke_index);
        Ask(lane, one.invoke_time / 1000, answered, one.outcome.name(), words.of(text), one.node, is_suspect)
    });
    asked.collect()
}
