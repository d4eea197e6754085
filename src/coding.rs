//! Encodings of content (RFC 9110 section 8.4): by name, by their first bytes, and undone piece by piece; archives (zip)
//! inside them too.
//!
//! [`Decoder`] takes a body as it passes and gives what it stands for, up to [`RATIO`] times what came, so that the work is
//! linear in bytes on the wire. It holds the windows of its encodings ([`Decoder::memory`]); frames that ask for larger
//! ones than [`WINDOW`] are given up. Input may be damaged: what comes out before that is used.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::fmt;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use zeroize::Zeroizing;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

/// Most encodings of one body that are undone (RFC 9110 section 8.4 sets no bound).
pub const LAYERS: usize = 4;
/// Bytes that anything may become, however short it is.
const LEAST: usize = 4 * 1024;
/// How many times its length content may become beyond [`LEAST`]: tables in markup shrink to a twenty-eighth.
const RATIO: usize = 32;
/// How many times that content is as a rule, at most.
const USUAL: usize = 8;
/// Largest window of a decoder that goes on from piece to piece, as a power of two: 4 MB, the usual one of brotli.
const WINDOW: u32 = 22;
/// Bytes given at a time.
const PIECE: usize = 16 * 1024;
/// What inflating takes, in bytes.
const INFLATE: usize = 48 * 1024;

/// Bytes that `len` bytes may become.
pub fn allowance(len: usize) -> usize {
    len.saturating_mul(RATIO).saturating_add(LEAST)
}

/// An encoding of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950 (zlib), or RFC 1951 as some send it.
    Deflate,
    /// RFC 7932. Has no first bytes to be known by.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// The encoding that a `Content-Encoding` calls so.
    pub fn named(name: &[u8]) -> Option<Self> {
        const NAMES: [(&str, Coding); 6] = [
            ("gzip", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
            ("deflate", Coding::Deflate),
            ("br", Coding::Brotli),
            ("brotli", Coding::Brotli),
            ("zstd", Coding::Zstd),
        ];
        let is = |known: &&(&str, Self)| name.eq_ignore_ascii_case(known.0.as_bytes());
        NAMES.iter().find(is).map(|(_, coding)| *coding)
    }

    /// The encoding that content is in by its first bytes.
    pub fn begins(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1F, 0x8B, 8, ..] => Some(Self::Gzip),
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Some(Self::Zstd),
            // a window of 32 KB and one of the four levels; the two bytes are a multiple of 31
            [0x78, 0x01 | 0x5E | 0x9C | 0xDA, ..] => Some(Self::Deflate),
            _ => None,
        }
    }

    /// The encoding of content that is said to be in `named` and begins so: first bytes of gzip and zstd are believed, two
    /// bytes of text may look like deflate.
    pub fn of(named: Option<Self>, first: &[u8]) -> Option<Self> {
        Self::begins(first).filter(|coding| *coding != Self::Deflate).or(named)
    }
}

/// The names in a `Content-Encoding`, in the order in which they are undone.
pub fn names(encodings: &[u8]) -> impl Iterator<Item = &[u8]> {
    encodings.rsplit(|b| *b == b',').take(LAYERS).map(<[u8]>::trim_ascii)
}

/// Undoes the encodings of a body piece by piece. What is in none by name is told by the first piece of it, which should
/// have a few bytes. See the module.
pub struct Decoder {
    layers: Vec<(Layer, Piece)>,
    came: usize,
    given: usize,
}

impl Decoder {
    /// For a body with these encodings (as in one `Content-Encoding`) that begins so; `None` where it is in none that is
    /// known.
    pub fn new(encodings: &[u8], first: &[u8]) -> Option<Self> {
        let named = names(encodings).filter_map(Coding::named);
        let unseen = |coding| (Layer::Unseen(coding), Piece::default());
        let mut layers: Vec<_> = named.map(|coding| unseen(Some(coding))).collect();
        if layers.is_empty() {
            layers.extend(Coding::of(None, first).map(|coding| unseen(Some(coding))));
        }
        let is_packed = !layers.is_empty() || first.starts_with(FILE);
        layers.push(unseen(None));
        is_packed.then_some(Self { layers, came: 0, given: 0 })
    }

    /// Takes the next piece, and hands on what it stands for. `false` once nothing more will come.
    pub fn push(&mut self, bytes: &[u8], take: &mut dyn FnMut(&[u8])) -> bool {
        self.came = self.came.saturating_add(bytes.len());
        let mut left = allowance(self.came).saturating_sub(self.given);
        let before = left;
        let goes_on = pass(&mut self.layers, bytes, &mut left, take);
        self.given = self.given.saturating_add(before.saturating_sub(left));
        goes_on && left > 0
    }

    /// Whether more came out than content is as a rule: whoever reads all of that reads more than what came is worth.
    pub fn is_swollen(&self) -> bool {
        self.given > self.came.saturating_mul(USUAL).saturating_add(LEAST)
    }

    /// Bytes held, roughly.
    pub fn memory(&self) -> usize {
        self.layers
            .iter()
            .map(|(layer, piece)| layer.memory().saturating_add(piece.len()))
            .fold(size_of::<Self>(), usize::saturating_add)
    }
}

impl fmt::Debug for Decoder {
    /// Never the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("layers", &self.layers.len()).finish_non_exhaustive()
    }
}

/// What came out of a layer last.
type Piece = Zeroizing<Vec<u8>>;

/// Undoes the first of `layers`, and the others of what it gives, no more than `left` bytes of any. Whether it goes on.
fn pass(layers: &mut [(Layer, Piece)], mut bytes: &[u8], left: &mut usize, take: &mut dyn FnMut(&[u8])) -> bool {
    let Some(((first, piece), inner)) = layers.split_first_mut() else {
        take(bytes);
        return true;
    };
    first.see(bytes);
    if matches!(first, Layer::Plain) {
        return pass(inner, bytes, left, take);
    }
    piece.resize(PIECE, 0);
    loop {
        let Some((used, len)) = first.step(bytes, piece) else { return false };
        bytes = bytes.get(used..).unwrap_or_default();
        let Some(rest) = left.checked_sub(len) else { return false };
        *left = rest;
        let out = piece.get(..len).unwrap_or_default();
        if !out.is_empty() && !pass(inner, out, left, take) {
            return false;
        }
        if used == 0 && len == 0 || bytes.is_empty() && len.saturating_add(1) < PIECE {
            return true;
        }
    }
}

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// One encoding.
enum Layer {
    /// Nothing came yet; what it is said to be in.
    Unseen(Option<Coding>),
    /// In none that is known.
    Plain,
    /// Whether it is gzip, of which another member may follow.
    Inflate(Box<Decompress>, bool),
    Brotli(Box<Brotli>),
    Zstd(DCtx<'static>),
    Zip(Box<Zip>),
}

impl Layer {
    /// How content is decoded that is said to be in `named` and begins so.
    fn begin(named: Option<Coding>, first: &[u8]) -> Self {
        match Coding::of(named, first) {
            None if first.starts_with(FILE) => Self::Zip(Box::default()),
            None => Self::Plain,
            Some(Coding::Gzip) => Self::Inflate(Box::new(Decompress::new_gzip(15)), true),
            Some(Coding::Deflate) => Self::Inflate(Box::new(Decompress::new(is_zlib(first))), false),
            Some(Coding::Brotli) => {
                let alloc = StandardAlloc::default;
                Self::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
            }
            Some(Coding::Zstd) => {
                let bounded = DCtx::try_create().and_then(|mut context| {
                    context.set_parameter(DParameter::WindowLogMax(WINDOW)).is_ok().then_some(context)
                });
                bounded.map_or(Self::Plain, Self::Zstd)
            }
        }
    }

    /// Decides by the first bytes, once there are any.
    fn see(&mut self, bytes: &[u8]) {
        if let Self::Unseen(named) = self
            && !bytes.is_empty()
        {
            *self = Self::begin(*named, bytes);
        }
    }

    /// Takes from `bytes` and fills `out`: how many of each. `None` once nothing more will come.
    fn step(&mut self, bytes: &[u8], out: &mut [u8]) -> Option<(usize, usize)> {
        match self {
            Self::Unseen(_) | Self::Plain => Some((bytes.len(), 0)),
            Self::Inflate(raw, is_gzip) => inflate(raw, *is_gzip, bytes, out),
            Self::Brotli(state) => unbrotli(state, bytes, out),
            Self::Zstd(context) => {
                let mut input = InBuffer::around(bytes);
                let mut output = OutBuffer::around(out);
                context.decompress_stream(&mut output, &mut input).ok()?;
                Some((input.pos(), output.pos()))
            }
            Self::Zip(zip) => zip.step(bytes, out),
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Unseen(_) | Self::Plain => 0,
            Self::Inflate(..) => INFLATE,
            Self::Brotli(state) => {
                size_of::<Brotli>().saturating_add(usize::try_from(state.ringbuffer_size).unwrap_or(0))
            }
            Self::Zstd(context) => context.sizeof(),
            Self::Zip(zip) => zip.memory(),
        }
    }
}

/// How a local file header of a zip archive begins (APPNOTE 4.3.7).
const FILE: &[u8] = b"PK\x03\x04";
/// Its fixed bytes, behind which the name stands.
const HEADER: usize = 30;

/// The files of a zip archive one after the other, a line end behind each: stored, or compressed with deflate; others are
/// passed over, encrypted ones too. What stands between files is searched for the next header.
#[derive(Default)]
struct Zip {
    header: Vec<u8>,
    state: Within,
}

/// Where in an archive the next byte stands.
#[derive(Default)]
enum Within {
    /// Before a header, or in one.
    #[default]
    Header,
    /// In its name and what it has besides: so many bytes, then this.
    Name(usize, Box<Self>),
    /// In a file of so many bytes, stored or passed over.
    Stored {
        left: usize,
        shown: bool,
    },
    Deflated(Box<Decompress>),
}

impl Zip {
    fn step(&mut self, bytes: &[u8], out: &mut [u8]) -> Option<(usize, usize)> {
        match &mut self.state {
            Within::Header => Some((self.header(bytes), 0)),
            Within::Name(left, next) => {
                let used = bytes.len().min(*left);
                *left = left.saturating_sub(used);
                if *left == 0 {
                    self.state = std::mem::take(next);
                }
                Some((used, 0))
            }
            Within::Stored { left: 0, .. } => self.end(out, 0),
            Within::Stored { left, shown } => {
                let used = bytes.len().min(*left).min(out.len());
                *left = left.saturating_sub(used);
                let shown = if *shown { used } else { 0 };
                out.get_mut(..shown)?.copy_from_slice(bytes.get(..shown)?);
                Some((used, shown))
            }
            Within::Deflated(raw) => {
                let (before_in, before_out) = (raw.total_in(), raw.total_out());
                let room = out.len().checked_sub(1)?;
                let status = raw.decompress(bytes, out.get_mut(..room)?, FlushDecompress::None);
                let used = usize::try_from(raw.total_in().checked_sub(before_in)?).ok()?;
                let len = usize::try_from(raw.total_out().checked_sub(before_out)?).ok()?;
                match status {
                    Ok(Status::StreamEnd) | Err(_) => self.end(out, len).map(|(_, len)| (used, len)),
                    Ok(_) => Some((used, len)),
                }
            }
        }
    }

    /// A file ends, of which `len` bytes are in `out`.
    fn end(&mut self, out: &mut [u8], len: usize) -> Option<(usize, usize)> {
        self.state = Within::Header;
        *out.get_mut(len)? = b'\n';
        Some((0, len.saturating_add(1)))
    }

    /// Takes bytes up to the end of the next header; how many.
    fn header(&mut self, bytes: &[u8]) -> usize {
        let room = HEADER.saturating_sub(self.header.len()).min(bytes.len());
        self.header.extend_from_slice(bytes.get(..room).unwrap_or_default());
        let is_one = |header: &[u8]| header.iter().zip(FILE).all(|(byte, known)| byte == known);
        while !is_one(&self.header) {
            let next = self.header.iter().skip(1).position(|byte| *byte == b'P').map(|at| at.saturating_add(1));
            self.header.drain(..next.unwrap_or(self.header.len()));
        }
        if self.header.len() >= HEADER {
            self.state = Within::behind(&self.header).unwrap_or_default();
            self.header.clear();
        }
        room
    }

    fn memory(&self) -> usize {
        let inflate = if matches!(self.state, Within::Deflated(_) | Within::Name(..)) { INFLATE } else { 0 };
        size_of::<Self>().saturating_add(inflate)
    }
}

impl Within {
    /// What stands behind a header. Integers are little-endian.
    fn behind(header: &[u8]) -> Option<Self> {
        const ENCRYPTED: usize = 1;
        let number = |at: usize| header.get(at..)?.first_chunk().map(|pair| usize::from(u16::from_le_bytes(*pair)));
        let size = header.get(18..)?.first_chunk().map(|size| u32::from_le_bytes(*size))?;
        let left = usize::try_from(size).ok()?;
        let file = match number(8)? {
            8 if number(6)? & ENCRYPTED == 0 => Self::Deflated(Box::new(Decompress::new(false))),
            method => Self::Stored { left, shown: method == 0 && number(6)? & ENCRYPTED == 0 },
        };
        let name = number(26)?.saturating_add(number(28)?);
        Some(if name == 0 { file } else { Self::Name(name, Box::new(file)) })
    }
}

/// Whether bytes begin as RFC 1950 says: method, window, and a multiple of 31.
fn is_zlib(first: &[u8]) -> bool {
    let Some([method, flags]) = first.first_chunk().copied() else { return false };
    method & 0x0F == 8 && method >> 4 <= 7 && u16::from_be_bytes([method, flags]).is_multiple_of(31)
}

fn inflate(raw: &mut Decompress, is_gzip: bool, bytes: &[u8], out: &mut [u8]) -> Option<(usize, usize)> {
    let (before_in, before_out) = (raw.total_in(), raw.total_out());
    let status = raw.decompress(bytes, out, FlushDecompress::None);
    let used = usize::try_from(raw.total_in().checked_sub(before_in)?).ok()?;
    let len = usize::try_from(raw.total_out().checked_sub(before_out)?).ok()?;
    match status {
        Ok(Status::Ok | Status::BufError) => Some((used, len)),
        Ok(Status::StreamEnd) => {
            let next = bytes.get(used);
            if is_gzip && next.is_none_or(|byte| *byte == 0x1F) {
                *raw = Decompress::new_gzip(15);
                Some((used, len))
            } else {
                // what follows belongs to nothing
                (len > 0).then_some((bytes.len(), len))
            }
        }
        Err(_) => None,
    }
}

fn unbrotli(state: &mut Brotli, bytes: &[u8], out: &mut [u8]) -> Option<(usize, usize)> {
    let (mut left, mut used, mut room, mut len, mut total) = (bytes.len(), 0, out.len(), 0, 0);
    let result = BrotliDecompressStream(&mut left, &mut used, bytes, &mut room, &mut len, out, &mut total, state);
    let is_too_large = state.ringbuffer_size > 1 << WINDOW;
    match result {
        _ if is_too_large => None,
        BrotliResult::ResultFailure => None,
        BrotliResult::ResultSuccess => (len > 0).then_some((bytes.len(), len)),
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Some((used, len)),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn text() -> Vec<u8> {
        (0..40_000_u32).flat_map(|n| format!("{} ", n.wrapping_mul(2_654_435_761)).into_bytes()).collect()
    }

    /// What comes of `bytes` in pieces of `size`.
    fn decoded(encodings: &str, bytes: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(mut decoder) = Decoder::new(encodings.as_bytes(), bytes) else { return out };
        for piece in bytes.chunks(size) {
            decoder.push(piece, &mut |piece| out.extend_from_slice(piece));
        }
        out
    }

    #[test]
    fn every_encoding_is_undone_in_pieces_of_any_size() {
        let text = text();
        let raw = zlib(&text)[2..].to_vec();
        let zstd = zstd::encode_all(text.as_slice(), 3).unwrap();
        let two_members = [gzip(&text[..1000]), gzip(&text[1000..])].concat();
        let cases = [
            ("gzip", gzip(&text)),
            ("deflate", zlib(&text)),
            ("deflate", raw),
            ("zstd", zstd.clone()),
            ("", zstd),
            ("", gzip(&text)),
            ("gzip, gzip", gzip(&gzip(&text))),
            ("deflate, gzip", gzip(&zlib(&text))),
            ("gzip", two_members),
            ("identity, gzip", gzip(&text)),
        ];
        for (encodings, packed) in cases {
            for size in [1400, 100_000] {
                assert!(decoded(encodings, &packed, size) == text, "{encodings} in pieces of {size}");
            }
        }
    }

    /// A local file header and a file.
    fn file(name: &str, method: u16, bytes: &[u8]) -> Vec<u8> {
        let size = u32::try_from(bytes.len()).unwrap();
        let mut out = FILE.to_vec();
        out.extend_from_slice(&[20, 0, 0, 0]);
        out.extend_from_slice(&method.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        [&out, name.as_bytes(), bytes].concat()
    }

    #[test]
    fn files_of_an_archive_come_one_after_the_other() {
        let text = text();
        let raw = zlib(&text)[2..].to_vec();
        let raw = &raw[..raw.len() - 4];
        let archive = [
            file("a.txt", 0, b"first"),
            file("b.txt", 8, raw),
            b"what stands between, a descriptor say, P PK".to_vec(),
            file("c.jpg", 99, b"passed over"),
            file("d.txt", 0, b"last"),
            b"PK\x01\x02 directory".to_vec(),
        ]
        .concat();
        let expected = [b"first\n", text.as_slice(), b"\n\nlast\n"].concat();
        for size in [1400, 1_000_000] {
            assert!(decoded("", &archive, size) == expected, "in pieces of {size}");
            assert!(decoded("gzip", &gzip(&archive), size) == expected, "compressed, in pieces of {size}");
        }
    }

    #[test]
    fn pieces_may_be_of_a_byte() {
        let text = text();
        assert!(decoded("gzip", &gzip(&text), 1) == text);
        assert!(decoded("zstd", &zstd::encode_all(text.as_slice(), 3).unwrap(), 1) == text);
        assert!(decoded("", &[gzip(&text[..1000]), gzip(&text[1000..])].concat(), 1) == text);
    }

    #[test]
    fn what_is_plain_has_no_decoder_and_what_is_damaged_gives_its_beginning() {
        assert!(Decoder::new(b"identity", b"{\"a\":1}").is_none());
        assert!(Decoder::new(b"", b"text").is_none());
        let mut packed = gzip(&text());
        packed[20_000..20_100].fill(0xFF);
        let out = decoded("gzip", &packed, 1000);
        assert!(out.len() > 10_000 && text().starts_with(&out[..10_000]));
    }

    #[test]
    fn a_bomb_becomes_no_more_than_its_allowance() {
        let packed = gzip(&vec![0; 50 << 20]);
        assert!(decoded("gzip", &packed, 1400).len() <= allowance(packed.len()));
        let packed = gzip(&gzip(&vec![0; 50 << 20]));
        assert!(decoded("gzip, gzip", &packed, 1400).len() <= allowance(packed.len()));
    }
}
