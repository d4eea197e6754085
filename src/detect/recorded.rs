//! Header fields that are recorded of an exchange, in little memory: there are some of every one.

use crate::bytes::lossy;

/// Most bytes of a value that are kept.
const MAX_VALUE: usize = 256;
/// Fields of the usual exchange.
const USUAL: usize = 4;

/// Names and values in order, in one piece of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    text: String,
    /// Where each name and each value ends in `text`, in turn.
    ends: Vec<u32>,
}

impl Recorded {
    /// Of all these fields.
    pub fn new<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone) -> Self {
        Self::ascii(fields.clone()).unwrap_or_else(|| {
            let mut out = Self::default();
            fields.for_each(|(name, value)| out.push(name, value));
            out
        })
    }

    /// Of fields that are short and ASCII, as nearly all are: then one check is enough for the whole text.
    fn ascii<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> Option<Self> {
        let mut text = Vec::with_capacity(USUAL * 48);
        let mut ends = Vec::with_capacity(USUAL * 2);
        for (name, value) in fields {
            let name_at = text.len();
            text.extend_from_slice(name);
            text.get_mut(name_at..).into_iter().for_each(<[u8]>::make_ascii_lowercase);
            ends.push(text.len() as u32);
            text.extend_from_slice(value);
            ends.push(text.len() as u32);
            if value.len() > MAX_VALUE {
                return None;
            }
        }
        let text = String::from_utf8(text).ok().filter(|text| text.is_ascii())?;
        Some(Self { text, ends })
    }

    /// Adds a field: its name in lower case, at most [`MAX_VALUE`] bytes of its value; what is no UTF-8 is replaced.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        if self.ends.is_empty() {
            self.text.reserve(USUAL * 32);
            self.ends.reserve(USUAL * 2);
        }
        let name_at = self.text.len();
        self.text.push_str(&lossy(name));
        self.text.get_mut(name_at..).into_iter().for_each(str::make_ascii_lowercase);
        self.ends.push(self.text.len() as u32);
        let value = lossy(value);
        self.text.push_str(value.get(..value.floor_char_boundary(MAX_VALUE)).unwrap_or_default());
        self.ends.push(self.text.len() as u32);
    }

    /// Names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        let mut next = move |end: u32| {
            let from = std::mem::replace(&mut start, end as usize);
            self.text.get(from..end as usize).unwrap_or_default()
        };
        self.ends.chunks_exact(2).map(move |ends| match ends {
            [name, value] => (next(*name), next(*value)),
            _ => ("", ""),
        })
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.ends.len() / 2
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_in_order_and_within_bounds() {
        let mut fields = Recorded::default();
        assert!(fields.is_empty() && fields.iter().next().is_none());
        fields.push(b"Host", b"h");
        fields.push(b"X-\xFF", "é".repeat(200).as_bytes());
        fields.push(b"Empty", b"");
        let all: Vec<_> = fields.iter().collect();
        let long = "é".repeat(MAX_VALUE / 2);
        assert_eq!(all, [("host", "h"), ("x-\u{FFFD}", long.as_str()), ("empty", "")]);
        assert_eq!(fields.len(), 3);
        let value = "é".repeat(200);
        let all = [(&b"Host"[..], &b"h"[..]), (b"X-\xFF", value.as_bytes()), (b"Empty", b"")];
        assert_eq!(Recorded::new(all.into_iter()), fields);
        let ascii = Recorded::new(all.into_iter().step_by(2));
        assert_eq!(ascii.iter().collect::<Vec<_>>(), [("host", "h"), ("empty", "")]);
        assert_eq!(
            Recorded::new([(&b"A"[..], &[b'x'; 300][..])].into_iter()).iter().next().map(|f| f.1.len()),
            Some(256)
        );
    }
}
