//! DEFLATE (RFC 1951), alone or wrapped by zlib (RFC 1950) or gzip (RFC 1952), of bytes that are all there.
//!
//! Each thread has one decoder that begins anew for each content: its window has to be cleared when it is made, which is
//! dearer than to undo a short one. Bound: that window, and what the caller asks for.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::cell::Cell;
use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress, Status};

use super::{Decoded, read};

/// What stands around the compressed data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// Nothing.
    Raw,
    /// Two bytes before it and a checksum behind it.
    Zlib,
    /// A header and a trailer; another member may follow.
    Gzip,
}

/// Compressed content undone.
#[derive(Debug, Default)]
pub struct Inflated {
    /// What came out before the limit, the end or the first error.
    pub bytes: Decoded,
    /// Whether the limit was in the way.
    pub is_cut: bool,
    /// How many bytes of the input it took.
    pub used: usize,
}

thread_local! {
    static DECODER: Cell<Option<Decompress>> = const { Cell::new(None) };
}

/// At most `limit` bytes of what `bytes` begin with.
pub fn inflate(wrapping: Wrapping, bytes: &[u8], limit: usize) -> Inflated {
    let mut decoder = DECODER.take().unwrap_or_else(|| Decompress::new(false));
    let mut reader = Inflating { decoder: &mut decoder, wrapping, rest: bytes, place: Place::Before };
    let (inflated, is_cut) = read(&mut reader, limit);
    let used = bytes.len().saturating_sub(reader.rest.len());
    DECODER.set(Some(decoder));
    Inflated { bytes: inflated, is_cut, used }
}

struct Inflating<'d, 'b> {
    decoder: &'d mut Decompress,
    wrapping: Wrapping,
    rest: &'b [u8],
    place: Place,
}

/// Where the next byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    Within,
    Behind,
}

impl Inflating<'_, '_> {
    /// Goes to where the next stream begins; `None` where there is none.
    fn begin(&mut self) -> Option<()> {
        if self.wrapping == Wrapping::Gzip {
            self.rest = after_header(self.rest)?;
        }
        self.decoder.reset(self.wrapping == Wrapping::Zlib);
        self.place = Place::Within;
        Some(())
    }

    fn end(&mut self) {
        self.place = match self.wrapping {
            Wrapping::Gzip => Place::Before,
            Wrapping::Raw | Wrapping::Zlib => Place::Behind,
        };
        if self.wrapping == Wrapping::Gzip {
            // a checksum and a length; neither is looked at: what came out is used as it is
            self.rest = self.rest.get(8..).unwrap_or_default();
        }
    }
}

impl Read for Inflating<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let is_over = match self.place {
                Place::Before => self.begin().is_none(),
                Place::Within => false,
                Place::Behind => true,
            };
            if is_over {
                return Ok(0);
            }
            let before = (self.decoder.total_in(), self.decoder.total_out());
            let status = self.decoder.decompress(self.rest, out, FlushDecompress::None)?;
            let taken = |total: u64, before: u64| usize::try_from(total.saturating_sub(before)).unwrap_or(usize::MAX);
            let used = taken(self.decoder.total_in(), before.0);
            let given = taken(self.decoder.total_out(), before.1);
            self.rest = self.rest.get(used..).unwrap_or_default();
            match status {
                Status::StreamEnd => self.end(),
                _ if given == 0 => return Ok(0), // it needs more than there is
                _ => {}
            }
            if given > 0 {
                return Ok(given);
            }
        }
    }
}

/// What follows the header of a gzip member (RFC 1952 section 2.3). Read here because a decoder for gzip would be made anew
/// for each content: only one for bare streams can begin again as it is.
fn after_header(bytes: &[u8]) -> Option<&[u8]> {
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const CHECKSUM: u8 = 2;
    let [0x1F, 0x8B, 8, flags, _, _, _, _, _, _, rest @ ..] = bytes else { return None };
    let mut rest = rest;
    if flags & EXTRA != 0 {
        let (len, extra) = rest.split_first_chunk()?;
        rest = extra.get(usize::from(u16::from_le_bytes(*len))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            rest = rest.get(memchr::memchr(0, rest)?.checked_add(1)?..)?;
        }
    }
    if flags & CHECKSUM != 0 { rest.get(2..) } else { Some(rest) }
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]
mod tests {
    use std::io::Write;

    use flate2::write::{DeflateEncoder, ZlibEncoder};
    use flate2::{Compression as Level, GzBuilder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let header = GzBuilder::new().filename("a name").comment("a comment").extra([7; 300]);
        let mut out = header.write(Vec::new(), Level::best());
        out.write_all(text).unwrap();
        out.finish().unwrap()
    }

    #[track_caller]
    fn gives(wrapping: Wrapping, bytes: &[u8], text: &[u8], used: usize) {
        let inflated = inflate(wrapping, bytes, 1 << 20);
        assert_eq!((inflated.bytes.as_slice(), inflated.is_cut, inflated.used), (text, false, used));
    }

    #[test]
    fn each_wrapping_is_undone_whatever_came_before() {
        let text = b"AccessKeyId SecretAccessKey ".repeat(900);
        let mut raw = DeflateEncoder::new(Vec::new(), Level::best());
        raw.write_all(&text).unwrap();
        let raw = raw.finish().unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Level::fast());
        zlib.write_all(&text).unwrap();
        let zlib = zlib.finish().unwrap();
        let members = [gzip(&text), gzip(b""), gzip(&text)].concat();
        for _ in 0..2 {
            gives(Wrapping::Raw, &[&raw[..], b"behind it"].concat(), &text, raw.len());
            gives(Wrapping::Gzip, &members, &text.repeat(2), members.len());
            gives(Wrapping::Zlib, &[&zlib[..], b"behind it"].concat(), &text, zlib.len());
            gives(Wrapping::Zlib, b"no zlib at all", b"", 0);
            gives(Wrapping::Gzip, b"", b"", 0);
        }
    }

    #[test]
    fn nothing_is_left_of_what_came_before() {
        use std::io::Read as _;
        let text = b"{\"access_token\":\"ya29.c.b0AXv0zTPx9bkRzP7h3Zk\",\"expires_in\":3599,\"token_type\":\"Bearer\"}";
        let mut zlib = ZlibEncoder::new(Vec::new(), Level::default());
        zlib.write_all(text).unwrap();
        let zlib = zlib.finish().unwrap();
        let mut state = 1u64;
        for round in 0..20_000usize {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut damaged = zlib.clone();
            let at = 2 + (state >> 33) as usize % (zlib.len() - 2);
            damaged[at] ^= (state >> 20) as u8 | 1;
            damaged.truncate(zlib.len() - round % 7);
            let mut expected = vec![0; 4096];
            let count = flate2::read::ZlibDecoder::new(&damaged[..]).read(&mut expected).unwrap_or(0);
            let got = inflate(Wrapping::Zlib, &damaged, 4095).bytes;
            assert_eq!(*got, expected[..count], "{round}");
            assert_eq!(*inflate(Wrapping::Zlib, &zlib, 4095).bytes, text[..], "{round}");
        }
    }

    #[test]
    fn what_comes_before_damage_or_the_limit_is_used() {
        let text: Vec<u8> = (0..40_000u32).flat_map(|n| n.to_string().into_bytes()).collect();
        let whole = gzip(&text);
        let cut = inflate(Wrapping::Gzip, &whole[..whole.len() / 2], 1 << 20).bytes;
        assert!(cut.len() > text.len() / 4 && text.starts_with(&cut), "{}", cut.len());
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 0x55;
        let before = inflate(Wrapping::Gzip, &damaged, 1 << 20).bytes;
        assert!(before.len() > text.len() / 4 && before.starts_with(&text[..text.len() / 4]));
        let limited = inflate(Wrapping::Gzip, &whole, 1000);
        assert!(limited.is_cut && *limited.bytes == text[..1000]);
    }
}
