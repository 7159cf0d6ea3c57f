//! Which program a name stands for.

use std::os::unix::fs::symlink;

use super::*;
use crate::plugin::{
    exec::Environment,
    inventory::Inventory,
    process::{HostOptions, Orphans, PluginHost},
    sandbox::MemoryBudget,
};

fn plugins(dirs: &[&Path]) -> NotationPlugins {
    let budget = MemoryBudget { per_plugin: 1 << 28, total: 1 << 30 };
    let host = PluginHost::new(HostOptions::new(None, budget, Orphans::LetGo)).unwrap();
    NotationPlugins {
        runner: Arc::new(ExecRunner::new(Arc::new(host), Environment::default())),
        dirs: dirs.iter().map(|dir| dir.to_path_buf()).collect(),
        own: None,
        of_entry: None,
        plugin_env: PluginEnv::Inherit,
    }
}

/// Where the program of a name is found.
fn found(plugins: &NotationPlugins, file: &str) -> Result<PathBuf, String> {
    let program = plugins.program(file)?;
    let runnable = plugins.runner.open(&program).map_err(|error| error.to_string())?;
    Ok(runnable.path)
}

fn basis(plugins: &NotationPlugins) -> Vec<u8> {
    let mut basis = Basis::default();
    plugins.add_basis(&mut basis);
    basis.bytes().unwrap().to_vec()
}

#[test]
fn a_file_is_found_in_the_first_directory_that_has_it_and_counts_by_its_bytes() {
    let [first, second] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let plugins = plugins(&[first.path(), second.path()]);
    let missing = found(&plugins, "notation-p").unwrap_err();
    let path = first.path().join("notation-p");
    assert_eq!(
        missing,
        format!(
            "plugin executable file is either not found or inaccessible: stat {}: no such file or directory",
            path.display()
        )
    );
    assert!(basis(&plugins).is_empty());
    fs::write(second.path().join("notation-p"), "a").unwrap();
    fs::write(second.path().join("other"), "a").unwrap();
    assert_eq!(found(&plugins, "notation-p"), Ok(second.path().join("notation-p")));
    let before = basis(&plugins);
    fs::write(&path, "b").unwrap();
    assert_eq!(found(&plugins, "notation-p"), Ok(path.clone()));
    assert_ne!(basis(&plugins), before);
    fs::remove_file(path).unwrap();
    assert_eq!(basis(&plugins), before);
}

#[test]
fn a_link_to_what_was_installed_is_no_file_that_somebody_put_there() {
    let dir = tempfile::tempdir().unwrap();
    let plugins = plugins(&[dir.path()]);
    let inventory = Inventory::of(dir.path());
    inventory.prepare("sha256").unwrap();
    let digest = ratify_core::executor::testing::digest(1);
    fs::write(inventory.content_path(&digest), "a").unwrap();
    let content = format!(".store/sha256/{}", digest.hex());
    symlink(content, dir.path().join("notation-p")).unwrap();
    let refusal = found(&plugins, "notation-p").unwrap_err();
    assert!(refusal.ends_with("is in no record of what was installed"), "{refusal}");
    let record = |by_command: bool| {
        let record = serde_json::json!({
            "name": "n", "kind": "verifier", "type": "notation-p", "artifact": "r.example.com/p:1",
            "root": {"mediaType": "m", "digest": digest, "size": 1}, "manifest": digest,
            "digest": digest, "size": 1, "mediaType": "m", "platform": "linux/amd64",
            "installedAt": "2026-01-01T00:00:00Z", "byCommand": by_command,
        });
        inventory.publish(&serde_json::from_value(record).unwrap()).unwrap();
    };
    record(false);
    let refusal = found(&plugins, "notation-p").unwrap_err();
    assert!(refusal.ends_with("was installed for a resource that is not in force"), "{refusal}");
    // A command of the operator's installed it; and these bytes are not even of that digest.
    record(true);
    let refusal = found(&plugins, "notation-p").unwrap_err();
    assert!(refusal.contains(digest.as_str()), "{refusal}");
}

#[test]
fn a_namespaces_program_is_no_link_out_of_its_directory() {
    let root = tempfile::tempdir().unwrap();
    let own = Confinement::of_namespace(root.path(), "team").unwrap();
    fs::create_dir_all(own.directory()).unwrap();
    fs::write(root.path().join("notation-of-cluster"), "a").unwrap();
    symlink("/bin/sh", own.directory().join("notation-p")).unwrap();
    let mut plugins = plugins(&[own.directory(), root.path()]);
    plugins.own = Some(own);
    assert!(found(&plugins, "notation-p").unwrap_err().contains("leads out of its directory"));
    assert!(found(&plugins, "notation-of-cluster").is_ok());
}

#[test]
fn a_name_is_one_plain_file_name() {
    let dir = tempfile::tempdir().unwrap();
    let plugins = plugins(&[dir.path()]);
    for name in ["/../sh", "a/b", "a\0b", "a\nb", "\\"] {
        let refusal = plugins.find(name).err().unwrap();
        assert!(refusal.starts_with("invalid plugin name"), "{name:?}: {refusal}");
    }
    assert!(is_notation_plugin("notation-x") && !is_notation_plugin("notation"));
    assert!(!is_notation_plugin("notation-") && !is_notation_plugin("x-notation-y"));
}
