//! Dynamic plugins, from a registry to a proven file: what is accepted, what is fetched, what is
//! kept, and what is refused.
//!
//! - `plugins`: what is accepted, and what is asked of a registry for it; `lies`: a registry that
//!   lies on each of those requests.
//! - `directories`: plugin directories that are not as they should be; `collection`: what goes.
//! - `cli`: the commands, and several processes at once.

// Helpers of tests count as tests.
#![allow(clippy::unwrap_used)]

mod cli;
mod collection;
mod directories;
mod lies;
mod plugins;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ratify_controller::{
    dev::{RegistryOptions, RunningRegistry},
    plugin::{
        install::{
            InstallOptions, InstallRequest, Installation, PluginConfig, PushRequest, Pushed,
            install, push,
        },
        inventory::{Inventory, Kind},
        trust::this_platform,
    },
};
use ratify_core::{
    Algorithm, Descriptor, Digest, Reference, Result, config::PluginSource, media_type,
};
use ratify_store_oras::{Client, ClientOptions, RetryPolicy, Transport, digest_of};
use serde_json::{Value, json};
use tempfile::TempDir;
use tracing_subscriber::layer::SubscriberExt as _;

/// The repository of every test.
const REPOSITORY: &str = "plugins/sample";
/// The layer type that v1's documentation pushes plugins with.
const V1_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A registry and a plugin directory.
struct Fixture {
    registry: RunningRegistry,
    folder: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
        Self { registry, folder: tempfile::tempdir().unwrap() }
    }

    fn directory(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    fn inventory(&self) -> Inventory {
        Inventory::of(self.directory())
    }

    fn by_tag(&self, tag: &str) -> String {
        format!("{}/{REPOSITORY}:{tag}", self.registry.host())
    }

    fn by_digest(&self, digest: &Digest) -> String {
        format!("{}/{REPOSITORY}@{digest}", self.registry.host())
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let digest = self.registry.put_blob(REPOSITORY, bytes.to_vec()).unwrap();
        Descriptor::new(media_type, digest, bytes.len() as u64)
    }

    fn manifest(&self, tag: &str, media_type: &str, document: &Value) -> Descriptor {
        let bytes = document.to_string().into_bytes();
        self.registry.put_manifest(REPOSITORY, Some(tag), media_type, bytes).unwrap()
    }

    /// What `oras push REGISTRY/REPOSITORY:TAG ./sample:MEDIA-TYPE` makes.
    fn push_as_v1(&self, tag: &str, program: &[u8]) -> Descriptor {
        let config = self.blob("application/vnd.unknown.config.v1+json", b"{}");
        let mut layer = json!(self.blob(V1_LAYER, program));
        layer["annotations"] = json!({"org.opencontainers.image.title": "sample"});
        self.manifest(
            tag,
            media_type::OCI_MANIFEST,
            &json!({
                "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
                "config": config, "layers": [layer],
            }),
        )
    }

    /// What `ratify plugin push` makes, for this platform alone.
    async fn push_as_ours(&self, tag: &str, program: &[u8]) -> Pushed {
        let path = self.folder.path().join("to-push");
        fs::write(&path, program).unwrap();
        let request = PushRequest {
            reference: Reference::parse_exact(&self.by_tag(tag)).unwrap(),
            config: PluginConfig::new("sample", Kind::Verifier, tag),
            programs: vec![(this_platform(), path)],
        };
        push(&client().unwrap(), &request).await.unwrap()
    }

    async fn install(&self, artifact: &str) -> Result<Installation> {
        install_into(&self.directory(), artifact).await
    }

    /// Each file of the plugin directory, without the lock.
    fn files(&self) -> Vec<String> {
        files_below(&self.directory())
    }

    fn requests(&self) -> Vec<String> {
        let requests = self.registry.requests();
        let line = |path: &str| path.trim_start_matches("/v2/plugins/sample/").to_owned();
        requests.iter().map(|r| format!("{} {}", r.method, line(&r.path))).collect()
    }
}

async fn install_into(directory: &Path, artifact: &str) -> Result<Installation> {
    let source = source(artifact);
    let request = InstallRequest {
        kind: Kind::Verifier,
        name: "sample",
        type_: "sample",
        source: &source,
        directory,
        pin: None,
        ran: None,
    };
    let give_up_at = Some(Instant::now() + Duration::from_secs(30));
    let options = InstallOptions { give_up_at, ..InstallOptions::default() };
    install(&request, &options, &|_| client().map(Into::into), &mut |_, _| {}).await
}

fn source(artifact: &str) -> PluginSource {
    let entry = json!({"source": {"artifact": artifact}});
    PluginSource::from_entry(entry.as_object().unwrap()).unwrap().unwrap()
}

fn client() -> Result<Client> {
    let mut options = ClientOptions::default();
    options.transport = Transport::HttpsOrLoopbackHttp;
    options.retry = RetryPolicy::fast(1);
    Ok(Client::new(options)?)
}

/// The smallest file that is a program of this node; `text` makes it another one.
fn program(text: &str) -> Vec<u8> {
    program_for(&this_platform().architecture, text)
}

fn program_for(architecture: &str, text: &str) -> Vec<u8> {
    let machine: u16 = if architecture == "arm64" { 183 } else { 62 };
    let mut bytes = vec![0; 64 + 56];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16] = 2;
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[20] = 1;
    bytes[24] = 1;
    bytes[32] = 64;
    bytes[52] = 64;
    bytes[54] = 56;
    bytes[56] = 1;
    bytes[64] = 1;
    bytes.extend(text.as_bytes());
    bytes
}

fn sha256(bytes: &[u8]) -> Digest {
    digest_of(Algorithm::Sha256, bytes)
}

fn files_below(folder: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, names: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                walk(root, &entry.path(), names);
            } else {
                names.push(entry.path().strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    let mut names = Vec::new();
    walk(folder, folder, &mut names);
    names.retain(|name| name != ".store/.lock");
    names.sort();
    names
}

/// Collects what is logged while it lives, on this thread: level and text, a line each.
struct Log {
    lines: Arc<Mutex<String>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    fn start() -> Self {
        let lines = Arc::new(Mutex::new(String::new()));
        let subscriber = tracing_subscriber::registry().with(LogLayer(Arc::clone(&lines)));
        Self { lines, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines of this crate.
    fn lines(&self) -> String {
        self.lines.lock().unwrap().trim_end().to_owned()
    }
}

struct LogLayer(Arc<Mutex<String>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for LogLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Message<'a>(&'a mut String);
        impl tracing::field::Visit for Message<'_> {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0.push_str(&format!("{value:?}\n"));
                }
            }
        }
        if event.metadata().target().starts_with("ratify_controller::plugin") {
            let mut lines = self.0.lock().unwrap();
            lines.push_str(&format!("{} ", event.metadata().level()));
            event.record(&mut Message(&mut lines));
        }
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
