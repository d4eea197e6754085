//! One cursor over untrusted bytes. Every read is checked; a failed read leaves the cursor where it was.

use std::borrow::Cow;

/// `bytes` as text, what is no UTF-8 replaced. Same as [`String::from_utf8_lossy`], but as fast as validation where
/// nothing has to be replaced.
pub fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Where `needle` begins in `bytes`: for short needles with a rare first byte, since no searcher is built for it.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle.first()?;
    memchr::memchr_iter(*first, bytes).find(|at| bytes.get(*at..).is_some_and(|rest| rest.starts_with(needle)))
}

/// A table with a value for each byte, worked out by the compiler: `byte_table!(byte => value)`.
macro_rules! byte_table {
    ($byte:ident => $value:expr) => {{
        let mut table = [{
            let $byte = 0u8;
            $value
        }; 256];
        let mut at = 1;
        while at < table.len() {
            let $byte = at as u8;
            table[at] = $value;
            at += 1;
        }
        table
    }};
}
pub(crate) use byte_table;

/// A slice and a position in it. Integers are big-endian unless the name says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// All bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Number of bytes not read yet.
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes, or `None` if there are fewer.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(n)?;
        self.rest = tail;
        Some(head)
    }

    /// The next `n` bytes as a cursor of their own, so that an inner parse cannot read past them.
    pub fn sub(&mut self, n: usize) -> Option<Self> {
        self.take(n).map(Self::new)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>()?;
        self.rest = tail;
        Some(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    /// Big-endian 16 bits.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Big-endian 24 bits.
    pub fn u24(&mut self) -> Option<u32> {
        self.array::<3>().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Big-endian 32 bits.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Big-endian 64 bits.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Moves past `n` bytes.
    pub fn skip(&mut self, n: usize) -> Option<()> {
        self.take(n).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_needles_are_found_where_they_first_stand() {
        assert_eq!(find(b"a/b//c//", b"//"), Some(3));
        assert_eq!((find(b"a/", b"//"), find(b"", b"//"), find(b"a", b"")), (None, None, None));
    }

    #[test]
    fn reads_in_order_and_a_short_read_changes_nothing() {
        let mut r = Reader::new(&[1, 0, 2, 0, 0, 0, 3, 9]);
        assert_eq!(r.u8(), Some(1));
        assert_eq!(r.u16(), Some(2));
        assert_eq!(r.u32(), Some(3));
        assert_eq!(r.u16(), None);
        assert_eq!(r.rest(), &[9]);
        assert_eq!(r.sub(1).and_then(|mut s| s.u8()), Some(9));
        assert!(r.is_empty());
    }
}
