//! The providers for clouds against servers that speak the clouds' wire and verify all they get.

#[cfg(feature = "alibaba")]
mod alibaba;
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "aws")]
mod silence;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use ratify_store_oras::{
    AuthProvider, Connections,
    auth::{self, Asked, Environment, Granted, RegistryHost},
};
use serde_json::Value;

use crate::{fake::Seen, page::on_the_page};

/// A provider of a configuration.
fn provider(
    config: &Value,
    environment: &Environment,
    connections: &Connections,
) -> ratify_core::Result<Arc<dyn AuthProvider>> {
    auth::from_config(config.as_object(), environment, connections)
}

/// What a provider gives out for a host.
async fn granted(provider: &dyn AuthProvider, host: &str) -> ratify_core::Result<Granted> {
    let artifact = format!("{host}/app:1");
    let host = RegistryHost::parse(host).unwrap();
    let asked = Asked { host: &host, repository: "app", artifact: &artifact, give_up_at: None };
    provider.credential(&asked).await
}

/// The variables of an environment.
fn environment<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Environment {
    let pairs = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Environment { lookup: pairs.collect(), ..Environment::default() }
}

fn form(seen: &Seen) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(&seen.body).into_owned().collect()
}

fn query(seen: &Seen) -> BTreeMap<String, String> {
    let query = seen.path.split_once('?').map_or("", |(_, query)| query);
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// All that is logged at debug and above on this thread, spans with their fields too.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

impl Lines {
    /// From now on, until the guard is gone.
    fn watch() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let guard = tracing::subscriber::set_default(lines.clone());
        (lines, guard)
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    /// That none of these was said, and that anything was.
    fn assert_silent_about(&self, secrets: &[&str]) {
        let text = self.text();
        assert!(text.contains("selected auth provider"), "{text}");
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in\n{text}");
        }
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::DEBUG
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut self.line());
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.line());
    }

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.line());
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

impl Lines {
    fn line(&self) -> impl FnMut(&tracing::field::Field, &dyn std::fmt::Debug) {
        let lines = self.0.clone();
        move |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            writeln!(lines.lock().unwrap(), "{field}={value:?}").unwrap();
        }
    }
}
