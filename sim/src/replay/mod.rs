//! A run as one page: a lane for each node and each client, messages as arrows, leaderships as bands, cuts, pauses and
//! crashes shaded, what the clients were told, and where it went wrong. The page needs no network and nothing beside it.
//!
//! Invariants:
//! - the same run gives the same page, byte for byte;
//! - nothing that a run says can become part of the page's code: it is data, and shown as text.

mod bands;
mod frames;
mod lines;
mod words;

use serde::Serialize;

use self::words::Words;
use crate::{
    check::Invariant,
    history::{Event, Operation, operations},
    linear::{self, Budget},
    run::{Filmed, Report, Verdict},
};

/// How many lanes the clients of a foreign history get at most: others have a process for each operation.
const LANES_MAX: u64 = 64;

/// The page, with a mark where the run goes.
const PAGE: &str = include_str!("page.html");

/// Where the run goes.
const MARK: &str = "@RUN@";

/// The run as the page reads it. Times are microseconds; words are numbers of `words`.
#[derive(Default, Serialize)]
struct Run<'a> {
    title: String,
    verdict: &'static str,
    command: String,
    violations: Vec<Wrong<'a>>,
    nodes: usize,
    clients: usize,
    end: u64,
    missing: usize,
    words: Vec<String>,
    messages: Vec<lines::Message>,
    events: Vec<lines::Happening>,
    asks: Vec<lines::Ask>,
    lives: Vec<bands::Away>,
    cuts: Vec<bands::Cut>,
    leaders: Vec<bands::Led>,
}

#[derive(Serialize)]
struct Wrong<'a> {
    at: u64,
    letter: &'static str,
    text: &'a str,
}

/// The page of a run that was filmed.
///
/// # Panics
/// If it was not.
pub fn page(report: &Report, command: String) -> String {
    let filmed = report.filmed.as_ref().expect("a page is drawn of a run that was filmed");
    run(report, filmed, command).draw()
}

/// The page of a history alone, with what the check says of it; `name` is where it came from.
pub fn page_of_history(name: &str, mut history: Vec<Event>, verdict: &linear::Verdict, command: String) -> String {
    give_times(&mut history);
    let operations = operations(&history).expect("it was checked");
    let mut words = Words::default();
    let lanes = history.iter().map(|event| event.process + 1).max().unwrap_or(1).min(LANES_MAX);
    let asks = lines::asks(&history, &operations, verdict, lanes as usize, &mut words);
    let text = verdict.to_string();
    let wrong = |shortest: &[Operation]| {
        let last = shortest.iter().map(|one| history[one.invoke_index].time).max().unwrap_or_default();
        Wrong { at: last / 1000, letter: Invariant::Linearizable.letter(), text: &text }
    };
    let (verdict, violations) = match verdict {
        linear::Verdict::Linearizable { .. } => ("passed", Vec::new()),
        linear::Verdict::Undecided { .. } => ("undecided", Vec::new()),
        linear::Verdict::Violation { shortest, .. } => ("failed", vec![wrong(shortest)]),
    };
    let run = Run {
        title: name.to_owned(),
        verdict,
        command,
        violations,
        nodes: history.iter().filter_map(|event| event.node).max().map_or(0, |node| node as usize + 1),
        clients: asks.iter().map(|ask| ask.0 + 1).max().unwrap_or_default(),
        end: history.iter().map(|event| event.time / 1000).max().unwrap_or_default() + 1,
        asks,
        words: words.into_list(),
        ..Run::default()
    };
    run.draw()
}

/// Some formats have no times: then events are a millisecond apart.
fn give_times(history: &mut [Event]) {
    if history.iter().all(|event| event.time == 0) {
        for (event, n) in history.iter_mut().zip(1..) {
            event.time = n * 1_000_000;
        }
    }
}

impl Run<'_> {
    fn draw(&self) -> String {
        let text = serde_json::to_string(self).expect("the run has no odd maps");
        // Inside a script a "<" could end it; JSON has another way to write one.
        PAGE.replacen(MARK, &text.replace('<', "\\u003c"), 1)
    }
}

fn run<'a>(report: &'a Report, filmed: &Filmed, command: String) -> Run<'a> {
    let mut words = Words::default();
    let end = report.simulated.as_micros() as u64;
    let (knobs, film) = (&report.knobs, &filmed.film);
    let messages = lines::messages(film, &mut words);
    let mut events = lines::facts(film, &mut words);
    events.extend(lines::faults(&filmed.faults, &mut words));
    events.sort_by_key(|event| event.0);
    let operations = operations(&filmed.history).expect("our own history is sound");
    let order = linear::check_operations(&operations, Budget::default());
    let asks = lines::asks(&filmed.history, &operations, &order, knobs.lanes(), &mut words);
    let wrong = |violation: &'a crate::check::Violation| Wrong {
        at: violation.at.as_micros() as u64,
        letter: violation.invariant.letter(),
        text: &violation.message,
    };
    Run {
        title: format!("seed {}", knobs.seed),
        verdict: match report.verdict() {
            Verdict::Passed => "passed",
            Verdict::Undecided => "undecided",
            Verdict::Failed => "failed",
        },
        command,
        violations: report.violations.iter().map(wrong).collect(),
        nodes: knobs.nodes,
        clients: asks.iter().map(|ask| ask.0 + 1).max().unwrap_or_default(),
        end,
        missing: film.missing,
        messages,
        events,
        asks,
        lives: bands::away(film, end),
        cuts: bands::cuts(film, end),
        leaders: bands::led(film, end),
        words: words.into_list(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;
    use crate::{
        history::{self, EventType, Function},
        knobs::{Knobs, Transport},
        plan::{Fault, Plan, Target},
        run::{Options, run},
    };

    /// A short run in which a node dies, messages are lost, and a value tries to end the script.
    fn filmed(transport: Transport) -> Report {
        let knobs = Knobs { transport, ..Knobs::draw(3) };
        let (at, lasts) = (Duration::from_secs(4), Duration::from_secs(2));
        // Whoever writes to a machine without power is told nothing.
        let death = match transport {
            Transport::Datagrams => Fault::Kill { node: Target::Node(1), down: lasts },
            Transport::Streams => Fault::PowerLoss { node: Target::Node(1), down: lasts },
        };
        let plan = Plan::empty(Duration::from_secs(10))
            .with(at, death)
            .with(at + lasts, Fault::Isolate { node: Target::Node(2), lasts: lasts / 2 });
        run(Options { film: true, ..Options::of_plan(knobs, plan) })
    }

    #[test]
    fn a_page_has_what_the_run_had() {
        let report = filmed(Transport::Datagrams);
        let page = page(&report, "run </script> & \"it\"".into());
        assert_eq!(page.matches("</script>").count(), 2, "nothing that a run says ends a script");
        let (_, data) = page.split_once("<script id=\"run\" type=\"application/json\">").unwrap();
        let run: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
        let words = |value: &Value| run["words"][value.as_u64().unwrap() as usize].as_str().unwrap().to_owned();
        let of = |list: &str| run[list].as_array().unwrap().clone();
        assert_eq!(run["command"], "run </script> & \"it\"");
        assert_eq!(run["verdict"], "passed");
        let lost = of("messages").iter().filter(|message| message[3].is_null()).count() as u64;
        assert!(lost > 0 && lost == report.counters.get("messages lost"), "{lost}");
        assert!(
            of("events").iter().any(|event| words(&event[2]) == "fault" && words(&event[4]).starts_with("kill: node1"))
        );
        assert!(of("events").iter().any(|event| words(&event[2]) == "leads"));
        assert!(of("lives").iter().any(|away| away[2] == 1 && away[3] == false && away[0].as_u64() >= Some(4_000_000)));
        assert!(of("cuts").iter().any(|cut| cut[2] == 2) && of("cuts").iter().any(|cut| cut[3] == 2));
        assert!(of("asks").len() as u64 >= report.counters.operations().1);
        assert_eq!(
            page,
            super::page(&filmed(Transport::Datagrams), "run </script> & \"it\"".into()),
            "the same run, the same page"
        );
    }

    #[test]
    fn a_history_alone_is_drawn_with_its_piece() {
        let event = |process, event_type, f, text: Option<&str>| Event {
            process,
            event_type,
            f,
            key: "k".into(),
            value: history::Value::Text(text.map(str::to_owned)),
            time: 0,
            node: None,
        };
        let history = vec![
            event(0, EventType::Invoke, Function::Set, Some("new")),
            event(0, EventType::Ok, Function::Set, Some("new")),
            event(1, EventType::Invoke, Function::Get, None),
            event(1, EventType::Ok, Function::Get, None),
        ];
        let verdict = linear::check(&history, Budget::default());
        let page = page_of_history("h.jsonl", history, &verdict, "check h.jsonl".into());
        let (_, data) = page.split_once("<script id=\"run\" type=\"application/json\">").unwrap();
        let run: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
        assert_eq!((&run["verdict"], &run["clients"]), (&"failed".into(), &2.into()));
        assert!(run["violations"][0]["text"].as_str().unwrap().contains("not linearizable: key \"k\""));
        let asks = run["asks"].as_array().unwrap();
        assert!(asks.iter().all(|ask| ask[6] == true), "both are of the piece: {asks:?}");
        assert!(asks[0][2].as_u64() < asks[1][1].as_u64(), "they have times although the history has none");
    }

    #[test]
    fn messages_on_streams_are_drawn_as_well() {
        let report = filmed(Transport::Streams);
        let mut words = Words::default();
        let messages = lines::messages(&report.filmed.as_ref().expect("it was filmed").film, &mut words);
        let drawn = serde_json::to_value(&messages).unwrap();
        let drawn = drawn.as_array().unwrap();
        let words = words.into_list();
        let of_kind = |kind: &str| {
            let place = words.iter().position(|word| word == kind).unwrap_or_else(|| panic!("no {kind}"));
            drawn.iter().filter(move |message| message[5] == place)
        };
        assert!(of_kind("handshake").count() > 10 && of_kind("raft append").count() > 100);
        let arrives = |message: &Value| message[3].is_null() || message[3].as_u64() > message[0].as_u64();
        assert!(of_kind("raft append").all(arrives));
        let nodes = |message: &Value| [1, 2].iter().all(|end| message[*end].as_u64() < Some(report.knobs.nodes as u64));
        assert!(drawn.iter().all(nodes), "what nobody has a lane for is not drawn");
        let while_away = |message: &Value, node: usize, second: u64| {
            message[2] == node && message[0].as_u64().is_some_and(|at| (second..second + 1).contains(&(at / 1_000_000)))
        };
        let to_the_dead: Vec<_> = drawn.iter().filter(|message| while_away(message, 1, 4)).collect();
        assert!(to_the_dead.iter().any(|message| message[3].is_null()), "{to_the_dead:?}");
        let across_the_cut = drawn.iter().filter(|message| while_away(message, 2, 6));
        assert!(across_the_cut.into_iter().any(|message| message[3].as_u64() >= Some(7_000_000)), "what waits arrives");
    }

    #[test]
    fn filming_changes_nothing() {
        for transport in [Transport::Datagrams, Transport::Streams] {
            let report = filmed(transport);
            let plain = run(Options::of_plan(report.knobs.clone(), report.plan.clone()));
            assert_eq!(plain.trace_hash, report.trace_hash);
            assert!(plain.filmed.is_none());
        }
    }
}
