//! V, on the way: no store is held for Down before its down-time is over, counted by Prophet's leader from its own election
//! at the earliest. What was heard of a store before that says nothing about how long it is silent: the whole cluster, or
//! Prophet alone, may have been away.

use std::time::Duration;

use matrixkv::types::Fact;

/// What is wrong with `fact`, where `down_time` is `max-container-down-time`.
pub fn judge(down_time: Duration, fact: &Fact) -> Option<String> {
    let Fact::HeldDown { store, led_for } = fact else { return None };
    (*led_for < down_time)
        .then(|| format!("{store} is held for Down by a Prophet that leads for {led_for:?}; the rule is {down_time:?}"))
}

#[cfg(test)]
mod tests {
    use matrixkv::types::StoreId;

    use super::*;

    #[test]
    fn a_new_leader_holds_nobody_for_down() {
        let fact = |led_for| Fact::HeldDown { store: StoreId(3), led_for: Duration::from_millis(led_for) };
        assert!(judge(Duration::from_secs(2), &fact(1999)).is_some());
        assert!(judge(Duration::from_secs(2), &fact(2000)).is_none());
    }
}
