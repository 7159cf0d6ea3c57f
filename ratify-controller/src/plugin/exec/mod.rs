//! [`ExecRunner`]: one call of an exec plugin, v1's wire: variables and JSON in, two streams out.
//!
//! It knows nothing of verifiers and stores (they are next door), nor of how a process lives
//! ([`process`](super::process)). `environment` decides what a plugin sees of the host's
//! variables, `failure` what its failure reads like.

mod environment;
mod failure;
pub(in crate::plugin) mod trace;

use std::{
    any::Any,
    collections::HashMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use ratify_core::{
    Basis, Digest, capped_line,
    config::{Denial, PassedRules, PluginEnv},
};
use ratify_plugin_sdk::protocol::output::{Log, LogLevel};
use tracing::Instrument as _;

pub use environment::Environment;
pub(super) use environment::is_private;
pub use failure::PluginFailure;
pub(super) use failure::joined_lines;

use super::{
    confined::Confinement,
    find::{FindError, find_in_dirs},
    in_force::InForce,
    inventory::{InstalledPlugin, Inventory, InventoryError, RunnablePlugin, Shown},
    process::{End, Finished, Launch, PluginHost, ProcessError},
    rules::{Gate, Known, RulesInForce},
};

/// A path that is shown is cut to this.
const MOST_PATH: usize = 400;
/// As many programs are remembered that an operator's command installed.
const MOST_SHOWN: usize = 64;

/// What every call shares. Made once.
pub struct ExecRunner {
    host: Arc<PluginHost>,
    environment: Environment,
    gate: Gate,
    /// Whether whoever asks may be anybody.
    are_anybodys: bool,
    in_force: Arc<InForce>,
    /// Whether what was installed, and is in force for nobody, may run all the same.
    runs_any_installed: bool,
    /// What an operator's command installed, proven.
    shown: Mutex<HashMap<PathBuf, Arc<InstalledPlugin>>>,
}

/// Which program a plugin is.
#[derive(Clone)]
#[non_exhaustive]
pub enum Program {
    /// A file of this name in one of these directories, searched anew on each call.
    Search {
        /// The file's name.
        name: String,
        /// Where to look, first found first.
        dirs: Vec<PathBuf>,
    },
    /// The same for a namespace: what is in the directory of its own may not be a link out of it.
    Confined {
        /// The file's name.
        name: String,
        /// Where to look, first found first.
        dirs: Vec<PathBuf>,
        /// The directory of its own.
        own: Confinement,
    },
    /// An installed one, proven again before each call.
    Installed(Arc<InstalledPlugin>),
}

/// A program that may be run now.
pub struct Runnable {
    /// The file.
    pub path: PathBuf,
    /// What it sees as its own name; the file where `None`.
    pub argv0: Option<OsString>,
    /// Held until the process and all its descendants are gone: a lock on the file.
    pub guard: Option<Box<dyn Any + Send + Sync>>,
    /// By what the rules judge it.
    known: Known,
}

/// Why a program cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// There is none of that name.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The installed one is not what it was.
    #[error(transparent)]
    Installed(#[from] InventoryError),
    /// A rule of the administrators forbids it.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// It was installed for somebody, and for nobody now: who has to have signed it, and which one is
    /// pinned, was asked for whoever brought it.
    #[error("{} was installed for a resource that is not in force", shown(.0))]
    NotInForce(PathBuf),
    /// It is a link to what was installed, and nothing says what that is.
    #[error("{} is in no record of what was installed", shown(.0))]
    NotRecorded(PathBuf),
}

fn shown(path: &Path) -> String {
    capped_line(&path.display().to_string(), MOST_PATH)
}

/// One call.
#[non_exhaustive]
pub struct Call<'a> {
    /// What runs.
    pub program: Runnable,
    /// The configured name, for the log.
    pub plugin: &'a str,
    /// What follows the program's name; nothing in Ratify's own protocol.
    pub arguments: Vec<OsString>,
    /// The protocol's variables.
    pub variables: &'a [(&'static str, String)],
    /// What else it gets of the environment.
    pub plugin_env: PluginEnv,
    /// Whether it may open a store itself, so that it is told the rules of registries.
    pub opens_store: bool,
    /// Whether the store that it may open is a namespace's, which has none of the credentials of
    /// this process.
    pub is_borrowers: bool,
    /// Whether the entry is a namespace's, so that the plugin reads no files for it.
    pub is_of_namespace: bool,
    /// Standard input.
    pub stdin: String,
    /// When it is ended.
    pub give_up_at: Option<Instant>,
    /// How many bytes of standard output are taken.
    pub most_stdout: usize,
    /// Held until the process and all its descendants are gone.
    pub keep: Option<Box<dyn Any + Send + Sync>>,
    /// Whose work it is: places are shared out between tenants.
    pub tenant: Arc<str>,
}

/// What a plugin that exited with 0 wrote.
#[derive(Debug)]
#[non_exhaustive]
pub struct Written {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// A plugin that ended by itself, however.
#[derive(Debug)]
pub(super) struct Exited {
    /// Why it failed, in Go's words; `None` where it exited with 0.
    pub(super) failure: Option<String>,
    /// Standard output.
    pub(super) stdout: Vec<u8>,
    /// Standard error.
    pub(super) stderr: Vec<u8>,
}

impl Runnable {
    fn installed(installed: &Arc<InstalledPlugin>) -> Result<Self, ProgramError> {
        let RunnablePlugin { path, argv0, guard, .. } = installed.open_for_run()?;
        let known = Known::Installed(Arc::clone(installed));
        let guard = Some(Box::new(guard) as _);
        Ok(Self { path, argv0: Some(argv0.into()), guard, known })
    }

    fn file(path: PathBuf) -> Self {
        let known = Known::File(path.clone());
        Self { path, argv0: None, guard: None, known }
    }
}

impl<'a> Call<'a> {
    /// A call without input, in the host's environment, without deadline, 16 MiB of output.
    pub fn new(
        program: Runnable,
        plugin: &'a str,
        variables: &'a [(&'static str, String)],
    ) -> Self {
        Self {
            program,
            plugin,
            arguments: Vec::new(),
            variables,
            plugin_env: PluginEnv::Inherit,
            opens_store: true,
            is_borrowers: false,
            is_of_namespace: false,
            stdin: String::new(),
            give_up_at: None,
            most_stdout: 16 << 20,
            keep: None,
            tenant: Arc::default(),
        }
    }
}

impl ExecRunner {
    /// A runner for one host and the environment that the process was started with.
    pub fn new(host: Arc<PluginHost>, environment: Environment) -> Self {
        Self {
            host,
            environment,
            gate: Gate::new(RulesInForce::default()),
            are_anybodys: false,
            in_force: Arc::default(),
            runs_any_installed: false,
            shown: Mutex::default(),
        }
    }

    /// The same, told what is in force; and whether what was installed, and is in force for nobody,
    /// may run all the same: who runs a command has installed it.
    #[must_use]
    pub(crate) fn with_installed(mut self, in_force: Arc<InForce>, runs_any: bool) -> Self {
        (self.in_force, self.runs_any_installed) = (in_force, runs_any);
        self
    }

    /// The same, going by rules: what they forbid is not started, and ended where it runs. Those
    /// about registries go to each plugin, with whether anybody's references are asked about.
    #[must_use]
    pub fn with_rules(mut self, rules: RulesInForce, are_anybodys: bool) -> Self {
        self.gate = Gate::new(rules);
        self.are_anybodys = are_anybodys;
        self
    }

    /// What a plugin that opens its store itself has to go by.
    fn registry_rules(&self, call: &Call<'_>) -> Vec<(&'static str, String)> {
        let passed = PassedRules::new(self.gate.rules().registries.clone(), self.are_anybodys)
            .of_borrower(call.is_borrowers)
            .of_namespace(call.is_of_namespace);
        passed.to_text().map(|text| (PassedRules::VARIABLE, text)).into_iter().collect()
    }

    /// Finds or proves a program that is to be run now.
    ///
    /// # Errors
    /// When there is none, it is not what it was, or a rule forbids it.
    pub fn open(&self, program: &Program) -> Result<Runnable, ProgramError> {
        let runnable = self.find(program)?;
        self.gate.check(&runnable.known)?;
        Ok(runnable)
    }

    /// The installed plugins that resources in force bring.
    pub(super) fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Finds or proves a program.
    fn find(&self, program: &Program) -> Result<Runnable, ProgramError> {
        match program {
            Program::Search { name, dirs } => self.at(find_in_dirs(name, dirs)?),
            Program::Confined { name, dirs, own } => {
                let path = find_in_dirs(name, dirs)?;
                own.check_file(&path)?;
                self.at(path)
            }
            Program::Installed(installed) => Runnable::installed(installed),
        }
    }

    /// What runs where a name was found: what was installed there is proven, and runs for as long as it
    /// is in force for somebody, or where an operator's command put it there.
    fn at(&self, path: PathBuf) -> Result<Runnable, ProgramError> {
        if let Some(installed) = self.in_force.at(&path) {
            return Runnable::installed(&installed);
        }
        let place = path.parent().zip(path.file_name().and_then(OsStr::to_str));
        let Some((directory, type_)) = place else { return Ok(Runnable::file(path)) };
        let inventory = Inventory::of(directory);
        let record = match inventory.shown(type_) {
            Shown::Foreign => return Ok(Runnable::file(path)),
            Shown::Unrecorded => return Err(ProgramError::NotRecorded(path)),
            Shown::Installed(record) => *record,
        };
        if !self.runs_any_installed && !record.by_command {
            return Err(ProgramError::NotInForce(path));
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shown.get(&path).filter(|known| *known.record() == record) {
            return Runnable::installed(known);
        }
        if shown.len() >= MOST_SHOWN {
            shown.clear();
        }
        let installed = Arc::new(inventory.open(&record)?);
        let runnable = Runnable::installed(&installed);
        shown.insert(path, installed);
        runnable
    }

    /// Adds what a program's answers rest on besides what it is asked: its bytes, and what it sees
    /// of the environment.
    pub(super) fn add_basis(&self, program: &Program, plugin_env: PluginEnv, basis: &mut Basis) {
        match self.digest(program) {
            Ok(digest) => basis.add("program", digest.as_str()),
            Err(_) => basis.add_unknown(),
        }
        self.environment.add_basis(plugin_env, basis);
        basis.add("are anybody's", [u8::from(self.are_anybodys)]);
    }

    /// The digest of what would run now. An installed program is proven at each start.
    fn digest(&self, program: &Program) -> Result<Digest, ProgramError> {
        match program {
            Program::Installed(installed) => Ok(installed.record().digest.clone()),
            _ => {
                let runnable = self.find(program)?;
                match &runnable.known {
                    Known::Installed(installed) => Ok(installed.record().digest.clone()),
                    Known::File(path) => Ok(self.gate.digest(path)?),
                }
            }
        }
    }

    /// Runs a plugin to its end.
    ///
    /// # Errors
    /// When it was not started, did not exit with 0, was ended, or is denied by then.
    pub async fn call(&self, call: Call<'_>) -> Result<Written, PluginFailure> {
        let span = trace::plugin(&call, || self.gate_digest(&call.program));
        let written = self.run(call).instrument(span.clone()).await;
        trace::ended(&span, &written);
        written
    }

    /// The digest of a program that may run now.
    fn gate_digest(&self, program: &Runnable) -> Option<Digest> {
        match &program.known {
            Known::Installed(installed) => Some(installed.record().digest.clone()),
            _ => self.gate.digest(&program.path).ok(),
        }
    }

    /// The same for a protocol in which a plugin that fails is understood.
    ///
    /// # Errors
    /// When it was not started, did not end by itself, or is denied by then.
    pub(super) async fn exited(&self, call: Call<'_>) -> Result<Exited, PluginFailure> {
        let span = trace::plugin(&call, || self.gate_digest(&call.program));
        let (most_stdout, most_stderr) = (call.most_stdout, Launch::MOST_STDERR);
        let finished = self.finish(call).instrument(span.clone()).await;
        let exited = match finished {
            Ok(Finished { end: End::Exited(status), stdout, stderr }) => {
                let failure = (!status.success()).then(|| failure::exit_text(status));
                Ok(Exited { failure, stdout, stderr })
            }
            Ok(other) => Err(PluginFailure::ended(other.end, &other, most_stdout, most_stderr)),
            Err(failure) => Err(failure),
        };
        trace::ended(&span, &exited);
        exited
    }

    async fn run(&self, call: Call<'_>) -> Result<Written, PluginFailure> {
        let (most_stdout, most_stderr) = (call.most_stdout, Launch::MOST_STDERR);
        let finished = self.finish(call).await?;
        match finished.end {
            End::Exited(status) if status.success() => {
                Ok(Written { stdout: finished.stdout, stderr: finished.stderr })
            }
            end => Err(PluginFailure::ended(end, &finished, most_stdout, most_stderr)),
        }
    }

    async fn finish(&self, call: Call<'_>) -> Result<Finished, PluginFailure> {
        let path = call.program.path.clone();
        let rules = match call.opens_store {
            true => self.registry_rules(&call),
            false => Vec::new(),
        };
        let known = call.program.known;
        tracing::debug!("launching plugin {}", path.display());
        tracing::debug!("env vars: {:?}", call.variables);
        let mut launch = Launch::new(call.program.path);
        launch.argv0 = call.program.argv0;
        launch.arguments = call.arguments;
        let variables = [call.variables, &rules].concat();
        launch.environment = self.environment.for_plugin(call.plugin_env, &variables);
        launch.stdin = Bytes::from(call.stdin);
        launch.give_up_at = call.give_up_at;
        launch.most_stdout = call.most_stdout;
        launch.tenant = call.tenant;
        launch.keep = Some(Arc::new((call.program.guard, call.keep)));
        let run = self.host.run(launch);
        let finished = tokio::select! {
            // Ending the call ends the process. What was written until then counts for nothing.
            biased;
            denial = self.gate.denial(&known) => return Err(PluginFailure::denied(&denial)),
            finished = run => finished,
        };
        let finished = finished.map_err(|error| match error {
            ProcessError::NotStarted { ref source, .. } => {
                PluginFailure::not_started(&error, source, &path)
            }
            error => PluginFailure::not_run(error.to_string()),
        })?;
        trace::finished(&finished);
        self.gate.check(&known).map_err(|denial| PluginFailure::denied(&denial))?;
        Ok(finished)
    }
}

/// Writes what a plugin logged to the host's log, in v1's words, each line at its own level. The
/// lines hold no control characters and are bounded already.
pub fn log_lines(plugin: &str, log: &Log) {
    for line in &log.lines {
        let text = &line.text;
        match line.level {
            Some(LogLevel::Debug) => {
                tracing::debug!(component_type = "plugin", plugin, "[Plugin] {text}");
            }
            Some(LogLevel::Warn) => {
                tracing::warn!(component_type = "plugin", plugin, "[Plugin] {text}");
            }
            // A line without a level: v1 writes it to its own standard error as it is.
            _ => tracing::info!(component_type = "plugin", plugin, "[Plugin] {text}"),
        }
    }
    if log.dropped > 0 {
        let dropped = log.dropped;
        tracing::warn!(component_type = "plugin", plugin, "[Plugin] {dropped} more lines");
    }
}
