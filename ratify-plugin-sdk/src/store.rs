//! [`Store`]: how a verifier reads the artifact it judges.

use std::{
    cell::OnceCell,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use bytes::Bytes;
use ratify_core::{Descriptor, ErrorCode, Host, Manifest, Reference, StoreConfig};
use serde_json::{Map, Value};

use crate::{Result, protocol::PluginError};

/// Opens the store that a host's configuration describes; see [`run_with`](crate::run_with).
pub type OpenStore = fn(&StoreConfig) -> ratify_core::Result<Arc<dyn Host>>;

/// A verifier's door to the artifact's bytes. Nothing is opened before the first read.
pub struct Store {
    subject: Reference,
    source: Source,
}

enum Source {
    Open(Arc<dyn Host>),
    OnDemand { config: StoreConfig, open: Option<OpenStore>, opened: OnceCell<Arc<dyn Host>> },
}

impl Store {
    /// A door that is open already: the host's own, or one for tests.
    pub fn new(subject: Reference, host: Arc<dyn Host>) -> Self {
        Self { subject, source: Source::Open(host) }
    }

    pub(crate) fn on_demand(
        subject: Reference,
        config: StoreConfig,
        open: Option<OpenStore>,
    ) -> Self {
        Self { subject, source: Source::OnDemand { config, open, opened: OnceCell::new() } }
    }

    /// Reads the manifest of an artifact, usually of the one that is to be judged.
    ///
    /// # Errors
    /// When the store cannot be opened (code 7, as v1), or does not give the manifest.
    pub fn manifest(&self, artifact: &Descriptor) -> Result<Manifest> {
        Ok(block_on(self.host()?.manifest(&self.subject, artifact))?)
    }

    /// Reads a blob that a manifest lists. Its digest and its size are proven.
    ///
    /// # Errors
    /// When the store cannot be opened (code 7, as v1), or does not give the blob as it was listed.
    pub fn blob(&self, blob: &Descriptor) -> Result<Bytes> {
        Ok(block_on(self.host()?.blob(&self.subject, blob))?)
    }

    /// Asks what the subject is. What its tag stands for by now is an error where the host found
    /// another digest a moment ago.
    ///
    /// # Errors
    /// When the store cannot be opened (code 7, as v1), or does not know the subject.
    pub fn subject(&self) -> Result<Descriptor> {
        let found = block_on(self.host()?.subject(&self.subject))?;
        match self.subject.digest() {
            Some(digest) if *digest != found.digest => Err(format!(
                "{} is {digest} for the host, and {} in the store",
                self.subject, found.digest
            )
            .into()),
            _ => Ok(found),
        }
    }

    /// What the host said of the store; empty where it was open already.
    pub(crate) fn config(&self) -> StoreConfig {
        match &self.source {
            Source::Open(_) => StoreConfig::new("", None, Map::new()),
            Source::OnDemand { config, .. } => config.clone(),
        }
    }

    pub(crate) fn host(&self) -> Result<&Arc<dyn Host>, PluginError> {
        match &self.source {
            Source::Open(host) => Ok(host),
            Source::OnDemand { config, open, opened } => {
                if opened.get().is_none() {
                    let host = open_store(config, *open)?;
                    // It was empty, and the cell does not leave this thread.
                    let _ = opened.set(host);
                }
                opened.get().ok_or_else(|| {
                    PluginError::store_creation(&"the store was closed while it was opened")
                })
            }
        }
    }
}

fn open_store(config: &StoreConfig, open: Option<OpenStore>) -> Result<Arc<dyn Host>, PluginError> {
    let Some(open) = open else {
        return Err(PluginError {
            details: "this plugin opens no store; its author gives it one by run_with".into(),
            ..PluginError::store_creation(&not_found(config))
        });
    };
    open(config).map_err(|error| PluginError::store_creation(&error))
}

/// v1's error for a store that is neither linked into a plugin nor found as a program.
pub(crate) fn not_found(config: &StoreConfig) -> ratify_core::Error {
    let name = config.store.get("name").and_then(Value::as_str).unwrap_or_default();
    let name = ratify_core::capped_line(name, 100);
    let dirs = config.plugin_bin_dirs.as_deref().unwrap_or_default().join(" ");
    ErrorCode::PluginNotFound
        .detail("plugin not found")
        .with_source(format!("failed to find plugin {name:?} in paths [{dirs}]"))
}

/// Waits for a future on this thread. A guest's futures are ready at once.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::code;

    fn subject() -> Reference {
        Reference::parse("reg.io/a:v1").unwrap()
    }

    fn descriptor() -> Descriptor {
        Descriptor::new("m", crate::proof::sha256(b"x"), 1)
    }

    fn config(store: Value) -> StoreConfig {
        StoreConfig::new("1.0.0", None, store.as_object().unwrap().clone())
    }

    fn error_of(store: &Store) -> PluginError {
        *store.blob(&descriptor()).unwrap_err().downcast::<PluginError>().unwrap()
    }

    #[test]
    fn a_store_nobody_linked_fails_at_the_first_read_with_v1s_text() {
        let error = error_of(&Store::on_demand(subject(), config(json!({"name": "oras"})), None));
        assert_eq!(error.code, code::ARGS_PARSING);
        insta::assert_snapshot!(error, @r#"create store from input config failed with error PLUGIN_NOT_FOUND: plugin not found: failed to find plugin "oras" in paths []; this plugin opens no store; its author gives it one by run_with"#);
    }

    #[test]
    fn a_store_that_does_not_open_is_v1s_error_as_well() {
        let open: OpenStore = |_| Err(ErrorCode::AuthDenied.detail("opened"));
        let error = error_of(&Store::on_demand(subject(), config(json!({})), Some(open)));
        assert_eq!((error.code, error.details.as_str()), (code::ARGS_PARSING, ""));
        assert!(error.msg.ends_with("AUTH_DENIED: opened"), "{error}");
    }

    #[test]
    fn waits_for_a_future_that_another_thread_finishes() {
        let mut polls = 0;
        let waited = std::future::poll_fn(move |context| {
            polls += 1;
            if polls == 3 {
                return Poll::Ready(polls);
            }
            let waker = context.waker().clone();
            thread::spawn(move || waker.wake());
            Poll::Pending
        });
        assert_eq!(block_on(waited), 3);
    }
}
