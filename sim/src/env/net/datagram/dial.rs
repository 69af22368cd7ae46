//! The calling side: one session for each channel and address that a node sends to.

use std::time::Duration;

use matrixkv::{
    env::{
        Channel, Identity, NetworkEvent, Via,
        link::{self, Hello, Refusal, body_bytes, judge},
    },
    wire::{self, Body, Envelope},
};

use super::{
    super::{
        address::resolve,
        fabric::{Event, Fabric},
        policy::Direction,
    },
    Destination, Endpoint, Packet, Said, Waiting,
};

/// How long a call may go unanswered.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pauses between hellos, and after failures: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What is known of one peer, over one channel.
pub(super) struct Session {
    /// Each attempt has a number of its own.
    number: u64,
    state: State,
    failures: u32,
}

enum State {
    /// Nothing was sent yet, or not for a while.
    Idle,
    Calling {
        until: u64,
        hellos: u32,
        waiting: Waiting,
        bytes: u64,
    },
    Up {
        peer: Identity,
        host: u64,
        node: usize,
    },
    /// Waits before it calls again.
    Sulking,
}

impl Fabric {
    /// A body from the node to an address.
    pub(super) fn send(&mut self, now: u64, endpoint: u64, channel: Channel, address: &str, body: Body) {
        let Some(own) = self.endpoints.get_mut(&endpoint) else { return };
        let bytes = body_bytes(&body);
        if !own.fits(bytes) {
            return self.give_back(endpoint, channel, address, body);
        }
        let key = (channel, address.to_owned());
        let session = own.sessions.entry(key).or_insert(Session { number: 0, state: State::Idle, failures: 0 });
        let limits = own.limits;
        match &mut session.state {
            State::Sulking => self.give_back(endpoint, channel, address, body),
            State::Up { .. } => self.send_up(now, endpoint, channel, address, body),
            State::Calling { waiting, bytes: waits, .. } => {
                let full = waiting.len() >= limits.queue_messages_max || *waits + bytes > limits.queue_bytes_max;
                if full && !waiting.is_empty() {
                    return self.give_back(endpoint, channel, address, body);
                }
                *waits += bytes;
                waiting.push_back((bytes, body));
            }
            State::Idle => self.call(now, endpoint, channel, address, (bytes, body)),
        }
    }

    /// Sends over a session that stands.
    fn send_up(&mut self, now: u64, endpoint: u64, channel: Channel, address: &str, body: Body) {
        let own = &self.endpoints[&endpoint];
        let session = &own.sessions[&(channel, address.to_owned())];
        let State::Up { peer, .. } = &session.state else { return };
        let (said, number, node) = (own.envelope(channel, peer.boot, body), session.number, own.node);
        self.speak(now, endpoint, node, number, address, said);
    }

    /// Sends to where a session leads.
    fn speak(&mut self, now: u64, endpoint: u64, node: usize, session: u64, address: &str, said: Said) {
        let Ok((to, port)) = resolve(node, address) else { return };
        let to_door = Destination::Address(to, port);
        self.dispatch(now, (node, to), Packet { from: node, to: to_door, session: (endpoint, session), said });
    }

    /// Opens a session.
    fn call(&mut self, now: u64, endpoint: u64, channel: Channel, address: &str, first: (u64, Body)) {
        let number = self.id();
        let own = self.endpoints.get_mut(&endpoint).expect("it calls");
        let key = (channel, address.to_owned());
        let session = own.sessions.get_mut(&key).expect("it was made for this");
        let (until, bytes, waiting) = (now + PATIENCE.as_nanos() as u64, first.0, Waiting::from([first]));
        (session.number, session.state) = (number, State::Calling { until, hellos: 0, waiting, bytes });
        own.called.insert(number, key);
        self.call_again(now, endpoint, number);
    }

    /// Says hello, again where the last one was not answered.
    pub(in super::super) fn call_again(&mut self, now: u64, endpoint: u64, number: u64) {
        let Some((own, key)) = self.called(endpoint, number) else { return };
        let identity = own.identity.get();
        let node = own.node;
        let State::Calling { until, hellos, .. } = &mut own.sessions.get_mut(&key).expect("it was called").state else {
            return;
        };
        let (over, pause) = (now >= *until, PAUSE_MIN * (1 << (*hellos).min(10)));
        *hellos += 1;
        if over || resolve(node, &key.1).is_err() {
            self.speak(now, endpoint, node, number, &key.1, Said::Farewell);
            return self.fail(now, endpoint, number);
        }
        let again = now + own.rng.jitter(pause.min(PAUSE_MAX)).as_nanos() as u64;
        self.at(again, Event::Call { endpoint, session: number });
        self.speak(now, endpoint, node, number, &key.1, Said::Hello(Hello::new(identity, key.0)));
    }

    /// The session of this number, if it is not over.
    fn called(&mut self, endpoint: u64, number: u64) -> Option<(&mut Endpoint, (Channel, String))> {
        let own = self.endpoints.get_mut(&endpoint)?;
        let key = own.called.get(&number)?.clone();
        Some((own, key))
    }

    /// An answer to a caller.
    pub(super) fn arrives_at_caller(&mut self, now: u64, node: usize, packet: Packet) {
        let (endpoint, number) = packet.session;
        let Some((own, (channel, address))) = self.called(endpoint, number) else { return };
        assert_eq!(own.node, node, "an answer went astray");
        if matches!(own.sessions[&(channel, address.clone())].state, State::Sulking) {
            // It comes too late: this session has given up.
            return;
        }
        match packet.said {
            Said::Welcome(hello, host) => self.welcomed(now, endpoint, number, hello, (host, packet.from)),
            Said::Envelope(hello, bytes) => self.answered(now, endpoint, number, hello, &bytes),
            Said::Refusal(why) => {
                let peer = self.peer(endpoint, number);
                self.tell_refused(endpoint, peer, address, format!("the other side refused: {why}"));
                self.fail(now, endpoint, number);
            }
            Said::Reset => self.fail(now, endpoint, number),
            Said::Hello(_) | Said::Farewell => unreachable!("said by callers only, over {channel:?}"),
        }
    }

    /// Who answered, if somebody did.
    fn peer(&self, endpoint: u64, number: u64) -> Option<Identity> {
        let own = &self.endpoints[&endpoint];
        match own.sessions[&own.called[&number]].state {
            State::Up { peer, .. } => Some(peer),
            _ => None,
        }
    }

    fn welcomed(&mut self, now: u64, endpoint: u64, number: u64, hello: Hello, (host, node): (u64, usize)) {
        let Some((own, key)) = self.called(endpoint, number) else { return };
        if matches!(own.sessions[&key].state, State::Up { .. }) {
            return;
        }
        let (channel, address) = key.clone();
        if let Err(refusal) = judge(&own.identity.get(), &hello, &[channel], &mut own.boots) {
            return self.refuse_answer(now, endpoint, number, hello, refusal);
        }
        let peer = hello.identity;
        let session = own.sessions.get_mut(&key).expect("it was called");
        session.failures = 0;
        let before = std::mem::replace(&mut session.state, State::Up { peer, host, node });
        self.tell(endpoint, NetworkEvent::PeerUp { channel, address: address.clone(), peer });
        self.tell_contact(endpoint, peer);
        let State::Calling { waiting, .. } = before else { return };
        waiting.into_iter().for_each(|(_, body)| self.send_up(now, endpoint, channel, &address, body));
    }

    /// An envelope came back over a session.
    fn answered(&mut self, now: u64, endpoint: u64, number: u64, hello: Hello, bytes: &[u8]) {
        let Some((own, key)) = self.called(endpoint, number) else { return };
        let State::Up { peer, .. } = &mut own.sessions.get_mut(&key).expect("it was called").state else { return };
        let envelope: Envelope = wire::decode(bytes).expect("our own envelopes decode");
        let ours = own.identity.get();
        let checked = judge(&ours, &hello, &[key.0], &mut own.boots)
            .and_then(|()| link::check(&ours, &hello.identity, &own.boots, &envelope));
        let news = peer.cluster.is_none();
        *peer = hello.identity;
        match checked {
            Ok(sender) => {
                if news {
                    self.tell_contact(endpoint, hello.identity);
                }
                let (channel, address) = key;
                let via = Via::Dialled { channel, address };
                self.tell(endpoint, NetworkEvent::Message { channel, sender, via, body: envelope.body });
            }
            Err(refusal) => self.refuse_answer(now, endpoint, number, hello, refusal),
        }
    }

    fn refuse_answer(&mut self, now: u64, endpoint: u64, number: u64, hello: Hello, refusal: Refusal) {
        let Some((own, (_, address))) = self.called(endpoint, number) else { return };
        let node = own.node;
        self.tell_refused(endpoint, Some(hello.identity), address.clone(), refusal.to_string());
        self.speak(now, endpoint, node, number, &address, Said::Farewell);
        self.fail(now, endpoint, number);
    }

    /// A session is over. It gives back what waited, and rests before the next attempt.
    fn fail(&mut self, now: u64, endpoint: u64, number: u64) {
        let Some((own, key)) = self.called(endpoint, number) else { return };
        let session = own.sessions.get_mut(&key).expect("it was called");
        let before = std::mem::replace(&mut session.state, State::Sulking);
        let up = matches!(before, State::Up { .. });
        session.failures = if up { 0 } else { session.failures + 1 };
        let pause = PAUSE_MIN * (1 << session.failures.saturating_sub(1).min(10));
        let calm = now + own.rng.jitter(pause.min(PAUSE_MAX)).as_nanos() as u64;
        let (channel, address) = key;
        if let State::Calling { waiting, .. } = before {
            waiting.into_iter().for_each(|(_, body)| self.give_back(endpoint, channel, &address, body));
        }
        if up {
            self.tell(endpoint, NetworkEvent::PeerLost { channel, address });
        }
        self.at(calm, Event::Calm { endpoint, session: number });
    }

    /// The rest after a failure is over.
    pub(in super::super) fn calm_down(&mut self, endpoint: u64, number: u64) {
        let Some((own, key)) = self.called(endpoint, number) else { return };
        own.called.remove(&number);
        let session = own.sessions.get_mut(&key).expect("it was called");
        if session.failures == 0 {
            // Forgotten until somebody sends there again: addresses come and go.
            own.sessions.remove(&key);
        } else {
            session.state = State::Idle;
        }
    }

    /// Tells the node that `body` was never sent, where somebody may wait for an answer.
    fn give_back(&mut self, endpoint: u64, channel: Channel, address: &str, body: Body) {
        if matches!(body, Body::Request { .. }) {
            self.tell(endpoint, NetworkEvent::Dropped { channel, address: address.to_owned(), body });
        }
    }

    /// Tells the other side that a caller is gone.
    pub(super) fn end_session(&mut self, now: u64, endpoint: u64, node: usize, session: &Session, address: &str) {
        if !matches!(session.state, State::Idle | State::Sulking) {
            self.speak(now, endpoint, node, session.number, address, Said::Farewell);
        }
    }

    /// Nothing came over a link for too long.
    pub(in super::super) fn lose_sessions_across(&mut self, now: u64, (a, b): Direction) {
        self.lose_sessions(now, |from, to, _| (from, to) == (a, b) || (from, to) == (b, a));
        self.forget_guests(|host, guest| (guest, host) == (a, b) || (guest, host) == (b, a));
    }

    /// Nothing came for too long from a machine that lost power.
    pub(in super::super) fn lose_dead_sessions(&mut self, now: u64, node: usize) {
        self.lose_sessions(now, |_, to, alive| to == node && !alive);
    }

    /// `concerned` gets both nodes, and whether the life that answered is still there.
    fn lose_sessions(&mut self, now: u64, concerned: impl Fn(usize, usize, bool) -> bool) {
        let alive = |host: &u64| self.endpoints.contains_key(host);
        let mut lost = Vec::new();
        for (endpoint, own) in &self.endpoints {
            for session in own.sessions.values() {
                if let State::Up { host, node, .. } = &session.state
                    && concerned(own.node, *node, alive(host))
                {
                    lost.push((*endpoint, session.number));
                }
            }
        }
        lost.into_iter().for_each(|(endpoint, number)| self.fail(now, endpoint, number));
    }
}
