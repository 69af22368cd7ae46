//! Knobs for people: a few lines, as a report has them.

use std::fmt;

use super::{Knobs, Links, PROPHET_NODES};

impl fmt::Display for Knobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  world   {} nodes ({PROPHET_NODES} of them Prophet) in {} zones, {} shards of {} bytes, {} replicas each, starts {:?}",
            self.nodes,
            self.zones.max(1),
            self.shards,
            self.shard_capacity,
            self.replicas,
            self.starts
        )?;
        writeln!(
            f,
            "  load    {} clients, {} keys ({:?}, skew {}), values to {} bytes, think to {:?}, deadline {:?}, {} in a node at once",
            self.clients,
            self.keys,
            self.key_shape,
            self.skew,
            self.value_bytes_max,
            self.think_max,
            self.request_deadline,
            self.requests_max
        )?;
        if !self.workloads.is_empty() {
            let names: Vec<_> = self.workloads.iter().map(|workload| workload.name()).collect();
            writeln!(f, "  beside  {}", names.join(", "))?;
        }
        writeln!(
            f,
            "  raft    tick {:?}, heartbeat {} ticks, election {} ticks, quiet after {}, batch {} bytes, {} in flight, compact at {} or {} bytes, \
             {} chunks of {} bytes",
            self.tick,
            self.heartbeat_ticks,
            self.election_ticks,
            self.quiet_after_ticks,
            self.batch_bytes_max,
            self.inflight_max,
            self.compact_threshold,
            self.compact_bytes,
            self.chunks_max,
            self.chunk_bytes
        )?;
        writeln!(
            f,
            "  prophet shard beat {:?}, store beat {:?}, down after {:?} (replica) and {:?} (store), asks each {:?}, \
             founding wait {:?}",
            self.shard_heartbeat,
            self.store_heartbeat,
            self.peer_down_time,
            self.store_down_time,
            self.membership_check,
            self.founding_wait
        )?;
        let (low, high) = self.disk_latency;
        writeln!(
            f,
            "  disk    {low:?} to {high:?} an operation, given up after {:?}, files compacted over {} free bytes",
            self.disk_stall_max, self.file_slack_max
        )?;
        write!(f, "  network {:?}, {}", self.transport, self.links)
    }
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} to {:?}", self.latency.0, self.latency.1)?;
        for (name, chance) in [("lost", self.loss), ("doubled", self.duplicate), ("late", self.late)] {
            if chance > 0.0 {
                write!(f, ", {:.1} % {name}", chance * 100.0)?;
            }
        }
        if self.late > 0.0 { write!(f, " (by up to {:?})", self.late_by) } else { Ok(()) }
    }
}
