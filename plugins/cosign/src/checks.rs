//! [`Checks`]: what is asked of every signature of a request, and [`Found`], what a good one proves.

use std::{sync::Arc, time::SystemTime};

use ratify_core::{Digest, Host};

use crate::{
    classic::Logged,
    config::Keyless,
    extensions::summary,
    keys::{PublicKey, SignatureError},
    refusal::Refusal,
    rekor::Questions,
    trust::Material,
};

/// A certificate or a timestamp of more bytes is not read: the time to put the sets in it in order grows with
/// the square of its length.
const MOST_DER: usize = 64 << 10;

/// What is asked of a signature besides that somebody made it.
pub(crate) struct Checks<'a> {
    pub(crate) host: &'a Arc<dyn Host>,
    /// The image that has to be signed.
    pub(crate) image: &'a Digest,
    /// The transparency log; `None` where it is not looked at.
    pub(crate) rekor_url: Option<&'a str>,
    /// What is trusted besides keys; `None` where nothing else has to be.
    pub(crate) trust: Option<Arc<Material>>,
    pub(crate) now: jiff::Timestamp,
    /// What the log may still be asked.
    pub(crate) questions: Questions,
}

/// Who has to have signed.
#[derive(Clone, Copy)]
pub(crate) enum By<'a> {
    Key(&'a Key),
    Certificate(&'a Keyless),
}

/// A key, and how signatures by it are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) key: PublicKey,
    /// Whether it is one of Azure Key Vault's, which has rules of its own.
    pub(crate) is_of_key_vault: bool,
}

impl Key {
    /// Checks a signature of a payload, as it stands in the artifact.
    ///
    /// # Errors
    /// Where it is not by this key, or the vault has no such key.
    pub(crate) fn verify_payload(
        &self,
        payload: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        if self.is_of_key_vault {
            let hash = self.key.key_vault_hash()?;
            return self.key.verify(hash, payload, &self.made(signature));
        }
        self.key.verify_payload(payload, signature)
    }

    /// The bytes that were signed, of what stands in the artifact.
    pub(crate) fn made(&self, signature: &[u8]) -> Vec<u8> {
        if self.is_of_key_vault {
            self.key.key_vault_signature(signature)
        } else {
            signature.to_vec()
        }
    }
}

/// What a good signature proves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// What was with it proves that it is in the log.
    pub(crate) is_logged_offline: bool,
    /// The log says so itself.
    pub(crate) is_logged_online: bool,
    /// A timestamp authority says when it was made.
    pub(crate) is_timestamped: bool,
    /// Until when it counts, where that ends.
    pub(crate) valid_until: Option<SystemTime>,
}

impl Found {
    /// Notes how it is known that it is in the log, if it is.
    pub(crate) fn set_logged(&mut self, logged: Option<&Logged>) {
        self.is_logged_offline = logged.is_some_and(|logged| logged.is_offline);
        self.is_logged_online = logged.is_some_and(|logged| !logged.is_offline);
    }

    /// What it proves in words, as cosign says it.
    pub(crate) fn summary(&self, by: By<'_>) -> Vec<&'static str> {
        let mut all = vec![summary::CLAIMS];
        if self.is_logged_offline {
            all.push(summary::OFFLINE);
        } else if self.is_logged_online {
            all.extend([summary::IN_LOG, summary::IN_TIME]);
        }
        if self.is_timestamped {
            all.push(summary::TIMESTAMP);
        }
        all.push(match by {
            By::Key(_) => summary::KEY,
            By::Certificate(_) => summary::CERTIFICATE,
        });
        all
    }
}

/// Checks that a certificate or a timestamp is as short as any is.
///
/// # Errors
/// Where it is not.
pub(crate) fn check_length(what: &str, der: &[u8]) -> Result<(), Refusal> {
    match der.len() {
        0..=MOST_DER => Ok(()),
        _ => Err(Refusal::other(format!("the {what} has more than {MOST_DER} bytes"))),
    }
}
