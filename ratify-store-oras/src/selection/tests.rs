//! Which artifacts count, and what is a date.

use ratify_core::{Algorithm, Binding, Descriptor, Digest, media_type};

use super::*;
use crate::digest_of;

/// Where the tests write an artifact's date.
const CREATED: &str = "created";
const NOW: &str = "2026-03-01T12:00:00Z";

fn digest(name: &str) -> Digest {
    digest_of(Algorithm::Sha256, name.as_bytes())
}

/// An artifact of a type, by its name; and when it was made.
fn artifact(type_: &str, name: &str, created: Option<&str>) -> Referrer {
    let mut descriptor =
        Descriptor::new(media_type::OCI_MANIFEST, digest(name), 1).with_artifact_type(type_);
    descriptor.annotations =
        created.map(|text| (CREATED.into(), text.into())).into_iter().collect();
    Referrer::new(descriptor, Binding::Manifest)
}

fn selection(latest_per_type: Option<usize>, max_age: Option<&str>) -> Selection {
    let max_age = max_age.map(|text| ratify_core::duration::parse(text).unwrap());
    Selection { latest_per_type, max_age }
}

fn judge(selection: &Selection, listed: &[Referrer]) -> Vec<Option<Dropped>> {
    let date = |one: &Referrer| one.descriptor.annotations.get(CREATED).and_then(|t| moment(t));
    let dates: Vec<_> = listed.iter().map(date).collect();
    selection.judge(listed, &dates, moment(NOW).unwrap())
}

/// The artifacts that count, by their place.
fn kept(selection: &Selection, listed: &[Referrer]) -> Vec<usize> {
    let dropped = judge(selection, listed);
    (0..listed.len()).filter(|index| dropped[*index].is_none()).collect()
}

#[test]
fn the_latest_of_each_type_count() {
    let listed = [
        artifact("a", "old", Some("2026-01-01T00:00:00Z")),
        artifact("b", "only", Some("2020-01-01T00:00:00Z")),
        artifact("a", "new", Some("2026-02-01T00:00:00+01:00")),
        artifact("a", "older", Some("2025-01-01T00:00:00Z")),
    ];
    assert_eq!(kept(&selection(Some(1), None), &listed), [1, 2]);
    assert_eq!(kept(&selection(Some(2), None), &listed), [0, 1, 2]);
    assert_eq!(kept(&selection(Some(9), None), &listed), [0, 1, 2, 3]);
    assert_eq!(kept(&selection(None, None), &listed), [0, 1, 2, 3]);
    let turned: Vec<_> = listed.iter().rev().cloned().collect();
    assert_eq!(kept(&selection(Some(1), None), &turned), [1, 2], "whatever the list's order");
}

#[test]
fn what_has_no_date_or_one_that_is_yet_to_come_is_the_oldest_and_too_old() {
    for text in [
        None,
        Some("yesterday"),
        Some(""),
        Some("2026-03-01T12:05:01Z"),
        Some("2999-01-01T00:00:00Z"),
    ] {
        let listed = [artifact("a", "x", text), artifact("a", "y", Some("1999-01-01T00:00:00Z"))];
        assert_eq!(kept(&selection(Some(1), None), &listed), [1], "{text:?}");
        let found = judge(&selection(None, Some("876000h")), &listed);
        assert_eq!(found, [Some(Dropped::Undated), None], "{text:?}");
        assert_eq!(kept(&selection(Some(2), None), &listed), [0, 1], "there is room for both");
    }
    let soon = [artifact("a", "x", Some("2026-03-01T12:04:59Z"))];
    assert_eq!(kept(&selection(None, Some("1s")), &soon), [0], "clocks differ");
}

#[test]
fn two_of_one_moment_are_told_apart_by_their_digests() {
    let [first, second] = ["x", "y"].map(|name| artifact("a", name, Some(NOW)));
    let one = kept(&selection(Some(1), None), &[first.clone(), second.clone()]);
    let other = kept(&selection(Some(1), None), &[second, first]);
    assert_eq!((one.len(), one[0]), (1, 1 - other[0]));
}

#[test]
fn what_is_older_than_the_age_does_not_count() {
    let listed = [
        artifact("a", "at", Some("2026-02-28T12:00:00Z")),
        artifact("a", "beyond", Some("2026-02-28T11:59:59.999999999Z")),
        artifact("b", "before", Some("0001-01-01T00:00:00Z")),
    ];
    let both = selection(Some(1), Some("24h"));
    assert_eq!(judge(&both, &listed), [None, Some(Dropped::TooOld), Some(Dropped::TooOld)]);
    let dropped = judge(&both, &listed);
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(reason(&dropped, day).unwrap(), "2 artifacts are older than maxAge (86400s)");
    let undated = [Some(Dropped::Undated)];
    assert_eq!(
        reason(&undated, day).unwrap(),
        "1 artifact is older than maxAge (86400s), 1 of them without a date that can be read"
    );
    assert_eq!(reason(&[None, Some(Dropped::Superseded)], day), None);
}

#[test]
fn manifests_are_read_only_where_a_bound_needs_their_dates() {
    let listed = [
        artifact("a", "1", None),
        artifact("a", "2", Some("no date")),
        artifact("b", "3", None),
        artifact("c", "4", None),
    ];
    let needed = |selection: &Selection| selection.needs_dates_of(&listed, |type_| type_ != "c");
    assert_eq!(needed(&selection(None, Some("1h"))), [0, 1, 2]);
    assert_eq!(needed(&selection(Some(1), None)), [0, 1]);
    assert_eq!(needed(&selection(Some(2), None)), [0; 0]);
    assert_eq!(needed(&selection(None, None)), [0; 0]);
}

#[test]
fn a_date_is_what_jiff_takes_for_one_too() {
    let mut read = 0;
    for year in ["0001", "1600", "1900", "1969", "1970", "2000", "2023", "2024", "2100", "9998"] {
        for month in 0..=13 {
            for day in [0, 1, 28, 29, 30, 31, 32] {
                for rest in ["T00:00:00Z", "T23:59:59.5-11:30", "t12:30:01.123456789+05:45"] {
                    let text = format!("{year}-{month:02}-{day:02}{rest}");
                    let expected = text.parse::<jiff::Timestamp>().ok();
                    let expected = expected.map(|timestamp| Moment(timestamp.as_nanosecond()));
                    assert_eq!(moment(&text), expected, "{text}");
                    read += usize::from(expected.is_some());
                }
            }
        }
    }
    assert!(read > 1500, "{read}");
}

#[test]
fn what_is_no_date_of_the_rfc_is_none() {
    assert!(moment("2026-03-01T12:00:00.1234567891Z").is_some(), "more than nanoseconds");
    for text in [
        "",
        "2026-03-01",
        "2026-03-01T12:00:00",
        "2026-03-01 12:00:00Z",
        "2026-03-01T12:00Z",
        "2026-03-01T12:00:00.Z",
        "2026-03-01T12:00:00.5",
        "2026-03-01T12:00:60Z",
        "2026-03-01T24:00:00Z",
        "2026-03-01T12:60:00Z",
        "2026-03-01T12:00:00+24:00",
        "2026-03-01T12:00:00+01:60",
        "2026-03-01T12:00:00+0100",
        "2026-03-01T12:00:00ZZ",
        "2026-03-01T12:00:00Z[UTC]",
        "+2026-03-01T12:00:00Z",
        "20260301T120000Z",
        "0000-03-01T12:00:00Z",
        "2026-+3-01T12:00:00Z",
        "2026-03-0\u{e4}T12:00:00Z",
        "\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}",
        "1772366400",
    ] {
        assert_eq!(moment(text), None, "{text}");
    }
}
