//! What a volume keeps of plugins whose resource is gone: records are taken away at once, the
//! bytes after a grace period. What fails here costs space only.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{kind::Role, resource::Key};
use crate::plugin::{
    confined::Confinement,
    inventory::{GRACE_PERIOD, Inventory, Kind, Resource},
};

/// How often what nothing needs is looked for.
pub(super) const COLLECT_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Takes away what is recorded of a resource's plugin.
pub(super) fn forget(key: &Key, directory: PathBuf) {
    let Some(recorded) = recorded_as(key) else { return };
    let key = key.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = Inventory::of(directory).forget(&recorded) {
            tracing::warn!("the plugin of {key} stays on the volume: {error}");
        }
    });
}

/// Takes away what is recorded of resources that were deleted while nobody watched.
pub(super) fn forget_all(plugins: &Path, gone: &[Key]) {
    for key in gone {
        let Some(recorded) = recorded_as(key) else { continue };
        let directory = match Confinement::of_namespace(plugins, &key.namespace) {
            Ok(own) => own.directory().to_owned(),
            Err(_) => plugins.to_owned(),
        };
        match Inventory::of(directory).forget(&recorded) {
            Ok(()) => tracing::info!("the plugin of {key} is needed no more"),
            Err(error) => tracing::warn!("the plugin of {key} stays on the volume: {error}"),
        }
    }
}

/// Under which name a resource's plugin is recorded.
fn recorded_as(key: &Key) -> Option<Resource> {
    let kind = match key.kind.role {
        Role::Verifier => Kind::Verifier,
        Role::Store => Kind::Store,
        Role::Policy | Role::Keys | Role::CertificateStore => return None,
    };
    Some(Resource { name: key.name.clone(), kind })
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
    use crate::k8s::kind;

    fn key(namespace: &str, name: &str) -> Key {
        let kind = kind::Kind { role: Role::Verifier, namespaced: !namespace.is_empty() };
        Key { kind, namespace: namespace.into(), name: name.into() }
    }

    /// A record as an installation writes it.
    fn put(directory: &Path, name: &str) {
        let inventory = Inventory::of(directory);
        inventory.prepare("sha256").unwrap();
        let digest = ratify_core::executor::testing::digest(1);
        let record = json!({
            "name": name, "kind": "verifier", "type": "sample", "artifact": "r.example.com/p:1",
            "root": {"mediaType": "m", "digest": digest, "size": 1},
            "manifest": digest, "digest": digest, "size": 1, "mediaType": "m",
            "platform": "linux/amd64",
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
        put(&plugins, "live");
        put(&plugins, "gone");
        put(&plugins, "by-hand");
        put(&of_team, "live");
        put(&of_team, "of-team");
        forget_all(&plugins, &[key("", "gone"), key("team", "live")]);
        assert_eq!(names(&plugins), ["by-hand", "live"]);
        assert_eq!(names(&of_team), ["of-team"]);
    }

    #[test]
    fn a_plugin_that_is_forgotten_is_shown_no_more() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "a");
        put(folder.path(), "b");
        let shown = folder.path().join("sample");
        let inventory = Inventory::of(folder.path());
        let forget = |name: &str| {
            inventory.forget(&recorded_as(&key("", name)).unwrap()).unwrap();
        };
        forget("a");
        assert!(shown.is_symlink(), "the other one has the type as well");
        forget("b");
        assert!(!shown.is_symlink());
        forget("b");
    }
}
