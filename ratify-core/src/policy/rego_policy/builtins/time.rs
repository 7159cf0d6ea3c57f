//! The clock, and texts of times. All in nanoseconds.

use regorus::Value;

use super::{Answer, Means, text};

const SECOND: i128 = 1_000_000_000;

/// One time for the whole evaluation.
pub(super) fn now_ns(_: &[Value], means: &Means) -> Answer<Value> {
    Ok(Value::from(means.now))
}

/// `2023-11-29T01:44:41.5Z`, as RFC 3339, section 5.6, writes it, in capitals.
pub(super) fn parse_rfc3339_ns(arguments: &[Value], _: &Means) -> Answer<Value> {
    let written = text(&arguments[0], "the time")?;
    let parsed = rfc3339(written).and_then(|time| i64::try_from(time).ok());
    parsed.map(Value::from).ok_or_else(|| {
        format!("{:?} is no time as RFC 3339 writes it", crate::capped_line(written, 60))
    })
}

fn rfc3339(written: &str) -> Option<i128> {
    let shape = written.get(..19)?;
    let fits = shape.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 => byte == b':',
        _ => byte.is_ascii_digit(),
    });
    if !fits {
        return None;
    }
    let number = |from: usize, to: usize| shape.get(from..to)?.parse::<i128>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let (fraction, zone) = fraction(written.get(19..)?)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    in_range.then_some((seconds - offset(zone)?) * SECOND + fraction)
}

/// Nanoseconds, and what follows them.
fn fraction(rest: &str) -> Option<(i128, &str)> {
    let Some(digits) = rest.strip_prefix('.') else { return Some((0, rest)) };
    let end = digits.bytes().position(|byte| !byte.is_ascii_digit())?;
    let (digits, zone) = digits.split_at(end);
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    Some((format!("{digits:0<9}").parse().ok()?, zone))
}

/// In seconds east of Greenwich.
fn offset(zone: &str) -> Option<i128> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = match zone.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let two = |text: &str| {
        let is_two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_two.then(|| text.parse::<i128>().ok()).flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn is_leap(year: i128) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i128, month: i128) -> i128 {
    match month {
        2 => 28 + i128::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970.
fn days(year: i128, month: i128, day: i128) -> i128 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    let of_months: i128 = (1..month).map(|month| days_in(year, month)).sum();
    before * 365 + leap_days + of_months + day - 1 - 719_162
}

/// `1h30m`: whole numbers of Go's units.
pub(super) fn parse_duration_ns(arguments: &[Value], _: &Means) -> Answer<Value> {
    let written = text(&arguments[0], "the duration")?;
    let parsed = duration(written).and_then(|time| i64::try_from(time).ok());
    parsed.map(Value::from).ok_or_else(|| {
        format!("{:?} is no duration of whole units", crate::capped_line(written, 60))
    })
}

fn duration(written: &str) -> Option<i128> {
    let (sign, mut rest) = match written.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, written),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_i128;
    loop {
        let digits = rest.bytes().position(|byte| !byte.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let end = after.bytes().position(|byte| byte.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = (after.get(..end)?, after.get(end..)?);
        let unit = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            _ => return None,
        };
        total =
            total.checked_add(number.parse::<i64>().ok().map(i128::from)?.checked_mul(unit)?)?;
        if next.is_empty() {
            return Some(sign * total);
        }
        rest = next;
    }
}
