//! [`Admission`]: who was let in, and whether they would be now. A connection may outlive the
//! authorities it was accepted under, and must not outlive what they stood for.

use std::sync::Arc;

use rustls::{
    pki_types::{CertificateDer, UnixTime},
    server::danger::ClientCertVerifier,
};
use tokio::sync::watch;

use super::Served;

/// Who may come in.
#[derive(Debug, Clone)]
pub(super) enum Clients {
    /// There is no authority, and there was none.
    Anyone,
    /// Who has a certificate of one of these.
    Proven(Arc<dyn ClientCertVerifier>),
    /// There is an authority and it cannot be used, and there was none before it that could.
    Nobody,
}

/// What one connection showed, and what it was accepted under.
#[derive(Clone)]
pub(in crate::gatekeeper) struct Admission {
    served: watch::Receiver<Option<Arc<Served>>>,
    accepted_under: Arc<Served>,
    chain: Arc<[CertificateDer<'static>]>,
}

impl Clients {
    /// Whether a client with this chain may come in.
    fn admit(&self, chain: &[CertificateDer<'_>]) -> bool {
        match self {
            Self::Anyone => true,
            Self::Proven(verifier) => chain.split_first().is_some_and(|(own, between)| {
                verifier.verify_client_cert(own, between, UnixTime::now()).is_ok()
            }),
            Self::Nobody => false,
        }
    }
}

impl Admission {
    pub(super) fn new(
        served: watch::Receiver<Option<Arc<Served>>>,
        accepted_under: Arc<Served>,
        chain: Option<&[CertificateDer<'static>]>,
    ) -> Self {
        Self { served, accepted_under, chain: chain.unwrap_or_default().into() }
    }

    /// Whether the client would be let in now, too.
    pub(in crate::gatekeeper) fn holds(&self) -> bool {
        let now = self.served.borrow().clone();
        now.is_some_and(|now| {
            Arc::ptr_eq(&now, &self.accepted_under)
                || now.config.is_some() && now.clients.admit(&self.chain)
        })
    }

    /// Ready once the client would be let in no more.
    pub(in crate::gatekeeper) async fn ended(mut self) {
        loop {
            // Before the look, so that no change falls between the two.
            self.served.mark_unchanged();
            if !self.holds() {
                return;
            }
            // Nothing changes any more once nobody looks at the files: the server ends.
            if self.served.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}
