//! What may be an issued credential in cleartext, as keyed hashes: what the relay search compares with those of issued
//! secrets.
//!
//! In: bytes of a body, header, target or datagram. Out: a [`Seen`] for each anchor (see [`secret`](super::secret)) of the
//! runs of characters that tokens are made of, in the text and in all that it stands for
//! ([`views`](super::views)), with whether it stands where a session token belongs. Text without such runs is skipped in
//! steps of 16 bytes.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::hash::Hasher;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use siphasher::sip::SipHasher13;

use super::TokenHash;
use super::secret::each_anchor;
use super::views::{Visitor, visit};
use crate::bytes::byte_table;
use crate::proto::dns;

/// Shortest token; shorter secrets are guessable from their hash and match by chance.
pub const MIN_TOKEN: usize = 16;
/// Longest tag that is read backwards from a name in it.
const TAG: usize = 8 * 1024;
/// Characters between the name of a session token and its value: `": ["`, `" value="`, encoded once or twice.
const NAME_TO_VALUE: usize = 48;

/// Where something stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spot {
    /// Anywhere.
    Open,
    /// Under the name that a session token has in a signed URL, form or request.
    Signed,
    /// In the header that a session token has in a request signed by its sender.
    SignedHeader,
    /// In `Authorization`, sent to the provider's own API or to anyone else.
    Authorization,
}

/// Twelve characters in a row of a text, and where they stood: a keyed hash with the spot in its lowest bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seen(u64);

impl Seen {
    /// An anchor with this hash.
    pub const fn new(anchor: u64, spot: Spot) -> Self {
        Self(anchor & !3 | spot as u64)
    }

    /// Hash of the anchor, without its lowest bits.
    pub const fn anchor(self) -> u64 {
        self.0 & !3
    }

    /// Where it stood.
    pub fn spot(self) -> Spot {
        match self.0 & 3 {
            0 => Spot::Open,
            1 => Spot::Signed,
            2 => Spot::SignedHeader,
            _ => Spot::Authorization,
        }
    }
}

/// Keyed hash of a token: SipHash-1-3 under a fixed key, so that replays and sensors agree. Hashes are never written.
/// Trailing `=` is padding and does not count.
pub fn token_hash(token: &[u8]) -> TokenHash {
    let mut hasher = SipHasher13::new_with_key(b"imdswatch tokens");
    hasher.write(trim_padding(token));
    TokenHash(hasher.finish())
}

/// Adds what may be a credential in `text`.
pub fn tokens_in(text: &[u8], out: &mut Vec<Seen>) {
    tokens_at(text, Spot::Open, out);
}

/// The same, for text that stands in a certain place.
pub fn tokens_at(text: &[u8], spot: Spot, out: &mut Vec<Seen>) {
    if text.len() >= MIN_TOKEN {
        visit(text, &mut Search { spot, out });
    }
}

/// The same for the labels of a question's name.
pub fn tokens_in_name(name: &dns::Name, out: &mut Vec<Seen>) {
    let mut joined = Vec::with_capacity(256);
    for label in name.labels() {
        joined.extend_from_slice(label);
        joined.push(b'.');
    }
    tokens_in(&joined, out);
}

struct Search<'o> {
    spot: Spot,
    out: &'o mut Vec<Seen>,
}

impl Visitor for Search<'_> {
    const TRACES: bool = false;

    fn read(&mut self, text: &[u8], _: &mut Vec<Range<usize>>) {
        // a bearer token may be a signed URL in base64
        let is_signed = matches!(self.spot, Spot::Open | Spot::Authorization);
        let signed = if is_signed { signed_values(text) } else { Vec::new() };
        let mut rest = text;
        while let Some((run, after)) = next_run(rest, is_token_byte) {
            let start = text.len().saturating_sub(after.len()).saturating_sub(run.len());
            rest = after;
            if !is_token(run) {
                continue;
            }
            let shared = shared_claims(run);
            each_anchor(run, |at, hash| {
                if !shared.contains(&at) {
                    let at = start.saturating_add(at);
                    let is_signed = signed.iter().any(|range| range.contains(&at));
                    self.out.push(Seen::new(hash, if is_signed { Spot::Signed } else { self.spot }));
                }
            });
        }
    }
}

/// What a whole JWT may have in common with others of the same tenant: header and claims. It is told by its signature alone.
fn shared_claims(run: &[u8]) -> Range<usize> {
    let begins =
        |at: &usize| at.checked_sub(1).and_then(|at| run.get(at)).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let Some(start) = memchr::memmem::find_iter(run, b"eyJ").find(begins) else { return 0..0 };
    let mut dots = memchr::memchr_iter(b'.', run.get(start..).unwrap_or_default());
    let signature = dots.nth(1).map_or(start, |dot| start.saturating_add(dot).saturating_add(1));
    let is_whole = run.len().saturating_sub(signature) >= MIN_TOKEN;
    if is_whole { start..signature } else { 0..0 }
}

/// Where the values of session tokens stand in a text that has a signature too: a signed URL, form or request.
fn signed_values(text: &[u8]) -> Vec<Range<usize>> {
    static NAME: LazyLock<[Finder<'static>; 2]> =
        LazyLock::new(|| [Finder::new(b"ecurity-"), Finder::new(b"ECURITY-")]);
    // The last one is of the policy that a signed form carries in base64.
    // Where a form has it in a field of its own, there is nothing else that it may be.
    static SIGNATURE: LazyLock<[Finder<'static>; 6]> =
        LazyLock::new(|| ["ignature", "SIGNATURE", "-HMAC-", "-hmac-", "\"conditions\"", "<input"].map(Finder::new));
    let is_signed = || SIGNATURE.iter().any(|word| word.find(text).is_some());
    let names = NAME.iter().flat_map(|name| name.find_iter(text));
    let mut names = names.filter(|at| is_session_name(text.get(*at..).unwrap_or_default())).peekable();
    if names.peek().is_none() || !is_signed() {
        return Vec::new();
    }
    names.flat_map(|at| [value_after(text, at), value_before(text, at)]).flatten().collect()
}

/// Whether a header is the one that a session token has in a signed request.
pub fn is_session_header(name: &[u8]) -> bool {
    let at = name.len().checked_sub(b"ecurity-token".len());
    name.starts_with(b"x-") | name.starts_with(b"X-") && at.and_then(|at| name.get(at..)).is_some_and(is_session_name)
}

/// `X-Amz-Security-Token` and its like of other clouds, from its fourth letter on.
fn is_session_name(text: &[u8]) -> bool {
    text.get(8..13).is_some_and(|word| word.eq_ignore_ascii_case(b"token"))
}

/// The value behind a name: from the first run of token characters to what ends a value.
fn value_after(text: &[u8], name: usize) -> Option<Range<usize>> {
    let from = name.checked_add(13)?;
    let rest = text.get(from..)?;
    let (run, after) = next_run(rest, is_token_byte)?;
    let at = rest.len().checked_sub(after.len())?.checked_sub(run.len())?;
    if at > NAME_TO_VALUE {
        return None;
    }
    let value = rest.get(at..)?;
    let ends =
        |byte: &u8| matches!(byte, b'&' | b'"' | b'\'' | b'<' | b'>' | b';' | b',' | b'}' | b']') || *byte <= b' ';
    let len = value.iter().position(ends).unwrap_or(value.len());
    Some(from.checked_add(at)?..from.checked_add(at)?.checked_add(len)?)
}

/// The value of a form's field that is named behind it: `value="…" type="hidden" name="…"`.
fn value_before(text: &[u8], name: usize) -> Option<Range<usize>> {
    let head = text.get(name.saturating_sub(TAG)..name)?;
    let offset = name.saturating_sub(head.len());
    let tag = memchr::memrchr(b'<', head)?;
    let value = memchr::memmem::find(head.get(tag..)?, b"value")?.checked_add(tag)?.checked_add(5)?;
    let rest = head.get(value..)?;
    let (run, after) = next_run(rest, |byte| is_token_byte(byte) || byte == b'=')?;
    let at = rest.len().checked_sub(after.len())?.checked_sub(run.len())?;
    let from = offset.checked_add(value)?.checked_add(at)?;
    (at <= NAME_TO_VALUE).then(|| from..from.saturating_add(run.len()))
}

const LOWER: u8 = 1;
const UPPER: u8 = 2;
const DIGIT: u8 = 4;
const MARK: u8 = 8;

/// Which bytes tokens are made of, by kind; 0 for all others.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // evaluated by the compiler
const KIND: [u8; 256] = byte_table!(byte => match byte {
    b'a'..=b'z' => LOWER,
    b'A'..=b'Z' => UPPER,
    b'0'..=b'9' => DIGIT,
    b'+' | b'/' | b'_' | b'.' | b'~' | b'-' => MARK,
    _ => 0,
});

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
    next_run_of(text, MIN_TOKEN, belongs)
}

/// The next run of at least `min` bytes that belong to it, and what follows it.
pub fn next_run_of(text: &[u8], min: usize, belongs: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let mut start = 0usize;
    loop {
        // A run that covers the next bytes covers the last of them: look there first and walk back.
        let window = text.get(start..start.checked_add(min)?)?;
        match window.iter().rposition(|b| !belongs(*b)) {
            Some(at) => start = start.checked_add(at)?.checked_add(1)?,
            None => break,
        }
    }
    let rest = text.get(start..)?;
    let more = rest.get(min..)?;
    let len = more.iter().position(|b| !belongs(*b)).unwrap_or(more.len());
    rest.split_at_checked(min.checked_add(len)?)
}

/// Long enough, and of two of lower case, upper case and digits: words of paths and prose are not.
pub(super) fn is_token(token: &[u8]) -> bool {
    let mut kinds = 0u8;
    let mut are_two = |byte: &u8| {
        kinds |= kind(*byte) & (LOWER | UPPER | DIGIT);
        kinds & kinds.wrapping_sub(1) != 0 // more than one bit
    };
    // The first few characters of most tokens tell.
    token.len() >= MIN_TOKEN && token.iter().any(&mut are_two)
}

fn trim_padding(token: &[u8]) -> &[u8] {
    let end = token.iter().rposition(|b| *b != b'=').map_or(0, |at| at.saturating_add(1));
    token.get(..end).unwrap_or_default()
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};

    use super::super::secret::{Part, Secret};
    use super::*;

    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const JWT: &str =
        "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.AbCdEfGhIjKlMnOpQrStUvWxYz0123456789";
    const SESSION: &str = "IQoJb3JpZ2luX2VjEJ3abcdefghijklmnopqrstuvwxyz0123/456+789==";

    /// Places at which the secret is met.
    fn spots(text: &[u8], secret: &str) -> Vec<Spot> {
        let secret = Secret::new(secret.as_bytes(), Part::Key).unwrap();
        let known: Vec<_> = secret.anchors.iter().map(|hash| hash & !3).collect();
        let mut seen = Vec::new();
        tokens_in(text, &mut seen);
        let mut spots: Vec<_> =
            seen.iter().filter(|seen| known.contains(&seen.anchor())).map(|seen| seen.spot()).collect();
        spots.sort_unstable();
        spots.dedup();
        spots
    }

    fn meets(text: &[u8], secret: &str) -> bool {
        !spots(text, secret).is_empty()
    }

    #[test]
    fn a_secret_is_found_in_every_spelling() {
        let escaped = KEY.replace('/', "\\/");
        let percent = KEY.replace('/', "%2F");
        let double = KEY.replace('/', "%252F");
        let hex: String = KEY.bytes().map(|b| format!("{b:02x}")).collect();
        let wide: Vec<u8> = KEY.bytes().flat_map(|b| [0, b]).collect();
        for text in [
            KEY.to_owned(),
            KEY[7..23].to_owned(),
            format!("{{\"SecretAccessKey\":\"{KEY}\",\"x\":1}}"),
            format!("{{\"k\":\"{escaped}\"}}"),
            format!("GET /x?SecretAccessKey={percent}&a=b"),
            format!("q={double}"),
            format!("AWS_SECRET_ACCESS_KEY={KEY}\n"),
            format!("http://drop.example/in/{KEY}."),
            format!("<b>{KEY}</b>"),
            BASE64_STANDARD.encode(format!("{{\"Code\":\"Success\",\"SecretAccessKey\":\"{KEY}\"}}")),
            format!("data:{}", BASE64_URL_SAFE_NO_PAD.encode(format!("key is {KEY} ok"))),
            format!("/drop/{}", BASE64_STANDARD.encode(KEY)),
            format!("d={hex}"),
            BASE64_STANDARD.encode(&wide),
        ] {
            assert!(meets(text.as_bytes(), KEY), "{text}");
        }
        assert!(meets(&wide, KEY));
        assert!(!meets(b"wJalrXUtnFE KEY K7MDENG bPxRfiCYEX LEKEY", KEY));
        assert!(meets(format!("Token: {JWT}\r\n").as_bytes(), JWT));
    }

    #[test]
    fn another_token_of_the_same_tenant_is_another() {
        let other = JWT.replace("AbCdEf", "ZZZZZZ").replace("GhIjKlMnOpQrStUvWxYz0123456789", "0987654321zYxWvUtSrQ");
        assert!(!meets(other.as_bytes(), JWT));
        assert!(meets(&JWT.as_bytes()[..62], JWT), "claims alone");
    }

    #[test]
    fn session_tokens_belong_under_their_signing_names() {
        let percent = SESSION.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
        let url = format!("https://b.s3.amazonaws.com/o?X-Amz-Security-Token={percent}&X-Amz-Signature=00ff");
        let request = format!(
            "{{\"X-Amz-Security-Token\": [\"{SESSION}\"], \"Authorization\": [\"AWS4-HMAC-SHA256 Credential=ASIA\"]}}"
        );
        for text in [
            url.clone(),
            format!("<a href=\"{}\">", url.replace('&', "&amp;")),
            format!("{{\"url\":\"{}\"}}", url.replace('/', "\\/").replace('&', "\\u0026")),
            format!("u={}", url.replace('%', "%25").replace('=', "%3D").replace('&', "%26")),
            format!("<input name=\"X-Amz-Security-Token\" value=\"{SESSION}\"><input name=\"x-amz-signature\">"),
            format!("<input value=\"{SESSION}\" name=\"x-amz-security-token\"><input name=\"x-amz-signature\">"),
            request.clone(),
            format!("{{\"iam_request_headers\":\"{}\"}}", BASE64_STANDARD.encode(&request)),
        ] {
            assert_eq!(spots(text.as_bytes(), SESSION), [Spot::Signed], "{text}");
        }
        for text in [
            format!("X-Amz-Security-Token={SESSION}"),
            format!("{url} token: {SESSION}"),
            format!("{{\"SecretAccessKey\":\"{KEY}\",\"SessionToken\":\"{SESSION}\",\"x\":\"signature\"}}"),
        ] {
            assert!(spots(text.as_bytes(), SESSION).contains(&Spot::Open), "{text}");
        }
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
        let known: Vec<_> =
            Secret::new(token.as_bytes(), Part::Key).unwrap().anchors.iter().map(|hash| hash & !3).collect();
        let hex: String = token.bytes().map(|b| format!("{b:02x}")).collect();
        let (first, second) = hex.split_at(30);
        // base32 of the token
        let base32 = "mfrggzdfmztwqmbrgiztinjwg44dsqkcincekrshja";
        for text in [
            format!("{token}.drop.example"),
            format!("{first}.{second}.drop.example"),
            "abcdefgh01.23456789ABCDEFGH.x.example".to_owned(),
            format!("{base32}.x"),
        ] {
            assert!(name(&text).iter().any(|seen| known.contains(&seen.anchor())), "{text}");
        }
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
}
