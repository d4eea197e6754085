//! Secrets as they are remembered: keyed hashes, never text.
//!
//! A secret gives two lists. *Blocks* are hashes of every [`BLOCK`] characters in a row: two of them, one behind the other,
//! are [`GRAM`] characters, and whoever has a text asks whether any of it are in a secret ([`IssuedSecrets`]). *Anchors*
//! are hashes of some of its [`ANCHOR`](anchors::ANCHOR) characters in a row, chosen by what they are, so that every 16
//! characters hold one: few enough that workers hand on those of all text.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use zeroize::Zeroizing;

pub use self::anchors::each_anchor;
pub use self::issued::IssuedSecrets;
pub use self::lately::Lately;
use super::tokens::{MIN_TOKEN, is_token, is_token_byte, next_run};

mod anchors;
mod issued;
mod lately;

/// Characters of which two texts are compared.
pub const GRAM: usize = MIN_TOKEN;
/// Characters of a block: half of what is compared.
const BLOCK: usize = GRAM / 2;
/// Longest secret that is remembered, in bytes; longer ones are as far as this.
pub const MAX_SECRET: usize = 8 * 1024;
/// Fewer different characters than this are no mark of one secret.
const MIN_DIFFERENT: u32 = 5;

/// Which part of a credential a secret is: where it belongs follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Never leaves its holder.
    Key,
    /// Goes with what a key has signed, under the signing names.
    Session,
    /// Goes to services in `Authorization`.
    Bearer,
    /// A metadata service's own token, good at that service alone: hidden, but no credential.
    Access,
}

/// Hashes of one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// What it is.
    pub part: Part,
    /// Of all of it.
    pub digest: u64,
    /// Of every [`BLOCK`] characters. Where it has gaps, those around a gap stand beside each other.
    pub blocks: Arc<[u64]>,
    /// Of what lies behind the beginning that every secret of its kind has. None of [`Part::Access`]: wherever that goes,
    /// it is no credential.
    pub anchors: Arc<[u64]>,
}

impl Secret {
    /// A secret of this value, its lines joined. `None` where it has no [`GRAM`] characters in a row.
    pub fn new(value: &[u8], part: Part) -> Option<Self> {
        if memchr::memchr2(b'\r', b'\n', value).is_none() {
            return Self::of_runs(value, part, |_| true);
        }
        let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let joined = Zeroizing::new(value.iter().filter(|byte| !is_break(byte)).copied().collect::<Vec<u8>>());
        Self::of_runs(&joined, part, |_| true)
    }

    /// The secrets in a document of which nobody knows where in it they stand: words, paths and addresses are none.
    pub fn in_text(text: &[u8], part: Part) -> Option<Self> {
        let is_path = |run: &[u8]| run.starts_with(b"/") || run.split(|byte| *byte == b'/').count() > 4;
        Self::of_runs(text, part, |run| is_token(run) && !is_path(run))
    }

    fn of_runs(value: &[u8], part: Part, is_secret: impl Fn(&[u8]) -> bool) -> Option<Self> {
        let value = value.get(..MAX_SECRET).unwrap_or(value);
        let mut blocks = Vec::with_capacity(value.len());
        let mut anchors = Vec::with_capacity(if part == Part::Access { 0 } else { value.len() / 2 });
        let mut rest = value;
        while let Some((run, after)) = next_run(rest, is_of_secret) {
            rest = after;
            if !is_secret(run) {
                continue;
            }
            blocks.extend(run.array_windows().map(block));
            if part == Part::Access {
                continue;
            }
            let mut own = run.get(common(run)..).unwrap_or_default();
            while let Some((token, after)) = next_run(own, is_token_byte) {
                own = after;
                each_anchor(token, |at, hash| {
                    if token.get(at..).and_then(<[u8]>::first_chunk).is_some_and(are_different) {
                        anchors.push(hash);
                    }
                });
            }
        }
        let mut digest = foldhash::fast::FixedState::default().build_hasher();
        digest.write_u8(part as u8);
        digest.write(value);
        let is_any = !blocks.is_empty();
        is_any.then(|| Self { part, digest: digest.finish(), blocks: blocks.into(), anchors: anchors.into() })
    }
}

/// Whether secrets have such characters: [`Secret::blocks`] are of no others.
fn is_of_secret(byte: u8) -> bool {
    byte > b' ' && byte < 0x7F
}

/// How many characters every secret of its kind begins with.
fn common(secret: &[u8]) -> usize {
    const STS: &[u8] = b"IQoJb3JpZ2luX2Vj";
    const REGION: &[u8] = b"//////////wEa";
    if secret.starts_with(b"eyJ") {
        return memchr::memchr(b'.', secret).map_or(0, |dot| dot.saturating_add(1));
    }
    if secret.starts_with(STS) {
        // Time of issue, then the region and the beginning of a signature.
        let region = secret.get(..48).and_then(|head| memchr::memmem::find(head, REGION));
        return region.map_or(STS.len(), |at| at.saturating_add(REGION.len()).saturating_add(24));
    }
    match secret {
        [b'y', b'a', b'2', b'9', b'.', ..] => 5,
        // a key in DER: its algorithm and size
        [b'M', b'I', b'I', ..] => 36,
        _ => 0,
    }
}

/// Whether there are [`MIN_DIFFERENT`] different characters, of which two that are 64 apart count as one.
fn are_different(chars: &[u8; anchors::ANCHOR]) -> bool {
    let seen = chars.iter().fold(0u64, |seen, byte| seen | 1 << (byte & 63));
    seen.count_ones() >= MIN_DIFFERENT
}

/// Hash of [`BLOCK`] characters.
#[inline]
fn block(chars: &[u8; BLOCK]) -> u64 {
    fold(u64::from_le_bytes(*chars) ^ KEYS[0][0], KEYS[0][1])
}

/// Fixed, so that replays and sensors agree; hashes are never written.
const KEYS: [[u64; 2]; 2] =
    [[0x2D35_8DCC_AA6C_78A5, 0x8BB8_4B93_962E_ACC9], [0x4B33_A62E_D433_D4A3, 0x4D5A_2DA5_1DE1_AA47]];

/// Both halves of the product.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]
mod tests {
    use super::*;

    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    #[test]
    fn what_many_secrets_begin_with_is_no_anchor() {
        let of = |text: &str| Secret::new(text.as_bytes(), Part::Session).unwrap();
        let one = of("IQoJb3JpZ2luX2VjEJ3//////////wEaCXVzLWVhc3QtMSJHMEUCIQCabcdefghijklmnopqrstuvwx");
        let two = of("IQoJb3JpZ2luX2VjEKb//////////wEaCXVzLWVhc3QtMSJHMEUCIDqrstuvwxyzABCDEFGHIJKLMNOP");
        assert!(!one.anchors.is_empty() && !one.anchors.iter().any(|hash| two.anchors.contains(hash)));
        assert!(one.blocks.iter().any(|hash| two.blocks.contains(hash)));
        let jwt = |rest: &str| of(&format!("eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.{rest}"));
        let (one, two) = (jwt("eyJzdWIiOiIxMjM0NTY3ODkwIn0"), jwt("AbCdEfGhIjKlMnOpQrStUvWxYz01"));
        assert!(!one.anchors.iter().any(|hash| two.anchors.contains(hash)));
    }

    #[test]
    fn words_and_paths_of_a_document_are_no_secrets() {
        for text in ["latest-meta-data-iam-security-credentials", "/latest/meta-data/iam/Info1", "a/b/c/d/Info1/2222"] {
            assert_eq!(Secret::in_text(text.as_bytes(), Part::Key), None, "{text}");
        }
        assert!(Secret::in_text(format!("key: {KEY}\n").as_bytes(), Part::Key).is_some());
        assert!(Secret::new(b"short", Part::Key).is_none());
        let token = Secret::new(KEY.as_bytes(), Part::Access).unwrap();
        assert!(token.anchors.is_empty() && !token.blocks.is_empty(), "hidden, but nowhere a credential");
    }
}
