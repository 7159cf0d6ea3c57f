//! What a test does with its cluster, by the real `kubectl`.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::server::{ADMIN, Cluster};

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Cluster {
    /// Runs `kubectl` as [`ADMIN`], to whatever end.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Ran {
        self.kubectl_as(ADMIN, arguments).await
    }

    /// Runs `kubectl` as this user, to whatever end.
    pub(crate) async fn kubectl_as(&self, handle: &str, arguments: &[&str]) -> Ran {
        self.run(handle, arguments, "").await
    }

    /// Waits until this user has the first right of each of these roles that are bound to them. The
    /// API server learns of a role a moment after it accepted it.
    pub(crate) async fn until_in_force(&self, handle: &str, roles: &[&Value], namespace: &str) {
        for role in roles {
            let rule = &role["rules"][0];
            let [verb, group, resource, name] =
                ["verbs", "apiGroups", "resources", "resourceNames"]
                    .map(|list| rule[list][0].as_str().unwrap_or_default());
            let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
            let dot = if group.is_empty() { "" } else { "." };
            let slash = if name.is_empty() { "" } else { "/" };
            let what = format!("{resource}{dot}{group}{slash}{name}");
            let part = format!("--subresource={part}");
            let ask = ["auth", "can-i", verb, &what, &part, "-n", namespace];
            let mut looks = 0;
            while self.kubectl_as(handle, &ask).await.stdout.trim() != "yes" {
                looks += 1;
                assert!(looks < 200, "{handle} may never {ask:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Runs what has to succeed, as [`ADMIN`]; its stdout is returned.
    pub(crate) async fn must(&self, arguments: &[&str]) -> String {
        self.kubectl(arguments).await.succeeded(arguments)
    }

    /// Applies what has to be accepted: YAML or JSON, one document or more.
    pub(crate) async fn apply(&self, documents: &str) -> String {
        let arguments = ["apply", "-f", "-"];
        self.run(ADMIN, &arguments, documents).await.succeeded(&arguments)
    }

    /// Runs `kubectl` as [`ADMIN`] with something on its standard input, to whatever end.
    pub(crate) async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Ran {
        self.run(ADMIN, arguments, input).await
    }

    /// The same, and it has to succeed; its stdout is returned.
    pub(crate) async fn feed(&self, arguments: &[&str], input: &str) -> String {
        self.kubectl_with(arguments, input).await.succeeded(arguments)
    }

    /// An object that has to be there. No namespace means `default`, or none for kinds without.
    pub(crate) async fn get_json(&self, kind: &str, namespace: Option<&str>, name: &str) -> Value {
        let mut arguments = vec!["get", kind, name, "-o", "json"];
        arguments.extend(namespace.into_iter().flat_map(|namespace| ["-n", namespace]));
        serde_json::from_str(&self.must(&arguments).await).unwrap()
    }

    async fn run(&self, handle: &str, arguments: &[&str], input: &str) -> Ran {
        let mut command = Command::new(self.tool("kubectl"));
        command.args(arguments).env_clear().kill_on_drop(true).current_dir(self.folder());
        command.env("HOME", self.folder()).env("KUBECONFIG", self.kubeconfig(handle));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that reads nothing may have ended before this is written.
        let write = async move { drop(stdin.write_all(input.as_bytes()).await) };
        let ((), output) = tokio::join!(write, child.wait_with_output());
        let output = output.unwrap();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    fn succeeded(self, arguments: &[&str]) -> String {
        assert_eq!(self.code, Some(0), "kubectl {arguments:?}: {}", self.stderr);
        self.stdout
    }
}
