//! Record data by type: RDATA bytes in, [`RData`] out. Types without a shape of their own in [`RData`] are checked
//! field by field and kept as bytes, with the names inside uncompressed.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::net::{Ipv4Addr, Ipv6Addr};

use super::message::{Name, RData};
use super::parse::{OPT, name};
use crate::bytes::Reader;

/// A field of RDATA.
#[derive(Clone, Copy, Debug)]
enum Field {
    /// So many bytes.
    Fixed(usize),
    /// One length byte and so many bytes.
    Bytes8,
    /// Two length bytes and so many bytes.
    Bytes16,
    /// A domain name, compressed or not.
    Name,
    /// Type bitmap of NSEC and NSEC3 (RFC 4034 section 4.1.2).
    Bitmap,
    /// Service parameters (RFC 9460 section 2.2).
    Params,
    /// Address prefixes (RFC 3123).
    Prefixes,
    /// EDNS options (RFC 6891 section 6.1.2).
    Options,
    /// Everything up to the end.
    Rest,
}

/// Fields of a type, in order; unknown types are bytes.
fn layout(rtype: u16) -> &'static [Field] {
    use Field::{Bitmap, Bytes8, Bytes16, Fixed, Name, Options, Params, Prefixes, Rest};
    match rtype {
        13 | 20 => &[Bytes8, Bytes8],                                     // HINFO, ISDN
        14 | 17 | 58 => &[Name, Name],                                    // MINFO, RP, TALINK
        18 | 21 | 36 | 107 => &[Fixed(2), Name],                          // AFSDB, RT, KX, LP
        19 | 100 => &[Bytes8],                                            // X25, UINFO
        24 | 46 => &[Fixed(18), Name, Rest],                              // SIG, RRSIG
        25 | 43 | 48 | 57 | 59 | 60 | 32768 | 32769 => &[Fixed(4), Rest], // KEY, DS, DNSKEY, RKEY, CDS, CDNSKEY, TA, DLV
        26 => &[Fixed(2), Name, Name],                                    // PX
        27 => &[Bytes8, Bytes8, Bytes8],                                  // GPOS
        29 => &[Fixed(16)],                                               // LOC
        30 | 47 => &[Name, Bitmap],                                       // NXT, NSEC
        35 => &[Fixed(4), Bytes8, Bytes8, Bytes8, Name],                  // NAPTR
        37 => &[Fixed(5), Rest],                                          // CERT
        OPT => &[Options],
        42 => &[Prefixes],                                    // APL
        44 => &[Fixed(2), Rest],                              // SSHFP
        45 | 52 | 53 => &[Fixed(3), Rest],                    // IPSECKEY, TLSA, SMIMEA
        50 => &[Fixed(4), Bytes8, Bytes8, Bitmap],            // NSEC3
        51 => &[Fixed(4), Bytes8],                            // NSEC3PARAM
        55 | 256 => &[Fixed(4), Rest],                        // HIP, URI
        62 => &[Fixed(6), Bitmap],                            // CSYNC
        63 => &[Fixed(6), Rest],                              // ZONEMD
        64 | 65 => &[Fixed(2), Name, Params],                 // SVCB, HTTPS
        101 | 102 => &[Fixed(4)],                             // UID, GID
        104 | 106 => &[Fixed(10)],                            // NID, L64
        105 | 108 => &[Fixed(6)],                             // L32, EUI48
        109 => &[Fixed(8)],                                   // EUI64
        128 | 255 => &[],                                     // NXNAME, ANY
        249 => &[Name, Fixed(12), Bytes16, Bytes16],          // TKEY
        250 => &[Name, Fixed(8), Bytes16, Fixed(4), Bytes16], // TSIG
        257 => &[Fixed(1), Bytes8, Rest],                     // CAA
        260 => &[Fixed(2), Rest],                             // AMTRELAY
        _ => &[Rest],
    }
}

/// Reads the RDATA of a record. `before` is the message up to the end of this RDATA: where its names may point.
/// `None` when it is not what the type says (miekg/dns refuses the message then). Empty RDATA is right for every type
/// (RFC 2136 section 2.4) and gives an empty [`RData::Other`].
pub(super) fn parse<'a>(rtype: u16, before: &'a [u8], rdata: &'a [u8]) -> Option<RData> {
    if rdata.is_empty() {
        return Some(RData::Other(Vec::new()));
    }
    let mut reader = Reader::new(rdata);
    let data = match rtype {
        1 => RData::A(Ipv4Addr::from(reader.array::<4>()?)),
        28 => RData::Aaaa(Ipv6Addr::from(reader.array::<16>()?)),
        2..=5 | 7..=9 | 12 | 23 | 39 => RData::Name(name(before, &mut reader)?), // NS MD MF CNAME MB MG MR PTR NSAP-PTR DNAME
        6 => RData::Soa(Box::new(soa(before, &mut reader)?)),
        15 => RData::Mx(reader.u16()?, name(before, &mut reader)?),
        16 | 56 | 99 | 258 | 261 => RData::Txt(strings(&mut reader)?), // TXT NINFO SPF AVC RESINFO
        33 => RData::Srv(reader.u16()?, reader.u16()?, reader.u16()?, name(before, &mut reader)?),
        _ => by_layout(layout(rtype), before, &mut reader)?,
    };
    reader.is_empty().then_some(data)
}

/// Codes and data of EDNS options, as far as they can be read.
pub(super) fn options(rdata: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut reader = Reader::new(rdata);
    std::iter::from_fn(move || Some((reader.u16()?, bytes16(&mut reader)?)))
}

fn soa<'a>(before: &'a [u8], reader: &mut Reader<'a>) -> Option<(Name, Name, [u32; 5])> {
    let (primary, mailbox) = (name(before, reader)?, name(before, reader)?);
    let mut numbers = [0; 5];
    for number in &mut numbers {
        *number = reader.u32()?;
    }
    Some((primary, mailbox, numbers))
}

fn strings(reader: &mut Reader<'_>) -> Option<Vec<Vec<u8>>> {
    let mut out = Vec::with_capacity(1);
    while !reader.is_empty() {
        out.push(bytes8(reader)?.to_vec());
    }
    Some(out)
}

fn bytes8<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let len = reader.u8()?;
    reader.take(usize::from(len))
}

fn bytes16<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let len = reader.u16()?;
    reader.take(usize::from(len))
}

/// RDATA of a type without a shape of its own. It may end after any field, as miekg/dns has it.
fn by_layout<'a>(fields: &[Field], before: &'a [u8], reader: &mut Reader<'a>) -> Option<RData> {
    let names = fields.iter().filter(|field| matches!(field, Field::Name)).count();
    let (mut head, mut middle, mut tail) = (Vec::new(), None, Vec::new());
    for field in fields {
        if reader.is_empty() {
            break;
        }
        if matches!(field, Field::Name) && names == 1 {
            middle = Some(name(before, reader)?);
            continue;
        }
        let out = if middle.is_some() { &mut tail } else { &mut head };
        if matches!(field, Field::Name) {
            out.extend_from_slice(name(before, reader)?.wire());
            out.push(0);
            continue;
        }
        let start = *reader;
        pass(*field, reader)?;
        let len = start.len().saturating_sub(reader.len());
        out.extend_from_slice(start.rest().get(..len)?);
    }
    Some(match middle {
        Some(name) => RData::WithName(head, name, tail),
        None => RData::Other(head),
    })
}

/// Checks a field that is no name, and leaves the reader behind it.
fn pass(field: Field, reader: &mut Reader<'_>) -> Option<()> {
    match field {
        Field::Fixed(len) => reader.skip(len),
        Field::Bytes8 => bytes8(reader).map(|_| ()),
        Field::Bytes16 => bytes16(reader).map(|_| ()),
        Field::Bitmap => check_bitmap(reader),
        Field::Params => check_params(reader),
        Field::Prefixes => check_prefixes(reader),
        Field::Options => check_options(reader),
        Field::Rest | Field::Name => reader.skip(reader.len()),
    }
}

/// Blocks of ascending windows, each with 1 to 32 bytes.
fn check_bitmap(reader: &mut Reader<'_>) -> Option<()> {
    let mut last = None;
    while !reader.is_empty() {
        let window = reader.u8()?;
        let block = bytes8(reader)?;
        if last.is_some_and(|last| window <= last) || !(1..=32).contains(&block.len()) {
            return None;
        }
        last = Some(window);
    }
    Some(())
}

/// Ascending keys, each with a value of the right length for the keys that have one.
fn check_params(reader: &mut Reader<'_>) -> Option<()> {
    let mut last = None;
    while !reader.is_empty() {
        let key = reader.u16()?;
        let value = bytes16(reader)?;
        let right = match key {
            0 => value.len().is_multiple_of(2),                      // mandatory
            1 => strings(&mut Reader::new(value)).is_some(),         // alpn
            2 | 8 => value.is_empty(),                               // no-default-alpn, ohttp
            3 => value.len() == 2,                                   // port
            4 => !value.is_empty() && value.len().is_multiple_of(4), // ipv4hint
            6 => {
                let (hints, rest) = value.as_chunks::<16>(); // ipv6hint
                let mapped = |hint: &[u8; 16]| Ipv6Addr::from(*hint).to_ipv4_mapped().is_some();
                !hints.is_empty() && rest.is_empty() && !hints.iter().any(mapped)
            }
            u16::MAX => false,
            _ => true,
        };
        if !right || last.is_some_and(|last| key <= last) {
            return None;
        }
        last = Some(key);
    }
    Some(())
}

/// Families 1 and 2, prefixes and addresses no longer than the family's, no trailing zero byte.
fn check_prefixes(reader: &mut Reader<'_>) -> Option<()> {
    while !reader.is_empty() {
        let bytes = match reader.u16()? {
            1 => 4_u8,
            2 => 16,
            _ => return None,
        };
        let prefix = reader.u8()?;
        let len = reader.u8()? & 0x7F;
        let address = reader.take(usize::from(len))?;
        if prefix > bytes.saturating_mul(8) || len > bytes || address.last() == Some(&0) {
            return None;
        }
    }
    Some(())
}

/// Options that fit, with data of the right length for the options that miekg/dns knows.
fn check_options(reader: &mut Reader<'_>) -> Option<()> {
    while !reader.is_empty() {
        let code = reader.u16()?;
        let data = bytes16(reader)?;
        let right = match code {
            1 => data.len() >= 18,            // LLQ
            2 => matches!(data.len(), 4 | 8), // update lease
            8 => check_subnet(data).is_some(),
            9 => data.is_empty() || data.len() >= 4,            // expire
            11 => matches!(data.len(), 0 | 2),                  // TCP keepalive
            15 | 19 => data.len() >= 2,                         // extended error, zone version
            18 => name(data, &mut Reader::new(data)).is_some(), // report channel
            _ => true,
        };
        right.then_some(())?;
    }
    Some(())
}

/// Client subnet (RFC 7871 section 6): family, source and scope prefix, address of any length.
fn check_subnet(data: &[u8]) -> Option<()> {
    let mut reader = Reader::new(data);
    let (family, source, scope) = (reader.u16()?, reader.u8()?, reader.u8()?);
    let right = match family {
        0 => source == 0,
        1 => source <= 32 && scope <= 32,
        2 => source <= 128 && scope <= 128,
        _ => false,
    };
    right.then_some(())
}
