//! What goes on while nothing new can be had, and when it is asked again.

use serde_json::json;

use super::*;

fn digest(byte: u8) -> Digest {
    ratify_core::executor::testing::digest(byte)
}

fn asked(is_enforced: bool) -> Asked {
    let entry = json!({"source": {"artifact": "r.example.com/p:1"}});
    let source = PluginSource::from_entry(entry.as_object().unwrap()).unwrap().unwrap();
    let scope = SecretScope::Cluster;
    Asked { source, scope, by: Some(digest(1)), is_enforced, interval: None }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// What was admitted by these policies until then.
fn runs(by: Option<Digest>, until: Option<Timestamp>) -> Record {
    let record = json!({
        "name": "n", "kind": "verifier", "type": "t", "artifact": "r.example.com/p:1",
        "root": {"mediaType": "m", "digest": digest(2), "size": 1},
        "manifest": digest(3), "digest": digest(4), "size": 1, "mediaType": "m",
        "platform": "linux/amd64", "installedAt": "2026-01-01T00:00:00Z",
        "admittedBy": by, "admittedUntil": until,
    });
    serde_json::from_value(record).unwrap()
}

#[test]
fn what_the_same_policies_admitted_goes_on_until_what_they_know_of_its_signer_ends() {
    let failed = |cause: InstallError| ErrorCode::DownloadPluginFailure.error().with_source(cause);
    let registry = failed(InstallError::Registry("away".to_owned()));
    let responder = failed(InstallError::Unasked("away".to_owned()));
    let config = ErrorCode::ConfigInvalid.detail("a spec that is broken");
    let (same, other) = (Some(digest(1)), Some(digest(9)));
    let good = runs(same.clone(), Some(at(100)));
    let enforced =
        |runs: &Record, error: &Error, now| asked(true).lets_run(Some(runs), error, at(now));
    assert!(enforced(&good, &responder, 99));
    assert!(!enforced(&good, &responder, 100));
    for error in [&registry, &config] {
        assert!(enforced(&good, error, 1000));
        assert!(!enforced(&runs(other.clone(), Some(at(100))), error, 1), "by other keys");
        assert!(!enforced(&runs(None, None), error, 1), "when nobody asked");
    }
    // Nothing that it rests on ends, such as a proof by a log.
    assert!(enforced(&runs(same.clone(), None), &responder, 1000));
    let mut unknown = asked(true);
    unknown.by = None;
    assert!(!unknown.lets_run(Some(&runs(None, None)), &registry, at(1)));
    // What did not come from a registry was not asked about, and a warning ends nothing.
    assert!(asked(true).lets_run(None, &registry, at(1)));
    assert!(asked(false).lets_run(Some(&runs(other, None)), &responder, at(1)));
}

#[test]
fn each_pod_asks_about_each_plugin_in_its_own_time_a_tenth_more_or_less() {
    let hour = Duration::from_secs(3600);
    let times: std::collections::BTreeSet<_> =
        (0..50).map(|n| spread(hour, &format!("pod-{} {n}", n % 5))).collect();
    assert!(times.len() > 25, "{times:?}");
    assert!(times.iter().all(|time| (3240..=3960).contains(&time.as_secs())), "{times:?}");
}

#[test]
fn what_runs_is_ended_by_a_denial_and_by_what_nobody_knows_any_more_and_by_no_outage() {
    let (by, of) = (Some(digest(1)), "verifier sample");
    let signed = Record { signers: vec!["a".into()], ..runs(by.clone(), Some(at(100))) };
    let minute = Some(Duration::from_secs(60));
    let asked = |is_enforced| Asked { interval: minute.map(|m| m * 60), ..asked(is_enforced) };
    let decide = |again, now| asked(true).decide(again, signed.clone(), &of, at(now));
    let goes_on = |still: Still| match still {
        Still::Runs(record, soon) => Some((*record, soon)),
        Still::Ends(_) => None,
    };
    let (record, soon) = goes_on(decide(Again::Same(Some(at(200))), 1)).unwrap();
    assert_eq!(
        (record.admitted_until, record.signers, soon),
        (Some(at(200)), vec!["a".into()], minute.map(|m| m * 60))
    );
    let others = Admission { signers: vec!["b".into()], ..Admission::default() };
    let (record, _) = goes_on(decide(Again::Other(others), 1)).unwrap();
    assert_eq!((record.admitted_by, record.signers), (by, vec!["b".to_owned()]));

    let denial = no_more(InstallError::Registry("revoked".to_owned()));
    assert!(goes_on(decide(Again::Denied(denial), 1)).is_none());
    let away = || Again::Unknown(InstallError::Registry("away".to_owned()));
    let silent = || Again::Unknown(InstallError::Unasked("away".to_owned()));
    let (record, soon) = goes_on(decide(away(), 1000)).unwrap();
    assert_eq!((record, soon), (signed.clone(), minute), "it is asked again soon");
    assert!(goes_on(decide(silent(), 99)).is_some());
    let Still::Ends(error) = decide(silent(), 100) else { panic!("it is not known any more") };
    assert!(error.to_string().contains("may not run any more: whether it is signed"), "{error}");
    // Other policies or keys hold by now, and they were not asked.
    let other = Record { admitted_by: Some(digest(9)), ..signed.clone() };
    assert!(goes_on(asked(true).decide(away(), other.clone(), &of, at(1))).is_none());
    assert!(goes_on(asked(false).decide(away(), other, &of, at(1))).is_some());
}
