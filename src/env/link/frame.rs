//! Frames: `length: u32 | checksum: u32 | payload`, little-endian. The length counts the payload; the checksum covers
//! length and payload, so that neither can change alone. A payload is a byte that names its kind, then its content.
//!
//! The layout of frames, of refusals and of the first twelve bytes of a hello never changes: two builds of different
//! protocol versions can at least tell each other so.

use bytes::{Buf, BytesMut};

use super::hello::{Hello, MAGIC, PROTOCOL, Refusal};
use crate::wire::{Body, Envelope, decode, encode};

const HEADER_BYTES: usize = 8;

/// Bytes of the longest first frame. A hello is far shorter, and a refusal is cut to fit; anything else that connects
/// is not a peer.
pub const FIRST_FRAME_BYTES_MAX: u64 = 1024;

/// Bytes that an envelope's frame needs beside the body at most: the kind, the codec's version and the stamp's five
/// numbers of at most ten bytes.
pub const ENVELOPE_OVERHEAD_BYTES_MAX: u64 = 52;

const REASON_BYTES_MAX: usize = 512;

const HELLO: u8 = 1;
const ENVELOPE: u8 = 2;
const REFUSAL: u8 = 3;

/// A frame, decoded.
#[derive(Debug)]
pub enum Frame {
    /// The speaker introduces itself.
    Hello(Hello),
    /// What it has to say.
    Envelope(Envelope),
    /// Why it does not talk on.
    Refusal(String),
}

/// Appends a hello.
pub fn put_hello(out: &mut Vec<u8>, hello: &Hello) {
    let mut content = MAGIC.to_vec();
    content.extend(hello.protocol.to_le_bytes());
    content.extend(encode(&(hello.identity, hello.channel)));
    put(out, HELLO, &content);
}

/// Appends an envelope. The sender keeps to the limit of a frame, see [`body_bytes`].
pub fn put_envelope(out: &mut Vec<u8>, envelope: &Envelope) {
    put(out, ENVELOPE, &encode(envelope));
}

/// Appends why this side does not talk on.
pub fn put_refusal(out: &mut Vec<u8>, why: &str) {
    put(out, REFUSAL, &why.as_bytes()[..why.floor_char_boundary(REASON_BYTES_MAX)]);
}

/// Bytes of a body's encoding, counted without making it.
pub fn body_bytes(body: &Body) -> u64 {
    let counter = postcard::ser_flavors::Size::default();
    postcard::serialize_with_flavor::<_, _, usize>(body, counter).expect("our own types encode") as u64
}

pub(super) fn put(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
    let length = u32::try_from(content.len() + 1).expect("a frame is within the limits").to_le_bytes();
    out.reserve(HEADER_BYTES + 1 + content.len());
    out.extend(length);
    out.extend(checksum(length, &[&[kind], content]).to_le_bytes());
    out.push(kind);
    out.extend_from_slice(content);
}

/// Takes the first frame that the other side sent. Whatever is no frame of ours is taken for a stranger's.
pub fn take_first(input: &mut BytesMut) -> Result<Option<Frame>, Refusal> {
    match take(input, FIRST_FRAME_BYTES_MAX) {
        Err(Refusal::TooLong { .. } | Refusal::Damaged | Refusal::Malformed(_)) => Err(Refusal::NotAPeer),
        taken => taken,
    }
}

/// Takes one frame, if all of it is there.
pub fn take(input: &mut BytesMut, bytes_max: u64) -> Result<Option<Frame>, Refusal> {
    let Some((header, rest)) = input.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let [l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    let (length, announced) = ([l0, l1, l2, l3], u32::from_le_bytes([c0, c1, c2, c3]));
    let bytes = u32::from_le_bytes(length);
    if u64::from(bytes) > bytes_max {
        return Err(Refusal::TooLong { bytes: u64::from(bytes), bytes_max });
    }
    let Some(payload) = rest.get(..bytes as usize) else {
        return Ok(None);
    };
    if checksum(length, &[payload]) != announced {
        return Err(Refusal::Damaged);
    }
    let frame = read(payload)?;
    input.advance(HEADER_BYTES + bytes as usize);
    Ok(Some(frame))
}

fn checksum(length: [u8; 4], parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

fn read(payload: &[u8]) -> Result<Frame, Refusal> {
    match payload.split_first() {
        Some((&HELLO, content)) => read_hello(content).map(Frame::Hello),
        Some((&ENVELOPE, content)) => decode(content).map(Frame::Envelope).map_err(malformed),
        Some((&REFUSAL, content)) => Ok(Frame::Refusal(String::from_utf8_lossy(content).into_owned())),
        Some((kind, _)) => Err(Refusal::Malformed(format!("no frame is of kind {kind}"))),
        None => Err(Refusal::Malformed("a frame without a kind".into())),
    }
}

fn read_hello(content: &[u8]) -> Result<Hello, Refusal> {
    let content = content.strip_prefix(&MAGIC).ok_or(Refusal::NotAPeer)?;
    let (protocol, content) = content.split_first_chunk().ok_or(Refusal::NotAPeer)?;
    let theirs = u32::from_le_bytes(*protocol);
    if theirs != PROTOCOL {
        // What follows is laid out in a way that only that version knows.
        return Err(Refusal::Protocol { theirs });
    }
    let (identity, channel) = decode(content).map_err(malformed)?;
    Ok(Hello { protocol: theirs, identity, channel })
}

fn malformed(error: impl std::fmt::Display) -> Refusal {
    Refusal::Malformed(error.to_string())
}
