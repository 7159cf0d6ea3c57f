//! Times as v1 writes them, Go's RFC3339Nano: the shortest fraction, UTC as `Z`.

use std::cell::RefCell;

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
        to.push('.');
        let fraction = u64::from(nanoseconds.unsigned_abs());
        to.push_str(decimal(fraction, 9, &mut Digits::default()).trim_end_matches('0'));
    }
    to.push('Z');
}

/// Room for the digits of a number.
pub(crate) type Digits = [u8; 20];

/// A number, with so many digits at least. There are several on each line of the log, where `fmt`
/// would cost as much as the rest of the line.
pub(crate) fn decimal(mut number: u64, at_least: usize, digits: &mut Digits) -> &str {
    let mut start = digits.len();
    while start > 0 && (number > 0 || digits.len() - start < at_least) {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    str::from_utf8(&digits[start..]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_they_need_or_more() {
        for (number, at_least) in [(0, 1), (0, 3), (7, 3), (1234, 3), (u64::MAX, 1), (5, 20)] {
            let expected = format!("{number:0at_least$}");
            assert_eq!(decimal(number, at_least, &mut Digits::default()), expected);
        }
    }

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
