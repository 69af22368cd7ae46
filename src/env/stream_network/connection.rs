//! A connection between two nodes that was opened, by either side: hellos, then envelopes both ways until it ends.

use std::{io, pin::pin, sync::Arc, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::{HELLO_MAX, Shared, lock, outbox::Outbox};
use crate::{
    env::{
        Channel, Env, Identity, NetworkEvent, Via,
        link::{self, Event, Hello, Link, Verdict},
        within,
    },
    wire::Body,
};

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// Bytes of frames that are gathered into one write; a bigger frame is written alone.
const WRITE_BYTES: usize = 256 << 10;

/// How long a side that refused waits for the other one to close, and how much it reads meanwhile: closing a socket
/// with unread bytes resets it, and the reset may overtake the reason.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
const FAREWELL_BYTES_MAX: u64 = 1 << 20;

/// Why a connection is over.
pub(super) enum End {
    /// One side refused the other, who said it was this.
    Verdict(Option<Identity>, Verdict),
    /// It could not be opened, or it broke.
    Broken(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::Broken(error.to_string())
    }
}

/// The end of a connection that took too long to stand.
pub(super) fn too_slow() -> End {
    End::Broken("no answer in time".into())
}

/// A connection on which both sides said hello.
pub(super) struct Connection<E: Env> {
    reader: ReadHalf<E::Stream>,
    writer: Writer<E>,
    link: Link,
    peer: Identity,
}

/// The sending half.
struct Writer<E: Env> {
    stream: WriteHalf<E::Stream>,
    /// The hello that the other side has of this node.
    said: Hello,
    frames: Vec<u8>,
    /// A write has begun and has not ended: nothing readable can follow.
    inside_frame: bool,
}

impl<E: Env> Connection<E> {
    /// Says hello on a stream that this node opened for `channel`, and hears the other side's.
    pub(super) async fn dialled(shared: &Shared<E>, stream: E::Stream, channel: Channel) -> Result<Self, End> {
        let (mut reader, stream) = tokio::io::split(stream);
        let mut writer = Writer::new(stream, Hello::new(shared.identity.get(), channel));
        let mut link = Link::new(&[channel], shared.limits.frame_bytes_max);
        let hear = async {
            writer.say_hello().await?;
            hear_hello(shared, &mut reader, &mut link).await
        };
        let heard = within(&shared.env, HELLO_MAX, hear).await.unwrap_or_else(|| Err(too_slow()));
        Self::stand(shared, reader, writer, link, heard.map(|(peer, _)| peer)).await
    }

    /// Hears the other side's hello on a stream that came in where `channels` are served, and says its own.
    pub(super) async fn accepted(shared: &Shared<E>, stream: E::Stream, channels: &[Channel]) -> Result<Self, End> {
        let (mut reader, stream) = tokio::io::split(stream);
        // The channel is the other side's to say; until then this hello is not said.
        let mut writer = Writer::new(stream, Hello::new(shared.identity.get(), Channel::Raft));
        let mut link = Link::new(channels, shared.limits.frame_bytes_max);
        let hear = async {
            let (peer, channel) = hear_hello(shared, &mut reader, &mut link).await?;
            writer.said = Hello::new(shared.identity.get(), channel);
            writer.say_hello().await?;
            Ok(peer)
        };
        let heard = within(&shared.env, HELLO_MAX, hear).await.unwrap_or_else(|| Err(too_slow()));
        Self::stand(shared, reader, writer, link, heard).await
    }

    async fn stand(
        shared: &Shared<E>,
        mut reader: ReadHalf<E::Stream>,
        writer: Writer<E>,
        link: Link,
        heard: Result<Identity, End>,
    ) -> Result<Self, End> {
        match heard {
            Ok(peer) => Ok(Self { reader, writer, link, peer }),
            Err(end) => {
                writer.say_farewell(shared, &mut reader, &end).await;
                Err(end)
            }
        }
    }

    /// Who the other side said it is.
    pub(super) fn peer(&self) -> Identity {
        self.peer
    }

    /// Carries envelopes both ways until one side is gone or refuses. The two directions do not wait for each other.
    pub(super) async fn run(self, shared: &Arc<Shared<E>>, via: &Via, outbox: &Outbox) -> End {
        let Self { mut reader, mut writer, mut link, peer } = self;
        let end = {
            let mut reading = pin!(read(shared, &mut reader, &mut link, via, writer.said.channel));
            tokio::select! {
                biased;
                // First the writer: it stops when the socket is full, while a busy reader could use up all the turns
                // that tokio gives to a task. When it fails, the other side may have said why.
                end = writer.run(shared, peer, outbox) => {
                    within(&shared.env, FAREWELL_MAX, reading).await.unwrap_or(end)
                }
                end = &mut reading => end,
            }
        };
        writer.say_farewell(shared, &mut reader, &end).await;
        end
    }
}

/// Reads until the first hello.
async fn hear_hello<E: Env>(
    shared: &Shared<E>,
    reader: &mut ReadHalf<E::Stream>,
    link: &mut Link,
) -> Result<(Identity, Channel), End> {
    loop {
        match shared.next(link)? {
            Some(Event::Hello(peer, channel)) => return Ok((peer, channel)),
            Some(Event::Envelope(..)) => unreachable!("a link gives no envelope before the hello"),
            None => fill(reader, link).await?,
        }
    }
}

/// Reads and tells until the connection is over.
async fn read<E: Env>(
    shared: &Shared<E>,
    reader: &mut ReadHalf<E::Stream>,
    link: &mut Link,
    via: &Via,
    channel: Channel,
) -> End {
    loop {
        let told = match shared.next(link) {
            Ok(Some(Event::Envelope(sender, body))) => {
                shared.tell(NetworkEvent::Message { channel, sender, via: via.clone(), body }).await;
                Ok(())
            }
            Ok(Some(Event::Hello(peer, _))) => {
                shared.tell_contact(peer).await;
                Ok(())
            }
            Ok(None) => fill(reader, link).await,
            Err(end) => Err(end),
        };
        if let Err(end) = told {
            return end;
        }
    }
}

async fn fill<S: tokio::io::AsyncRead + Unpin>(reader: &mut S, link: &mut Link) -> Result<(), End> {
    let input = link.input();
    input.reserve(READ_BYTES);
    match reader.read_buf(input).await? {
        0 => Err(End::Broken("the other side closed".into())),
        _ => Ok(()),
    }
}

impl<E: Env> Shared<E> {
    /// The next event of `link`, as judged now.
    fn next(&self, link: &mut Link) -> Result<Option<Event>, End> {
        let event = link.next(&self.identity.get(), &mut lock(&self.boots));
        event.map_err(|verdict| End::Verdict(link.claimed(), verdict))
    }
}

impl<E: Env> Writer<E> {
    fn new(stream: WriteHalf<E::Stream>, said: Hello) -> Self {
        Self { stream, said, frames: Vec::new(), inside_frame: false }
    }

    async fn say_hello(&mut self) -> io::Result<()> {
        link::put_hello(&mut self.frames, &self.said);
        self.write().await
    }

    /// Writes what is queued, for ever.
    async fn run(&mut self, shared: &Shared<E>, peer: Identity, outbox: &Outbox) -> End {
        loop {
            outbox.filled().await;
            let bodies = outbox.take(WRITE_BYTES as u64);
            self.put(shared, peer, bodies);
            if let Err(error) = self.write().await {
                return error.into();
            }
        }
    }

    /// Makes frames of `bodies`, after a new hello if this node has learnt something of itself.
    fn put(&mut self, shared: &Shared<E>, peer: Identity, bodies: Vec<Body>) {
        let ours = shared.identity.get();
        if ours != self.said.identity {
            self.said.identity = ours;
            link::put_hello(&mut self.frames, &self.said);
        }
        for body in bodies {
            link::put_envelope(&mut self.frames, &shared.stamp.envelope(&ours, peer.boot, body));
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        self.inside_frame = true;
        self.stream.write_all(&self.frames).await?;
        self.stream.flush().await?;
        self.inside_frame = false;
        self.frames.clear();
        // What one big frame needed is given back.
        self.frames.shrink_to(2 * WRITE_BYTES);
        Ok(())
    }

    /// Says why, if this side refuses, and lets the other side read it before the connection closes.
    async fn say_farewell(mut self, shared: &Shared<E>, reader: &mut ReadHalf<E::Stream>, end: &End) {
        let End::Verdict(_, Verdict::Refuse(refusal)) = end else { return };
        if self.inside_frame {
            return;
        }
        let farewell = async {
            self.frames.clear();
            link::put_refusal(&mut self.frames, &refusal.to_string());
            self.write().await?;
            self.stream.shutdown().await?;
            tokio::io::copy(&mut reader.take(FAREWELL_BYTES_MAX), &mut tokio::io::sink()).await
        };
        if within(&shared.env, FAREWELL_MAX, farewell).await.is_none() {
            tracing::debug!(%refusal, "the refused side does not close");
        }
    }
}
