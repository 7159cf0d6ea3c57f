//! Each part that is missing, wrong or old, and what is made of it.

use super::*;

const HOST: &str = "ratify.gatekeeper-system";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn at(days: u32) -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap().checked_add(DAY * days).unwrap()
}

/// What a replica makes of nothing, on day 0.
fn made() -> Data {
    renew(Data::new(), None, Decision::RefreshAll, HOST, at(0)).unwrap().data
}

fn text(data: &Data, key: &str) -> String {
    String::from_utf8(data[key].clone()).unwrap()
}

#[test]
fn what_was_made_is_kept_until_it_is_about_to_expire() {
    let data = made();
    assert_eq!(decide(&data, None, HOST, at(0)), Decision::Keep);
    assert_eq!(decide(&data, None, HOST, at(3650 - 91)), Decision::Keep);
    assert_eq!(decide(&data, None, HOST, at(3650 - 89)), Decision::RefreshAll);
    // Nor is it good for another name.
    assert_eq!(decide(&data, None, "ratify.other", at(0)), Decision::RefreshAll);
    for key in [AUTHORITY_KEY, KEY] {
        assert!(
            text(&data, key).starts_with("-----BEGIN RSA PRIVATE KEY-----\n"),
            "v1 reads no other"
        );
    }
}

#[test]
fn each_part_that_is_missing_or_wrong_is_made_anew() {
    let (data, other) = (made(), made());
    for key in [AUTHORITY, AUTHORITY_KEY, CERTIFICATE, KEY] {
        let wanted =
            if key.starts_with("ca") { Decision::RefreshAll } else { Decision::RefreshServer };
        let mut without = data.clone();
        without.remove(key);
        let half = data[key][..data[key].len() / 2].to_vec();
        let mut cases = vec![without];
        for wrong in [Vec::new(), b"nothing".to_vec(), half, other[key].clone()] {
            let mut changed = data.clone();
            changed.insert(key.to_owned(), wrong);
            cases.push(changed);
        }
        for case in cases {
            assert_eq!(decide(&case, None, HOST, at(0)), wanted, "{key}");
            let renewed = renew(case, None, wanted, HOST, at(0)).unwrap();
            let overlap_ends = renewed.overlap_ends.as_deref();
            assert_eq!(decide(&renewed.data, overlap_ends, HOST, at(0)), Decision::Keep, "{key}");
        }
    }
}

#[test]
fn a_server_certificate_alone_leaves_the_authority_as_it_is() {
    let mut data = made();
    data.remove(CERTIFICATE);
    let renewed = renew(data.clone(), None, Decision::RefreshServer, HOST, at(1)).unwrap();
    assert_eq!(renewed.data[AUTHORITY], data[AUTHORITY]);
    assert_eq!(renewed.data[AUTHORITY_KEY], data[AUTHORITY_KEY]);
}

#[test]
fn a_former_authority_stands_behind_the_new_one_for_a_day() {
    let old = made();
    let renewed = renew(old.clone(), None, Decision::RefreshAll, HOST, at(1)).unwrap();
    let bundle = text(&renewed.data, AUTHORITY);
    assert!(bundle.ends_with(&text(&old, AUTHORITY)) && bundle.len() > old[AUTHORITY].len());
    let ends = renewed.overlap_ends.unwrap();
    let decision = |now| decide(&renewed.data, Some(&ends), HOST, now);
    assert_eq!(decision(at(1)), Decision::Keep);
    assert_eq!(overlap_left(Some(&ends), at(1)), Some(DAY));
    assert_eq!(decision(at(2)), Decision::EndOverlap);
    let ended = renew(renewed.data, Some(ends), Decision::EndOverlap, HOST, at(2)).unwrap();
    assert_eq!(ended.overlap_ends, None);
    assert_eq!(text(&ended.data, AUTHORITY) + &text(&old, AUTHORITY), bundle);
    assert_eq!(decide(&ended.data, None, HOST, at(2)), Decision::Keep);
}

#[test]
fn no_more_than_two_former_authorities_are_kept_and_none_that_expired() {
    let mut data = made();
    for day in 1..6 {
        data = renew(data, None, Decision::RefreshAll, HOST, at(day)).unwrap().data;
    }
    assert_eq!(certificates(&data[AUTHORITY]).len(), 1 + MOST_FORMER);
    let late = renew(data, None, Decision::RefreshAll, HOST, at(4000)).unwrap();
    assert_eq!((certificates(&late.data[AUTHORITY]).len(), late.overlap_ends), (1, None));
}

#[test]
fn an_end_of_the_overlap_that_cannot_be_read_ends_it() {
    assert_eq!(decide(&made(), Some("soon"), HOST, at(0)), Decision::EndOverlap);
    assert_eq!(overlap_left(Some("soon"), at(0)), None);
}
