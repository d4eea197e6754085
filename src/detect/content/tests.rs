//! Tests of content decoding: each encoding, cut and damaged, bounds, archives, UTF-16.

use std::io::Write;

use super::*;

const TEXT: &[u8] = b"{\"k\":\"v\"}";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// One stored meta-block (RFC 7932 section 9.2): window of 16 bits, length, the bytes, an empty last block.
fn brotli(bytes: &[u8]) -> Vec<u8> {
    // bit by bit: WBITS 0; ISLAST 0; MNIBBLES 0 (four); MLEN-1 in 16 bits; ISUNCOMPRESSED 1; padding
    let header = u32::try_from(bytes.len() - 1).unwrap() << 4 | 1 << 20;
    let mut out = header.to_le_bytes()[..3].to_vec();
    out.extend_from_slice(bytes);
    out.push(3);
    out
}

#[test]
fn every_encoding_by_name_and_some_by_their_first_bytes() {
    for (name, bytes) in [
        ("gzip", gzip(TEXT)),
        ("X-GZIP", gzip(TEXT)),
        ("Deflate", zlib(TEXT)),
        ("deflate", deflate(TEXT)),
        ("br", brotli(TEXT)),
        ("zstd", zstd(TEXT)),
        ("br, gzip", gzip(&brotli(TEXT))),
        ("identity", TEXT.to_vec()),
    ] {
        assert_eq!(Content::new(&bytes, Some(name.as_bytes())).bytes(), TEXT, "{name}");
    }
    for bytes in [gzip(TEXT), zstd(TEXT)] {
        assert_eq!(Content::new(&bytes, None).bytes(), TEXT, "its first bytes say it");
        assert_eq!(Content::new(&bytes, Some(b"br")).bytes(), TEXT);
        assert_eq!(decode(Coding::begins(&bytes).unwrap(), &bytes, 100).0.as_slice(), TEXT);
    }
    assert_eq!(Content::new(b"plain", Some(b"br")).bytes(), b"plain");
    assert_eq!(Coding::begins(b"xyz"), None);
}

#[test]
fn what_is_cut_or_damaged_gives_its_beginning() {
    let long: Vec<u8> = (0..20_000u32).flat_map(|n| n.to_string().into_bytes()).collect();
    for (coding, bytes) in [
        (Coding::Gzip, gzip(&long)),
        (Coding::Deflate, zlib(&long)),
        (Coding::Brotli, brotli(&long[..60_000])),
        (Coding::Zstd, zstd::encode_all(&long[..], 1).unwrap()),
    ] {
        let (whole, _) = decode(coding, &bytes, 60_000);
        assert_eq!(whole.as_slice(), &long[..60_000], "{coding:?}");
        let (cut, more) = decode(coding, &bytes[..bytes.len() / 2], 1 << 20);
        assert!(long.starts_with(&cut) && !more, "{coding:?}");
    }
    assert!(!decode(Coding::Gzip, &gzip(&long)[..20_000], 1 << 20).0.is_empty());
}

#[test]
fn bombs_are_cut_at_the_limit_and_at_what_their_length_allows() {
    let zeros = vec![b'a'; 16 << 20];
    for (coding, bytes) in [(Coding::Gzip, gzip(&zeros)), (Coding::Zstd, zstd(&zeros))] {
        let (out, more) = decode(coding, &bytes, 5000);
        assert_eq!((out.len(), more), (5000, true));
        let (out, more) = decode(coding, &bytes, usize::MAX);
        assert!(more && out.len() == allowance(bytes.len()).min(zeros.len()), "{coding:?} {}", out.len());
    }
    assert_eq!(Content::new(&gzip(&zeros), Some(b"gzip")).bytes().len(), MAX_DECODED);
}

/// A local file header and the file; with `later`, the sizes follow it.
fn member(name: &str, method: u16, packed: &[u8], later: bool) -> Vec<u8> {
    let mut out = b"PK\x03\x04\x14\0".to_vec();
    out.extend_from_slice(&(if later { 8u16 } else { 0 }).to_le_bytes());
    out.extend_from_slice(&method.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    let size = if later { 0 } else { packed.len() as u32 };
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(packed);
    if later {
        out.extend_from_slice(b"PK\x07\x08");
        out.extend_from_slice(&[9; 12]);
    }
    out
}

fn listed(archive: &[u8], limit: usize) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    let mut visit = |name: &[u8], file: &[u8]| out.push((String::from_utf8_lossy(name).into_owned(), file.to_vec()));
    archive::entries(archive, &Cell::new(limit), &mut visit);
    out
}

#[test]
fn archives_give_each_file_as_far_as_they_go() {
    for later in [false, true] {
        let archive = [
            member("a.xml", 8, &deflate(TEXT), later),
            member("b.txt", 0, b"stored PK text", later),
            member("c", 93, &zstd(TEXT), false),
            b"PK\x01\x02directory".to_vec(),
        ]
        .concat();
        let all = listed(&archive, 1 << 20);
        let want = [("a.xml", TEXT), ("b.txt", b"stored PK text"), ("c", TEXT)];
        assert_eq!(all, want.map(|(name, file)| (name.to_owned(), file.to_vec())), "{later}");
        for cut in 0..archive.len() {
            let some = listed(&archive[..cut], 1 << 20);
            // where the size is not known, the beginning of what follows may be taken for the file's
            let fits = |some: &[u8], all: &[u8]| all.starts_with(some) || some.starts_with(all);
            assert!(some.len() <= 3 && some.iter().zip(&all).all(|(some, all)| fits(&some.1, &all.1)), "{cut}");
        }
        assert_eq!(listed(&archive, 12).iter().map(|(_, file)| file.len()).sum::<usize>(), 12);
    }
    let mut found = Vec::new();
    documents(&gzip(&member("u", 0, b"\xFF\xFEh\0i\0", false)), Some(b"gzip"), 100, &mut |d| found.push(d.to_vec()));
    assert_eq!(found, [b"hi"]);
}

#[test]
fn utf16_is_known_by_its_mark_or_by_its_zeros() {
    let text = "{\"url\":\"http://é/\"}";
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [&big, &little, &[&[0xFE, 0xFF], &big[..]].concat(), &[&[0xFF, 0xFE], &little[..]].concat()] {
        assert_eq!(&*utf8(bytes), text.as_bytes());
    }
    for other in [&b"plain text of ASCII"[..], b"", b"\0\0\0\0\0\0\0\0\0\0", b"a\0", &[0x80; 40]] {
        assert!(utf16(other).is_none() && &*utf8(other) == other);
    }
}

#[test]
fn no_bytes_break_it() {
    use proptest::prelude::*;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let base = [member("a", 8, &deflate(&[b'x'; 300]), true), gzip(TEXT), zstd(TEXT), brotli(TEXT)];
    let strategy = (0..4usize, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6));
    let check = |(which, changes): (usize, Vec<(prop::sample::Index, u8)>)| {
        let mut bytes = base[which].clone();
        changes.into_iter().for_each(|(at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        });
        let mut total = 0;
        archive::entries(&bytes, &Cell::new(1 << 16), &mut |_, file| total += file.len());
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
            total += decode(coding, &bytes, 1 << 16).0.len();
        }
        prop_assert!(total <= 5 << 16);
        Ok(())
    };
    runner.run(&strategy, check).unwrap();
}
