//! [`open_with_environment`]: the store of a plugin that reads blobs on the exec wire. It blocks, so
//! that the futures of its [`Host`] are ready at once and the plugin needs no runtime.

use std::{env::VarError, future::ready, path::PathBuf, sync::Arc, time::Instant};

use bytes::Bytes;
use ratify_core::{
    BoxFuture, Context, Descriptor, ErrorCode, Host, Manifest, Reference, ReferrerStore, Result,
    StoreConfig,
    config::{PassedRules, StorePluginConfig},
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    AddressRules, ConnectionRules, Connections, LAYOUT_STORE, LayoutStore, OrasStore,
    OrasStoreOptions, TlsRoots, auth::Environment,
};

/// The stores that can be opened here, by name.
pub const STORES: [&str; 2] = ["oras", LAYOUT_STORE];

struct BlockingHost {
    runtime: Runtime,
    store: Box<dyn ReferrerStore>,
    context: Context,
}

/// Opens the store of a request for as long as the plugin lives, with what this process's
/// environment says: `HOME`, `DOCKER_CONFIG`, `SSL_CERT_FILE`, `SSL_CERT_DIR`, and by the rules of the
/// host's administrator in `RATIFY_REGISTRY_RULES`; nothing of `HOME` and `DOCKER_CONFIG` for a
/// store of a namespace, which has none of the credentials of the host. It is what a plugin hands to the SDK: the one
/// place of this crate that reads the environment itself, for a plugin has nobody who would do it
/// for it.
///
/// # Errors
/// As [`open`], and when the rules cannot be read: what they forbid is not known.
pub fn open_with_environment(config: &StoreConfig) -> Result<Arc<dyn Host>> {
    let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directories = std::env::var_os("SSL_CERT_DIR").unwrap_or_default();
    let roots = TlsRoots {
        file: path("SSL_CERT_FILE"),
        directories: std::env::split_paths(&directories).filter(|p| p.is_absolute()).collect(),
    };
    let passed = passed_rules()?;
    let of_process = Environment {
        home: path("HOME"),
        docker_config: path("DOCKER_CONFIG"),
        ..Environment::default()
    };
    let environment = match passed.is_borrowers {
        // Which namespace does not matter: nothing here is shared with another.
        true => of_process.for_namespace(""),
        false => of_process,
    };
    let options = OrasStoreOptions {
        user_agent: concat!("ratify+", env!("CARGO_PKG_VERSION"), " (plugin)").into(),
        environment,
        connections: connections(passed, roots),
        shares_cache: false,
        ..OrasStoreOptions::default()
    };
    open(config, options, None)
}

/// The rules that the host passes. A host that passes none, such as v1's, leaves those for an
/// operator.
///
/// # Errors
/// When they cannot be read: what they forbid is not known.
pub fn passed_rules() -> Result<PassedRules> {
    let refused = |why: String| {
        let detail = format!("{} cannot be used: {why}", PassedRules::VARIABLE);
        let remediation = "it is set by the host of the plugin: use a plugin of the host's version";
        ErrorCode::ConfigInvalid.detail(detail).with_remediation(remediation)
    };
    match std::env::var(PassedRules::VARIABLE) {
        Ok(text) => PassedRules::from_text(&text).map_err(|error| refused(error.to_string())),
        Err(VarError::NotPresent) => Ok(PassedRules::default()),
        Err(VarError::NotUnicode(_)) => Err(refused("it is no text".into())),
    }
}

fn connections(passed: PassedRules, roots: TlsRoots) -> Connections {
    let allowed = passed.registries.allowed_addresses;
    let mut rules = ConnectionRules::new(match passed.are_anybodys {
        true => AddressRules::for_anybody(allowed),
        false => AddressRules::for_operator(allowed),
    });
    rules.hosts_path = passed.registries.hosts_path;
    rules.timeouts = passed.registries.timeouts;
    Connections::with_rules(roots, move || rules.clone())
}

/// Opens the store of a request: `config` is `storeConfig` of the wire.
///
/// The methods of what is returned must not be called within a tokio runtime.
///
/// # Errors
/// When the configuration is not one of the `oras` or `oci-layout` store, or it cannot be built.
pub fn open(
    config: &StoreConfig,
    options: OrasStoreOptions,
    give_up_at: Option<Instant>,
) -> Result<Arc<dyn Host>> {
    let entry = StorePluginConfig::from_entry(&config.store, &config.version)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ErrorCode::PluginInitFailure.error().with_source(error))?;
    let store: Box<dyn ReferrerStore> = match entry.name.as_str() {
        "oras" => Box::new(OrasStore::new(&entry, options)?),
        LAYOUT_STORE => Box::new(LayoutStore::new(&entry, options.limits)?),
        other => {
            return Err(ErrorCode::PluginNotFound.detail(format!(
                "this plugin can open the stores oras and {LAYOUT_STORE} only, and was told to open {}",
                ratify_core::capped_line(other, 100)
            )));
        }
    };
    Ok(Arc::new(BlockingHost { runtime, store, context: Context::until(give_up_at) }))
}

impl Host for BlockingHost {
    fn manifest<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Manifest>> {
        let reading = self.store.manifest(subject, descriptor, &self.context);
        Box::pin(ready(self.runtime.block_on(reading)))
    }

    fn subject<'a>(&'a self, subject: &'a Reference) -> BoxFuture<'a, Result<Descriptor>> {
        let resolving = self.store.resolve(subject, &self.context);
        Box::pin(ready(self.runtime.block_on(resolving)))
    }

    fn blob<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Bytes>> {
        let (digest, size) = (&descriptor.digest, Some(descriptor.size));
        let reading = self.store.blob(subject, digest, size, &self.context);
        Box::pin(ready(self.runtime.block_on(reading)))
    }
}
