//! Charts, rendered by the real `helm` without a cluster.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::parity::machines::{Machines, Server};

/// Where everything is installed to.
pub(crate) const NAMESPACE: &str = "gatekeeper-system";

/// What a test renders with.
pub(crate) struct Helm {
    machines: Machines,
    folder: tempfile::TempDir,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) is_success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: &std::process::Output) -> Self {
        Self {
            is_success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Helm {
    /// `None`, said aloud, where its programs were not brought.
    pub(crate) fn find() -> Option<Self> {
        Some(Self { machines: Machines::find()?, folder: tempfile::tempdir().unwrap() })
    }

    /// The chart under test.
    pub(crate) fn ours() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/ratify")
    }

    /// v1's chart, version 1.15.0.
    pub(crate) fn v1(&self) -> PathBuf {
        self.machines.tool("ratify-v1-module").join("charts/ratify")
    }

    /// The chart under test as `helm upgrade --reuse-values` from v1's chart sees it: v1's defaults
    /// in place of its own.
    pub(crate) fn with_v1s_values(&self) -> PathBuf {
        let copy = self.folder().join("reused");
        copy_folder(&Self::ours(), &copy);
        std::fs::copy(self.v1().join("values.yaml"), copy.join("values.yaml")).unwrap();
        copy
    }

    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.machines.tool(name)
    }

    /// A registry that v1 can read.
    pub(crate) async fn registry(&self) -> Server {
        self.machines.registry_with_api(None).await
    }

    /// The sample plugin, built for this machine.
    pub(crate) fn plugin(&self) -> PathBuf {
        self.machines.plugin("sample", "sample")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `helm`, with nothing of this machine's configuration.
    pub(crate) async fn run(&self, arguments: &[&str], kubeconfig: Option<&Path>) -> Ran {
        let mut command = Command::new(self.tool("helm"));
        command.args(arguments).env_clear().env("HOME", self.folder()).kill_on_drop(true);
        command.envs(kubeconfig.map(|path| ("KUBECONFIG", path))).stdin(Stdio::null());
        Ran::of(&command.output().await.unwrap())
    }

    /// Renders a chart with these values, the later over the earlier.
    pub(crate) async fn try_render(&self, chart: &Path, values: &[&Value]) -> Ran {
        let mut arguments = vec!["template".to_owned(), "ratify".to_owned()];
        arguments.extend([chart.display().to_string(), format!("--namespace={NAMESPACE}")]);
        let files: Vec<_> = values.iter().map(|values| self.values_file(values)).collect();
        arguments.extend(files.iter().map(|file| format!("--values={}", file.path().display())));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.run(&arguments, None).await
    }

    /// The objects of a chart that has to be rendered.
    pub(crate) async fn render(&self, chart: &Path, values: &[&Value]) -> Vec<Value> {
        let ran = self.try_render(chart, values).await;
        assert!(ran.is_success, "{values:?}: {}", ran.stderr);
        objects(&ran.stdout)
    }

    /// Why our chart cannot be rendered with these values.
    pub(crate) async fn refusal(&self, values: &[&Value]) -> String {
        let ran = self.try_render(&Self::ours(), values).await;
        assert!(!ran.is_success, "{values:?} is rendered");
        ran.stderr
    }

    fn values_file(&self, values: &Value) -> tempfile::NamedTempFile {
        let file = tempfile::Builder::new().suffix(".json").tempfile_in(self.folder()).unwrap();
        std::fs::write(file.path(), values.to_string()).unwrap();
        file
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// What both charts need in order to be rendered at all.
pub(crate) fn base() -> Value {
    let image = "registry.example.com/team/ratify";
    json!({
        "image": {"repository": image, "crdRepository": format!("{image}-crds"), "tag": "7"},
        "provider": {"tls": {
            "crt": "crt", "key": "key", "caCert": "ca", "caKey": "ca key", "cabundle": "Y2E=",
        }},
    })
}

/// The documents of what helm prints that hold an object.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        match line {
            "---" => documents.push(String::new()),
            _ => documents.last_mut().unwrap().extend([line, "\n"]),
        }
    }
    let is_empty = |text: &str| {
        text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    };
    documents.retain(|text| !is_empty(text));
    documents
        .iter()
        .map(|text| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}")))
        .collect()
}
