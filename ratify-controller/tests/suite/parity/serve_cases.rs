//! What `ratify serve` is asked under both hosts, by Gatekeeper's requests and by others.

use serde_json::{Value, json};

use super::{
    images::SPDX_JSON,
    rego_cases::rego_serve_cases,
    rows::*,
    verify_cases::{clear, layouts, sample},
};

pub(super) const VERIFY: &str = "/ratify/gatekeeper/v1/verify";
pub(super) const MUTATE: &str = "/ratify/gatekeeper/v1/mutate";

/// One server and what it is sent, in order.
pub(super) struct ServeCase {
    pub(super) name: &'static str,
    pub(super) config: Value,
    /// Path and body.
    pub(super) posts: Vec<(&'static str, String)>,
    pub(super) rows: &'static [&'static str],
}

/// Gatekeeper's request for these keys.
pub(super) fn asking(keys: &[&str]) -> String {
    json!({
        "apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "ProviderRequest",
        "request": {"keys": keys},
    })
    .to_string()
}

pub(super) fn serve_cases() -> Vec<ServeCase> {
    let mut cases =
        vec![images(), away(), bodies(), external(), reading(), nested(), documents(), enemies()];
    cases.extend(rego_serve_cases());
    cases
}

fn images() -> ServeCase {
    let keys = [
        "{api}/one:v1",
        "{api}/two:v1",
        "{api}/plain:v1",
        "{api}/one:v9",
        "{api}/absent:v1",
        "{nobody}/one:v1",
        "{api}/one@{one}",
        "{api}/one:v1@{one}",
        "[ns]{api}/one:v1",
        "[]{api}/two:v1",
        "[ns]{api}/one@{one}",
        "[ns{api}/one:v1",
        "{api}/one:v1\n",
        "A/B",
        "A/B@bad",
        "",
    ];
    // What is said of a registry that is away is another case.
    let there: Vec<_> = keys.into_iter().filter(|key| !key.contains("{nobody}")).collect();
    let one = asking(&["{api}/one:v1", "{api}/one:v1"]);
    ServeCase {
        name: "images of every kind",
        config: clear(sample()),
        posts: vec![
            (VERIFY, asking(&there)),
            (MUTATE, asking(&keys)),
            (VERIFY, one.clone()),
            (MUTATE, one),
        ],
        rows: &[CONNECT_TEXT],
    }
}

fn away() -> ServeCase {
    ServeCase {
        name: "a registry that is away",
        config: clear(sample()),
        posts: vec![(VERIFY, asking(&["{nobody}/one:v1"]))],
        rows: &[PASSING],
    }
}

fn bodies() -> ServeCase {
    let mut posts = Vec::new();
    for path in [VERIFY, MUTATE] {
        for body in [
            "",
            "{",
            "null",
            "{}",
            "[]",
            "\"text\"",
            r#"{"request":{}}"#,
            r#"{"request":null}"#,
            r#"{"request":{"keys":null}}"#,
            r#"{"request":{"keys":[]}}"#,
            r#"{"request":{"keys":"{api}/one:v1"}}"#,
            r#"{"request":{"keys":[1]}}"#,
            r#"{"REQUEST":{"Keys":["{api}/one:v1"]}}"#,
            r#"{"request":{"keys":["{api}/one:v1"]}} {}"#,
            r#"{"apiVersion":"other","kind":"Other","request":{"keys":["{api}/one:v1"]},"more":1}"#,
        ] {
            posts.push((path, body.to_owned()));
        }
    }
    posts.push(("/ratify/gatekeeper/v2/verify", asking(&[])));
    posts.push(("/", String::new()));
    ServeCase {
        name: "bodies of every kind",
        config: clear(sample()),
        posts,
        rows: &[BAD_BODY, DECODE_TEXT],
    }
}

fn external() -> ServeCase {
    let keys = [
        "layouts.example.com/two:v1",
        "layouts.example.com/plain:v1",
        "layouts.example.com/one:v9",
    ];
    ServeCase {
        name: "an external store answers Gatekeeper",
        config: layouts(sample()),
        posts: vec![(VERIFY, asking(&keys)), (MUTATE, asking(&keys))],
        rows: &[],
    }
}

fn reading() -> ServeCase {
    let reader =
        json!([{"name": "reads", "type": "reader", "artifactTypes": "*", "readBlobs": true}]);
    ServeCase {
        name: "blobs are read, asked by Gatekeeper",
        config: clear(reader),
        posts: vec![(VERIFY, asking(&["{api}/two:v1", "{api}/binary:v1"]))],
        rows: &[],
    }
}

fn nested() -> ServeCase {
    let verifier = json!([{"name": "sample", "artifactTypes": "*", "nestedReferences": "*"}]);
    ServeCase {
        name: "nested artifacts, asked by Gatekeeper",
        config: clear(verifier),
        posts: vec![(VERIFY, asking(&["{api}/nested:v1", "{api}/one:v1"]))],
        rows: &[],
    }
}

fn documents() -> ServeCase {
    let verifiers = json!([
        {"name": "sbom", "artifactTypes": SPDX_JSON, "disallowedLicenses": ["GPL-2.0-only"]},
        {"name": "rest", "type": "sample", "artifactTypes": "*"},
    ]);
    ServeCase {
        name: "documents, asked by Gatekeeper",
        config: clear(verifiers),
        posts: vec![(VERIFY, asking(&["{api}/sbom:v1"])), (VERIFY, asking(&["{api}/licences:v1"]))],
        rows: &[PLUGIN_REASON],
    }
}

fn enemies() -> ServeCase {
    let fails =
        json!([{"name": "enemy", "type": "stress", "misbehave": "exit_nonzero_with_error_json"}]);
    ServeCase {
        name: "a plugin fails, asked by Gatekeeper",
        config: clear(fails),
        posts: vec![(VERIFY, asking(&["{api}/one:v1"]))],
        rows: &[PLUGIN_ERROR, PLUGIN_OUTPUT],
    }
}
