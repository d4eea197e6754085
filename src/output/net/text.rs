//! Small matters of text that several protocols share.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// What a receiver said, fit for a message: one line, no control characters, at most `most` characters.
pub fn plain(text: &str, most: usize) -> String {
    let line: String = text.chars().map(|c| if is_unprintable(c) { ' ' } else { c }).take(most).collect();
    line.trim().to_owned()
}

/// Control characters, and those that turn the direction of text.
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The longest beginning of a text of at most `most` bytes that ends between two characters.
pub fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Nanoseconds since the epoch of `YYYY-MM-DDTHH:MM:SS[.fraction]Z`, as `@timestamp` is written.
pub fn nanoseconds(time: &str) -> Option<i64> {
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut clock = clock.split(':').map(str::parse::<i64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    let in_range = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && fraction.len() <= 9;
    let fraction: i64 = if in_range { format!("{fraction:0<9}").parse().ok()? } else { return None };
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// Days since the epoch (Howard Hinnant, `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// A text as a JSON string, with its quotes.
pub fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        assert_eq!(nanoseconds("1970-01-02T00:00:01.5Z"), Some(86_401_500_000_000));
        assert_eq!(nanoseconds("2026-11-24T03:29:04.978Z"), Some(1_795_490_944_978_000_000));
        assert_eq!(nanoseconds("1969-12-31T23:59:59Z"), Some(-1_000_000_000));
        for odd in ["", "2026-11-24", "2026-13-01T00:00:00Z", "2026-11-24T03:29:04.0000000001Z", "9999-01-01T00:00:00Z"]
        {
            assert_eq!(nanoseconds(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_receivers_say_is_one_plain_line() {
        assert_eq!(plain("a\x1b[31m\nb\u{202e}c", 100), "a [31m b c");
        assert_eq!(plain("äöü", 2), "äö");
        assert_eq!(cut("aä", 2), "a");
    }
}
