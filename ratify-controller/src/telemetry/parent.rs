//! [`Parent`]: what a `traceparent` says (W3C Trace Context, level 1). Strangers write it, so that it
//! is read to the letter, and anything else is as if it were not there.

use http::HeaderMap;

/// The length of version 00, and of what later versions begin with.
const LENGTH: usize = 55;

/// The span that a request is part of, in somebody else's trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) is_sampled: bool,
}

impl Parent {
    /// What the headers of a request say, if it is one thing.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        let (Some(only), None) = (values.next(), values.next()) else { return None };
        Self::parse(only.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let is_known = text.len() == LENGTH || (text.len() > LENGTH && !text.starts_with("00"));
        let head = text.get(..LENGTH).filter(|_| is_known)?;
        if text.as_bytes().get(LENGTH).is_some_and(|next| *next != b'-') {
            return None;
        }
        let mut parts = head.split('-');
        let mut part = |length: usize| {
            let part = parts.next()?;
            let is_hex = part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            (part.len() == length && is_hex).then_some(part)
        };
        let (version, trace_id, span_id, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let trace_id = u128::from_str_radix(trace_id, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span_id, 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (version != "ff").then_some(Self { trace_id, span_id, is_sampled: flags & 1 == 1 })
    }

    /// The id of the trace, as it was sent.
    pub(crate) fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_parent_is_read_to_the_letter() {
        let parent = Parent::parse(GOOD).unwrap();
        assert_eq!((parent.span_id, parent.is_sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(!Parent::parse(&GOOD.replace("-01", "-00")).unwrap().is_sampled);
        // A version that is to come may say more.
        assert_eq!(Parent::parse(&GOOD.replacen("00", "01", 1)), Some(parent));
        assert_eq!(Parent::parse(&format!("{}-more", GOOD.replacen("00", "cc", 1))), Some(parent));
        for bad in [
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-more"),
            format!("{}more", GOOD.replacen("00", "cc", 1)),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace('-', "_"),
            GOOD.replace("4b", "+b"),
            GOOD.replace("4b", "ä"),
        ] {
            assert_eq!(Parent::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn two_parents_are_none() {
        let mut headers = HeaderMap::new();
        headers.append("traceparent", GOOD.parse().unwrap());
        assert!(Parent::of(&headers).is_some());
        headers.append("traceparent", GOOD.parse().unwrap());
        assert_eq!(Parent::of(&headers), None);
    }
}
