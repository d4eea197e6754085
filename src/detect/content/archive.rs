//! Zip archives, and so office documents and packages, and tar archives: each file with its name, as far as the bytes go.
//!
//! Local file headers are read one after the other (APPNOTE 4.3.7), so that an archive whose end (and directory) was not
//! captured gives its first files. Integers are little-endian. Methods: stored, deflate, zstd. Encrypted files are passed
//! over. Bounds: `room` bytes out in all; each header takes 30 bytes of the input or more.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::cell::Cell;

use super::inflate::{Wrapping, inflate};
use super::{Coding, allowance, decode};

/// How a local file header begins.
const HEADER: &[u8; 4] = b"PK\x03\x04";
/// Flags: encrypted; sizes follow the file.
const ENCRYPTED: u16 = 1;
const SIZES_FOLLOW: u16 = 8;
/// Methods.
const STORED: u16 = 0;
const DEFLATE: u16 = 8;
const ZSTD: u16 = 93;

/// Whether bytes begin as an archive.
pub fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(HEADER)
}

/// Where a tar archive says what it is, and how.
const USTAR: (usize, &[u8]) = (257, b"ustar");
/// Bytes of its blocks.
const BLOCK: usize = 512;

/// Whether bytes begin as a tar archive (POSIX.1-1988, and GNU's).
pub fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(USTAR.0..).is_some_and(|rest| rest.starts_with(USTAR.1))
}

/// Calls `visit` with the content of every file of a tar archive: a block each of name and size (octal digits at 124), then
/// the file in whole blocks.
pub fn tar_entries(archive: &[u8], visit: &mut dyn FnMut(&[u8])) {
    let mut rest = archive;
    while is_tar(rest) {
        let digits = rest.get(124..136).unwrap_or_default().iter().skip_while(|b| **b == b' ');
        let digits = digits.take_while(|b| matches!(b, b'0'..=b'7'));
        let size = digits.fold(0usize, |size, digit| size.saturating_mul(8).saturating_add(usize::from(digit & 7)));
        let content = rest.get(BLOCK..).unwrap_or_default();
        visit(content.get(..size).unwrap_or(content));
        rest = content.get(size.div_ceil(BLOCK).saturating_mul(BLOCK)..).unwrap_or_default();
    }
}

/// A local file header.
struct Header<'a> {
    flags: u16,
    method: u16,
    /// Compressed bytes; 0 where they follow the file.
    size: usize,
    name: &'a [u8],
}

/// Calls `visit` with name and content of every file of an archive. What comes out is taken from `room`, which archives
/// inside each other share, before it is shown.
pub fn entries(archive: &[u8], room: &Cell<usize>, visit: &mut dyn FnMut(&[u8], &[u8])) {
    let mut own = allowance(archive.len());
    let mut rest = archive;
    while let Some((header, content)) = header(rest) {
        let left = own.min(room.get());
        let known = header.size > 0 || header.flags & SIZES_FOLLOW == 0;
        let stored = match known {
            true => content.get(..header.size).unwrap_or(content),
            false if header.method == STORED => content.get(..next_signature(content)).unwrap_or(content),
            false => content,
        };
        let (file, used) = match header.method {
            _ if header.flags & ENCRYPTED != 0 => (None, stored.len()),
            DEFLATE => {
                let inflated = inflate(Wrapping::Raw, stored, left.min(allowance(stored.len())));
                (Some(inflated.bytes), inflated.used)
            }
            ZSTD => (Some(decode(Coding::Zstd, stored, left).0), stored.len()),
            STORED => (None, stored.len()),
            _ => (None, stored.len()),
        };
        let is_plain = header.method == STORED && header.flags & ENCRYPTED == 0;
        let file = match &file {
            Some(file) => Some(file.as_slice()),
            None => is_plain.then(|| stored.get(..left).unwrap_or(stored)),
        };
        if let Some(file) = file {
            own = own.saturating_sub(file.len());
            room.set(room.get().saturating_sub(file.len()));
            visit(header.name, file);
        }
        let used = if known { stored.len() } else { used };
        let behind = content.get(used..).unwrap_or_default();
        // a descriptor of 12 to 24 bytes may stand between
        let Some(next) = memchr::memmem::find(behind, HEADER).filter(|_| own.min(room.get()) > 0) else { return };
        rest = behind.get(next..).unwrap_or_default();
    }
}

/// The local file header that `bytes` begin with, and what follows it.
fn header(bytes: &[u8]) -> Option<(Header<'_>, &[u8])> {
    let fixed = bytes.strip_prefix(HEADER)?;
    let u16_at = |at: usize| fixed.get(at..at.checked_add(2)?)?.first_chunk().map(|b| u16::from_le_bytes(*b));
    let (flags, method) = (u16_at(2)?, u16_at(4)?);
    let size = u32::from_le_bytes(*fixed.get(14..18)?.first_chunk()?);
    let (name_len, extra_len) = (usize::from(u16_at(22)?), usize::from(u16_at(24)?));
    let (name, rest) = fixed.get(26..)?.split_at_checked(name_len)?;
    Some((Header { flags, method, size: usize::try_from(size).ok()?, name }, rest.get(extra_len..)?))
}

/// Bytes up to the next signature of any kind.
fn next_signature(bytes: &[u8]) -> usize {
    let mut signatures = memchr::memmem::find_iter(bytes, b"PK");
    let is_signature = |at: &usize| {
        let kind = bytes.get(at.saturating_add(2)..at.saturating_add(4));
        matches!(kind, Some([1, 2] | [3, 4] | [5, 6] | [7, 8]))
    };
    signatures.find(is_signature).unwrap_or(bytes.len())
}
