//! Our definitions beside v1's, as values: what ours add, and that they are nowhere stricter. The
//! files compared are the ones that a cluster is given: the chart's here, `config/crd/bases` and
//! the chart's of Ratify v1.4.0.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::parity::machines::Machines;

/// Parts of a schema that say nothing about what is valid.
const WORDS: [&str; 2] = ["description", "title"];
/// Says that what a schema does not name is kept.
const KEEPS: &str = "x-kubernetes-preserve-unknown-fields";
/// What a definition may not say anywhere that v1's does not say in the same place.
const RULES: [&str; 19] = [
    "enum",
    "pattern",
    "maxLength",
    "minLength",
    "maximum",
    "minimum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "multipleOf",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxProperties",
    "minProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "x-kubernetes-validations",
];

/// The folder of our definitions.
pub(super) fn our_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/ratify/crds")
}

/// The folders of v1's definitions: what is generated, and what its chart installs, which lacks
/// `spec.type` of verifiers.
pub(super) fn v1_folders(machines: &Machines) -> [PathBuf; 2] {
    let module = machines.tool("ratify-v1-module");
    [module.join("config/crd/bases"), module.join("charts/ratify/crds")]
}

/// The definitions of a folder, ordered by name.
pub(super) fn definitions(folder: &Path) -> Vec<Value> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut definitions: Vec<Value> = entries
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
        })
        .collect();
    definitions.sort_by_key(|definition| name(definition).to_owned());
    definitions
}

pub(super) fn name(definition: &Value) -> &str {
    definition["metadata"]["name"].as_str().unwrap()
}

/// The versions of a definition by name.
pub(super) fn versions(definition: &Value) -> Vec<(&str, &Value)> {
    let versions = definition["spec"]["versions"].as_array().unwrap();
    versions.iter().map(|version| (version["name"].as_str().unwrap(), version)).collect()
}

pub(super) fn schema(version: &Value) -> &Value {
    &version["schema"]["openAPIV3Schema"]
}

/// What a comparison found.
#[derive(Default)]
pub(super) struct Compared {
    /// Where ours is not as v1's is, or refuses what v1's takes.
    pub(super) stricter: Vec<String>,
    /// The fields that only ours have, by path.
    pub(super) added: Vec<String>,
}

/// Compares one kind's definition with v1's.
pub(super) fn compare(theirs: &Value, ours: &Value) -> Compared {
    let mut compared = Compared::default();
    let kind = theirs["spec"]["names"]["kind"].as_str().unwrap();
    let of_spec = ["group", "names", "scope"].map(|key| ("spec", key));
    for (part, key) in of_spec.into_iter().chain([("metadata", "name")]) {
        compared.same(&format!("{kind} {part}.{key}"), &theirs[part][key], &ours[part][key]);
    }
    compared.same(
        &format!("{kind} spec.conversion"),
        &theirs["spec"]["conversion"],
        &ours["spec"]["conversion"],
    );
    let (theirs, ours) = (versions(theirs), versions(ours));
    let names = |versions: &[(&str, &Value)]| -> Value {
        versions.iter().map(|(name, _)| *name).collect::<Vec<_>>().into()
    };
    compared.same(&format!("{kind} versions"), &names(&theirs), &names(&ours));
    for ((version, theirs), (_, ours)) in theirs.into_iter().zip(ours) {
        let at = format!("{kind} {version}");
        compared.version(&at, theirs, ours);
        compared.schema(&at, schema(theirs), schema(ours));
    }
    compared
}

impl Compared {
    fn same(&mut self, at: &str, theirs: &Value, ours: &Value) {
        if theirs != ours {
            self.stricter.push(format!("{at}: {theirs} there, {ours} here"));
        }
    }

    /// Everything about a version but its schema and what `kubectl get` shows.
    fn version(&mut self, at: &str, theirs: &Value, ours: &Value) {
        for key in keys(theirs, ours) {
            if !["schema", "additionalPrinterColumns"].contains(&key.as_str()) {
                self.same(&format!("{at}: {key}"), &theirs[&key], &ours[&key]);
            }
        }
        let ours = ours["additionalPrinterColumns"].as_array().cloned().unwrap_or_default();
        let theirs = theirs["additionalPrinterColumns"].as_array().cloned().unwrap_or_default();
        let (first, more) = ours.split_at(theirs.len().min(ours.len()));
        self.same(&format!("{at}: columns"), &json!(theirs), &json!(first));
        self.added.extend(more.iter().map(|column| format!("{at}: column {}", shown(column))));
    }

    /// A part of a schema that both have.
    fn schema(&mut self, at: &str, theirs: &Value, ours: &Value) {
        for key in keys(theirs, ours) {
            match key.as_str() {
                word if WORDS.contains(&word) => {}
                "properties" => self.properties(at, &theirs[&key], &ours[&key]),
                "required" => self.required(at, &theirs[&key], &ours[&key]),
                "items" => self.schema(&format!("{at}[]"), &theirs[&key], &ours[&key]),
                // What is kept is no reason to refuse.
                KEEPS if theirs[KEEPS].is_null() => self.added.push(format!("{at}: keeps all")),
                _ => self.same(&format!("{at}: {key}"), &theirs[&key], &ours[&key]),
            }
        }
    }

    fn properties(&mut self, at: &str, theirs: &Value, ours: &Value) {
        for key in keys(theirs, ours) {
            let at = format!("{at}.{key}");
            match (theirs.get(&key), ours.get(&key)) {
                (Some(theirs), Some(ours)) => self.schema(&at, theirs, ours),
                (Some(_), None) => self.stricter.push(format!("{at}: is missing here")),
                (None, Some(added)) => {
                    self.rules_of_added(&at, added);
                    self.added.push(at);
                }
                (None, None) => {}
            }
        }
    }

    /// Each field that must be given must be given in v1 as well.
    fn required(&mut self, at: &str, theirs: &Value, ours: &Value) {
        let theirs = theirs.as_array().cloned().unwrap_or_default();
        for field in ours.as_array().into_iter().flatten() {
            if !theirs.contains(field) {
                self.stricter.push(format!("{at}: {field} is required here only"));
            }
        }
    }

    /// What is added says types and no more: what is in it must never be a reason to refuse.
    fn rules_of_added(&mut self, at: &str, added: &Value) {
        for rule in RULES.into_iter().filter(|rule| added.get(rule).is_some()) {
            self.stricter.push(format!("{at}: {rule}, in what is added"));
        }
        for (key, part) in added["properties"].as_object().into_iter().flatten() {
            self.rules_of_added(&format!("{at}.{key}"), part);
        }
        if let Some(items) = added.get("items") {
            self.rules_of_added(&format!("{at}[]"), items);
        }
    }
}

/// The keys of either, in order.
fn keys(theirs: &Value, ours: &Value) -> Vec<String> {
    let of = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let mut keys: Vec<String> =
        of(theirs).into_iter().chain(of(ours)).map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn shown(column: &Value) -> String {
    let wide = if column["priority"] == 1 { " (wide)" } else { "" };
    format!("{} {}{wide}", column["name"].as_str().unwrap(), column["jsonPath"].as_str().unwrap())
}

/// A value with every field that a schema has.
pub(super) fn filled(schema: &Value) -> Value {
    if schema[KEEPS] == true {
        return json!({"any": {"deep": [1, 2.5, "text", true, {"x": {}}]}, "source": {"artifact": "r/p:1"}});
    }
    match schema["type"].as_str().unwrap() {
        "string" if schema["format"] == "date-time" => json!("2026-01-02T03:04:05Z"),
        "string" => json!("text"),
        "boolean" => json!(true),
        "integer" => json!(7),
        "array" => json!([filled(&schema["items"])]),
        "object" => {
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            let filled: Map<String, Value> =
                properties.iter().map(|(key, schema)| (key.clone(), filled(schema))).collect();
            filled.into()
        }
        other => panic!("no value is known for the type {other}"),
    }
}

/// What an API server keeps of a value: the fields that the schema has.
pub(super) fn pruned(schema: &Value, value: &Value) -> Value {
    if schema[KEEPS] == true {
        return value.clone();
    }
    match value {
        Value::Object(fields) => {
            let known = fields.iter().filter_map(|(key, value)| {
                Some((key.clone(), pruned(schema["properties"].get(key)?, value)))
            });
            known.collect::<Map<String, Value>>().into()
        }
        Value::Array(items) => items.iter().map(|item| pruned(&schema["items"], item)).collect(),
        other => other.clone(),
    }
}

// Long because: what ours add is listed in it, line by line.
#[test]
fn our_definitions_are_nowhere_stricter_than_v1s() {
    let Some(machines) = Machines::find() else { return };
    let ours = definitions(&our_folder());
    let [generated, of_chart] = v1_folders(&machines).map(|folder| definitions(&folder));
    let mut added = Vec::new();
    for theirs in [&generated, &of_chart] {
        assert_eq!(theirs.len(), 9);
        assert_eq!(
            ours.iter().map(name).collect::<Vec<_>>(),
            theirs.iter().map(name).collect::<Vec<_>>()
        );
        let compared: Vec<_> = theirs.iter().zip(&ours).map(|(a, b)| compare(a, b)).collect();
        let stricter: Vec<&String> = compared.iter().flat_map(|one| &one.stricter).collect();
        assert_eq!(stricter, [""; 0]);
        let of_all: Vec<String> = compared.into_iter().flat_map(|one| one.added).collect();
        added.push(of_all);
    }
    let of_chart_only: Vec<_> = added[1].iter().filter(|path| !added[0].contains(path)).collect();
    insta::assert_debug_snapshot!(of_chart_only, @r#"
    [
        "NamespacedVerifier v1beta1.spec.type",
        "Verifier v1beta1.spec.type",
    ]
    "#);
    insta::assert_snapshot!(added[0].join("\n"), @r"
    CertificateStore v1alpha1.status: keeps all
    CertificateStore v1beta1: column Age .metadata.creationTimestamp
    CertificateStore v1beta1.status.conditions
    CertificateStore v1beta1.status.observedGeneration
    KeyManagementProvider v1beta1: column Age .metadata.creationTimestamp
    KeyManagementProvider v1beta1.status.conditions
    KeyManagementProvider v1beta1.status.observedGeneration
    NamespacedKeyManagementProvider v1beta1: column Age .metadata.creationTimestamp
    NamespacedKeyManagementProvider v1beta1.status.conditions
    NamespacedKeyManagementProvider v1beta1.status.observedGeneration
    NamespacedPolicy v1beta1: column Age .metadata.creationTimestamp
    NamespacedPolicy v1beta1.status.conditions
    NamespacedPolicy v1beta1.status.observedGeneration
    NamespacedStore v1beta1: column Digest .status.plugin.digest (wide)
    NamespacedStore v1beta1: column Age .metadata.creationTimestamp
    NamespacedStore v1beta1.spec.source.allowDowngrade
    NamespacedStore v1beta1.spec.source.authProviders
    NamespacedStore v1beta1.spec.source.refreshInterval
    NamespacedStore v1beta1.spec.source.trustPolicy
    NamespacedStore v1beta1.status.conditions
    NamespacedStore v1beta1.status.observedGeneration
    NamespacedStore v1beta1.status.plugin
    NamespacedVerifier v1beta1: column Digest .status.plugin.digest (wide)
    NamespacedVerifier v1beta1: column Age .metadata.creationTimestamp
    NamespacedVerifier v1beta1.spec.source.allowDowngrade
    NamespacedVerifier v1beta1.spec.source.authProviders
    NamespacedVerifier v1beta1.spec.source.refreshInterval
    NamespacedVerifier v1beta1.spec.source.trustPolicy
    NamespacedVerifier v1beta1.status.conditions
    NamespacedVerifier v1beta1.status.observedGeneration
    NamespacedVerifier v1beta1.status.plugin
    Policy v1alpha1.spec.type
    Policy v1alpha1.status: keeps all
    Policy v1beta1: column Age .metadata.creationTimestamp
    Policy v1beta1.status.conditions
    Policy v1beta1.status.observedGeneration
    Store v1alpha1.spec.source.allowDowngrade
    Store v1alpha1.spec.source.authProviders
    Store v1alpha1.spec.source.refreshInterval
    Store v1alpha1.spec.source.trustPolicy
    Store v1alpha1.spec.version
    Store v1alpha1.status: keeps all
    Store v1beta1: column Digest .status.plugin.digest (wide)
    Store v1beta1: column Age .metadata.creationTimestamp
    Store v1beta1.spec.source.allowDowngrade
    Store v1beta1.spec.source.authProviders
    Store v1beta1.spec.source.refreshInterval
    Store v1beta1.spec.source.trustPolicy
    Store v1beta1.status.conditions
    Store v1beta1.status.observedGeneration
    Store v1beta1.status.plugin
    Verifier v1alpha1.spec.source.allowDowngrade
    Verifier v1alpha1.spec.source.authProviders
    Verifier v1alpha1.spec.source.refreshInterval
    Verifier v1alpha1.spec.source.trustPolicy
    Verifier v1alpha1.spec.type
    Verifier v1alpha1.spec.version
    Verifier v1alpha1.status: keeps all
    Verifier v1beta1: column Digest .status.plugin.digest (wide)
    Verifier v1beta1: column Age .metadata.creationTimestamp
    Verifier v1beta1.spec.source.allowDowngrade
    Verifier v1beta1.spec.source.authProviders
    Verifier v1beta1.spec.source.refreshInterval
    Verifier v1beta1.spec.source.trustPolicy
    Verifier v1beta1.status.conditions
    Verifier v1beta1.status.observedGeneration
    Verifier v1beta1.status.plugin
    ");
}

#[test]
fn a_definition_that_is_stricter_in_any_way_is_found() {
    let Some(machines) = Machines::find() else { return };
    let theirs = definitions(&v1_folders(&machines)[0]);
    let at = "/spec/versions/1/schema/openAPIV3Schema";
    let changes = [
        (format!("{at}/properties/spec/properties/name/enum"), json!(["sbom"])),
        (format!("{at}/properties/spec/properties/name/type"), json!("integer")),
        (format!("{at}/properties/spec/properties/name/maxLength"), json!(63)),
        (format!("{at}/properties/spec/required"), json!(["name", "artifactTypes", "type"])),
        (format!("{at}/required"), json!(["spec"])),
        (
            format!(
                "{at}/properties/spec/properties/parameters/x-kubernetes-preserve-unknown-fields"
            ),
            Value::Null,
        ),
        (format!("{at}/properties/spec/properties/type"), Value::Null),
        (
            format!("{at}/properties/status/properties/new"),
            json!({"type": "string", "pattern": "a"}),
        ),
        (format!("{at}/properties/status/x-kubernetes-validations"), json!([{"rule": "false"}])),
        ("/spec/scope".to_owned(), json!("Namespaced")),
        ("/spec/names/shortNames".to_owned(), json!(["v"])),
        ("/spec/conversion".to_owned(), json!({"strategy": "Webhook"})),
        ("/spec/versions/0/served".to_owned(), json!(false)),
        ("/spec/versions/0/deprecationWarning".to_owned(), Value::Null),
        ("/spec/versions/1/subresources".to_owned(), Value::Null),
        ("/spec/versions/1/additionalPrinterColumns/0/jsonPath".to_owned(), json!(".x")),
    ];
    let verifier = theirs.iter().find(|one| one["spec"]["names"]["kind"] == "Verifier").unwrap();
    let mut found = String::new();
    for (path, value) in changes {
        let mut ours = verifier.clone();
        set(&mut ours, &path, value);
        let stricter = compare(verifier, &ours).stricter;
        assert!(!stricter.is_empty(), "{path} is not found");
        found.push_str(&format!("{}\n", stricter.join("; ")));
    }
    insta::assert_snapshot!(found, @r#"
    Verifier v1beta1.spec.name: enum: null there, ["sbom"] here
    Verifier v1beta1.spec.name: type: "string" there, "integer" here
    Verifier v1beta1.spec.name: maxLength: null there, 63 here
    Verifier v1beta1.spec: "type" is required here only
    Verifier v1beta1: "spec" is required here only
    Verifier v1beta1.spec.parameters: x-kubernetes-preserve-unknown-fields: true there, null here
    Verifier v1beta1.spec.type: is missing here
    Verifier v1beta1.status.new: pattern, in what is added
    Verifier v1beta1.status: x-kubernetes-validations: null there, [{"rule":"false"}] here
    Verifier spec.scope: "Cluster" there, "Namespaced" here
    Verifier spec.names: {"kind":"Verifier","listKind":"VerifierList","plural":"verifiers","singular":"verifier"} there, {"kind":"Verifier","listKind":"VerifierList","plural":"verifiers","shortNames":["v"],"singular":"verifier"} here
    Verifier spec.conversion: null there, {"strategy":"Webhook"} here
    Verifier v1alpha1: served: true there, false here
    Verifier v1alpha1: deprecationWarning: "v1alpha1 of the Verifier API has been deprecated. Please migrate to v1beta1." there, null here
    Verifier v1beta1: subresources: {"status":{}} there, null here
    Verifier v1beta1: columns: [{"jsonPath":".status.issuccess","name":"IsSuccess","type":"boolean"},{"jsonPath":".status.brieferror","name":"Error","type":"string"}] there, [{"jsonPath":".x","name":"IsSuccess","type":"boolean"},{"jsonPath":".status.brieferror","name":"Error","type":"string"}] here
    "#);
}

/// Sets what a JSON pointer names; null takes it away.
fn set(document: &mut Value, path: &str, value: Value) {
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Value::Null => drop(parent.remove(key).unwrap()),
        value => drop(parent.insert(key.to_owned(), value)),
    }
}
