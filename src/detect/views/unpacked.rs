//! Compressed data and archives inside a text.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::cell::Cell;
use std::ops::Range;

use super::{Origin, View, Wiped};
use crate::detect::content;
use crate::detect::content::inflate::Wrapping;

/// Most bytes that compressed data may become.
const MAX_UNPACKED: usize = 64 * 1024;
/// Places at which compressed data known by two bytes is tried, and what it has to give.
const ZLIB_TRIES: usize = 4;
const GOOD: usize = 32;

/// Whether there is the beginning of one of [`unpacked`]'s formats.
pub(super) fn is_packed(bytes: &[u8]) -> bool {
    // asked of every reading: without branches, so that the compiler looks at many bytes at once
    let is_magic = |first: u8, second: u8| {
        (first == 0x1F) & (second == 0x8B)
            | (first == 0x28) & (second == 0xB5)
            | (first == b'P') & (second == b'K')
            | (first == 0x78) & ((second == 0x01) | (second == 0x5E) | (second == 0x9C) | (second == 0xDA))
    };
    bytes.chunks(1024).enumerate().any(|(nth, chunk)| {
        let next = bytes.get(nth.saturating_mul(1024).saturating_add(1)..).unwrap_or_default();
        chunk.iter().zip(next).fold(false, |any, (first, second)| any | is_magic(*first, *second))
    })
}

/// Compressed data and archives in the text, unpacked as far as they go.
pub(super) fn unpacked(text: &[u8], most: usize) -> Option<View<'static>> {
    let most = most.min(MAX_UNPACKED).min(content::allowance(text.len()));
    const GZIP: &[u8] = &[0x1F, 0x8B, 0x08];
    const ZSTD: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];
    const ZIP: &[u8] = b"PK\x03\x04";
    let from = |magic: &[u8]| memchr::memmem::find(text, magic).and_then(|at| Some((at, text.get(at..)?)));
    if let Some((at, packed)) = from(GZIP) {
        return inflated(Wrapping::Gzip, packed, most, at..text.len());
    }
    if let Some((at, packed)) = from(ZIP) {
        return archive(packed, most, at..text.len());
    }
    if let Some((at, packed)) = from(ZSTD) {
        let (mut bytes, _) = content::decode(content::Coding::Zstd, packed, most);
        return whole(Wiped(std::mem::take(&mut *bytes)), at..text.len());
    }
    zlib(text, most)
}

/// Compressed data by two bytes, which other data has by chance: some of them are tried.
fn zlib(text: &[u8], most: usize) -> Option<View<'static>> {
    let is_magic = |at: &usize| matches!(text.get(*at..), Some([_, 0x01 | 0x5E | 0x9C | 0xDA, ..]));
    let mut starts = memchr::memchr_iter(0x78, text).filter(is_magic).take(ZLIB_TRIES);
    starts.find_map(|at| {
        let view = inflated(Wrapping::Zlib, text.get(at..)?, most, at..text.len())?;
        Some(view).filter(|view| view.bytes.len() >= GOOD)
    })
}

/// The files of an archive, one after the other.
fn archive(packed: &[u8], most: usize, range: Range<usize>) -> Option<View<'static>> {
    let mut bytes = Wiped(Vec::with_capacity(most));
    content::archive::entries(packed, &Cell::new(most), &mut |_, file| {
        let room = most.saturating_sub(bytes.len()).saturating_sub(1);
        bytes.extend_from_slice(file.get(..file.len().min(room)).unwrap_or_default());
        bytes.push(b'\n');
    });
    whole(bytes, range)
}

fn whole(bytes: Wiped, range: Range<usize>) -> Option<View<'static>> {
    Some(View { bytes, origin: Origin::Whole(range) }).filter(|view| !view.bytes.is_empty())
}

fn inflated(wrapping: Wrapping, packed: &[u8], most: usize, range: Range<usize>) -> Option<View<'static>> {
    let mut inflated = content::inflate::inflate(wrapping, packed, most).bytes;
    whole(Wiped(std::mem::take(&mut *inflated)), range)
}
