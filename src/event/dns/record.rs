//! Record data as Packetbeat shows it: `data` and, by type, further keys; and EDNS options as text.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::super::doc::{DisplayString, Ip, Text};
use super::super::{Masker, Precision, Stamps};
use super::Names;
use crate::bytes::Reader;
use crate::packet::Timestamp;
use crate::proto::dns::{Message, Name, RData, Record, Transaction, names};

/// One of `dns.answers`, `dns.authorities`, `dns.additionals`.
#[derive(Debug)]
pub struct RecordDoc<'a> {
    name: Text<'a>,
    record: &'a Record,
    shown: Shape<'a>,
}

/// What a record's data is shown as.
#[derive(Debug, Default)]
struct Shape<'a> {
    data: Text<'a>,
    /// Keys of the type, in alphabetical order.
    keys: Vec<(&'static str, Value<'a>)>,
}

#[derive(Debug)]
enum Value<'a> {
    Number(u32),
    Text(Text<'a>),
}

impl Serialize for RecordDoc<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("type", &names::rtype(self.record.rtype))?;
        map.serialize_entry("class", &names::class(self.record.class))?;
        map.serialize_entry("ttl", &DisplayString(self.record.ttl))?;
        map.serialize_entry("data", &self.shown.data)?;
        for (key, value) in &self.shown.keys {
            match value {
                Value::Number(number) => map.serialize_entry(key, number)?,
                Value::Text(text) => map.serialize_entry(key, text)?,
            }
        }
        map.end()
    }
}

/// The records of a section that Packetbeat lists: not EDNS, not addresses without data.
pub(super) fn list<'a>(
    records: &'a [Record],
    names: Names<'a>,
    mask: &Masker<'a>,
    room: &mut Room,
) -> Vec<RecordDoc<'a>> {
    let mut out = Vec::new();
    for (place, record) in records.iter().enumerate() {
        let Some(mut shown) = shape(record) else { continue };
        shown.data = mask.text(shown.data);
        for (_, value) in &mut shown.keys {
            if let Value::Text(text) = value {
                *text = mask.text(std::mem::take(text));
            }
        }
        let doc = RecordDoc { name: mask.text(names.text(&record.name)), record, shown };
        if !room.takes(doc.len()) {
            room.left_out += records.len() - place;
            break;
        }
        out.push(doc);
    }
    out
}

/// What the records of one event may take: names that point at each other make records far longer than they are on the
/// wire.
pub(super) struct Room {
    bytes: usize,
    /// Records for which there was none.
    pub(super) left_out: usize,
}

impl Room {
    /// Bytes of an event without records and addresses.
    const REST: usize = 1800;
    /// Bytes of an address, twice.
    const ADDRESSES: usize = 36;

    pub(super) fn new(tx: &Transaction, shown: &Message) -> Self {
        let addresses = shown.answers.iter().filter_map(address).count();
        let taken = Self::REST + Self::ADDRESSES * addresses;
        Self { bytes: super::super::most(super::bytes(tx)).saturating_sub(taken), left_out: 0 }
    }

    fn takes(&mut self, bytes: usize) -> bool {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.unwrap_or(0);
        left.is_some()
    }
}

impl RecordDoc<'_> {
    /// Bytes that it is written in, about.
    fn len(&self) -> usize {
        const NAMES: usize = 64;
        let key = |(key, value): &(&str, Value<'_>)| {
            let value = match value {
                Value::Number(_) => 8,
                Value::Text(text) => text.len(),
            };
            key.len() + value + 6
        };
        NAMES + self.name.len() + self.shown.data.len() + self.shown.keys.iter().map(key).sum::<usize>()
    }
}

/// The address that a record gives.
pub(super) fn address(record: &Record) -> Option<Ip> {
    match record.data {
        RData::A(ip) => Some(Ip(ip.into())),
        RData::Aaaa(ip) => Some(Ip(ip.into())),
        _ => None,
    }
}

/// A record's data in one line: keys, then data. Packetbeat leaves numbers out here.
pub(super) fn text(record: &Record) -> String {
    let Some(Shape { data, keys }) = shape(record) else { return String::new() };
    let mut out = String::new();
    for (key, value) in keys {
        if let Value::Text(value) = value {
            out.push_str(&format!("{key} {value}, "));
        }
    }
    out + &data
}

fn shape(record: &Record) -> Option<Shape<'static>> {
    let number = |value: u16| Value::Number(u32::from(value));
    let plain = |data: String| Shape { data: data.into(), keys: Vec::new() };
    Some(match (record.rtype, &record.data) {
        (1 | 28, RData::Other(data)) if data.is_empty() => return None,
        (41, _) => return None,
        (_, RData::A(ip)) => plain(Ip((*ip).into()).to_string()),
        (_, RData::Aaaa(ip)) => plain(Ip((*ip).into()).to_string()),
        (2 | 5 | 12, RData::Name(name)) => plain(name.text()),
        (_, RData::Mx(preference, name)) => {
            Shape { keys: vec![("preference", number(*preference))], ..plain(name.text()) }
        }
        (_, RData::Srv(priority, weight, port, target)) => Shape {
            keys: vec![("port", number(*port)), ("priority", number(*priority)), ("weight", number(*weight))],
            ..plain(target.text())
        },
        (_, RData::Soa(soa)) => {
            let (primary, mailbox, numbers) = &**soa;
            let [serial, refresh, retry, expire, minimum] = numbers.map(Value::Number);
            let keys = vec![
                ("expire", expire),
                ("minimum", minimum),
                ("refresh", refresh),
                ("retry", retry),
                ("rname", Value::Text(mailbox.text().into())),
                ("serial", serial),
            ];
            Shape { keys, ..plain(primary.text()) }
        }
        (16, RData::Txt(strings)) => plain(strings.iter().map(|s| string(s)).collect::<Vec<_>>().join(" ")),
        (43 | 46 | 48 | 47 | 50 | 51, data) => dnssec(record.rtype, data).unwrap_or_else(|| plain(raw(data))),
        (_, data) => plain(raw(data)),
    })
}

/// DS, RRSIG, NSEC, DNSKEY, NSEC3, NSEC3PARAM; `None` where a field is missing.
fn dnssec(rtype: u16, data: &RData) -> Option<Shape<'static>> {
    let number = |value: u32| Value::Text(value.to_string().into());
    let (data, keys) = match (rtype, data) {
        (43, RData::Other(rdata)) => {
            let mut r = Reader::new(rdata);
            let (key_tag, algorithm, digest) = (r.u16()?, r.u8()?, r.u8()?);
            let keys = vec![
                ("algorithm", Value::Text(names::algorithm(algorithm))),
                ("digest_type", Value::Text(names::digest(digest))),
                ("key_tag", number(key_tag.into())),
            ];
            (upper_hex(r.rest()), keys)
        }
        (46, RData::WithName(head, signer, signature)) => {
            let mut r = Reader::new(head);
            let (covered, algorithm, labels) = (r.u16()?, r.u8()?, r.u8()?);
            let (ttl, expiration, inception, key_tag) = (r.u32()?, r.u32()?, r.u32()?, r.u16()?);
            let keys = vec![
                ("algorithm", Value::Text(names::algorithm(algorithm))),
                ("expiration", Value::Text(compact_time(expiration).into())),
                ("inception", Value::Text(compact_time(inception).into())),
                ("key_tag", number(key_tag.into())),
                ("labels", number(labels.into())),
                ("original_ttl", number(ttl)),
                ("signer_name", Value::Text(signer.text().into())),
                ("type_covered", Value::Text(names::rtype(covered))),
            ];
            (STANDARD.encode(signature), keys)
        }
        (47, RData::WithName(_, next, bitmap)) => {
            let dot = if next.is_root() { "" } else { "." }; // kept, other than on all other names
            (format!("{next}{dot}"), vec![("type_bits", Value::Text(type_bits(bitmap).into()))])
        }
        (48, RData::Other(rdata)) => {
            let mut r = Reader::new(rdata);
            let (flags, protocol, algorithm) = (r.u16()?, r.u8()?, r.u8()?);
            let keys = vec![
                ("algorithm", Value::Text(names::algorithm(algorithm))),
                ("flags", number(flags.into())),
                ("protocol", number(protocol.into())),
            ];
            (STANDARD.encode(r.rest()), keys)
        }
        (50 | 51, RData::Other(rdata)) => {
            let mut r = Reader::new(rdata);
            let (hash, flags, iterations, salt_len) = (r.u8()?, r.u8()?, r.u16()?, r.u8()?);
            let salt = upper_hex(r.take(salt_len.into())?);
            let salt = if salt.is_empty() { "-".into() } else { salt };
            let mut keys = vec![
                ("flags", number(flags.into())),
                ("hash", Value::Text(names::digest(hash))),
                ("iterations", number(iterations.into())),
            ];
            if rtype == 51 {
                (salt, keys)
            } else {
                let next_len = r.u8().unwrap_or(0);
                let next = r.take(next_len.into())?;
                keys.push(("salt", Value::Text(salt.into())));
                keys.push(("type_bits", Value::Text(type_bits(r.rest()).into())));
                (base32hex(next), keys)
            }
        }
        _ => return None,
    };
    Some(Shape { data: data.into(), keys })
}

/// RDATA of a type without keys of its own, names uncompressed: what cannot be printed as `\DDD`, or as `\t`, `\r`, `\n`.
fn raw(data: &RData) -> String {
    let wire = |name: &Name| [name.wire(), &[0]].concat();
    let bytes = match data {
        RData::Other(bytes) => bytes.clone(),
        RData::Name(name) => wire(name),
        RData::WithName(head, name, tail) => [&head[..], &wire(name), tail].concat(),
        RData::Txt(strings) => strings.iter().flat_map(|s| [&[s.len() as u8][..], s].concat()).collect(),
        // Types with keys of their own; they never come here.
        RData::A(_) | RData::Aaaa(_) | RData::Mx(..) | RData::Srv(..) | RData::Soa(_) => Vec::new(),
    };
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\t' => out.push_str("\\t"),
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            _ => push_escaped(&mut out, byte),
        }
    }
    out
}

/// A character string as miekg/dns writes it.
fn string(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    bytes.iter().for_each(|byte| push_escaped(&mut out, *byte));
    out
}

fn push_escaped(out: &mut String, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
        b' '..=b'~' => out.push(char::from(byte)),
        // Writing to a string does not fail.
        _ => _ = write!(out, "\\{byte:03}"),
    }
}

/// Names of the types in the bitmap of NSEC or NSEC3 (RFC 4034 section 4.1.2).
fn type_bits(bitmap: &[u8]) -> String {
    let mut out: Vec<Text<'static>> = Vec::new();
    let mut r = Reader::new(bitmap);
    while let (Some(window), Some(len)) = (r.u8(), r.u8()) {
        let block = r.take(len.into()).unwrap_or_default();
        for (at, byte) in (0_u16..).zip(block) {
            let first = u16::from(window) * 256 + at * 8;
            out.extend((0..8).filter(|bit| byte & (0x80 >> bit) != 0).map(|bit| names::rtype(first + bit)));
        }
    }
    out.join(" ")
}

/// Seconds since the epoch as `YYYYMMDDHHmmSS`.
fn compact_time(seconds: u32) -> String {
    let stamp = Stamps::new(Precision::Millisecond).of(Timestamp::new(seconds.into(), 0));
    stamp.to_string().chars().filter(char::is_ascii_digit).take(14).collect()
}

fn upper_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn lower_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Base 32 with the extended hex alphabet, without padding (RFC 4648 section 7).
fn base32hex(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let value = group.iter().chain([0; 4].iter()).take(5).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let digits = (group.len() * 8).div_ceil(5);
        out.extend((0..digits).map(|nth| char::from(ALPHABET[(value >> (35 - 5 * nth) & 31) as usize])));
    }
    out
}

/// Key and text of an EDNS option that Packetbeat shows; what it does not know goes under `local`.
pub(super) fn option(code: u16, data: &[u8]) -> Option<(&'static str, String)> {
    let mut r = Reader::new(data);
    Some(match code {
        1 => {
            let (version, opcode, error, id, lease) = (r.u16()?, r.u16()?, r.u16()?, r.u64()?, r.u32()?);
            ("llq", format!("{version} {opcode} {error} {id} {lease}"))
        }
        2 => ("ul", format!("{} {}", r.u32()?, r.u32().unwrap_or(0))),
        3 => ("nsid", lower_hex(data)),
        5 => ("dau", data.iter().map(|number| format!(" {}", names::algorithm(*number))).collect()),
        6 => ("dhu", data.iter().map(|number| format!(" {}", names::digest(*number))).collect()),
        7 => ("n3u", data.iter().map(|number| format!(" {}", names::digest(*number))).collect()),
        8 => ("subnet", subnet(r)?),
        9 => ("local", r.u32().map(|seconds| seconds.to_string()).unwrap_or_default()),
        10 => ("cookie", lower_hex(data)),
        4 | 11 | 12 | 15 | 18 | 19 => return None, // source URI, keepalive, padding, extended error, reporting, zone version
        _ => ("local", format!("{code}:0x{}", lower_hex(data))),
    })
}

/// `address/source/scope`; an IPv6 address in brackets.
fn subnet(mut r: Reader<'_>) -> Option<String> {
    let (family, source, scope) = (r.u16()?, r.u8()?, r.u8()?);
    let mut address = [0; 16];
    let len = if family == 2 { 16 } else { 4 };
    address.iter_mut().take(len).zip(r.rest()).for_each(|(to, from)| *to = *from);
    let [a, b, c, d, ..] = address;
    let address = match family {
        0 => "0.0.0.0".into(),
        1 => std::net::Ipv4Addr::new(a, b, c, d).to_string(),
        _ => match Ip(address.into()) {
            Ip(mapped) if mapped.to_canonical().is_ipv4() => mapped.to_canonical().to_string(),
            ip => format!("[{ip}]"),
        },
    };
    Some(format!("{address}/{source}/{scope}"))
}
