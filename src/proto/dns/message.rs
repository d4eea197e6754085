//! DNS messages as read off the wire (RFC 1035 and the RFCs of the single record types), and transactions.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::conn::Conn;
use crate::packet::Timestamp;

/// A domain name as its labels, case kept: each label is a length byte and that many bytes, without the root label.
#[derive(Clone, Default)]
pub struct Name {
    wire: Wire,
}

/// Most names are short, and one that is holds its bytes itself.
#[derive(Clone)]
enum Wire {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Vec<u8>),
}

/// What fits beside the two bytes that say how long it is, in five words.
const SHORT: usize = 38;

impl Default for Wire {
    fn default() -> Self {
        Self::Short { len: 0, bytes: [0; SHORT] }
    }
}

impl Name {
    /// Longest name in bytes, without the root label (RFC 1035 section 2.3.4).
    pub const MAX: usize = 254;

    /// The labels as on the wire, uncompressed, without the root label's zero.
    #[inline]
    pub fn wire(&self) -> &[u8] {
        match &self.wire {
            Wire::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Wire::Long(bytes) => bytes,
        }
    }

    /// A name of labels as on the wire, uncompressed, without the root label's zero.
    pub fn from_wire(labels: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..labels.len()) {
            Some(place) => {
                place.copy_from_slice(labels);
                Self { wire: Wire::Short { len: labels.len() as u8, bytes } }
            }
            None => Self { wire: Wire::Long(labels.to_vec()) },
        }
    }

    /// Adds an inner label; labels over 63 bytes and names over 255 are the parser's to refuse.
    pub fn push(&mut self, label: &[u8]) {
        if let Wire::Short { len, bytes } = &mut self.wire {
            let rest = bytes.get_mut(usize::from(*len)..).unwrap_or_default();
            if let Some((first, rest)) = rest.split_first_mut()
                && let Some(place) = rest.get_mut(..label.len())
            {
                *first = label.len() as u8;
                place.copy_from_slice(label);
                *len = len.saturating_add(1).saturating_add(label.len() as u8);
                return;
            }
            self.wire = Wire::Long(self.wire().to_vec());
        }
        if let Wire::Long(bytes) = &mut self.wire {
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label);
        }
    }

    /// The labels from left to right.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.wire();
        std::iter::from_fn(move || {
            let (&len, tail) = rest.split_first()?;
            let (label, tail) = tail.split_at_checked(usize::from(len))?;
            rest = tail;
            Some(label)
        })
    }

    /// The presentation format, as it is displayed.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(self.wire().len().max(1));
        for label in self.labels() {
            match str::from_utf8(label) {
                Ok(text) if label.iter().all(|byte| is_plain(*byte)) => {
                    if !out.is_empty() {
                        out.push('.');
                    }
                    out.push_str(text);
                }
                _ => return self.to_string(),
            }
        }
        if self.is_root() { self.to_string() } else { out }
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.wire().is_empty()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.wire() == other.wire()
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.wire().hash(state);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl fmt::Display for Name {
    /// Presentation format (RFC 1035 section 5.1) as miekg/dns writes it, without the final dot; the root is `.`.
    /// A dot inside a label is written `\\.`, so that it cannot pass for a border between labels.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for (nth, label) in self.labels().enumerate() {
            if nth > 0 {
                f.write_str(".")?;
            }
            write_label(f, label)?;
        }
        Ok(())
    }
}

/// One label, escaped; runs of plain characters go out in one piece.
fn write_label(f: &mut fmt::Formatter<'_>, label: &[u8]) -> fmt::Result {
    for run in label.chunk_by(|a, b| is_plain(*a) && is_plain(*b)) {
        match run {
            [byte] if !is_plain(*byte) => match byte {
                b' '..=b'~' => write!(f, "\\{}", char::from(*byte))?,
                _ => write!(f, "\\{byte:03}")?,
            },
            plain => f.write_str(&String::from_utf8_lossy(plain))?,
        }
    }
    Ok(())
}

/// Whether a byte stands for itself in a name's presentation format.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'.' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\')
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
    /// Any other type (names inside are uncompressed), or one whose RDATA is empty or damaged.
    Other(Vec<u8>),
    /// Types with one name inside (RRSIG, NSEC, SVCB, HTTPS, NAPTR …): bytes before it, the name, bytes after it.
    WithName(Vec<u8>, Name, Vec<u8>),
}

impl RData {
    /// Bytes of the names inside, uncompressed.
    pub fn names_len(&self) -> usize {
        match self {
            // two names at most, uncompressed among other fields
            Self::Other(bytes) => bytes.len(),
            _ => self.names().map(|name| name.wire().len()).fold(0, usize::saturating_add),
        }
    }

    /// The names inside, where they can be told from the rest.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        let names = match self {
            Self::Name(name) | Self::Mx(_, name) | Self::Srv(.., name) | Self::WithName(_, name, _) => {
                [Some(name), None]
            }
            Self::Soa(soa) => [Some(&soa.0), Some(&soa.1)],
            Self::Other(_) | Self::A(_) | Self::Aaaa(_) | Self::Txt(_) => [None, None],
        };
        names.into_iter().flatten()
    }
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
    /// When its first packet came.
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
    /// EDNS: the last OPT among the additionals, which is the one Packetbeat reads.
    pub opt: Option<Opt>,
    /// Further OPT records among the additionals (RFC 6891 forbids them); Packetbeat counts them as additionals.
    pub spare_opts: u16,
    /// Some records could not be read (cut or damaged): what is listed is what came before.
    pub partial: bool,
}

impl Message {
    /// Whether it is a response (QR).
    pub fn is_response(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// Operation code, 4 bits.
    pub fn opcode(&self) -> u8 {
        (self.flags >> 11 & 0x0F) as u8
    }

    /// Response code with the bits that EDNS adds, 12 bits.
    pub fn rcode(&self) -> u16 {
        self.flags & 0x0F | self.opt.as_ref().map_or(0, |opt| u16::from(opt.ext_rcode) << 4)
    }

    /// Memory that it takes, in bytes, roughly.
    pub fn memory(&self) -> usize {
        let records = [&self.answers, &self.authorities, &self.additionals];
        let content = self.bytes as usize; // names and RDATA
        let names = self.questions.iter().map(|q| size_of::<Question>().saturating_add(q.name.wire().len()));
        let of_record = |r: &Record| r.name.wire().len().saturating_add(r.data.names_len());
        let owners = records.into_iter().flatten().map(|r| size_of::<Record>().saturating_add(of_record(r)));
        names.chain(owners).fold(size_of::<Self>().saturating_add(content), usize::saturating_add)
    }
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
    /// `Response: Message's data is incomplete`.
    IncompleteResponse,
}

/// A query with its response, or one of them.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Who asked whom, over what.
    pub conn: Conn,
    /// The query; shared by the transactions of its questions.
    pub query: Option<Arc<Message>>,
    /// The response; shared likewise.
    pub response: Option<Arc<Message>>,
    /// Remarks in order.
    pub notes: Vec<Note>,
    /// Index of the question this transaction is about: a message with several gives one transaction each.
    pub question: usize,
}

impl Transaction {
    /// The question this transaction is about: the query's, or the response's where there is no query.
    pub fn asked(&self) -> Option<&Question> {
        self.query.as_ref().or(self.response.as_ref())?.questions.get(self.question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_however_it_is_kept() {
        for len in 0..60 {
            let label = vec![b'x'; len];
            let mut name = Name::default();
            name.push(b"a");
            name.push(&label);
            name.push(b"example");
            assert_eq!(name.labels().collect::<Vec<_>>(), [b"a", &label[..], b"example"]);
            assert_eq!(name.wire().len(), len + 11);
            let long = Name { wire: Wire::Long(name.wire().to_vec()) };
            assert_eq!(name, long);
        }
        assert!(size_of::<Name>() <= 40);
    }
}
