//! V, under way: where a plan demands progress although faults go on, every key is read and written meanwhile.

use crate::{
    history::{Event, Function, HistoryError, Operation, Outcome, operations},
    plan::Serving,
};

/// The keys that were not served, in words.
pub fn check<'a>(
    history: &[Event],
    keys: impl Iterator<Item = String> + Clone,
    demands: impl IntoIterator<Item = &'a Serving>,
) -> Result<Vec<String>, HistoryError> {
    let operations = operations(history)?;
    let missing = demands.into_iter().flat_map(|demand| {
        let done: Vec<_> = operations.iter().filter(|operation| operation.is_within(demand)).collect();
        keys.clone().flat_map(move |key| {
            let has = |reads: bool| done.iter().any(|done| done.key == key && (done.f == Function::Get) == reads);
            let missing = [(true, "read"), (false, "written")].into_iter().filter(|(reads, _)| !has(*reads));
            let told = missing.map(|(_, what)| {
                format!("key {key:?} was not {what} between {:?} and {:?}", demand.from, demand.until)
            });
            told.collect::<Vec<_>>()
        })
    });
    Ok(missing.collect())
}

impl Operation {
    fn is_within(&self, demand: &Serving) -> bool {
        let (from, until) = (demand.from.as_nanos() as u64, demand.until.as_nanos() as u64);
        self.outcome == Outcome::Done && self.invoke_time >= from && self.return_time.is_some_and(|at| at <= until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::history::{EventType, Value};

    #[test]
    fn a_key_that_is_only_read_is_told() {
        let event = |event_type, time| Event {
            process: 1,
            event_type,
            f: Function::Get,
            key: "k".into(),
            value: Value::Text(None),
            time,
            node: None,
        };
        let history = [event(EventType::Invoke, 2_000_000_000), event(EventType::Ok, 3_000_000_000)];
        let told = |from, until| {
            let demand = Serving { from: Duration::from_secs(from), until: Duration::from_secs(until) };
            check(&history, ["k".to_owned()].into_iter(), [&demand]).unwrap().len()
        };
        assert_eq!(told(1, 4), 1, "it is not written");
        assert_eq!(told(1, 2), 2, "nor read, where the answer comes later");
    }
}
