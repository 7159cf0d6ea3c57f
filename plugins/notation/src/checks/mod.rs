//! The steps of a verification (trust store and trust policy specification, "Steps"), one after the
//! other, each weighed by the level of the statement. The most important item is [`Verification`].

mod identity;
mod timestamp;

use std::sync::Arc;

use ratify_core::{Descriptor, Host};
use serde_json::Value;

use crate::{
    certificate::Purpose,
    envelope::{self, Envelope, SigningScheme},
    moment::Moment,
    policy::{Action, Check, Statement, TrustStoreType},
    refusal::{Lasting, Refusal, Result},
    revocation::{ListCache, Revocation, Whose},
    trust::TrustStores,
};

/// The signed attribute that names a plugin of Notation.
const VERIFICATION_PLUGIN: &str = "io.cncf.notary.verificationPlugin";
/// The one that names the least version of it.
const VERIFICATION_PLUGIN_MIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";

/// All that one signature is judged by.
pub(crate) struct Verification<'a> {
    pub(crate) statement: &'a Statement,
    pub(crate) trust: &'a TrustStores,
    pub(crate) host: &'a Arc<dyn Host>,
    pub(crate) lists: &'a ListCache,
    pub(crate) now: Moment,
}

/// A signature that is accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) envelope: Envelope,
    /// When the first of what it rests on ends.
    pub(crate) until: Option<Moment>,
}

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
        check_attributes(&envelope)?;
        let anchor = self.authenticity(&envelope)?;
        let mut until = self.weigh(Check::Expiry, self.expiry(&envelope))?;
        let timestamp = self.authentic_timestamp(&envelope).await;
        until = earlier(until, self.weigh(Check::AuthenticTimestamp, timestamp)?);
        if self.statement.level.action(Check::Revocation) != Action::Skip {
            let revocation = self.revocation(&envelope, anchor).await;
            until = earlier(until, self.weigh(Check::Revocation, revocation)?);
        }
        check_payload(&envelope.payload, subject)?;
        Ok(Accepted { envelope, until })
    }

    /// Whether a trusted certificate is among those of the signature, and its leaf one that the
    /// statement names. What comes of it is the place of the trusted certificate that is nearest to the
    /// root: whatever is below it, it or one that it vouches for has signed.
    fn authenticity(&self, envelope: &Envelope) -> Result<Option<usize>> {
        let trusted = self.weigh(Check::Authenticity, self.trusted(envelope).map(Some))?;
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
            return Err(Refusal::from(
                "revocation is not checked, since the signature is not produced by a trusted signer",
            )
            .unknown());
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

/// Whether all critical attributes are understood. Those of the specification are, others are for a
/// plugin of Notation.
fn check_attributes(envelope: &Envelope) -> Result<()> {
    let named = envelope.attributes.iter().find(|one| one.key == VERIFICATION_PLUGIN);
    if let Some(plugin) = named {
        return Err(no_plugin(plugin));
    }
    let critical = envelope
        .attributes
        .iter()
        .find(|one| one.is_critical && one.key != VERIFICATION_PLUGIN_MIN_VERSION);
    match critical {
        Some(attribute) => {
            let shown = crate::go::quoted(&ratify_core::capped_line(&attribute.key, 200));
            Err(format!("extended critical attribute {shown} was not processed, since the signature names no verification plugin").into())
        }
        None => Ok(()),
    }
}

/// Why the plugin that a signature names does not judge it.
fn no_plugin(attribute: &envelope::Attribute) -> Refusal {
    if !attribute.is_critical {
        return format!("{VERIFICATION_PLUGIN} is not a critical Extended attribute").into();
    }
    let Value::String(name) = &attribute.value else {
        return format!("{VERIFICATION_PLUGIN} from extended attribute is not a string").into();
    };
    if name.trim().is_empty() {
        return format!("{VERIFICATION_PLUGIN} from extended attribute is an empty string").into();
    }
    let shown = crate::go::quoted(&ratify_core::capped_line(name, 200));
    let text = format!(
        "error while locating the verification plugin {shown}, make sure the plugin is installed successfully before verifying the signature. error: this build runs no plugins of Notation"
    );
    Refusal::from(text).unknown()
}

/// Whether the signature is about the image: its digest, its size and what it is.
fn check_payload(payload: &[u8], subject: &Descriptor) -> Result<()> {
    let payload = ratify_core::strict_json::parse(payload).map_err(|error| error.to_string())?;
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
