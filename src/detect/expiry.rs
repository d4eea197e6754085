//! Times of expiry as metadata services write them → RFC 3339, UTC, whole seconds.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

/// Seconds since the epoch as RFC 3339; `None` outside the years 1970 to 9999.
pub fn rfc3339(seconds: i64) -> Option<String> {
    if !(0..=253_402_300_799).contains(&seconds) {
        return None;
    }
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// A point in time: RFC 3339 with or without fraction, seconds or milliseconds since the epoch, or `M/D/YYYY h:mm:ss AM +00:00` (old
/// Azure).
pub fn absolute(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if is_usual(text.as_bytes()) {
        return Some(text.to_owned());
    }
    if let Ok(number) = text.parse::<i64>() {
        return rfc3339(if number > 100_000_000_000 { number / 1000 } else { number });
    }
    from_rfc3339(text).or_else(|| from_azure(text)).and_then(rfc3339)
}

/// Whether a text is already what would be made of it, as most are. Says no rather than yes: to the last days of a month,
/// which it may not have, and to leap seconds.
fn is_usual(text: &[u8]) -> bool {
    let [y, yy, yyy, yyyy, b'-', m, mm, b'-', d, dd, b'T', h, hh, b':', n, nn, b':', s, ss, b'Z'] = text else {
        return false;
    };
    let pair = |high: &u8, low: &u8| {
        let digit = |byte: &u8| Some(byte.wrapping_sub(b'0')).filter(|digit| *digit < 10);
        Some(digit(high)?.wrapping_mul(10).wrapping_add(digit(low)?))
    };
    matches!((pair(y, yy), pair(yyy, yyyy)), (Some(19), Some(70..)) | (Some(20..), Some(_)))
        && matches!((pair(m, mm), pair(d, dd)), (Some(1..=12), Some(1..=28)))
        && matches!((pair(h, hh), pair(n, nn), pair(s, ss)), (Some(..24), Some(..60), Some(..60)))
}

fn from_rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.split('-').map(str::parse::<i64>);
    let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let zone = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at_checked(zone)?;
    Some(seconds(year, month, day, clock)?.saturating_sub(offset(zone)?))
}

fn from_azure(text: &str) -> Option<i64> {
    let mut words = text.split(' ');
    let mut date = words.next()?.split('/').map(str::parse::<i64>);
    let (month, day, year) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let clock = seconds(year, month, day, words.next()?)?;
    let (half, zone) = match words.next() {
        Some(half @ ("AM" | "PM")) => (half, words.next()),
        other => ("", other),
    };
    // 12 AM is midnight, 12 PM is noon
    let noon = clock.rem_euclid(86_400) / 3600 == 12;
    let shift = match half {
        "AM" if noon => -43_200,
        "PM" if !noon => 43_200,
        _ => 0,
    };
    Some(clock.saturating_add(shift).saturating_sub(offset(zone.unwrap_or("Z"))?))
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').or_else(|| rest.split_at_checked(2))?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..24).contains(&hours) && (0..60).contains(&minutes))
        .then(|| hours.saturating_mul(3600).saturating_add(minutes.saturating_mul(60)).saturating_mul(sign))
}

/// Seconds since the epoch of a civil date and `h:mm:ss[.fraction]`.
fn seconds(year: i64, month: i64, day: i64, clock: &str) -> Option<i64> {
    let mut parts = clock.split(':').map(|part| part.split('.').next().unwrap_or_default().parse::<i64>());
    let (hour, minute, second) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let plausible = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    let of_day = hour.saturating_mul(3600).saturating_add(minute.saturating_mul(60)).saturating_add(second);
    plausible.then(|| days(year, month, day).saturating_mul(86_400).saturating_add(of_day))
}

/// Days since the epoch of a date from 1970 on (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
#[allow(clippy::arithmetic_side_effects)] // years 1970 to 9999: far from the limits of i64
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days`], for days from 1970 to 9999.
#[allow(clippy::arithmetic_side_effects)] // as above
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_becomes_one() {
        for (text, want) in [
            ("2026-11-24T09:20:57Z", "2026-11-24T09:20:57Z"),
            ("2026-11-24T09:20:57.123456Z", "2026-11-24T09:20:57Z"),
            ("2026-11-24T09:20:57+08:00", "2026-11-24T01:20:57Z"),
            ("1795576766", "2026-11-25T03:19:26Z"),
            ("1795576766000", "2026-11-25T03:19:26Z"),
            ("9/14/2017 5:08:04 PM +00:00", "2017-09-14T17:08:04Z"),
            ("1/2/2020 12:08:04 AM +00:00", "2020-01-02T00:08:04Z"),
            ("2000-02-29T23:59:59Z", "2000-02-29T23:59:59Z"),
        ] {
            assert_eq!(absolute(text.as_bytes()).as_deref(), Some(want), "{text}");
        }
        for bad in ["", "soon", "2026-13-01T00:00:00Z", "-5", "2026-11-24", "9999999999999999999"] {
            assert_eq!(absolute(bad.as_bytes()), None, "{bad}");
        }
    }

    /// The short way gives what the long way gives.
    #[test]
    fn what_is_usual_stays_as_it_is() {
        use proptest::prelude::*;
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let text = "(19[67][0-9]|20[0-9]{2}|[0-9]{4})-(0[0-9]|1[0-3])-([0-2][0-9]|3[0-2])T([0-2][0-9]):([0-6][0-9]):([0-6][0-9])Z";
        runner
            .run(&text, |text| {
                prop_assert!(!is_usual(text.as_bytes()) || from_rfc3339(&text).and_then(rfc3339) == Some(text));
                Ok(())
            })
            .unwrap();
        assert!(is_usual(b"2026-11-24T09:20:57Z") && !is_usual(b"2026-11-24T09:20:5 Z"));
    }

    #[test]
    fn dates_go_there_and_back() {
        for day in (0..2_932_896).step_by(97) {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), day);
        }
    }
}
