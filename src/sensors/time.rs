//! Times as sensors write them.

use crate::packet::Timestamp;

/// ISO 8601 with `Z`, an offset or neither (UTC), a blank for the `T`, any fraction; or seconds, milliseconds,
/// microseconds or nanoseconds since 1970 as a number, told apart by its size.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let bytes = text.as_bytes();
    if bytes.get(4) == Some(&b'-') { calendar(text) } else { number(text) }
}

fn number(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    let per_second: i64 = match whole.unsigned_abs() {
        0..100_000_000_000 => 1,
        100_000_000_000..100_000_000_000_000 => 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000_000,
        _ => 1_000_000_000,
    };
    let nanos_each = Timestamp::SECOND.checked_div(per_second)?;
    let rest = whole.checked_rem(per_second)?.checked_mul(nanos_each)?;
    let nanos = rest.checked_add(nanos(fraction)?.checked_div(per_second)?)?;
    let seconds = whole.checked_div(per_second)?;
    seconds.checked_mul(Timestamp::SECOND)?.checked_add(nanos).map(Timestamp)
}

/// Nanoseconds of the digits after a point.
fn nanos(fraction: &str) -> Option<i64> {
    let digits = fraction.get(..fraction.len().min(9))?;
    if digits.is_empty() {
        return Some(0);
    }
    let scale = 10_i64.checked_pow(9_u32.checked_sub(u32::try_from(digits.len()).ok()?)?)?;
    digits.parse::<u32>().ok().and_then(|number| i64::from(number).checked_mul(scale))
}

fn calendar(text: &str) -> Option<Timestamp> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u32>().ok().map(i64::from);
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19).unwrap_or(0));
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(19..).unwrap_or_default();
    let (fraction, zone) = match rest.strip_prefix(['.', ',']) {
        Some(rest) => rest.split_at_checked(rest.bytes().take_while(u8::is_ascii_digit).count())?,
        None => ("", rest),
    };
    let seconds = days(year, month, day)?
        .checked_mul(86_400)?
        .checked_add(hour.checked_mul(3600)?)?
        .checked_add(minute.checked_mul(60)?)?
        .checked_add(second)?
        .checked_sub(offset(zone.trim())?)?;
    seconds.checked_mul(Timestamp::SECOND)?.checked_add(nanos(fraction)?).map(Timestamp)
}

/// Seconds east of Greenwich: `Z`, `+02:00`, `-0400`, `+02`, or nothing.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first() {
        None | Some(b'Z' | b'z') => return Some(0),
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => return (zone == "UTC").then_some(0),
    };
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let minutes: i64 = digits.get(2..4).map_or(Ok(0), str::parse).ok()?;
    hours.checked_mul(60)?.checked_add(minutes)?.checked_mul(60)?.checked_mul(sign)
}

/// Days since 1970-01-01, counting years from March (H. Hinnant's algorithm).
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let (year, month) =
        if month > 2 { (year, month.checked_sub(3)?) } else { (year.checked_sub(1)?, month.checked_add(9)?) };
    let of_year = month.checked_mul(153)?.checked_add(2)?.checked_div(5)?.checked_add(day)?.checked_sub(1)?;
    let leap = year.checked_div(4)?.checked_sub(year.checked_div(100)?)?.checked_add(year.checked_div(400)?)?;
    year.checked_mul(365)?.checked_add(leap)?.checked_add(of_year)?.checked_sub(719_468)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_sensors() {
        let at = |seconds, nanos| Some(Timestamp::new(seconds, nanos));
        for (text, expected) in [
            ("2018-07-05T15:43:47.690014-0400", at(1_530_819_827, 690_014_000)),
            ("2022-04-04T18:52:00.6007809Z", at(1_649_098_320, 600_780_900)),
            ("2020-10-23 06:36:43.542", at(1_603_435_003, 542_000_000)),
            ("2021-06-09T20:55:13.160328+02:00", at(1_623_264_913, 160_328_000)),
            ("2024-02-29T00:00:00Z", at(1_709_164_800, 0)),
            ("1547188415.857497", at(1_547_188_415, 857_497_000)),
            ("1492753107.096", at(1_492_753_107, 96_000_000)),
            ("1764000000000", at(1_764_000_000, 0)),
            ("1764000000000000000", at(1_764_000_000, 0)),
            ("2026-11-24T10:16:15.000000000Z", at(1_795_515_375, 0)),
            ("yesterday", None),
            ("2026-13-01T00:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
