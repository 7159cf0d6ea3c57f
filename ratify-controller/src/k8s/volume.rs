//! What a volume keeps of plugins whose resource is gone: records are taken away at once, the
//! bytes after a grace period. What fails here costs space only.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{pins, resource::Key};
use crate::plugin::{
    confined::Confinement,
    inventory::{GRACE_PERIOD, Inventory, Resource},
};

/// How often what nothing needs is looked for.
pub(super) const COLLECT_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Takes away what is recorded of a resource's plugin.
pub(super) fn forget(key: &Key, directory: PathBuf) {
    let Some(recorded) = pins::recorded_as(key) else { return };
    let key = key.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = Inventory::of(directory).forget(&recorded) {
            tracing::warn!("the plugin of {key} stays on the volume: {error}");
        }
    });
}

/// Takes away what is recorded of resources that were deleted while nobody watched. What a command
/// line or a configuration file installed is none of them.
pub(super) fn sweep(plugins: &Path, live: &BTreeSet<Key>) {
    for (namespace, directory) in directories(plugins) {
        let inventory = Inventory::of(directory);
        let is_live = |recorded: &Resource| {
            live.iter().any(|key| {
                key.namespace == namespace && pins::recorded_as(key).as_ref() == Some(recorded)
            })
        };
        let of_resources =
            inventory.records().into_iter().filter(|record| record.pinned_for.is_some());
        for recorded in of_resources.map(|record| record.resource()) {
            if is_live(&recorded) {
                continue;
            }
            match inventory.forget(&recorded) {
                Ok(()) => tracing::info!("the plugin of {} is needed no more", recorded.name),
                Err(error) => tracing::warn!("the plugin of {} stays: {error}", recorded.name),
            }
        }
    }
}

/// Removes programs and documents that no record names and nobody runs.
pub(super) fn collect(plugins: &Path) {
    for (_, directory) in directories(plugins) {
        match Inventory::of(directory).collect(SystemTime::now(), GRACE_PERIOD) {
            Ok(collected) if collected.bytes > 0 => tracing::info!(
                "{} bytes of plugins that nothing names were removed",
                collected.bytes
            ),
            Ok(_) => {}
            Err(error) => tracing::warn!("unused plugins were not removed: {error}"),
        }
    }
}

/// The plugin directory, and those of namespaces in it.
fn directories(plugins: &Path) -> Vec<(String, PathBuf)> {
    let of_namespaces = Confinement::all(plugins)
        .into_iter()
        .filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path)));
    let whole = (String::new(), plugins.to_owned());
    std::iter::once(whole).chain(of_namespaces).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::k8s::kind::{Kind, Role};

    fn key(namespace: &str, name: &str) -> Key {
        let kind = Kind { role: Role::Verifier, namespaced: !namespace.is_empty() };
        Key { kind, namespace: namespace.into(), name: name.into() }
    }

    /// A record as an installation writes it.
    fn put(directory: &Path, name: &str, pinned_for: serde_json::Value) {
        let inventory = Inventory::of(directory);
        inventory.prepare("sha256").unwrap();
        let digest = ratify_core::executor::testing::digest(1);
        let record = json!({
            "name": name, "kind": "verifier", "type": "sample", "artifact": "r.example.com/p:1",
            "root": {"mediaType": "m", "digest": digest, "size": 1},
            "manifest": digest, "digest": digest, "size": 1, "mediaType": "m",
            "platform": "linux/amd64", "pinnedFor": pinned_for,
            "installedAt": "2023-11-14T22:13:20Z",
        });
        inventory.publish(&serde_json::from_value(record).unwrap()).unwrap();
    }

    fn names(directory: &Path) -> Vec<String> {
        Inventory::of(directory).records().into_iter().map(|record| record.name).collect()
    }

    #[test]
    fn what_no_resource_names_goes_and_what_others_installed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let plugins = folder.path().join("plugins");
        let of_team = plugins.join(".namespaces/team");
        let pinned = json!({"uid": "u", "generation": 1});
        put(&plugins, "live", pinned.clone());
        put(&plugins, "gone", pinned.clone());
        put(&plugins, "by-hand", json!(null));
        put(&of_team, "live", pinned.clone());
        put(&of_team, "of-team", pinned);
        sweep(&plugins, &BTreeSet::from([key("", "live"), key("team", "of-team")]));
        assert_eq!(names(&plugins), ["by-hand", "live"]);
        assert_eq!(names(&of_team), ["of-team"]);
    }

    #[test]
    fn a_plugin_that_is_forgotten_is_shown_no_more() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "a", json!(null));
        put(folder.path(), "b", json!(null));
        let shown = folder.path().join("sample");
        let inventory = Inventory::of(folder.path());
        let forget = |name: &str| {
            inventory.forget(&pins::recorded_as(&key("", name)).unwrap()).unwrap();
        };
        forget("a");
        assert!(shown.is_symlink(), "the other one has the type as well");
        forget("b");
        assert!(!shown.is_symlink());
        forget("b");
    }
}
