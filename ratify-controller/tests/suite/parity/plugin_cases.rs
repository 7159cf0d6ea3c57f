//! What `ratify verify` is asked under both hosts about plugins: v1's own, one that misbehaves, and
//! those that are pulled.

use serde_json::{Value, json};

use super::{
    images::{SARIF, SPDX_JSON, SPDX_TEXT},
    rows::*,
    verify_cases::{Case, clear, sample, with},
};

pub(super) fn plugin_cases() -> Vec<Case> {
    [boms(), licences_and_schemas(), scans(), enemies(), dynamic()].concat()
}

fn boms() -> Vec<Case> {
    let sbom = |more: Value| {
        clear(json!([merged(json!({"name": "sbom", "artifactTypes": SPDX_JSON}), more)]))
    };
    vec![
        Case::new("sbom passes", "{api}/sbom:v1", sbom(json!({}))),
        Case::new(
            "sbom of the other protocol version",
            "{api}/sbom:v1",
            sbom(json!({"version": "2.0.0-alpha.1"})),
        ),
        Case::new(
            "sbom of a version it does not speak",
            "{api}/sbom:v1",
            sbom(json!({"version": "3.0.0"})),
        )
        .differs(&[PLUGIN_ERROR, PLUGIN_OUTPUT]),
        Case::new(
            "sbom finds a licence",
            "{api}/sbom:v1",
            sbom(json!({"disallowedLicenses": ["GPL-2.0-only"]})),
        )
        .differs(&[PLUGIN_REASON]),
        Case::new(
            "sbom finds a package",
            "{api}/sbom:v1",
            sbom(json!({"disallowedPackages": [{"name": "busybox", "version": "1.35.0-r29"}]})),
        )
        .differs(&[PLUGIN_REASON]),
        Case::new(
            "sbom finds no package of that version",
            "{api}/sbom:v1",
            sbom(json!({"disallowedPackages": [{"name": "busybox", "version": "0.1"}]})),
        ),
        Case::new("sbom cannot read the document", "{api}/bad-sbom:v1", sbom(json!({})))
            .differs(&[PLUGIN_REASON]),
        Case::new("sbom of another type", "{api}/one:v1", clear(json!([{"name": "sbom"}])))
            .differs(&[PLUGIN_REASON]),
        Case::new(
            "sbom with nested references and none there",
            "{api}/sbom:v1",
            sbom(json!({"nestedReferences": "application/vnd.cncf.notary.signature"})),
        ),
    ]
}

fn licences_and_schemas() -> Vec<Case> {
    let licences = |allowed: Value| {
        clear(json!([{"name": "licensechecker", "artifactTypes": SPDX_TEXT,
                "allowedLicenses": allowed}]))
    };
    let schema = |url: &str| {
        clear(
            json!([{"name": "schemavalidator", "artifactTypes": SARIF, "schemas": {(SARIF): url}}]),
        )
    };
    vec![
        Case::new(
            "licensechecker passes",
            "{api}/licences:v1",
            licences(json!(["MIT", "GPL-2.0-only"])),
        ),
        Case::new("licensechecker finds a licence", "{api}/licences:v1", licences(json!(["MIT"]))),
        Case::new(
            "licensechecker cannot read the document",
            "{api}/sbom:v1",
            clear(json!([{"name": "licensechecker", "allowedLicenses": ["MIT"]}])),
        )
        .differs(&[PLUGIN_ERROR, PLUGIN_OUTPUT]),
        Case::new(
            "schemavalidator passes",
            "{api}/scan:v1",
            schema("file://{documents}/test/testdata/sarif-2.1.0-rtm.5.json"),
        ),
        Case::new(
            "schemavalidator finds another shape",
            "{api}/bad-scan:v1",
            schema("file://{documents}/test/testdata/sarif-2.1.0-rtm.5.json"),
        )
        .differs(&[PLUGIN_REASON]),
        Case::new(
            "schemavalidator has no such schema",
            "{api}/scan:v1",
            schema("file://{home}/absent.json"),
        )
        .differs(&[PLUGIN_REASON]),
        Case::new(
            "schemavalidator does not know the media type",
            "{api}/one:v1",
            clear(json!([{"name": "schemavalidator", "schemas": {}}])),
        )
        .differs(&[PLUGIN_REASON]),
    ]
}

fn scans() -> Vec<Case> {
    let scan = |more: Value| {
        clear(json!([merged(json!({"name": "vulnerabilityreport", "artifactTypes": SARIF}), more)]))
    };
    vec![
        Case::new("vulnerabilityreport passes", "{api}/scan:v1", scan(json!({}))),
        Case::new(
            "vulnerabilityreport finds the report old",
            "{api}/scan:v1",
            scan(json!({"maximumAge": "24h"})),
        )
        .differs(&[PLUGIN_REASON]),
        Case::new(
            "vulnerabilityreport has a wrong age",
            "{api}/scan:v1",
            scan(json!({"maximumAge": "24x"})),
        )
        .differs(&[PLUGIN_REASON]),
        Case::new(
            "vulnerabilityreport finds a CVE",
            "{api}/scan:v1",
            scan(json!({"denylistCVEs": ["CVE-2021-36159"]})),
        ),
        Case::new(
            "vulnerabilityreport finds a severity",
            "{api}/scan:v1",
            scan(json!({"disallowedSeverities": ["high", "critical"]})),
        ),
        Case::new(
            "vulnerabilityreport is told to pass the report through",
            "{api}/bad-scan:v1",
            scan(json!({"passthrough": true})),
        ),
        Case::new("vulnerabilityreport finds no date", "{api}/undated-scan:v1", scan(json!({})))
            .differs(&[PLUGIN_REASON]),
        Case::new("vulnerabilityreport finds another shape", "{api}/bad-scan:v1", scan(json!({})))
            .differs(&[PLUGIN_REASON]),
    ]
}

fn enemies() -> Vec<Case> {
    let stress = |name, how: &str| {
        Case::new(
            name,
            "{api}/one:v1",
            clear(json!([{"name": "enemy", "type": "stress", "misbehave": how}])),
        )
    };
    vec![
        stress("stress answers on several lines", "pretty").differs(&[PLUGIN_READ]),
        stress("stress answers twice", "two_lines").differs(&[PLUGIN_UNREAD]),
        stress("stress answers on standard error", "json_on_stderr"),
        stress("stress writes half a line to standard error", "stderr_without_newline")
            .differs(&[PLUGIN_READ]),
        stress("stress fails as the protocol says", "exit_nonzero_with_error_json")
            .differs(&[PLUGIN_ERROR, PLUGIN_OUTPUT]),
        stress("stress says yes and fails", "exit_code_3").differs(&[PLUGIN_OUTPUT]),
        stress("stress says nothing", "no_output").differs(&[PLUGIN_UNREAD]),
        stress("stress says nothing in JSON", "empty_json").differs(&[PLUGIN_REASON, PLUGIN_NAMED]),
        stress("stress answers with a long line", "long_line").differs(&[PLUGIN_READ]),
        stress("stress says it is notation", "impersonate").differs(&[PLUGIN_NAMED]),
        stress("stress writes control characters", "ansi").differs(&[CONTROL_CHARACTERS]),
        stress("stress writes bytes that are no text", "invalid_utf8").differs(&[PLUGIN_NAMED]),
        stress("stress panics", "panic").differs(&[PLUGIN_OUTPUT]),
        stress("stress dies", "crash"),
    ]
}

fn dynamic() -> Vec<Case> {
    let source = |kind: &str, artifact: &str| {
        let source = json!({"artifact": artifact});
        json!({"name": kind, "type": kind, "artifactTypes": "*", "source": source})
    };
    let verifier = |name, kind, artifact| {
        Case::new(name, "{api}/one:v1", clear(json!([source(kind, artifact)]))).dynamic()
    };
    let pushed = json!({"artifact": "{tls}/plugins/sample-store:1.0.0-linux-amd64"});
    let store = json!({"name": "pulled-store", "root": "{layouts}", "source": pushed});
    vec![
        verifier("a dynamic verifier", "pulled", "{tls}/plugins/sample:1.0.0-linux-amd64"),
        verifier("a dynamic verifier that oras pushed", "pulled-go", "{tls}/by-oras/sample:v1"),
        verifier("an index of platforms", "pulled-index", "{tls}/plugins/sample:1.0.0")
            .differs(&[PLUGIN_INDEX]),
        verifier("a source without a tag", "pulled-untagged", "{tls}/plugins/sample")
            .differs(&[SOURCE_TAG]),
        verifier("a source with an unknown tag", "pulled-absent", "{tls}/plugins/sample:absent"),
        verifier("a source without a registry", "pulled-empty", ""),
        verifier("a source whose registry is down", "pulled-down", "{nobody}/plugins/sample:1.0.0")
            .differs(&[CONNECT_TEXT]),
        Case::new(
            "a source of another type",
            "{api}/one:v1",
            clear(json!([{"name": "pulled-type", "source": "{tls}/plugins/sample"}])),
        )
        .dynamic()
        .differs(&[DECODE_TEXT]),
        Case::new(
            "a dynamic store",
            "layouts.example.com/one:v1",
            with(store, json!({}), sample()),
        )
        .dynamic(),
        Case::new(
            "a dynamic store that cannot be had",
            "layouts.example.com/one:v1",
            with(
                json!({"name": "absent-store", "source": {"artifact": "{tls}/plugins/absent:1"}}),
                json!({}),
                sample(),
            ),
        )
        .dynamic()
        .differs(&[STORE_SOURCE]),
    ]
}

fn merged(mut one: Value, other: Value) -> Value {
    if let (Some(one), Value::Object(other)) = (one.as_object_mut(), other) {
        one.extend(other);
    }
    one
}
