//! The civil calendar (proleptic Gregorian, UTC): dates and days since 1970-01-01, one from the other.
//!
//! Algorithms: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms". A date that does not exist, as February 31,
//! cannot be made.

use std::fmt;

use crate::packet::Timestamp;

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// A date of the years 1970 to 9999, if there is such a day.
    pub fn new(year: i64, month: i64, day: i64) -> Option<Self> {
        let year = u16::try_from(year).ok().filter(|year| (1970..=9999).contains(year))?;
        let month = u8::try_from(month).ok().filter(|month| (1..=12).contains(month))?;
        let day = u8::try_from(day).ok().filter(|day| (1..=days_in(year, month)).contains(day))?;
        Some(Self { year, month, day })
    }

    /// `YYYY-MM-DD`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-').map(|part| part.parse::<i64>().ok());
        Self::new(parts.next()??, parts.next()??, parts.next()??)
    }

    /// The date of a day number since 1970-01-01: of the years 0 to 9999, beyond them the nearest.
    #[allow(clippy::arithmetic_side_effects, reason = "the day number is clamped to ten thousand years")]
    pub fn of_days(days: i64) -> Self {
        let shifted = (days.clamp(-719_468, 2_932_896) + 719_468) as u32; // days since 0000-03-01
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march = (5 * of_year + 2) / 153; // month counted from March
        let day = of_year - (153 * march + 2) / 5 + 1;
        let month = if march < 10 { march + 3 } else { march - 9 };
        let year = year_of_era + era * 400 + u32::from(month <= 2);
        Self { year: year as u16, month: month as u8, day: day as u8 }
    }

    /// Its day number since 1970-01-01.
    #[allow(clippy::arithmetic_side_effects, reason = "a date has at most five digits of years")]
    pub fn days(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.year) - i64::from(month <= 2);
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }

    /// Year, month and day.
    pub fn parts(self) -> (u32, u32, u32) {
        (self.year.into(), self.month.into(), self.day.into())
    }

    /// Its first moment.
    pub fn start(self) -> Timestamp {
        Timestamp::new(self.days().saturating_mul(DAY), 0)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

fn days_in(year: u16, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for good in ["2024-02-29", "2000-02-29", "2026-12-31", "2026-04-30", "9999-12-31", "1970-01-01"] {
            assert_eq!(Date::parse(good).map(|date| date.to_string()).as_deref(), Some(good));
        }
        for bad in [
            "2026-02-31",
            "2026-02-29",
            "2100-02-29",
            "2026-04-31",
            "2026-13-01",
            "2026-00-10",
            "2026-01-00",
            "1969-12-31",
            "2026-01",
            "2026-01-01-01",
            "soon",
            "",
        ] {
            assert_eq!(Date::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_go_there_and_back() {
        for day in (0..2_932_896).step_by(97) {
            let date = Date::of_days(day);
            assert_eq!(date.days(), day);
            let (year, month, of_month) = date.parts();
            assert_eq!(Date::new(year.into(), month.into(), of_month.into()), Some(date));
        }
        assert_eq!(Date::of_days(-1).to_string(), "1969-12-31");
        assert_eq!(Date::parse("2024-02-29").map(Date::start), Some(Timestamp::new(1_709_164_800, 0)));
        assert_eq!(
            (Date::of_days(i64::MIN).days(), Date::of_days(i64::MAX).to_string()),
            (-719_468, "9999-12-31".into())
        );
    }
}
