//! Plugins of Notation: programs that the verifier `notation` asks about signatures that name them. The
//! most important item is [`NotationPlugins`]: which program that is, and how it runs; `entry` is what a
//! resource comes to that brings such a program.
//!
//! They are run as all plugins are, by [`ExecRunner`]: proven, by the rules in force, bounded and ended with
//! all their processes. They have the network of this process, for they ask services, and its environment where
//! no namespace's verifier asks them.

mod entry;

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use ratify_core::{Basis, BoxFuture, capped_line, config::PluginEnv};
use ratify_verifier_notation::{
    PluginCall, PluginFailure, VerificationPlugin, VerificationPlugins,
};

use super::{
    confined::Confinement,
    exec::{Call, ExecRunner, Program},
    find::check_name,
    inventory::InstalledPlugin,
};

pub(crate) use entry::NotationPluginEntry;

/// What the programs' names begin with (plugin specification, "Installation").
const PREFIX: &str = "notation-";
/// The most a program may print: an answer has a few hundred bytes.
const MOST_STDOUT: usize = 4 << 20;
/// More programs than any directory has.
const MOST_PROGRAMS: usize = 64;
/// A path that is shown is cut to this: its end is what a signature says.
const MOST_PATH: usize = 400;

/// Whether a type is the name of a plugin of Notation, and none of a verifier's.
pub(crate) fn is_notation_plugin(type_: &str) -> bool {
    type_.strip_prefix(PREFIX).is_some_and(|name| !name.is_empty())
}

/// The plugins of Notation that one verifier may run.
#[derive(Clone)]
pub(crate) struct NotationPlugins {
    pub(crate) runner: Arc<ExecRunner>,
    /// Where they are, first found first.
    pub(crate) dirs: Vec<PathBuf>,
    /// The directory of a namespace, which its programs may not lead out of.
    pub(crate) own: Option<Confinement>,
    /// What the verifier's own entry brings.
    pub(crate) of_entry: Option<Arc<InstalledPlugin>>,
    pub(crate) plugin_env: PluginEnv,
}

/// One that was found.
struct NotationPlugin {
    runner: Arc<ExecRunner>,
    file: String,
    program: Program,
    plugin_env: PluginEnv,
}

impl NotationPlugins {
    /// The program of a name: one that a resource in force brings, or a file that somebody put there, or
    /// else what the verifier's own entry brings.
    fn program(&self, file: &str) -> Result<Program, String> {
        check_name(file).map_err(|error| error.to_string())?;
        for dir in &self.dirs {
            let path = dir.join(file);
            if let Some(installed) = self.runner.in_force().at(&path) {
                return Ok(Program::Installed(installed));
            }
            if !path.is_file() {
                continue;
            }
            let (name, dirs) = (file.to_owned(), vec![dir.clone()]);
            return Ok(match &self.own {
                None => Program::Search { name, dirs },
                Some(own) => Program::Confined { name, dirs, own: own.clone() },
            });
        }
        match &self.of_entry {
            Some(installed) => Ok(Program::Installed(Arc::clone(installed))),
            None => Err(self.not_found(file)),
        }
    }

    fn openable(&self, program: Program) -> Result<Program, String> {
        self.runner.open(&program).map_err(|error| error.to_string())?;
        Ok(program)
    }

    /// v1's words, which names the first directory alone.
    fn not_found(&self, file: &str) -> String {
        let path = self.dirs.first().map(|dir| dir.join(file)).unwrap_or_else(|| file.into());
        let path = capped_line(&path.display().to_string(), MOST_PATH);
        format!(
            "plugin executable file is either not found or inaccessible: stat {path}: no such file or directory"
        )
    }

    /// The names of all programs that there are.
    fn files(&self) -> BTreeSet<String> {
        let in_force = self.dirs.iter().flat_map(|dir| self.runner.in_force().names_in(dir));
        let on_disk = self.dirs.iter().flat_map(|dir| names_in(dir));
        in_force.chain(on_disk).filter(|name| is_notation_plugin(name)).collect()
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

impl fmt::Debug for NotationPlugins {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("NotationPlugins").field("dirs", &self.dirs).finish_non_exhaustive()
    }
}

impl VerificationPlugins for NotationPlugins {
    fn find(&self, name: &str) -> Result<Arc<dyn VerificationPlugin>, String> {
        let file = format!("{PREFIX}{name}");
        // What may not run is not there.
        let program = self.openable(self.program(&file)?)?;
        let (runner, plugin_env) = (Arc::clone(&self.runner), self.plugin_env);
        Ok(Arc::new(NotationPlugin { runner, file, program, plugin_env }))
    }

    fn add_basis(&self, basis: &mut Basis) {
        let files = self.files();
        if files.len() > MOST_PROGRAMS {
            return basis.add_unknown();
        }
        for file in files {
            basis.add("plugin of Notation", &file);
            let program = self.program(&file);
            // One that cannot be run cannot judge.
            match program.and_then(|program| self.openable(program)) {
                Ok(program) => self.runner.add_basis(&program, self.plugin_env, basis),
                Err(reason) => basis.add("none", reason),
            }
        }
        if let Some(installed) = &self.of_entry {
            basis.add("plugin of Notation", "");
            let program = Program::Installed(Arc::clone(installed));
            self.runner.add_basis(&program, self.plugin_env, basis);
        }
    }
}

impl VerificationPlugin for NotationPlugin {
    fn run<'a>(&'a self, call: PluginCall<'a>) -> BoxFuture<'a, Result<Vec<u8>, PluginFailure>> {
        Box::pin(async move {
            let failed = |reason: String, is_passing| PluginFailure {
                reason,
                stderr: Vec::new(),
                is_passing,
            };
            let program = self.runner.open(&self.program);
            let program = program.map_err(|error| failed(error.to_string(), false))?;
            let mut to_run = Call::new(program, &self.file, &[]);
            to_run.arguments = vec![call.command.into()];
            to_run.opens_store = false;
            to_run.plugin_env = self.plugin_env;
            to_run.stdin = call.stdin;
            to_run.give_up_at = call.context.give_up_at;
            to_run.tenant = Arc::clone(&call.context.tenant);
            to_run.most_stdout = MOST_STDOUT;
            let exited = self.runner.exited(to_run).await.map_err(|failure| {
                let is_passing = failure.is_transient();
                failed(failure.reason().to_owned(), is_passing)
            })?;
            match exited.failure {
                None => Ok(exited.stdout),
                Some(reason) => {
                    Err(PluginFailure { reason, stderr: exited.stderr, is_passing: false })
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
