//! The definitions a cluster is given: the types' schemas, brought to the form that upstream's
//! have. A Kubernetes API server reads a schema more strictly than a Rust type means it: what an
//! `Option` adds (`nullable`, defaults of null) is taken away, and what every object has
//! (`apiVersion`, `kind`, `metadata`) is added. The spec is not required, as in v1.

use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use super::{GROUP, v1alpha1, v1beta1};

/// The kinds whose status names a time of the last fetch.
const FETCHING: [&str; 3] =
    ["KeyManagementProvider", "NamespacedKeyManagementProvider", "CertificateStore"];
/// The kinds that can be dynamic plugins.
const PLUGINS: [&str; 4] = ["Verifier", "NamespacedVerifier", "Store", "NamespacedStore"];
/// The one kind whose status v1alpha1 served as a subresource.
const LEGACY_STATUS: &str = "CertificateStore";
/// The version that is stored.
const STORED: &str = "v1beta1";

/// Every definition, by name, each with its versions in order.
///
/// # Errors
/// When a type has no schema that can be written as JSON, which its test excludes.
pub fn definitions() -> Result<Vec<Value>, serde_json::Error> {
    let all = [
        vec![of::<v1alpha1::CertificateStore>()?, of::<v1beta1::CertificateStore>()?],
        vec![of::<v1beta1::KeyManagementProvider>()?],
        vec![of::<v1beta1::NamespacedKeyManagementProvider>()?],
        vec![of::<v1beta1::NamespacedPolicy>()?],
        vec![of::<v1beta1::NamespacedStore>()?],
        vec![of::<v1beta1::NamespacedVerifier>()?],
        vec![of::<v1alpha1::Policy>()?, of::<v1beta1::Policy>()?],
        vec![of::<v1alpha1::Store>()?, of::<v1beta1::Store>()?],
        vec![of::<v1alpha1::Verifier>()?, of::<v1beta1::Verifier>()?],
    ];
    Ok(all.into_iter().map(merged).collect())
}

/// Every definition as a YAML document, with the name of the file it is kept in. `cargo xtask crds`
/// writes these files into the chart.
///
/// # Errors
/// As [`definitions`].
pub fn yaml() -> anyhow::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for definition in definitions()? {
        let plural = definition["spec"]["names"]["plural"].as_str().unwrap_or_default();
        let name = format!("{GROUP}_{plural}.yaml");
        files.push((name, serde_saphyr::to_string(&definition)?));
    }
    Ok(files)
}

fn of<K: CustomResourceExt>() -> Result<Value, serde_json::Error> {
    serde_json::to_value(K::crd())
}

/// One definition of all versions of a kind.
fn merged(one_of_each: Vec<Value>) -> Value {
    let names = one_of_each.iter().map(|crd| crd["spec"]["names"].clone()).next_back();
    let names = names.unwrap_or_default();
    let kind = names["kind"].as_str().unwrap_or_default().to_owned();
    let plural = names["plural"].as_str().unwrap_or_default();
    let scope = one_of_each.first().map(|crd| crd["spec"]["scope"].clone());
    let mut versions = Vec::new();
    for crd in &one_of_each {
        for version in crd["spec"]["versions"].as_array().into_iter().flatten() {
            versions.push(adjusted(version.clone(), &kind));
        }
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{GROUP}") },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": plural,
                "singular": names["singular"],
            },
            "scope": scope,
            "versions": versions,
        },
    })
}

fn adjusted(mut version: Value, kind: &str) -> Value {
    let is_stored = version["name"] == STORED;
    version["storage"] = json!(is_stored);
    let root = &mut version["schema"]["openAPIV3Schema"];
    strip(root);
    root["description"] = json!(format!("The schema of the {kind} API"));
    if let Some(root) = root.as_object_mut() {
        root.remove("required");
        root.remove("title");
    }
    let properties = &mut root["properties"];
    properties["apiVersion"] =
        json!({ "type": "string", "description": "The version of the schema of this object." });
    properties["kind"] = json!({ "type": "string", "description": "The kind of this object." });
    properties["metadata"] = json!({ "type": "object" });
    if !is_stored && let Some(spec) = properties["spec"].as_object_mut() {
        spec.remove("required");
    }
    if let Some(version) = version.as_object_mut() {
        version.remove("additionalPrinterColumns");
        if is_stored {
            version.insert("additionalPrinterColumns".into(), columns(kind));
        } else if kind != LEGACY_STATUS {
            version.remove("subresources");
        }
    }
    version
}

/// Takes away what an `Option` adds to a schema.
fn strip(schema: &mut Value) {
    match schema {
        Value::Object(fields) => strip_fields(fields),
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

fn strip_fields(fields: &mut Map<String, Value>) {
    if fields.get("nullable").is_some_and(Value::is_boolean) {
        fields.remove("nullable");
    }
    if fields.get("default").is_some_and(Value::is_null) {
        fields.remove("default");
    }
    fields.values_mut().for_each(strip);
}

fn columns(kind: &str) -> Value {
    let column = |name: &str, type_: &str, path: &str| json!({ "name": name, "type": type_, "jsonPath": path });
    let mut columns = vec![
        column("IsSuccess", "boolean", ".status.issuccess"),
        column("Error", "string", ".status.brieferror"),
    ];
    if FETCHING.contains(&kind) {
        columns.push(column("LastFetchedTime", "date", ".status.lastfetchedtime"));
    }
    if PLUGINS.contains(&kind) {
        let mut digest = column("Digest", "string", ".status.plugin.digest");
        digest["priority"] = json!(1);
        columns.push(digest);
    }
    columns.push(column("Age", "date", ".metadata.creationTimestamp"));
    Value::Array(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_kinds_are_defined_and_each_stores_v1beta1() {
        let definitions = definitions().unwrap();
        assert_eq!(definitions.len(), 9);
        for definition in &definitions {
            let versions = definition["spec"]["versions"].as_array().unwrap();
            let stored: Vec<_> = versions.iter().filter(|v| v["storage"] == true).collect();
            assert_eq!(stored.len(), 1, "{}", definition["metadata"]["name"]);
            assert_eq!(stored[0]["name"], STORED);
            assert!(versions.iter().all(|version| version["served"] == true));
        }
    }

    /// The chart's files are the snapshot: read their diff as a cluster's administrator would.
    #[test]
    fn the_chart_has_these_definitions_and_no_others() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/ratify/crds");
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let wanted = yaml().unwrap();
        let wanted_names: Vec<&String> = wanted.iter().map(|(name, _)| name).collect();
        assert_eq!(names.iter().collect::<Vec<_>>(), wanted_names, "run: cargo xtask crds");
        for (name, text) in &wanted {
            let there = std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
            assert!(there == *text, "{name} differs; run: cargo xtask crds, and read the diff");
        }
    }

    #[test]
    fn no_schema_has_what_an_option_adds() {
        let text = serde_json::to_string(&definitions().unwrap()).unwrap();
        assert!(!text.contains("nullable"));
        assert!(!text.contains(r#""default":null"#));
    }
}
