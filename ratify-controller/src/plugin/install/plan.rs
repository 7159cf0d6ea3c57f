//! What a manifest or an index means on this platform. Nothing but values go in and come out; the
//! bytes were proven before.

use ratify_core::{
    Descriptor, Index, Manifest, ManifestError, Platform, capped_line,
    media_type::{OCI_ARTIFACT, OCI_INDEX, OCI_MANIFEST},
};
use serde::Deserialize;

use super::artifact::{self, PluginConfig, TITLE, platform_text};
use crate::plugin::inventory::Kind;

/// A configuration is far smaller.
pub(super) const MAX_CONFIG: u64 = 256 * 1024;
/// Texts from a registry are cut to this.
const MAX_SHOWN: usize = 200;

/// What is wanted of a plugin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) platform: &'a Platform,
    pub(super) type_: &'a str,
    pub(super) kind: Kind,
    pub(super) max_size: u64,
}

/// What is to be read next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The manifest of this platform.
    Manifest(Box<Descriptor>),
    /// The program.
    Program(Box<Program>),
}

/// The program of a manifest, and the configuration beside it if it has one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) layer: Descriptor,
    pub(super) config: Option<Descriptor>,
}

/// Why a document leads to no program of this platform.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A type of document that holds no plugin. v1's text.
    #[error("unsupported manifest media type: {0}")]
    Unsupported(String),
    /// A manifest of nothing. v1's text.
    #[error("no blobs found in the manifest")]
    NoBlobs,
    /// Malformed or ambiguous.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// No entry of the index is for this platform.
    #[error("the index has nothing for {wanted}, it has {has}: push the plugin for {wanted} too")]
    NoPlatform {
        /// This node's platform.
        wanted: String,
        /// Those of the index.
        has: String,
    },
    /// Several entries are for this platform.
    #[error("the index is ambiguous: {count} entries are for {platform}")]
    SeveralForPlatform {
        /// How many.
        count: usize,
        /// This node's platform.
        platform: String,
    },
    /// An index within an index.
    #[error("the index entry for this platform is of media type {0}, not a manifest")]
    Nested(String),
    /// A manifest that is of another type than its index says.
    #[error("the index says its manifest is of type {listed:?}, the manifest says {own:?}")]
    ChildType {
        /// The type in the index.
        listed: String,
        /// The type in the manifest.
        own: String,
    },
    /// Several files, none of them called as the plugin.
    #[error(
        "the manifest has {count} files and {named} of them are called {type_}: push the program alone, or under that name"
    )]
    SeveralFiles {
        /// How many files there are.
        count: usize,
        /// How many have the plugin's name.
        named: usize,
        /// The plugin's name.
        type_: String,
    },
    /// Larger than allowed.
    #[error("the program has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Of size 0.
    #[error("the program is empty")]
    Empty,
    /// The configuration cannot be read.
    #[error("the plugin's configuration is malformed: {0}")]
    Config(String),
    /// A store where a verifier is wanted, or the other way round.
    #[error("the artifact is a {found} plugin, a {wanted} plugin is wanted")]
    Kind {
        /// What it says it is.
        found: Kind,
        /// What is wanted.
        wanted: Kind,
    },
}

/// What the document at the end of a reference leads to.
pub(super) fn root(
    root: &Descriptor,
    bytes: &[u8],
    wanted: &Wanted<'_>,
) -> Result<Step, PlanError> {
    match root.media_type.as_str() {
        OCI_INDEX => {
            let entry = entry(&Index::from_bytes(OCI_INDEX, bytes)?, wanted.platform)?;
            Ok(Step::Manifest(Box::new(entry)))
        }
        _ => Ok(Step::Program(Box::new(program(root, bytes, wanted)?))),
    }
}

/// The program of a manifest.
pub(super) fn program(
    served_as: &Descriptor,
    bytes: &[u8],
    wanted: &Wanted<'_>,
) -> Result<Program, PlanError> {
    let media_type = served_as.media_type.as_str();
    if !matches!(media_type, OCI_MANIFEST | OCI_ARTIFACT) {
        return Err(PlanError::Unsupported(capped_line(media_type, MAX_SHOWN)));
    }
    let manifest = Manifest::from_bytes(media_type, bytes)?;
    let head = Head::read(bytes);
    check_type(&served_as.artifact_type, &manifest, &head)?;
    let layer = program_layer(&manifest.blobs, wanted.type_)?;
    if layer.size == 0 {
        return Err(PlanError::Empty);
    }
    if layer.size > wanted.max_size {
        return Err(PlanError::TooLarge { size: layer.size, limit: wanted.max_size });
    }
    let ours = |config: &Descriptor| config.media_type == artifact::media_type::CONFIG;
    Ok(Program { layer: layer.clone(), config: head.config.filter(ours) })
}

/// Reads the configuration of ours and holds it to what is wanted.
pub(super) fn config(bytes: &[u8], wanted: Kind) -> Result<PluginConfig, PlanError> {
    let config: PluginConfig = serde_json::from_slice(bytes)
        .map_err(|error| PlanError::Config(capped_line(&error.to_string(), MAX_SHOWN)))?;
    if config.kind != wanted {
        return Err(PlanError::Kind { found: config.kind, wanted });
    }
    Ok(config)
}

/// The type of a document that is here, by its structure: what a registry called it is not kept.
/// The three forms share no key (a document with keys of two is refused when it is read).
pub(super) fn media_type_of(bytes: &[u8]) -> Option<&'static str> {
    let document: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let has = |key: &str| document.get(key).is_some();
    [("manifests", OCI_INDEX), ("layers", OCI_MANIFEST), ("blobs", OCI_ARTIFACT)]
        .into_iter()
        .find(|(key, _)| has(key))
        .map(|(_, media_type)| media_type)
}

/// The configuration a manifest names.
pub(super) fn config_descriptor(manifest: &[u8]) -> Option<Descriptor> {
    Head::read(manifest).config
}

/// What [`Manifest`] does not keep. Its bytes were read strictly before.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Head {
    config: Option<Descriptor>,
    artifact_type: Option<String>,
}

impl Head {
    fn read(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }
}

/// The one entry for a platform.
fn entry(index: &Index, platform: &Platform) -> Result<Descriptor, PlanError> {
    let fitting: Vec<&Descriptor> =
        index.manifests.iter().filter(|entry| fits(entry.platform.as_ref(), platform)).collect();
    match fitting[..] {
        [] => Err(PlanError::NoPlatform {
            wanted: platform_text(platform),
            has: platforms(&index.manifests),
        }),
        [entry] if matches!(entry.media_type.as_str(), OCI_MANIFEST | OCI_ARTIFACT) => {
            Ok(entry.clone())
        }
        [entry] => Err(PlanError::Nested(capped_line(&entry.media_type, MAX_SHOWN))),
        _ => Err(PlanError::SeveralForPlatform {
            count: fitting.len(),
            platform: platform_text(platform),
        }),
    }
}

/// An entry without a variant fits every node of its processor; a node that states none takes
/// any, since two that fit are refused.
fn fits(entry: Option<&Platform>, node: &Platform) -> bool {
    let Some(entry) = entry else { return false };
    let variant = |platform: &Platform| match platform.variant.as_deref() {
        None | Some("") => None,
        // The only 64-bit Arm there is to Go.
        Some("v8") if platform.architecture == "arm64" => None,
        Some(variant) => Some(variant.to_owned()),
    };
    let same_variant = match (variant(entry), variant(node)) {
        (Some(entry), Some(node)) => entry == node,
        _ => true,
    };
    entry.os == node.os && entry.architecture == node.architecture && same_variant
}

fn platforms(entries: &[Descriptor]) -> String {
    let texts: Vec<String> =
        entries.iter().filter_map(|entry| entry.platform.as_ref()).map(platform_text).collect();
    match texts.is_empty() {
        true => "no platform at all".to_owned(),
        false => capped_line(&texts.join(", "), MAX_SHOWN),
    }
}

fn check_type(listed: &str, manifest: &Manifest, head: &Head) -> Result<(), PlanError> {
    let own = head.artifact_type.as_deref().filter(|own| !own.is_empty());
    let own = own.unwrap_or(&manifest.artifact_type);
    if listed.is_empty() || listed == own || listed == manifest.artifact_type {
        return Ok(());
    }
    Err(PlanError::ChildType {
        listed: capped_line(listed, MAX_SHOWN),
        own: capped_line(own, MAX_SHOWN),
    })
}

/// The only file, or the only one that is called as the plugin. (v1 takes the first of several.)
fn program_layer<'a>(layers: &'a [Descriptor], type_: &str) -> Result<&'a Descriptor, PlanError> {
    let called = |layer: &&Descriptor| {
        let title = layer.annotations.get(TITLE);
        title.is_some_and(|title| title.rsplit('/').next() == Some(type_))
    };
    let named: Vec<&Descriptor> = layers.iter().filter(called).collect();
    match (layers, &named[..]) {
        ([], _) => Err(PlanError::NoBlobs),
        ([only], _) => Ok(only),
        (_, [named]) => Ok(named),
        _ => Err(PlanError::SeveralFiles {
            count: layers.len(),
            named: named.len(),
            type_: capped_line(type_, MAX_SHOWN),
        }),
    }
}

#[cfg(test)]
mod tests;
