//! Content with its encodings undone: one place for everybody who looks into bodies (targets, issued secrets, proof).
//!
//! * [`Content`]: a body with its `Content-Encoding` undone (gzip, deflate, brotli, zstd; at most [`LAYERS`] of them).
//! * [`documents`]: every document inside a body: itself, what its encodings hide, archives unpacked (zip, and so office
//!   documents), UTF-16 made UTF-8. What both the search for targets and the search for secrets look through.
//! * [`decode`] and [`Coding::begins`]: one encoding, by name or by its first bytes, for content inside content.
//! * [`archive::entries`] and [`utf16`]: the parts of that.
//!
//! Input may be cut or damaged: what comes out before that is used. Bounds: no call gives more than the `limit` that it is
//! called with, and none more than [`allowance`] of its input, so that the work is linear in bytes that were captured.
//! Everything that is decoded is wiped when it is dropped.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

pub mod archive;
pub mod inflate;

use std::borrow::Cow;
use std::cell::Cell;
use std::io::Read;

use zeroize::{Zeroize, Zeroizing};

use self::inflate::Wrapping;
pub use crate::coding::{Coding, LAYERS, allowance};
use crate::coding::{Decoder, names};
use crate::proto::http::later::{Blocks, Effort};

/// Most bytes that a compressed body may become; the rest is cut off.
pub const MAX_DECODED: usize = 256 * 1024;
/// Archives inside each other that are unpacked.
const NESTED: u8 = 3;
/// Largest window of zstd frames, as a power of two (RFC 9659: 8 MB on the web).
const ZSTD_WINDOW: u32 = 23;
/// Bytes read from a decoder at a time.
const CHUNK: usize = 8192;

/// Bytes that are wiped when dropped.
pub type Decoded = Zeroizing<Vec<u8>>;

/// What comes out of `bytes` before `limit` bytes, their [`allowance`], the end or the first error; whether there would be
/// more.
pub fn decode(coding: Coding, bytes: &[u8], limit: usize) -> (Decoded, bool) {
    let limit = limit.min(allowance(bytes.len()));
    match coding {
        Coding::Gzip => inflated(Wrapping::Gzip, bytes, limit),
        Coding::Deflate => match inflated(Wrapping::Zlib, bytes, limit) {
            (empty, _) if empty.is_empty() => inflated(Wrapping::Raw, bytes, limit),
            decoded => decoded,
        },
        Coding::Brotli => read(brotli_decompressor::Decompressor::new(bytes, CHUNK), limit),
        Coding::Zstd => {
            let Ok(mut decoder) = zstd::stream::read::Decoder::with_buffer(bytes) else { return Default::default() };
            match decoder.window_log_max(ZSTD_WINDOW) {
                Ok(()) => read(decoder, limit),
                Err(_) => Default::default(),
            }
        }
    }
}

fn inflated(wrapping: Wrapping, bytes: &[u8], limit: usize) -> (Decoded, bool) {
    let inflated = inflate::inflate(wrapping, bytes, limit);
    (inflated.bytes, inflated.is_cut)
}

/// Everything that comes out before the limit, the end or the first error, and whether the limit was in the way.
fn read(mut reader: impl Read, limit: usize) -> (Decoded, bool) {
    let mut out = Zeroizing::new(Vec::new());
    let mut chunk = Zeroizing::new([0; CHUNK]);
    loop {
        let room = limit.saturating_sub(out.len());
        // a byte more than there is room for tells that there would be more
        let most = room.saturating_add(1).min(CHUNK);
        let Ok(count @ 1..) = reader.read(chunk.get_mut(..most).unwrap_or_default()) else { break };
        let bytes = chunk.get(..count.min(room)).unwrap_or_default();
        if bytes.len() > out.capacity().saturating_sub(out.len()) {
            // A vector that grows by itself leaves its old content in freed memory.
            let mut larger = Vec::with_capacity(out.capacity().saturating_mul(2).max(2 * CHUNK));
            larger.extend_from_slice(&out);
            out = Zeroizing::new(larger);
        }
        out.extend_from_slice(bytes);
        if count > room {
            return (out, true);
        }
    }
    (out, false)
}

/// Content with its encoding undone; wiped when dropped.
#[derive(Debug)]
pub enum Content<'b> {
    /// Not encoded.
    Plain(&'b [u8]),
    /// Decompressed, perhaps only the first part.
    Decoded(Decoded),
}

impl<'b> Content<'b> {
    /// Undoes a `Content-Encoding`; the first bytes of gzip and zstd are believed without one. Content in another encoding,
    /// or that is not in the encoding that it is said to be in, is left as it is.
    pub fn new(bytes: &'b [u8], encoding: Option<&[u8]>) -> Self {
        Self::up_to(MAX_DECODED, bytes, encoding).0
    }

    /// The same, no more than `limit` bytes, and whether that was in the way.
    pub fn up_to(limit: usize, bytes: &'b [u8], encoding: Option<&[u8]>) -> (Self, bool) {
        let mut content = Self::Plain(bytes);
        let mut is_cut = false;
        let limit = limit.min(allowance(bytes.len()));
        for name in names(encoding.unwrap_or_default()) {
            let input = content.bytes();
            let named = Coding::named(name);
            // two bytes of text may look like deflate
            let by_bytes = Coding::begins(input).filter(|coding| *coding != Coding::Deflate);
            let guessed = || Coding::begins(input).filter(|_| name.is_empty());
            let Some(coding) = by_bytes.or(named).or_else(guessed) else { continue };
            match decode(coding, input, limit) {
                (decoded, _) if decoded.is_empty() && by_bytes.is_none() => {}
                (decoded, cut) => {
                    content = Self::Decoded(decoded);
                    is_cut |= cut;
                }
            }
        }
        (content, is_cut)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Decoded(bytes) => bytes,
        }
    }
}

/// Calls `visit` with every document in a body: the body with its encodings undone as UTF-8, or, if it is an archive, each
/// file in that. At most `limit` bytes in all; of one that compressed data stands for the rest comes in [`Blocks`],
/// to `visit_rest`.
pub fn documents_and_rest(
    bytes: &[u8],
    encoding: Option<&[u8]>,
    limit: usize,
    visit: &mut dyn FnMut(&[u8]),
    visit_rest: &mut dyn FnMut(&[u8], Effort),
) {
    let (content, is_cut) = Content::up_to(MAX_DECODED, bytes, encoding);
    unpack(content.bytes(), limit, visit);
    let skip = content.bytes().len();
    // beyond its allowance there is nothing to be had
    if is_cut && skip < allowance(bytes.len()) {
        drop(content);
        rest(bytes, encoding.unwrap_or_default(), skip, visit_rest);
    }
}

/// What compressed data stands for beyond the first `skip` bytes.
fn rest(bytes: &[u8], encoding: &[u8], mut skip: usize, visit: &mut dyn FnMut(&[u8], Effort)) {
    let Some(mut decoder) = Decoder::new(encoding, bytes) else { return };
    let mut blocks = Blocks::default();
    for part in bytes.chunks(CHUNK) {
        let effort = Effort::of(&decoder);
        let goes_on = decoder.push(part, &mut |piece| {
            let passed = skip.min(piece.len());
            skip = skip.saturating_sub(passed);
            blocks.push(piece.get(passed..).unwrap_or_default(), &mut |block| visit(block, effort));
        });
        if !goes_on {
            break;
        }
    }
    visit(blocks.rest(), Effort::of(&decoder));
}

/// Calls `visit` with every document in a body: the body with its encodings undone as UTF-8, or, if it is an archive, each
/// file in that. At most `limit` bytes in all.
pub fn documents(bytes: &[u8], encoding: Option<&[u8]>, limit: usize, visit: &mut dyn FnMut(&[u8])) {
    unpack(Content::new(bytes, encoding).bytes(), limit, visit);
}

/// Documents of at most `limit` bytes: the files of an archive, of archives in it too, or the bytes themselves.
fn unpack(bytes: &[u8], limit: usize, visit: &mut dyn FnMut(&[u8])) {
    let is_packed = archive::is_archive(bytes);
    let bytes = bytes.get(..limit).filter(|_| !is_packed).unwrap_or(bytes);
    unpack_in(bytes, NESTED, &Cell::new(limit), visit);
}

fn unpack_in(bytes: &[u8], depth: u8, room: &Cell<usize>, visit: &mut dyn FnMut(&[u8])) {
    match depth.checked_sub(1).filter(|_| archive::is_archive(bytes)) {
        Some(depth) => archive::entries(bytes, room, &mut |_, file| unpack_in(file, depth, room, visit)),
        None if archive::is_tar(bytes) => archive::tar_entries(bytes, &mut |file| visit(&utf8(file))),
        None => visit(&utf8(bytes)),
    }
}

/// Text as UTF-8; what is not UTF-16 is given back as it is.
pub fn utf8(bytes: &[u8]) -> Text<'_> {
    match utf16(bytes) {
        Some(text) => Text(Cow::Owned(text)),
        None => Text(Cow::Borrowed(bytes)),
    }
}

/// Bytes, wiped when dropped if they are a copy.
pub struct Text<'b>(Cow<'b, [u8]>);

impl std::ops::Deref for Text<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Text<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(bytes) = &mut self.0 {
            bytes.zeroize();
        }
    }
}

/// Byte order of UTF-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ByteOrder {
    Little,
    Big,
}

/// Bytes of a text that tell whether it is UTF-16.
const SAMPLE: usize = 64;

/// UTF-16 of either byte order, with its mark or known by the zeros of its first characters, as UTF-8; `None` if it is not.
pub fn utf16(bytes: &[u8]) -> Option<Vec<u8>> {
    let (order, text) = match bytes {
        [0xFF, 0xFE, text @ ..] => (ByteOrder::Little, text),
        [0xFE, 0xFF, text @ ..] => (ByteOrder::Big, text),
        _ => (zeros_of(bytes)?, bytes),
    };
    let mut out = Vec::with_capacity(text.len().saturating_mul(3).div_ceil(2));
    let units = text.as_chunks::<2>().0.iter().map(|pair| match order {
        ByteOrder::Little => u16::from_le_bytes(*pair),
        ByteOrder::Big => u16::from_be_bytes(*pair),
    });
    for c in char::decode_utf16(units) {
        let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(out)
}

/// The byte order in which nearly all first characters are ASCII.
fn zeros_of(bytes: &[u8]) -> Option<ByteOrder> {
    // ASCII has none, and most bodies are
    let head = bytes.get(..SAMPLE.min(bytes.len()))?;
    let pairs = head.as_chunks::<2>().0;
    let is_text = |b: u8| b.is_ascii_graphic() || b.is_ascii_whitespace();
    let big = pairs.iter().filter(|[high, low]| *high == 0 && is_text(*low)).count();
    let little = pairs.iter().filter(|[low, high]| *high == 0 && is_text(*low)).count();
    let nearly_all = |count: usize| pairs.len() >= 4 && count >= pairs.len().saturating_sub(pairs.len() / 8);
    match () {
        () if nearly_all(little) => Some(ByteOrder::Little),
        () if nearly_all(big) => Some(ByteOrder::Big),
        () => None,
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests;
