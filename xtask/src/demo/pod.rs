//! What a node does with the chart's Deployment: its volumes become files, and its program runs with
//! its arguments and environment, as its account. Only its root and its ports are others.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::cluster::NAMESPACE;
use super::server::{Cluster, INTERVAL, PATIENCE, Running, free_port};
use crate::process;

/// The running pod; it ends with this value.
pub(super) struct Pod {
    process: Running,
    /// `spec` of its template.
    spec: Value,
    root: PathBuf,
    health: String,
    /// Where it is asked.
    pub(super) address: String,
}

impl Pod {
    /// Runs the pod of the Deployment in the cluster.
    ///
    /// # Errors
    /// When the Deployment is not there, or the program cannot be started.
    pub(super) fn start(cluster: &Cluster, ratify: &Path) -> Result<Self> {
        let spec = cluster.get("deployment", "ratify")?["spec"]["template"]["spec"].take();
        let root = cluster.folder().join("root");
        mount(cluster, &spec, &root)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let health = format!("127.0.0.1:{}", free_port()?);
        let container = &spec["containers"][0];
        let local = placed(&root, "/usr/local").display().to_string();
        let mut command = Command::new(ratify);
        command.env_clear().current_dir(&root);
        for word in container["args"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let word = word.replace("/usr/local", &local);
            command.arg(word.replace(":6001", &address).replace(":9099", &health));
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            let value = variable["value"].as_str().unwrap_or(NAMESPACE);
            let is_path = value.starts_with('/');
            let value = if is_path { placed(&root, value) } else { value.into() };
            command.env(variable["name"].as_str().unwrap_or_default(), value);
        }
        // In the place of the token that the kubelet mounts.
        command.env("KUBECONFIG", cluster.kubeconfig("pod")).env("HOSTNAME", "ratify-1");
        super::say("run the pod, with the arguments and the environment of the Deployment");
        println!("$ {}", process::line(&command));
        let process = Running::start(&mut command, cluster.folder().join("ratify.log"))?;
        Ok(Self { process, spec, root, health, address })
    }

    /// Brings the volumes up to date.
    ///
    /// # Errors
    /// When one is not there.
    pub(super) fn mount(&self, cluster: &Cluster) -> Result<()> {
        mount(cluster, &self.spec, &self.root)
    }

    pub(super) fn said(&self) -> String {
        self.process.said()
    }

    /// Whether the readiness probe succeeds.
    pub(super) fn is_ready(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.health)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET /readyz HTTP/1.1\r\nHost: ratify\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Looks again and again until it is so.
    ///
    /// # Errors
    /// When it never is, or the pod has ended.
    pub(super) fn until(
        &mut self,
        what: &str,
        is_so: impl Fn(&Self) -> Result<bool>,
    ) -> Result<()> {
        let started = Instant::now();
        while !is_so(self)? {
            self.process.must_run()?;
            if started.elapsed() > PATIENCE {
                bail!("no {what} after {} s", PATIENCE.as_secs());
            }
            thread::sleep(INTERVAL);
        }
        println!("{what} after {:.1} s", started.elapsed().as_secs_f64());
        Ok(())
    }
}

/// A path of the pod, below its root.
fn placed(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Each volume becomes files below `root`; one of neither a Secret nor a ConfigMap is an empty
/// directory.
fn mount(cluster: &Cluster, spec: &Value, root: &Path) -> Result<()> {
    let volumes = spec["volumes"].as_array().context("the pod has no volumes")?;
    for mount in spec["containers"][0]["volumeMounts"].as_array().into_iter().flatten() {
        let path = placed(root, mount["mountPath"].as_str().unwrap_or_default());
        fs::create_dir_all(&path)?;
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
        let volume = volume.context("a volume is mounted that is not there")?;
        if let Some(name) = volume["configMap"]["name"].as_str() {
            write(&cluster.get("configmap", name)?, &path, |text| Ok(text.into()))?;
        }
        if let Some(name) = volume["secret"]["secretName"].as_str() {
            write(&cluster.get("secret", name)?, &path, |text| Ok(STANDARD.decode(text)?))?;
        }
    }
    Ok(())
}

fn write(object: &Value, folder: &Path, decode: impl Fn(&str) -> Result<Vec<u8>>) -> Result<()> {
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        let path = folder.join(key);
        let bytes = decode(value.as_str().unwrap_or_default())?;
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
