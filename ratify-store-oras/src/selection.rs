//! [`Selection`]: which artifacts of a list are looked at at all, by their dates: the latest of each
//! type, and none that is too old. It is an administrator's to ask for; without that all count.
//!
//! A date is what whoever pushed the artifact wrote. One that is missing, that cannot be read, or
//! that is yet to come makes the artifact the oldest of all. Deciding is pure: the time comes in.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use ratify_core::{
    Context, ErrorCode, Reference, Referrer, ReferrerPage, Result, capped_line, media_type,
};

use crate::{OrasStore, store::of_store};

/// When an artifact was made (OCI image specification, annotations.md).
const CREATED: &str = "org.opencontainers.image.created";
/// Clocks differ by this much.
const SKEW: Duration = Duration::from_secs(5 * 60);
/// So many manifests of one list are read for their dates.
const MAX_READ: usize = 100;
const READ_AT_ONCE: usize = 8;
/// So many digests stand in one line of the log.
const MAX_LOGGED: usize = 20;
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
struct Moment(i128);

/// Why an artifact does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dropped {
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

    /// Of which artifacts the date is needed and not in the list. `counts` says for which types
    /// there is somebody who looks at them.
    fn undated(&self, listed: &[Referrer], counts: impl Fn(&str) -> bool) -> Vec<usize> {
        let mut of_type: HashMap<&str, usize> = HashMap::new();
        for one in listed {
            *of_type.entry(&one.descriptor.artifact_type).or_default() += 1;
        }
        let is_needed = |type_: &str| {
            let are_many = |most| of_type.get(type_).is_some_and(|count| *count > most);
            counts(type_) && (self.max_age.is_some() || self.latest_per_type.is_some_and(are_many))
        };
        (0..listed.len())
            .filter(|index| {
                let one = &listed[*index].descriptor;
                !one.annotations.contains_key(CREATED) && is_needed(&one.artifact_type)
            })
            .collect()
    }

    /// Whether each artifact counts, by its type, its date and, where two are of one date, its
    /// digest.
    fn judge(
        &self,
        listed: &[Referrer],
        dates: &[Option<Moment>],
        now: Moment,
    ) -> Vec<Option<Dropped>> {
        let tomorrow = now.0 + nanoseconds(SKEW);
        let date = |index: usize| dates[index].filter(|date| date.0 <= tomorrow);
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

impl OrasStore {
    /// Leaves out of a list what does not count. A date that the list does not have is read in the
    /// artifact's manifest.
    ///
    /// # Errors
    /// When such a manifest cannot be had, or there are too many: what is left out unseen could be
    /// what should refuse.
    pub(crate) async fn select(
        &self,
        subject: &Reference,
        listed: Vec<Referrer>,
        artifact_types: &[String],
        context: &Context,
    ) -> Result<ReferrerPage> {
        let selection = self.selection();
        let counts = |type_: &str| {
            artifact_types.is_empty() || artifact_types.iter().any(|one| one == "*" || one == type_)
        };
        let written = |one: &Referrer| one.descriptor.annotations.get(CREATED).cloned();
        let mut dates: Vec<Option<String>> = listed.iter().map(written).collect();
        let undated = selection.undated(&listed, counts);
        if undated.len() > MAX_READ {
            return Err(of_store(ErrorCode::ListReferrersFailure).with_detail(format!(
                "{} artifacts of {subject} are listed without a date, and at most {MAX_READ} manifests are read for it (latestPerType, maxAge)",
                undated.len()
            )));
        }
        for some in undated.chunks(READ_AT_ONCE) {
            let read = some.iter().map(|index| self.date_of(subject, &listed[*index], context));
            for (index, date) in some.iter().zip(join_all(read).await) {
                dates[*index] = date?;
            }
        }
        let dates: Vec<_> = dates.iter().map(|text| text.as_deref().and_then(moment)).collect();
        let mut dropped = selection.judge(&listed, &dates, Moment::of(SystemTime::now()));
        // What nobody looks at is not worth a word.
        for (one, dropped) in listed.iter().zip(&mut dropped) {
            dropped.take_if(|_| !counts(&one.descriptor.artifact_type));
        }
        log(subject, &listed, &dropped);
        let left_out = selection.max_age.and_then(|age| reason(&dropped, age));
        let kept = listed.into_iter().zip(dropped).filter(|(_, dropped)| dropped.is_none());
        let kept = kept.map(|(one, _)| one).collect();
        Ok(ReferrerPage::new(kept, "").with_left_out(left_out.into_iter().collect()))
    }

    /// What an artifact's manifest says of its date; a document that is none says nothing.
    async fn date_of(
        &self,
        subject: &Reference,
        artifact: &Referrer,
        context: &Context,
    ) -> Result<Option<String>> {
        let descriptor = &artifact.descriptor;
        if !matches!(
            descriptor.media_type.as_str(),
            media_type::OCI_MANIFEST | media_type::OCI_ARTIFACT
        ) {
            return Ok(None);
        }
        match self.read_manifest(subject, descriptor, context).await {
            Ok(manifest) => Ok(manifest.annotations.get(CREATED).cloned()),
            Err(error) if error.code() == ErrorCode::DataDecodingFailure => Ok(None),
            Err(error) => Err(of_store(ErrorCode::ListReferrersFailure)
                .with_detail(format!("could not tell how old {} is", descriptor.digest))
                .with_source(error)),
        }
    }
}

impl Moment {
    fn of(time: SystemTime) -> Self {
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
fn reason(dropped: &[Option<Dropped>], max_age: Duration) -> Option<String> {
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

fn log(subject: &Reference, listed: &[Referrer], dropped: &[Option<Dropped>]) {
    let left_out = dropped.iter().flatten().count();
    if left_out == 0 {
        return;
    }
    let of = |(one, why): (&Referrer, &Option<Dropped>)| {
        why.map(|why| format!("{} ({why:?})", one.descriptor.digest))
    };
    let some: Vec<String> = listed.iter().zip(dropped).filter_map(of).take(MAX_LOGGED).collect();
    tracing::debug!(
        "{subject}: {left_out} of {} artifacts do not count: {}",
        listed.len(),
        capped_line(&some.join(", "), 4096)
    );
}

/// A date and time of RFC 3339, section 5.6; a leap second is none.
fn moment(text: &str) -> Option<Moment> {
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
