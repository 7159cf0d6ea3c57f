//! `ratify doctor`: a clean set-up has no finding, and each fault in turn has exactly its own, with a
//! fix. What is secret is a trap: no output may have it.

mod cluster;
mod fake;
mod others;
mod pod;
mod registries;
mod rotation;

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{Home, Ran, STATEMENT, put_app, set_mode};
use fake::{PASSWORD, TOKEN, USER};
use ratify_controller::dev::{RegistryOptions, RunningRegistry};

/// What was found that is not as it should be: check, state, and what it is on.
type Found = Vec<(String, String)>;
/// What has to be found.
type Expected = &'static [(&'static str, &'static str)];

/// Runs the doctor; nothing secret may be in what it says, and whatever it finds has a fix.
async fn examine(home: &Home, arguments: &[&str]) -> (Ran, Found) {
    let line: Vec<&str> =
        ["doctor", "--output", "json"].into_iter().chain(arguments.iter().copied()).collect();
    let ran = home.run(&line).await;
    let found = found_in(&ran);
    let is_failure = found.iter().any(|(_, state)| state == "failure");
    assert_eq!(ran.code, Some(i32::from(is_failure)), "{}", ran.stdout);
    (ran, found)
}

/// What is not as it should be in a report of the doctor's.
fn found_in(ran: &Ran) -> Found {
    assert_keeps_secrets(ran);
    let report: Value = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", ran.stdout, ran.stderr));
    let mut found = Found::new();
    for finding in report["findings"].as_array().unwrap() {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let state = text("state");
        assert!(!text("seen").is_empty(), "{finding}");
        if matches!(state.as_str(), "warning" | "failure") {
            assert!(!text("fix").is_empty() && !text("why").is_empty(), "{finding}");
        }
        if !matches!(state.as_str(), "ok" | "notChecked") {
            found.push((text("id"), state));
        }
    }
    found
}

fn assert_keeps_secrets(ran: &Ran) {
    use base64::Engine as _;
    let login = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for text in [&ran.stdout, &ran.stderr] {
        for secret in [PASSWORD, TOKEN, &login, "PRIVATE KEY"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

fn assert_found(what: &str, ran: &Ran, found: &[(String, String)], expected: &[(&str, &str)]) {
    let found: Vec<(&str, &str)> =
        found.iter().map(|(id, state)| (id.as_str(), state.as_str())).collect();
    assert_eq!(found, expected, "{what}: {}", ran.stdout);
}

/// A configuration in which everything is as it should be, but for what a test changes.
fn clean(home: &Home) -> Value {
    static_program(&home.plugins().join("sample"));
    let hosts = home.path().join("hosts");
    fs::create_dir_all(&hosts).unwrap();
    json!({
        "store": {"version": "1.0.0", "plugins": [{"name": "oras"}]},
        "policy": {"version": "1.0.0", "plugin": {"name": "configPolicy"}},
        "verifier": {"version": "1.0.0", "plugins": [{"name": "sample", "artifactTypes": STATEMENT}]},
        "registries": {"allowedAddresses": ["127.0.0.0/8"], "hostsPath": hosts},
    })
}

/// Says which authority signs the certificate of a registry.
fn trust(home: &Home, registry: &str, authority: &str) {
    let folder = home.path().join("hosts").join(registry);
    fs::create_dir_all(&folder).unwrap();
    let ca = folder.join("ca.crt");
    fs::write(&ca, authority).unwrap();
    let text = format!("server = \"https://{registry}\"\nca = \"{}\"\n", ca.display());
    fs::write(folder.join("hosts.toml"), text).unwrap();
}

/// The head of a static program for this machine, with nothing behind it: it is looked at, not run.
fn static_program(path: &Path) {
    let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    bytes.resize(16, 0);
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    for place in [0x40_0078_u64, 64, 0] {
        bytes.extend(place.to_le_bytes());
    }
    bytes.extend(0_u32.to_le_bytes());
    for size in [64_u16, 56, 1, 64, 0, 0] {
        bytes.extend(size.to_le_bytes());
    }
    // One segment that is loaded and run: no interpreter is asked for.
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(5_u32.to_le_bytes());
    for value in [0_u64, 0x40_0000, 0x40_0000, 120, 120, 4096] {
        bytes.extend(value.to_le_bytes());
    }
    fs::write(path, bytes).unwrap();
    set_mode(path, 0o755);
}

/// A report without what differs from run to run: paths, ports, digests, numbers. The summary is as it
/// is.
fn settled(home: &Home, text: &str) -> String {
    let (text, summary) = text.trim_end().rsplit_once('\n').unwrap();
    let text = text.replace(&home.path().display().to_string(), "<home>");
    let mut settled = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let is_of_a_word = rest[..at].ends_with(|c: char| c.is_ascii_alphabetic() || c == ':');
        settled.push_str(&rest[..at]);
        let end = rest[at..].find(|c: char| !c.is_ascii_hexdigit()).map_or(rest.len(), |n| at + n);
        let word = &rest[at..end];
        settled.push_str(if is_of_a_word && word.len() < 4 { word } else { "N" });
        rest = &rest[end..];
    }
    // Below a millisecond there are other words for it, and clocks may differ either way.
    let settled = (settled + rest).replace("less than N ms", "N ms");
    settled.replace("+N s", "N s").replace("-N s", "N s") + "\n" + summary
}

#[tokio::test]
async fn a_clean_set_up_has_no_finding_and_each_fault_of_a_file_has_its_own() {
    let home = Home::new();
    let good = clean(&home);
    let changed = |change: fn(&mut Value)| {
        let mut config = good.clone();
        change(&mut config);
        config
    };
    let table: Vec<(&str, Value, Expected)> = vec![
        ("clean", good.clone(), &[]),
        (
            "a key that nobody reads",
            changed(|c| c["excutor"] = json!({})),
            &[("configuration.keys", "warning")],
        ),
        (
            "a value of the wrong kind",
            changed(|c| c["executor"] = json!({"verificationRequestTimeout": "soon"})),
            &[("configuration.file", "failure")],
        ),
        (
            "registries in clear",
            changed(|c| c["store"]["plugins"][0]["useHttp"] = json!(true)),
            &[("configuration.store", "warning")],
        ),
        (
            "a verifier that is nowhere",
            changed(|c| c["verifier"]["plugins"][0]["name"] = json!("absent")),
            &[("plugin.found", "failure")],
        ),
        (
            "a verifier of every type",
            changed(|c| {
                c["verifier"]["plugins"][0].as_object_mut().unwrap().remove("artifactTypes");
            }),
            &[("configuration.verifier", "note")],
        ),
        (
            "a source that is not downloaded",
            changed(|c| {
                c["verifier"]["plugins"][0]["source"] = json!({"artifact": "r.example.com/p:1"});
            }),
            &[("configuration.verifier", "failure")],
        ),
        (
            "a policy that nobody knows",
            changed(|c| c["policy"]["plugin"]["name"] = json!("other")),
            &[("configuration.policy", "failure")],
        ),
        (
            "namespaces that run anything",
            changed(|c| c["plugins"] = json!({"namespaces": {"source": true}})),
            &[("configuration.rules", "warning")],
        ),
        (
            "no time",
            changed(|c| c["executor"] = json!({"verificationRequestTimeout": 0})),
            &[("timeouts.verification", "failure")],
        ),
        (
            "work that ends before the answer",
            changed(|c| c["executor"] = json!({"giveUpAfter": 1000})),
            &[("timeouts.work", "warning")],
        ),
    ];
    for (what, config, expected) in table {
        home.write(".ratify/config.json", config.to_string());
        let (ran, found) = examine(&home, &[]).await;
        assert_found(what, &ran, &found, expected);
    }
    home.write(".ratify/config.json", good.to_string());
    set_mode(&home.plugins().join("sample"), 0o644);
    let (ran, found) = examine(&home, &[]).await;
    assert_found("no program", &ran, &found, &[("plugin.program", "failure")]);
    let (ran, found) = examine(&home, &["-c", "/nowhere/config.json"]).await;
    assert_found("no file", &ran, &found, &[("configuration.file", "failure")]);
}

#[tokio::test]
async fn a_sigstore_that_cosign_initialize_chose_is_refused_and_found() {
    let mut home = Home::new();
    let mut config = clean(&home);
    let identity = json!({"certificateIdentity": "i", "certificateOIDCIssuer": "o"});
    let policy = json!({"name": "p", "scopes": ["*"], "keyless": identity});
    config["verifier"]["plugins"][0] =
        json!({"name": "cosign", "artifactTypes": STATEMENT, "trustPolicies": [policy]});
    home.write(".ratify/config.json", config.to_string());
    let expected: Expected = &[("configuration.verifier", "failure")];
    let image = "registry.example.com/app@sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let (ran, found) = examine(&home, &[]).await;
    assert_found("not initialized", &ran, &found, &[]);
    fs::create_dir_all(home.path().join(".sigstore/root")).unwrap();
    home.write(".sigstore/root/remote.json", "{}");
    for _ in ["by the file", "by the variable"] {
        let (ran, found) = examine(&home, &[]).await;
        assert_found("initialized", &ran, &found, expected);
        let ran = home.run(&["verify", "-s", image]).await;
        assert!(ran.stderr.contains("was chosen with cosign initialize in "), "{ran:?}");
        fs::remove_dir_all(home.path().join(".sigstore")).unwrap();
        home.set("TUF_ROOT", "/sigstore");
        fs::create_dir_all(home.path().join(".sigstore")).unwrap();
    }
}

#[tokio::test]
async fn a_warning_is_a_failure_only_where_that_is_asked_for() {
    let home = Home::new();
    let mut config = clean(&home);
    config["excutor"] = json!({});
    home.write(".ratify/config.json", config.to_string());
    assert_eq!(home.run(&["doctor"]).await.code, Some(0));
    assert_eq!(home.run(&["doctor", "--strict"]).await.code, Some(1));
}

#[tokio::test]
async fn the_report_is_read_by_people() {
    let home = Home::new();
    let options = RegistryOptions {
        tls: true,
        credentials: Some((USER.to_owned(), PASSWORD.to_owned())),
        ..RegistryOptions::default()
    };
    let registry = RunningRegistry::start(options).await.unwrap();
    let image = put_app(&registry);
    home.log_in(&registry.host(), USER, PASSWORD);
    let config = clean(&home);
    trust(&home, &registry.host(), registry.ca_pem().unwrap());
    home.write(".ratify/config.json", config.to_string());
    let ran = home.run(&["doctor", &image]).await;
    assert_keeps_secrets(&ran);
    assert_eq!(ran.code, Some(0), "{}", ran.stdout);
    insta::assert_snapshot!("clean", settled(&home, &ran.stdout));

    let mut config = clean(&home);
    config["excutor"] = json!({});
    config["verifier"]["plugins"][0]["name"] = json!("absent");
    home.write(".ratify/config.json", config.to_string());
    home.log_in(&registry.host(), USER, "wrong");
    let ran = home.run(&["doctor", &image, "169.254.169.254/app:v1"]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    insta::assert_snapshot!("sick", settled(&home, &ran.stdout));
}
