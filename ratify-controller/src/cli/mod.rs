//! What a person types: v1's commands and flags, and ours (`plugin`, `crds`, `migrate`, `dev`).
//!
//! stdout carries results only; the log and the errors go to stderr. Exit codes are v1's: 0, or 1
//! for any error; `migrate` has one more. One file a command.

mod crds;
mod dev;
mod discover;
mod doctor;
mod end;
mod explain;
mod flag;
mod migrate;
mod output;
pub mod plugin;
mod referrer;
mod resolve;
mod serve;
mod verdicts;
mod verify;
mod version;

pub(crate) use version::COMMIT;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::{CommandFactory as _, Parser, Subcommand, error::ErrorKind};

use anyhow::Context as _;

use crate::{
    env::Environment,
    plugin::sandbox::harden_self,
    reload::ConfigFile,
    runtime::{Asking, Runtime},
    telemetry::{Format, SpanReader, Telemetry, collect::Collector, sent::Sent},
};

/// How long what still runs when a command is over may take to end.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Ratify verifies what proves that a container image may be trusted.
#[derive(Debug, Parser)]
// As in v1, of a flag that is given twice the last one counts.
#[command(name = "ratify", disable_version_flag = true, args_override_self = true)]
struct Arguments {
    /// Log at level debug.
    #[arg(short = 'd', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = flag::go_bool)]
    debug: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify a subject
    Verify(verify::Verify),
    /// Resolve digest of a subject that is referenced by a tag
    Resolve(resolve::Resolve),
    /// Discover referrers for a subject
    Discover(discover::Discover),
    /// Read the manifest or a blob of a referrer
    Referrer(referrer::Referrer),
    /// Run ratify as a server
    Serve(serve::Serve),
    /// Show the ratify version information
    Version(version::Version),
    /// Install, list, inspect, push and try plugins
    Plugin(plugin::PluginCommand),
    /// Print or apply the definitions of the custom resources
    Crds(crds::Crds),
    /// Say what stands in the way of a verification, and what to do about it
    Doctor(doctor::Doctor),
    /// Say what of an installation of v1 carries over
    Migrate(migrate::Migrate),
    /// Tools for development
    Dev(dev::Dev),
}

impl Command {
    /// Servers end in order when they are told to; whatever else runs is stopped where it is.
    fn ends_itself(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Dev(_))
    }

    /// A server works on every core. A command is one task and what it waits for: on one thread, what
    /// a connection received is handed on without waking another.
    fn threads(&self) -> tokio::runtime::Builder {
        if self.ends_itself() {
            tokio::runtime::Builder::new_multi_thread()
        } else {
            tokio::runtime::Builder::new_current_thread()
        }
    }

    /// Of a server anybody may ask about anything.
    fn asking(&self) -> Asking {
        if matches!(self, Self::Serve(_)) { Asking::Anybody } else { Asking::Operator }
    }

    /// Who reads spans: a server's go to a collector where one is named, and `--explain` keeps them.
    fn readers(&self, environment: &Environment) -> anyhow::Result<(Readers, Option<SpanReader>)> {
        match self {
            Self::Serve(_) => {
                let (sent, reader) = Sent::from_environment(environment)?;
                Ok((Readers { sent, explains: None }, reader))
            }
            Self::Verify(command) if command.explains() => {
                let collector = Collector::default();
                let reader = collector.reader();
                Ok((Readers { explains: Some(collector), ..Readers::default() }, Some(reader)))
            }
            _ => Ok(Default::default()),
        }
    }

    /// v1's `-d` is a flag of the root that every command takes.
    fn debug(&self) -> bool {
        match self {
            Self::Verify(command) => command.debug.debug,
            Self::Resolve(command) => command.debug.debug,
            Self::Discover(command) => command.debug.debug,
            Self::Referrer(command) => command.debug(),
            Self::Serve(command) => command.debug.debug,
            Self::Version(command) => command.debug.debug,
            Self::Doctor(command) => command.debug.debug,
            Self::Plugin(_) | Self::Crds(_) | Self::Migrate(_) | Self::Dev(_) => false,
        }
    }

    async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Self::Verify(command) => command.run(context).await,
            Self::Resolve(command) => command.run(context).await,
            Self::Discover(command) => command.run(context).await,
            Self::Referrer(command) => command.run(context).await,
            Self::Serve(command) => command.run(context).await,
            Self::Version(command) => command.run(),
            Self::Plugin(command) => {
                let runtime = Arc::clone(&context.runtime);
                command.run(&plugin::PluginContext { runtime }).await
            }
            Self::Crds(command) => command.run().await,
            Self::Doctor(command) => Box::pin(command.run(context)).await,
            Self::Migrate(command) => command.run().await,
            Self::Dev(command) => command.run(context).await,
        }
    }
}

/// What commands share: the environment as values, the log, and what runs plugins.
pub(crate) struct Context {
    environment: Environment,
    telemetry: Telemetry,
    readers: Readers,
    runtime: Arc<Runtime>,
}

/// What a command line of `ratify serve` says; `None` where it is none.
pub(crate) fn serve_of(line: &[&str]) -> Option<serve::Serve> {
    match Arguments::try_parse_from(line).ok()?.command? {
        Command::Serve(serve) => Some(serve),
        _ => None,
    }
}

/// Who reads spans.
#[derive(Default)]
struct Readers {
    /// A collector of traces.
    sent: Sent,
    /// Who explains a verdict.
    explains: Option<Collector>,
}

/// Runs the command line of this process; its exit code comes back.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let Some(command) = arguments.command else {
        return match Arguments::command().print_help() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    };
    let environment = Environment::from_process();
    let (readers, reader) = match command.readers(&environment) {
        Ok(readers) => readers,
        Err(error) => {
            eprintln!("Error: {}", output::error_text(&error));
            return ExitCode::FAILURE;
        }
    };
    let telemetry = Telemetry::start_with(reader);
    for (name, on) in &environment.feature_flags {
        tracing::info!("Feature flag {name} is {}", if *on { "enabled" } else { "disabled" });
    }
    let debug = arguments.debug || command.debug();
    telemetry.set_level(debug, environment.log_level.as_deref());
    match run(command, environment, (telemetry, readers)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("Error: {}", output::error_text(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(
    command: Command,
    environment: Environment,
    (telemetry, readers): (Telemetry, Readers),
) -> anyhow::Result<ExitCode> {
    harden_self().context("cannot make this process unreadable for plugins")?;
    let threads = command.threads().enable_all().build()?;
    let ended = threads.block_on(async {
        let runtime = Arc::new(Runtime::start(environment.clone(), command.asking())?);
        let context = Context { environment, telemetry, readers, runtime };
        if command.ends_itself() {
            return command.run(&context).await;
        }
        let told = end::told()?;
        tokio::select! {
            done = command.run(&context) => done,
            signal = told => Ok(end::exit_code(signal)),
        }
    });
    // Ends the plugins that still run. A name that is looked up meanwhile is not waited for.
    threads.shutdown_timeout(SHUTDOWN);
    ended
}

/// Says what is wrong with a command line. Asking for help is not wrong, nor is a command alone that
/// has commands below it: as in v1, its usage is what it prints.
fn refuse(error: &clap::Error) -> ExitCode {
    let is_alone = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_alone || !error.use_stderr() {
        let printed = output::print_bytes(error.render().to_string().as_bytes());
        return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let text = error.render().to_string();
    eprintln!("Error: {}", text.strip_prefix("error: ").unwrap_or(&text).trim_end());
    ExitCode::FAILURE
}

impl Context {
    /// The configuration file a flag names, or the default one.
    pub(crate) fn config_file(&self, flag: &str) -> PathBuf {
        if flag.is_empty() { self.environment.default_config_file() } else { PathBuf::from(flag) }
    }

    /// Reads the configuration and sets the log's format by it.
    ///
    /// # Errors
    /// When there is no such file or it is no configuration; the texts are v1's.
    pub(crate) fn load_config(&self, flag: &str) -> anyhow::Result<ratify_core::config::Config> {
        Ok(self.load_config_file(flag)?.config)
    }

    /// The same, with what tells later whether the file has changed.
    ///
    /// # Errors
    /// As [`Context::load_config`].
    pub(crate) fn load_config_file(&self, flag: &str) -> anyhow::Result<ConfigFile> {
        let file = ConfigFile::read(flag, &self.config_file(flag))?;
        let formatter = file.config.logger.formatter.as_deref();
        self.telemetry.set_format(Format::parse(formatter)?);
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_flag_that_makes_a_list_may_be_given_twice() {
        let line = ["ratify", "dev", "image", "x", "--attach", "a/b=first", "--attach", "a/b=last"];
        let parsed = format!("{:?}", Arguments::try_parse_from(line).unwrap());
        assert!(parsed.contains("first") && parsed.contains("last"), "{parsed}");
    }

    #[test]
    fn d_is_debug_everywhere_and_the_digest_below_referrer() {
        let debug = |line: &str| {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            arguments.debug || arguments.command.unwrap().debug()
        };
        assert!(debug("ratify -d verify -s x"));
        assert!(debug("ratify verify -s x -d"));
        assert!(debug("ratify serve --debug=true"));
        assert!(!debug("ratify serve --debug=false"));
        assert!(!debug("ratify referrer show-blob -s x -d sha256:1 --store oras"));
        assert!(debug("ratify referrer show-blob -s x -d sha256:1 --store oras --debug"));
    }
}
