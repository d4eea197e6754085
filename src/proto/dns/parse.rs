//! The DNS message parser: bytes of one message in, a [`Message`] out, or why there is none.
//!
//! `dns-parser` reads the header. Its record parser is not used: it refuses a whole message for one record type that it
//! does not know (HTTPS, RRSIG, CAA …), for a reserved bit or a second OPT, and it shows a label with a dot in it as two
//! labels. What is accepted here is what miekg/dns (Packetbeat's parser) accepts; where it gives up, the records read so
//! far are kept and the message is marked [`partial`](Message::partial).
//!
//! Bounds: a name is at most 255 bytes over at most 126 pointers; a message holds no more records than it has bytes for,
//! and all their names together are no longer than [`most_names`].

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use dns_parser::Header;

use super::message::{Message, Name, Opt, Question, RData, Record};
use super::rdata;
use crate::bytes::Reader;

/// Type number of the EDNS pseudo-record.
pub(super) const OPT: u16 = 41;

/// Bytes of a message header.
const HEADER_LEN: usize = 12;

/// The reserved bit of the flag word (RFC 1035 section 4.1.1), which `dns-parser` refuses.
const RESERVED_BIT: u8 = 0x40;

/// As many compression pointers as miekg/dns follows for one name.
const MAX_POINTERS: u32 = 126;

/// Room for this many records is made at once, if as many are announced.
const USUAL_RECORDS: u16 = 8;

/// Why bytes are no DNS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer than 12 bytes.
    #[error("shorter than a DNS header")]
    Header,
    /// A question's name, type or class cannot be read.
    #[error("unreadable DNS question")]
    Question,
    /// Neither a question nor a record.
    #[error("DNS message without content")]
    Empty,
}

/// Reads one message (without the length prefix that it has over TCP). `time` is left at zero and `bytes` is the length
/// of `message`. Bytes after the last record are ignored; counts in the header that promise more than there is are not
/// an error when the message ends at the end of a record. [`Message::partial`] is set where miekg/dns would refuse.
///
/// # Errors
/// When not even the questions can be read.
pub fn parse(message: &[u8]) -> Result<Message, Malformed> {
    let (header, flags) = header(message).ok_or(Malformed::Header)?;
    let mut reader = Reader::new(message.get(HEADER_LEN..).unwrap_or_default());
    let mut out = Message {
        bytes: message.len() as u64,
        id: header.id,
        flags,
        questions: room_for(header.questions),
        answers: room_for(header.answers),
        authorities: room_for(header.nameservers),
        additionals: room_for(header.additional.saturating_sub(1)), // the OPT is kept elsewhere
        ..Message::default()
    };
    for _ in 0..header.questions {
        if reader.is_empty() {
            out.partial = true; // of records it would be no error
            break;
        }
        out.questions.push(question(message, &mut reader).ok_or(Malformed::Question)?);
    }
    let mut sections = Sections { message, reader, damaged: false, names_left: most_names(message.len()) };
    let complete = sections.read(header.answers, |record| out.answers.push(record))
        && sections.read(header.nameservers, |record| out.authorities.push(record))
        && sections.read(header.additional, |record| match (record.rtype, &record.data) {
            (OPT, RData::Other(options)) => {
                let newer = opt(&record, options);
                out.spare_opts = out.spare_opts.saturating_add(u16::from(out.opt.replace(newer).is_some()));
            }
            _ => out.additionals.push(record),
        });
    out.partial |= !complete || sections.damaged;
    let nothing = out.questions.is_empty()
        && out.answers.is_empty()
        && out.authorities.is_empty()
        && out.additionals.is_empty()
        && out.opt.is_none();
    if nothing { Err(Malformed::Empty) } else { Ok(out) }
}

/// Whether a datagram on any UDP port is a DNS message: strict, so that no other protocol passes, and quick to refuse.
/// Every count must be plausible, every name printable, and the last record must end where the datagram ends.
pub fn looks_like(payload: &[u8]) -> bool {
    let Some(&[_, _, high, low, 0, questions, 0, answers, 0, authorities, 0, additionals, ..]) =
        payload.first_chunk::<17>()
    else {
        return false;
    };
    let response = high & 0x80 != 0;
    let plausible = matches!(high >> 3 & 0x0F, 0 | 4 | 5)
        && low & RESERVED_BIT == 0
        && (1..=4).contains(&questions)
        && additionals <= 64
        && if response { answers <= 128 && authorities <= 64 } else { low & 0x8F == 0 && answers == 0 };
    plausible && ends_exactly(payload, questions, [answers, authorities, additionals])
}

/// The strict walk behind [`looks_like`].
fn ends_exactly(message: &[u8], questions: u8, records: [u8; 3]) -> bool {
    let mut reader = Reader::new(message.get(HEADER_LEN..).unwrap_or_default());
    for _ in 0..questions {
        let known = printable_name(message, &mut reader).is_some_and(|first_label| {
            let (Some(qtype), Some(class)) = (reader.u16(), reader.u16()) else { return false };
            // NetBIOS name service has this shape, with 32 characters from A to P as name and types 32 and 33.
            let netbios = matches!(qtype, 32 | 33) && first_label.len() == 32;
            !netbios && matches!(qtype, 1..=262 | 32768 | 32769) && matches!(class, 1 | 3 | 4 | 254 | 255)
        });
        if !known {
            return false;
        }
    }
    for count in records {
        for _ in 0..count {
            let whole = printable_name(message, &mut reader).is_some()
                && reader.skip(8).and_then(|()| reader.u16()).and_then(|len| reader.skip(usize::from(len))).is_some();
            if !whole {
                return false;
            }
        }
    }
    reader.is_empty()
}

/// Passes over a name of printable labels and returns the first one (empty for the root).
fn printable_name<'a>(message: &'a [u8], reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let mut first = None;
    walk_name(message, reader, |label| {
        first.get_or_insert(label);
        label.iter().all(u8::is_ascii_graphic).then_some(())
    })?;
    Some(first.unwrap_or_default())
}

/// The header by `dns-parser`, with the reserved bit taken out, and the flag word as sent.
fn header(message: &[u8]) -> Option<(Header, u16)> {
    let mut head = *message.first_chunk::<HEADER_LEN>()?;
    let [_, _, high, low, ..] = head;
    let [_, _, _, flags, ..] = &mut head;
    *flags &= !RESERVED_BIT;
    Some((Header::parse(&head).ok()?, u16::from_be_bytes([high, low])))
}

/// A list for so many items as a header announces, which may be a lie.
fn room_for<T>(count: u16) -> Vec<T> {
    Vec::with_capacity(usize::from(count.min(USUAL_RECORDS)))
}

/// One question. A message that ends after the name, or after the type, leaves the rest zero, as miekg/dns has it.
fn question<'a>(message: &'a [u8], reader: &mut Reader<'a>) -> Option<Question> {
    let name = name(message, reader)?;
    let mut field = || if reader.is_empty() { Some(0) } else { reader.u16() };
    Some(Question { name, qtype: field()?, class: field()? })
}

/// What the names of all records of a message may [cost]: pointers let two bytes stand for 254. Those of honest messages do
/// not come near it.
fn most_names(message: usize) -> usize {
    message.saturating_mul(8).saturating_add(4096)
}

/// What it costs to read and write a name: its bytes uncompressed, or its labels, where they are shorter than any host's.
fn cost(name: &Name) -> usize {
    const LABEL: usize = 6;
    name.wire().len().max(name.labels().count().saturating_mul(LABEL))
}

/// The record sections of one message, read one after the other.
struct Sections<'a> {
    message: &'a [u8],
    reader: Reader<'a>,
    /// What names may still cost.
    names_left: usize,
    /// A record's RDATA was not what its type says.
    damaged: bool,
}

impl<'a> Sections<'a> {
    /// Up to `count` records; `false` when one of them cannot be read at all, so that what follows is lost.
    fn read(&mut self, count: u16, mut push: impl FnMut(Record)) -> bool {
        for _ in 0..count {
            if self.reader.is_empty() {
                break; // the count promises more than there is
            }
            match self.record() {
                Some(record) => push(record),
                None => return false,
            }
        }
        true
    }

    fn record(&mut self) -> Option<Record> {
        let reader = &mut self.reader;
        let name = name(self.message, reader)?;
        let (rtype, class, ttl, len) = (reader.u16()?, reader.u16()?, reader.u32()?, reader.u16()?);
        let data = reader.take(usize::from(len))?;
        // Names inside RDATA may point anywhere before its end, not beyond.
        let end = self.message.len().saturating_sub(reader.len());
        let before = self.message.get(..end).unwrap_or_default();
        let data = rdata::parse(rtype, before, data).unwrap_or_else(|| {
            self.damaged = true;
            RData::Other(data.to_vec())
        });
        let inner = data.names().map(cost).fold(0, usize::saturating_add).max(data.names_len());
        self.names_left = self.names_left.checked_sub(cost(&name).saturating_add(inner))?;
        Some(Record { name, rtype, class, ttl, data })
    }
}

/// EDNS data of an OPT record; its options were checked when its RDATA was read.
fn opt(record: &Record, options: &[u8]) -> Opt {
    let [ext_rcode, version, flags, _] = record.ttl.to_be_bytes();
    Opt {
        udp_size: record.class,
        ext_rcode,
        version,
        dnssec_ok: flags & 0x80 != 0,
        options: rdata::options(options).map(|(code, data)| (code, data.to_vec())).collect(),
    }
}

/// A name at the reader's position; compression pointers lead anywhere into `message`.
pub(super) fn name<'a>(message: &'a [u8], reader: &mut Reader<'a>) -> Option<Name> {
    let mut wire = [0; Name::MAX];
    let mut len = 0usize;
    walk_name(message, reader, |label| {
        let (first, rest) = wire.get_mut(len..)?.split_first_mut()?;
        *first = label.len() as u8;
        rest.get_mut(..label.len())?.copy_from_slice(label);
        len = len.checked_add(label.len())?.checked_add(1)?;
        Some(())
    })?;
    wire.get(..len).map(Name::from_wire)
}

/// Hands on the labels of a name and leaves the reader behind it; `None` if it is damaged, loops, is longer than a name
/// may be, or `label` refuses.
fn walk_name<'a>(
    message: &'a [u8],
    reader: &mut Reader<'a>,
    mut label: impl FnMut(&'a [u8]) -> Option<()>,
) -> Option<()> {
    let mut at = *reader;
    let mut left = Name::MAX;
    let mut pointers = 0_u32;
    loop {
        let len = at.u8()?;
        match len >> 6 {
            0 if len == 0 => {
                if pointers == 0 {
                    *reader = at;
                }
                return Some(());
            }
            0 => {
                let text = at.take(usize::from(len))?;
                left = left.checked_sub(text.len().checked_add(1)?)?;
                label(text)?;
            }
            3 => {
                let offset = usize::from(u16::from_be_bytes([len & 0x3F, at.u8()?]));
                if pointers == 0 {
                    *reader = at;
                }
                pointers = pointers.checked_add(1).filter(|n| *n <= MAX_POINTERS)?;
                at = Reader::new(message.get(offset..)?);
            }
            _ => return None, // reserved label types
        }
    }
}

#[cfg(test)]
mod tests;
