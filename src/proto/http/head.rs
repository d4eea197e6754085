//! HTTP/1 message heads: where one ends, and a start line and fields out of its bytes.
//!
//! In: bytes of one direction. Out: a [`Head`] whose ranges point into a copy of those bytes. `httparse` reads the
//! fields; what it refuses (folded fields, spaces before the colon, junk lines, more fields than slots, bytes that no
//! token may hold) is read by a scanner here that takes what servers take. Bound: the caller's head limit and
//! [`MAX_FIELDS`].
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::ops::Range;

use super::message::{Field, Head, Start, Version};
use super::probe::PREFACE;
use crate::bytes::find;

/// Fields kept of one head; further ones stay in `raw` only.
pub const MAX_FIELDS: usize = 4096;
/// Fields that `httparse` gets slots for; heads with more go to the scanner.
const SLOTS: usize = 32;

/// Which kind of message a direction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Requests.
    Request,
    /// Responses.
    Response,
}

/// Finds the blank line that ends a block of lines, fed piece by piece. Lines end in LF, with or without CR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlankLine {
    /// At the start of a line.
    Start,
    /// After a CR at the start of a line.
    Cr,
    /// Inside a line.
    Within,
}

impl BlankLine {
    /// Position after the blank line, if `bytes` hold its end.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut rest = 0;
        for newline in memchr::memchr_iter(b'\n', bytes) {
            let line = bytes.get(rest..newline).unwrap_or_default();
            let blank = matches!((*self, line), (Self::Start, b"" | b"\r") | (Self::Cr, b""));
            *self = Self::Start;
            rest = newline.saturating_add(1);
            if blank {
                return Some(rest);
            }
        }
        *self = match (*self, bytes.get(rest..).unwrap_or_default()) {
            (state, b"") => state,
            (Self::Start, b"\r") => Self::Cr,
            _ => Self::Within,
        };
        None
    }
}

/// The bytes of a head, and what was seen on the way to their end.
pub(super) struct Block<'b> {
    bytes: &'b [u8],
    /// Start line without its end.
    start: &'b [u8],
    fields_at: usize,
    /// Unless `httparse` refused them.
    fields: Option<Vec<Field>>,
}

impl<'b> Block<'b> {
    /// The block that `bytes` begin with, if its blank line is among them.
    pub(super) fn whole(bytes: &'b [u8]) -> Option<Self> {
        let (start, fields_at) = split_line(bytes);
        let (fields, end) = match strict_fields(bytes, fields_at) {
            Some((fields, end)) => (Some(fields), end),
            None => (None, BlankLine::Within.find(bytes)?),
        };
        Some(Self { bytes: bytes.get(..end)?, start, fields_at, fields })
    }

    /// Number of bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The head, if the first line is a start line of this role.
    pub(super) fn head(self, role: Role) -> Option<Head> {
        let (start, version) = start_line(role, self.start)?;
        let mut raw = self.bytes.to_vec();
        let fields = self.fields.unwrap_or_else(|| lenient_fields(&mut raw, self.fields_at));
        Some(Head { raw, start, version, fields, complete: true })
    }
}

/// Reads a head of which `bytes` are all lines that there are. `None` if the first one is no start line of this role.
pub(super) fn parse(role: Role, bytes: &[u8]) -> Option<Head> {
    let (start, fields_at) = split_line(bytes);
    Block::whole(bytes).unwrap_or(Block { bytes, start, fields_at, fields: None }).head(role)
}

/// Reads what there is of a head that was cut off: the start line may lack its end, the last line is left out unless it
/// ended. `None` if the method and a beginning of the target (or the status) cannot be told.
pub(super) fn parse_cut(role: Role, bytes: &[u8]) -> Option<Head> {
    if memchr::memchr(b'\n', bytes).is_some() {
        let whole_lines = memchr::memrchr(b'\n', bytes).map_or(0, |at| at.saturating_add(1));
        let mut head = parse(role, bytes.get(..whole_lines)?)?;
        head.complete = false;
        return Some(head);
    }
    let (start, version) = match role {
        Role::Request => cut_request_line(bytes)?,
        Role::Response => start_line(role, bytes)?,
    };
    Some(Head { raw: bytes.to_vec(), start, version, fields: Vec::new(), complete: false })
}

/// Whether `bytes` begin like a message of this role: `None` while they are too short to tell. With the line's end in
/// sight the whole line is judged, before that its beginning.
pub(super) fn begins(role: Role, bytes: &[u8]) -> Option<bool> {
    if memchr::memchr(b'\n', bytes).is_some() {
        return Some(start_line(role, split_line(bytes).0).is_some());
    }
    match role {
        Role::Response => {
            let prefix = bytes.get(..5).unwrap_or(bytes);
            let alike = b"HTTP/".get(..prefix.len())?.eq_ignore_ascii_case(prefix);
            if alike && bytes.len() < 6 { None } else { Some(alike && bytes.get(5).is_some_and(u8::is_ascii_digit)) }
        }
        Role::Request => begins_request(bytes),
    }
}

/// Whether `bytes` begin with a registered method and white space.
pub(in crate::proto) fn begins_with_known_method(bytes: &[u8]) -> bool {
    let method = bytes.iter().position(|b| is_space(*b)).and_then(|end| bytes.get(..end));
    method.is_some_and(known_method)
}

/// First bytes of an unfinished request line: a method token, and a target that looks like one unless the method is a
/// registered one.
fn begins_request(bytes: &[u8]) -> Option<bool> {
    if PREFACE.starts_with(bytes) {
        return None;
    }
    let Some(space) = bytes.iter().position(|b| is_space(*b)) else {
        return if bytes.len() <= MAX_METHOD && bytes.iter().all(|b| is_token(*b)) { None } else { Some(false) };
    };
    let (method, target) = bytes.split_at_checked(space)?;
    if method.is_empty() || method.len() > MAX_METHOD || !method.iter().all(|b| is_token(*b)) {
        return Some(false);
    }
    let target = target.trim_ascii_start();
    let first = target.first()?;
    if known_method(method) || matches!(first, b'/' | b'*') {
        return Some(*first > b' ');
    }
    match find(target, b"://") {
        Some(at) if target.get(..at).is_some_and(|scheme| scheme.iter().all(is_of_scheme)) => Some(true),
        _ if target.len() > MAX_UNDECIDED => Some(false),
        _ => None,
    }
}

/// Bytes of a scheme (RFC 3986 section 3.1).
fn is_of_scheme(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// Longest method token that a probe waits for.
const MAX_METHOD: usize = 32;
/// Target bytes after an unknown method that are waited for before it is not HTTP.
const MAX_UNDECIDED: usize = 256;

/// Methods of the IANA registry that are seen in practice, any case.
fn known_method(method: &[u8]) -> bool {
    const KNOWN: [&[u8]; 17] = [
        b"GET",
        b"PUT",
        b"POST",
        b"HEAD",
        b"OPTIONS",
        b"DELETE",
        b"PATCH",
        b"CONNECT",
        b"TRACE",
        b"PROPFIND",
        b"PROPPATCH",
        b"MKCOL",
        b"COPY",
        b"MOVE",
        b"LOCK",
        b"UNLOCK",
        b"REPORT",
    ];
    KNOWN.iter().any(|known| known.eq_ignore_ascii_case(method))
}

/// White space inside a start line.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c)
}

/// `tchar` of RFC 9110, section 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// First line without its end, and where the next one begins.
fn split_line(bytes: &[u8]) -> (&[u8], usize) {
    match memchr::memchr(b'\n', bytes) {
        Some(newline) => {
            let line = bytes.get(..newline).unwrap_or_default();
            (line.strip_suffix(b"\r").unwrap_or(line), newline.saturating_add(1))
        }
        None => (bytes, bytes.len()),
    }
}

/// A start line without its line end. Ranges are offsets from the line's first byte.
fn start_line(role: Role, line: &[u8]) -> Option<(Start, Option<Version>)> {
    match role {
        Role::Request => request_line(line),
        Role::Response => status_line(line),
    }
}

/// `METHOD SP TARGET SP HTTP/x.y`: the method ends at the first white space, the version begins after the last, and all
/// between is the target, raw spaces too (as Packetbeat has it). Any method, any version, `http/` in any case.
fn request_line(line: &[u8]) -> Option<(Start, Option<Version>)> {
    let line = trim_space_end(line);
    if line == b"PRI * HTTP/2.0" {
        return None; // the preface of HTTP/2 is no request
    }
    let method = line.iter().position(|b| is_space(*b)).filter(|at| *at > 0)?;
    let last = line.iter().rposition(|b| is_space(*b))?;
    let version = http_version(line.get(last.saturating_add(1)..)?)?;
    let between = line.get(method..last)?;
    let start = method.saturating_add(between.len().saturating_sub(trim_space_start(between).len()));
    let target = trim_space_end(trim_space_start(between));
    if target.is_empty() {
        return None;
    }
    let end = start.saturating_add(target.len());
    Some((Start::Request { method: range(0, method), target: range(start, end) }, version))
}

/// A request line whose end is missing: method, and as much of the target as there is.
fn cut_request_line(line: &[u8]) -> Option<(Start, Option<Version>)> {
    let line = trim_space_end(line);
    let method = line.iter().position(|b| is_space(*b)).filter(|at| *at > 0)?;
    let rest = line.get(method..)?;
    let start = method.saturating_add(rest.len().saturating_sub(trim_space_start(rest).len()));
    let target = line.get(start..)?;
    let plausible = known_method(line.get(..method)?) || target.starts_with(b"/");
    if target.is_empty() || !plausible {
        return None;
    }
    let end = match target.iter().rposition(|b| is_space(*b)) {
        // what follows the last space may be the beginning of the version
        Some(space) if is_version_prefix(target.get(space.saturating_add(1)..)?) => start.saturating_add(space),
        _ => line.len(),
    };
    Some((Start::Request { method: range(0, method), target: range(start, end) }, None))
}

fn is_version_prefix(bytes: &[u8]) -> bool {
    let name = bytes.get(..5).unwrap_or(bytes);
    b"HTTP/".get(..name.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(name))
}

/// `HTTP/x.y SP STATUS [SP PHRASE]`.
fn status_line(line: &[u8]) -> Option<(Start, Option<Version>)> {
    let version_end = line.iter().position(|b| is_space(*b))?;
    let version = http_version(line.get(..version_end)?)?;
    let rest = line.get(version_end..)?;
    let at = version_end.saturating_add(rest.len().saturating_sub(trim_space_start(rest).len()));
    let digits = line.get(at..)?.iter().take_while(|b| b.is_ascii_digit()).count();
    let end = at.saturating_add(digits);
    if line.get(end).is_some_and(|b| !is_space(*b)) {
        return None;
    }
    let status = std::str::from_utf8(line.get(at..end)?).ok()?.parse().ok()?;
    let phrase = range(end.saturating_add(1).min(line.len()), line.len());
    Some((Start::Response { status, phrase }, version))
}

/// The outer `None`: not `HTTP/`. The inner one: a version that cannot be read.
#[expect(clippy::option_option, reason = "no HTTP at all and HTTP of an unreadable version are different answers")]
fn http_version(word: &[u8]) -> Option<Option<Version>> {
    let (name, digits) = word.split_at_checked(5)?;
    if !name.eq_ignore_ascii_case(b"HTTP/") {
        return None;
    }
    let digit = |b: &u8| b.is_ascii_digit().then(|| b.wrapping_sub(b'0'));
    Some(match digits {
        [major, b'.', minor] => digit(major).zip(digit(minor)).map(|(major, minor)| Version { major, minor }),
        [major] => digit(major).map(|major| Version { major, minor: 0 }),
        _ => None,
    })
}

/// Fields by `httparse`, and where the blank line behind them ends; `None` where it refuses, or there is no such line.
fn strict_fields(bytes: &[u8], fields_at: usize) -> Option<(Vec<Field>, usize)> {
    let mut slots = [httparse::EMPTY_HEADER; SLOTS];
    let httparse::Status::Complete((len, headers)) =
        httparse::parse_headers(bytes.get(fields_at..)?, &mut slots).ok()?
    else {
        return None;
    };
    let place = |part: &[u8]| {
        let start = (part.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize);
        range(start, start.saturating_add(part.len()))
    };
    let fields = headers.iter().map(|header| (place(header.name.as_bytes()), place(header.value))).collect();
    Some((fields, fields_at.saturating_add(len)))
}

/// Fields line by line as lenient servers read them: white space before the colon does not belong to the name, lines
/// without a colon are passed over, and a line that begins with white space goes on with the value before it (the line
/// end in `raw` becomes spaces, RFC 9112 section 5.2).
fn lenient_fields(raw: &mut [u8], fields_at: usize) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    let mut at = fields_at;
    while at < raw.len() && fields.len() < MAX_FIELDS {
        let (line, len) = split_line(raw.get(at..).unwrap_or_default());
        let end = at.saturating_add(line.len());
        let folded = line.first().is_some_and(|b| matches!(b, b' ' | b'\t'));
        if folded {
            unfold(raw, &mut fields, at, end);
        } else if let Some(colon) = memchr::memchr(b':', line) {
            let name = trim_space_end(line.get(..colon).unwrap_or_default()).len();
            if name > 0 {
                let value = trimmed(raw, at.saturating_add(colon).saturating_add(1), end);
                fields.push((range(at, at.saturating_add(name)), value));
            }
        }
        at = at.saturating_add(len.max(1));
    }
    fields
}

/// Adds the line at `at..end` to the last field's value.
fn unfold(raw: &mut [u8], fields: &mut [Field], at: usize, end: usize) {
    let Some((_, value)) = fields.last_mut() else { return };
    let (from, to) = (value.start as usize, value.end as usize);
    for byte in raw.get_mut(to..at).unwrap_or_default() {
        *byte = b' ';
    }
    *value = trimmed(raw, from, end);
}

/// The range without white space at its ends.
fn trimmed(raw: &[u8], start: usize, end: usize) -> Range<u32> {
    let value = raw.get(start..end).unwrap_or_default();
    let front = value.len().saturating_sub(value.trim_ascii_start().len());
    let start = start.saturating_add(front);
    range(start, start.saturating_add(value.trim_ascii().len()))
}

fn trim_space_start(bytes: &[u8]) -> &[u8] {
    let front = bytes.iter().take_while(|b| is_space(**b)).count();
    bytes.get(front..).unwrap_or_default()
}

fn trim_space_end(bytes: &[u8]) -> &[u8] {
    let back = bytes.iter().rev().take_while(|b| is_space(**b) || **b == b'\r').count();
    bytes.get(..bytes.len().saturating_sub(back)).unwrap_or_default()
}

fn range(start: usize, end: usize) -> Range<u32> {
    // heads are bounded far below 4 GiB
    start as u32..end as u32
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::fixed_seed;
    use super::*;

    proptest! {
        #![proptest_config(fixed_seed())]

        /// What `httparse` takes, the scanner reads alike, and both end at the same blank line.
        #[test]
        fn both_ways_to_read_fields_agree(
            lines in prop::collection::vec("[A-Za-z-]{1,8}:[ \t]{0,2}[ -~é]{0,9}[ \t]{0,2}\r?\n", 0..6),
            behind in "[ -~\r\n]{0,9}",
        ) {
            let block = lines.concat() + "\r\n";
            let (fields, end) = strict_fields((block.clone() + &behind).as_bytes(), 0).unwrap();
            prop_assert_eq!(BlankLine::Start.find((block.clone() + &behind).as_bytes()), Some(end));
            prop_assert_eq!(end, block.len());
            prop_assert_eq!(fields, lenient_fields(&mut block.into_bytes(), 0));
        }

        #[test]
        fn a_cut_head_is_a_prefix_of_the_whole_one(at in 18..60_usize) {
            let bytes = b"GET /a/path HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n";
            let whole = parse(Role::Request, bytes).unwrap();
            let head = parse_cut(Role::Request, bytes.get(..at.min(bytes.len())).unwrap()).unwrap();
            prop_assert_eq!((head.method(), head.target()), (whole.method(), whole.target()));
            prop_assert_eq!(head.fields.as_slice(), whole.fields.get(..head.fields.len()).unwrap());
        }
    }
}
