//! Until when certificates are good, and what rotation does.

use std::{fmt, sync::Arc};

use jiff::Timestamp;

use super::page::{Page, Show};
use crate::{gatekeeper::tls::Tls, k8s::rotation::RotationCounts};

/// Shows what is served, and what is made.
pub(super) struct Shown {
    pub(super) tls: Option<Tls>,
    pub(super) rotation: Option<Arc<RotationCounts>>,
}

impl Show for Shown {
    fn show(&self, page: &mut Page<'_>) -> fmt::Result {
        let served = self.tls.as_ref().map(Tls::ends).unwrap_or_default();
        let authority = self.rotation.as_ref().and_then(|counts| counts.authority_ends());
        let ends: [(&str, Option<Timestamp>); 3] = [
            ("server", served.certificate),
            ("client_ca", served.client_ca),
            ("authority", authority),
        ];
        page.gauges(
            (
                "ratify_certificate_expiration_timestamp_seconds",
                "Until when a certificate is good: server is the one that is shown, client_ca the last of those that prove clients, authority the one that rotation signs with",
            ),
            ends.into_iter().filter_map(|(certificate, end)| {
                Some(([("certificate", certificate.to_owned())], end?.as_second()))
            }),
        )?;
        let rotations = self.rotation.iter().flat_map(|counts| counts.rotations());
        page.counters(
            ("ratify_certificate_rotations", "Writes of certificates, by what was new"),
            rotations.map(|(what, count)| ([("what", what.to_owned())], count)),
        )?;
        page.counters(
            ("ratify_certificate_rotation_failures", "Tries to rotate certificates that failed"),
            self.rotation.iter().map(|counts| ([], counts.failures())),
        )
    }
}
