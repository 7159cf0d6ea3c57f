//! [`Moment`]: a point in time as certificates and signatures name it, with the offset that it was
//! written with, and the forms in which messages show it.
//!
//! Certificates may end in the year 9999, behind what most libraries of time can hold, so this is
//! plain arithmetic on seconds.

use std::{
    cmp::Ordering,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;

/// A point in time. Two are equal where they are the same time, whatever their offsets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Since 1970, in UTC.
    seconds: i64,
    nanos: u32,
    /// East of UTC, in seconds: only for showing it.
    offset: i32,
}

impl Moment {
    /// A time in UTC.
    pub(crate) const fn from_unix(seconds: i64) -> Self {
        Self { seconds, nanos: 0, offset: 0 }
    }

    /// The time of a clock.
    pub(crate) fn of_clock(time: SystemTime) -> Self {
        // A clock that stands before 1970 is taken for 1970: nothing is valid then.
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Self { seconds, nanos: since.subsec_nanos(), offset: 0 }
    }

    /// What a clock shows then; 1970 for whatever is before that.
    pub(crate) fn to_clock(self) -> SystemTime {
        let seconds = u64::try_from(self.seconds).unwrap_or_default();
        let since = Duration::new(seconds, self.nanos);
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    }

    /// The time so many nanoseconds later, or earlier.
    pub(crate) fn plus_nanos(self, nanos: i64) -> Self {
        let total = i64::from(self.nanos).saturating_add(nanos);
        let seconds = self.seconds.saturating_add(total.div_euclid(SECOND));
        // A remainder of a second fits.
        let nanos = u32::try_from(total.rem_euclid(SECOND)).unwrap_or_default();
        Self { seconds, nanos, offset: self.offset }
    }

    /// RFC 3339, as Go reads it: `2024-05-06T07:08:09.5+02:00`.
    pub(crate) fn parse_rfc3339(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let date = bytes.get(..19)?;
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if separators.iter().any(|(at, byte)| date[*at] != *byte) {
            return None;
        }
        let field = |from: usize, to: usize| digits(&date[from..to]);
        let mut time = Self::from_civil([
            field(0, 4)?,
            field(5, 7)?,
            field(8, 10)?,
            field(11, 13)?,
            field(14, 16)?,
            field(17, 19)?,
        ])?;
        let (nanos, rest) = fraction(&bytes[19..])?;
        let offset = offset(rest)?;
        time.nanos = nanos;
        time.seconds -= i64::from(offset);
        time.offset = offset;
        Some(time)
    }

    /// A GeneralizedTime (X.690, section 11.7), with a fraction of a second where there is one.
    pub(crate) fn parse_generalized(text: &[u8]) -> Option<Self> {
        let date = text.get(..14)?;
        let field = |from: usize, to: usize| digits(&date[from..to]);
        let mut time = Self::from_civil([
            field(0, 4)?,
            field(4, 6)?,
            field(6, 8)?,
            field(8, 10)?,
            field(10, 12)?,
            field(12, 14)?,
        ])?;
        let (nanos, rest) = fraction(&text[14..])?;
        time.nanos = nanos;
        (rest == b"Z").then_some(time)
    }

    /// Year, month, day, hour, minute, second of UTC.
    fn from_civil([year, month, day, hour, minute, second]: [i64; 6]) -> Option<Self> {
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days_of_month = match month {
            2 => 28 + i64::from(is_leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        let is_time = (1..=days_of_month).contains(&day) && hour < 24 && minute < 60 && second < 60;
        if !is_time {
            return None;
        }
        // Days since 1 March of the year 0, of which February is the last month.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days_of_years =
            year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        let days = days_of_years + (153 * month + 2) / 5 + day - 1 - 719_468;
        Some(Self::from_unix(days * 86_400 + hour * 3_600 + minute * 60 + second))
    }

    /// Year, month, day and the seconds of that day, at its own offset.
    fn civil(self) -> (i64, i64, i64, i64) {
        let local = self.seconds.saturating_add(i64::from(self.offset));
        let days = local.div_euclid(86_400) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let year = year_of_era + era * 400 + i64::from(month > 9);
        let month = if month < 10 { month + 3 } else { month - 9 };
        (year, month, day, local.rem_euclid(86_400))
    }

    /// Go's RFC1123Z: `Mon, 02 Jan 2006 15:04:05 -0700`.
    pub(crate) fn rfc1123z(self) -> String {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (year, month, day, seconds) = self.civil();
        let local = self.seconds.saturating_add(i64::from(self.offset));
        let weekday = local.div_euclid(86_400).rem_euclid(7);
        // Both are remainders of the lengths of the lists.
        let weekday = DAYS[usize::try_from(weekday).unwrap_or_default() % 7];
        let month = MONTHS[usize::try_from(month - 1).unwrap_or_default() % 12];
        let clock = clock(seconds);
        let (sign, offset) = if self.offset < 0 { ('-', -self.offset) } else { ('+', self.offset) };
        let (hours, minutes) = (offset / 3_600, offset % 3_600 / 60);
        format!("{weekday}, {day:02} {month} {year:04} {clock} {sign}{hours:02}{minutes:02}")
    }

    /// As Go prints a time by itself: `2006-01-02 15:04:05.5 -0700 MST`. Of a time that was written with
    /// an offset that is the name of its zone, too.
    pub(crate) fn go_text(self) -> String {
        let (year, month, day, seconds) = self.civil();
        let fraction = self.fraction();
        let (sign, offset) = if self.offset < 0 { ('-', -self.offset) } else { ('+', self.offset) };
        let zone = format!("{sign}{:02}{:02}", offset / 3_600, offset % 3_600 / 60);
        let name = if offset == 0 { "UTC" } else { zone.as_str() };
        format!("{year:04}-{month:02}-{day:02} {}{fraction} {zone} {name}", clock(seconds))
    }

    /// Go's RFC3339, of whole seconds.
    pub(crate) fn rfc3339(self) -> String {
        self.rfc3339_with("")
    }

    /// Go's RFC3339Nano, the form of a time in JSON.
    pub(crate) fn rfc3339_nano(self) -> String {
        self.rfc3339_with(&self.fraction())
    }

    fn fraction(self) -> String {
        match self.nanos {
            0 => String::new(),
            nanos => format!(".{}", format!("{nanos:09}").trim_end_matches('0')),
        }
    }

    fn rfc3339_with(self, fraction: &str) -> String {
        let (year, month, day, seconds) = self.civil();
        let clock = clock(seconds);
        let zone = match self.offset {
            0 => "Z".to_owned(),
            offset => {
                let sign = if offset < 0 { '-' } else { '+' };
                let offset = offset.abs();
                format!("{sign}{:02}:{:02}", offset / 3_600, offset % 3_600 / 60)
            }
        };
        format!("{year:04}-{month:02}-{day:02}T{clock}{fraction}{zone}")
    }
}

fn clock(seconds: i64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds % 3_600 / 60, seconds % 60)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |number: i64, byte| {
        byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0'))
    })
}

/// A fraction of a second, if one follows, in nanoseconds, and what stands behind it.
fn fraction(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let Some(digits) = bytes.strip_prefix(b".") else { return Some((0, bytes)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at(length);
    if digits.is_empty() {
        return None;
    }
    let nanos = (0..9).fold(0, |number, place| {
        number * 10 + u32::from(digits.get(place).map_or(0, |byte| byte - b'0'))
    });
    Some((nanos, rest))
}

/// `Z` or `+hh:mm`, in seconds.
fn offset(bytes: &[u8]) -> Option<i32> {
    if bytes == b"Z" {
        return Some(0);
    }
    let [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] = bytes else { return None };
    let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
    if hours > 24 || minutes > 59 {
        return None;
    }
    let offset = i32::try_from(hours * 3_600 + minutes * 60).ok()?;
    Some(if *sign == b'-' { -offset } else { offset })
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.seconds, self.nanos).cmp(&(other.seconds, other.nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Moment {
        Moment::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn shows_what_it_was_read_from() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2000-02-29T23:59:59Z",
            "2023-03-14T04:45:22+05:30",
            "1969-12-31T23:00:00-01:00",
            "9999-12-31T23:59:59Z",
            "0001-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text).rfc3339(), text);
        }
        assert_eq!(parse("1970-01-01T00:00:00Z"), Moment::from_unix(0));
        assert_eq!(parse("2024-05-06T09:08:09+02:00"), Moment::from_unix(1_714_979_289));
        assert_eq!(parse("2024-05-06T09:08:09.25Z").nanos, 250_000_000);
    }

    #[test]
    fn shows_itself_as_go_does() {
        assert_eq!(parse("2024-05-06T09:08:09Z").go_text(), "2024-05-06 09:08:09 +0000 UTC");
        assert_eq!(
            parse("2024-05-06T09:08:09.50-07:30").go_text(),
            "2024-05-06 09:08:09.5 -0730 -0730"
        );
    }

    #[test]
    fn shows_a_day_as_mail_does() {
        let cases = [
            ("2024-05-06T09:08:09Z", "Mon, 06 May 2024 09:08:09 +0000"),
            ("2024-12-31T23:00:00-07:00", "Tue, 31 Dec 2024 23:00:00 -0700"),
            ("1969-12-31T00:00:00Z", "Wed, 31 Dec 1969 00:00:00 +0000"),
        ];
        for (text, shown) in cases {
            assert_eq!(parse(text).rfc1123z(), shown);
        }
    }

    #[test]
    fn times_are_ordered_by_the_fraction_too_and_not_by_the_offset() {
        assert!(parse("2024-05-06T09:08:09Z") < parse("2024-05-06T09:08:09.001Z"));
        assert_eq!(parse("2024-05-06T09:08:09Z"), parse("2024-05-06T11:08:09+02:00"));
        let time = parse("2024-05-06T09:08:09.5Z");
        assert_eq!(time.plus_nanos(-600_000_000).plus_nanos(600_000_000), time);
        assert_eq!(Moment::of_clock(time.to_clock()), time);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2024-05-06",
            "2024-13-06T09:08:09Z",
            "2023-02-29T00:00:00Z",
            "2024-05-06T24:00:00Z",
            "2024-05-06T09:08:60Z",
            "2024-05-06T09:08:09",
            "2024-05-06T09:08:09.Z",
            "2024-05-06 09:08:09Z",
            "2024-05-06T09:08:09+0200",
            "2024-05-06T09:08:09Zx",
            "+024-05-06T09:08:09Z",
        ] {
            assert_eq!(Moment::parse_rfc3339(text), None, "{text}");
        }
        let generalized = |text: &str| Moment::parse_generalized(text.as_bytes());
        assert_eq!(generalized("20240506090809Z"), Some(parse("2024-05-06T09:08:09Z")));
        assert_eq!(generalized("20240506090809.5Z"), Some(parse("2024-05-06T09:08:09.5Z")));
        for text in ["20240506090809", "202405060908Z", "20240506090809+0000", "2024050609080xZ"] {
            assert_eq!(generalized(text), None, "{text}");
        }
    }
}
