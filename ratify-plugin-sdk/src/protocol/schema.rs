//! JSON Schemas of the wire, for those who write plugins in other languages. `docs/schemas/` holds
//! them as files, and a test compares. After a wanted change:
//! `UPDATE_SCHEMAS=1 cargo test -p ratify-plugin-sdk schemas`.

use ratify_core::{Descriptor, Manifest, VerifierReport};
use schemars::{JsonSchema, Schema, generate::SchemaSettings};

use super::{ListReferrersOutput, PluginError, VerifyInput};

/// One message of the wire.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MessageSchema {
    /// The name of its file, without the ending.
    pub name: &'static str,
    /// JSON Schema, draft 2020-12.
    pub schema: Schema,
}

/// Every message that is JSON, in the order of the document.
pub fn all() -> Vec<MessageSchema> {
    vec![
        message::<VerifyInput>("verify-input", true),
        message::<VerifierReport>("verify-output", false),
        message::<ListReferrersOutput>("list-referrers-output", false),
        message::<Manifest>("reference-manifest-output", false),
        message::<Descriptor>("subject-descriptor-output", false),
        message::<PluginError>("error-output", false),
    ]
}

/// `to_plugin`: the host writes it, so that its keys are always there. What a plugin writes is
/// described as the host reads it: keys with a default may be missing.
fn message<T: JsonSchema>(name: &'static str, to_plugin: bool) -> MessageSchema {
    let settings = SchemaSettings::draft2020_12();
    let settings = if to_plugin { settings.for_serialize() } else { settings.for_deserialize() };
    MessageSchema { name, schema: settings.into_generator().into_root_schema_for::<T>() }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schemas");

    #[test]
    fn the_committed_schemas_are_those_of_the_code() {
        let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
        let mut names = BTreeSet::new();
        for message in all() {
            let name = format!("{}.json", message.name);
            let path = Path::new(FOLDER).join(&name);
            let text = format!("{}\n", serde_json::to_string_pretty(&message.schema).unwrap());
            if update {
                fs::create_dir_all(FOLDER).unwrap();
                fs::write(&path, &text).unwrap();
            }
            let committed = fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(committed, text, "docs/schemas/{name}: see the first lines of schema.rs");
            names.insert(name);
        }
        let listed = fs::read_dir(FOLDER).unwrap();
        let files: BTreeSet<String> =
            listed.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        assert_eq!(files, names, "docs/schemas holds these files and no others");
    }

    #[test]
    fn what_a_host_writes_is_required_and_what_a_plugin_may_leave_out_is_not() {
        let schemas = all();
        let required = |name: &str| {
            let found = schemas.iter().find(|message| message.name == name).unwrap();
            found.schema.get("required").cloned().unwrap_or_default()
        };
        let input = serde_json::json!(["config", "storeConfig", "referenceDesc"]);
        assert_eq!(required("verify-input"), input);
        assert_eq!(required("verify-output"), serde_json::Value::Null);
        assert_eq!(required("error-output"), serde_json::json!(["code", "msg"]));
    }
}
