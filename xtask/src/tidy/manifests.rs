//! Rules about the packages of this tree: who may depend on whom, that each takes the
//! workspace's lints, and that each plugin has a budget.

use cargo_metadata::{Metadata, Package};

use super::Finding;
use super::text::Text;
use crate::build_plugins::plugin;

/// Where a package stands. Arrows point from a later kind to an earlier one, if at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nouns, seams and the engine.
    Core,
    /// The wire and the guest's end of it.
    Sdk,
    /// Registries.
    Store,
    /// One plugin.
    Plugin,
    /// The program that a person runs.
    Controller,
    /// This program.
    Xtask,
}

/// One package of ours depends on another, for whatever kind of build.
#[derive(Debug)]
pub(crate) struct Link {
    /// The package that depends, and where it stands.
    pub(crate) from: (String, Place),
    /// What it depends on.
    pub(crate) to: (String, Place),
}

/// The links between packages of this tree.
pub(crate) fn links(metadata: &Metadata) -> Vec<Link> {
    let packages = metadata.workspace_packages();
    let stand = |package: &Package| Some((package.name.to_string(), place(metadata, package)?));
    let places: Vec<(String, Place)> =
        packages.iter().filter_map(|package| stand(package)).collect();
    let mut links = Vec::new();
    for package in &packages {
        for dependency in &package.dependencies {
            let to = places.iter().find(|(name, _)| *name == dependency.name);
            if let (Some(from), Some(to)) = (stand(package), to) {
                links.push(Link { from, to: to.clone() });
            }
        }
    }
    links
}

fn place(metadata: &Metadata, package: &Package) -> Option<Place> {
    let relative = package.manifest_path.strip_prefix(&metadata.workspace_root).ok()?;
    match relative.components().next()?.as_str() {
        "ratify-core" => Some(Place::Core),
        "ratify-plugin-sdk" => Some(Place::Sdk),
        "ratify-store-oras" => Some(Place::Store),
        "plugins" => Some(Place::Plugin),
        "ratify-controller" => Some(Place::Controller),
        "xtask" => Some(Place::Xtask),
        _ => None,
    }
}

/// Arrows never point up, the SDK and the store do not know each other, and xtask knows nobody.
/// A plugin links the store only behind its feature `v1-host`, which its own budget holds.
pub(crate) fn directions(links: &[Link]) -> Vec<Finding> {
    let wrong = links.iter().filter(|link| !may_link(link.from.1, link.to.1));
    let finding = |link: &Link| {
        format!("{}: must not depend on {}; arrows never point up", link.from.0, link.to.0)
    };
    wrong.map(finding).collect()
}

fn may_link(from: Place, to: Place) -> bool {
    match from {
        Place::Core | Place::Xtask => false,
        Place::Sdk | Place::Store => to == Place::Core,
        Place::Plugin => matches!(to, Place::Core | Place::Sdk | Place::Store),
        Place::Controller => to != Place::Xtask,
    }
}

/// Every package takes the lints of the workspace.
pub(crate) fn lints(texts: &[Text]) -> Vec<Finding> {
    let manifests = texts.iter().filter(|text| text.name.ends_with("/Cargo.toml"));
    let without = manifests.filter(|text| !takes_lints(&text.content));
    without.map(|text| format!("{}: has no [lints] workspace = true", text.name)).collect()
}

fn takes_lints(manifest: &str) -> bool {
    let lines: Vec<String> =
        manifest.lines().map(|line| line.split_whitespace().collect()).collect();
    let table = lines.windows(2).any(|two| two == ["[lints]", "workspace=true"]);
    table || lines.iter().any(|line| line == "lints.workspace=true")
}

/// Every plugin that is built has a budget to be held to.
pub(crate) fn budgets(metadata: &Metadata) -> Vec<Finding> {
    let plugins = match plugin::all(metadata) {
        Ok(plugins) => plugins,
        Err(error) => return vec![format!("plugins: {error:#}")],
    };
    without_budget(&plugins)
}

fn without_budget(plugins: &[plugin::Plugin]) -> Vec<Finding> {
    let without = plugins.iter().filter(|plugin| plugin.budget.is_none());
    let finding = |plugin: &plugin::Plugin| {
        format!(
            "{}: has no budget; add [package.metadata.ratify] budget-bytes to its Cargo.toml",
            plugin.package
        )
    };
    without.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(from: Place, to: Place) -> Link {
        Link { from: (format!("{from:?}"), from), to: (format!("{to:?}"), to) }
    }

    #[test]
    fn an_arrow_that_points_up_or_sideways_is_found() {
        for (from, to) in [
            (Place::Core, Place::Sdk),
            (Place::Sdk, Place::Store),
            (Place::Store, Place::Sdk),
            (Place::Plugin, Place::Controller),
            (Place::Controller, Place::Xtask),
            (Place::Xtask, Place::Core),
        ] {
            assert_eq!(directions(&[link(from, to)]).len(), 1, "{from:?} {to:?}");
        }
        for (from, to) in [
            (Place::Sdk, Place::Core),
            (Place::Plugin, Place::Store),
            (Place::Controller, Place::Plugin),
        ] {
            assert!(directions(&[link(from, to)]).is_empty(), "{from:?} {to:?}");
        }
    }

    #[test]
    fn a_manifest_without_the_lints_is_found() {
        let manifest = |content: &str| Text {
            name: "ratify-core/Cargo.toml".to_owned(),
            content: content.to_owned(),
        };
        assert_eq!(lints(&[manifest("[package]\nname = \"a\"\n")]).len(), 1);
        assert_eq!(lints(&[manifest("[lints]\n[other]\nworkspace = true\n")]).len(), 1);
        assert!(lints(&[manifest("[lints]\nworkspace = true\n")]).is_empty());
    }

    #[test]
    fn a_plugin_without_a_budget_is_found() {
        let plugin = |budget| plugin::Plugin {
            package: "ratify-verifier-sample".to_owned(),
            kind: "sample".to_owned(),
            version: "0.1.0".to_owned(),
            features: Vec::new(),
            variant: None,
            is_store: false,
            is_pushed: true,
            is_in_image: true,
            budget,
        };
        assert_eq!(without_budget(&[plugin(None), plugin(Some(1))]).len(), 1);
    }
}
