//! [`HostPrograms`]: runs the programs that give out credentials for registries, as plugins are run:
//! bounded in time, memory and output, without a shell, ended with all their processes.

use std::{
    env,
    ffi::OsString,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use ratify_core::{BoxFuture, config::CredentialProviderFiles};
use ratify_store_oras::auth::{
    CredentialPrograms, CredentialProviders, ProgramCall, ProgramEnd, ProgramFailure,
};

use super::{
    exec::is_private,
    process::{End, Launch, PluginHost, ProcessError, go_error_text},
};

/// More than this is no configuration of a few programs.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// What a program writes to stderr is not shown, since it may hold what it gives out.
const MOST_STDERR: usize = 64 << 10;

/// Programs on this machine. They have the environment of this process, for what clouds tell a pod is
/// there, but for what is this process's alone.
pub struct HostPrograms {
    host: Arc<PluginHost>,
    search_path: Vec<PathBuf>,
    environment: Vec<(OsString, OsString)>,
}

impl HostPrograms {
    /// Programs that a host starts, with these variables; `PATH` among them says where they are.
    pub fn new(
        host: Arc<PluginHost>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let environment: Vec<_> =
            environment.into_iter().filter(|(name, _)| !is_private(name)).collect();
        let path = environment.iter().rev().find(|(name, _)| name == "PATH");
        let directories = path.map(|(_, path)| env::split_paths(path).collect::<Vec<_>>());
        // What is found relative to wherever this process was started is somebody else's choice.
        let search_path = directories.unwrap_or_default().into_iter().filter(|d| d.is_absolute());
        Self { host, search_path: search_path.collect(), environment }
    }

    async fn run_to_its_end(&self, call: ProgramCall) -> Result<ProgramEnd, ProgramFailure> {
        let name = call.name.as_str();
        let directories = match &call.directory {
            Some(directory) => std::slice::from_ref(directory),
            None => &self.search_path,
        };
        let program = directories.iter().map(|directory| directory.join(name));
        let program = program.into_iter().find(|path| is_program(path)).ok_or_else(|| {
            let place = call.directory.as_ref().map(|place| place.display().to_string());
            let place = place.unwrap_or_else(|| "the directories of PATH".into());
            ProgramFailure::new(format!("there is no program {name} in {place}"))
        })?;
        let mut launch = Launch::new(program);
        launch.arguments = call.arguments.iter().map(OsString::from).collect();
        let own = call.environment.iter().map(|(name, value)| (name.into(), value.into()));
        launch.environment = self.environment.iter().cloned().chain(own).collect();
        launch.stdin = call.stdin;
        launch.give_up_at = Some(call.give_up_at);
        launch.most_stdout = call.most_stdout;
        launch.most_stderr = MOST_STDERR;
        let finished = self.host.run(launch).await.map_err(|error| match error {
            ProcessError::NotStarted { source, .. } => {
                ProgramFailure::new(format!("{name}: {}", go_error_text(&source)))
            }
            other => ProgramFailure::new(format!("{name}: {other}")),
        })?;
        match finished.end {
            End::Exited(status) => {
                if !status.success() {
                    let bytes = finished.stderr.len();
                    tracing::warn!(
                        "{name} ended with {status}; its {bytes} bytes of stderr are not shown"
                    );
                }
                Ok(ProgramEnd { succeeded: status.success(), stdout: finished.stdout.into() })
            }
            end => Err(ProgramFailure::new(format!("{name} {}", why(end)))),
        }
    }
}

impl CredentialPrograms for HostPrograms {
    fn run(&self, call: ProgramCall) -> BoxFuture<'_, Result<ProgramEnd, ProgramFailure>> {
        Box::pin(self.run_to_its_end(call))
    }
}

/// Reads the administrator's programs of the kubelet's contract, from a YAML or a JSON file.
///
/// # Errors
/// When the file cannot be read, or is no such configuration.
pub fn read_providers(files: &CredentialProviderFiles) -> Result<CredentialProviders, String> {
    let place = files.config_path.display();
    let metadata = std::fs::metadata(&files.config_path).map_err(|e| format!("{place}: {e}"))?;
    // A pipe or a device would block or never end.
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return Err(format!("{place}: not a file of at most {MAX_FILE_BYTES} bytes"));
    }
    let bytes = std::fs::read(&files.config_path).map_err(|error| format!("{place}: {error}"))?;
    let document = serde_saphyr::from_slice(&bytes).map_err(|error| {
        format!("{place}: {}", ratify_core::capped_line(&error.to_string(), 300))
    })?;
    CredentialProviders::new(document, &files.bin_dir).map_err(|error| format!("{place}: {error}"))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn why(end: End) -> &'static str {
    match end {
        End::Deadline => "did not end in time",
        End::TooMuch(_) => "wrote more than it may",
        End::TooMuchMemory => "used more memory than it may",
        End::TooManyProcesses => "had more processes than it may",
        End::Cancelled => "was ended, since nobody waited for it",
        End::Exited(_) => "ended",
    }
}
