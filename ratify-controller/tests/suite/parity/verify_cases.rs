//! What `ratify verify` is asked under both hosts.

use serde_json::{Value, json};

use super::{
    images::{COSIGN, OTHER, STATEMENT},
    plugin_cases::plugin_cases,
    rego_cases::rego_cases,
    rows::*,
};

/// One configuration and one subject.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) subject: &'static str,
    pub(super) config: Value,
    /// The differences that must occur, and no others.
    pub(super) rows: &'static [&'static str],
    /// With the feature flag for `source`.
    pub(super) dynamic: bool,
}

impl Case {
    pub(super) fn new(name: &'static str, subject: &'static str, config: Value) -> Self {
        Self { name, subject, config, rows: &[], dynamic: false }
    }

    pub(super) fn differs(mut self, rows: &'static [&'static str]) -> Self {
        self.rows = rows;
        self
    }

    pub(super) fn dynamic(mut self) -> Self {
        self.dynamic = true;
        self
    }
}

/// The built-in store in clear, all must pass, and these verifiers.
pub(super) fn clear(verifiers: Value) -> Value {
    with(json!({"name": "oras", "useHttp": true}), json!({"default": "all"}), verifiers)
}

/// The external store over the layouts, and these verifiers.
pub(super) fn layouts(verifiers: Value) -> Value {
    with(json!({"name": "sample-store", "root": "{layouts}"}), json!({"default": "all"}), verifiers)
}

pub(super) fn with(store: Value, rules: Value, verifiers: Value) -> Value {
    let policy = json!({"name": "configPolicy", "artifactVerificationPolicies": rules});
    json!({
        "store": {"version": "1.0.0", "plugins": [store]},
        "policy": {"version": "1.0.0", "plugin": policy},
        "verifier": {"version": "1.0.0", "plugins": verifiers},
    })
}

/// The sample for every type.
pub(super) fn sample() -> Value {
    json!([{"name": "verifier-sample", "type": "sample", "artifactTypes": "*"}])
}

pub(super) fn cases() -> Vec<Case> {
    [
        our_plugins(),
        external_stores(),
        sections(),
        policies(),
        subjects(),
        wrong(),
        plugin_cases(),
        rego_cases(),
    ]
    .concat()
}

fn our_plugins() -> Vec<Case> {
    let reader = || json!([{"name": "reads", "type": "reader", "artifactTypes": STATEMENT, "readBlobs": true}]);
    vec![
        Case::new("our sample", "{api}/one:v1", clear(sample())),
        Case::new(
            "our sample without a type",
            "{api}/one:v1",
            clear(json!([{"name": "sample", "artifactTypes": "*"}])),
        ),
        Case::new(
            "our sample without artifact types",
            "{api}/one:v1",
            clear(json!([{"name": "sample"}])),
        ),
        Case::new(
            "our sample over TLS",
            "{tls}/one:v1",
            with(json!({"name": "oras"}), json!({}), sample()),
        ),
        Case::new(
            "our sample with the tag schema and a password",
            "{tags}/two:v1",
            clear(sample()),
        ),
        Case::new("an artifact typed as OCI 1.1 says", "{tags}/modern:v1", clear(sample())),
        Case::new("our sample reads a blob with the oras store", "{api}/one:v1", clear(reader())),
        Case::new(
            "our sample reads a binary blob with the oras store",
            "{api}/binary:v1",
            clear(reader()),
        ),
        Case::new("our sample finds no blob to read", "{api}/bare:v1", clear(reader()))
            .differs(&[PLUGIN_ERROR, PLUGIN_OUTPUT]),
        Case::new(
            "our sample is not linked with a store",
            "{api}/one:v1",
            clear(json!([{"name": "sample", "readBlobs": true}])),
        )
        .differs(&[PLUGIN_ERROR, PLUGIN_OUTPUT]),
        Case::new(
            "our sample refuses a parameter",
            "{api}/one:v1",
            clear(json!([{"name": "sample", "readBlob": true}])),
        )
        .differs(&[PLUGIN_ERROR, PLUGIN_OUTPUT]),
        Case::new(
            "a protocol version that our sample does not speak",
            "{api}/one:v1",
            clear(json!([{"name": "sample", "version": "3.0.0"}])),
        )
        .differs(&[PLUGIN_ERROR, PLUGIN_OUTPUT]),
    ]
}

fn external_stores() -> Vec<Case> {
    let reader = || json!([{"name": "reads", "type": "reader", "readBlobs": true}]);
    let go = || json!([{"name": "upstream", "type": "go-sample"}]);
    let paged = json!({"name": "sample-store", "root": "{layouts}", "pageSize": 1});
    let nowhere = json!({"name": "sample-store", "root": "{home}/nowhere"});
    vec![
        Case::new(
            "our sample over our external store",
            "layouts.example.com/two:v1",
            layouts(sample()),
        ),
        Case::new(
            "our external store, in pages",
            "layouts.example.com/two:v1",
            with(paged, json!({}), sample()),
        ),
        Case::new(
            "our sample reads a blob with our external store",
            "layouts.example.com/one:v1",
            layouts(reader()),
        ),
        Case::new(
            "our sample reads a binary blob with our external store",
            "layouts.example.com/binary:v1",
            layouts(reader()),
        ),
        Case::new(
            "upstream's sample over our external store",
            "layouts.example.com/one:v1",
            layouts(go()),
        ),
        Case::new("upstream's sample over the oras store", "{api}/one:v1", clear(go()))
            .differs(&[PLUGIN_ERROR, PLUGIN_OUTPUT]),
        Case::new(
            "upstream's sample linked with oras",
            "{api}/one:v1",
            clear(json!([{"name": "upstream", "type": "go-sample-oras"}])),
        ),
        Case::new(
            "our sample over upstream's external store",
            "{api}/one:v1",
            with(json!({"name": "go-store"}), json!({}), sample()),
        )
        .differs(&[STORE_LIST]),
        Case::new(
            "v1's sbom over our external store",
            "layouts.example.com/sbom:v1",
            layouts(json!([{"name": "sbom"}])),
        )
        .differs(&[PLUGIN_REASON]),
        Case::new(
            "our external store does not know the tag",
            "layouts.example.com/one:v9",
            layouts(sample()),
        ),
        Case::new(
            "our external store has no root",
            "layouts.example.com/one:v1",
            with(nowhere, json!({}), sample()),
        ),
    ]
}

fn sections() -> Vec<Case> {
    vec![
        Case::new(
            "sections without a version",
            "layouts.example.com/one:v1",
            json!({
                "store": {"plugins": [{"name": "sample-store", "root": "{layouts}"}]},
                "policy": {"plugin": {"name": "Config-Policy"}}, "verifier": {"plugins": sample()},
            }),
        ),
        Case::new(
            "a verifier section without a version",
            "{api}/one:v1",
            json!({
                "store": {"plugins": [{"name": "oras", "useHttp": true}]},
                "policy": {"plugin": {"name": "configpolicy"}}, "verifier": {"plugins": sample()},
            }),
        ),
        Case::new(
            "two stores",
            "{api}/one:v1",
            json!({
                "store": {"version": "1.0.0", "plugins": [
                    {"name": "sample-store", "root": "{layouts}"},
                    {"name": "oras", "useHttp": true},
                ]},
                "policy": {"plugin": {"name": "config-policy"}},
                "verifier": {"version": "1.0.0", "plugins": sample()},
            }),
        )
        .differs(&[PLUGIN_OUTPUT]),
    ]
}

fn policies() -> Vec<Case> {
    let good = |types: String| json!([{"name": "good", "type": "sample", "artifactTypes": types}]);
    let http = || json!({"name": "oras", "useHttp": true});
    let both = || {
        json!([
            {"name": "good", "type": "sample", "artifactTypes": STATEMENT},
            {"name": "bad", "type": "sbom", "artifactTypes": OTHER},
        ])
    };
    let two =
        |name, rules, verifiers| Case::new(name, "{api}/two:v1", with(http(), rules, verifiers));
    vec![
        two("default any, one of two types fails", json!({"default": "any"}), both())
            .differs(&[PLUGIN_REASON]),
        two("default all, one of two types fails", json!({"default": "all"}), both())
            .differs(&[PLUGIN_REASON]),
        two("any for the failing type", json!({(OTHER): "any"}), both()).differs(&[PLUGIN_REASON]),
        two("all for the passing type", json!({(STATEMENT): "all", "default": "any"}), both())
            .differs(&[PLUGIN_REASON]),
        two("a listed type has no report", json!({"application/absent": "any"}), sample()),
        two("a rule that is no rule", json!({(STATEMENT): "some"}), sample()),
        two(
            "one type has no verifier",
            json!({}),
            json!([{"name": "good", "type": "sample", "artifactTypes": STATEMENT}]),
        ),
        two("two types in one verifier", json!({}), good(format!("{STATEMENT},{OTHER}"))),
        two("types are not trimmed", json!({}), good(format!("{STATEMENT}, {OTHER}"))),
        two(
            "the first verifier that fits",
            json!({}),
            json!([
                {"name": "first", "type": "sample", "artifactTypes": STATEMENT},
                {"name": "second", "type": "stress", "artifactTypes": "*"},
            ]),
        ),
    ]
}

fn subjects() -> Vec<Case> {
    let nested = |nested: Value| {
        clear(json!([{"name": "sample", "artifactTypes": "*", "nestedReferences": nested}]))
    };
    let cosign = json!({"name": "oras", "useHttp": true, "cosignEnabled": true});
    vec![
        Case::new("nothing is attached", "{api}/plain:v1", clear(sample())),
        Case::new("nothing is attached, pushed by skopeo", "{api}/by-skopeo:v1", clear(sample())),
        Case::new(
            "no verifier fits",
            "{api}/one:v1",
            clear(json!([{"name": "sample", "artifactTypes": "a/b"}])),
        ),
        Case::new("an unknown tag", "{api}/one:v9", clear(sample())),
        Case::new("an unknown repository", "{api}/absent:v1", clear(sample())),
        Case::new("a registry that is down", "{nobody}/one:v1", clear(sample())),
        Case::new(
            "plain HTTP asked with TLS",
            "{api}/one:v1",
            with(json!({"name": "oras"}), json!({}), sample()),
        ),
        Case::new("nested artifacts", "{api}/nested:v1", nested(json!("*"))),
        Case::new("nested artifacts are not looked at", "{api}/nested:v1", clear(sample())),
        Case::new("the artifact of another image", "{tags}/plain:v1", clear(sample()))
            .differs(&[FOREIGN_ARTIFACT]),
        Case::new(
            "a signature of another image",
            "{api}/cosign:v1",
            with(cosign, json!({}), sample()),
        )
        .differs(&[FOREIGN_ARTIFACT]),
        Case::new(
            "a type that only the tag of cosign has",
            "{api}/cosign:v1",
            clear(json!([{"name": "sample", "artifactTypes": COSIGN}])),
        ),
        Case::new(
            "a nested artifact fails",
            "{api}/nested:v1",
            clear(json!([
                {"name": "parent", "type": "sample", "artifactTypes": STATEMENT,
                    "nestedReferences": OTHER},
                {"name": "child", "type": "sbom", "artifactTypes": OTHER},
            ])),
        )
        .differs(&[PLUGIN_REASON]),
        Case::new(
            "a nested artifact that no verifier fits",
            "{api}/nested:v1",
            clear(json!([
                {"name": "parent", "type": "sample", "artifactTypes": STATEMENT,
                    "nestedReferences": ""},
            ])),
        ),
        Case::new(
            "no password for a registry that asks for one",
            "{tags}/one:v1",
            with(
                json!({"name": "oras", "useHttp": true, "authProvider": {"name": "dockerConfig",
                "configPath": "{home}/none.json"}}),
                json!({}),
                sample(),
            ),
        ),
        Case::new("upper case", "{api}/One:v1", clear(sample())),
    ]
}

fn wrong() -> Vec<Case> {
    let http = json!({"name": "oras", "useHttp": true});
    let verifier = |entry: Value| clear(json!([entry]));
    let store = |entry: Value| with(entry, json!({}), sample());
    let one = |name, config| Case::new(name, "{api}/one:v1", config);
    let policy = |policy: Value| {
        json!({
            "store": {"version": "1.0.0", "plugins": [{"name": "oras", "useHttp": true}]},
            "policy": policy, "verifier": {"version": "1.0.0", "plugins": sample()},
        })
    };
    vec![
        one("an unknown verifier", verifier(json!({"name": "absent"}))),
        one("an unknown store", store(json!({"name": "absent"}))),
        one(
            "an unknown directory",
            json!({"store": {"plugins": [http]}, "policy": {"plugin": {"name": "configpolicy"}},
            "verifier": {"pluginBinDirs": ["{home}/absent"], "plugins": sample()}}),
        ),
        one("a verifier without a name", verifier(json!({"type": "sample"})))
            .differs(&[DECODE_TEXT]),
        one("a verifier's name with a separator", verifier(json!({"name": "a/b"}))),
        one("a verifier's name that leads upwards", verifier(json!({"name": ".."})))
            .differs(&[PLUGIN_NAME]),
        one(
            "a verifier's type with a leading dot",
            verifier(json!({"name": "sample", "type": ".hidden"})),
        )
        .differs(&[PLUGIN_NAME]),
        one("a store without a name", store(json!({"root": "/"}))),
        one("a store's name with a separator", store(json!({"name": "a/b"}))),
        one("no verifiers", clear(json!([]))),
        one(
            "no stores",
            json!({"store": {"plugins": []}, "policy": {"plugin": {"name": "configpolicy"}},
                "verifier": {"plugins": sample()}}),
        ),
        one(
            "a parameter of the oras store of another type",
            store(json!({"name": "oras", "useHttp": "true"})),
        )
        .differs(&[DECODE_TEXT]),
        one(
            "an auth provider without a name",
            store(json!({"name": "oras", "useHttp": true, "authProvider": {}})),
        ),
        one(
            "an unknown auth provider",
            store(json!({"name": "oras", "useHttp": true, "authProvider": {"name": "absent"}})),
        ),
        one("no policy", policy(json!({}))),
        one("a policy without a name", policy(json!({"plugin": {}}))),
        one("an unknown policy", policy(json!({"plugin": {"name": "foo"}}))),
        one(
            "rules of another type",
            policy(json!({"plugin": {"name": "configPolicy",
                    "artifactVerificationPolicies": {"default": 1}}})),
        )
        .differs(&[DECODE_TEXT]),
        one(
            "verifiers of another type",
            json!({"store": {"plugins": [{"name": "oras"}]},
                "policy": {"plugin": {"name": "configPolicy"}},
                "verifier": {"plugins": "sample"}}),
        )
        .differs(&[DECODE_TEXT]),
        one("no sections", json!({})),
        one(
            "source while dynamic plugins are off",
            verifier(json!({"name": "off", "type": "off", "source": {
                    "artifact": "{tls}/plugins/sample:1.0.0-linux-amd64"}})),
        ),
    ]
}
