//! What lasts: nodes that are away or stand still, cuts, leaderships.

use std::collections::BTreeMap;

use matrixkv::types::Fact;
use serde::Serialize;

use crate::env::{Film, Life};

/// From, until, node, whether it stands still (and is not away).
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Away(pub u64, pub u64, pub usize, pub bool);

/// From, until, who is not heard, by whom.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Cut(pub u64, pub u64, pub usize, pub usize);

/// From, until, node, shard, term, replica.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Led(pub u64, pub u64, pub usize, pub u64, pub u64, pub u64);

fn micros(nanos: u64) -> u64 {
    nanos / 1000
}

/// When nodes did not run. A node that was never started yet is away.
pub fn away(film: &Film, end: u64) -> Vec<Away> {
    let mut since: BTreeMap<usize, (u64, Life)> = BTreeMap::new();
    let mut bands = Vec::new();
    for (at, node, life) in &film.lives {
        let (from, before) = since.insert(*node, (*at, *life)).unwrap_or((0, Life::Down));
        if before != Life::Up && from < *at {
            bands.push(Away(micros(from), micros(*at), *node, before == Life::Paused));
        }
    }
    let left = since.into_iter().filter(|(_, (_, life))| *life != Life::Up);
    bands.extend(left.map(|(node, (from, life))| Away(micros(from), end, node, life == Life::Paused)));
    bands
}

/// When nodes did not hear each other.
pub fn cuts(film: &Film, end: u64) -> Vec<Cut> {
    let mut open: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    let mut bands = Vec::new();
    for (at, direction, is_cut) in &film.cuts {
        if *is_cut {
            open.entry(*direction).or_insert(*at);
        } else if let Some(from) = open.remove(direction) {
            bands.push(Cut(micros(from), micros(*at), direction.0, direction.1));
        }
    }
    bands.extend(open.into_iter().map(|((from, to), at)| Cut(micros(at), end, from, to)));
    bands
}

/// Who led what. A leadership ends when its node is away, its replica is destroyed, or somebody leads a later term.
pub fn led(film: &Film, end: u64) -> Vec<Led> {
    let mut leading: BTreeMap<u64, Led> = BTreeMap::new();
    let mut bands = Vec::new();
    let mut close = |leading: &mut BTreeMap<u64, Led>, at: u64, is_over: &dyn Fn(&Led) -> bool| {
        let over = leading.extract_if(.., |_, led| is_over(led));
        bands.extend(over.map(|(_, led)| Led(led.0, at, led.2, led.3, led.4, led.5)));
    };
    let mut lives = film.lives.iter().filter(|(_, _, life)| *life == Life::Down).peekable();
    for (at, node, fact) in &film.facts {
        while let Some((died, gone, _)) = lives.next_if(|(died, ..)| died <= at) {
            close(&mut leading, micros(*died), &|led| led.2 == *gone);
        }
        let now = micros(*at);
        match fact {
            Fact::BecameLeader { shard, replica, term } => {
                close(&mut leading, now, &|led| led.3 == shard.0 && led.4 < *term);
                leading.entry(shard.0).or_insert(Led(now, end, *node, shard.0, *term, replica.0));
            }
            Fact::GaveUp { replica, .. } | Fact::Destroyed { replica, .. } => {
                close(&mut leading, now, &|led| led.5 == replica.0)
            }
            _ => {}
        }
    }
    for (died, gone, _) in lives {
        close(&mut leading, micros(*died), &|led| led.2 == *gone);
    }
    close(&mut leading, end, &|_| true);
    bands.sort_by_key(|led| (led.0, led.3));
    bands
}

#[cfg(test)]
mod tests {
    use matrixkv::types::{ReplicaId, ShardId};

    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn bands_end_where_they_must() {
        let leads =
            |shard, replica, term| Fact::BecameLeader { shard: ShardId(shard), replica: ReplicaId(replica), term };
        let film = Film {
            lives: vec![
                (S, 0, Life::Up),
                (2 * S, 1, Life::Up),
                (4 * S, 0, Life::Down),
                (5 * S, 0, Life::Up),
                (6 * S, 1, Life::Paused),
            ],
            cuts: vec![(S, (0, 1), true), (2 * S, (0, 1), false), (3 * S, (1, 0), true)],
            facts: vec![(3 * S, 0, leads(7, 70, 1)), (3 * S, 1, leads(8, 81, 1)), (5 * S, 1, leads(8, 82, 2))],
            ..Film::default()
        };
        let s = S / 1000;
        let away = away(&film, 9 * s);
        let expected =
            [Away(0, s, 0, false), Away(0, 2 * s, 1, false), Away(4 * s, 5 * s, 0, false), Away(6 * s, 9 * s, 1, true)];
        assert_eq!(away, expected);
        assert_eq!(cuts(&film, 9 * s), [Cut(s, 2 * s, 0, 1), Cut(3 * s, 9 * s, 1, 0)]);
        let led = led(&film, 9 * s);
        let expected = [Led(3 * s, 4 * s, 0, 7, 1, 70), Led(3 * s, 5 * s, 1, 8, 1, 81), Led(5 * s, 9 * s, 1, 8, 2, 82)];
        assert_eq!(led, expected);
    }
}
