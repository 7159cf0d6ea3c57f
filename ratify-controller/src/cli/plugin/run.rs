//! `ratify plugin run`: one call of a verifier plugin, with everything it was given and gave back.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use ratify_core::{
    Descriptor, Reference, StoreConfig,
    config::{Config, VerifierPluginConfig},
    without_control_characters,
};
use ratify_plugin_sdk::protocol::{VerifyInput, environment};
use ratify_store_oras::LAYOUT_STORE;
use serde_json::{Map, Value, json};

use super::{PluginContext, read_config};
use crate::{
    cli::output,
    plugin::{
        exec,
        find::find_in_dirs,
        inventory::{Inventory, RunGuard},
        process::{End, Finished, Launch},
        trust::{self, Node},
    },
};

/// How long the plugin may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// A type, which is looked for as `verify` does, or the path of a program
    #[arg(value_name = "TYPE|PATH")]
    program: String,
    /// Take the plugin's entry and the store's from this configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The image that is asked about
    #[arg(short, long)]
    subject: String,
    /// The descriptor of the artifact to judge, JSON
    #[arg(long, value_name = "JSON", required_unless_present = "request")]
    descriptor: Option<String>,
    /// Send the content of this file instead of what would be sent
    #[arg(long, value_name = "FILE", conflicts_with = "descriptor")]
    request: Option<PathBuf>,
    /// The plugin directory, for a type
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What is run.
struct Program {
    path: PathBuf,
    argv0: Option<PathBuf>,
    guard: Option<RunGuard>,
}

impl Run {
    pub(super) async fn run(self, context: &PluginContext) -> anyhow::Result<ExitCode> {
        let subject = Reference::parse(&self.subject)
            .with_context(|| format!("{:?} is no subject", self.subject))?;
        let config = match &self.config {
            Some(file) => read_config(file)?,
            None => Config::default(),
        };
        let entry = self.entry(&config)?;
        let program = self.find(&config, &entry, context)?;
        let request = self.request(&config, &entry)?;
        let variables = environment::of_verifier(&subject, &entry.version);

        let mut launch = Launch::new(&program.path);
        launch.argv0 = program.argv0.map(Into::into);
        launch.environment =
            exec::Environment::new(std::env::vars_os()).for_plugin(entry.plugin_env, &variables);
        launch.stdin = Bytes::from(request.clone());
        launch.give_up_at = Some(Instant::now() + PATIENCE);
        let start = Instant::now();
        let finished = context.runtime.host.run(launch).await?;
        let took = start.elapsed();
        drop(program.guard);

        output::print_line(&text(&program.path, &variables, &request, &finished, took))?;
        let good = matches!(finished.end, End::Exited(status) if status.success());
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The entry of the configuration with that type or name, or a plain one.
    fn entry(&self, config: &Config) -> anyhow::Result<VerifierPluginConfig> {
        let name = Path::new(&self.program).file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| anyhow!("{:?} names no program", self.program))?;
        let configured = match &config.verifier {
            Some(section) => section.entries()?,
            None => Vec::new(),
        };
        let is_it =
            |entry: &VerifierPluginConfig| entry.binary_name() == name || entry.name == name;
        match configured.into_iter().find(is_it) {
            Some(entry) => Ok(entry),
            None if self.config.is_some() => {
                bail!("the configuration has no verifier of the type or name {name}")
            }
            None => {
                let raw = json!({"name": name, "type": name});
                let raw = raw.as_object().cloned().unwrap_or_default();
                Ok(VerifierPluginConfig::from_entry(&raw, "1.0.0")?)
            }
        }
    }

    /// A path is taken as it is; a type is looked for in the directory, installed ones first.
    fn find(
        &self,
        config: &Config,
        entry: &VerifierPluginConfig,
        context: &PluginContext,
    ) -> anyhow::Result<Program> {
        if self.program.contains('/') {
            let path = PathBuf::from(&self.program);
            check(&path)?;
            return Ok(Program { path, argv0: None, guard: None });
        }
        let section = config.verifier.as_ref();
        let configured = section.and_then(|section| section.plugin_bin_dirs.as_deref());
        let dirs: Vec<PathBuf> = match (&self.dir, configured) {
            (Some(dir), _) => vec![dir.clone()],
            (None, Some(dirs)) => dirs.iter().map(PathBuf::from).collect(),
            (None, None) => vec![context.runtime.environment.default_plugin_dir()],
        };
        let dirs = context.runtime.environment.with_shipped(dirs);
        for dir in &dirs {
            if let Some(installed) = Inventory::of(dir).open_view(entry.binary_name())? {
                let run = installed.open_for_run()?;
                let argv0 = Some(run.argv0);
                return Ok(Program { path: run.path, argv0, guard: Some(run.guard) });
            }
        }
        let path = find_in_dirs(entry.binary_name(), &dirs)
            .map_err(|e| anyhow!("{e}: install it with `ratify plugin install`, or give a path"))?;
        check(&path)?;
        Ok(Program { path, argv0: None, guard: None })
    }

    /// What the plugin reads on standard input.
    fn request(&self, config: &Config, entry: &VerifierPluginConfig) -> anyhow::Result<String> {
        if let Some(file) = &self.request {
            return fs::read_to_string(file).with_context(|| format!("reading {}", file.display()));
        }
        let text = self.descriptor.as_deref().unwrap_or_default();
        let descriptor: Descriptor =
            serde_json::from_str(text).context("--descriptor is no descriptor")?;
        let input = VerifyInput::new(entry.raw.clone(), store_config(config)?, descriptor);
        Ok(input.to_json()?)
    }
}

/// The first store of the configuration, or the built-in one.
fn store_config(config: &Config) -> anyhow::Result<StoreConfig> {
    let section = config.store.clone().unwrap_or_default();
    let built_in = || {
        let entry: Map<String, Value> = [("name".to_owned(), json!("oras"))].into_iter().collect();
        StoreConfig::new("1.0.0", None, entry)
    };
    if section.plugins.is_empty() {
        return Ok(built_in());
    }
    let first = section.entries()?.into_iter().next();
    Ok(first.map_or_else(built_in, |entry| {
        let is_built_in = matches!(entry.name.as_str(), "oras" | LAYOUT_STORE);
        let dirs = section.plugin_bin_dirs.filter(|_| !is_built_in);
        StoreConfig::new(entry.version, dirs, entry.raw)
    }))
}

/// Says what is wrong with a file before the kernel does, in more words.
fn check(path: &Path) -> anyhow::Result<()> {
    let platform = trust::this_platform();
    let node =
        Node { architecture: &platform.architecture, allow_scripts: true, exists: &Path::exists };
    trust::program_at(path, &node)
        .with_context(|| format!("{} cannot run here", path.display()))?;
    Ok(())
}

fn text(
    path: &Path,
    variables: &[(&'static str, String)],
    request: &str,
    finished: &Finished,
    took: Duration,
) -> String {
    let mut lines = vec![format!("program: {}", path.display()), "variables:".to_owned()];
    lines.extend(variables.iter().map(|(name, value)| format!("  {name}={value}")));
    let how = match finished.end {
        End::Exited(status) => status.to_string(),
        End::Deadline => format!("ended after {} s", PATIENCE.as_secs()),
        End::TooMuch(_) => "ended: it wrote too much".to_owned(),
        other => format!("{other:?}"),
    };
    let sections = [
        ("request:", request.as_bytes()),
        ("answer:", &finished.stdout[..]),
        ("log:", &finished.stderr[..]),
    ];
    for (name, bytes) in sections {
        lines.push(name.to_owned());
        let text = String::from_utf8_lossy(bytes);
        lines.extend(text.lines().map(|line| format!("  {}", without_control_characters(line))));
    }
    lines.push(format!("end: {how}, {:.1} ms", took.as_secs_f64() * 1000.0));
    lines.join("\n")
}
