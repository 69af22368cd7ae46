//! Whatever happens to the bytes on their way, a link gives what was said or a verdict.

use proptest::prelude::*;

use super::*;
use crate::{
    types::{Boot, CallId, ClusterId, Epoch, NodeToken, ShardId, StoreId},
    wire::{DataRequest, Op, Request},
};

const BYTES_MAX: u64 = 1 << 16;

const OURS: Identity = identity(1, 9, 4);
const THEIRS: Identity = identity(2, 9, 7);

const fn identity(node: u64, cluster: u64, boot: u64) -> Identity {
    Identity { cluster: ClusterId(cluster), node: NodeToken(node), store: StoreId(node), boot: Boot(boot) }
}

fn body(call: u64, value: &[u8]) -> Body {
    let op = Op::Set { key: BytesMut::from("key").freeze(), value: value.to_vec().into() };
    let request = Request::Data(DataRequest { shard: ShardId(3), epoch: Epoch { conf_ver: 1, version: 2 }, op });
    Body::Request { call: CallId(call), request }
}

/// What [`THEIRS`] says: a hello and `values`.
fn speech(values: &[Vec<u8>]) -> Vec<u8> {
    let stamp = Stamp::default();
    let mut out = Vec::new();
    put_hello(&mut out, &Hello::new(THEIRS, Channel::Client));
    for (call, value) in values.iter().enumerate() {
        put_envelope(&mut out, &stamp.envelope(&THEIRS, OURS.boot, body(call as u64, value)));
    }
    out
}

/// What a link makes of [`speech`] when nothing happens to it.
fn events(values: &[Vec<u8>]) -> Vec<Event> {
    let said = values
        .iter()
        .zip(1..)
        .map(|(value, seq)| Event::Envelope(Sender { identity: THEIRS, seq }, body(seq - 1, value)));
    [Event::Hello(THEIRS, Channel::Client)].into_iter().chain(said).collect()
}

fn link() -> Link {
    Link::new(&[Channel::Client], BYTES_MAX)
}

/// What a link makes of the chunks: events, and the verdict that ended them.
fn hear<'a>(link: &mut Link, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Event>, Option<Verdict>) {
    let (mut heard, mut boots) = (Vec::new(), BootTable::default());
    for chunk in chunks {
        link.input().extend_from_slice(chunk);
        loop {
            match link.next(&OURS, &mut boots) {
                Ok(Some(event)) => heard.push(event),
                Ok(None) => break,
                Err(verdict) => return (heard, Some(verdict)),
            }
        }
    }
    (heard, None)
}

fn refusal(bytes: &[u8]) -> Refusal {
    match hear(&mut link(), [bytes]).1 {
        Some(Verdict::Refuse(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn values() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8)
}

proptest! {
    #[test]
    fn chunks_do_not_matter(values in values(), cuts in prop::collection::vec(1usize..50, 1..100)) {
        let bytes = speech(&values);
        let (mut chunks, mut rest) = (Vec::new(), bytes.as_slice());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (chunk, more) = rest.split_at((*cut).min(rest.len()));
            chunks.push(chunk);
            rest = more;
        }
        prop_assert_eq!(hear(&mut link(), chunks), (events(&values), None));
    }

    #[test]
    fn a_flipped_bit_never_passes(values in values(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = speech(&values);
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        let whole = events(&values);
        let mut link = link();
        let (heard, verdict) = hear(&mut link, [bytes.as_slice()]);
        prop_assert!(heard.len() < whole.len() && whole.starts_with(&heard));
        // Only a length that grew leaves the link without a verdict: it waits for bytes whose checksum will not hold.
        prop_assert!(verdict.is_some() || !link.input.is_empty());
    }

    #[test]
    fn what_is_cut_short_is_not_decoded(values in values(), at in any::<prop::sample::Index>()) {
        let bytes = speech(&values);
        let cut = at.index(bytes.len());
        let whole = events(&values);
        let (heard, verdict) = hear(&mut link(), [&bytes[..cut]]);
        prop_assert!(heard.len() < whole.len() && whole.starts_with(&heard));
        prop_assert_eq!(verdict, None);
    }

    #[test]
    fn noise_is_never_an_event(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert_eq!(hear(&mut link(), [bytes.as_slice()]).0, []);
    }

    #[test]
    fn noise_in_a_sound_frame_is_refused_or_sound(kind in 0u8..5, noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = speech(&[]);
        frame::put(&mut bytes, kind, &noise);
        let (heard, verdict) = hear(&mut link(), [bytes.as_slice()]);
        prop_assert!(verdict.is_some() && heard.len() == 1);
    }

    #[test]
    fn the_bytes_of_a_body_are_counted_exactly(value in prop::collection::vec(any::<u8>(), 0..300), call: u64) {
        let body = body(call, &value);
        prop_assert_eq!(body_bytes(&body), crate::wire::encode(&body).len() as u64 - 1);
    }
}

#[test]
fn the_longest_stamp_is_within_the_overhead() {
    let most = Identity { node: NodeToken(u64::MAX), store: StoreId(u64::MAX), boot: Boot(u64::MAX), ..OURS };
    let body = body(1, b"value");
    let mut envelope = Stamp::default().envelope(&most, Boot(u64::MAX), body.clone());
    envelope.seq = u64::MAX;
    let mut out = Vec::new();
    put_envelope(&mut out, &envelope);
    assert_eq!(out.len() as u64, 8 + ENVELOPE_OVERHEAD_BYTES_MAX + body_bytes(&body));
}

#[test]
fn an_announced_length_allocates_nothing() {
    let mut link = link();
    let mut bytes = speech(&[]);
    bytes.extend((BYTES_MAX as u32).to_le_bytes());
    bytes.extend([0; 4]);
    assert_eq!(hear(&mut link, [bytes.as_slice()]), (events(&[]), None));
    assert!(link.input.capacity() < 1000);

    bytes = speech(&[]);
    bytes.extend((BYTES_MAX as u32 + 1).to_le_bytes());
    bytes.extend([0; 4]);
    assert_eq!(refusal(&bytes), Refusal::TooLong { bytes: BYTES_MAX + 1, bytes_max: BYTES_MAX });
}

#[test]
fn who_is_no_peer_is_told_apart() {
    assert_eq!(refusal(b"GET / HTTP/1.1\r\n\r\n"), Refusal::NotAPeer);
    assert_eq!(refusal(&[0; 8]), Refusal::NotAPeer);
    let mut other_magic = Vec::new();
    frame::put(&mut other_magic, 1, b"MATRIXKW and so on");
    assert_eq!(refusal(&other_magic), Refusal::NotAPeer);

    let mut other_protocol = Vec::new();
    put_hello(&mut other_protocol, &Hello { protocol: 77, ..Hello::new(THEIRS, Channel::Client) });
    assert_eq!(refusal(&other_protocol), Refusal::Protocol { theirs: 77 });
}

#[test]
fn nothing_comes_before_the_hello() {
    let mut bytes = Vec::new();
    put_envelope(&mut bytes, &Stamp::default().envelope(&THEIRS, OURS.boot, body(1, b"")));
    assert_eq!(refusal(&bytes), Refusal::NoHello);
}

#[test]
fn an_envelope_of_another_life_is_stray() {
    let (hello, stamp) = (speech(&[]), Stamp::default());
    let next = Identity { boot: Boot(THEIRS.boot.0 + 1), ..THEIRS };
    let other_store = Identity { store: StoreId(77), ..THEIRS };
    for envelope in [
        stamp.envelope(&THEIRS, Boot(OURS.boot.0 - 1), body(1, b"")),
        stamp.envelope(&next, OURS.boot, body(1, b"")),
        stamp.envelope(&other_store, OURS.boot, body(1, b"")),
        stamp.envelope(&identity(3, 9, 1), OURS.boot, body(1, b"")),
    ] {
        let mut bytes = hello.clone();
        put_envelope(&mut bytes, &envelope);
        assert!(matches!(refusal(&bytes), Refusal::Stray { .. }), "{envelope:?}");
    }
}

#[test]
fn an_envelope_of_a_life_that_is_over_is_refused() {
    let (mut link, mut boots) = (link(), BootTable::default());
    link.input().extend_from_slice(&speech(&[vec![]]));
    link.next(&OURS, &mut boots).unwrap();
    boots.admit(THEIRS.node, Boot(8)).unwrap();
    let refusal = Refusal::OldBoot { node: THEIRS.node, boot: Boot(7), highest: Boot(8) };
    assert_eq!(link.next(&OURS, &mut boots), Err(Verdict::Refuse(refusal.clone())));
    assert_eq!(link.next(&OURS, &mut boots), Err(Verdict::Refuse(refusal)));
}

#[test]
fn a_second_hello_may_only_add() {
    let young = Identity { cluster: ClusterId::NONE, store: StoreId::NONE, ..THEIRS };
    let say = |hellos: &[Identity]| {
        let mut bytes = Vec::new();
        hellos.iter().for_each(|identity| put_hello(&mut bytes, &Hello::new(*identity, Channel::Client)));
        bytes
    };
    assert_eq!(hear(&mut link(), [say(&[young, THEIRS]).as_slice()]).1, None);
    assert_eq!(refusal(&say(&[THEIRS, young])), Refusal::Changed);
    assert_eq!(refusal(&say(&[young, Identity { boot: Boot(8), ..young }])), Refusal::Changed);
    assert_eq!(refusal(&say(&[young, identity(3, 9, 7)])), Refusal::Changed);
    let foreign = Identity { cluster: ClusterId(5), ..THEIRS };
    assert_eq!(refusal(&say(&[young, foreign])), Refusal::Cluster { ours: OURS.cluster, theirs: ClusterId(5) });
}

#[test]
fn a_refusal_is_heard_and_cut_to_fit() {
    let mut bytes = Vec::new();
    put_refusal(&mut bytes, &"ä".repeat(1000));
    assert_eq!(hear(&mut link(), [bytes.as_slice()]), (vec![], Some(Verdict::Refused("ä".repeat(256)))));
}

#[test]
fn who_is_welcome() {
    let mut boots = BootTable::default();
    let mut judge = |ours: Identity, theirs: Identity| {
        super::judge(&ours, &Hello::new(theirs, Channel::Client), &[Channel::Client], &mut boots)
    };
    assert_eq!(judge(OURS, THEIRS), Ok(()));
    assert_eq!(judge(OURS, THEIRS), Ok(()));
    let foreign = identity(3, 5, 1);
    assert_eq!(judge(OURS, foreign), Err(Refusal::Cluster { ours: ClusterId(9), theirs: ClusterId(5) }));
    assert_eq!(judge(identity(1, 0, 4), foreign), Ok(()));
    assert_eq!(judge(OURS, identity(4, 0, 1)), Ok(()));
    assert_eq!(judge(OURS, identity(0, 9, 1)), Err(Refusal::Nameless));
    assert_eq!(judge(OURS, identity(4, 9, 0)), Err(Refusal::Nameless));
    let old = Refusal::OldBoot { node: NodeToken(2), boot: Boot(6), highest: Boot(7) };
    assert_eq!(judge(OURS, identity(2, 9, 6)), Err(old));
    assert_eq!(judge(OURS, identity(2, 9, 8)), Ok(()));

    assert_eq!(judge(OURS, OURS), Ok(()));
    let newer = Refusal::Superseded { node: NodeToken(1), boot: Boot(4), newer: Boot(5) };
    assert_eq!(judge(OURS, identity(1, 9, 5)), Err(newer));
    assert!(matches!(judge(OURS, identity(1, 9, 3)), Err(Refusal::OldBoot { .. })));
    let hello = Hello::new(THEIRS, Channel::Raft);
    let refused = super::judge(&OURS, &hello, &[Channel::Client], &mut BootTable::default());
    assert_eq!(refused, Err(Refusal::Channel(Channel::Raft)));
}

#[test]
fn the_boot_table_is_bounded() {
    let mut boots = BootTable::default();
    (1..=NODES_MAX as u64).for_each(|node| boots.admit(NodeToken(node), Boot(1)).unwrap());
    assert_eq!(boots.admit(NodeToken(u64::MAX), Boot(1)), Err(Refusal::TooManyNodes));
    assert_eq!(boots.admit(NodeToken(1), Boot(2)), Ok(()));
}
