//! [`Asked`]: what trust policies ask of a plugin. One that runs is asked about again every few hours,
//! and by nothing that judges an image: a certificate may be revoked meanwhile.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use ratify_core::{
    Algorithm, Digest, Error, ErrorCode, Reference, capped_line,
    config::{PluginRules, PluginSource},
};
use ratify_store_oras::{Origin, auth::SecretScope, digest_of};

use super::{install::InstallError, inventory::Record, signatures::Admission};
use crate::runtime::Runtime;

/// How long asking may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon it is asked again what was not found out, or what ended a plugin.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Why it was not found out is cut to this.
const MAX_WHY: usize = 1000;

/// What is asked, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    source: PluginSource,
    scope: SecretScope,
    /// The policies and keys; `None` where they are not known.
    by: Option<Digest>,
    is_enforced: bool,
    /// `None` where no signature is asked for.
    interval: Option<Duration>,
}

/// What was said when it was asked again.
pub(crate) enum Again {
    /// The same; until when that counts.
    Same(Option<Timestamp>),
    /// It is admitted, but signed by others.
    Other(Admission),
    /// It may not run.
    Denied(Error),
    /// It was not found out.
    Unknown(InstallError),
}

/// What runs, and what it was pulled by.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) source: PluginSource,
    pub(crate) record: Record,
}

/// What comes of asking about what runs, where nothing else is built in its place.
pub(crate) enum Still {
    /// It runs on, admitted as this says; how soon it is asked about again.
    Runs(Box<Record>, Option<Duration>),
    /// It may not run.
    Ends(Error),
}

impl Running {
    /// How often it is asked who signed it.
    pub(crate) fn interval(
        &self,
        runtime: &Runtime,
        scope: &SecretScope,
        who: &str,
    ) -> Option<Duration> {
        let rules = runtime.rules.now();
        Asked::of(runtime, &rules.plugins, scope, &self.source, who)?.interval
    }

    /// Asks who signed it by the rules and keys of now, and decides by what is said.
    pub(crate) async fn ask(
        &self,
        runtime: &Runtime,
        scope: &SecretScope,
        who: &str,
        of: &(dyn Display + Sync),
    ) -> Still {
        let (rules, record) = (runtime.rules.now(), self.record.clone());
        match Asked::of(runtime, &rules.plugins, scope, &self.source, who) {
            None => Still::Runs(Box::new(record), None),
            Some(asked) => {
                let again = asked.again(runtime, of, &record).await;
                asked.decide(again, record, of, Timestamp::now())
            }
        }
    }
}

impl Asked {
    /// What is asked of the plugin of a source; `None` where nobody asks for anything. `who` tells
    /// one that asks about one plugin from all others.
    pub(crate) fn of(
        runtime: &Runtime,
        rules: &PluginRules,
        scope: &SecretScope,
        source: &PluginSource,
        who: &str,
    ) -> Option<Self> {
        let signatures = runtime.signatures(source, rules.trust_policy.as_ref(), scope)?;
        let interval = signatures.recheck_interval();
        Some(Self {
            source: source.clone(),
            scope: scope.clone(),
            by: signatures.basis(),
            is_enforced: signatures.is_enforced(),
            interval: interval.map(|interval| spread(interval, who)),
        })
    }

    /// When it is asked again.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.interval.and_then(|interval| now.checked_add(interval))
    }

    /// Whether what runs goes on where what the spec says was not had, for a reason that is no denial: it
    /// has to have been admitted by the same policies and keys.
    pub(crate) fn lets_run(&self, runs: Option<&Record>, error: &Error, now: Timestamp) -> bool {
        let Some(runs) = runs.filter(|_| self.is_enforced) else { return true };
        let is_by_these = self.by.is_some() && runs.admitted_by == self.by;
        let counts = |cause: &InstallError| runs.is_admitted_in_spite_of(cause, now);
        is_by_these && error.find().is_none_or(counts)
    }

    /// Asks who signed what runs. Nothing of the plugin is fetched.
    pub(crate) async fn again(
        &self,
        runtime: &Runtime,
        of: &(dyn Display + Sync),
        runs: &Record,
    ) -> Again {
        match self.judge(runtime, runs).await {
            Ok(admission) if admission.signers == runs.signers => {
                for warning in &admission.warnings {
                    tracing::warn!("{of}: {warning}");
                }
                Again::Same(admission.until.and_then(|until| Timestamp::try_from(until).ok()))
            }
            Ok(admission) => Again::Other(admission),
            Err(denied @ InstallError::Denied(_)) => Again::Denied(no_more(denied)),
            Err(cause) => Again::Unknown(cause),
        }
    }

    /// What follows for what runs: a registry that is away ends nothing, and neither does a responder,
    /// as long as the last answer counts.
    fn decide(
        &self,
        again: Again,
        record: Record,
        of: &(dyn Display + Sync),
        now: Timestamp,
    ) -> Still {
        let admitted = |signers, admitted_until| {
            let admitted_by = self.by.clone();
            let record = Record { signers, admitted_by, admitted_until, ..record.clone() };
            Still::Runs(Box::new(record), self.interval)
        };
        match again {
            Again::Same(until) => admitted(record.signers.clone(), until),
            Again::Other(Admission { signers, warnings, until }) => {
                for warning in &warnings {
                    tracing::warn!("{of}: {warning}");
                }
                admitted(signers, until.and_then(|until| Timestamp::try_from(until).ok()))
            }
            Again::Denied(error) => Still::Ends(error),
            Again::Unknown(cause) => {
                let error = no_more(cause);
                if !self.lets_run(Some(&record), &error, now) {
                    return Still::Ends(error);
                }
                let why = capped_line(&error.to_string(), MAX_WHY);
                tracing::warn!("{of} runs on, though it was not found out who signed it: {why}");
                Still::Runs(Box::new(record), self.interval.map(|interval| interval.min(SOON)))
            }
        }
    }

    async fn judge(&self, runtime: &Runtime, runs: &Record) -> Result<Admission, InstallError> {
        let (rules, scope) = (runtime.rules.now(), &self.scope);
        let of_cluster = rules.plugins.trust_policy.as_ref();
        let signatures = runtime.signatures(&self.source, of_cluster, scope);
        let Some(signatures) = signatures else { return Ok(Admission::default()) };
        let client = runtime.plugin_client(Some(&self.source), scope);
        let client = client.map_err(|error| InstallError::Registry(error.to_string()))?;
        let origin = Origin::from(client);
        let reference = Reference::parse_exact(&runs.artifact)?;
        let (root, manifest) = (&runs.root.digest, &runs.manifest);
        let give_up_at = Some(Instant::now() + PATIENCE);
        signatures.judge(&origin, &reference, root, manifest, give_up_at).await
    }
}

fn no_more(cause: InstallError) -> Error {
    ErrorCode::DownloadPluginFailure
        .detail("the plugin that runs may not run any more")
        .with_source(cause)
}

/// A tenth more or less, by which pod asks and about what: so not all of them ask at once.
fn spread(interval: Duration, who: &str) -> Duration {
    let digest = digest_of(Algorithm::Sha256, who.as_bytes());
    let byte = u8::from_str_radix(digest.hex().get(..2).unwrap_or_default(), 16);
    interval.mul_f64(0.9 + 0.2 * f64::from(byte.unwrap_or_default()) / 255.0)
}

#[cfg(test)]
mod tests;
