//! DNS messages as read off the wire (RFC 1035 and the RFCs of the single record types), and transactions.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::observe::Conn;
use crate::packet::Timestamp;

/// A domain name as its labels, case kept: each label is a length byte and that many bytes, without the root label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Name {
    wire: Vec<u8>,
}

impl Name {
    /// Adds an inner label; labels over 63 bytes and names over 255 are the parser's to refuse.
    pub fn push(&mut self, label: &[u8]) {
        self.wire.push(label.len() as u8);
        self.wire.extend_from_slice(label);
    }

    /// The labels from left to right.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.wire.as_slice();
        std::iter::from_fn(move || {
            let (&len, tail) = rest.split_first()?;
            let (label, tail) = tail.split_at_checked(usize::from(len))?;
            rest = tail;
            Some(label)
        })
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.wire.is_empty()
    }
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Name asked for.
    pub name: Name,
    /// QTYPE.
    pub qtype: u16,
    /// QCLASS.
    pub class: u16,
}

/// Data of a record. `Other` holds RDATA as on the wire; types with names inside are decoded so that compression is undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RData {
    /// A.
    A(Ipv4Addr),
    /// AAAA.
    Aaaa(Ipv6Addr),
    /// CNAME, NS, PTR, DNAME and other types that are one name.
    Name(Name),
    /// MX.
    Mx(u16, Name),
    /// TXT, SPF: strings in order.
    Txt(Vec<Vec<u8>>),
    /// SRV: priority, weight, port, target.
    Srv(u16, u16, u16, Name),
    /// SOA: primary, mailbox, serial, refresh, retry, expire, minimum.
    Soa(Box<(Name, Name, [u32; 5])>),
    /// Any other type, or one whose RDATA is damaged.
    Other(Vec<u8>),
    /// RRSIG and NSEC and the like keep a decoded name beside the fixed part before it and the bytes after it.
    WithName(Vec<u8>, Name, Vec<u8>),
}

/// One resource record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Owner.
    pub name: Name,
    /// Type.
    pub rtype: u16,
    /// Class.
    pub class: u16,
    /// Time to live in seconds.
    pub ttl: u32,
    /// Data.
    pub data: RData,
}

/// EDNS (RFC 6891).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opt {
    /// Sender's UDP payload size.
    pub udp_size: u16,
    /// Upper 8 bits of the extended RCODE.
    pub ext_rcode: u8,
    /// Version.
    pub version: u8,
    /// DNSSEC OK.
    pub dnssec_ok: bool,
    /// Options: code and data.
    pub options: Vec<(u16, Vec<u8>)>,
}

/// One DNS message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// When its (last) packet came.
    pub time: Timestamp,
    /// Bytes as Packetbeat counts: message, plus the 2-byte length prefix over TCP.
    pub bytes: u64,
    /// Message id.
    pub id: u16,
    /// Flag word as on the wire (QR, opcode, AA, TC, RD, RA, Z, AD, CD, RCODE).
    pub flags: u16,
    /// Questions.
    pub questions: Vec<Question>,
    /// Answers.
    pub answers: Vec<Record>,
    /// Authorities.
    pub authorities: Vec<Record>,
    /// Additionals without OPT.
    pub additionals: Vec<Record>,
    /// EDNS.
    pub opt: Option<Opt>,
    /// Some records could not be read (cut or damaged): what is listed is what came before.
    pub partial: bool,
}

/// Remarks that Packetbeat writes to `error.message`; the texts are in `packetbeat`'s words (see `event::dns`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// `No response to this query was received`.
    NoResponse,
    /// `Response: received without an associated Query`.
    OrphanResponse,
    /// `Another query with the same DNS ID from this client was received so this query was closed without receiving a response`.
    DuplicateQuery,
    /// `Non-EDNS packet has size greater than 512` (request side).
    NonEdnsQueryTooBig,
    /// The same, prefixed `Response: `.
    NonEdnsResponseTooBig,
    /// `Responder does not support EDNS`.
    NoEdnsSupport,
    /// `Unexpected EDNS answer`.
    UnexpectedEdns,
    /// `Response: Message's data could not be decoded as DNS`.
    NonDnsResponse,
    /// `Response: Message's length was set to zero`.
    ZeroLength,
    /// `Response: Unexpected message data length`.
    UnexpectedLength,
    /// `Response: Message's data is incomplete`.
    IncompleteResponse,
}

/// A query with its response, or one of them.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Who asked whom, over what.
    pub conn: Conn,
    /// The query.
    pub query: Option<Message>,
    /// The response.
    pub response: Option<Message>,
    /// Remarks in order.
    pub notes: Vec<Note>,
    /// Index of the question this transaction is about: a message with several gives one transaction each.
    pub question: usize,
}
