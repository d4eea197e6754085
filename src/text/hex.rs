//! Hexadecimal digits.

/// Digits by value, in lower case.
const LOWER: &[u8; 16] = b"0123456789abcdef";
/// The same in upper case.
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// Value of a digit, in either case.
pub const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(byte.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}

/// The byte that two digits stand for.
pub fn pair(high: u8, low: u8) -> Option<u8> {
    Some(digit(high)? << 4 | digit(low)?)
}

/// Both digits of a byte, in lower case.
pub fn lower(byte: u8) -> [u8; 2] {
    digits(byte, LOWER)
}

/// Both digits of a byte, in upper case.
pub fn upper(byte: u8) -> [u8; 2] {
    digits(byte, UPPER)
}

#[allow(clippy::indexing_slicing, reason = "there is a digit for each of 16 values")]
fn digits(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]
}

/// The bytes that digits stand for; `None` where one is no digit, or half a byte is left.
pub fn decode(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| pair(*high, *low)).collect())?
}

/// All digits of some bytes, in lower case.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| lower(*byte)).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_there_and_back() {
        for byte in 0..=u8::MAX {
            for [high, low] in [lower(byte), upper(byte)] {
                assert_eq!(pair(high, low), Some(byte));
            }
            assert_eq!(digit(byte), char::from(byte).to_digit(16).map(|digit| digit as u8));
        }
        assert_eq!((encode(&[0, 0xAB, 0xF0]).as_str(), upper(0xAB)), ("00abf0", *b"AB"));
        assert_eq!(decode(b"00abF0"), Some(vec![0, 0xAB, 0xF0]));
        assert_eq!((decode(b""), decode(b"0"), decode(b"0g")), (Some(Vec::new()), None, None));
    }
}
