//! Credential-shaped tokens in cleartext, as keyed hashes: what the relay search compares with issued credentials.
//!
//! In: bytes of a body, header, target or datagram. Out: [`TokenHash`]es of runs of 16 or more characters that tokens are
//! made of, and of their parts between `/` and `.`, also behind percent-encoding, JSON escapes, base64 and hex. The
//! parts make equal tokens equal hashes when one of them stands glued to a path. Bounds: [`MAX_TOKENS`] hashes per call,
//! two layers of encoding. Text without tokens is skipped in steps of 16 bytes.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use zeroize::Zeroizing;

use super::TokenHash;
use super::canonical::percent_once;
use crate::proto::dns;

/// Shortest token; shorter secrets are guessable from their hash and match by chance.
pub const MIN_TOKEN: usize = 16;
/// Most hashes of one call.
pub const MAX_TOKENS: usize = 4096;
/// Layers of encoding that are undone.
const DEPTH: u8 = 2;
/// Shortest run that is worth decoding as base64 or hex: it holds a token.
const MIN_ENCODED: usize = 22;

/// Keyed hash of a token: SipHash-1-3 under a fixed key, so that replays and sensors agree. Hashes are never written.
/// Trailing `=` is padding and does not count.
pub fn token_hash(token: &[u8]) -> TokenHash {
    let mut hasher = SipHasher13::new_with_key(b"imdswatch tokens");
    hasher.write(trim_padding(token));
    TokenHash(hasher.finish())
}

/// Adds the hashes of all tokens in `text`.
pub fn tokens_in(text: &[u8], out: &mut Vec<TokenHash>) {
    search(text, DEPTH, out);
}

/// Host and target of a request together, where a secret may begin in the one and go on in the other: one with a slash
/// in it, as in `http://SECRET/`. Such secrets have no dots.
pub fn across_host(host: &[u8], target: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let host = host.split(|b| *b == b':').next().filter(|host| !host.is_empty() && !host.contains(&b'.'))?;
    target.starts_with(b"/").then(|| Zeroizing::new([host, target].concat()))
}

/// Hashes of a secret as [`tokens_in`] would find it, without what many secrets share (the header of a JWT).
pub fn secret_hashes(secret: &[u8], out: &mut Vec<TokenHash>) {
    let mut rest = secret;
    while let Some((run, after)) = next_run(rest, is_token_byte) {
        rest = after;
        hash_run(run, out);
        if run.starts_with(b"eyJ") {
            let header = token_hash(run.split(|b| *b == b'.').next().unwrap_or_default());
            out.retain(|hash| *hash != header || header == token_hash(run));
        }
    }
}

/// Tokens in a question's labels: as they stand, joined, and decoded from hex, base32 or base64.
pub fn tokens_in_name(name: &dns::Name, out: &mut Vec<TokenHash>) {
    let labels: Vec<&[u8]> = name.labels().take(16).collect();
    if labels.iter().map(|l| l.len()).sum::<usize>() < MIN_TOKEN {
        return;
    }
    for label in &labels {
        search(label, DEPTH, out);
        encoded_label(label, out);
    }
    // A secret longer than a label is cut into several, before the labels of the domain that receives it.
    let mut joined = Zeroizing::new(Vec::with_capacity(256));
    for (count, label) in labels.iter().enumerate() {
        joined.extend_from_slice(label);
        if count > 0 {
            search(&joined, DEPTH, out);
            encoded_label(&joined, out);
        }
    }
}

fn search(text: &[u8], depth: u8, out: &mut Vec<TokenHash>) {
    let mut rest = text;
    while let Some((run, after)) = next_run(rest, is_token_byte) {
        rest = after;
        if out.len() >= MAX_TOKENS {
            return;
        }
        hash_run(run, out);
        if depth > 0 {
            for decoded in decodings(run) {
                search(&decoded, depth.saturating_sub(1), out);
            }
        }
    }
    if depth == 0 || memchr::memchr2(b'%', b'\\', text).is_none() || !looks_like_text(text) {
        return;
    }
    if memchr::memchr(b'%', text).is_some()
        && let Some(plain) = percent_once(text)
    {
        search(&Zeroizing::new(plain), depth.saturating_sub(1), out);
    }
    if memchr::memchr(b'\\', text).is_some() {
        search(&unescape(text), depth.saturating_sub(1), out);
    }
}

/// No control characters in its beginning: images and archives hold no escapes.
fn looks_like_text(text: &[u8]) -> bool {
    !text.iter().take(128).any(|b| matches!(b, 0..=8 | 14..=31 | 127))
}

/// Text with the escapes of JSON and its like undone: `\/`, `\u002f`, `\x2f`, `\n`.
fn unescape(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at_checked(at).unwrap_or((rest, b""));
        out.extend_from_slice(plain);
        let digits: usize = match escape.get(1) {
            Some(b'u') => 4,
            Some(b'x') => 2,
            _ => 0,
        };
        let code = escape.get(2..digits.saturating_add(2)).and_then(|d| std::str::from_utf8(d).ok());
        match (escape.get(1), code.and_then(|code| u32::from_str_radix(code, 16).ok())) {
            // What is no ASCII is part of no token.
            (_, Some(code)) => out.push(u8::try_from(code).unwrap_or(0xFF)),
            (Some(b'n' | b'r' | b't'), _) => out.push(b' '),
            (Some(byte), _) => out.push(*byte),
            (None, _) => {}
        }
        rest = escape.get(digits.saturating_add(2)..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

const LOWER: u8 = 1;
const UPPER: u8 = 2;
const DIGIT: u8 = 4;
const MARK: u8 = 8;

/// Which bytes tokens are made of, by kind; 0 for all others.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // evaluated by the compiler
const KIND: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        table[at] = match at as u8 {
            b'a'..=b'z' => LOWER,
            b'A'..=b'Z' => UPPER,
            b'0'..=b'9' => DIGIT,
            b'+' | b'/' | b'_' | b'.' | b'~' | b'-' => MARK,
            _ => 0,
        };
        at += 1;
    }
    table
};

#[allow(clippy::indexing_slicing)] // there is a place for each byte
const fn kind(byte: u8) -> u8 {
    KIND[byte as usize]
}

/// Whether tokens are made of bytes like this; padding is none of them.
pub const fn is_token_byte(byte: u8) -> bool {
    kind(byte) != 0
}

/// The next run of at least [`MIN_TOKEN`] bytes that belong to it, and what follows it.
pub fn next_run(text: &[u8], belongs: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let mut start = 0usize;
    loop {
        // A run that covers the next 16 bytes covers the last of them: look there first and walk back.
        let window = text.get(start..start.checked_add(MIN_TOKEN)?)?;
        match window.iter().rposition(|b| !belongs(*b)) {
            Some(at) => start = start.checked_add(at)?.checked_add(1)?,
            None => break,
        }
    }
    let rest = text.get(start..)?;
    let more = rest.get(MIN_TOKEN..)?;
    let len = more.iter().position(|b| !belongs(*b)).unwrap_or(more.len());
    rest.split_at_checked(MIN_TOKEN.checked_add(len)?)
}

/// Hashes of a run and of its parts, if they look like tokens.
fn hash_run(run: &[u8], out: &mut Vec<TokenHash>) {
    let run = trim_punctuation(run);
    let mut add = |token: &[u8]| {
        if is_token(token) && out.len() < MAX_TOKENS {
            out.push(token_hash(token));
        }
    };
    add(run);
    if memchr::memchr2(b'/', b'.', run).is_some() {
        run.split(|b| matches!(b, b'/' | b'.')).for_each(add);
    }
}

/// Long enough, and of two of lower case, upper case and digits: words of paths and prose are not.
pub(super) fn is_token(token: &[u8]) -> bool {
    let mut kinds = 0u8;
    let mut are_two = |byte: &u8| {
        kinds |= kind(*byte) & (LOWER | UPPER | DIGIT);
        kinds.count_ones() >= 2
    };
    // The first few characters of most tokens tell.
    token.len() >= MIN_TOKEN && token.iter().any(&mut are_two)
}

fn trim_padding(token: &[u8]) -> &[u8] {
    let end = token.iter().rposition(|b| *b != b'=').map_or(0, |at| at.saturating_add(1));
    token.get(..end).unwrap_or_default()
}

/// Without what ends a sentence or begins a path.
fn trim_punctuation(run: &[u8]) -> &[u8] {
    let mark = |b: &u8| matches!(b, b'.' | b'/' | b'-' | b'~');
    let start = run.iter().position(|b| !mark(b)).unwrap_or(run.len());
    let end = run.iter().rposition(|b| !mark(b)).map_or(start, |at| at.saturating_add(1));
    run.get(start..end).unwrap_or_default()
}

/// Texts that a run stands for in hex or base64, at whatever offset it begins.
fn decodings(run: &[u8]) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
    let run = if run.len() < MIN_ENCODED { b"" } else { run };
    let offsets = (0..4).filter_map(|offset| run.get(offset..));
    hex(run).into_iter().chain(offsets.filter_map(base64))
}

/// The text that a run stands for in base64 of either alphabet; what does not fill a last group of four is dropped.
fn base64(run: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // Most runs are words or ciphertext: their first 12 characters tell, without a buffer.
    let is_text_at_first = |group: &[u8]| sextets(group).is_some_and(|bytes| is_text(&bytes));
    if !run.get(..12)?.chunks_exact(4).all(is_text_at_first) {
        return None;
    }
    let mut out = Zeroizing::new(Vec::with_capacity(run.len()));
    out.extend(run.chunks_exact(4).map_while(sextets).flatten());
    // Two or three characters more are one or two bytes.
    let tail = run.chunks_exact(4).remainder();
    let padded = [tail, b"AAA"].concat();
    let bytes = tail.len().saturating_sub(1);
    out.extend(padded.get(..4).and_then(sextets).iter().flatten().take(bytes));
    is_text(&out).then_some(out)
}

/// Three bytes from four characters.
fn sextets(group: &[u8]) -> Option<[u8; 3]> {
    let bits = group.iter().try_fold(0u32, |bits, byte| {
        let value = match byte {
            b'A'..=b'Z' => byte.wrapping_sub(b'A'),
            b'a'..=b'z' => byte.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => byte.wrapping_sub(b'0').wrapping_add(52),
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        Some(bits << 6 | u32::from(value))
    })?;
    let [_, first, second, third] = bits.to_be_bytes();
    Some([first, second, third])
}

fn hex(run: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |b: &u8| char::from(*b).to_digit(16);
    if run.is_empty() || !run.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut out = Zeroizing::new(Vec::with_capacity(run.len() / 2));
    for pair in run.chunks_exact(2) {
        let [high, low] = pair else { return None };
        out.push((digit(high)? << 4 | digit(low)?) as u8);
    }
    is_text(&out).then_some(out)
}

/// RFC 4648 section 6, any case, padding optional.
fn base32(run: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(run.len()));
    let (mut bits, mut count) = (0u32, 0u32);
    for byte in trim_padding(run) {
        let value = match byte.to_ascii_lowercase() {
            letter @ b'a'..=b'z' => letter.wrapping_sub(b'a'),
            digit @ b'2'..=b'7' => digit.wrapping_sub(b'2').wrapping_add(26),
            _ => return None,
        };
        bits = bits << 5 | u32::from(value);
        count = count.saturating_add(5);
        if count >= 8 {
            count = count.saturating_sub(8);
            out.push((bits >> count & 0xFF) as u8);
        }
    }
    is_text(&out).then_some(out)
}

fn encoded_label(label: &[u8], out: &mut Vec<TokenHash>) {
    if label.len() < MIN_ENCODED {
        return;
    }
    if let Some(text) = base32(label) {
        search(&text, 1, out);
    }
}

/// Printable ASCII and white space.
fn is_text(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| matches!(b, b' '..=b'~' | b'\t' | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};

    use super::*;

    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const JWT: &str =
        "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.AbCdEfGhIjKlMnOpQrStUvWxYz0123456789";

    fn found(text: &[u8]) -> Vec<TokenHash> {
        let mut out = Vec::new();
        tokens_in(text, &mut out);
        out
    }

    fn secret(text: &str) -> Vec<TokenHash> {
        let mut out = Vec::new();
        secret_hashes(text.as_bytes(), &mut out);
        out
    }

    fn meets(text: &[u8], secret_text: &str) -> bool {
        let known = secret(secret_text);
        found(text).iter().any(|hash| known.contains(hash))
    }

    #[test]
    fn a_secret_is_found_in_every_spelling() {
        let escaped = KEY.replace('/', "\\/");
        let percent = KEY.replace('/', "%2F");
        let double = KEY.replace('/', "%252F");
        let hex: String = KEY.bytes().map(|b| format!("{b:02x}")).collect();
        for text in [
            KEY.to_owned(),
            format!("{{\"SecretAccessKey\":\"{KEY}\",\"x\":1}}"),
            format!("{{\"k\":\"{escaped}\"}}"),
            format!("GET /x?SecretAccessKey={percent}&a=b"),
            format!("q={double}"),
            format!("AWS_SECRET_ACCESS_KEY={KEY}\n"),
            format!("http://drop.example/in/{KEY}."),
            format!("<b>{KEY}</b>"),
            BASE64_STANDARD.encode(format!("{{\"Code\":\"Success\",\"SecretAccessKey\":\"{KEY}\"}}")),
            format!("data:{}", BASE64_URL_SAFE_NO_PAD.encode(format!("key is {KEY} ok"))),
            format!("x1{}", BASE64_STANDARD.encode(KEY)),
            format!("d={hex}"),
        ] {
            assert!(meets(text.as_bytes(), KEY), "{text}");
        }
        assert!(!meets(b"wJalrXUtnFEMI K7MDENG bPxRfiCYEXAMPLEKE", KEY));
        assert!(meets(format!("Token: {JWT}\r\n").as_bytes(), JWT));
    }

    #[test]
    fn what_many_secrets_share_is_not_kept() {
        let other = JWT.replace("eyJzdWIi", "eyJzdWJj").replace("AbCd", "ZbCd");
        assert!(!meets(other.as_bytes(), JWT));
        assert!(secret("IQoJb3JpZ2luX2VjEXAMPLE==") == secret("IQoJb3JpZ2luX2VjEXAMPLE"));
        assert!(secret("short").is_empty() && secret("latest-meta-data-iam-security-credentials").is_empty());
    }

    #[test]
    fn names_carry_secrets_in_labels() {
        let name = |text: &str| {
            let mut name = dns::Name::default();
            text.split('.').for_each(|label| name.push(label.as_bytes()));
            let mut out = Vec::new();
            tokens_in_name(&name, &mut out);
            out
        };
        let token = "abcdefgh0123456789ABCDEFGH";
        let known = secret(token);
        let hex: String = token.bytes().map(|b| format!("{b:02x}")).collect();
        let (first, second) = hex.split_at(30);
        // base32 of the token
        let base32 = "mfrgggdfmztwq2jqgezdgnbvgy3tqojqifbegrcfizdui";
        for text in [
            format!("{token}.drop.example"),
            format!("{first}.{second}.drop.example"),
            "abcdefgh01.23456789ABCDEFGH.x.example".to_owned(),
        ] {
            assert!(name(&text).iter().any(|h| known.contains(h)), "{text}");
        }
        assert!(!name(&format!("{base32}.x")).is_empty());
        assert!(name("www.example.com").is_empty());
    }

    /// The skipping search against one that looks at every byte.
    #[test]
    fn skipping_leaves_no_run_out() {
        use proptest::prelude::*;
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let text = proptest::collection::vec(prop_oneof![8 => Just(b'a'), 1 => Just(b'='), 2 => Just(b' ')], 0..200);
        runner
            .run(&text, |text| {
                let slow: Vec<&[u8]> = text.split(|b| kind(*b) == 0).filter(|run| run.len() >= MIN_TOKEN).collect();
                let mut fast = Vec::new();
                let mut rest = text.as_slice();
                while let Some((run, after)) = next_run(rest, is_token_byte) {
                    fast.push(run);
                    rest = after;
                }
                assert_eq!(fast, slow);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn the_number_of_hashes_is_bounded() {
        let text: String = (0..10_000).map(|n| format!("Abcdefghijklmnop{n} ")).collect();
        assert_eq!(found(text.as_bytes()).len(), MAX_TOKENS);
    }
}
