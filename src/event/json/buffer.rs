//! Bytes of JSON, appended in pieces.
//!
//! A document is a hundred short texts. Appending each to a vector asks for room, calls a copy and moves the end. Here some
//! room is always there, filled with zeros: pieces of a size that the compiler knows are stored over it, and only the end
//! is moved by how much of them counts. Bound: what is written, and [`GROWTH`] bytes.

use std::fmt;
use std::io::{self, Write};

use crate::event::plain::steers;
use crate::text::hex;

/// Most bytes that are stored at once.
const PIECE: usize = 64;
/// Bytes by which there is more room at least, when there is none.
const GROWTH: usize = 1024;

/// JSON in the making. Up to `end` it is written, the rest is room.
pub struct Buffer {
    bytes: Vec<u8>,
    end: usize,
}

impl Buffer {
    /// Goes on where `written` ends.
    pub fn after(written: Vec<u8>) -> Self {
        Self { end: written.len(), bytes: written }
    }

    /// What is written.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.truncate(self.end);
        self.bytes
    }

    /// How much is written.
    #[inline(always)]
    pub fn end(&self) -> usize {
        self.end
    }

    /// The byte at a place, which may be replaced. There must be one.
    pub fn at(&mut self, place: usize) -> &mut u8 {
        &mut self.bytes[place]
    }

    /// Room for a piece: what is stored there counts once the end is moved over it.
    #[inline(always)]
    fn room(&mut self) -> &mut [u8] {
        if self.bytes.len() - self.end < PIECE {
            self.grow(PIECE);
        }
        &mut self.bytes[self.end..self.end + PIECE]
    }

    #[cold]
    fn grow(&mut self, least: usize) {
        self.bytes.resize(self.bytes.len() + least.max(GROWTH), 0);
    }

    /// Appends the first `len` of these bytes; `N` must be [`PIECE`] at most.
    #[inline(always)]
    pub fn beginning_of<const N: usize>(&mut self, bytes: &[u8; N], len: usize) {
        self.room()[..N].copy_from_slice(bytes);
        self.end += len;
    }

    /// Appends a byte.
    #[inline(always)]
    pub fn push(&mut self, byte: u8) {
        self.beginning_of(&[byte], 1);
    }

    /// Appends bytes as they are.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.bytes.len() - self.end < bytes.len() {
            self.grow(bytes.len());
        }
        self.bytes[self.end..][..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Appends ASCII in quotes of which it is known that nothing in it needs an escape.
    #[inline]
    pub fn plain_string(&mut self, ascii: &[u8]) {
        debug_assert!(is_plain(ascii));
        self.quoted::<false>(ascii);
    }

    /// Appends a string.
    #[inline]
    pub fn string(&mut self, text: &str) {
        if !self.quoted::<true>(text.as_bytes()) {
            self.escaped_string(text);
        }
    }

    #[cold]
    fn escaped_string(&mut self, text: &str) {
        self.push(b'"');
        self.escaped(text);
        self.push(b'"');
    }

    /// Appends the first `longest` bytes of a text as a string, and how many follow.
    #[cold]
    pub fn cut_string(&mut self, text: &str, longest: usize) {
        let (shown, rest) = text.split_at(text.floor_char_boundary(longest));
        self.push(b'"');
        self.escaped(shown);
        self.extend(format!("… ({} bytes more)\"", rest.len()).as_bytes());
    }

    /// Appends what a value is displayed as as a string.
    pub fn displayed_string(&mut self, value: &(impl fmt::Display + ?Sized)) -> io::Result<()> {
        self.push(b'"');
        let start = self.end;
        write!(self, "{value}")?;
        let written = &self.bytes[start..self.end];
        if !is_plain(written) {
            let text = String::from_utf8_lossy(written).into_owned();
            self.end = start;
            self.escaped(&text);
        }
        self.push(b'"');
        Ok(())
    }

    /// Appends bytes in quotes; with `LOOK` nothing, and false, where something in them needs an escape.
    #[inline]
    fn quoted<const LOOK: bool>(&mut self, bytes: &[u8]) -> bool {
        match bytes.len() {
            2..4 => self.short::<LOOK, 2, 4>(bytes),
            4..8 => self.short::<LOOK, 4, 8>(bytes),
            8..16 => self.short::<LOOK, 8, 16>(bytes),
            16..=32 => self.short::<LOOK, 16, 32>(bytes),
            _ => self.long::<LOOK>(bytes),
        }
    }

    /// Text of `N` to `TWICE` bytes, which most are: its first and last `N`, which may overlap.
    #[inline(always)]
    fn short<const LOOK: bool, const N: usize, const TWICE: usize>(&mut self, bytes: &[u8]) -> bool {
        let (Some(first), Some(last)) = (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) else { return false };
        if LOOK {
            let mut both = [0; TWICE];
            both[..N].copy_from_slice(first);
            both[N..].copy_from_slice(last);
            if !are_plain(&both) {
                return false;
            }
        }
        let last_at = (bytes.len() - N) % TWICE; // it is no more than N: the compiler sees that it fits
        let room = self.room();
        room[0] = b'"';
        room[1..=N].copy_from_slice(first);
        room[1 + last_at..][..N].copy_from_slice(last);
        room[1 + last_at + N] = b'"';
        self.end += bytes.len() + 2;
        true
    }

    fn long<const LOOK: bool>(&mut self, bytes: &[u8]) -> bool {
        if LOOK && !is_plain(bytes) {
            return false;
        }
        self.push(b'"');
        self.extend(bytes);
        self.push(b'"');
        true
    }

    /// Appends text with what needs it escaped.
    fn escaped(&mut self, text: &str) {
        let mut done = 0;
        let mut next = 0;
        // a character begins at each place that is looked at: none of the bytes passed over is part of a longer one
        while let Some(plain) = text.as_bytes()[next..].iter().position(|byte| needs_escape(*byte)) {
            let at = next + plain;
            let Some(c) = text[at..].chars().next() else { break };
            next = at + c.len_utf8();
            if matches!(c, '"' | '\\') || steers(c) {
                self.extend(&text.as_bytes()[done..at]);
                self.escape(c);
                done = next;
            }
        }
        self.extend(&text.as_bytes()[done..]);
    }

    fn escape(&mut self, c: char) {
        let short = match c {
            '"' => b'"',
            '\\' => b'\\',
            '\n' => b'n',
            '\r' => b'r',
            '\t' => b't',
            '\u{8}' => b'b',
            '\u{c}' => b'f',
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    self.extend(b"\\u");
                    self.extend(unit.to_be_bytes().map(hex::lower).as_flattened());
                }
                return;
            }
        };
        self.extend(&[b'\\', short]);
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether nothing in `bytes` needs an escape, as hardly any text does.
fn is_plain(bytes: &[u8]) -> bool {
    match bytes.last_chunk::<32>() {
        Some(last) => bytes.as_chunks::<32>().0.iter().chain([last]).all(are_plain),
        None => !bytes.iter().any(|byte| needs_escape(*byte)),
    }
}

/// The same of a number of bytes that the compiler knows, without a decision between them: it looks at all at once.
#[inline(always)]
fn are_plain<const N: usize>(bytes: &[u8; N]) -> bool {
    bytes.iter().fold(0, |any, byte| any | u8::from(needs_escape(*byte))) == 0
}

/// Whether a byte may need an escape: of what is no ASCII the whole character tells.
#[inline(always)]
fn needs_escape(byte: u8) -> bool {
    (byte.wrapping_sub(b' ') > b'~' - b' ') | (byte == b'"') | (byte == b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_bytes_are_looked_at_as_one_is() {
        for (byte, at) in (0..=255_u8).flat_map(|byte| (0..35).map(move |at| (byte, at))) {
            for other in [0, 0x1f, b' ', b'!', b'"', b'#', b'[', b'\\', 0x7f, 0x80, 0xff] {
                let mut text = [b'a'; 35];
                (text[at], text[(at + 1) % 35]) = (byte, other);
                assert_eq!(is_plain(&text), !text.iter().any(|byte| needs_escape(*byte)), "{text:?}");
            }
        }
    }

    #[test]
    fn texts_of_any_length_are_appended_whole() {
        let mut buffer = Buffer::after(b"before".to_vec());
        let mut expected = b"before".to_vec();
        for len in (0..200).chain([GROWTH - 1, GROWTH, 3 * GROWTH, 1]) {
            let text: String = (0..len).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
            buffer.string(&text);
            buffer.plain_string(text.as_bytes());
            buffer.displayed_string(&text).unwrap();
            buffer.extend(text.as_bytes());
            buffer.push(b'.');
            expected.extend(format!("\"{text}\"\"{text}\"\"{text}\"{text}.").bytes());
        }
        assert!(buffer.finish() == expected);
    }
}
