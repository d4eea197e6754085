//! Streams of protocols that are not read: bytes of both directions in, pieces to be searched out, cut between words.
//!
//! Nothing is held, copied or handed on while nobody searches. Bound: [`CARRY`] bytes of a word that goes on in the next
//! chunk, per direction.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use zeroize::Zeroizing;

use super::probe::is_tls;
use super::{Delivery, Found, Next, Sink, bytes_of};
use crate::stream::{Chunk, Context, Dir};

/// Bytes held at most of a word that goes on in the next chunk.
const CARRY: usize = 4096;
/// Lines of so many characters and more, and nothing else in them, belong to one encoded text (PEM, MIME, `base64`).
const WRAPPED: usize = 60;

/// See the module.
#[derive(Default)]
pub(super) struct Text {
    /// The unfinished word at the end of each direction.
    carry: [Zeroizing<Vec<u8>>; 2],
}

impl Text {
    /// Takes the next chunk.
    pub(super) fn feed(&mut self, given: Delivery<'_>, sink: &mut Sink<'_>) -> Next {
        match bytes_of(given.chunk) {
            // STARTTLS and its like
            Some(bytes) if is_tls(bytes) => return Next::Nothing,
            Some(bytes) => self.search(given.dir, bytes, given.at, sink),
            None if matches!(given.chunk, Chunk::Gap { .. } | Chunk::End(_)) => self.flush(given.dir, given.at, sink),
            None => {}
        }
        Next::Stay
    }

    /// Hands on bytes of a direction up to the last word's beginning.
    pub(super) fn search(&mut self, dir: Dir, bytes: &[u8], at: Context, sink: &mut Sink<'_>) {
        let Some(carry) = self.carry.get_mut(dir.index()) else { return };
        if !sink.searches {
            return carry.clear();
        }
        let mut hand_on = |bytes: &[u8]| {
            if !bytes.is_empty() {
                (sink.out)(Found::Text { dir, bytes, at });
            }
        };
        if carry.is_empty() {
            let (done, open) = split(bytes);
            hand_on(done);
            carry.extend_from_slice(open);
        } else {
            carry.extend_from_slice(bytes);
            let done = split(carry).0.len();
            hand_on(carry.get(..done).unwrap_or_default());
            carry.drain(..done);
        }
    }

    /// Nothing more will come.
    pub(super) fn finish(&mut self, at: Context, sink: &mut Sink<'_>) {
        [Dir::ToServer, Dir::ToClient].into_iter().for_each(|dir| self.flush(dir, at, sink));
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.carry.iter().map(|carry| carry.capacity()).fold(size_of::<Self>(), usize::saturating_add)
    }

    /// The last word of a direction is whole.
    pub(super) fn flush(&mut self, dir: Dir, at: Context, sink: &mut Sink<'_>) {
        let Some(carry) = self.carry.get_mut(dir.index()) else { return };
        let bytes = std::mem::take(carry);
        if sink.searches && !bytes.is_empty() {
            (sink.out)(Found::Text { dir, bytes: &bytes, at });
        }
    }
}

/// Splits off the word at the end, and the lines of one encoded text that it goes on from.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut start = word(bytes);
    if start == bytes.len() && !bytes.ends_with(b"\n") {
        return (bytes, &[]);
    }
    loop {
        let before = bytes.get(..start).unwrap_or_default();
        let Some(line) = before.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line)) else { break };
        let begin = word(line);
        let is_wrapped = line.len().saturating_sub(begin) >= WRAPPED;
        if !is_wrapped || bytes.len().saturating_sub(begin) > CARRY {
            break;
        }
        start = begin;
    }
    if bytes.len().saturating_sub(start) > CARRY {
        (bytes, &[])
    } else {
        bytes.split_at_checked(start).unwrap_or((bytes, &[]))
    }
}

/// Where the word at the end begins; words longer than [`CARRY`] are cut.
fn word(bytes: &[u8]) -> usize {
    let len = bytes.iter().rev().take(CARRY).take_while(|byte| is_word(**byte)).count();
    bytes.len().saturating_sub(len)
}

/// Whether a byte may stand in a token, or in one that was encoded.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'.' | b'-' | b'~' | b'%' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_and_wrapped_lines_are_not_cut() {
        let line = "A".repeat(64);
        for (whole, open) in [
            ("key: wJalrXUt", "wJalrXUt".to_owned()),
            ("all done\n", String::new()),
            ("all done ", String::new()),
            ("", String::new()),
            (&format!("begin\n{line}\n{line}\n"), format!("{line}\n{line}\n")),
            (&format!("begin {line}\r\n{line}\r\nAB"), format!("{line}\r\n{line}\r\nAB")),
            (&format!("begin\n{line}\nshort\nAB"), "AB".to_owned()),
        ] {
            assert_eq!(String::from_utf8_lossy(split(whole.as_bytes()).1), open, "{whole}");
        }
        let long = [b'A'; 10_000];
        assert!(split(&long).1.len() <= super::CARRY);
        let lines = format!("{line}\n").repeat(1000);
        assert!(split(lines.as_bytes()).1.len() <= super::CARRY);
    }
}
