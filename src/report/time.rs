//! Times of events: from their text to nanoseconds since 1970 and back.

/// Nanoseconds since 1970-01-01T00:00:00Z.
pub(super) type Nanos = i128;

/// Nanoseconds of a second.
pub(super) const SECOND: Nanos = 1_000_000_000;
/// Nanoseconds of an hour.
pub(super) const HOUR: Nanos = 3600 * SECOND;

/// An RFC 3339 time in UTC with up to nine digits of fraction, as events write it; `None` where it is none.
pub(super) fn parse(text: &str) -> Option<Nanos> {
    let (date, rest) = text.split_once('T')?;
    let rest = rest.strip_suffix('Z')?;
    let (clock, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let sound = (0..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !sound || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: i128 = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").parse().ok()? };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(i128::from(seconds) * SECOND + nanos)
}

/// `2026-11-24 03:29:04.977` in UTC.
pub(super) fn show(time: Nanos) -> String {
    let (date, clock) = (show_date(time), time.rem_euclid(86_400 * SECOND));
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

fn show_date(time: Nanos) -> String {
    let days = i64::try_from(time.div_euclid(86_400 * SECOND)).unwrap_or_default();
    // Howard Hinnant, chrono-compatible low-level date algorithms: civil_from_days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    // days_from_civil of the same.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
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
