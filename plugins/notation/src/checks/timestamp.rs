//! Whether the certificates were valid when the image was signed, by a time that can be believed: the
//! authority's own, a timestamp's, or now.

use super::Verification;
use crate::{
    certificate::{Certificate, Purpose, check_chain},
    envelope::{Envelope, SigningScheme},
    go::quoted,
    moment::Moment,
    policy::{TimestampUse, TrustStoreType},
    refusal::{Refusal, Result},
    revocation::{Revocation, Whose},
    timestamp::{Interval, Token},
};

impl Verification<'_> {
    /// The check, and when what it found ends: never, where a time is proven.
    pub(super) async fn authentic_timestamp(&self, envelope: &Envelope) -> Result<Option<Moment>> {
        let chain = &envelope.certificates;
        if envelope.scheme == SigningScheme::SigningAuthority {
            let time = envelope.signing_time;
            return match chain.iter().find(|one| !one.is_valid_at(time)) {
                Some(certificate) => Err(format!(
                    "certificate {} was not valid when the digital signature was produced at {}",
                    quoted(&certificate.subject),
                    quoted(&time.rfc1123z())
                )
                .into()),
                None => Ok(None),
            };
        }
        if !self.asks_for_timestamp(chain) {
            self.valid_now(chain)?;
            return Ok(chain.iter().map(|certificate| certificate.not_after).min());
        }
        self.timestamp(envelope).await?;
        Ok(None)
    }

    fn asks_for_timestamp(&self, chain: &[Certificate]) -> bool {
        let has_stores = !self.statement.stores_of(TrustStoreType::Tsa).is_empty();
        let counts = match self.statement.timestamps {
            TimestampUse::Always => true,
            TimestampUse::AfterCertificateExpiry => {
                chain.iter().any(|certificate| self.now > certificate.not_after)
            }
        };
        has_stores && counts
    }

    fn valid_now(&self, chain: &[Certificate]) -> Result<()> {
        for certificate in chain {
            let subject = quoted(&certificate.subject);
            if self.now < certificate.not_before {
                let from = quoted(&certificate.not_before.rfc1123z());
                return Err(Refusal::from(format!("verification time is before certificate {subject} validity period, it will be valid from {from}")).unknown());
            }
            if self.now > certificate.not_after {
                let until = quoted(&certificate.not_after.rfc1123z());
                return Err(format!("verification time is after certificate {subject} validity period, it was expired at {until}").into());
            }
        }
        Ok(())
    }

    /// Proves the timestamp of the signature: over these bytes, by an authority that is trusted, at a
    /// time at which all certificates of the signature were valid.
    async fn timestamp(&self, envelope: &Envelope) -> Result<()> {
        let Some(token) = &envelope.timestamp else {
            return Err("no timestamp countersignature was found in the signature envelope".into());
        };
        let token = Token::parse(token).map_err(|error| {
            format!("failed to parse timestamp countersignature with error: {error}")
        })?;
        let time = token.time_of(&envelope.signature).map_err(|error| {
            format!("failed to get timestamp from timestamp countersignature with error: {error}")
        })?;
        let trusted = self.trusted_authorities()?;
        let chain = token.prove(&trusted, time.value).map_err(|error| {
            format!("failed to verify the timestamp countersignature with error: failed to verify signed token: {error}")
        })?;
        if time.earliest() < envelope.signing_time {
            return Err(format!(
                "timestamp {} is not bounded after the signing time {}",
                time.shown(),
                quoted(&envelope.signing_time.go_text())
            )
            .into());
        }
        check_chain(&chain, Purpose::Timestamping).map_err(|error| {
            format!("failed to validate the timestamping certificate chain with error: {error}")
        })?;
        valid_then(&envelope.certificates, &time)?;
        let revocation = Revocation { host: self.host, lists: self.lists, now: self.now };
        let anchor = chain.len().saturating_sub(1);
        let whose = Whose { purpose: Purpose::Timestamping, anchor, signing_time: None };
        revocation.check(&chain, whose).await.map(drop)
    }

    fn trusted_authorities(&self) -> Result<Vec<Certificate>> {
        let mut trusted = Vec::new();
        for name in self.statement.stores_of(TrustStoreType::Tsa) {
            let host = self.host.as_ref();
            let of_store = self.trust.certificates(TrustStoreType::Tsa, name, host);
            trusted.extend(of_store.map_err(|refusal| {
                refusal.within("failed to load tsa trust store with error: ")
            })?);
        }
        Ok(trusted)
    }
}

/// Whether the certificates were valid in all of an interval.
fn valid_then(chain: &[Certificate], time: &Interval) -> Result<()> {
    for certificate in chain {
        let subject = quoted(&certificate.subject);
        if time.earliest() < certificate.not_before {
            let from = quoted(&certificate.not_before.rfc1123z());
            return Err(format!("timestamp can be before certificate {subject} validity period, it will be valid from {from}").into());
        }
        if time.latest() > certificate.not_after {
            let until = quoted(&certificate.not_after.rfc1123z());
            return Err(format!("timestamp can be after certificate {subject} validity period, it was expired at {until}").into());
        }
    }
    Ok(())
}
