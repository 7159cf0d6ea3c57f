//! [`SealKey`]: what replicas write for each other is sealed, for whoever can write to Redis could
//! write a verdict. The seal is HMAC-SHA-256 over the key, the times and the verdict, so that an
//! entry counts for nothing else, and no longer, than it was made for. Pure: the time comes in.
//!
//! The name of an entry is an HMAC of its key: it tells nobody which images run.

use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use serde::de::IgnoredAny;

use crate::gatekeeper::verdict::Verdict;

/// A key has at least so many bytes.
pub(super) const MIN_KEY_BYTES: usize = 32;
/// A larger entry is neither written nor read.
pub(super) const MAX_ENTRY_BYTES: usize = 256 << 10;
/// No entry counts for longer than this after it was made.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Replicas' clocks may differ by this much.
const SKEW: Duration = Duration::from_secs(30);

/// Another form has another first word.
const FORM: &[u8; 8] = b"ratify-1";
const TAG_BYTES: usize = 32;
const HEAD_BYTES: usize = FORM.len() + TAG_BYTES;
/// What follows the seal before the version: when it was made, when it ends, the version's length.
const TIMES_BYTES: usize = 8 + 8 + 1;

/// The key that replicas share.
pub(super) struct SealKey(hmac::Key);

/// Why an entry counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is none of ours: too short, too long, or of another form.
    Form,
    /// It was not made with this key, or not for this question.
    Seal,
    /// It counts no more, or was made in the future.
    Time,
}

impl SealKey {
    /// A key of these bytes; `None` where they are too few.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= MIN_KEY_BYTES).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// Under which name a key's entry is.
    pub(super) fn name(&self, key: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"name of a verdict\0");
        context.update(key);
        format!("ratify:verdict:{}", hex::encode(context.sign()))
    }

    /// An entry; `None` for a verdict that is not shared: a denial, or one that is too long.
    pub(super) fn seal(
        &self,
        key: &[u8],
        verdict: &Verdict,
        made: SystemTime,
        ends: SystemTime,
    ) -> Option<Vec<u8>> {
        let length = u8::try_from(verdict.version.len()).ok()?;
        let bytes = HEAD_BYTES + TIMES_BYTES + verdict.version.len() + verdict.reports.len();
        if !verdict.is_success || bytes > MAX_ENTRY_BYTES {
            return None;
        }
        let mut body = Vec::with_capacity(bytes - HEAD_BYTES);
        body.extend_from_slice(&milliseconds(made)?.to_le_bytes());
        body.extend_from_slice(&milliseconds(ends)?.to_le_bytes());
        body.push(length);
        body.extend_from_slice(verdict.version.as_bytes());
        body.extend_from_slice(verdict.reports.as_bytes());
        Some(self.under_seal(key, &body))
    }

    /// An entry of whatever it says.
    pub(super) fn under_seal(&self, key: &[u8], body: &[u8]) -> Vec<u8> {
        let tag = self.tag(key, body).sign();
        [FORM, tag.as_ref(), body].concat()
    }

    /// Reads an entry of a key.
    pub(super) fn open(
        &self,
        key: &[u8],
        entry: &[u8],
        now: SystemTime,
    ) -> Result<Verdict, Refused> {
        if entry.len() < HEAD_BYTES + TIMES_BYTES || entry.len() > MAX_ENTRY_BYTES {
            return Err(Refused::Form);
        }
        let (head, body) = entry.split_at(HEAD_BYTES);
        let (form, tag) = head.split_at(FORM.len());
        if form != FORM {
            return Err(Refused::Form);
        }
        let expected = self.tag(key, body).sign();
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), tag)
            .map_err(|_| Refused::Seal)?;
        let (times, text) = body.split_at(TIMES_BYTES);
        let (made, ends) = (time(&times[..8]), time(&times[8..16]));
        let (made, ends) = made.zip(ends).ok_or(Refused::Time)?;
        let is_of_now = made <= now + SKEW && ends > now && ends <= made + LONGEST;
        if !is_of_now {
            return Err(Refused::Time);
        }
        read(text, usize::from(times[16]), ends).ok_or(Refused::Form)
    }

    fn tag(&self, key: &[u8], body: &[u8]) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"verdict\0");
        context.update(&(key.len() as u64).to_le_bytes());
        context.update(key);
        context.update(body);
        context
    }
}

fn read(text: &[u8], version_bytes: usize, ends: SystemTime) -> Option<Verdict> {
    let text = std::str::from_utf8(text).ok()?;
    let (version, reports) = text.split_at_checked(version_bytes)?;
    let is_array = serde_json::from_str::<Vec<IgnoredAny>>(reports).is_ok();
    if !is_array && !reports.is_empty() {
        return None;
    }
    Verdict::of_written(version, reports, ends)
}

fn milliseconds(at: SystemTime) -> Option<u64> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

fn time(bytes: &[u8]) -> Option<SystemTime> {
    let milliseconds = u64::from_le_bytes(bytes.try_into().ok()?);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"fingerprint, namespace, image";

    fn seal_key(byte: u8) -> SealKey {
        SealKey::new(&[byte; 32]).unwrap()
    }

    fn verdict() -> Verdict {
        let reports = r#"[{"subject":"a\u003c","isSuccess":true}]"#.into();
        Verdict { version: "0.2.0".into(), is_success: true, reports, ..Verdict::default() }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn sealed() -> Vec<u8> {
        seal_key(1).seal(KEY, &verdict(), at(0), at(100)).unwrap()
    }

    #[test]
    fn what_one_replica_seals_another_opens() {
        let opened = seal_key(1).open(KEY, &sealed(), at(50));
        assert_eq!(opened, Ok(Verdict { ends: Some(at(100)), ..verdict() }));
        assert_eq!(seal_key(1).name(KEY), seal_key(1).name(KEY));
        assert!(!seal_key(1).name(KEY).contains("image"));
    }

    #[test]
    fn not_one_bit_may_be_another() {
        let entry = sealed();
        for position in 0..entry.len() * 8 {
            let mut other = entry.clone();
            other[position / 8] ^= 1 << (position % 8);
            let refused = seal_key(1).open(KEY, &other, at(50)).unwrap_err();
            assert_ne!(
                refused,
                Refused::Time,
                "bit {position}: times are read once they are proven"
            );
        }
        for length in 0..entry.len() {
            assert!(seal_key(1).open(KEY, &entry[..length], at(50)).is_err(), "{length} bytes");
        }
        for more in [&b"\0"[..], b"]", b" "] {
            let longer = [entry.as_slice(), more].concat();
            assert_eq!(seal_key(1).open(KEY, &longer, at(50)), Err(Refused::Seal));
        }
    }

    #[test]
    fn an_entry_counts_for_its_key_alone_and_under_its_seal_key_alone() {
        for other in [&b""[..], b"fingerprint, namespace, imag", b"fingerprint, namespace, image2"]
        {
            assert_eq!(seal_key(1).open(other, &sealed(), at(50)), Err(Refused::Seal));
            assert_ne!(seal_key(1).name(other), seal_key(1).name(KEY));
        }
        assert_eq!(seal_key(2).open(KEY, &sealed(), at(50)), Err(Refused::Seal));
        assert_ne!(seal_key(2).name(KEY), seal_key(1).name(KEY));
    }

    #[test]
    fn it_counts_from_when_it_was_made_until_it_ends_and_for_a_day_at_most() {
        let open = |entry: &[u8], now| seal_key(1).open(KEY, entry, now).map(|_| ());
        let entry = sealed();
        assert_eq!(open(&entry, at(99)), Ok(()));
        assert_eq!(open(&entry, at(100)), Err(Refused::Time));
        let future = seal_key(1).seal(KEY, &verdict(), at(31), at(100)).unwrap();
        assert_eq!(open(&future, at(1)), Ok(()), "clocks may differ a little");
        assert_eq!(open(&future, at(0)), Err(Refused::Time));
        let day = 24 * 60 * 60;
        let long = seal_key(1).seal(KEY, &verdict(), at(0), at(day + 1)).unwrap();
        assert_eq!(open(&long, at(1)), Err(Refused::Time));
        let endless = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::MAX / 1_000_000);
        let endless = seal_key(1).seal(KEY, &verdict(), at(0), endless).unwrap();
        assert_eq!(open(&endless, at(1)), Err(Refused::Time));
    }

    #[test]
    fn a_denial_and_what_is_too_long_are_not_shared() {
        let seal = |verdict: Verdict| seal_key(1).seal(KEY, &verdict, at(0), at(100));
        assert_eq!(seal(Verdict { is_success: false, ..verdict() }), None);
        let long = format!("[\"{}\"]", "x".repeat(MAX_ENTRY_BYTES)).into();
        assert_eq!(seal(Verdict { reports: long, ..verdict() }), None);
        assert_eq!(seal(Verdict { version: "1".repeat(256).into(), ..verdict() }), None);
        assert!(seal(Verdict { reports: "".into(), ..verdict() }).is_some());
    }

    #[test]
    fn even_under_its_seal_an_entry_must_be_a_verdict() {
        for reports in ["{}", "[", "[1]]", "nonsense", "[] []"] {
            let odd = Verdict { reports: reports.into(), ..verdict() };
            let entry = seal_key(1).seal(KEY, &odd, at(0), at(100)).unwrap();
            assert_eq!(seal_key(1).open(KEY, &entry, at(50)), Err(Refused::Form), "{reports}");
        }
    }

    #[test]
    fn a_short_key_is_none() {
        assert!(SealKey::new(&[7; MIN_KEY_BYTES - 1]).is_none());
        assert!(SealKey::new(&[]).is_none());
    }
}
