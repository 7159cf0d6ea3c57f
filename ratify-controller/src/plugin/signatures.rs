//! [`Signatures`]: whether somebody who is trusted signed a plugin, asked before it is fetched. A
//! plugin's artifact is a subject like an image; the built-in verifiers judge what is attached to it.
//!
//! What is decided is remembered with the installation, so that a restart while the registry is away
//! runs what was admitted by the same policies and keys, and nothing else.

mod outside;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ratify_core::{
    Algorithm, Basis, Certainty, Context, Digest, Error, Reference, ReferrerStore, Result,
    Verifier, VerifierReport, VerifyResult, capped_line,
    config::{Config, Denial, PluginSource, TrustMode, TrustPolicy, VerifierPluginConfig},
    executor::{Doors, Executor, VerifyParameters},
    policy::Policy,
};
use ratify_store_oras::{Origin, digest_of};
use serde_json::Value;

use super::install::InstallError;
use outside::Outside;

/// What is said of why a plugin is not trusted is cut to this.
const MAX_WHY: usize = 1000;
/// The name of a signer is cut to this.
const MAX_SIGNER: usize = 300;
/// More signers are not told.
const MAX_SIGNERS: usize = 8;

/// Makes a built-in verifier of its entry; whether it is a namespace's.
pub(crate) type MakeVerifier =
    dyn Fn(VerifierPluginConfig, bool) -> Result<Arc<dyn Verifier>> + Send + Sync;
/// Makes a store of where a plugin is read from.
pub(crate) type OpenStore = dyn Fn(&Origin) -> Result<Arc<dyn ReferrerStore>> + Send + Sync;

/// The trust policies for one plugin, and who judges by them.
#[derive(Clone)]
pub struct Signatures {
    policies: Vec<Applied>,
    make: Arc<MakeVerifier>,
    open: Arc<OpenStore>,
    doors: Doors,
}

/// A policy, and whose it is.
#[derive(Debug, Clone)]
struct Applied {
    policy: TrustPolicy,
    /// Whether it is the source's own, and not the cluster's.
    is_own: bool,
    /// Whose keys may be used, where it is a namespace's.
    tenant: String,
}

/// By whom a plugin is signed, and what is to be said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) signers: Vec<String>,
    /// Why it should not run, where it runs nevertheless.
    pub(crate) warnings: Vec<String>,
    /// When the first of what it rests on ends: a certificate, or what is known of whether it was
    /// revoked; `None` where nothing of it ends.
    pub(crate) until: Option<SystemTime>,
}

/// What a policy makes of a plugin.
enum Finding {
    Signed(Vec<String>, Option<SystemTime>),
    /// Why nobody signed it who is trusted; whether that is so is not known where somebody outside of
    /// registries did not say what he was asked.
    Unsigned {
        why: String,
        is_unasked: bool,
    },
}

impl Signatures {
    /// What a source's plugin has to prove; `None` where nobody asks for anything. `namespace` is that
    /// of its resource; empty for one of the cluster.
    pub(crate) fn of(
        source: &PluginSource,
        of_cluster: Option<&TrustPolicy>,
        namespace: &str,
        make: Arc<MakeVerifier>,
        open: Arc<OpenStore>,
        doors: Doors,
    ) -> Option<Self> {
        let own = source.trust_policy.as_ref();
        let policies = source.trust_policies(of_cluster, !namespace.is_empty()).into_iter();
        let policies: Vec<_> = policies
            .map(|policy| {
                let is_own = own.is_some_and(|own| std::ptr::eq(own, policy));
                let tenant = if is_own { namespace.to_owned() } else { String::new() };
                Applied { policy: policy.clone(), is_own, tenant }
            })
            .collect();
        (!policies.is_empty()).then_some(Self { policies, make, open, doors })
    }

    /// What is decided by: two of them that are the same come to the same.
    pub(crate) fn basis(&self) -> Option<Digest> {
        let mut basis = Basis::default();
        for Applied { policy, is_own, tenant } in &self.policies {
            basis.add("policy", policy.mode.as_str());
            basis.add("of", tenant);
            basis.add("own", [u8::from(*is_own)]);
            for entry in &policy.verifiers {
                basis.add_entry(&entry.raw);
                match (self.make)(entry.clone(), !tenant.is_empty()) {
                    Ok(verifier) => {
                        verifier.add_basis(&mut basis);
                        let names = verifier.named_keys();
                        let rings = &self.doors.key_rings;
                        match names {
                            Some(names) => {
                                names
                                    .iter()
                                    .for_each(|name| rings.add_basis(Some(name), &mut basis));
                            }
                            None => rings.add_basis(None, &mut basis),
                        }
                    }
                    Err(_) => basis.add_unknown(),
                }
            }
        }
        Some(digest_of(Algorithm::Sha256, basis.bytes()?))
    }

    /// How often it is asked again while the plugin runs; `None` where nobody asks.
    pub(crate) fn recheck_interval(&self) -> Option<Duration> {
        let asking = self.policies.iter().filter(|applied| applied.policy.mode != TrustMode::None);
        asking.map(|applied| applied.policy.recheck_interval).min()
    }

    /// Whether a plugin that nobody signed who is trusted may not run.
    pub(crate) fn is_enforced(&self) -> bool {
        self.policies.iter().any(|applied| applied.policy.mode == TrustMode::Enforce)
    }

    /// Judges what is attached to a plugin: to what its reference stands for, or else to the manifest
    /// of this platform.
    ///
    /// # Errors
    /// Which policy it does not fulfil, and why; or that it could not be found out now.
    pub(crate) async fn judge(
        &self,
        origin: &Origin,
        reference: &Reference,
        root: &Digest,
        manifest: &Digest,
        give_up_at: Option<Instant>,
    ) -> std::result::Result<Admission, InstallError> {
        let mut admission = Admission::default();
        for applied in &self.policies {
            if applied.policy.mode == TrustMode::None {
                let key = applied.key();
                admission.warnings.push(format!(
                    "no signature of the plugin was asked for: the mode of {key} is none"
                ));
                continue;
            }
            match self.ask(applied, origin, reference, root, manifest, give_up_at).await? {
                Finding::Signed(signers, until) => {
                    admission.signers.extend(signers);
                    admission.until = earlier(admission.until, until);
                }
                Finding::Unsigned { why, is_unasked } => {
                    let is_warned = applied.policy.mode == TrustMode::Warn;
                    if is_unasked && !is_warned {
                        return Err(InstallError::Unasked(why));
                    }
                    let (digest, is_own) = (root.clone(), applied.is_own);
                    let denial = Denial::Untrusted { digest, why, is_own };
                    if !is_warned {
                        return Err(denial.into());
                    }
                    admission.warnings.push(format!("it runs, for the mode is warn: {denial}"));
                }
            }
        }
        admission.signers.sort();
        admission.signers.dedup();
        admission.signers.truncate(MAX_SIGNERS);
        Ok(admission)
    }

    async fn ask(
        &self,
        applied: &Applied,
        origin: &Origin,
        reference: &Reference,
        root: &Digest,
        manifest: &Digest,
        give_up_at: Option<Instant>,
    ) -> std::result::Result<Finding, InstallError> {
        let outside = self.doors.fetch.clone().map(Outside::new).map(Arc::new);
        let executor = self.executor(applied, origin, outside.clone()).map_err(cannot)?;
        let was_asked = || outside.as_ref().is_some_and(|outside| outside.was_asked());
        let (mut why, mut is_unasked) = (Vec::new(), false);
        let subjects = [root, manifest];
        let subjects = if root == manifest { &subjects[..1] } else { &subjects[..] };
        for digest in subjects {
            let subject = reference.sibling(digest).to_string();
            let context = Context::until(give_up_at).with_tenant(applied.tenant.as_str());
            let parameters = VerifyParameters::new(&subject).with_context(context);
            let result = executor.verify(&parameters, &|_| ()).await.map_err(cannot)?;
            if result.is_success {
                return Ok(Finding::Signed(signers(&result), until(&result)));
            }
            let reasons = reasons(&result);
            if result.is_transient() && was_asked() {
                return Err(InstallError::Unasked(reasons));
            }
            if result.is_transient() {
                let text = format!("whether it is signed was not found out: {reasons}");
                return Err(InstallError::Registry(text));
            }
            is_unasked |= result.standing().certainty != Certainty::Decided && was_asked();
            why.push(reasons);
        }
        why.dedup();
        Ok(Finding::Unsigned { why: capped_line(&why.join("; "), MAX_WHY), is_unasked })
    }

    fn executor(
        &self,
        applied: &Applied,
        origin: &Origin,
        outside: Option<Arc<Outside>>,
    ) -> Result<Executor> {
        let make =
            |entry: &VerifierPluginConfig| (self.make)(entry.clone(), !applied.tenant.is_empty());
        let verifiers: Result<Vec<_>> = applied.policy.verifiers.iter().map(make).collect();
        let policy = any_of_them()?;
        let executor = Executor::new(vec![(self.open)(origin)?], verifiers?, Some(policy));
        let doors = Doors::new(Arc::clone(&self.doors.key_rings));
        Ok(executor.with_doors(match outside {
            Some(outside) => doors.with_fetch(outside),
            None => doors,
        }))
    }
}

impl Applied {
    fn key(&self) -> &'static str {
        if self.is_own { "source.trustPolicy" } else { "plugins.trustPolicy" }
    }
}

impl fmt::Debug for Signatures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Signatures")
            .field("policies", &self.policies)
            .finish_non_exhaustive()
    }
}

/// Where one who accepts is enough: of several signatures some may be of others.
fn any_of_them() -> Result<Policy> {
    let section = serde_json::json!({"policy": {"plugin": {
        "name": "configPolicy", "artifactVerificationPolicies": {"default": "any"},
    }}});
    let config = Config::from_json(section.to_string().as_bytes());
    let config = config.map_err(|error| {
        ratify_core::ErrorCode::ConfigInvalid.detail("the policy of plugins").with_source(error)
    })?;
    Policy::from_config(&config.policy.unwrap_or_default())
}

fn cannot(error: Error) -> InstallError {
    InstallError::Registry(format!("whether it is signed was not found out: {error}"))
}

/// Who signed, as the reports that accept say it.
fn signers(result: &VerifyResult) -> Vec<String> {
    let accepted = result.verifier_reports.of_verifiers().iter().filter(|report| report.is_success);
    accepted.map(|report| capped_line(&signer(report), MAX_SIGNER)).collect()
}

/// When what is accepted ends: one signature is enough, so the one that lasts longest counts.
fn until(result: &VerifyResult) -> Option<SystemTime> {
    let accepted = result.verifier_reports.of_verifiers().iter().filter(|report| report.is_success);
    let ends = accepted.map(|report| report.standing.valid_until);
    // What has no end outlasts all that have one.
    ends.reduce(|one, another| Some(one?.max(another?))).flatten()
}

fn earlier(one: Option<SystemTime>, another: Option<SystemTime>) -> Option<SystemTime> {
    match (one, another) {
        (Some(one), Some(another)) => Some(one.min(another)),
        (one, another) => one.or(another),
    }
}

/// The subject of notation's certificate, or the key or identity of cosign's signature; else who
/// accepted it.
fn signer(report: &VerifierReport) -> String {
    let extensions = &report.extensions;
    if let Some(subject) = extensions["SN"].as_str() {
        return format!("{} {subject}", report.verifier_name);
    }
    let verifications = |signature: &Value| {
        signature["verifications"].as_array().cloned().unwrap_or_else(|| vec![signature.clone()])
    };
    let accepted = extensions["signatures"].as_array().into_iter().flatten();
    let accepted = accepted.flat_map(verifications).find(|one| one["isSuccess"] == true);
    let key = accepted.map(|one| one["keyInformation"].clone()).unwrap_or_default();
    let part = |name: &str| key[name].as_str().filter(|text| !text.is_empty());
    let parts: Vec<_> = ["provider", "name", "version"].into_iter().filter_map(part).collect();
    if parts.is_empty() {
        return report.verifier_name.clone();
    }
    format!("{} {}", report.verifier_name, parts.join("/"))
}

fn reasons(result: &VerifyResult) -> String {
    let reports = result.verifier_reports.of_verifiers();
    let texts = reports.iter().map(|report| {
        let reason = if report.error_reason.is_empty() { "" } else { ": " };
        let (message, why) = (&report.message, &report.error_reason);
        let name = if report.verifier_name.is_empty() { "" } else { " says " };
        format!("{}{name}{message}{reason}{why}", report.verifier_name)
    });
    capped_line(&texts.collect::<Vec<_>>().join("; "), MAX_WHY)
}

#[cfg(test)]
mod tests;
