//! Wall clocks of others: when a credential ends, as a service says it, in terms of the clock that
//! cannot be turned.

use std::time::{Duration, Instant, SystemTime};

/// No credential lives shorter, whatever the clocks say: a clock that is ahead must not make each
/// question a new request.
const MIN_LIFE: Duration = Duration::from_secs(60);
/// Nor longer.
const MAX_LIFE: Duration = Duration::from_secs(12 * 3600);

/// The days from the first of March of the year 0 to 1970.
const DAYS_BEFORE_1970: u64 = 719_468;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The end of what a service gave just now and that ends at a time of its clock.
pub(in crate::auth) fn good_until(ends: SystemTime, now: SystemTime, received: Instant) -> Instant {
    let life = ends.duration_since(now).unwrap_or(Duration::ZERO);
    received + life.clamp(MIN_LIFE, MAX_LIFE)
}

/// A time as services write it in JSON: seconds since 1970, with or without a fraction.
pub(in crate::auth) fn from_unix(seconds: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// A time as services write it in texts: `2030-01-31T23:59:59Z`, with or without a fraction.
pub(in crate::auth) fn from_rfc3339(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (number(date.next()?)?, number(date.next()?)?, number(date.next()?)?);
    let time = time.split_once('.').map_or(time, |(whole, _)| whole);
    time_of(year, month, day, time)
}

/// A time as HTTP writes it in `Date`: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(in crate::auth) fn from_http_date(text: &str) -> Option<SystemTime> {
    let mut parts = text.split_once(", ")?.1.strip_suffix(" GMT")?.splitn(4, ' ');
    let day = number(parts.next()?)?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|known| *known == name)?;
    let year = number(parts.next()?)?;
    time_of(year, u64::try_from(month).ok()? + 1, day, parts.next()?)
}

/// The time of a day of the Gregorian calendar, after 1970.
fn time_of(year: u64, month: u64, day: u64, time: &str) -> Option<SystemTime> {
    let mut time = time.splitn(3, ':');
    let (hour, minute, second) =
        (number(time.next()?)?, number(time.next()?)?, number(time.next()?)?);
    let is_date = (1970..=9999).contains(&year) && (1..=12).contains(&month);
    if !is_date || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years begin in March here, so that the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let seconds = (days - DAYS_BEFORE_1970) * 86400 + hour * 3600 + minute * 60 + second;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn number(text: &str) -> Option<u64> {
    let is_plain = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_plain.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_between_a_minute_and_half_a_day_whatever_the_clocks_say() {
        let (now, received) = (SystemTime::now(), Instant::now());
        let life = |ends| good_until(ends, now, received).duration_since(received).as_secs();
        assert_eq!(life(now + Duration::from_secs(600)), 600);
        assert_eq!(life(now - Duration::from_secs(600)), 60);
        assert_eq!(life(now + Duration::from_secs(1)), 60);
        assert_eq!(life(now + Duration::from_secs(90_000)), 12 * 3600);
        assert_eq!(life(SystemTime::UNIX_EPOCH), 60);
    }

    #[test]
    fn a_number_that_is_no_time_is_none() {
        let expected = SystemTime::UNIX_EPOCH + Duration::from_millis(1_900_000_000_500);
        assert_eq!(from_unix(1.900_000_000_5e9), Some(expected));
        for seconds in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(from_unix(seconds), None);
        }
    }

    #[test]
    fn both_ways_to_write_a_time_are_read() {
        let seconds = |time: Option<SystemTime>| {
            time.map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
        };
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1994-11-06T08:49:37Z", 784_111_777),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2024-03-01T00:00:00.123Z", 1_709_251_200),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(seconds(from_rfc3339(text)), Some(expected), "{text}");
        }
        assert_eq!(seconds(from_http_date("Sun, 06 Nov 1994 08:49:37 GMT")), Some(784_111_777));
        for text in [
            "",
            "2030-01-01",
            "2030-01-01T00:00:00+01:00",
            "2030-13-01T00:00:00Z",
            "2030-00-01T00:00:00Z",
            "2030-01-00T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2030-01-01T24:00:00Z",
            "99999-01-01T00:00:00Z",
            "2030-01-01T+1:00:00Z",
        ] {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
        for text in ["", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 nov 1994 08:49:37 GMT", "Sunday"] {
            assert_eq!(from_http_date(text), None, "{text}");
        }
    }
}
