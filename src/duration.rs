//! Durations as people and Packetbeat write them: `500ms`, `30s`, `10m`, `1h30m`, `2d`, `-1s`, or a bare number of seconds.

use serde::{Deserialize, Deserializer, de};

/// A length of packet time in nanoseconds; negative values mean "never" or "only at the end" where a setting says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub i64);

impl Span {
    /// From whole seconds, saturating.
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// From text.
    ///
    /// # Errors
    /// A sentence that names what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no duration; write it like 500ms, 30s, 10m, 1h or 2d");
        let (sign, mut rest) = match text.trim().strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.trim()),
        };
        if rest.is_empty() {
            return Err(wrong());
        }
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let number: i64 = number.parse().map_err(|_| wrong())?;
            let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            let nanos = match unit {
                "ns" => 1,
                "us" | "µs" => 1_000,
                "ms" => 1_000_000,
                "s" | "" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                "d" => 86_400_000_000_000,
                _ => return Err(wrong()),
            };
            total = number.checked_mul(nanos).and_then(|n| total.checked_add(n)).ok_or_else(wrong)?;
            rest = tail;
        }
        Ok(Self(sign * total))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Seconds(i64),
        }
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Self::parse(&text).map_err(de::Error::custom),
            Form::Seconds(seconds) => Ok(Self::seconds(seconds)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_packetbeat_users_write() {
        assert_eq!(Span::parse("30s"), Ok(Span::seconds(30)));
        assert_eq!(Span::parse("-1s"), Ok(Span::seconds(-1)));
        assert_eq!(Span::parse("1h30m"), Ok(Span::seconds(5400)));
        assert_eq!(Span::parse("250ms"), Ok(Span(250_000_000)));
        assert_eq!(Span::parse("15"), Ok(Span::seconds(15)));
        for bad in ["", "-", "s", "10x", "99999999999999h"] {
            assert!(Span::parse(bad).is_err(), "{bad}");
        }
    }
}
