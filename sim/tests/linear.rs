//! The linearizability checker against everything that is known to be true: verdicts of others on real histories,
//! brute force on small ones, histories made linearizable, and those made wrong on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use fastrand::Rng;
use matrixkv_sim::history::{Event, EventType, Function, Operation, Outcome, Value, operations};
use matrixkv_sim::linear::{Budget, Format, Verdict, check, check_file, check_operations};

/// What a simulated run does. All clients talk to registers that are atomic, so the history is linearizable.
#[derive(Clone, Copy)]
struct Plan {
    clients: usize,
    operations: usize,
    keys: u64,
    functions: &'static [Function],
    /// Of a hundred operations, how many stay without an answer.
    unknown_percent: u8,
    /// Small alphabets make values collide, `None` makes each value unique.
    alphabet: Option<&'static [&'static str]>,
}

const ALL: &[Function] =
    &[Function::Get, Function::Get, Function::Set, Function::Delete, Function::Cas, Function::Append];
const REGISTER: &[Function] = &[Function::Get, Function::Get, Function::Set, Function::Delete, Function::Cas];
const GET_SET: &[Function] = &[Function::Get, Function::Set];

struct Pending {
    event: Event,
    answer: Option<(EventType, Value)>,
    is_lost: bool,
}

/// Runs `plan`: a random client asks, or has its question acted on, or gets its answer.
fn simulate(plan: Plan, rng: &mut Rng) -> Vec<Event> {
    let (mut history, mut registers) = (Vec::new(), BTreeMap::new());
    let mut clients: Vec<Option<Pending>> = (0..plan.clients).map(|_| None).collect();
    let mut processes: Vec<u64> = (0..plan.clients as u64).collect();
    let mut late: Vec<Event> = Vec::new();
    let mut asked = 0;
    while asked < plan.operations || clients.iter().any(Option::is_some) {
        if !late.is_empty() && rng.u8(..20) == 0 {
            act(&late.swap_remove(rng.usize(..late.len())), &mut registers);
        }
        let client = rng.usize(..plan.clients);
        let time = history.len() as u64 * 1000;
        match clients[client].take() {
            None if asked == plan.operations => {}
            None => {
                let event = question(plan, processes[client], asked, time, rng);
                asked += 1;
                history.push(event.clone());
                clients[client] = Some(Pending { event, answer: None, is_lost: rng.u8(..100) < plan.unknown_percent });
            }
            Some(mut pending) if pending.answer.is_none() && !(pending.is_lost && rng.bool()) => {
                pending.answer = Some(act(&pending.event, &mut registers));
                clients[client] = Some(pending);
            }
            Some(Pending { event, answer, is_lost }) => {
                let (mut event_type, value) = answer.clone().unwrap_or((EventType::Info, Value::Text(None)));
                if is_lost {
                    // Not acted on yet: it may be, at any later time, or never.
                    late.extend((answer.is_none() && rng.bool()).then(|| event.clone()));
                    (event_type, processes[client]) = (EventType::Info, processes[client] + plan.clients as u64);
                }
                let value = if event_type == EventType::Ok { value } else { Value::Text(None) };
                history.push(Event { event_type, value, time, ..event });
            }
        }
    }
    history
}

fn question(plan: Plan, process: u64, asked: usize, time: u64, rng: &mut Rng) -> Event {
    let f = plan.functions[rng.usize(..plan.functions.len())];
    let text = |rng: &mut Rng| match plan.alphabet {
        Some(alphabet) => alphabet[rng.usize(..alphabet.len())].to_string(),
        None => format!("v{asked}."),
    };
    let value = match f {
        Function::Get | Function::Delete => Value::Text(None),
        Function::Set | Function::Append => Value::Text(Some(text(rng))),
        Function::Cas => Value::Pair([rng.bool().then(|| text(rng)), (rng.u8(..4) > 0).then(|| text(rng))]),
    };
    let key = format!("k{}", rng.u64(..plan.keys));
    Event { process, event_type: EventType::Invoke, f, key, value, time, node: Some(process % 4) }
}

fn act(event: &Event, registers: &mut BTreeMap<String, String>) -> (EventType, Value) {
    let old = registers.get(&event.key).cloned();
    let (new, answer) = match (event.f, &event.value) {
        (Function::Get, _) => (old.clone(), (EventType::Ok, Value::Text(old))),
        (Function::Append, Value::Text(tail)) => {
            (Some(old.unwrap_or_default() + tail.as_deref().unwrap()), (EventType::Ok, event.value.clone()))
        }
        (Function::Cas, Value::Pair([expected, new])) if *expected == old => {
            (new.clone(), (EventType::Ok, event.value.clone()))
        }
        (Function::Cas, _) => (old, (EventType::Fail, Value::Text(None))),
        (_, Value::Text(new)) => (new.clone(), (EventType::Ok, event.value.clone())),
        (_, Value::Pair(_)) => unreachable!("only cas has a pair"),
    };
    match new {
        Some(new) => _ = registers.insert(event.key.clone(), new),
        None => _ = registers.remove(&event.key),
    }
    answer
}

/// Whether there is an order, by trying them all; what is left is tried once with each content.
fn brute_force(operations: &[Operation]) -> bool {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| operation.outcome != Outcome::Failed) {
        keys.entry(&operation.key).or_default().push(operation);
    }
    keys.into_values().all(|left| any_order(left, None, &mut BTreeSet::new()))
}

type Tried = BTreeSet<(Vec<usize>, Option<String>)>;

fn any_order(left: Vec<&Operation>, content: Option<String>, tried: &mut Tried) -> bool {
    if left.iter().all(|operation| operation.outcome == Outcome::Unknown) {
        return true;
    }
    let names = left.iter().map(|operation| operation.invoke_index).collect();
    if !tried.insert((names, content.clone())) {
        return false;
    }
    (0..left.len()).any(|place| {
        let mut rest = left.clone();
        let next = rest.remove(place);
        let comes_first = |other: &&Operation| other.return_index.is_some_and(|answer| answer < next.invoke_index);
        if rest.iter().any(comes_first) {
            return false;
        }
        let found = |expected: &Option<String>| *expected == content;
        let content = match (next.f, &next.value) {
            (Function::Get, _) if next.outcome == Outcome::Unknown => content.clone(),
            (Function::Get, Value::Text(read)) if found(read) => content.clone(),
            (Function::Set | Function::Delete, Value::Text(new)) => new.clone(),
            (Function::Append, Value::Text(Some(tail))) => Some(content.clone().unwrap_or_default() + tail),
            (Function::Cas, Value::Pair([expected, new])) if found(expected) => new.clone(),
            _ => return false,
        };
        any_order(rest, content, tried)
    })
}

/// Changes what one read answered. False where there is none.
fn mutate(history: &mut [Event], rng: &mut Rng, value: impl Fn(&mut Rng) -> Option<String>) -> bool {
    let is_read = |event: &Event| event.f == Function::Get && event.event_type == EventType::Ok;
    let reads: Vec<usize> = (0..history.len()).filter(|place| is_read(&history[*place])).collect();
    if reads.is_empty() {
        return false;
    }
    let new = Value::Text(value(rng));
    let read = &mut history[reads[rng.usize(..reads.len())]].value;
    let is_other = *read != new;
    *read = new;
    is_other
}

fn is_linearizable(verdict: &Verdict) -> bool {
    assert!(!matches!(verdict, Verdict::Undecided { .. }), "{verdict}");
    matches!(verdict, Verdict::Linearizable { .. })
}

/// A shortest piece must fail, and must not without any of its operations that no other one of the piece saw.
fn assert_shortest(verdict: &Verdict, of: &[Operation]) {
    let Verdict::Violation { shortest, is_minimal, .. } = verdict else { panic!("{verdict}") };
    assert!(is_minimal, "the budget is ample");
    assert!(!is_linearizable(&check_operations(shortest, Budget::default())), "the piece fails\n{verdict}");
    let names: BTreeSet<usize> = of.iter().map(|operation| operation.invoke_index).collect();
    assert!(shortest.iter().all(|operation| names.contains(&operation.invoke_index)), "the piece is of the history");
    let appends = shortest.iter().any(|operation| operation.f == Function::Append);
    let made = |operation: &Operation| match &operation.value {
        _ if operation.f == Function::Get => None,
        Value::Pair([_, new]) => Some(new.clone()),
        Value::Text(text) => Some(text.clone()),
    };
    let seen = |operation: &Operation| match &operation.value {
        Value::Text(text) if operation.f == Function::Get => Some(text.clone()),
        Value::Pair([expected, _]) => Some(expected.clone()),
        _ => None,
    };
    for place in 0..shortest.len() {
        let mut rest = shortest.clone();
        let out = rest.remove(place);
        let is_seen = |made| rest.iter().filter_map(seen).any(|seen| appends || made == seen);
        if made(&out).is_some_and(is_seen) {
            continue;
        }
        assert!(is_linearizable(&check_operations(&rest, Budget::default())), "{out} can go\n{verdict}");
    }
}

#[test]
fn agrees_with_the_known_verdicts_of_real_histories() {
    let Some(folder) = std::env::var_os("MATRIXKV_HISTORIES") else {
        eprintln!("skipped: MATRIXKV_HISTORIES is not set");
        return;
    };
    let folder = Path::new(&folder);
    let verdicts = std::fs::read_to_string(folder.join("jepsen-etcd/verdicts.tsv")).unwrap();
    let mut expected: Vec<(String, Format, bool)> = Vec::new();
    for line in verdicts.lines().skip(1) {
        let (name, verdict) = line.split_once('\t').unwrap();
        expected.push((format!("jepsen-etcd/{name}"), Format::Jepsen, verdict.trim() == "true"));
    }
    for entry in std::fs::read_dir(folder.join("kv")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        expected.push((format!("kv/{name}"), Format::KvMap, name.ends_with("-ok.txt")));
    }
    assert!(expected.len() >= 57, "only {} histories", expected.len());
    let mut wrong = Vec::new();
    for (name, format, is_ok) in expected {
        let (found_format, _, verdict) = check_file(&folder.join(&name)).unwrap();
        assert_eq!(found_format, format, "{name}");
        if is_linearizable(&verdict) != is_ok {
            wrong.push(format!("{name}: {verdict}"));
        } else if !is_ok {
            let (_, events) = matrixkv_sim::linear::read_file(&folder.join(&name)).unwrap();
            assert_shortest(&verdict, &operations(&events).unwrap());
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn agrees_with_brute_force_on_small_histories() {
    let mut counts = [0, 0];
    for seed in 0..10_000 {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan {
            clients: rng.usize(2..7),
            operations: [rng.usize(3..8), rng.usize(8..16)][usize::from(rng.u8(..4) == 0)],
            keys: 1 + u64::from(rng.u8(..8) == 0),
            functions: if rng.bool() { ALL } else { REGISTER },
            unknown_percent: [5, 25][rng.usize(..2)],
            alphabet: rng.bool().then_some(if rng.bool() { &["a", "b"] } else { &["", "a", "aa"] }),
        };
        let mut history = simulate(plan, &mut rng);
        for _ in 0..rng.u8(..6) {
            let written: Vec<Event> = history.clone();
            mutate(&mut history, &mut rng, |rng| match &written[rng.usize(..written.len())].value {
                Value::Text(text) => text.clone(),
                Value::Pair(pair) => pair[1].clone(),
            });
        }
        let operations = operations(&history).unwrap();
        let (expected, verdict) = (brute_force(&operations), check(&history, Budget::default()));
        assert_eq!(is_linearizable(&verdict), expected, "seed {seed}: {verdict}\n{operations:#?}");
        counts[usize::from(expected)] += 1;
        let steps = rng.u64(..20);
        match check(&history, Budget { steps, ..Budget::default() }) {
            Verdict::Undecided { .. } => {}
            verdict => assert_eq!(is_linearizable(&verdict), expected, "seed {seed}, {steps} steps: {verdict}"),
        }
        if !expected {
            assert_shortest(&verdict, &operations);
            let Verdict::Violation { shortest, .. } = &verdict else { unreachable!("not linearizable") };
            assert!(!brute_force(shortest), "seed {seed}: {verdict}");
        }
    }
    assert!(counts.iter().all(|count| *count > 1000), "too few of one kind: {counts:?}");
}

#[test]
fn accepts_what_atomic_registers_did() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan {
            clients: rng.usize(1..20),
            operations: 300,
            keys: 2,
            functions: [ALL, REGISTER, GET_SET][rng.usize(..3)],
            unknown_percent: 5,
            alphabet: (rng.u8(..4) == 0).then_some(&["a", "b", "c", "d", "e"]),
        };
        let verdict = check(&simulate(plan, &mut rng), Budget::default());
        assert!(is_linearizable(&verdict), "seed {seed}: {verdict}");
    }
}

#[test]
fn flags_a_read_of_what_nobody_wrote() {
    for seed in 0..100 {
        let mut rng = Rng::with_seed(seed);
        let functions = if rng.bool() { ALL } else { REGISTER };
        let plan = Plan { clients: 8, operations: 200, keys: 2, functions, unknown_percent: 5, alphabet: None };
        let mut history = simulate(plan, &mut rng);
        assert!(mutate(&mut history, &mut rng, |_| Some("nobody wrote this".into())));
        let verdict = check(&history, Budget::default());
        let Verdict::Violation { shortest, .. } = &verdict else { panic!("seed {seed}: {verdict}") };
        assert_eq!(shortest.len(), 1, "{verdict}");
    }
}

/// A stale read: the value of a set that another set had wholly overwritten before the read began.
fn make_stale(history: &mut [Event]) -> bool {
    let operations = operations(history).unwrap();
    let done = |f| operations.iter().filter(move |one| one.f == f && one.outcome == Outcome::Done);
    for read in done(Function::Get).rev() {
        let before = |at: usize| done(Function::Set).rev().filter(move |set| set.return_index.unwrap() < at);
        let same = |set: &&Operation| set.key == read.key;
        let Some(newer) = before(read.invoke_index).find(same) else { continue };
        let Some(older) = before(newer.invoke_index).find(same) else { continue };
        history[read.return_index.unwrap()].value = older.value.clone();
        return true;
    }
    false
}

#[test]
fn flags_a_stale_read() {
    for seed in 0..100 {
        let mut rng = Rng::with_seed(seed);
        let plan =
            Plan { clients: 8, operations: 300, keys: 2, functions: GET_SET, unknown_percent: 5, alphabet: None };
        let mut history = simulate(plan, &mut rng);
        assert!(make_stale(&mut history));
        let verdict = check(&history, Budget::default());
        assert_shortest(&verdict, &operations(&history).unwrap());
        let Verdict::Violation { shortest, .. } = &verdict else { unreachable!("it has a shortest piece") };
        assert_eq!(shortest.len(), 3, "two sets and the read are enough\n{verdict}");
    }
}

#[test]
fn flags_a_lost_write() {
    for seed in 0..100 {
        let mut rng = Rng::with_seed(seed);
        let plan =
            Plan { clients: 8, operations: 300, keys: 1, functions: GET_SET, unknown_percent: 5, alphabet: None };
        let mut history = simulate(plan, &mut rng);
        let last = history.iter().rposition(|one| one.f == Function::Get && one.event_type == EventType::Ok);
        history[last.unwrap()].value = Value::Text(None);
        let verdict = check(&history, Budget::default());
        let Verdict::Violation { shortest, .. } = &verdict else { panic!("seed {seed}: {verdict}") };
        assert_eq!(shortest.len(), 2, "{verdict}");
    }
}

#[test]
fn a_spent_budget_is_undecided() {
    let mut rng = Rng::with_seed(1);
    let plan = Plan { clients: 8, operations: 300, keys: 1, functions: ALL, unknown_percent: 5, alphabet: None };
    let history = simulate(plan, &mut rng);
    let ample = Budget::default();
    for budget in
        [Budget { steps: 100, ..ample }, Budget { configurations: 10, ..ample }, Budget { text_bytes: 100, ..ample }]
    {
        let verdict = check(&history, budget);
        assert!(matches!(verdict, Verdict::Undecided { .. }), "{verdict}");
        assert!(verdict.to_string().starts_with("undecided: "), "{verdict}");
    }
}

#[test]
fn an_undecided_key_does_not_hide_a_violation() {
    let plan = Plan { clients: 8, operations: 300, keys: 1, functions: GET_SET, unknown_percent: 0, alphabet: None };
    let mut history = simulate(plan, &mut Rng::with_seed(1));
    let time = history.last().unwrap().time;
    let read = |event_type, value| Event {
        process: 99,
        event_type,
        f: Function::Get,
        key: "z".into(),
        value,
        time,
        node: None,
    };
    history.push(read(EventType::Invoke, Value::Text(None)));
    history.push(read(EventType::Ok, Value::Text(Some("never written".into()))));
    let verdict = check(&history, Budget { steps: 20, ..Budget::default() });
    assert!(matches!(&verdict, Verdict::Violation { key, .. } if key == "z"), "{verdict}");
}

#[test]
fn the_report_draws_who_overlapped_whom() {
    let text = |text: &str| Value::Text(Some(text.into()));
    let event = |process, event_type, f, value, time| Event {
        process,
        event_type,
        f,
        key: "k".into(),
        value,
        time,
        node: Some(2),
    };
    let none = Value::Text(None);
    let history = [
        event(1, EventType::Invoke, Function::Set, text("a"), 10),
        event(2, EventType::Invoke, Function::Set, text("b"), 15),
        event(1, EventType::Ok, Function::Set, text("a"), 20),
        event(3, EventType::Invoke, Function::Get, none.clone(), 30),
        event(3, EventType::Ok, Function::Get, text("b"), 35),
        event(3, EventType::Invoke, Function::Get, none, 40),
        event(3, EventType::Ok, Function::Get, text("a"), 45),
    ];
    let expected = "\
not linearizable: key \"k\", shown by 4 of 4 operations
  process 1 at node 2  set \"a\"     |---|            10 ns to 20 ns
  process 2 at node 2  set \"b\"       |-----------?  15 ns to no answer
  process 3 at node 2  get -> \"b\"        |-|        30 ns to 35 ns
  process 3 at node 2  get -> \"a\"            |-|    40 ns to 45 ns
";
    assert_eq!(check(&history, Budget::default()).to_string(), expected);
}

#[test]
fn a_hundred_thousand_operations_take_seconds() {
    for (name, functions, clients) in [
        ("get and set, 8 clients", GET_SET, 8),
        ("register, 50 clients", REGISTER, 50),
        ("with append, 20 clients", ALL, 20),
    ] {
        let plan = Plan { clients, operations: 100_000, keys: 20, functions, unknown_percent: 2, alphabet: None };
        let mut history = simulate(plan, &mut Rng::with_seed(7));
        let start = Instant::now();
        let verdict = check(&history, Budget::default());
        println!("{name}: {:?}, {verdict}", start.elapsed());
        assert!(is_linearizable(&verdict), "{verdict}");
        if functions == GET_SET {
            assert!(make_stale(&mut history));
            let start = Instant::now();
            let verdict = check(&history, Budget::default());
            println!("{name}, one stale read: {:?}, {verdict}", start.elapsed());
            assert_shortest(&verdict, &operations(&history).unwrap());
        }
    }
}

#[test]
fn thousands_of_writes_without_an_answer_do_not_matter() {
    let mut rng = Rng::with_seed(3);
    let plan =
        Plan { clients: 50, operations: 5_000, keys: 1, functions: REGISTER, unknown_percent: 60, alphabet: None };
    let history = simulate(plan, &mut rng);
    let start = Instant::now();
    let verdict = check(&history, Budget::default());
    println!("{:?}, {verdict}", start.elapsed());
    assert!(is_linearizable(&verdict), "{verdict}");
    assert_eq!(verdict, check(&history, Budget::default()), "the same history gives the same verdict");
}
