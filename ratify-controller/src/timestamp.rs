//! Times as v1 writes them, Go's RFC3339Nano: the shortest fraction, UTC as `Z`.

use std::cell::RefCell;
use std::fmt::Write as _;

use jiff::Timestamp;

thread_local! {
    static SECOND: RefCell<(i64, String)> = const { RefCell::new((-1, String::new())) };
}

/// Appends a time. What is before the fraction is the same for all times of a second, and is made
/// once for them.
pub(crate) fn push(at: Timestamp, to: &mut String) {
    let (second, nanoseconds) = (at.as_second(), at.subsec_nanosecond());
    if nanoseconds < 0 {
        // Before 1970, where the fraction counts back.
        to.push_str(&at.to_string());
        return;
    }
    SECOND.with_borrow_mut(|known| {
        if known.0 != second || known.1.is_empty() {
            let whole = at.to_string();
            let end = whole.find(['.', 'Z']).unwrap_or(whole.len());
            *known = (second, whole[..end].to_owned());
        }
        to.push_str(&known.1);
    });
    if nanoseconds > 0 {
        // Writing to a String cannot fail.
        let _ = write!(to, ".{nanoseconds:09}");
        to.truncate(to.trim_end_matches('0').len());
    }
    to.push('Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_they_are_written_elsewhere() {
        for text in [
            "2026-11-24T14:56:58Z",
            "2026-11-24T14:56:58.000000001Z",
            "2026-11-24T14:56:58.69Z",
            "2026-11-24T14:56:59.1Z",
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:59:58Z",
            "1969-12-31T23:59:58.25Z",
        ] {
            let mut written = String::new();
            push(text.parse().unwrap(), &mut written);
            assert_eq!(written, text);
        }
    }
}
