//! T14: each load of a plugin is on record, and what cannot be recorded is not loaded.

use std::fs;

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::Value;

use super::{Home, main_job::Place, this_platform, without_ports};

async fn place() -> (RunningRegistry, Place, String) {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let mut home = Home::new();
    home.allow_sources();
    home.set("HOSTNAME", "machine-1");
    let place = Place { home, registry: registry.host().to_string(), is_tls: false };
    let digest = place.fill().await;
    place.configure(&place.plugin(":1.0.0"));
    (registry, place, digest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_load_is_on_record_and_printed_for_people_and_programs() {
    let (_registry, place, digest) = place().await;
    let said = place.home.must(&["plugin", "log"]).await;
    assert!(said.starts_with("no load is recorded in "), "{said}");
    assert!(place.home.verify(&place.image()).await.is_success());
    assert!(place.home.verify(&place.image()).await.is_success());
    place.home.must(&["plugin", "install", &place.plugin(":1.0.0")]).await;

    let json = place.home.must(&["plugin", "log", "-o", "json"]).await;
    let loads: Vec<Value> = serde_json::from_str(&json).unwrap();
    let outcomes: Vec<&str> = loads.iter().map(|load| load["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["downloaded", "present", "present"]);
    let inspect = ["plugin", "inspect", &place.plugin(":1.0.0"), "-o", "json"];
    let seen: Value = serde_json::from_str(&place.home.must(&inspect).await).unwrap();
    let platform = &seen["platforms"][0];
    for load in &loads {
        assert_eq!(load["root"], digest.as_str());
        assert_eq!(load["manifest"], platform["manifest"]);
        assert_eq!(load["program"], platform["files"][0]["digest"]);
        assert_eq!(load["size"], platform["files"][0]["size"]);
        assert_eq!(load["platform"], this_platform());
        assert_eq!((&load["who"], &load["type"]), (&"machine-1".into(), &"sample".into()));
        assert_eq!((&load["kind"], &load["namespace"]), (&"verifier".into(), &"".into()));
        let time: jiff::Timestamp = load["time"].as_str().unwrap().parse().unwrap();
        assert!(time.duration_until(jiff::Timestamp::now()).as_secs() < 120);
    }
    assert_eq!([&loads[1]["name"], &loads[2]["name"]], ["sample-1", "sample"]);
    let text = without_ports(&place.home.must(&["plugin", "log"]).await);
    let line = text.lines().nth(1).unwrap();
    assert!(line.contains("  downloaded  verifier sample-1  sample  linux/"), "{text}");
    assert!(line.ends_with("  machine-1  127.0.0.1:<port>/plugins/sample:1.0.0"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_was_touched_is_told_from_one_that_was_not() {
    let (_registry, place, _) = place().await;
    let verify = ["plugin", "log", "verify"];
    let said = place.home.must(&verify).await;
    assert!(said.ends_with(": no load is recorded\n"), "{said}");
    for _ in 0..3 {
        let ran = place.home.verify(&place.image()).await;
        assert!(ran.is_success());
    }
    let said = place.home.must(&verify).await;
    let (_, head) = said.trim_end().rsplit_once(": 3 loads, the last is ").unwrap();
    place.home.must(&["plugin", "log", "verify", "--head", head]).await;

    let file = place.home.plugins().join(".store/loads/loads.jsonl");
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, whole.replacen("machine-1", "machine-2", 1)).unwrap();
    let ran = place.home.run(&verify).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    let told = ": loads.jsonl line 2: it follows another line than the one before it";
    assert!(ran.stdout.contains(told), "{}", ran.stdout);
    assert!(ran.error().contains("the record is not as it was written"), "{}", ran.error());

    // What was cut off at its end is whole; who kept the head knows better.
    let first = whole.lines().next().unwrap();
    fs::write(&file, format!("{first}\n")).unwrap();
    place.home.must(&verify).await;
    let ran = place.home.run(&["plugin", "log", "verify", "--head", head]).await;
    assert!(
        ran.code == Some(1) && ran.error().contains("no record has the line"),
        "{}",
        ran.error()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_recorded_is_not_loaded() {
    let (_registry, place, _) = place().await;
    assert!(place.home.verify(&place.image()).await.is_success());
    let folder = place.home.plugins().join(".store/loads");
    fs::rename(&folder, folder.with_file_name("kept")).unwrap();
    fs::write(&folder, "").unwrap();
    for arguments in [
        &["verify", "-s", &place.image()][..],
        &["plugin", "install", &place.plugin(":1.0.0"), "--type", "other"],
        &["plugin", "log"],
    ] {
        let ran = place.home.run(arguments).await;
        assert_eq!(ran.code, Some(1), "{arguments:?} {}", ran.stdout);
        let is_said = ran.error().contains("it is not loaded, for its load cannot be recorded: ");
        assert_eq!(is_said, arguments[1] != "log", "{}", ran.error());
    }
    assert!(!place.home.plugins().join("other").exists());
    fs::remove_file(&folder).unwrap();
    fs::rename(folder.with_file_name("kept"), &folder).unwrap();
    assert!(place.home.verify(&place.image()).await.is_success());
    // A line that somebody else wrote is not passed over in silence.
    let file = folder.join("loads.jsonl");
    fs::write(&file, fs::read_to_string(&file).unwrap() + "forged\n").unwrap();
    let ran = place.home.run(&["plugin", "log"]).await;
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(1), 3));
    assert!(ran.error().contains("1 lines of the record cannot be read"), "{}", ran.error());
}
