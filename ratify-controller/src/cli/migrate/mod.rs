//! `ratify migrate`: what of an installation of Ratify v1 carries over, what changes, and why.
//! Nothing is written anywhere.
//!
//! What is found is decided on values: `config` for a configuration file, `values` (by the table in
//! `keys`) for values of the chart, `cluster` for what is in a cluster; `entries` is what files and
//! resources have in common. `live` reads a cluster, `render` writes the report.

mod cluster;
mod config;
mod entries;
mod finding;
mod keys;
mod live;
mod render;
mod rows;
mod secrets;
mod values;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Map, Value};

pub(super) use self::config::unread_keys;
use self::finding::{Level, Report, Source};
use super::{output, plugin::Output};
use crate::k8s;

/// A larger file is neither a configuration nor values.
const MAX_BYTES: u64 = 4 << 20;
/// The exit code of what could not be read. 1 says that something is to be done.
const CANNOT_READ: u8 = 2;

/// The arguments. One of the three sources has to be named; all three may be.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("source").required(true).multiple(true),
    after_help = "Exit codes: 0 when everything carries over, 1 when something must change or be looked at, 2 when something could not be read."
)]
pub(crate) struct Migrate {
    /// A configuration file of v1
    #[arg(short, long, value_name = "FILE", group = "source")]
    config: Option<PathBuf>,
    /// Values of v1's chart
    #[arg(long, value_name = "FILE", group = "source")]
    values: Option<PathBuf>,
    /// The cluster that KUBECONFIG names, or that this runs in
    #[arg(long, group = "source")]
    cluster: bool,
    /// Where Ratify runs in the cluster
    #[arg(short, long, default_value = "gatekeeper-system", requires = "cluster")]
    namespace: String,
    /// The form of the report
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = match self.report().await {
            Ok(report) => report,
            Err(error) => {
                eprintln!("Error: {}", output::error_text(&error));
                return Ok(ExitCode::from(CANNOT_READ));
            }
        };
        match self.output {
            Output::Json => output::print_json(&report)?,
            Output::Text => output::print_line(&render::text(&report))?,
        }
        Ok(match report.verdict {
            Level::Same => ExitCode::SUCCESS,
            Level::Look | Level::Change => ExitCode::FAILURE,
        })
    }

    /// Nothing is reported unless everything could be read.
    async fn report(&self) -> anyhow::Result<Report> {
        let mut sources = Vec::new();
        if let Some(path) = &self.config {
            let findings = config::findings(&read(path)?)
                .with_context(|| format!("{} is no configuration", path.display()))?;
            sources.push(Source { name: name(path), findings });
        }
        if let Some(path) = &self.values {
            let values = parse_values(&read(path)?)
                .with_context(|| format!("{} holds no values of a chart", path.display()))?;
            sources.push(Source { name: name(path), findings: values::findings(&values) });
        }
        if self.cluster {
            let seen = live::read(k8s::client().await?, &self.namespace).await?;
            sources.extend(cluster::sources(&seen));
        }
        Ok(Report::new(sources))
    }
}

fn name(path: &Path) -> String {
    finding::shown(&path.display().to_string())
}

/// A file of a bounded size.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot_read = || format!("cannot read {}", path.display());
    let metadata = std::fs::metadata(path).with_context(cannot_read)?;
    if !metadata.is_file() {
        bail!("{}: it is not a regular file", cannot_read());
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(cannot_read)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).with_context(cannot_read)?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("{}: it has more than {MAX_BYTES} bytes", cannot_read());
    }
    Ok(bytes)
}

/// Values in YAML or JSON. An empty file sets nothing.
fn parse_values(bytes: &[u8]) -> anyhow::Result<Map<String, Value>> {
    match serde_saphyr::from_slice(bytes)? {
        Value::Object(values) => Ok(values),
        Value::Null => Ok(Map::new()),
        _ => bail!("they are a map of keys"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_a_map_or_nothing() {
        assert_eq!(parse_values(b"a: {b: 1}\n").unwrap()["a"]["b"], 1);
        assert!(parse_values(b"# nothing\n").unwrap().is_empty());
        assert!(parse_values(br#"{"a": true}"#).unwrap()["a"].as_bool().unwrap());
        for text in ["- a\n", "text", "a: [", "a: 1\n---\nb: 2\n"] {
            assert!(parse_values(text.as_bytes()).is_err(), "{text}");
        }
    }
}
