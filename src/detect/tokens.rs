//! Credential-shaped tokens in cleartext, as keyed hashes: what the relay search compares with issued credentials.
//!
//! In: bytes of a body, header, target or datagram. Out: [`TokenHash`]es of runs of 16 or more characters that tokens are
//! made of, and of their parts between `/` and `.`, also behind percent-encoding, JSON escapes, base64 and hex. The
//! parts make equal tokens equal hashes when one of them stands glued to a path. Bounds: [`MAX_TOKENS`] hashes per call,
//! two layers of encoding. Text without tokens is skipped in steps of 16 bytes.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::hash::Hasher;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use siphasher::sip::SipHasher13;
use zeroize::Zeroizing;

use super::TokenHash;
use super::canonical::{json_unescape, percent_once};
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

/// Hashes of a secret as [`tokens_in`] would find it, without what many secrets share (the header of a JWT).
pub fn secret_hashes(secret: &[u8], out: &mut Vec<TokenHash>) {
    let mut rest = secret;
    while let Some((run, after)) = next_run(rest) {
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
    while let Some((run, after)) = next_run(rest) {
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
    if depth == 0 {
        return;
    }
    if memchr::memchr(b'%', text).is_some()
        && let Some(plain) = percent_once(text)
    {
        search(&Zeroizing::new(plain), depth.saturating_sub(1), out);
    }
    if memchr::memchr(b'\\', text).is_some()
        && let Some(plain) = json_unescape(&String::from_utf8_lossy(text))
    {
        search(Zeroizing::new(plain).as_bytes(), depth.saturating_sub(1), out);
    }
}

/// Which bytes tokens are made of: 1, and 2 for `=`, which only ends them.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
        {
            table[at] = match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'_' | b'.' | b'~' | b'-' => 1,
                b'=' => 2,
                _ => 0,
            };
            at += 1;
        }
    }
    table
};

fn is_token_byte(byte: &u8) -> bool {
    CLASS.get(usize::from(*byte)).is_some_and(|class| *class == 1)
}

/// The next run of at least [`MIN_TOKEN`] token characters, without padding, and what follows it.
fn next_run(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut start = 0usize;
    loop {
        // A run that covers the next 16 bytes covers the last of them: look there first and walk back.
        let window = text.get(start..start.checked_add(MIN_TOKEN)?)?;
        match window.iter().rposition(|b| !is_token_byte(b)) {
            Some(at) => start = start.checked_add(at)?.checked_add(1)?,
            None => break,
        }
    }
    let rest = text.get(start..)?;
    let end = rest.iter().position(|b| !is_token_byte(b)).unwrap_or(rest.len());
    rest.split_at_checked(end)
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
fn is_token(token: &[u8]) -> bool {
    let any = |class: fn(&u8) -> bool| token.iter().any(class);
    token.len() >= MIN_TOKEN
        && usize::from(any(u8::is_ascii_lowercase))
            .saturating_add(usize::from(any(u8::is_ascii_uppercase)))
            .saturating_add(usize::from(any(u8::is_ascii_digit)))
            >= 2
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
fn decodings(run: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut out = Vec::new();
    if run.len() < MIN_ENCODED {
        return out;
    }
    if let Some(text) = hex(run) {
        out.push(text);
    }
    for offset in 0..4 {
        let from = run.get(offset..).unwrap_or_default();
        // Most runs are words or ciphertext: their first 12 characters tell.
        if from.get(..12).and_then(base64).is_some_and(|head| is_text(&head))
            && let Some(text) = base64(from).filter(|text| is_text(text))
        {
            out.push(text);
        }
    }
    out
}

/// Base64 in either alphabet, padded or not; what does not fill a last group is dropped.
fn base64(run: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    const LAX: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const STD: GeneralPurpose = GeneralPurpose::new(&STANDARD, LAX);
    const URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LAX);
    let stray = |b: &u8| matches!(b, b'.' | b'~');
    let run = run.get(..run.iter().position(stray).unwrap_or(run.len()))?;
    // One character more than full groups carries no byte.
    let run = if run.len() & 3 == 1 { run.get(..run.len().saturating_sub(1))? } else { run };
    let decoded = if run.iter().any(|b| matches!(b, b'-' | b'_')) { URL.decode(run) } else { STD.decode(run) };
    decoded.ok().map(Zeroizing::new)
}

fn hex(run: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |b: &u8| char::from(*b).to_digit(16);
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
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

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
                let slow: Vec<&[u8]> = text.split(|b| !is_token_byte(b)).filter(|run| run.len() >= MIN_TOKEN).collect();
                let mut fast = Vec::new();
                let mut rest = text.as_slice();
                while let Some((run, after)) = next_run(rest) {
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
