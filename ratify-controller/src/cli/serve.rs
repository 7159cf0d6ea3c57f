//! `ratify serve`: the server that Gatekeeper asks, from a configuration file that is watched or
//! from a cluster's custom resources.

use std::{pin::Pin, process::ExitCode, sync::Arc};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use ratify_core::{ErrorCode, config::Config, executor::Executor};
use tokio::{net::TcpListener, sync::watch};

use super::{Context, end, flag, verdicts::CacheFlags};
use crate::{
    assemble,
    cache::VerdictCache,
    env::Environment,
    gatekeeper::{
        self, Service, ServiceConfig,
        tls::{self, Tls, TlsFiles},
    },
    health::{self, Readiness},
    k8s::{
        self,
        manager::{ManagerOptions, manage},
        parts::Composition,
        resource_counts::ResourceCounts,
        rotation::{RotationCounts, RotationOptions, rotate},
        waits::Waits,
    },
    metrics::{self, Board, Serving},
    of_file,
    plugin::rules::Rules,
    reload::{ConfigFile, Watcher},
    runtime::Runtime,
    state::{Active, Snapshot},
};

/// What is said where there is no TLS.
const IN_CLEAR: &str =
    "open: whoever reaches the server may ask it, in clear, since --cert-dir is not set";

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// HTTP Address
    #[arg(long, default_value = "")]
    pub(super) http: String,
    /// Config File Path
    #[arg(short, long, default_value = "")]
    pub(super) config: String,
    /// Path to ratify certs
    #[arg(long, default_value = "")]
    pub(super) cert_dir: String,
    /// Path to CA cert file
    #[arg(long, default_value = "")]
    pub(super) ca_cert_file: String,
    /// Start crd manager if enabled (default: false)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = flag::go_bool)]
    pub(super) enable_crd_manager: bool,
    #[command(flatten)]
    pub(super) cache: CacheFlags,
    /// Enable metrics exporter if enabled (default: false)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = flag::go_bool)]
    metrics_enabled: bool,
    /// Metrics exporter type to use
    #[arg(long, default_value = "prometheus")]
    metrics_type: String,
    /// Metrics exporter port to use
    #[arg(long, default_value_t = 8888)]
    metrics_port: u16,
    /// Health port to use
    #[arg(long, default_value = ":9099")]
    health_port: String,
    #[command(flatten)]
    pub(super) debug: flag::Debug,
}

impl Serve {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let verdicts = self.cache.open(&context.runtime)?;
        let board = Board::new(&context.runtime, verdicts.clone());
        board.show_traces(context.readers.sent.clone());
        let measuring = self.metrics(&board).await?;
        context.readers.sent.begin(&context.environment.tls_roots())?;
        let ended = tokio::select! {
            ended = self.serve(context, verdicts, &board) => ended,
            () = measuring => Err(anyhow!("metrics are served no more")),
        };
        context.readers.sent.end().await;
        ended
    }

    async fn serve(
        &self,
        context: &Context,
        verdicts: VerdictCache,
        board: &Board,
    ) -> anyhow::Result<ExitCode> {
        let file = context
            .load_config_file(&self.config)
            .context("failed to retrieve logger configuration: unable to load config")?;
        let service_config = ServiceConfig::from_config(&file.config);
        if self.enable_crd_manager {
            let service = (service_config, verdicts);
            return Box::pin(self.run_in_cluster(context, file, service, board)).await;
        }
        let snapshot = Box::pin(assemble::snapshot(&file.config, &context.runtime)).await?;
        tracing::info!("configuration successfully loaded.");
        if self.http.is_empty() {
            tracing::info!(
                "The http server address configuration is not set. Skipping server creation"
            );
            return Ok(ExitCode::SUCCESS);
        }
        let listener =
            listen(&self.http).await.with_context(|| format!("cannot listen on {}", self.http))?;
        let in_force = Arc::clone(&context.runtime.in_force);
        let active = Arc::new(Active::telling(snapshot, in_force));
        let rules = context.runtime.rules.clone();
        let service = Service::new(Arc::clone(&active), service_config)
            .with_rules(rules.clone())
            .with_measures(Arc::clone(&context.runtime.measures))
            .with_cache(verdicts);
        let service = Arc::new(service);
        let path = context.config_file(&self.config);
        let watcher = Watcher::new(path, file, Arc::clone(&active)).with_rules(rules.clone());
        let runtime = Arc::clone(&context.runtime);
        let watching = watcher.watch(|config| rebuild(config, Arc::clone(&runtime)));
        let asking = of_file::watch(Arc::clone(&context.runtime), Arc::clone(&active));
        if context.environment.cert_rotation() {
            tracing::warn!(
                "RATIFY_CERT_ROTATION has no effect without --enable-crd-manager: nobody makes or renews the certificates"
            );
        }
        tracing::info!("starting server at {}", listener.local_addr()?);
        let (tls, renewing) = self.tls(&Readiness::default(), false)?;
        board.show_serving(Serving {
            service: Arc::clone(&service),
            active,
            rules,
            tls: tls.clone(),
            resources: None,
            rotation: None,
        });
        tokio::select! {
            ended = answer(listener, tls, service) => ended.map(|()| ExitCode::SUCCESS),
            () = renewing => bail!("the certificates are watched no more"),
            () = watching => bail!("the configuration file is watched no more"),
            () = asking => bail!("nobody asks any more who signed what runs"),
            result = context.runtime.host.reap_strangers() => {
                result.context("cannot reap processes")?;
                bail!("processes are reaped no more")
            }
        }
    }

    /// Serves what the cluster's custom resources say. Of the file only what is not theirs counts.
    async fn run_in_cluster(
        &self,
        context: &Context,
        file: ConfigFile,
        (service_config, verdicts): (ServiceConfig, VerdictCache),
        board: &Board,
    ) -> anyhow::Result<ExitCode> {
        tracing::info!("starting crd manager");
        if self.http.is_empty() {
            bail!("--enable-crd-manager needs --http: there is nobody to ask");
        }
        let rules = Rules::of(&file.config);
        let composition =
            Composition { tighten_only: rules.namespaces.tighten_only, ..Composition::default() };
        context.runtime.rules.put(rules);
        context.runtime.revocation_lists.keep(file.config.crl_cache_enabled);
        let readiness = Readiness::default();
        let probing = probe(&self.health_port, &readiness).await?;
        let client = k8s::client().await?;
        let nothing = Executor::new(Vec::new(), Vec::new(), None);
        let in_force = Arc::clone(&context.runtime.in_force);
        let active = Arc::new(Active::telling(Snapshot::new(nothing), in_force));
        tracing::info!("initializing executor with config file at default config path");
        let listener =
            listen(&self.http).await.with_context(|| format!("cannot listen on {}", self.http))?;
        let (waits, times) = Waits::new(&client, service_config.times());
        let rules = context.runtime.rules.clone();
        let service = Service::new(Arc::clone(&active), service_config)
            .with_rules(rules.clone())
            .with_measures(Arc::clone(&context.runtime.measures))
            .with_times(times)
            .with_cache(verdicts);
        let service = Arc::new(service);
        let watcher = Watcher::new(context.config_file(&self.config), file, Arc::clone(&active))
            .with_rules(rules.clone());
        let (rotating, rotated) = rotation(&context.environment, &client);
        tracing::info!("starting server at {}", listener.local_addr()?);
        let (tls, renewing) = self.tls(&readiness, context.environment.cert_rotation())?;
        let counts = Arc::<ResourceCounts>::default();
        board.show_serving(Serving {
            service: Arc::clone(&service),
            active: Arc::clone(&active),
            rules,
            tls: tls.clone(),
            resources: Some(Arc::clone(&counts)),
            rotation: rotated,
        });
        let managed = manage(
            client,
            ManagerOptions {
                runtime: Arc::clone(&context.runtime),
                active,
                composition,
                identity: context.environment.host_name.clone(),
                open: tls.as_ref().map_or_else(|| watch::channel(Some(IN_CLEAR)).1, Tls::open),
                readiness: readiness.check("resources"),
                counts,
            },
        );
        tokio::select! {
            ended = answer(listener, tls, service) => ended.map(|()| ExitCode::SUCCESS),
            () = probing => bail!("probes are answered no more"),
            () = renewing => bail!("the certificates are watched no more"),
            () = rotating => bail!("the certificates are rotated no more"),
            ended = managed => ended.map(|()| ExitCode::FAILURE),
            () = waits.watch() => bail!("nobody looks any more how long answers may take"),
            () = watcher.watch_rules() => bail!("the configuration file is watched no more"),
            result = context.runtime.host.reap_strangers() => {
                result.context("cannot reap processes")?;
                bail!("processes are reaped no more")
            }
        }
    }

    /// What the server shows of itself, if it serves TLS, and what keeps that as the files are.
    fn tls(&self, readiness: &Readiness, wait: bool) -> anyhow::Result<(Option<Tls>, Forever)> {
        let check = readiness.check("tls");
        if self.cert_dir.is_empty() {
            if !self.ca_cert_file.is_empty() {
                tracing::warn!("--ca-cert-file has no effect without --cert-dir: HTTP is served");
            }
            check.ready("plain HTTP: --cert-dir is not set");
            return Ok((None, Box::pin(std::future::pending())));
        }
        let mut files = TlsFiles::new(&self.cert_dir, &self.ca_cert_file);
        files.wait = wait;
        let (tls, renewing) = tls::open(files, check)?;
        Ok((Some(tls), Box::pin(renewing)))
    }

    /// Serves metrics, where that is asked for.
    async fn metrics(&self, board: &Board) -> anyhow::Result<Forever> {
        if !self.metrics_enabled {
            return Ok(Box::pin(std::future::pending()));
        }
        if !self.metrics_type.eq_ignore_ascii_case("prometheus") {
            let backend = &self.metrics_type;
            bail!(
                "failed to initialize metrics exporter {backend}: unsupported metrics backend {backend}"
            );
        }
        // Who is only to be asked from this machine is only to be watched from there.
        let host = self.http.rsplit_once(':').map_or("", |(host, _)| host);
        let address = format!("{host}:{}", self.metrics_port);
        let listener =
            listen(&address).await.with_context(|| format!("error listening on {address}"))?;
        // v1 spells it so.
        tracing::info!("intializing metrics backend: prometheus on {}", listener.local_addr()?);
        let router = metrics::router(board.clone());
        Ok(Box::pin(async move { match gatekeeper::serve_router(listener, router).await {} }))
    }
}

/// Something that runs as long as the server does.
type Forever = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Makes the certificates, where that is asked for, and counts what it does.
fn rotation(
    environment: &Environment,
    client: &kube::Client,
) -> (Forever, Option<Arc<RotationCounts>>) {
    if !environment.cert_rotation() {
        return (Box::pin(std::future::pending()), None);
    }
    tracing::info!("setting up cert rotation");
    let options =
        RotationOptions::new(environment.namespace_or_default(), &environment.service_name);
    let counts = Arc::<RotationCounts>::default();
    (Box::pin(rotate(client.clone(), options, Arc::clone(&counts))), Some(counts))
}

/// Answers until this process is told to end.
async fn answer(
    listener: TcpListener,
    tls: Option<Tls>,
    service: Arc<Service>,
) -> anyhow::Result<()> {
    let told = end::told()?;
    let termination = async {
        told.await;
    };
    match tls {
        Some(tls) => gatekeeper::serve_tls(listener, tls, service, termination).await,
        None => gatekeeper::serve(listener, service, termination).await,
    }
    Ok(())
}

/// Answers probes at an address; nobody does where it is empty or `0`, as in v1.
async fn probe(address: &str, readiness: &Readiness) -> anyhow::Result<Forever> {
    if address.is_empty() || address == "0" {
        return Ok(Box::pin(std::future::pending()));
    }
    let listener =
        listen(address).await.with_context(|| format!("error listening on {address}"))?;
    tracing::info!("starting server kind=health probe addr={}", listener.local_addr()?);
    let router = health::router(readiness.clone());
    Ok(Box::pin(async move { match gatekeeper::serve_router(listener, router).await {} }))
}

async fn rebuild(config: Config, runtime: Arc<Runtime>) -> ratify_core::Result<Snapshot> {
    let snapshot = Box::pin(assemble::snapshot(&config, &runtime)).await;
    snapshot.map_err(|error| ErrorCode::ConfigInvalid.error().with_source(error))
}

/// Go's `:6001` listens on every address, of both families where the machine has both.
async fn listen(address: &str) -> std::io::Result<TcpListener> {
    if !address.starts_with(':') {
        return TcpListener::bind(address).await;
    }
    match TcpListener::bind(format!("[::]{address}")).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(format!("0.0.0.0{address}")).await,
    }
}
