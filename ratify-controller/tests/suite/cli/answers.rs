//! What plugins answer that is too much, too odd or nothing, as `verify` shows it; and the exit
//! codes of v1: a negative verdict is no error.

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};

use super::{Home, config, put_app, verifier};
use crate::host;

/// A registry with an image, and a home whose plugin misbehaves as told.
async fn scene() -> (RunningRegistry, Home, String) {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let home = Home::new();
    home.link_plugin("stress", host::stress());
    let image = put_app(&registry);
    (registry, home, image)
}

fn misbehaving(name: &str, more: &Value) -> Value {
    let mut entry = verifier("stress");
    entry["misbehave"] = json!(name);
    for (key, value) in more.as_object().unwrap() {
        entry[key] = value.clone();
    }
    config(&entry)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_none_is_a_failed_report_that_says_why_and_exit_code_0() {
    let (_registry, home, image) = scene().await;
    let flood = json!({"bytes": 20 << 20});
    let nothing = json!({});
    let cases = [
        ("flood_stdout", &flood),
        ("flood_stderr", &flood),
        ("huge_message", &nothing),
        ("deep_json", &nothing),
        ("two_lines", &nothing),
        ("no_output", &nothing),
        ("empty_json", &nothing),
        ("exit_code_3", &nothing),
        ("exit_nonzero_with_error_json", &nothing),
        ("crash", &nothing),
        ("hang", &nothing),
    ];
    let mut text = String::new();
    for (name, more) in cases {
        home.configure(&misbehaving(name, more));
        let ran = home.run(&["verify", "-s", &image, "--timeout=2s"]).await;
        assert!(ran.code == Some(0) && !ran.is_success(), "{name}: {ran:?}");
        assert!(ran.verdict().get("isSuccess").is_none_or(|is| is == false), "{name}");
        text.push_str(&format!(
            "# {name}\n{}\n",
            ratify_core::capped_line(&ran.reason().replace("xxxxxxxxxx", ""), 600)
        ));
    }
    insta::assert_snapshot!(text, @r#"
    # flood_stdout
    plugin failed with error: 'signal: killed: it wrote more than 8388608 bytes to standard output, and the plugin was ended with all its processes', msg from stError '', msg from stdOut 'INFO: xxxxxxx INFO: xxxxxxx INFO: xxxxxxx INFO: xxxxxxx... (8388608 bytes in all)'
    # flood_stderr
    plugin failed with error: 'signal: killed: it wrote more than 1048576 bytes to standard error, and the plugin was ended with all its processes', msg from stError 'INFO: xxxxxxx INFO: xxxxxxx INFO: xxxxxxx INFO: xxxxxxx... (1048576 bytes in all)', msg from stdOut ''
    # huge_message
    plugin failed with error: 'signal: killed: it wrote more than 8388608 bytes to standard output, and the plugin was ended with all its processes', msg from stError '', msg from stdOut '{"extensions":{},"isSuccess":true,"message":"x... (8388608 bytes in all)'
    # deep_json
    the plugin printed a JSON object that cannot be read: recursion limit exceeded at line 1 column 158
    # two_lines
    the plugin printed 2 JSON objects where one answer is expected
    # no_output
    unexpected end of JSON input: the plugin printed no JSON object on a line of its own
    # empty_json
    the plugin says no and gives no reason
    # exit_code_3
    plugin failed with error: 'exit status 3', msg from stError '', msg from stdOut '{"extensions":{},"isSuccess":true,"message":"stress did: exit_code_3","name":"stress-1","type":"stress"}'
    # exit_nonzero_with_error_json
    plugin failed with error: 'exit status 1', msg from stError '', msg from stdOut '{ "code": 8, "msg": "plugin command VERIFY failed", "details": "stress was asked to fail" }'
    # crash
    plugin failed with error: 'signal: aborted', msg from stError '', msg from stdOut ''
    # hang
    plugin failed with error: 'signal: killed: the deadline passed, and the plugin was ended with all its processes', msg from stError '', msg from stdOut ''
    "#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_odd_and_can_be_read_in_one_way_only_counts() {
    let (_registry, home, image) = scene().await;
    for name in ["pretty", "long_line", "stderr_without_newline", "flood_stderr"] {
        home.configure(&misbehaving(name, &json!({"bytes": 500 << 10})));
        let ran = home.verify(&image).await;
        assert!(ran.is_success(), "{name}: {} {}", ran.stdout, ran.stderr);
    }
}

/// T7 and T9.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_poses_or_moves_the_cursor_is_shown_harmless() {
    let (_registry, home, image) = scene().await;
    home.configure(&misbehaving("impersonate", &json!({})));
    let verdict = home.verify(&image).await.verdict();
    let report = &verdict["verifierReports"][0];
    for (key, value) in [("name", "stress-1"), ("verifierName", "stress-1"), ("type", "stress")] {
        assert_eq!(report[key], value, "{report}");
    }
    assert!(!verdict.to_string().contains("notation"), "{verdict}");
    home.configure(&misbehaving("ansi", &json!({})));
    let ran = home.run(&["verify", "-s", &image, "--debug"]).await;
    assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);
    for text in [&ran.stdout, &ran.stderr] {
        let bad = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2028}".contains(c);
        assert!(!text.contains(bad), "{text:?}");
    }
    assert!(!ran.stderr.lines().any(|line| line.starts_with("INFO: forged")), "{}", ran.stderr);
}
