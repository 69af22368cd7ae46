//! What the world adds to the record of its run.

use matrixkv::types::Untimely;

use super::World;

fn words_of(what: Untimely) -> &'static str {
    match what {
        Untimely::Route => "requests for old ranges",
        Untimely::Double => "requests that came twice",
        Untimely::Order => "void orders",
        Untimely::Removed => "messages of removed replicas",
        Untimely::Destroyed => "messages for destroyed replicas",
        Untimely::Unborn => "messages for unborn replicas",
    }
}

impl World {
    /// Adds to the record how many stores were held for down so far. Asked before the run itself takes one away for good.
    pub fn tell_stores_down(&self) {
        self.0.record.count("stores held for down", self.0.record.observer.tally().stores_down);
    }

    /// Adds what disks and network counted to the record.
    pub fn tell_counters(&self) {
        let tally = self.0.record.observer.tally();
        self.0.record.count("elections", tally.elections);
        self.0.record.count("leaders that gave up", tally.given_up);
        self.0.record.count("leaders that went quiet", tally.quieted);
        self.0.record.count("entries applied", tally.applied);
        self.0.record.count("snapshots installed", tally.snapshots);
        self.0.record.count("snapshot chunks", tally.chunks);
        self.0.record.count("replicas opened", tally.opened);
        self.0.record.count("replicas destroyed", tally.destroyed);
        self.0.record.count("replicas quarantined", tally.quarantined);
        self.0.record.count("splits applied", tally.splits);
        self.0.record.count("replicas where one was destroyed", self.0.record.observer.successors() as u64);
        for (what, times) in tally.untimely {
            self.0.record.count(words_of(what), times);
        }
        self.0.record.count("shards at the end", self.0.record.observer.shards() as u64);
        let net = self.0.net.counters();
        self.0.record.count("messages delivered", net.delivered);
        self.0.record.count("messages lost", net.lost + net.cut);
        self.0.record.count("messages doubled", net.duplicated);
        self.0.record.count("messages late", net.late);
        let disks: Vec<_> = self.nodes().iter().map(|node| node.disk.counters()).collect();
        self.0.record.count("syncs", disks.iter().map(|disk| disk.syncs).sum());
        self.0.record.count("errors of disks", disks.iter().map(|disk| disk.errors).sum());
        self.0.record.count("bytes lost at power cuts", disks.iter().map(|disk| disk.bytes_lost).sum());
    }
}
