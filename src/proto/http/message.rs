//! What the HTTP parsers yield: messages with their header block as sent, and the exchange that joins two of them.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::conn::Conn;
use crate::packet::Timestamp;

/// HTTP version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Major version.
    pub major: u8,
    /// Minor version.
    pub minor: u8,
}

/// First line of a message (or HTTP/2 pseudo-headers), as ranges into [`Head::raw`].
#[derive(Clone, Debug)]
pub enum Start {
    /// Method and target exactly as sent.
    Request {
        /// Method token.
        method: Range<u32>,
        /// Request target.
        target: Range<u32>,
    },
    /// Status and phrase.
    Response {
        /// Status code.
        status: u16,
        /// Reason phrase, may be empty.
        phrase: Range<u32>,
    },
}

/// First line of a message in words, for [`Head::from_fields`].
#[derive(Clone, Copy, Debug)]
pub enum StartLine<'l> {
    /// Method and target.
    Request {
        /// Method.
        method: &'l [u8],
        /// Request target.
        target: &'l [u8],
    },
    /// Status and phrase.
    Response {
        /// Status code.
        status: u16,
        /// Reason phrase, may be empty.
        phrase: &'l [u8],
    },
}

/// Name and value of a field, as places in [`Head::raw`].
pub type Field = (Range<u32>, Range<u32>);

/// Start line and header fields as sent. For HTTP/2 `raw` holds decoded names and values one after the other.
#[derive(Clone)]
pub struct Head {
    /// The bytes that the ranges point into; bounded by the parser's header limit. As sent, but for the line ends inside
    /// folded fields, which are spaces.
    pub raw: Vec<u8>,
    /// First line.
    pub start: Start,
    /// Version; `None` where the line has none that can be read.
    pub version: Option<Version>,
    /// Name and value of each field in order, values without surrounding white space.
    pub fields: Vec<Field>,
    /// Whether the block ended (blank line seen); `false` for a request cut by the snaplen or a gap.
    pub complete: bool,
}

impl Head {
    /// A request's head, of which another sensor told method, target and some fields: there may have been others.
    pub fn reported_request(method: &[u8], target: &[u8], fields: &[(&[u8], &[u8])]) -> Self {
        let start = StartLine::Request { method, target };
        Self { complete: false, ..Self::from_fields(start, None, fields.iter().copied()) }
    }

    /// A response's head, of which another sensor told the status and some fields.
    pub fn reported_response(status: u16, fields: &[(&[u8], &[u8])]) -> Self {
        let start = StartLine::Response { status, phrase: b"" };
        Self { complete: false, ..Self::from_fields(start, None, fields.iter().copied()) }
    }

    /// A head that was not read from the wire: what another sensor tells of a message, say. Fields beyond
    /// [`MAX_FIELDS`](super::MAX_FIELDS), or that make it longer than 16 MiB, are left out, and the head is then not `complete`.
    pub fn from_fields<'f>(
        start: StartLine<'_>,
        version: Option<Version>,
        fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Self {
        let mut builder = HeadBuilder::new(MAX_MADE);
        let start = match start {
            StartLine::Request { method, target } => {
                Start::Request { method: builder.text(method), target: builder.text(target) }
            }
            StartLine::Response { status, phrase } => Start::Response { status, phrase: builder.text(phrase) },
        };
        fields.into_iter().for_each(|(name, value)| builder.field(name, value));
        builder.head(start, version)
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        self.raw.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    /// Request method, or empty.
    pub fn method(&self) -> &[u8] {
        match &self.start {
            Start::Request { method, .. } => self.slice(method),
            Start::Response { .. } => b"",
        }
    }

    /// Whether this is a request for a tunnel, whose target is an authority (RFC 9110 section 9.3.6).
    pub fn is_connect(&self) -> bool {
        self.method().eq_ignore_ascii_case(b"CONNECT")
    }

    /// Request target as sent, or empty.
    pub fn target(&self) -> &[u8] {
        match &self.start {
            Start::Request { target, .. } => self.slice(target),
            Start::Response { .. } => b"",
        }
    }

    /// Response status, if this is a response.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            Start::Response { status, .. } => Some(status),
            Start::Request { .. } => None,
        }
    }

    /// Reason phrase, or empty.
    pub fn phrase(&self) -> &[u8] {
        match &self.start {
            Start::Response { phrase, .. } => self.slice(phrase),
            Start::Request { .. } => b"",
        }
    }

    /// All fields in order, names as sent.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.fields.iter().map(|(name, value)| (self.slice(name), self.slice(value)))
    }

    /// Value of the first field called `name` (ASCII case ignored).
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The encodings of the body, as in one `Content-Encoding`: of all such fields, then those of `Transfer-Encoding`
    /// (`chunked` and `identity`, which stand for none, may be among them).
    pub fn encodings(&self) -> Option<Cow<'_, [u8]>> {
        let packs = |value: &&[u8]| !value.eq_ignore_ascii_case(b"chunked");
        let mut fields = self.values("content-encoding").chain(self.values("transfer-encoding").filter(packs));
        let first = fields.next()?;
        let mut all = Cow::Borrowed(first);
        for more in fields {
            all.to_mut().push(b',');
            all.to_mut().extend_from_slice(more);
        }
        Some(all)
    }

    /// Whether the body is in one of them.
    pub fn is_encoded(&self) -> bool {
        let is_none = |name: &[u8]| {
            let name = name.trim_ascii();
            name.is_empty()
                || [&b"identity"[..], b"chunked", b"aws-chunked"].iter().any(|none| name.eq_ignore_ascii_case(none))
        };
        self.encodings().is_some_and(|names| !names.split(|b| *b == b',').all(is_none))
    }

    /// Values of all fields called `name` (ASCII case ignored), in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        // most names differ in length already
        let is_long = |range: &Range<u32>| range.end.saturating_sub(range.start) as usize == name.len();
        let fields = self.fields.iter().filter(move |(known, _)| is_long(known));
        fields
            .filter(move |(known, _)| self.slice(known).eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| self.slice(value))
    }
}

/// Bytes of a head that was not read from the wire.
const MAX_MADE: usize = 16 << 20;

/// Puts a [`Head`] together from names and values. Bounds: the limit given, and [`MAX_FIELDS`](super::MAX_FIELDS).
pub(super) struct HeadBuilder {
    raw: Vec<u8>,
    fields: Vec<Field>,
    limit: usize,
    whole: bool,
}

impl HeadBuilder {
    /// Of `limit` bytes at most, which are below 4 GiB.
    pub(super) fn new(limit: usize) -> Self {
        Self { raw: Vec::new(), fields: Vec::new(), limit: limit.min(u32::MAX as usize), whole: true }
    }

    /// Adds bytes of the first line, as many as there is room for.
    pub(super) fn text(&mut self, text: &[u8]) -> Range<u32> {
        let start = self.raw.len();
        let room = self.limit.saturating_sub(start);
        self.raw.extend_from_slice(text.get(..text.len().min(room)).unwrap_or_default());
        self.whole &= text.len() <= room;
        start as u32..self.raw.len() as u32
    }

    /// Adds a field, or leaves it out where there is no room.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        let len = self.raw.len().saturating_add(name.len()).saturating_add(value.len());
        if len > self.limit || self.fields.len() >= super::MAX_FIELDS {
            self.whole = false;
            return;
        }
        let field = (self.text(name), self.text(value));
        self.fields.push(field);
    }

    /// Puts a field before all others, whose value was added already.
    pub(super) fn first_field(&mut self, name: &[u8], value: Range<u32>) {
        let name = self.text(name);
        self.fields.insert(0, (name, value));
    }

    /// Whether something was left out.
    pub(super) fn is_cut(&self) -> bool {
        !self.whole
    }

    /// Something is missing.
    pub(super) fn cut(&mut self) {
        self.whole = false;
    }

    /// The head.
    pub(super) fn head(self, start: Start, version: Option<Version>) -> Head {
        Head { raw: self.raw, start, version, fields: self.fields, complete: self.whole }
    }
}

impl fmt::Debug for Head {
    /// Start line only: header values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &String::from_utf8_lossy(self.method()))
            .field("status", &self.status())
            .field("fields", &self.fields.len())
            .finish_non_exhaustive()
    }
}

/// A message body: counted always, captured up to a limit for inspection, wiped when dropped.
#[derive(Clone, Default)]
pub struct Body {
    /// Length as Packetbeat counts it: Content-Length, or the sum of chunk sizes, or bytes until close (0 where an
    /// HTTP/1.1 response has no length and announces no close: Packetbeat ends it at once, `captured` holds it anyway).
    /// 0 for responses to HEAD. HTTP/2: sum of DATA.
    pub len: u64,
    /// Transfer-decoded (chunk framing undone), content-encoded bytes from the start, up to the parser's limit.
    pub captured: Vec<u8>,
    /// Whether `captured` is the whole body.
    pub whole: bool,
    /// What there is of the rest.
    pub later: Option<Box<super::later::Later>>,
}

/// Overwrites and empties a buffer that may hold secrets. (`Vec::zeroize` writes byte by byte, also where nothing was.)
pub(in crate::proto) fn wipe(buffer: &mut Vec<u8>) {
    if !buffer.is_empty() {
        zeroize::zeroize_bytes(buffer);
        buffer.clear();
    }
}

impl Body {
    /// It ended: what it took to read it is given back.
    pub(super) fn end(&mut self) {
        if let Some(later) = &mut self.later {
            later.end();
        }
    }

    /// Wipes and gives back what was captured, once it was read.
    pub fn release(&mut self) {
        wipe(&mut self.captured);
        self.captured = Vec::new();
        self.later = None;
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        wipe(&mut self.captured);
    }
}

impl fmt::Debug for Body {
    /// Never the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("len", &self.len).field("whole", &self.whole).finish_non_exhaustive()
    }
}

impl Message {
    /// A message of which another sensor told the head, and when.
    pub fn reported(head: Head, first: Timestamp, last: Timestamp) -> Self {
        Self {
            first,
            last,
            first_index: 0,
            head,
            body: Body::default(),
            bytes: 0,
            gap: false,
            cut: false,
            complete: true,
        }
    }
}

/// One HTTP message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Time of the packet with its first byte.
    pub first: Timestamp,
    /// Time of the packet with its last byte (seen so far, if it was cut off).
    pub last: Timestamp,
    /// Number of the packet with its first byte.
    pub first_index: u64,
    /// Start line and fields.
    pub head: Head,
    /// Body.
    pub body: Body,
    /// Bytes on the wire: start line, fields, body, chunk framing.
    pub bytes: u64,
    /// Bytes were missing inside this message (stream gap).
    pub gap: bool,
    /// The capture cut packets of this message (snaplen).
    pub cut: bool,
    /// Whether the message's end was seen (by length, last chunk or close).
    pub complete: bool,
}

impl Message {
    /// A message that was not read from the wire, seen whole at one time; `body` is what is known of its body, and `whole`
    /// says whether that is all.
    pub fn new(head: Head, body: Vec<u8>, whole: bool, time: Timestamp, index: u64) -> Self {
        let bytes = (head.raw.len() as u64).saturating_add(body.len() as u64);
        let body = Body { len: body.len() as u64, captured: body, whole, later: None };
        Self { first: time, last: time, first_index: index, head, body, bytes, gap: false, cut: false, complete: true }
    }
}

/// Remarks on an exchange that Packetbeat writes to `error.message`, in the order they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// `Unmatched request`.
    UnmatchedRequest,
    /// `Unmatched response`.
    UnmatchedResponse,
    /// `Packet loss while capturing the request`.
    LossInRequest,
    /// `Packet loss while capturing the response`.
    LossInResponse,
}

/// A request with its response, or one of them alone.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The connection; `client` is the side that sends requests.
    pub conn: Conn,
    /// The request.
    pub request: Option<Message>,
    /// Its final response (interim 1xx responses are passed over).
    pub response: Option<Message>,
    /// Remarks.
    pub notes: Vec<Note>,
    /// Two readings of the stream remained where this exchange stands (overlapping segments that differ).
    pub conflict: bool,
    /// Seen inside a CONNECT or SOCKS conversation: the target named there, as `host:port` bytes.
    pub via: Option<crate::conn::Bytes>,
    /// Running number of the exchange on its connection, from 0.
    pub ordinal: u32,
    /// HTTP/2 stream number, where it is HTTP/2.
    pub stream: Option<u32>,
}

impl Transaction {
    /// An exchange, or the half of it that there is, with Packetbeat's remarks on what is missing: the first of its
    /// connection.
    pub fn new(conn: Conn, request: Option<Message>, response: Option<Message>) -> Self {
        let lost = |message: &Option<Message>| message.as_ref().is_some_and(|message| message.gap);
        let remarks = [
            (lost(&request), Note::LossInRequest),
            (response.is_none(), Note::UnmatchedRequest),
            (lost(&response), Note::LossInResponse),
            (request.is_none(), Note::UnmatchedResponse),
        ];
        let notes = remarks.into_iter().filter(|(applies, _)| *applies).map(|(_, note)| note).collect();
        Self { conn, request, response, notes, conflict: false, via: None, ordinal: 0, stream: None }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_head_made_of_names_and_values_is_read_as_one_from_the_wire() {
        let start = StartLine::Request { method: b"GET", target: b"/latest/" };
        let fields: [(&[u8], &[u8]); 2] = [(b"Host", b"169.254.169.254"), (b"User-Agent", b"curl/8.5.0")];
        let head = Head::from_fields(start, Some(Version { major: 1, minor: 1 }), fields);
        assert_eq!((head.method(), head.target(), head.complete), (&b"GET"[..], &b"/latest/"[..], true));
        assert_eq!(head.field("host"), Some(&b"169.254.169.254"[..]));
        assert!(head.fields().eq(fields));
        let answer = Head::from_fields(StartLine::Response { status: 404, phrase: b"Not Found" }, None, []);
        assert_eq!((answer.status(), answer.phrase()), (Some(404), &b"Not Found"[..]));
    }

    #[test]
    fn a_head_that_is_too_large_is_cut_between_fields() {
        let value = vec![b'v'; MAX_MADE / 2];
        let start = StartLine::Request { method: b"GET", target: b"/" };
        let head = Head::from_fields(start, None, [(&b"a"[..], &value[..]), (b"b", &value), (b"c", b"short")]);
        assert!(!head.complete);
        assert_eq!(head.fields().map(|(name, _)| name).collect::<Vec<_>>(), [b"a", b"c"]);
    }
}
