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
    }
}
