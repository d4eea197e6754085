//! Cleartext of protocols other than HTTP and DNS, searched for credentials that leave: chunks of both directions in,
//! keyed hashes of credential-shaped tokens out. Only the first [`BUDGET`] bytes of each direction are looked at.

use zeroize::Zeroizing;

use super::tcp::side;
use crate::detect::{Seen, tokens};
use crate::stream::Dir;

/// Bytes of each direction that are searched.
const BUDGET: u32 = 64 * 1024;
/// Bytes held at most of a token that goes on in the next chunk.
const CARRY: usize = 4096;

/// The search in one connection.
pub(super) struct TextScan {
    left: [u32; 2],
    /// The unfinished token at the end of each direction.
    carry: [Zeroizing<Vec<u8>>; 2],
}

impl Default for TextScan {
    fn default() -> Self {
        Self { left: [BUDGET; 2], carry: Default::default() }
    }
}

impl TextScan {
    /// Takes the next bytes of a direction, and searches them if `search`.
    pub(super) fn chunk(&mut self, dir: Dir, bytes: &[u8], search: bool) -> Vec<Seen> {
        let mut hashes = Vec::new();
        let side = side(dir);
        let (Some(left), Some(carry)) = (self.left.get_mut(side), self.carry.get_mut(side)) else { return hashes };
        let bytes = bytes.get(..bytes.len().min(*left as usize)).unwrap_or_default();
        *left -= bytes.len() as u32;
        carry.extend_from_slice(bytes);
        let open = carry.iter().rev().take_while(|b| is_token_byte(**b)).take(CARRY).count();
        let done = if *left == 0 { carry.len() } else { carry.len() - open };
        if search {
            tokens::tokens_in(carry.get(..done).unwrap_or_default(), &mut hashes);
        }
        carry.drain(..done);
        hashes
    }

    /// What the connection's end leaves.
    pub(super) fn finish(&mut self) -> Vec<(Dir, Vec<Seen>)> {
        let rest = |dir: Dir, carry: &Zeroizing<Vec<u8>>| {
            let mut hashes = Vec::new();
            tokens::tokens_in(carry, &mut hashes);
            (dir, hashes)
        };
        let [to_server, to_client] = &self.carry;
        vec![rest(Dir::ToServer, to_server), rest(Dir::ToClient, to_client)]
    }

    /// Whether nothing is left to search.
    pub(super) fn is_over(&self) -> bool {
        self.left == [0, 0]
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.carry.iter().map(|c| c.capacity()).sum::<usize>()
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'.' | b'-' | b'~' | b'%' | b'\\')
}

/// Whether bytes look like text that people or programs read: no control characters but white space.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    let start = bytes.get(..bytes.len().min(64)).unwrap_or_default();
    !start.is_empty() && start.iter().all(|b| *b >= 0x20 && *b != 0x7f || matches!(b, b'\t' | b'\r' | b'\n' | 0x1b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_cut_by_a_chunk_is_found_whole() {
        let token = b"wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY99";
        let mut scan = TextScan::default();
        let mut found = scan.chunk(Dir::ToServer, b"key: wJalrXUtnFEMIK7MD", true);
        found.extend(scan.chunk(Dir::ToServer, b"ENGbPxRfiCYEXAMPLEKEY99\n", true));
        let secret = crate::detect::Secret::new(token, crate::detect::Part::Key).unwrap();
        let known = |seen: &Seen| secret.anchors.iter().any(|anchor| anchor & !3 == seen.anchor());
        assert_eq!(found.iter().filter(|seen| known(seen)).count(), secret.anchors.len());
    }

    #[test]
    fn text_is_told_from_binary() {
        assert!(is_text(b"<134>Nov 24 host app: hello\n"));
        assert!(!is_text(&[0x16, 0x03, 0x01, 0x02]) && !is_text(b""));
    }
}
