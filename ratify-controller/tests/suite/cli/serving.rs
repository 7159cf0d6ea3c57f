//! `ratify serve` as a process: that it listens where it is told, and ends when it is told; and that
//! other commands end so, too.

use std::{fs, net::TcpListener, path::Path, time::Duration};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use rcgen::ExtendedKeyUsagePurpose::ServerAuth;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{Home, Server, YES, config, put_app, verifier};
use crate::tls::parts::Authority;

fn home() -> Home {
    let home = Home::new();
    home.script_plugin("judge", YES);
    home.configure(&config(&verifier("judge")));
    home
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_exit_code_0_when_it_is_terminated_or_interrupted() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let (home, image) = (home(), put_app(&registry));
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut server = Server::start(&home).await;
        assert_eq!(server.ask(&image).await["value"]["isSuccess"], true);
        let pid = Pid::from_raw(server.process.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(15), server.process.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("it does not end: {}", server.log()));
        assert_eq!(status.unwrap().code(), Some(0), "{signal:?}: {}", server.log());
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_an_error() {
    let home = home();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let mut text = String::new();
    for address in [&taken, "nowhere:x", "127.0.0.1", "127.0.0.1:99999"] {
        let ran = home.run(&["serve", "--http", address]).await;
        text.push_str(&format!("{}\n", ran.shown(&home)));
    }
    insta::assert_snapshot!(text, @"
    [1] Error: cannot listen on 127.0.0.1:<port>: Address already in use (os error 98)
    [1] Error: cannot listen on nowhere:x: invalid port value
    [1] Error: cannot listen on 127.0.0.1: invalid socket address
    [1] Error: cannot listen on 127.0.0.1:<port>: invalid port value
    ");
}

/// As in v1; and who waits for certificates that nobody makes learns why.
#[tokio::test]
async fn without_the_manager_nobody_makes_certificates_and_that_is_said() {
    let mut home = home();
    home.set("RATIFY_CERT_ROTATION", "1");
    fs::create_dir(home.path().join("tls")).unwrap();
    let serve = ["serve", "--http", "127.0.0.1:0", "--cert-dir", "tls"];
    let ran = home.run(&serve).await;
    let said = "RATIFY_CERT_ROTATION has no effect without --enable-crd-manager";
    assert!(ran.code == Some(1) && ran.stderr.contains(said), "{ran:?}");
    assert!(ran.error().contains("tls/tls.crt"), "{ran:?}");
    // Somebody else brought them.
    let own = Authority::new("ratify").issue_for(vec![ServerAuth]);
    own.write(&home.path().join("tls"));
    let server = Server::run(home.command(&serve)).await;
    assert!(server.log().contains(said), "{}", server.log());
    home.set("RATIFY_CERT_ROTATION", "0");
    let server = Server::run(home.command(&serve)).await;
    assert!(!server.log().contains("RATIFY_CERT_ROTATION"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_what_registries_answered_and_how_long_verifiers_took_by_namespace() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let (home, image) = (home(), put_app(&registry));
    let flags = ["serve", "--http", "127.0.0.1:0", "--metrics-enabled", "--metrics-port", "0"];
    let cached = [&flags[..], &["--cache-enabled"]].concat();
    let server = Server::run(home.command(&cached)).await;
    for key in [image.clone(), format!("[team]{image}")] {
        assert_eq!(server.ask(&key).await["value"]["isSuccess"], true);
    }
    let absent = image.replace(":v1", ":none");
    assert_ne!(server.ask(&absent).await["value"]["isSuccess"], true);
    let log = server.log();
    let (_, address) = log.split_once("metrics backend: prometheus on ").unwrap();
    let address = address.split_whitespace().next().unwrap().trim_matches('"');
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let answer = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
    let text = answer.text().await.unwrap().replace(&registry.host(), "<registry>");
    let of = |prefix: &str| {
        let is_meant = |line: &&str| line.starts_with(prefix) && !line.contains("_bucket{");
        let lines = text.lines().filter(is_meant);
        let lines = lines.filter(|line| !line.contains("_sum") && !line.contains("_bytes"));
        lines.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!([of("ratify_ver"), of("ratify_mutation"), of("ratify_system")].join("\n"), @r#"
    ratify_verification_request_count 3
    ratify_verifier_duration_count{verifier="judge-1",success="true",error="false",workload_namespace=""} 1
    ratify_verifier_duration_count{verifier="judge-1",success="true",error="false",workload_namespace="team"} 1
    ratify_verdict_cache_count_total{event="hit"} 0
    ratify_verdict_cache_count_total{event="miss"} 3
    ratify_verdict_cache_count_total{event="stored"} 2
    ratify_verdict_cache_count_total{event="not_stored_passing"} 1
    ratify_verdict_cache_count_total{event="not_stored_changed"} 0
    ratify_verdict_cache_count_total{event="shared_hit"} 0
    ratify_verdict_cache_count_total{event="shared_miss"} 0
    ratify_verdict_cache_count_total{event="shared_stored"} 0
    ratify_verdict_cache_count_total{event="shared_not_stored"} 0
    ratify_verdict_cache_count_total{event="shared_refused"} 0
    ratify_verdict_cache_count_total{event="shared_error"} 0
    ratify_verdict_cache_entries 2
    ratify_mutation_request_count 0
    ratify_system_error_count_total{error="timeout",workload_namespace=""} 0
    ratify_system_error_count_total{error="failure",workload_namespace=""} 0
    "#);
    // v1's bounds, and one above them all.
    let buckets = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(buckets("ratify_verification_request_bucket{"), 26, "{text}");
    assert_eq!(buckets("ratify_mutation_request_bucket{"), 20, "{text}");
    // HEAD, list, and the artifact's manifest, which is on disk for the second.
    insta::assert_snapshot!([of("ratify_registry_request_count"), of("ratify_blob")].join("\n"), @r#"
    ratify_registry_request_count_total{registry_host="<registry>",status_code="200",workload_namespace=""} 3
    ratify_registry_request_count_total{registry_host="<registry>",status_code="200",workload_namespace="team"} 2
    ratify_registry_request_count_total{registry_host="<registry>",status_code="404",workload_namespace=""} 1
    ratify_blob_cache_count_total{hit="false",workload_namespace=""} 1
    ratify_blob_cache_count_total{hit="true",workload_namespace="team"} 1
    "#);
}

#[tokio::test]
async fn a_metrics_backend_that_is_not_known_or_a_port_that_is_taken_is_an_error() {
    let home = home();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut text = String::new();
    for flags in [["--metrics-type", "statsd"], ["--metrics-port", &port]] {
        let line = ["serve", "--http", "127.0.0.1:0", "--metrics-enabled", flags[0], flags[1]];
        let ran = home.run(&line).await;
        text.push_str(&format!("{}\n", ran.shown(&home)));
    }
    insta::assert_snapshot!(text, @"
    [1] Error: failed to initialize metrics exporter statsd: unsupported metrics backend statsd
    [1] Error: error listening on 127.0.0.1:<port>: Address already in use (os error 98)
    ");
}

#[tokio::test]
async fn without_an_address_it_says_so_and_ends() {
    let home = home();
    let ran = home.run(&["serve"]).await;
    assert_eq!(ran.code, Some(0));
    let said = "The http server address configuration is not set. Skipping server creation";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
}

/// What is running would otherwise go on without anyone, and its private directory would stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_told_to_end_leaves_no_plugin_and_no_file_behind() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let image = put_app(&registry);
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let mut home = home();
        let temporary = home.path().join("tmp");
        fs::create_dir(&temporary).unwrap();
        home.set("TMPDIR", temporary.to_str().unwrap());
        let started = home.path().join("started");
        let body = format!(
            "cat >/dev/null; echo $$ > {0}.new; mv {0}.new {0}; sleep 600",
            started.display()
        );
        home.script_plugin("judge", &body);
        let mut process = home.command(&["verify", "--subject", &image]).spawn().unwrap();
        let plugin = wait_for(&started).await;
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 1);
        let pid = Pid::from_raw(process.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(15), process.wait()).await;
        assert_eq!(ended.unwrap().unwrap().code(), Some(code), "{signal:?}");
        let plugin = Pid::from_raw(plugin.trim().parse().unwrap()).unwrap();
        assert!(test_kill_process(plugin).is_err(), "{signal:?}: the plugin runs on");
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "{signal:?}: files are left");
    }
}

async fn wait_for(file: &Path) -> String {
    for _ in 0..1000 {
        if let Ok(text) = fs::read_to_string(file) {
            return text;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the plugin does not start");
}
