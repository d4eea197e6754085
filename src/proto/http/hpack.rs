//! HPACK, the header compression of HTTP/2 (RFC 7541): one decoder per direction.
//!
//! In: header blocks in the order they were sent. Out: names and values. Unlike a receiver's decoder this one survives
//! loss: indices count from the newest entry, so after [`Decoder::forget`] what was inserted since is still right, and
//! references to older entries are left out, never guessed. Bounds: [`MAX_TABLE`] bytes of dynamic table; the caller
//! bounds the block and what it keeps of the output. (`fluke-hpack` panics on a damaged size update and rebuilds its
//! Huffman table for every string; tests compare with it.)
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::collections::VecDeque;
use std::sync::LazyLock;

use crate::bytes::Reader;

/// Largest dynamic table kept, in bytes as RFC 7541 section 4.1 counts them. A peer that uses more loses old entries.
const MAX_TABLE: usize = 64 * 1024;
/// Size before any update (SETTINGS_HEADER_TABLE_SIZE).
const DEFAULT_TABLE: usize = 4096;
/// What an entry counts beyond its bytes.
const ENTRY_OVERHEAD: usize = 32;

/// A header block that breaks the format; the table cannot be trusted any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// An entry of the dynamic table; a name that was lost is empty.
struct Entry {
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Entry {
    fn size(&self) -> usize {
        self.name.len().saturating_add(self.value.len()).saturating_add(ENTRY_OVERHEAD)
    }
}

/// Decompression state of one direction.
pub(super) struct Decoder {
    /// Newest first.
    table: VecDeque<Entry>,
    size: usize,
    max: usize,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { table: VecDeque::new(), size: 0, max: DEFAULT_TABLE }
    }

    /// Blocks were lost: entries from before are not referred to any more.
    pub(super) fn forget(&mut self) {
        self.table.clear();
        self.size = 0;
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.size
    }

    /// Decodes one whole header block. `field` gets each name and value; `Ok(false)` if some were not known.
    pub(super) fn decode(&mut self, block: &[u8], mut field: impl FnMut(&[u8], &[u8])) -> Result<bool, Malformed> {
        let mut rest = Reader::new(block);
        let mut whole = true;
        while let Some(&kind) = rest.rest().first() {
            if kind & 0x80 != 0 {
                match self.entry(integer(&mut rest, 7)?) {
                    Some((name, value)) => field(name, value),
                    None => whole = false,
                }
            } else if kind & 0xe0 == 0x20 {
                self.max = integer(&mut rest, 5)?.min(MAX_TABLE);
                self.evict();
            } else {
                let indexed = kind & 0x40 != 0;
                let name = match integer(&mut rest, if indexed { 6 } else { 4 })? {
                    0 => string(&mut rest)?,
                    index => self.entry(index).map(|(name, _)| name.to_vec()).unwrap_or_default(),
                };
                let value = string(&mut rest)?;
                if name.is_empty() {
                    whole = false;
                } else {
                    field(&name, &value);
                }
                if indexed {
                    self.insert(Entry { name, value });
                }
            }
        }
        Ok(whole)
    }

    /// Entry of the static and dynamic table (RFC 7541 section 2.3.3), if it is known.
    fn entry(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let at = index.checked_sub(1)?;
        match STATIC.get(at) {
            Some((name, value)) => Some((name.as_bytes(), value.as_bytes())),
            None => {
                let entry = self.table.get(at.checked_sub(STATIC.len())?).filter(|entry| !entry.name.is_empty())?;
                Some((&entry.name, &entry.value))
            }
        }
    }

    fn insert(&mut self, entry: Entry) {
        self.size = self.size.saturating_add(entry.size());
        self.table.push_front(entry);
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.max {
            let Some(oldest) = self.table.pop_back() else { return };
            self.size = self.size.saturating_sub(oldest.size());
        }
    }
}

/// An integer with a prefix of `bits` bits (RFC 7541 section 5.1), at most five further bytes.
fn integer(rest: &mut Reader<'_>, bits: u32) -> Result<usize, Malformed> {
    let mask = 0xff_u8.checked_shr(8_u32.saturating_sub(bits)).unwrap_or_default();
    let first = rest.u8().ok_or(Malformed)? & mask;
    let mut value = u64::from(first);
    if first == mask {
        for shift in [0, 7, 14, 21, 28] {
            let byte = rest.u8().ok_or(Malformed)?;
            value = value.saturating_add(u64::from(byte & 0x7f) << shift);
            if byte & 0x80 == 0 {
                return usize::try_from(value).map_err(|_| Malformed);
            }
        }
        return Err(Malformed);
    }
    usize::try_from(value).map_err(|_| Malformed)
}

/// A string literal (RFC 7541 section 5.2).
fn string(rest: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    let huffman = rest.rest().first().is_some_and(|byte| byte & 0x80 != 0);
    let len = integer(rest, 7)?;
    let bytes = rest.take(len).ok_or(Malformed)?;
    if huffman { HUFFMAN.decode(bytes) } else { Ok(bytes.to_vec()) }
}

/// Codes of one length: canonical, so consecutive.
struct Length {
    bits: u32,
    /// First code after those of this length, as the top bits of 32.
    limit: u64,
    /// First code, as the top bits of 32.
    first: u64,
    /// Place of the first code's symbol in `Huffman::symbols`.
    at: usize,
}

/// The Huffman code of RFC 7541 appendix B. It is canonical: the lengths alone determine it.
struct Huffman {
    lengths: Vec<Length>,
    symbols: Vec<u8>,
}

static HUFFMAN: LazyLock<Huffman> = LazyLock::new(Huffman::new);

impl Huffman {
    fn new() -> Self {
        let mut lengths = Vec::new();
        let mut symbols = Vec::new();
        let mut next = 0_u64;
        for bits in 5..=30_u32 {
            let at = symbols.len();
            symbols.extend((0..=u8::MAX).zip(CODE_LENGTHS).filter(|(_, len)| u32::from(*len) == bits).map(|(s, _)| s));
            let count = symbols.len().saturating_sub(at) as u64;
            let first = next;
            next = next.saturating_add(count << 32_u32.saturating_sub(bits));
            if count > 0 {
                lengths.push(Length { bits, limit: next, first, at });
            }
        }
        Self { lengths, symbols }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::with_capacity(bytes.len().saturating_mul(8) / 5);
        // the bits not decoded yet are the lowest `count` of `bits`; never more than 37
        let (mut bits, mut count) = (0_u64, 0_u32);
        for byte in bytes {
            bits = (bits << 8) | u64::from(*byte);
            count = count.saturating_add(8);
            while count > 0 {
                let window = (bits << 64_u32.saturating_sub(count)) >> 32;
                // beyond every limit lies only EOS, which must not be sent
                let length = self.lengths.iter().find(|length| window < length.limit).ok_or(Malformed)?;
                if length.bits > count {
                    break;
                }
                let nth = window.saturating_sub(length.first) >> 32_u32.saturating_sub(length.bits);
                let symbol = self.symbols.get(length.at.saturating_add(nth as usize)).ok_or(Malformed)?;
                out.push(*symbol);
                count = count.saturating_sub(length.bits);
                bits &= (1_u64 << count).saturating_sub(1);
            }
        }
        // padding: fewer than eight bits, all ones
        if count < 8 && bits == (1_u64 << count).saturating_sub(1) { Ok(out) } else { Err(Malformed) }
    }
}

/// Length in bits of the code of each byte.
const CODE_LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
];

/// RFC 7541 appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::fixed_seed;
    use super::*;

    type Fields = Vec<(Vec<u8>, Vec<u8>)>;

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<(Fields, bool), Malformed> {
        let mut fields = Vec::new();
        let whole = decoder.decode(block, |name, value| fields.push((name.to_vec(), value.to_vec())))?;
        Ok((fields, whole))
    }

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn the_examples_of_the_rfc_come_out() {
        // RFC 7541 C.4.1 to C.4.3: three requests with Huffman coding
        let mut decoder = Decoder::new();
        let blocks: [&[u8]; 3] = [
            b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
            b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
            b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
        ];
        let got: Vec<_> = blocks.iter().map(|block| decode(&mut decoder, block).unwrap().0).collect();
        let start = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
        assert_eq!(got[0], fields(&start));
        assert_eq!(got[1], fields(&[&start[..], &[("cache-control", "no-cache")]].concat()));
        let last =
            [(":method", "GET"), (":scheme", "https"), (":path", "/index.html"), (":authority", "www.example.com")];
        assert_eq!(got[2], fields(&[&last[..], &[("custom-key", "custom-value")]].concat()));
        assert_eq!(decoder.size, 164);
    }

    #[test]
    fn after_loss_what_is_new_is_right_and_what_is_old_left_out() {
        let mut decoder = Decoder::new();
        decode(&mut decoder, b"\x40\x01a\x01b").unwrap();
        decoder.forget();
        // a new entry; the old one is now the second, and its name is used for a third
        assert_eq!(
            decode(&mut decoder, b"\x40\x01c\x01d\xbe\xbf\x7f\x00\x01e"),
            Ok((fields(&[("c", "d"), ("c", "d")]), false))
        );
        assert_eq!(decode(&mut decoder, b"\xbf\xbe"), Ok((fields(&[("c", "d")]), false)));
    }

    #[test]
    fn a_size_update_evicts_and_a_huge_one_is_bounded() {
        let mut decoder = Decoder::new();
        decode(&mut decoder, b"\x40\x01a\x01b\x20").unwrap();
        assert_eq!((decoder.size, decoder.table.len()), (0, 0));
        decode(&mut decoder, b"\x3f\xff\xff\xff\x7f").unwrap();
        for _ in 0..5000 {
            decode(&mut decoder, b"\x40\x01a\x01b").unwrap();
        }
        assert!(decoder.size <= MAX_TABLE);
    }

    #[test]
    fn damaged_blocks_are_refused() {
        for block in [
            &b"\x3f"[..],
            b"\xff\xff\xff\xff\xff\xff\xff",
            b"\x40\x05ab",
            b"\x40\x81\x00",
            b"\x40\x84\xff\xff\xff\xff",
            b"\x00\x01a",
        ] {
            assert_eq!(decode(&mut Decoder::new(), block), Err(Malformed), "{block:?}");
        }
    }

    #[test]
    fn references_are_followed_however_much_they_stand_for() {
        let large = [&b"\x40\x01a\x7f\xa1\x1e"[..], &[b'x'; 4000]].concat();
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, &large).unwrap().0.len(), 1);
        assert_eq!(decode(&mut decoder, &[0xbe; 60]).unwrap().0.len(), 60);
        assert_eq!(decode(&mut decoder, &[0xbe; 70]).unwrap().0.len(), 70, "what is kept of it is up to the caller");
    }

    proptest! {
        #![proptest_config(fixed_seed())]

        #[test]
        fn it_agrees_with_another_implementation(list in prop::collection::vec(("[a-z-]{1,12}", ".{0,20}"), 0..8), again in 1..4) {
            let mut encoder = fluke_hpack::Encoder::new();
            let mut decoder = Decoder::new();
            for _ in 0..again {
                let pairs: Vec<(&[u8], &[u8])> = list.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
                let block = encoder.encode(pairs);
                let expected = list.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect::<Fields>();
                prop_assert_eq!(decode(&mut decoder, &block), Ok((expected, true)));
            }
        }

        #[test]
        fn huffman_agrees_with_another_implementation(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let theirs = fluke_hpack::huffman::HuffmanDecoder::new().decode(&bytes).ok();
            prop_assert_eq!(HUFFMAN.decode(&bytes).ok(), theirs);
        }
    }
}
