//! The connections that this process opens, each over a link that can be cut at command: for chaos runs on real
//! processes. A process without a fault hook has no [`Links`], and its streams are plain TCP.
//!
//! Only who dialled a connection cuts it, since only they know by address who is at its other end; so a cut between two
//! nodes is told to both. What is cut stands still: bytes that are under way when a cut begins arrive after it, as TCP
//! repeats them. After [`UNACKNOWLEDGED_MAX`] the connection breaks, as the kernel gives up one that is not acknowledged;
//! that is so for both directions where only one is cut, since acknowledgements travel the other way.
//!
//! Invariants:
//! - the last command is the whole truth; one with a number that is not above those before it changes nothing;
//! - a stream that broke stays broken.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::tcp::UNACKNOWLEDGED_MAX;

/// Links that a process may have at most.
pub const LINKS_MAX: usize = 1000;

/// How long somebody who connects over a cut link waits for it to be mended.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// How often they look.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a link does not carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// What this process sends does not arrive.
    #[serde(default)]
    pub out: bool,
    /// What is sent to this process does not arrive.
    #[serde(default, rename = "in")]
    pub inward: bool,
}

/// A command to a process.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Above that of every command before it. Commands may overtake each other.
    pub number: u64,
    /// Which links are cut, by the address (`host:port`) that this process dials; all others are whole.
    #[serde(default)]
    pub cuts: BTreeMap<String, Cut>,
    /// Whose connections break now.
    #[serde(default)]
    pub reset: Vec<String>,
}

/// The links of a process. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Links(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    number: u64,
    links: BTreeMap<String, Arc<Link>>,
}

impl All {
    fn link(&mut self, address: &str) -> Arc<Link> {
        self.links.entry(address.to_owned()).or_default().clone()
    }
}

impl Links {
    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().expect("no holder panics")
    }

    /// Does what `command` says. Refused, with the reason, if its number is not above the last one's, or if it names too
    /// many links.
    pub fn obey(&self, command: &Command) -> Result<(), String> {
        let mut all = self.all();
        if command.number <= all.number {
            return Err(format!("number: {}, must be above {}", command.number, all.number));
        }
        let named = command.cuts.keys().chain(&command.reset).filter(|address| !all.links.contains_key(*address));
        let links = all.links.len() + named.count();
        if links > LINKS_MAX {
            return Err(format!("cuts: {links} links, must be at most {LINKS_MAX}"));
        }
        all.number = command.number;
        for address in command.cuts.keys() {
            all.link(address);
        }
        for (address, link) in &all.links {
            link.set(command.cuts.get(address).copied().unwrap_or_default());
        }
        command.reset.iter().for_each(|address| all.link(address).break_now());
        Ok(())
    }

    /// Breaks what was cut for as long as a kernel waits for an acknowledgement.
    pub fn give_up(&self) {
        let links: Vec<_> = self.all().links.values().cloned().collect();
        links.iter().for_each(|link| link.give_up());
    }

    /// The link to `address`, once a connection can be made over it; an error if it stays cut for too long.
    pub(super) async fn open(&self, address: &str) -> io::Result<Attached> {
        let link = self.all().link(address);
        let began = Instant::now();
        while link.state().cut != Cut::default() {
            if began.elapsed() >= CONNECT_MAX {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the link is cut"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(Attached::new(link))
    }
}

/// All connections from here to one address.
#[derive(Debug, Default)]
struct Link(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    cut: Cut,
    since: Option<Instant>,
    /// How often all connections broke.
    breaks: u64,
    /// Who waits for a stream to go on or to break.
    waiting: BTreeMap<(u64, Way), Waker>,
}

impl Link {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }

    fn set(&self, cut: Cut) {
        let mut state = self.state();
        if state.cut == cut {
            return;
        }
        let is_cut = cut != Cut::default();
        state.since = is_cut.then(|| state.since.unwrap_or_else(Instant::now));
        state.cut = cut;
        state.wake();
    }

    fn break_now(&self) {
        let mut state = self.state();
        state.breaks += 1;
        state.wake();
    }

    fn give_up(&self) {
        let since = self.state().since;
        if since.is_some_and(|since| since.elapsed() >= UNACKNOWLEDGED_MAX) {
            self.break_now();
        }
    }
}

impl State {
    fn wake(&mut self) {
        std::mem::take(&mut self.waiting).into_values().for_each(Waker::wake);
    }
}

/// The direction of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Way {
    Out,
    In,
}

/// A stream's hold on its link.
#[derive(Debug)]
pub(super) struct Attached {
    link: Arc<Link>,
    number: u64,
    breaks: u64,
}

impl Attached {
    fn new(link: Arc<Link>) -> Self {
        static STREAMS: AtomicU64 = AtomicU64::new(0);
        let breaks = link.state().breaks;
        Self { link, number: STREAMS.fetch_add(1, Ordering::Relaxed), breaks }
    }

    /// Ready when something may go this way. Whoever is told to wait is woken when the link changes; so is whoever waits
    /// for the socket after this said yes.
    pub(super) fn pass(&self, context: &Context<'_>, way: Way) -> Poll<io::Result<()>> {
        let mut state = self.link.state();
        if state.breaks != self.breaks {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the link broke")));
        }
        state.waiting.insert((self.number, way), context.waker().clone());
        let is_cut = match way {
            Way::Out => state.cut.out,
            Way::In => state.cut.inward,
        };
        if is_cut { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut state = self.link.state();
        [Way::Out, Way::In].iter().for_each(|way| drop(state.waiting.remove(&(self.number, *way))));
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::timeout,
    };

    use super::*;
    use crate::env::{
        Env as _, Listener as _,
        real::{RealEnv, RealStream},
    };

    const SOON: Duration = Duration::from_secs(5);

    /// Long enough for bytes on loopback to arrive, if they do.
    const A_WHILE: Duration = Duration::from_millis(200);

    /// Both ends of a connection over the link to `address`.
    async fn pair(env: &RealEnv) -> (String, RealStream, RealStream) {
        let mut listener = env.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address().unwrap();
        let (dialled, accepted) = tokio::join!(env.connect(&address), listener.accept());
        (address, dialled.unwrap(), accepted.unwrap().0)
    }

    fn command(number: u64, address: &str, cut: Cut) -> Command {
        Command { number, cuts: BTreeMap::from([(address.to_owned(), cut)]), reset: Vec::new() }
    }

    async fn hears(stream: &mut RealStream) -> bool {
        let mut byte = [0];
        timeout(A_WHILE, stream.read_exact(&mut byte)).await.is_ok_and(|read| read.is_ok())
    }

    #[tokio::test]
    async fn each_direction_stands_still_by_itself_and_goes_on_when_it_is_mended() {
        let links = Links::default();
        let env = RealEnv::with_links(Some(links.clone()));
        let (address, mut dialled, mut accepted) = pair(&env).await;
        links.obey(&command(1, &address, Cut { out: true, inward: false })).unwrap();
        timeout(A_WHILE, dialled.write_all(b"a")).await.expect_err("what is sent stands still");
        accepted.write_all(b"b").await.unwrap();
        assert!(hears(&mut dialled).await, "the other direction is whole");
        links.obey(&command(2, &address, Cut { out: false, inward: true })).unwrap();
        dialled.write_all(b"c").await.unwrap();
        assert!(hears(&mut accepted).await, "what was sent arrives again");
        accepted.write_all(b"d").await.unwrap();
        assert!(!hears(&mut dialled).await, "what comes in stands still");
        let mended = Command { number: 3, ..Command::default() };
        let (heard, ()) = tokio::join!(hears(&mut dialled), async { links.obey(&mended).unwrap() });
        assert!(heard, "a reader that waits is woken when the link is mended");
    }

    #[tokio::test]
    async fn a_reset_breaks_what_stands_and_nothing_that_comes_after_it() {
        let links = Links::default();
        let env = RealEnv::with_links(Some(links.clone()));
        let (address, mut dialled, mut accepted) = pair(&env).await;
        let reset = Command { number: 1, reset: vec![address], ..Command::default() };
        let (mut byte, mut end) = ([0], [0]);
        let (read, ()) = tokio::join!(dialled.read(&mut byte), async { links.obey(&reset).unwrap() });
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "a reader that waits is woken");
        drop(dialled);
        assert_eq!(timeout(SOON, accepted.read(&mut end)).await.unwrap().unwrap_or(0), 0, "the other end is told");
        let (_, mut dialled, mut accepted) = pair(&env).await;
        dialled.write_all(b"a").await.unwrap();
        assert!(hears(&mut accepted).await);
    }

    #[tokio::test]
    async fn nobody_connects_over_a_cut_link_and_what_was_cut_for_long_breaks() {
        let links = Links::default();
        let env = RealEnv::with_links(Some(links.clone()));
        let (address, mut dialled, _accepted) = pair(&env).await;
        links.obey(&command(1, &address, Cut { out: true, inward: false })).unwrap();
        let error = env.connect(&address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        links.give_up();
        timeout(A_WHILE, dialled.write_all(b"a")).await.expect_err("it was not cut for so long");
        links.all().link(&address).state().since = Instant::now().checked_sub(UNACKNOWLEDGED_MAX);
        links.give_up();
        let error = timeout(SOON, dialled.write_all(b"a")).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn an_old_command_and_one_of_too_many_links_change_nothing() {
        let links = Links::default();
        let cut = Cut { out: true, inward: true };
        links.obey(&command(5, "a:1", cut)).unwrap();
        assert_eq!(links.obey(&Command { number: 5, ..Command::default() }).unwrap_err(), "number: 5, must be above 5");
        let cuts = (0..LINKS_MAX).map(|port| (format!("b:{port}"), cut)).collect();
        let told = links.obey(&Command { number: 6, cuts, reset: Vec::new() }).unwrap_err();
        assert_eq!(told, "cuts: 1001 links, must be at most 1000");
        assert_eq!(links.all().link("a:1").state().cut, cut, "it is still cut");
    }
}
