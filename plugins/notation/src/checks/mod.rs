//! The steps of a verification (trust store and trust policy specification, "Steps"), one after the
//! other, each weighed by the level of the statement. The most important item is [`Verification`].

mod identity;
mod plugin;
mod timestamp;

use std::sync::Arc;

use ratify_core::{Context, Descriptor, Host, strict_json};
use serde_json::Value;

use crate::{
    VerificationPlugins,
    certificate::Purpose,
    envelope::{self, Envelope, SigningScheme},
    moment::Moment,
    plugin::Capability,
    policy::{Action, Check, Statement, TrustStoreType},
    refusal::{Lasting, Refusal, Result},
    revocation::{ListCache, Revocation, Whose},
    trust::TrustStores,
};

/// All that one signature is judged by.
pub(crate) struct Verification<'a> {
    pub(crate) statement: &'a Statement,
    pub(crate) trust: &'a TrustStores,
    pub(crate) host: &'a Arc<dyn Host>,
    pub(crate) lists: &'a ListCache,
    /// The plugins of Notation that a signature may name.
    pub(crate) plugins: Option<&'a dyn VerificationPlugins>,
    /// What they are told besides.
    pub(crate) plugin_config: &'a Value,
    pub(crate) context: &'a Context,
    pub(crate) now: Moment,
}

/// A signature that is accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) envelope: Envelope,
    /// When the first of what it rests on ends.
    pub(crate) until: Option<Moment>,
}

/// For how long an answer of a plugin counts, which does not say when what it rests on ends: ten seconds, as
/// verdicts are kept for where nobody says otherwise.
const PLUGIN_ANSWER_NANOS: i64 = 10_000_000_000;

/// The earlier of two ends, of which each may be none.
pub(crate) fn earlier(one: Option<Moment>, another: Option<Moment>) -> Option<Moment> {
    match (one, another) {
        (Some(one), Some(another)) => Some(one.min(another)),
        (one, another) => one.or(another),
    }
}

impl Verification<'_> {
    /// Judges the bytes of an envelope about an image.
    pub(crate) async fn run(
        &self,
        media_type: &str,
        bytes: &[u8],
        subject: &Descriptor,
    ) -> Result<Accepted> {
        let opened = envelope::open(media_type, bytes).map_err(|error| error.to_string().into());
        let envelope = opened.inspect_err(|error| self.tell(Check::Integrity, error))?;
        let plugin = self.plugin(&envelope).await?;
        let judges = |what| plugin.as_ref().is_some_and(|plugin| plugin.judges(what));
        let anchor = self.authenticity(&envelope, judges(Capability::TrustedIdentity))?;
        let mut until = self.weigh(Check::Expiry, self.expiry(&envelope))?;
        let timestamp = self.authentic_timestamp(&envelope).await;
        until = earlier(until, self.weigh(Check::AuthenticTimestamp, timestamp)?);
        let is_asked = self.statement.level.action(Check::Revocation) != Action::Skip;
        if is_asked && !judges(Capability::RevocationCheck) {
            let revocation = self.revocation(&envelope, anchor).await;
            until = earlier(until, self.weigh(Check::Revocation, revocation)?);
        }
        if let Some(plugin) = &plugin {
            self.ask(plugin, &envelope, anchor.is_some()).await?;
            until = earlier(until, Some(self.now.plus_nanos(PLUGIN_ANSWER_NANOS)));
        }
        check_payload(&envelope.payload, subject)?;
        Ok(Accepted { envelope, until })
    }

    /// Whether a trusted certificate is among those of the signature, and its leaf one that the
    /// statement names. What comes of it is the place of the trusted certificate that is nearest to the
    /// root: whatever is below it, it or one that it vouches for has signed. Whom the statement names may
    /// be a plugin's to judge.
    fn authenticity(&self, envelope: &Envelope, is_plugins: bool) -> Result<Option<usize>> {
        let trusted = self.weigh(Check::Authenticity, self.trusted(envelope).map(Some))?;
        if is_plugins {
            return Ok(trusted);
        }
        let identity = identity::check(self.statement, envelope).map(|()| None);
        self.weigh::<()>(Check::Authenticity, identity)?;
        Ok(trusted)
    }

    fn trusted(&self, envelope: &Envelope) -> Result<usize> {
        let type_ = match envelope.scheme {
            SigningScheme::X509 => TrustStoreType::Ca,
            SigningScheme::SigningAuthority => TrustStoreType::SigningAuthority,
        };
        let mut trusted = Vec::new();
        for name in self.statement.stores_of(type_) {
            trusted.extend(self.trust.certificates(type_, name, self.host.as_ref())?);
        }
        if trusted.is_empty() {
            return Err("no trusted certificates are found to verify authenticity".into());
        }
        let anchor = envelope.certificates.iter().rposition(|one| trusted.contains(one));
        anchor.ok_or_else(|| "signature is not produced by a trusted signer".into())
    }

    fn expiry(&self, envelope: &Envelope) -> Result<Option<Moment>> {
        match envelope.expiry {
            Some(expiry) if self.now >= expiry => {
                let shown = crate::go::quoted(&expiry.rfc1123z());
                Err(format!("digital signature has expired on {shown}").into())
            }
            expiry => Ok(expiry),
        }
    }

    /// Asks about the certificates up to the trusted one. The addresses in those that nobody vouches for
    /// are anybody's, and not asked.
    async fn revocation(
        &self,
        envelope: &Envelope,
        anchor: Option<usize>,
    ) -> Result<Option<Moment>> {
        let Some(anchor) = anchor else {
            return Err(untrusted_revocation());
        };
        let signing_time = match envelope.scheme {
            SigningScheme::X509 => None,
            SigningScheme::SigningAuthority => Some(envelope.signing_time),
        };
        let revocation = Revocation { host: self.host, lists: self.lists, now: self.now };
        let whose = Whose { purpose: Purpose::CodeSigning, anchor, signing_time };
        revocation.check(&envelope.certificates, whose).await
    }

    /// What follows from a check: a refusal where it counts; a line in the log, and nothing that the
    /// verdict rests on, where it does not.
    fn weigh<T>(&self, check: Check, result: Result<Option<T>>) -> Result<Option<T>> {
        let is_enforced = self.statement.level.action(check) == Action::Enforce;
        match result {
            Ok(found) if is_enforced || check == Check::Authenticity => Ok(found),
            Ok(_) => Ok(None),
            Err(refusal) => {
                self.tell(check, &refusal);
                if is_enforced { Err(refusal) } else { Ok(None) }
            }
        }
    }

    fn tell(&self, check: Check, refusal: &Refusal) {
        let reason = ratify_core::capped_line(&refusal.to_string(), 4096);
        match self.statement.level.action(check) {
            Action::Enforce => {
                tracing::error!("{check} validation failed. Failure reason: {reason}");
            }
            Action::Log => tracing::warn!(
                "{check} validation failed with validation action set to \"logged\". Failure reason: {reason}"
            ),
            Action::Skip => {}
        }
    }
}

/// Why nobody is asked about certificates that nobody vouches for.
fn untrusted_revocation() -> Refusal {
    let text = "revocation is not checked, since the signature is not produced by a trusted signer";
    Refusal::from(text).unknown()
}

/// Whether the signature is about the image: its digest, its size and what it is.
fn check_payload(payload: &[u8], subject: &Descriptor) -> Result<()> {
    let payload: Value =
        strict_json::read(payload).map_err(|error| format!("the payload: {error}"))?;
    let target = payload.get("targetArtifact");
    let of_target = |key: &str| target.and_then(|target| target.get(key));
    let is_same = of_target("digest").and_then(Value::as_str) == Some(subject.digest.as_str())
        && of_target("size").and_then(Value::as_u64) == Some(subject.size)
        && of_target("mediaType").and_then(Value::as_str) == Some(subject.media_type.as_str());
    if is_same { Ok(()) } else { Err("content descriptor mismatch".into()) }
}

/// Whether a finding lasts; what could not be found out may be found out the next time.
pub(crate) fn is_found(refusal: &Refusal) -> bool {
    refusal.lasts() == Lasting::Found
}

#[cfg(test)]
mod tests;
