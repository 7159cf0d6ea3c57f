//! [`install`]: a reference becomes a proven program of this node. The command line, the
//! configuration file and the controller all install by this.
//!
//! What a manifest or an index means on this platform is decided in `plan`, on values; `walk`
//! does what was decided. `artifact` is the format Ratify pushes, `push` pushes it, and `inspect`
//! describes what a reference stands for without running it.

mod age;
pub(crate) mod artifact;
mod error;
mod inspect;
mod plan;
mod push;
mod walk;

use std::{path::Path, sync::Arc, time::Instant};

use jiff::Timestamp;
use ratify_core::{
    ComponentType, Digest, Error, ErrorCode, Platform, Reference, Result, capped_line,
    config::{Candidate, Denial, PluginRules, PluginSource},
};
use ratify_store_oras::Origin;
use tracing::Instrument as _;

use super::{
    inventory::{
        InstalledPlugin, Inventory, InventoryError, Kind, Load, LoadedFor, Record, Resource,
    },
    lock::LockFile,
    signatures::Signatures,
};
use crate::telemetry::spans;

pub use artifact::{PluginConfig, media_type, parse_platform, platform_text};
pub use error::InstallError;
pub use inspect::{Description, FileDescription, PlatformDescription, inspect};
pub use plan::PlanError;
pub use push::{PushError, PushRequest, Pushed, PushedManifest, push};

use walk::{Found, Walk};

/// The largest program that is taken where nobody says otherwise: upstream's own plugins have up
/// to 54 MB.
pub const DEFAULT_MAX_SIZE: u64 = 256 * 1024 * 1024;
/// References are cut to this in texts.
const MAX_SHOWN_REFERENCE: usize = 500;

/// What is to be installed, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct InstallRequest<'a> {
    /// What it does.
    pub kind: Kind,
    /// The name of the configuration's entry. On the command line, the type.
    pub name: &'a str,
    /// What the program is called: a verifier's type, a store's name.
    pub type_: &'a str,
    /// Where it is pulled from.
    pub source: &'a PluginSource,
    /// The plugin directory.
    pub directory: &'a Path,
    /// The digest of an index or a manifest in the source's repository that was agreed on: this
    /// one, whatever the source's tag stands for.
    pub pin: Option<&'a Digest>,
    /// What ran of the source before, where something else than the directory knows it.
    pub ran: Option<&'a Ran>,
}

/// A version that ran, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// `source.artifact`, as it was then.
    pub artifact: String,
    /// The plugin's own version.
    pub version: String,
}

/// On which node, and within which bounds.
#[derive(Debug, Clone)]
pub struct InstallOptions {
    /// The platform of this node.
    pub platform: Platform,
    /// The most bytes a program may have, where the rules do not say.
    pub max_size: u64,
    /// What the administrators allow.
    pub rules: Arc<PluginRules>,
    /// Whether a script is taken for a program.
    pub allow_scripts: bool,
    /// For whom it is loaded, and by whom.
    pub loaded_for: LoadedFor,
    /// When to stop trying; `None` for never.
    pub give_up_at: Option<Instant>,
    /// Who has to have signed it; `None` for nobody.
    pub signatures: Option<Signatures>,
    /// What references stand for; `None` where nothing is locked.
    pub lock: Option<Arc<LockFile>>,
    /// Whether it is an operator's command that installs.
    pub by_command: bool,
}

impl Default for InstallOptions {
    fn default() -> Self {
        Self {
            platform: super::trust::this_platform(),
            max_size: DEFAULT_MAX_SIZE,
            rules: Arc::default(),
            allow_scripts: true,
            loaded_for: LoadedFor::default(),
            give_up_at: None,
            signatures: None,
            lock: None,
            by_command: false,
        }
    }
}

/// Says where a source is read from: a registry, with that source's credentials, or a layout.
/// Called at most once an installation, and not at all where nothing is asked of it.
pub type Connect<'a> = &'a (dyn Fn(&PluginSource) -> Result<Origin> + Send + Sync);

/// Told of bytes received so far and of all that will come.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// How a program came to be installed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It was fetched.
    Downloaded,
    /// It was there; its bytes were proven again.
    AlreadyPresent,
    /// The registry failed, lied, or has something this node cannot run: the last good one stays.
    KeptLastGood(Error),
}

/// An installed program, and how it came here.
#[derive(Debug)]
#[non_exhaustive]
pub struct Installation {
    /// The program.
    pub plugin: InstalledPlugin,
    /// How it came here.
    pub outcome: Outcome,
}

/// v1's warning about a `source` where dynamic plugins are switched off.
pub fn disabled_warning(kind: Kind, type_: &str) -> String {
    let subject = match kind {
        Kind::Verifier => "verifier plugin type",
        Kind::Store => "store plugin",
    };
    format!(
        "source was specified for {subject} {type_}, but dynamic plugins are currently disabled"
    )
}

/// Installs a plugin.
///
/// A reference by digest whose parts are all here and whole needs no registry; a tag needs one
/// request. Where a tag's registry is down or its answer is refused, what was installed from the
/// same reference before is kept, with a warning that names the cause. What a rule forbids is not
/// kept: neither it nor what it would replace.
///
/// # Errors
/// `DOWNLOAD_PLUGIN_FAILURE` with the cause, also where the load cannot be recorded. Nothing
/// partial is left, and what was installed before is untouched.
pub async fn install(
    request: &InstallRequest<'_>,
    options: &InstallOptions,
    connect: Connect<'_>,
    progress: Progress<'_>,
) -> Result<Installation> {
    let span = spans::install(request.type_, &request.source.artifact);
    let installing = Box::pin(install_traced(request, options, connect, progress));
    let installed = installing.instrument(span.clone()).await;
    spans::failed(&span, &installed);
    if let Ok(installation) = &installed {
        let digest = &installation.plugin.record().digest;
        spans::note(&span, "ratify.plugin.digest", digest.as_str());
    }
    installed
}

async fn install_traced(
    request: &InstallRequest<'_>,
    options: &InstallOptions,
    connect: Connect<'_>,
    progress: Progress<'_>,
) -> Result<Installation> {
    let inventory = Inventory::of(request.directory);
    let resource = Resource { name: request.name.to_owned(), kind: request.kind };
    let failed = |error: InstallError| failure(request, error);
    let reference = check(request, options, &inventory).map_err(failed)?;
    let mut walk = Walk::new(request, options, &inventory, &reference, Some(connect));
    let outcome = match walk.online(progress).await {
        Ok(found) => found,
        Err(InstallError::Denied(denial)) => {
            withdraw(&inventory, &resource, options, &denial);
            return Err(failed(denial.into()));
        }
        Err(cause) => {
            let known = inventory.record(&resource).filter(|_| reference.tag().is_some());
            let known = known.filter(|known| known.artifact == request.source.artifact);
            let known =
                known.filter(|known| known.is_admitted_in_spite_of(&cause, Timestamp::now()));
            let Some(known) = known else { return Err(failed(cause)) };
            let mut walk = Walk::new(request, options, &inventory, &reference, None);
            let found = match walk.offline(&known).await {
                Ok(found) => found,
                Err(denied @ InstallError::Denied(_)) => return Err(failed(denied)),
                Err(_) => return Err(failed(cause)),
            };
            record_load(&inventory, options, &found, "kept").map_err(failed)?;
            let cause = failed(cause);
            return Ok(kept(request, found, cause));
        }
    };
    let how = if outcome.downloaded { "downloaded" } else { "present" };
    record_load(&inventory, options, &outcome, how).map_err(failed)?;
    Ok(finish(request, &inventory, outcome))
}

/// What can be told before anything is asked.
fn check(
    request: &InstallRequest<'_>,
    options: &InstallOptions,
    inventory: &Inventory,
) -> std::result::Result<Reference, InstallError> {
    if !is_type(request.type_) {
        return Err(InstallError::Type(capped_line(request.type_, 100)));
    }
    let reference = Reference::parse_exact(&request.source.artifact)?;
    // By the words of the source: what it is pinned to is a digest in any case.
    options.rules.check(&Candidate { source: Some(&reference), ..Candidate::default() })?;
    inventory.check(request.type_)?;
    if let Some(lock) = &options.lock {
        let locked = lock.digest_of(&request.source.artifact, request.pin)?;
        return Ok(reference.sibling(locked));
    }
    Ok(match request.pin {
        Some(pin) => reference.sibling(pin),
        None => reference,
    })
}

/// Whether a text can name a plugin's file: the configuration's rule, for names that do not come
/// from one.
fn is_type(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && !text.starts_with('.')
        && !text.contains(['/', '\\'])
        && !text.chars().any(char::is_control)
}

/// What was admitted by these policies and keys, and is refused by them now, is not what was admitted any
/// more: not where a registry or a responder is away at the next start either.
fn withdraw(inventory: &Inventory, resource: &Resource, options: &InstallOptions, denial: &Denial) {
    let Denial::Untrusted { digest, .. } = denial else { return };
    let by = options.signatures.as_ref().and_then(Signatures::basis);
    let known = inventory.record(resource);
    let known = known.filter(|known| known.root.digest == *digest && known.admitted_by == by);
    let Some(known) = known.filter(|known| known.admitted_by.is_some()) else { return };
    if let Err(error) = inventory.publish(&Record { admitted_by: None, ..known }) {
        tracing::warn!("that {} is trusted no more is not recorded: {error}", resource.name);
    }
}

/// What is not in the record of loads is not loaded. A file system that is mounted read-only is an
/// administrator's, and nothing new can have come there; all that can be done is to say so.
fn record_load(
    inventory: &Inventory,
    options: &InstallOptions,
    found: &Found,
    outcome: &str,
) -> std::result::Result<(), InstallError> {
    let record = found.plugin.record();
    match inventory.record_load(&Load::new(record, &options.loaded_for, outcome)) {
        Ok(line) => {
            tracing::info!("the load of {} is on record as {line}", record.type_);
            Ok(())
        }
        Err(InventoryError::Io { ref path, ref source, .. })
            if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem =>
        {
            let path = path.display();
            tracing::warn!("the load of {} is not recorded: {path} is read-only", record.type_);
            Ok(())
        }
        Err(error) => Err(InstallError::NotRecorded(error)),
    }
}

/// Records and shows what was found, and says it in v1's words. Where that cannot be written (a
/// read-only directory), the proven program still runs, and the warning says what is lost.
fn finish(request: &InstallRequest<'_>, inventory: &Inventory, found: Found) -> Installation {
    let target = inventory.view_path(request.type_);
    match inventory.publish(found.plugin.record()) {
        Ok(true) => {}
        Ok(false) => tracing::info!(
            "{} does not show the plugin of {}: an entry earlier by name has the same type",
            target.display(),
            capped_line(request.name, 100)
        ),
        Err(error) => tracing::warn!(
            "the plugin {} runs, but is not recorded: {error}; its next start needs the registry",
            request.type_
        ),
    }
    let (kind, type_) = (request.kind, request.type_);
    let artifact = capped_line(&request.source.artifact, MAX_SHOWN_REFERENCE);
    let outcome = if found.downloaded {
        tracing::info!("downloaded {kind} plugin {type_} from {artifact} to {}", target.display());
        Outcome::Downloaded
    } else {
        tracing::info!(
            "{kind} plugin {type_} from {artifact} is already at {} ({})",
            target.display(),
            found.plugin.digest()
        );
        Outcome::AlreadyPresent
    };
    Installation { plugin: found.plugin, outcome }
}

fn kept(request: &InstallRequest<'_>, found: Found, cause: Error) -> Installation {
    tracing::warn!(
        "{} plugin {} is kept as it was installed at {} ({}): {cause}",
        request.kind,
        request.type_,
        found.plugin.record().installed_at,
        found.plugin.digest()
    );
    Installation { plugin: found.plugin, outcome: Outcome::KeptLastGood(cause) }
}

/// v1's code and words. v1 gives a store no cause; we do.
fn failure(request: &InstallRequest<'_>, error: InstallError) -> Error {
    let component = match request.kind {
        Kind::Verifier => ComponentType::Verifier,
        Kind::Store => ComponentType::ReferrerStore,
    };
    ErrorCode::DownloadPluginFailure
        .detail("Failed to download the plugin from the source")
        .with_source(error)
        .from_component(component, request.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warnings_are_v1s() {
        insta::assert_snapshot!(disabled_warning(Kind::Verifier, "sample"), @"source was specified for verifier plugin type sample, but dynamic plugins are currently disabled");
        insta::assert_snapshot!(disabled_warning(Kind::Store, "sample"), @"source was specified for store plugin sample, but dynamic plugins are currently disabled");
    }

    #[test]
    fn a_type_is_one_plain_file_name_without_a_leading_dot() {
        for good in ["sample", "a.b", "licence checker", "é"] {
            assert!(is_type(good), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", ".", "..", ".store", "a/b", "../x", "a\\b", "a\0b", "a\nb", &long] {
            assert!(!is_type(bad), "{bad:?}");
        }
    }
}
