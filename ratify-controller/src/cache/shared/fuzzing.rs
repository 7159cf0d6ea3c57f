//! What the fuzz target `sealed`, and the test that replays its corpus, call of this crate. Of no use
//! to anybody else.

use std::time::SystemTime;

use super::sealed::SealKey;
use crate::gatekeeper::verdict::Verdict;

/// The key that replicas share.
pub struct Seal(SealKey);

impl Seal {
    /// A key of these bytes; `None` where they are too few.
    pub fn new(key: &[u8]) -> Option<Self> {
        SealKey::new(key).map(Self)
    }

    /// An entry that allows, as replicas write it.
    pub fn seal_verdict(
        &self,
        question: &[u8],
        reports: &str,
        made: SystemTime,
        ends: SystemTime,
    ) -> Option<Vec<u8>> {
        let (version, reports) = ("0.2.0".into(), reports.into());
        let verdict = Verdict { version, is_success: true, reports, ..Verdict::default() };
        self.0.seal(question, &verdict, made, ends)
    }

    /// An entry under the seal, whatever it says.
    pub fn seal(&self, question: &[u8], body: &[u8]) -> Vec<u8> {
        self.0.under_seal(question, body)
    }

    /// The reports of an entry that counts, and until when.
    pub fn open(
        &self,
        question: &[u8],
        entry: &[u8],
        now: SystemTime,
    ) -> Option<(String, SystemTime)> {
        let opened = self.0.open(question, entry, now).ok()?;
        Some((opened.reports.into(), opened.ends?))
    }
}
