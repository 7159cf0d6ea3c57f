//! [`Sent`]: whether the spans of this process are sent anywhere. Without the feature `otlp` they are
//! not, and whoever asks for it is told.

use std::fmt;
#[cfg(feature = "otlp")]
use std::time::Duration;

use ratify_store_oras::TlsRoots;
use url::Url;

use super::SpanReader;
use crate::env::Environment;

/// How long the last spans may take when the process ends.
#[cfg(feature = "otlp")]
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where spans go, if they go anywhere.
#[derive(Clone, Default)]
pub(crate) struct Sent(#[cfg(feature = "otlp")] Option<super::otlp::Traces>);

impl fmt::Debug for Sent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Sent").field(&self.counts()).finish()
    }
}

/// What became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SpanCounts {
    /// The collector has taken them.
    pub(crate) sent: u64,
    /// The collector was not reached, or did not take them.
    pub(crate) lost: u64,
    /// There was no room for them.
    pub(crate) dropped: u64,
}

#[cfg(feature = "otlp")]
impl Sent {
    /// As OpenTelemetry's variables say.
    ///
    /// # Errors
    /// When one of them is malformed.
    pub(crate) fn from_environment(
        environment: &Environment,
    ) -> anyhow::Result<(Self, Option<SpanReader>)> {
        let Some(options) = super::otlp::OtlpOptions::from_environment(environment)? else {
            return Ok(Default::default());
        };
        let (traces, reader) = super::otlp::Traces::new(options);
        Ok((Self(Some(traces)), Some(reader)))
    }

    /// Who would receive them.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn receiver(environment: &Environment) -> anyhow::Result<Option<Url>> {
        let options = super::otlp::OtlpOptions::from_environment(environment)?;
        Ok(options.map(|options| options.endpoint().clone()))
    }

    /// Begins to send. It must be called within a runtime.
    ///
    /// # Errors
    /// When a file that a variable names cannot be used.
    pub(crate) fn begin(&self, roots: &TlsRoots) -> anyhow::Result<()> {
        if let Some(traces) = &self.0 {
            traces.begin(roots)?;
            tracing::info!(component_type = "server", "traces are sent to {}", traces.shown());
        }
        Ok(())
    }

    /// Sends what is left, for a moment.
    pub(crate) async fn end(&self) {
        if let Some(traces) = &self.0 {
            traces.end(LAST_WORDS).await;
        }
    }

    /// The counts so far; `None` where nothing is sent.
    pub(crate) fn counts(&self) -> Option<SpanCounts> {
        self.0.as_ref().map(super::otlp::Traces::counts)
    }
}

#[cfg(not(feature = "otlp"))]
#[allow(clippy::unused_self, clippy::unused_async, reason = "as it is with the feature")]
impl Sent {
    pub(crate) fn from_environment(
        environment: &Environment,
    ) -> anyhow::Result<(Self, Option<SpanReader>)> {
        let named = |name: &&str| name.ends_with("ENDPOINT");
        if let Some(name) = environment.telemetry.keys().map(String::as_str).find(named) {
            anyhow::bail!("{name} is set, and this build of ratify sends no traces");
        }
        Ok(Default::default())
    }

    pub(crate) fn receiver(environment: &Environment) -> anyhow::Result<Option<Url>> {
        Self::from_environment(environment).map(|_| None)
    }

    pub(crate) fn begin(&self, _: &TlsRoots) -> anyhow::Result<()> {
        Ok(())
    }

    pub(crate) async fn end(&self) {}

    pub(crate) fn counts(&self) -> Option<SpanCounts> {
        None
    }
}
