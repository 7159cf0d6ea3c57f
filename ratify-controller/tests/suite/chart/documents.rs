//! What `docs/INSTALL.md` tells an operator to type, typed.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use tokio::process::Command;

use super::{
    helm::{Helm, base},
    values::rotated,
};

pub(super) const INSTALL: &str = include_str!("../../../../docs/INSTALL.md");

/// Renders instead of installing. Values that a release would remember come from a file.
const HELM: &str = r#"#!/bin/sh
set -e
command=$1; shift
[ "$command" = uninstall ] && exit 0
for word in "$@"; do
  shift
  case $word in
    --create-namespace|--take-ownership|--atomic) ;;
    --reuse-values) set -- "$@" --values reused.json ;;
    --reset-then-reuse-values) set -- "$@" --values set.json ;;
    *) set -- "$@" "$word" ;;
  esac
done
exec "$REAL_HELM" template "$@"
"#;

/// The code blocks of a document that are in this language.
pub(crate) fn blocks(document: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = document.split(&fence).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

pub(crate) fn executable(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn every_command_of_the_document_is_right() {
    let Some(helm) = Helm::find() else { return };
    let folder = helm.folder();
    std::os::unix::fs::symlink(Helm::ours().parent().unwrap(), folder.join("charts")).unwrap();
    for name in ["server.crt", "server.key", "ca.crt", "notation.crt"] {
        std::fs::write(folder.join(name), name).unwrap();
    }
    executable(&folder.join("helm"), HELM);
    executable(&folder.join("kubectl"), "#!/bin/sh\n");
    // All values of a release, and what its operator set.
    std::fs::write(folder.join("reused.json"), base().to_string()).unwrap();
    std::fs::write(folder.join("set.json"), rotated().to_string()).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let blocks = blocks(INSTALL, "console");
    assert!(blocks.len() > 5, "{blocks:?}");
    for block in blocks {
        let script = block.replace("\n$ ", "\n");
        let mut shell = Command::new("sh");
        shell.arg("-ec").arg(script.strip_prefix("$ ").unwrap()).current_dir(folder);
        shell.env("PATH", &path).env("REAL_HELM", helm.tool("helm")).env("HOME", folder);
        let output = shell.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}{said}");
    }
}

#[tokio::test]
async fn the_samples_of_the_document_are_values_of_the_chart() {
    let Some(helm) = Helm::find() else { return };
    let samples = blocks(INSTALL, "yaml");
    assert_eq!(samples.len(), 3);
    for sample in samples {
        let sample: Value = serde_saphyr::from_str(&sample).unwrap();
        let values = match &sample["spec"]["source"]["helm"]["valuesObject"] {
            Value::Null => &sample,
            values => values,
        };
        let objects = helm.render(&Helm::ours(), &[&base(), values]).await;
        // What differs in a cluster is what is ignored, and it is of the release.
        let ignored = sample["spec"]["ignoreDifferences"].as_array();
        for ignored in ignored.into_iter().flatten() {
            assert!(objects.iter().any(|object| object["kind"] == ignored["kind"]), "{ignored}");
        }
        let is_hook =
            |object: &&Value| !object["metadata"]["annotations"]["helm.sh/hook"].is_null();
        if sample["kind"] == "Application" {
            assert_eq!(objects.iter().filter(is_hook).count(), 0);
        }
    }
}
