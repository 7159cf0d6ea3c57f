//! `ratify doctor`: what stands in the way of a verification, and what to do about it. Nothing is
//! written anywhere, and no secret is shown.
//!
//! What is gathered are facts, and what they mean is decided on values: `configuration` and `plugins`
//! are about this machine, `registries` (with `headroom` and `certificate`) about registries, which
//! `targets` chooses, `resources`, `rights`, `rotation` and `gatekeeper` about what `cluster` reads, `server` about what `serve` shows itself with, `chain` about who waits for whom,
//! `reach` about what else is connected to. `gather` asks, `render` writes the report; `checks` has
//! every check by its id, and docs/DOCTOR.md its meaning.

mod certificate;
mod chain;
mod checks;
mod cluster;
mod configuration;
mod finding;
mod gatekeeper;
mod gather;
mod headroom;
mod plugins;
mod reach;
mod registries;
mod render;
mod resources;
mod rights;
mod rotation;
mod secrets;
mod server;
mod targets;

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use jiff::Timestamp;
use ratify_core::config::{Config, StorePluginConfig};
use serde_json::{Map, Value};

use self::{
    chain::{Chain, InFront, Question},
    cluster::{Cluster, Inside, Where},
    configuration::Origin,
    finding::{Finding, Report, State},
    gather::Entries,
};
use super::{Context, flag, output, plugin::Output, serve::Serve, verdicts::CacheFlags};
use crate::{plugin::rules::Rules, runtime::Runtime, telemetry::sent::Sent};

/// How long a cluster may take in all; registries have their own time after it.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(8);

/// The arguments. What is not said is taken from the server that runs in the same container, or in the
/// cluster.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 without failures, 1 with at least one; with --strict 1 with at least one warning too."
)]
pub(crate) struct Doctor {
    /// Images whose registries are asked, with credentials
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Config File Path
    #[arg(short, long, default_value = "")]
    config: String,
    /// The cluster that KUBECONFIG names, or that this runs in
    #[arg(long)]
    cluster: bool,
    /// The cluster of this file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The cluster of this context
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Where Ratify runs in the cluster [default: this pod's, or gatekeeper-system]
    #[arg(short, long)]
    namespace: Option<String>,
    /// Path to ratify certs
    #[arg(long, default_value = "")]
    cert_dir: String,
    /// Path to CA cert file
    #[arg(long, default_value = "")]
    ca_cert_file: String,
    #[command(flatten)]
    cache: CacheFlags,
    /// The form of the report
    #[arg(short, long, default_value = "text")]
    output: Output,
    /// A warning is a failure
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    pub(super) debug: flag::Debug,
}

/// The server whose settings count.
struct Server {
    serve: Option<Serve>,
    /// Whether it runs in this container, so that its files are here.
    is_here: bool,
}

impl Doctor {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        if !self.debug.debug {
            context.telemetry.quiet();
        }
        let report = self.examine(context).await;
        match self.output {
            Output::Json => output::print_json(&report)?,
            Output::Text => {
                let is_colourful = std::io::stdout().is_terminal() && !context.environment.no_color;
                output::print_line(&render::text(&report, is_colourful))?;
            }
        }
        let least = if self.strict { State::Warning } else { State::Failure };
        Ok(if report.verdict >= least { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// Looks at the cluster, which may say what the configuration is, and then at all else at once.
    async fn examine(&self, context: &Context) -> Report {
        let runtime = &context.runtime;
        let mut findings = Vec::new();
        let beside = server::beside();
        let cluster = self.read_cluster(context, beside.as_ref(), &mut findings).await;
        let server = Server::of(beside, cluster.as_ref());
        let (config, of_config) = self.configuration(&server, cluster.as_ref(), context);
        findings.extend(of_config);
        let config = config.unwrap_or_default();
        runtime.rules.put(Rules::of(&config));
        let entries = match (&cluster, server.is_of_resources()) {
            (Some(cluster), true) => Entries::of_cluster(cluster, runtime),
            _ => Entries::of_file(&config, runtime),
        };
        let hosts = gather::hosts_in(config.registries.hosts_path.as_ref());
        let stores = with_default(entries.stores);
        let named = targets::Named {
            images: &self.images,
            stores: &stores,
            sources: &entries.sources,
            hosts: &hosts,
        };
        let (targets, of_names) = targets::targets(&named);
        findings.extend(of_names);
        say(&format!("asking {} registries …", targets.len()));
        let directory = runtime.environment.default_plugin_dir();
        // The plugins of a server elsewhere are not on this machine.
        let is_elsewhere = server.is_of_resources() && !server.is_here;
        let plugins = if is_elsewhere { Vec::new() } else { entries.plugins };
        let (of_plugins, of_registries, of_others) = tokio::join!(
            gather::plugins(plugins, directory, is_elsewhere),
            gather::registries(targets, runtime),
            self.others(&server, runtime),
        );
        findings.extend(of_plugins.into_iter().chain(of_registries).chain(of_others));
        let trusts = cluster.as_ref().map(gatekeeper::trusts).unwrap_or_default();
        findings.extend(self.files(&server, runtime, &trusts));
        let fronts = cluster.as_ref().map(gatekeeper::in_front).unwrap_or_default();
        let (chains, of_times) = times(&config, &fronts);
        findings.extend(of_times);
        Report::new(findings, chains)
    }

    /// Reads the cluster, where one is named or this runs in one.
    async fn read_cluster(
        &self,
        context: &Context,
        beside: Option<&Serve>,
        findings: &mut Vec<Finding>,
    ) -> Option<Cluster> {
        let is_named = self.cluster || self.kubeconfig.is_some() || self.context.is_some();
        if !is_named && self.namespace.is_none() && !context.environment.has_cluster {
            let why =
                "no cluster is named: --cluster, --kubeconfig FILE or --context NAME asks one";
            findings.push(Finding::not_checked("cluster.api", "", why));
            return None;
        }
        say("asking the cluster …");
        let namespace = self.namespace.as_deref();
        let place = Where {
            kubeconfig: self.kubeconfig.as_deref(),
            context: self.context.as_deref(),
            namespace: namespace.unwrap_or_else(|| context.environment.namespace_or_default()),
            inside: beside.map(|serve| Inside {
                environment: &context.environment,
                has_manager: serve.enable_crd_manager,
            }),
        };
        let read = Box::pin(cluster::read(&place));
        match tokio::time::timeout(CLUSTER_PATIENCE, read).await {
            Ok(Ok(cluster)) => {
                findings.extend(resources::judge(&cluster));
                if cluster.version.is_ok() {
                    findings.extend(gatekeeper::judge(&cluster, Timestamp::now()));
                }
                Some(cluster)
            }
            Ok(Err(error)) => {
                findings.push(resources::unreachable(&output::error_text(&error)));
                None
            }
            Err(_) => {
                let why = format!("it took longer than {} s", CLUSTER_PATIENCE.as_secs());
                findings.push(resources::unreachable(&why));
                None
            }
        }
    }

    /// The configuration that counts, and what is to be said of it.
    fn configuration(
        &self,
        server: &Server,
        cluster: Option<&Cluster>,
        context: &Context,
    ) -> (Option<Config>, Vec<Finding>) {
        let environment = &context.environment;
        let is_of_resources = server.is_of_resources();
        let of_cluster = cluster.and_then(|cluster| cluster.configuration.as_ref());
        if let (Some((name, text)), "", false) = (of_cluster, self.config.as_str(), server.is_here)
        {
            let deployments = cluster.and_then(|cluster| cluster.deployments.seen());
            let of_server = deployments.and_then(|all| resources::environment(all.first()?));
            let environment = of_server.as_ref().unwrap_or(environment);
            return configuration::judge(
                text.as_bytes(),
                Origin { name, is_of_resources, environment },
            );
        }
        let named = match (self.config.as_str(), &server.serve) {
            ("", Some(serve)) if server.is_here => serve.config.as_str(),
            (named, _) => named,
        };
        let path = context.config_file(named);
        let name = path.display().to_string();
        let origin = Origin { name: &name, is_of_resources, environment };
        match super::migrate::read(&path) {
            Ok(bytes) => configuration::judge(&bytes, origin),
            Err(_) if named.is_empty() && cluster.is_some() => {
                let why = "none is here, nor read from the cluster: -c FILE names one";
                (None, vec![Finding::not_checked("configuration.file", "", why)])
            }
            Err(error) => {
                let why = output::error_text(&error);
                (None, vec![configuration::unreadable(&name, &why)])
            }
        }
    }

    /// What `serve` connects to besides registries.
    async fn others(&self, server: &Server, runtime: &Arc<Runtime>) -> Vec<Finding> {
        let here = server.serve.as_ref().filter(|_| server.is_here);
        let cache = here.map_or(&self.cache, |serve| &serve.cache);
        let mut findings = Vec::new();
        match cache.shared_now(runtime) {
            Ok(None) => {}
            Ok(Some(shared)) => findings.push(reach::redis(&shared).await),
            Err(error) => findings.push(
                Finding::failure("cache.redis", "", output::error_text(&error))
                    .why("`ratify serve` does not start with these flags")
                    .fix("--cache-address redis://host:port, or rediss://host:port"),
            ),
        }
        findings.extend(reach::otlp(Sent::receiver(&runtime.environment)).await);
        findings
    }

    /// What `serve` shows itself with, where a directory of it is named.
    fn files(&self, server: &Server, runtime: &Runtime, trusts: &[server::Trust]) -> Vec<Finding> {
        let here = server.serve.as_ref().filter(|_| server.is_here);
        let given = |own: &str, of_server: fn(&Serve) -> &str| match (own, here) {
            ("", Some(serve)) => of_server(serve).to_owned(),
            (own, _) => own.to_owned(),
        };
        let cert_dir = given(&self.cert_dir, |serve| &serve.cert_dir);
        let ca_cert_file = given(&self.ca_cert_file, |serve| &serve.ca_cert_file);
        if cert_dir.is_empty() {
            return match here {
                Some(serve) if !serve.http.is_empty() => vec![server::in_clear()],
                _ => Vec::new(),
            };
        }
        let environment = &runtime.environment;
        let has_manager = here.is_none_or(|serve| serve.enable_crd_manager);
        let is_rotated = environment.cert_rotation() && has_manager;
        let files = server::Files::read(&cert_dir, &ca_cert_file, is_rotated);
        let namespace = environment.namespace.as_ref();
        let name = namespace.map(|namespace| format!("{}.{namespace}", environment.service_name));
        let now = Timestamp::now();
        let mut findings = server::judge(&files, name.as_deref(), now);
        if let Ok(certificate) = &files.certificate.1 {
            let judged = trusts.iter().map(|trust| server::judge_trust(certificate, trust, now));
            findings.extend(judged);
        }
        findings
    }
}

impl Server {
    /// The one of this container, else the one that a Deployment of the cluster runs.
    fn of(beside: Option<Serve>, cluster: Option<&Cluster>) -> Self {
        if beside.is_some() {
            return Self { serve: beside, is_here: true };
        }
        let deployments = cluster.and_then(|cluster| cluster.deployments.seen());
        let line = deployments.and_then(|all| resources::serve_line(all.first()?));
        let line: Vec<&str> = line.iter().flatten().map(String::as_str).collect();
        Self { serve: super::serve_of(&line), is_here: false }
    }

    /// Whether custom resources decide.
    fn is_of_resources(&self) -> bool {
        self.serve.as_ref().is_some_and(|serve| serve.enable_crd_manager)
    }
}

/// What is being done, for who waits in front of a terminal.
fn say(what: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("{what}");
    }
}

/// The stores that images are asked for by; the built-in one where none is configured.
fn with_default(stores: Vec<StorePluginConfig>) -> Vec<StorePluginConfig> {
    if stores.iter().any(|store| store.name == "oras") {
        return stores;
    }
    let entry = Map::from_iter([("name".to_owned(), Value::from("oras"))]);
    StorePluginConfig::from_entry(&entry, "1.0.0").into_iter().chain(stores).collect()
}

/// Both chains of timeouts, of a verification and of a mutation.
fn times(config: &Config, fronts: &[InFront; 2]) -> (Vec<Chain>, Vec<Finding>) {
    let questions = [Question::Verification, Question::Mutation];
    let judged = questions.into_iter().zip(fronts);
    let judged = judged.map(|(question, front)| chain::judge(question, &config.executor, front));
    let (chains, mut findings): (Vec<Chain>, Vec<Finding>) = judged.unzip();
    findings.push(chain::work(&config.executor));
    (chains, findings)
}
