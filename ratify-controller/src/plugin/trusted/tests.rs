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
