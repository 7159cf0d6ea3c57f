//! Which plugins there are: read from the manifests under `plugins/`, never from a list.

use anyhow::{Result, bail};
use cargo_metadata::{Metadata, Package};
use serde_json::Value;

/// A plugin's package, as far as building and pushing it goes.
#[derive(Clone, Debug)]
pub(crate) struct Plugin {
    /// The package's name, for cargo.
    pub(crate) package: String,
    /// The plugin's type, which is its program's name.
    pub(crate) kind: String,
    /// The package's version, which becomes the artifact's tag.
    pub(crate) version: String,
    /// Features its program needs (a built-in's optional program has some).
    pub(crate) features: Vec<String>,
    /// The feature that this variant of the program has, beside the plain one. Only tests use it.
    pub(crate) variant: Option<String>,
    /// Whether it is a store: `package.metadata.ratify.kind = "store"`. Else it is a verifier.
    pub(crate) is_store: bool,
    /// Whether it is for anyone: not where `package.metadata.ratify.push = false`.
    pub(crate) is_pushed: bool,
    /// Whether it lies in the image: not where it is not for anyone, nor where
    /// `package.metadata.ratify.image = false`.
    pub(crate) is_in_image: bool,
    /// The most bytes its program may have: `package.metadata.ratify.budget-bytes`.
    pub(crate) budget: Option<u64>,
}

/// Every plugin of the workspace, sorted by type.
///
/// # Errors
/// When a package under `plugins/` has no program or several.
pub(crate) fn all(metadata: &Metadata) -> Result<Vec<Plugin>> {
    let folder = metadata.workspace_root.join("plugins");
    let packages = metadata.workspace_packages();
    let inside = packages.into_iter().filter(|package| package.manifest_path.starts_with(&folder));
    let mut plugins = inside.map(plugin).collect::<Result<Vec<Plugin>>>()?;
    plugins.sort_by(|one, other| one.kind.cmp(&other.kind));
    Ok(plugins)
}

/// The variants that packages name in `package.metadata.ratify.variants`: a feature, and the budget
/// of a program that has it.
///
/// # Errors
/// As [`all`].
pub(crate) fn variants(metadata: &Metadata) -> Result<Vec<Plugin>> {
    let mut variants = Vec::new();
    for plain in all(metadata)? {
        let packages = metadata.workspace_packages();
        let package = packages.into_iter().find(|package| *package.name == plain.package);
        let table = package.and_then(|package| package.metadata["ratify"]["variants"].as_object());
        for (feature, budget) in table.into_iter().flatten() {
            let mut variant = plain.clone();
            variant.features.push(feature.clone());
            variant.variant = Some(feature.clone());
            variant.budget = budget.as_u64();
            variants.push(variant);
        }
    }
    Ok(variants)
}

impl Plugin {
    /// The folder of its programs: its type, and the variant behind it.
    pub(crate) fn folder(&self) -> String {
        match &self.variant {
            None => self.kind.clone(),
            Some(variant) => format!("{}-{variant}", self.kind),
        }
    }
}

fn plugin(package: &Package) -> Result<Plugin> {
    let programs: Vec<_> = package.targets.iter().filter(|target| target.is_bin()).collect();
    let [program] = programs.as_slice() else {
        bail!(
            "{} has {} programs; a plugin has one, named as its type",
            package.name,
            programs.len()
        );
    };
    Ok(Plugin {
        package: package.name.to_string(),
        kind: program.name.clone(),
        version: package.version.to_string(),
        features: program.required_features.clone(),
        variant: None,
        is_store: package.metadata["ratify"]["kind"] == "store",
        is_pushed: is_not_denied(&package.metadata, "push"),
        is_in_image: ["push", "image"].iter().all(|key| is_not_denied(&package.metadata, key)),
        budget: budget(&package.metadata),
    })
}

fn is_not_denied(metadata: &Value, key: &str) -> bool {
    metadata["ratify"][key] != Value::Bool(false)
}

/// The budget in a package's own table, in bytes.
pub(crate) fn budget(metadata: &Value) -> Option<u64> {
    metadata["ratify"]["budget-bytes"].as_u64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_explicit_false_keeps_a_plugin_from_being_pushed() {
        assert!(!is_not_denied(&json!({"ratify": {"push": false}}), "push"));
        assert!(is_not_denied(&json!({"ratify": {"push": "false", "image": false}}), "push"));
        assert!(is_not_denied(&Value::Null, "push"));
    }

    #[test]
    fn a_budget_is_a_number_of_bytes() {
        assert_eq!(budget(&json!({"ratify": {"budget-bytes": 600_000}})), Some(600_000));
        assert_eq!(budget(&json!({"ratify": {"budget-bytes": "600 kB"}})), None);
        assert_eq!(budget(&Value::Null), None);
    }
}
