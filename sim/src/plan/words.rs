//! A plan in words.

use std::fmt;

use super::{Fault, Liveness, Plan, Timed};

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<14} ", self.kind().name())?;
        match self {
            Fault::Restart { node, .. }
            | Fault::Kill { node, .. }
            | Fault::PowerLoss { node, .. }
            | Fault::Pause { node, .. }
            | Fault::Isolate { node, .. }
            | Fault::DiskStall { node, .. } => write!(f, "{node}")?,
            Fault::KillLoop { node, lives } => write!(f, "{node}, lives {lives:?}")?,
            Fault::PowerLossAll { down } => write!(f, "back after {down:?}")?,
            Fault::ArmedCrash { node, operation, .. } => write!(f, "{node}, inside disk operation {operation}")?,
            Fault::CutPair { a, b, .. } => write!(f, "node{a} | node{b}")?,
            Fault::CutOneWay { from, to, .. } => write!(f, "node{from} -x-> node{to}")?,
            Fault::Split { side, .. } => write!(f, "nodes {side:?} | the others")?,
            Fault::Reset { a, b } => write!(f, "node{a} | node{b}")?,
            Fault::Links { links, .. } => write!(f, "{links}")?,
            Fault::SlowDisk { node, latency, .. } => write!(f, "{node}, {latency:?} an operation")?,
            Fault::Damage { node, group, what } => write!(f, "{what:?} of replica {group} on {node}")?,
            Fault::Swizzle { order, back, every } => write!(f, "nodes {order:?}, back {back:?}, every {every:?}")?,
            Fault::Flapping { a, b, every, .. } => write!(f, "node{a} | node{b}, every {every:?}")?,
            Fault::BadLink { from, to, links, .. } => write!(f, "node{from} -> node{to}, {links}")?,
            Fault::ClockJump { node, by } => write!(f, "{node}, by {by:?}")?,
            Fault::ClockDrift { node, millionths, .. } => write!(f, "{node}, {millionths} millionths too fast")?,
            Fault::ClockFreeze { node, .. } => write!(f, "{node}")?,
            Fault::BitFlip { node, part } => write!(f, "{node}, {part:?}")?,
            Fault::DiskError { node, on, operation, .. } => write!(f, "{node}, {on:?} {operation}")?,
            Fault::DiskFull { node, left, .. } => write!(f, "{node}, {left} bytes left")?,
            Fault::Overload { latency, .. } => write!(f, "{latency:?} an operation of a disk")?,
            Fault::SplitAt { key } => write!(f, "at key {key}")?,
            Fault::AtMoment { moment, delay, harm, .. } => write!(f, "{harm:?} {delay:?} after {moment:?}")?,
            Fault::Rush { moment, delay } => write!(f, "{delay:?} after {moment:?}")?,
            Fault::Move { group, node, .. } => write!(f, "group {group}, node{node}")?,
            Fault::Drain { node, .. } | Fault::EmptyFolder { node, .. } | Fault::OldFolder { node, .. } => {
                write!(f, "node{node}")?
            }
            Fault::Stranger { node, who } => write!(f, "{who:?} at node{node}")?,
        }
        write!(f, ", for {:?}", self.lasts())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, Timed { at, fault }) in self.faults_of(false) {
            writeln!(f, "  {:>9.3}s {fault}", at.as_secs_f64())?;
        }
        if let Some(Liveness { from, ill }) = &self.liveness {
            writeln!(f, "  {:>9.3}s all is healed; once it is whole, {ill:?} fall ill for good:", from.as_secs_f64())?;
            for (_, Timed { at, fault }) in self.faults_of(true) {
                writeln!(f, "  {:>9.3}s {fault}", at.as_secs_f64())?;
            }
        }
        if let Some(requests) = self.requests() {
            writeln!(f, "  {requests} requests, one by one")?;
        }
        writeln!(f, "  {:>9.3}s all is healed", self.heal_at.as_secs_f64())?;
        write!(f, "  {:>9.3}s the clients stop", self.end_at.as_secs_f64())
    }
}
