//! [`LayoutStore`]: an OCI image layout as a referrer store, for machines without a network.

use std::{path::PathBuf, sync::Arc, time::Instant};

use bytes::Bytes;
use ratify_core::{
    Basis, Binding, BoxFuture, ComponentType, Context, Descriptor, Digest, Error, ErrorCode,
    Manifest, ManifestError, Reference, Referrer, ReferrerPage, ReferrerStore, Result, StoreConfig,
    config::StorePluginConfig, media_type,
};
use serde_json::{Map, Value};

use super::Layout;
use crate::{Limits, OrasError, error::caused};

/// The name of the store.
pub const LAYOUT_STORE: &str = "oci-layout";

/// A referrer store over a [`Layout`]. `path` is where it is; `repository` is the one that all of
/// it is of, which its tags may then leave out; `cosignEnabled` is as the `oras` store's.
#[derive(Clone)]
pub struct LayoutStore {
    config: Arc<StoreConfig>,
    layout: Layout,
    cosign_enabled: bool,
}

/// The keys of the store's entry.
#[derive(Debug, Default, PartialEq)]
struct Keys {
    path: PathBuf,
    repository: Option<String>,
    cosign_enabled: bool,
}

impl LayoutStore {
    /// Builds the store and looks at its layout for the first time.
    ///
    /// # Errors
    /// A key of the wrong type, no layout at its path, or one that is broken.
    pub fn new(config: &StorePluginConfig, limits: Limits) -> Result<Self> {
        let keys = Keys::from_entry(&config.raw)?;
        let layout = Layout::open(&keys.path, keys.repository, limits).map_err(|error| {
            of_store(ErrorCode::PluginInitFailure)
                .with_detail(format!("could not open the OCI layout at {}", keys.path.display()))
                .with_source(error)
        })?;
        let mut told = config.raw.clone();
        told.retain(|key, _| !key.eq_ignore_ascii_case("path"));
        // A plugin that opens the store itself runs in another directory.
        let path = std::path::absolute(&keys.path).unwrap_or(keys.path);
        told.insert("path".to_owned(), path.to_string_lossy().into());
        let config = StoreConfig::new(config.version.clone(), None, told);
        Ok(Self { config: Arc::new(config), layout, cosign_enabled: keys.cosign_enabled })
    }

    /// A store over a layout that is open: it reads what is attached to plugins, and knows cosign's
    /// tags.
    pub fn over(layout: Layout) -> Self {
        let entry = serde_json::json!({"name": LAYOUT_STORE}).as_object().cloned();
        let config = StoreConfig::new("1.0.0", None, entry.unwrap_or_default());
        Self { config: Arc::new(config), layout, cosign_enabled: true }
    }

    async fn resolve_subject(
        &self,
        subject: &Reference,
        give_up_at: Option<Instant>,
    ) -> Result<Descriptor> {
        let asked = subject.clone();
        let work = move |layout: &Layout| layout.resolve(&asked);
        self.layout.on_a_thread(subject.as_str(), give_up_at, work).await.map_err(|error| {
            let outer = of_store(ErrorCode::RepositoryOperationFailure)
                .with_detail(format!("Unable to resolve the reference: {subject}"));
            caused(outer, error)
        })
    }

    async fn list(
        &self,
        subject: &Reference,
        descriptor: &Descriptor,
        give_up_at: Option<Instant>,
    ) -> Result<ReferrerPage> {
        let (asked, digest, cosign) =
            (subject.clone(), descriptor.digest.clone(), self.cosign_enabled);
        let work = move |layout: &Layout| {
            let listed = layout.referrers(&asked, &digest)?;
            let signature = if cosign { layout.cosign_signature(&asked, &digest)? } else { None };
            Ok((listed, signature))
        };
        let found = self.layout.on_a_thread(subject.as_str(), give_up_at, work).await;
        let (listed, signature) =
            found.map_err(|error| caused(of_store(ErrorCode::ListReferrersFailure), error))?;
        let listed = listed.into_iter().map(|entry| Referrer::new(entry, Binding::Manifest));
        let signature = signature.map(|entry| Referrer::new(entry, Binding::Payload));
        Ok(ReferrerPage::new(listed.chain(signature).collect(), ""))
    }

    async fn read_manifest(
        &self,
        descriptor: &Descriptor,
        give_up_at: Option<Instant>,
    ) -> Result<Manifest> {
        let media_type = descriptor.media_type.as_str();
        if !matches!(media_type, media_type::OCI_MANIFEST | media_type::OCI_ARTIFACT) {
            return Err(unsupported(media_type));
        }
        let asked = descriptor.clone();
        let work = move |layout: &Layout| layout.manifest_bytes(&asked);
        let read = self.layout.on_a_thread(descriptor.digest.as_str(), give_up_at, work).await;
        let bytes = read.map_err(read_failure)?;
        Manifest::from_bytes(media_type, &bytes).map_err(|error| match error {
            ManifestError::Unsupported(media_type) => unsupported(&media_type),
            error => of_store(ErrorCode::DataDecodingFailure)
                .with_detail(format!(
                    "Failed to parse artifact metadata of mediatype `{media_type}`"
                ))
                .with_source(error),
        })
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        size: Option<u64>,
        give_up_at: Option<Instant>,
    ) -> Result<Bytes> {
        let asked = digest.clone();
        let work = move |layout: &Layout| layout.blob_bytes(&asked, size);
        self.layout.on_a_thread(digest.as_str(), give_up_at, work).await.map_err(read_failure)
    }
}

impl ReferrerStore for LayoutStore {
    fn name(&self) -> &str {
        LAYOUT_STORE
    }

    fn config(&self) -> &StoreConfig {
        &self.config
    }

    fn add_basis(&self, basis: &mut Basis) {
        self.config.add_basis(basis);
    }

    fn resolve<'a>(
        &'a self,
        subject: &'a Reference,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Descriptor>> {
        Box::pin(self.resolve_subject(subject, context.give_up_at))
    }

    /// All at once, whatever the type.
    fn list_referrers<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
        _artifact_types: &'a [String],
        _next_token: &'a str,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<ReferrerPage>> {
        Box::pin(self.list(subject, descriptor, context.give_up_at))
    }

    fn manifest<'a>(
        &'a self,
        _subject: &'a Reference,
        descriptor: &'a Descriptor,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Manifest>> {
        Box::pin(self.read_manifest(descriptor, context.give_up_at))
    }

    fn blob<'a>(
        &'a self,
        _subject: &'a Reference,
        digest: &'a Digest,
        size: Option<u64>,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(self.read_blob(digest, size, context.give_up_at))
    }
}

impl Keys {
    /// Reads the keys this store knows, in any case, as the `oras` store does; `null` is absent.
    fn from_entry(entry: &Map<String, Value>) -> Result<Self> {
        let mut keys = Self::default();
        for (key, value) in entry.iter().filter(|(_, value)| !value.is_null()) {
            let text = || value.as_str().ok_or_else(|| invalid(format!("{key} must be a string")));
            match key.to_ascii_lowercase().as_str() {
                "path" => keys.path = text()?.into(),
                "repository" => keys.repository = Some(repository(text()?)?),
                "cosignenabled" => {
                    let enabled = value.as_bool();
                    keys.cosign_enabled =
                        enabled.ok_or_else(|| invalid(format!("{key} must be true or false")))?;
                }
                _ => {}
            }
        }
        if keys.path.as_os_str().is_empty() {
            return Err(invalid("path must say where the layout is"));
        }
        Ok(keys)
    }
}

/// A repository as subjects are normalised, without a tag or a digest.
fn repository(text: &str) -> Result<String> {
    let wrong = || {
        let text = ratify_core::capped_line(text, 200);
        invalid(format!("repository must be REGISTRY/REPOSITORY, and is {text:?}"))
    };
    let parsed = Reference::parse(text).map_err(|_| wrong())?;
    let is_bare = parsed.digest().is_none() && parsed.path().ends_with(text);
    if is_bare { Ok(parsed.path().to_owned()) } else { Err(wrong()) }
}

fn invalid(why: impl Into<String>) -> Error {
    of_store(ErrorCode::ConfigInvalid)
        .with_detail("failed to parse oci-layout store configuration")
        .with_source(why.into())
}

fn read_failure(error: OrasError) -> Error {
    let outer = of_store(ErrorCode::RepositoryOperationFailure)
        .with_detail("Failed to read the artifact from the layout");
    caused(outer, error)
}

fn unsupported(media_type: &str) -> Error {
    let media_type = ratify_core::capped_line(media_type, 200);
    of_store(ErrorCode::GetReferrerManifestFailure)
        .with_detail(format!("Unsupported artifact metadata of media type {media_type}"))
}

fn of_store(code: ErrorCode) -> Error {
    code.error().from_component(ComponentType::ReferrerStore, LAYOUT_STORE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(entry: &Value) -> Result<Keys> {
        Keys::from_entry(entry.as_object().unwrap())
    }

    #[test]
    fn reads_its_keys_and_refuses_what_they_cannot_be() {
        let entry = json!({"name": "oci-layout", "path": "/l", "repository": "r.example.com:5000/a", "cosignEnabled": true});
        let expected = Keys {
            path: "/l".into(),
            repository: Some("r.example.com:5000/a".into()),
            cosign_enabled: true,
        };
        assert_eq!(keys(&entry).unwrap(), expected);
        let hub = keys(&json!({"path": "l", "repository": "nginx"})).unwrap();
        assert_eq!(hub.repository.unwrap(), "docker.io/library/nginx");
        insta::assert_snapshot!(
            keys(&json!({"name": "oci-layout"})).unwrap_err(),
            @"CONFIG_INVALID: failed to parse oci-layout store configuration: path must say where the layout is"
        );
        for entry in [
            json!({"path": 1}),
            json!({"path": "l", "repository": "r.example.com/a:v1"}),
            json!({"path": "l", "repository": "R"}),
            json!({"path": "l", "cosignEnabled": "true"}),
        ] {
            assert!(keys(&entry).is_err(), "{entry}");
        }
    }
}
