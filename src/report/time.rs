//! Times of events: from their text to nanoseconds since 1970 and back.

use crate::civil::{self, Date};

/// Nanoseconds since 1970-01-01T00:00:00Z.
pub(super) type Nanos = i128;

/// Nanoseconds of a second.
pub(super) const SECOND: Nanos = 1_000_000_000;
/// Nanoseconds of an hour.
pub(super) const HOUR: Nanos = 3600 * SECOND;

/// An RFC 3339 time in UTC of the years from 1970 with up to nine digits of fraction, as events write it; `None` where it
/// is none.
pub(super) fn parse(text: &str) -> Option<Nanos> {
    let (date, rest) = text.split_once('T')?;
    let (clock, fraction) = rest.strip_suffix('Z').map(|rest| rest.split_once('.').unwrap_or((rest, "")))?;
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let sound = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
    if !sound || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: Nanos = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").parse().ok()? };
    let seconds = Date::parse(date)?.days() * civil::DAY + hour * 3600 + minute * 60 + second;
    Some(Nanos::from(seconds) * SECOND + nanos)
}

/// `2026-11-24 03:29:04.977` in UTC.
pub(super) fn show(time: Nanos) -> String {
    let day = Nanos::from(civil::DAY) * SECOND;
    let date = Date::of_days(i64::try_from(time.div_euclid(day)).unwrap_or(i64::MAX));
    let clock = time.rem_euclid(day);
    let (seconds, millis) = (clock / SECOND, clock % SECOND / 1_000_000);
    format!("{date} {:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `2026-11-24 03:00` in UTC.
pub(super) fn show_minute(time: Nanos) -> String {
    show(time).chars().take(16).collect()
}

/// `2026-11-24T03:29:04Z`, as cloud policies write times.
pub(super) fn show_second(time: Nanos) -> String {
    let shown: String = show(time).chars().take(19).collect();
    shown.replace(' ', "T") + "Z"
}

/// How long, in the unit that a person would choose: `850 µs`, `2.1 ms`, `12 s`, `3 h 20 min`.
pub(super) fn span(nanos: Nanos) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.abs();
    let scaled = |unit: Nanos, name: &str| {
        let (whole, tenth) = (nanos / unit, nanos % unit * 10 / unit);
        if whole < 10 && tenth > 0 { format!("{sign}{whole}.{tenth} {name}") } else { format!("{sign}{whole} {name}") }
    };
    let paired = |unit: Nanos, name: &str, part: Nanos, part_name: &str| match nanos % unit / part {
        0 => format!("{sign}{} {name}", nanos / unit),
        rest => format!("{sign}{} {name} {rest} {part_name}", nanos / unit),
    };
    match nanos {
        0 => "0".to_owned(),
        n if n < 1_000_000 => scaled(1000, "µs"),
        n if n < SECOND => scaled(1_000_000, "ms"),
        n if n < 120 * SECOND => scaled(SECOND, "s"),
        n if n < HOUR => paired(60 * SECOND, "min", SECOND, "s"),
        n if n < 48 * HOUR => paired(HOUR, "h", 60 * SECOND, "min"),
        _ => paired(24 * HOUR, "days", HOUR, "h"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown() {
        let time = parse("2026-11-24T03:29:04.979Z").unwrap();
        assert_eq!(time, 1_795_490_944_979_000_000);
        assert_eq!(show(time), "2026-11-24 03:29:04.979");
        assert_eq!(show_second(time), "2026-11-24T03:29:04Z");
        assert_eq!(show(parse("1970-01-01T00:00:00Z").unwrap()), "1970-01-01 00:00:00.000");
        for wrong in [
            "",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-11-24T03:29:04",
            "xT1:2:3Z",
            "2026-11-24T25:00:00Z",
            "2026-01-01T00:00:00.12345678901Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn spans_are_shown_in_a_unit_that_fits() {
        for (nanos, shown) in [
            (0, "0"),
            (850_000, "850 µs"),
            (2_106_000, "2.1 ms"),
            (12 * SECOND, "12 s"),
            (-1_500_000_000, "-1.5 s"),
            (HOUR + 60 * SECOND, "1 h 1 min"),
            (72 * HOUR, "3 days"),
        ] {
            assert_eq!(span(nanos), shown);
        }
    }
}
