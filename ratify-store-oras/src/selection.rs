//! [`Selection`]: which artifacts of a list are looked at at all, by their dates: the latest of each
//! type, and none that is too old. It is an administrator's to ask for; without that all count.
//!
//! A date is what whoever made the artifact wrote into its manifest. One that is missing, that cannot
//! be read, or that is yet to come makes the artifact the oldest of all. Pure: the dates, which the
//! store reads, and the time come in.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use ratify_core::Referrer;

/// Clocks differ by this much.
const SKEW: Duration = Duration::from_secs(5 * 60);
const NANOSECONDS: i128 = 1_000_000_000;

/// What an entry asks for; nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// How many of each type count (`latestPerType`).
    pub(crate) latest_per_type: Option<usize>,
    /// How old one may be (`maxAge`).
    pub(crate) max_age: Option<Duration>,
}

/// A moment, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i128);

/// Why an artifact does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    TooOld,
    /// Too old, since it does not say its age.
    Undated,
    /// There are later ones of its type.
    Superseded,
}

impl Selection {
    pub(crate) fn is_off(&self) -> bool {
        *self == Self::default()
    }

    /// Of which artifacts the date is needed. `counts` says for which types there is somebody who
    /// looks at them.
    pub(crate) fn needs_dates_of(
        &self,
        listed: &[Referrer],
        counts: impl Fn(&str) -> bool,
    ) -> Vec<usize> {
        let mut of_type: HashMap<&str, usize> = HashMap::new();
        for one in listed {
            *of_type.entry(&one.descriptor.artifact_type).or_default() += 1;
        }
        let is_needed = |type_: &str| {
            let are_many = |most| of_type.get(type_).is_some_and(|count| *count > most);
            counts(type_) && (self.max_age.is_some() || self.latest_per_type.is_some_and(are_many))
        };
        (0..listed.len())
            .filter(|index| is_needed(&listed[*index].descriptor.artifact_type))
            .collect()
    }

    /// Whether each artifact counts, by its type, its date and, where two are of one date, its
    /// digest.
    pub(crate) fn judge(
        &self,
        listed: &[Referrer],
        dates: &[Option<Moment>],
        now: Moment,
    ) -> Vec<Option<Dropped>> {
        let latest_possible = now.0 + nanoseconds(SKEW);
        let date = |index: usize| dates[index].filter(|date| date.0 <= latest_possible);
        let mut by_age: Vec<usize> = (0..listed.len()).collect();
        by_age.sort_by_key(|index| {
            let digest = &listed[*index].descriptor.digest;
            (std::cmp::Reverse(date(*index)), digest)
        });
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut dropped = vec![None; listed.len()];
        for index in by_age {
            let count = seen.entry(&listed[index].descriptor.artifact_type).or_default();
            *count += 1;
            dropped[index] = match (self.max_age, date(index)) {
                (Some(_), None) => Some(Dropped::Undated),
                (Some(age), Some(date)) if now.0 - date.0 > nanoseconds(age) => {
                    Some(Dropped::TooOld)
                }
                _ if self.latest_per_type.is_some_and(|most| *count > most) => {
                    Some(Dropped::Superseded)
                }
                _ => None,
            };
        }
        dropped
    }
}

impl Moment {
    pub(crate) fn of(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Self(nanoseconds(since)),
            Err(before) => Self(-nanoseconds(before.duration())),
        }
    }
}

fn nanoseconds(duration: Duration) -> i128 {
    i128::from(duration.as_secs()) * NANOSECONDS + i128::from(duration.subsec_nanos())
}

/// What is said where nothing else is left.
pub(crate) fn reason(dropped: &[Option<Dropped>], max_age: Duration) -> Option<String> {
    let count = |what| dropped.iter().flatten().filter(|one| **one == what).count();
    let (old, undated) = (count(Dropped::TooOld), count(Dropped::Undated));
    let artifacts = match old + undated {
        0 => return None,
        1 => "1 artifact is".to_owned(),
        several => format!("{several} artifacts are"),
    };
    let undated = match undated {
        0 => String::new(),
        some => format!(", {some} of them without a date that can be read"),
    };
    Some(format!("{artifacts} older than maxAge ({max_age:?}){undated}"))
}

/// A date and time of RFC 3339, section 5.6; a leap second is none.
pub(crate) fn moment(text: &str) -> Option<Moment> {
    let (date, rest) = (text.get(..10)?, text.get(11..)?);
    if !matches!(text.as_bytes()[10], b'T' | b't') {
        return None;
    }
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = fields(rest.get(..8)?, ':', [2, 2, 2])?;
    let (fraction, offset) = match rest[8..].strip_prefix('.') {
        None => (0, &rest[8..]),
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let digits: String = rest[..end].chars().chain("000000000".chars()).take(9).collect();
            if end == 0 {
                return None;
            }
            (digits.parse::<i128>().ok()?, &rest[end..])
        }
    };
    let offset = match offset.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let [hours, minutes] = fields(&offset[1..], ':', [2, 2])?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = (hours * 60 + minutes) * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = (days(year, month, day)? * 24 + hour) * 3600 + minute * 60 + second - offset;
    Some(Moment(i128::from(seconds) * NANOSECONDS + fraction))
}

/// Numbers of so many digits each, with a character in between.
fn fields<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(between);
    let mut numbers = [0; N];
    for (number, length) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != length || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Days from 1970 on; negative before.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    const TO_1970: i64 = 719_162;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if is_leap { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    if year < 1 || !(1..=length).contains(&day) {
        return None;
    }
    let past = year - 1;
    let of_years = past * 365 + past / 4 - past / 100 + past / 400;
    let of_months: i64 = lengths.iter().take(usize::try_from(month - 1).ok()?).sum();
    Some(of_years + of_months + day - 1 - TO_1970)
}

#[cfg(test)]
mod tests;
