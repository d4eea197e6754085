//! Times of expiry as metadata services write them → RFC 3339, UTC, whole seconds.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use crate::civil::{DAY, Date};

/// Seconds since the epoch as RFC 3339; `None` outside the years 1970 to 9999.
pub fn rfc3339(seconds: i64) -> Option<String> {
    if !(0..=253_402_300_799).contains(&seconds) {
        return None;
    }
    let (date, second) = (Date::of_days(seconds.div_euclid(DAY)), seconds.rem_euclid(DAY));
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{date}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// A point in time: seconds or milliseconds since the epoch, or a date (`YYYY-MM-DD`, `M/D/YYYY`), a time of 24 or 12 hours
/// with or without fraction, and perhaps a zone: RFC 3339, and what old Azure writes.
pub fn absolute(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if let Ok(number) = text.parse::<i64>() {
        return rfc3339(if number > 100_000_000_000 { number / 1000 } else { number });
    }
    from_text(text).and_then(rfc3339)
}

fn from_text(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let days = Date::parse(date).or_else(|| american(date))?.days();
    let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.')).unwrap_or(rest.len());
    let (clock, rest) = rest.split_at_checked(end)?;
    let (half, zone) = half(rest.trim_start());
    let of_day = of_day(clock, half)?;
    Some(days.saturating_mul(DAY).saturating_add(of_day).saturating_sub(offset(zone.trim())?))
}

/// `M/D/YYYY`.
fn american(date: &str) -> Option<Date> {
    let mut parts = date.split('/').map(|part| part.parse::<i64>().ok());
    let (month, day, year) = (parts.next()??, parts.next()??, parts.next()??);
    Date::new(year, month, day).filter(|_| parts.next().is_none())
}

/// Which half of the day, if the clock has 12 hours, and what follows.
fn half(text: &str) -> (Option<Half>, &str) {
    let begins = |word: &str| text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
    let after = |word: &str| text.get(word.len()..).unwrap_or_default();
    let halves = [("AM", Half::Morning), ("A.M.", Half::Morning), ("PM", Half::Afternoon), ("P.M.", Half::Afternoon)];
    let found = halves.into_iter().find(|(word, _)| begins(word));
    found.map_or((None, text), |(word, half)| (Some(half), after(word)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Morning,
    Afternoon,
}

/// Seconds of the day of `h:mm[:ss[.fraction]]`. With 12 hours, 12 AM is midnight and 12 PM is noon.
fn of_day(clock: &str, half: Option<Half>) -> Option<i64> {
    let mut parts = clock.split(':').map(|part| part.split('.').next().unwrap_or_default().parse::<i64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
    let hour = match half {
        None => Some(hour).filter(|hour| (0..24).contains(hour)),
        Some(half) => Some(hour).filter(|hour| (1..=12).contains(hour)).map(|hour| {
            let noon = if half == Half::Afternoon { 12 } else { 0 };
            (hour % 12).saturating_add(noon)
        }),
    }?;
    let fits = (0..60).contains(&minute) && (0..=60).contains(&second) && parts.next().is_none();
    fits.then(|| hour.saturating_mul(3600).saturating_add(minute.saturating_mul(60)).saturating_add(second))
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z" | "UTC" | "GMT") {
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
            ("9/14/2017 12:08:04 PM +00:00", "2017-09-14T12:08:04Z"),
            ("11/24/2026 11:30:00 pm", "2026-11-24T23:30:00Z"),
            ("11/24/2026 1:30 p.m. +0100", "2026-11-24T12:30:00Z"),
            ("2026-11-24 02:20:57 PM", "2026-11-24T14:20:57Z"),
            ("2026-11-24 12:20:57AM UTC", "2026-11-24T00:20:57Z"),
            ("2026-11-24 09:20:57.5 +08:00", "2026-11-24T01:20:57Z"),
        ] {
            assert_eq!(absolute(text.as_bytes()).as_deref(), Some(want), "{text}");
        }
        for bad in [
            "2026-02-31T00:00:00Z",
            "2/31/2026 1:00:00 AM",
            "11/24/2026 13:00:00 PM",
            "11/24/2026 0:10:00 AM",
            "2026-11-24T24:00:00Z",
            "2026-11-24T09:20:57 noon",
            "",
            "soon",
            "2026-13-01T00:00:00Z",
            "-5",
            "2026-11-24",
            "9999999999999999999",
        ] {
            assert_eq!(absolute(bad.as_bytes()), None, "{bad}");
        }
    }
}
