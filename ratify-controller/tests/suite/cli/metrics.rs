//! What `ratify serve` shows of itself, after it has done some of everything: that it is what its
//! document, the chart's alerts and its dashboard name, and that real Prometheus reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::json;

use super::{Home, Server, YES, config, put_app, sample, sourced, this_platform, verifier};
use crate::{
    monitoring::documented,
    parity::machines::Machines,
    serve::redis::{Redis, USER},
};

/// What Prometheus 3 sends.
const OF_PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
    text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// How often a scrape is looked at before a test gives up, and how soon again.
const LOOKS: usize = 600;
const INTERVAL: Duration = Duration::from_millis(50);

/// Content type and text.
async fn scrape(server: &Server, accept: Option<&str>) -> (String, String) {
    let log = server.log();
    let (_, address) = log.split_once("intializing metrics backend: prometheus on ").unwrap();
    let address = address.split_whitespace().next().unwrap().trim_matches('"');
    let mut request = reqwest::Client::new().get(format!("http://{address}/metrics"));
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let type_ = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (type_, answer.text().await.unwrap())
}

/// Of each family: its type, and the labels of its series.
fn families(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut families: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, type_)) =
            line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
        {
            families.insert(name.to_owned(), (type_.to_owned(), BTreeSet::new()));
        }
        let Some((name, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            name.strip_suffix(suffix).filter(|name| families.contains_key(*name))
        });
        let (_, known) = families.get_mut(of_histogram.unwrap_or(name)).unwrap();
        let labels = labels.split("\",").filter_map(|one| one.split_once("=\""));
        let labels = labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le");
        known.extend(labels);
    }
    families
}

/// Two verifiers, of which one came from a registry, have said yes to two namespaces; a tag was
/// resolved, and one is not there.
async fn a_server_that_worked(home: &mut Home, registry: &RunningRegistry) -> Server {
    let image = put_app(registry);
    home.allow_sources();
    home.script_plugin("judge", YES);
    let plugin = format!("{}/plugins/sample:1.0.0", registry.host());
    let program = format!("{}={}", this_platform(), sample().display());
    let push = ["plugin", "push", &plugin, "--type", "sample", "--version", "1.0.0"];
    home.must(&[&push[..], &["--platform", &program]].concat()).await;
    let mut config = config(&verifier("judge"));
    config["verifier"]["plugins"] = json!([verifier("judge"), sourced("sample", &plugin)]);
    home.configure(&config);
    let flags = ["serve", "--http", "127.0.0.1:0", "--metrics-enabled", "--metrics-port", "0"];
    let server = Server::run(home.command(&[&flags[..], &["--cache-enabled"]].concat())).await;
    for key in [image.clone(), image.clone(), format!("[team]{image}")] {
        let item = server.ask(&key).await;
        assert_eq!(item["value"]["isSuccess"], true, "{item} {}", server.log());
    }
    assert_ne!(server.ask(&image.replace(":v1", ":none")).await["value"]["isSuccess"], true);
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_is_what_its_document_says_and_prometheus_reads_it() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let mut home = Home::new();
    let server = a_server_that_worked(&mut home, &registry).await;
    let (type_, text) = scrape(&server, None).await;
    assert_eq!(type_, "text/plain; version=0.0.4; charset=utf-8");
    let (known, shown) = (documented(), families(&text));
    let names = |names: Vec<&String>| names.into_iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(shown.keys().collect()), names(known.keys().collect()));
    let mut silent = Vec::new();
    for (name, (type_, labels)) in &shown {
        assert_eq!(type_, &known[name].type_, "{name}");
        match labels.is_empty() {
            true if !known[name].labels.is_empty() => silent.push(name.as_str()),
            true => {}
            false => assert_eq!(labels, &known[name].labels, "{name}"),
        }
    }
    // Azure, TLS and a cluster are not there.
    let expected = [
        "ratify_aad_exchange_duration",
        "ratify_acr_exchange_duration",
        "ratify_akv_certificate_duration",
        "ratify_certificate_expiration_timestamp_seconds",
        "ratify_certificate_rotations_total",
        "ratify_plugin_pins",
        "ratify_registry_requests_per_second",
        "ratify_resource_reconciles_total",
        "ratify_resources",
        "ratify_trace_export_spans_total",
    ];
    assert_eq!(silent, expected, "{text}");
    let counted = |series: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).trim().to_owned()
    };
    let allowed = r#"ratify_answers_total{operation="verify",outcome="allowed"}"#;
    let denied = r#"ratify_answers_total{operation="verify",outcome="denied"}"#;
    assert_eq!([counted(allowed), counted(denied)], ["3", "1"]);
    assert_eq!(counted(r#"ratify_plugin_loads_total{outcome="downloaded"}"#), "1");
    assert_eq!(counted(r#"ratify_configuration_parts{part="verifiers"}"#), "2");
    let info = text.lines().find(|line| line.starts_with("ratify_plugin_info{")).unwrap();
    for part in [r#"name="sample-1""#, r#"version="1.0.0""#, r#"digest="sha256:"#, r#"signer="""#] {
        assert!(info.contains(part), "{info}");
    }
    prometheus_reads(&text, &scrape(&server, Some(OF_PROMETHEUS)).await);
}

/// By `promtool`: the older form with its checks of names and helps, OpenMetrics by the parser that
/// reads a scrape.
fn prometheus_reads(text: &str, (type_, open): &(String, String)) {
    assert_eq!(type_, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.ends_with("# EOF\n"), "{open}");
    let Some(machines) = Machines::find() else { return };
    let program: PathBuf = machines.tool("promtool");
    let mut check = Command::new(&program);
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut check = check.stderr(Stdio::piped()).spawn().unwrap();
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = check.wait_with_output().unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(checked.status.success() && said.is_empty(), "{said}");
    // It wants a time with each value.
    let folder = tempfile::tempdir().unwrap();
    let timed = open.lines().map(|line| match line.starts_with('#') {
        true => format!("{line}\n"),
        false => format!("{line} 1700000000\n"),
    });
    std::fs::write(folder.path().join("scrape"), timed.collect::<String>()).unwrap();
    let mut create = Command::new(&program);
    create.args(["tsdb", "create-blocks-from", "openmetrics", "scrape", "blocks"]);
    let created = create.current_dir(folder.path()).output().unwrap();
    let said = [created.stdout, created.stderr].concat();
    assert!(created.status.success(), "{} {open}", String::from_utf8_lossy(&said));
}

/// A replica with verdicts in memory and in Redis.
async fn a_replica(home: &Home, redis: &Redis, folder: &Path) -> Server {
    let [key, password] = ["key", "password"].map(|name| folder.join(name).display().to_string());
    let address = format!("redis://{}", redis.server.address);
    let serve = ["serve", "--http", "127.0.0.1:0", "--metrics-enabled", "--metrics-port", "0"];
    let cache = ["--cache-enabled", "--cache-type=redis", "--cache-address", &address];
    let secrets = ["--cache-key-file", &key, "--cache-password-file", &password];
    let line = [&serve[..], &cache, &secrets, &["--cache-username", USER]].concat();
    let server = Server::run(home.command(&line)).await;
    until_scraped(&server, "ratify_verdict_cache_shared_up 1").await;
    server
}

/// Waits until a scrape has a line.
async fn until_scraped(server: &Server, line: &str) {
    let mut text = String::new();
    for _ in 0..LOOKS {
        text = scrape(server, None).await.1;
        if text.lines().any(|shown| shown == line) {
            return;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    panic!("never {line}: {text} {}", server.log());
}

/// What became of verdicts so far, as a scrape has it.
async fn events(server: &Server) -> BTreeMap<String, usize> {
    let (_, text) = scrape(server, None).await;
    let series = "ratify_verdict_cache_count_total{event=\"";
    let events = text.lines().filter_map(|line| line.strip_prefix(series)?.split_once("\"} "));
    events.map(|(event, count)| (event.to_owned(), count.parse().unwrap())).collect()
}

/// Asks about an image that is allowed. What was counted for it comes back, when it is as much as is
/// expected: some of it is counted behind the answer.
async fn counted_for(server: &Server, key: &str, expected: &[&str]) -> Vec<String> {
    let before = events(server).await;
    assert_eq!(server.ask(key).await["value"]["isSuccess"], true, "{}", server.log());
    let mut grown = Vec::new();
    for _ in 0..LOOKS {
        let now = events(server).await;
        let by = |(event, count): (&String, &usize)| vec![event.clone(); count - before[event]];
        grown = now.iter().flat_map(by).collect();
        if grown.len() >= expected.len() {
            break;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    grown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_real_redis_a_scrape_says_what_was_shared() {
    let Some(machines) = Machines::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(&machines, folder.path(), false).await;
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let home = Home::new();
    home.script_plugin("judge", YES);
    home.configure(&config(&verifier("judge")));
    let image = put_app(&registry);
    let digest = home.must(&["resolve", "--subject", &image]).await;
    let image = image.replace(":v1", &format!("@{}", digest.trim()));
    let one = a_replica(&home, &redis, folder.path()).await;
    let other = a_replica(&home, &redis, folder.path()).await;

    let shared = ["miss", "shared_miss", "shared_stored", "stored"];
    let (found, kept) = (["miss", "shared_hit"], ["hit"]);
    // A Redis that has no processor for a tenth of a second is no answer: then another image is tried.
    let mut seen = Vec::new();
    let namespaces = (0..20).map(|number| format!("[n{number}]{image}"));
    for key in namespaces {
        let of_one = counted_for(&one, &key, &shared).await;
        let of_other = counted_for(&other, &key, &found).await;
        let again = counted_for(&other, &key, &kept).await;
        if of_one == shared && of_other == found && again == kept {
            seen.clear();
            break;
        }
        seen.push([of_one, of_other, again]);
    }
    assert!(seen.is_empty(), "{seen:?}");

    redis.server.kill().await;
    for server in [&one, &other] {
        until_scraped(server, "ratify_verdict_cache_shared_up 0").await;
        let alone = ["miss", "shared_not_stored", "stored"];
        let key = format!("[alone]{image}");
        assert_eq!(counted_for(server, &key, &alone).await, alone);
        assert_eq!(counted_for(server, &key, &kept).await, kept);
    }
    let connects = |text: &str| {
        let name = "ratify_verdict_cache_shared_connects_total ";
        let count = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        count.parse::<u64>().unwrap()
    };
    let before = connects(&scrape(&one, None).await.1);
    redis.again().await;
    until_scraped(&one, "ratify_verdict_cache_shared_up 1").await;
    assert!(connects(&scrape(&one, None).await.1) > before);
}
