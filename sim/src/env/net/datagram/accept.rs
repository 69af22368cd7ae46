//! The side that is called: guests, and what they say.

use matrixkv::{
    env::{
        Channel, Identity, NetworkEvent, Via,
        link::{self, Hello, Refusal, body_bytes, judge},
    },
    wire::{self, Body, Envelope},
};

use super::{
    super::{
        address::name,
        fabric::{Fabric, Socket},
    },
    Destination, Endpoint, Packet, Said,
};

/// A session that somebody else opened.
#[derive(Clone)]
pub(super) struct Guest {
    node: usize,
    session: (u64, u64),
    channel: Channel,
    identity: Identity,
}

impl Fabric {
    /// A datagram arrives at a port.
    pub(super) fn arrives_at_door(&mut self, now: u64, node: usize, port: u16, packet: Packet) {
        if self.is_off(node) {
            self.counters.stray += 1;
            return;
        }
        let Some(Socket::Datagrams { endpoint, channels }) = self.sockets.get(&(node, port)) else {
            return self.reset(now, node, &packet);
        };
        let (endpoint, channels) = (*endpoint, channels.clone());
        match &packet.said {
            Said::Hello(hello) => self.greeted(now, endpoint, &channels, *hello, &packet),
            Said::Envelope(hello, bytes) => self.told(now, endpoint, &channels, *hello, bytes, &packet),
            Said::Farewell => self.guest_leaves(endpoint, packet.session),
            Said::Welcome(..) | Said::Refusal(_) | Said::Reset => unreachable!("said to callers only"),
        }
    }

    /// Nobody here knows the session.
    fn reset(&mut self, now: u64, node: usize, packet: &Packet) {
        if !matches!(packet.said, Said::Farewell) {
            self.counters.stray += 1;
            self.say_back(now, node, packet.from, packet.session, Said::Reset);
        }
    }

    fn say_back(&mut self, now: u64, node: usize, to: usize, session: (u64, u64), said: Said) {
        let packet = Packet { from: node, to: Destination::Caller(to), session, said };
        self.dispatch(now, (node, to), packet);
    }

    pub(super) fn speak_back(&mut self, now: u64, node: usize, guest: &Guest, said: Said) {
        self.say_back(now, node, guest.node, guest.session, said);
    }

    fn greeted(&mut self, now: u64, endpoint: u64, channels: &[Channel], hello: Hello, packet: &Packet) {
        let own = self.endpoints.get_mut(&endpoint).expect("it is bound");
        let (ours, node) = (own.identity.get(), own.node);
        if let Err(refusal) = judge(&ours, &hello, channels, &mut own.boots) {
            return self.refuse_guest(now, endpoint, hello, refusal, packet);
        }
        let known = own.guest_of.contains_key(&packet.session);
        if !known && own.guests.len() >= own.limits.connections_max {
            return self.reset(now, node, packet);
        }
        if !known {
            let number = self.id();
            let guest =
                Guest { node: packet.from, session: packet.session, channel: hello.channel, identity: hello.identity };
            self.endpoints.get_mut(&endpoint).expect("it is bound").admit(number, guest);
            self.tell_contact(endpoint, hello.identity);
        }
        let welcome = Said::Welcome(Hello::new(ours, hello.channel), endpoint);
        self.say_back(now, node, packet.from, packet.session, welcome);
    }

    fn refuse_guest(&mut self, now: u64, endpoint: u64, hello: Hello, refusal: Refusal, packet: &Packet) {
        self.guest_leaves(endpoint, packet.session);
        let node = self.endpoints[&endpoint].node;
        let address = format!("{}, from {}", name(node), name(packet.from));
        self.tell_refused(endpoint, Some(hello.identity), address, refusal.to_string());
        self.say_back(now, node, packet.from, packet.session, Said::Refusal(refusal.to_string()));
    }

    /// A guest says something.
    fn told(&mut self, now: u64, endpoint: u64, channels: &[Channel], hello: Hello, bytes: &[u8], packet: &Packet) {
        let own = self.endpoints.get_mut(&endpoint).expect("it is bound");
        let node = own.node;
        let Some(number) = own.guest_of.get(&packet.session).copied() else {
            return self.reset(now, node, packet);
        };
        let envelope: Envelope = wire::decode(bytes).expect("our own envelopes decode");
        let ours = own.identity.get();
        let checked = judge(&ours, &hello, channels, &mut own.boots)
            .and_then(|()| link::check(&ours, &hello.identity, &own.boots, &envelope));
        let sender = match checked {
            Ok(sender) => sender,
            Err(refusal) => return self.refuse_guest(now, endpoint, hello, refusal, packet),
        };
        let guest = own.guests.get_mut(&number).expect("guests and their numbers go together");
        let (news, channel) = (guest.identity.cluster.is_none(), guest.channel);
        guest.identity = hello.identity;
        if news {
            self.tell_contact(endpoint, hello.identity);
        }
        let via = Via::Accepted(number);
        self.tell(endpoint, NetworkEvent::Message { channel, sender, via, body: envelope.body });
    }

    /// An answer to a guest; lost without notice if it has left.
    pub(super) fn answer(&mut self, now: u64, endpoint: u64, number: u64, body: Body) {
        let Some(own) = self.endpoints.get(&endpoint) else { return };
        let Some(guest) = own.guests.get(&number).cloned() else { return };
        if own.fits(body_bytes(&body)) {
            let (node, said) = (own.node, own.envelope(guest.channel, guest.identity.boot, body));
            self.speak_back(now, node, &guest, said);
        }
    }

    fn guest_leaves(&mut self, endpoint: u64, session: (u64, u64)) {
        let Some(own) = self.endpoints.get_mut(&endpoint) else { return };
        if let Some(number) = own.guest_of.remove(&session) {
            own.guests.remove(&number);
        }
    }

    /// Lets guests go; `concerned` gets the node that they are at and the one that they are from.
    pub(super) fn forget_guests(&mut self, concerned: impl Fn(usize, usize) -> bool) {
        for own in self.endpoints.values_mut() {
            let node = own.node;
            own.guests.retain(|_, guest| !concerned(node, guest.node));
            let guests = &own.guests;
            own.guest_of.retain(|_, number| guests.contains_key(number));
        }
    }
}

impl Endpoint {
    fn admit(&mut self, number: u64, guest: Guest) {
        self.guest_of.insert(guest.session, number);
        self.guests.insert(number, guest);
    }
}
