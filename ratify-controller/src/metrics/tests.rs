//! All that is shown, against its document.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ratify_core::executor::Executor;

use super::*;
use crate::{
    cache::CacheOptions,
    gatekeeper::ServiceConfig,
    k8s::{
        kind::Kind,
        resource_counts::{One, State},
    },
    metrics::measures::VerifierRun,
    plugin::{
        process::{HostOptions, Orphans, PluginHost},
        sandbox::MemoryBudget,
    },
    state::Snapshot,
};

/// v1's metrics (1.4.0).
const V1: [&str; 9] = [
    "ratify_verification_request",
    "ratify_mutation_request",
    "ratify_verifier_duration",
    "ratify_system_error_count_total",
    "ratify_registry_request_count_total",
    "ratify_blob_cache_count_total",
    "ratify_aad_exchange_duration",
    "ratify_acr_exchange_duration",
    "ratify_akv_certificate_duration",
];

/// A server in which something has happened of each kind that can be made to happen here.
fn board() -> Board {
    let board = Board::default();
    let (active, rules) = (
        Arc::new(Active::new(Snapshot::new(Executor::new(vec![], vec![], None)))),
        RulesInForce::default(),
    );
    let measures = Arc::<Measures>::default();
    let run = VerifierRun { verifier: "sbom", tenant: "team", is_success: true, is_error: false };
    measures.verifier_ran(run, Duration::from_millis(3));
    board.show(process::Shown);
    board.show_traces(Sent::default());
    board.show(measures::Shown(Arc::clone(&measures)));
    let (connections, results) = Default::default();
    board.show(registries::Shown { connections, results });
    let options = CacheOptions { bytes: 1 << 20, ttl: Duration::from_secs(1) };
    board.show(verdicts::Shown(VerdictCache::new(&options, rules.clone())));
    let budget = MemoryBudget { per_plugin: 1 << 30, total: 1 << 30 };
    let host = PluginHost::new(HostOptions::new(None, budget, Orphans::LetGo)).unwrap();
    board.show(plugins::Shown { host: Arc::new(host), loaded: Arc::default() });
    let (resources, rotation) =
        (Arc::<ResourceCounts>::default(), Arc::<RotationCounts>::default());
    let one = One { state: State::Kept, is_pinned: true, has_moved: false };
    resources.tried(Kind::ALL[0], State::Kept);
    resources.change(Kind::ALL[0], None, Some(one));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    rotation.note_authority(made.cert.pem().as_bytes());
    board.show_serving(Serving {
        service: Arc::new(Service::new(Arc::clone(&active), ServiceConfig::default())),
        active,
        rules,
        tls: None,
        resources: Some(resources),
        rotation: Some(rotation),
    });
    board
}

/// What a family says of itself, as a row of the document has it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    type_: String,
    /// `None` where there is no series to tell.
    labels: Option<String>,
    meaning: String,
}

fn exposed(text: &str) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for line in text.lines() {
        let words = || line.splitn(4, ' ').map(str::to_owned).collect::<Vec<_>>();
        if line.starts_with("# HELP ") {
            let meaning = words()[3].trim_end_matches('.').to_owned();
            rows.entry(words()[2].clone()).or_default().meaning = meaning;
        } else if line.starts_with("# TYPE ") {
            rows.entry(words()[2].clone()).or_default().type_ = words()[3].clone();
        } else {
            let series = line.rsplit_once(' ').unwrap().0;
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
                name.strip_suffix(suffix).filter(|family| rows.contains_key(*family))
            });
            let row = rows.get_mut(family.unwrap_or(name)).unwrap_or_else(|| panic!("{line}"));
            let labels = labels.split("\",").filter_map(|one| one.split_once('='));
            let labels = labels.map(|(label, _)| label).filter(|label| *label != "le");
            row.labels = Some(labels.collect::<Vec<_>>().join(", "));
        }
    }
    rows
}

/// The document's rows: name, then the rest.
fn documented(document: &str) -> BTreeMap<String, (Row, String)> {
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, type_, labels, meaning, from] = cells.try_into().ok()?;
        let plain = |text: &str| text.replace('`', "");
        let labels = Some(plain(labels)).map(|text| if text == "–" { String::new() } else { text });
        let row = Row { type_: type_.to_owned(), labels, meaning: meaning.to_owned() };
        Some((plain(name), (row, from.to_owned())))
    });
    rows.collect()
}

fn from(name: &str) -> &'static str {
    match name {
        _ if V1.contains(&name) || name.starts_with("process_") => "v1",
        _ => "new",
    }
}

#[tokio::test]
async fn the_document_says_of_every_metric_what_it_says_of_itself() {
    let text = board().text(Form::Prometheus).unwrap();
    let exposed = exposed(&text);
    let document = include_str!("../../../docs/OBSERVABILITY.md");
    let mut documented = documented(document);
    let mut wrong = String::new();
    for (name, row) in exposed {
        let (told, told_from) = documented.remove(&name).unwrap_or_default();
        let labels = row.labels.clone().or(told.labels.clone());
        let expected = Row { labels, ..row };
        if expected != told || told_from != from(&name) {
            let Row { type_, labels, meaning } = expected;
            let labels = labels.unwrap_or("?".to_owned());
            let labels = match labels.as_str() {
                "" => "–".to_owned(),
                labels => format!("`{}`", labels.replace(", ", "`, `")),
            };
            let from = from(&name);
            wrong.push_str(&format!("| `{name}` | {type_} | {labels} | {meaning} | {from} |\n"));
        }
    }
    assert!(wrong.is_empty(), "docs/OBSERVABILITY.md should say:\n{wrong}");
    let gone: Vec<_> = documented.keys().collect();
    assert!(gone.is_empty(), "docs/OBSERVABILITY.md knows what is not there: {gone:?}");
}

#[tokio::test]
async fn both_forms_tell_the_same() {
    let board = board();
    let [old, new] = [Form::Prometheus, Form::OpenMetrics].map(|form| board.text(form).unwrap());
    // The order of labels and of a histogram's series is each form's own, and how bounds are written.
    let series = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let lines = lines.filter(|line| !line.starts_with("process_"));
        let names = lines.map(|line| line.rsplit_once(' ').unwrap().0.replace(".0\"", "\""));
        let sorted = names.map(|name| {
            let mut parts: Vec<String> = name.split(['{', ',', '}']).map(str::to_owned).collect();
            parts.sort();
            parts
        });
        sorted.collect::<BTreeSet<_>>()
    };
    assert_eq!(series(&old), series(&new));
    assert!(new.ends_with("# EOF\n") && !old.contains("# EOF"));
    assert!(old.contains("# TYPE ratify_answers_total counter\n"), "{old}");
    assert!(new.contains("# TYPE ratify_answers counter\n"), "{new}");
}
