//! [`shortest`]: a token whose lengths are written longer than they need be (BER, X.690 section 8.1.3), as
//! DER has them. Nothing else of BER is read.

use ratify_core::ber;

/// The deepest nesting. A token has some ten levels.
const DEEPEST: usize = 32;
/// Set in the first byte of what consists of parts.
const CONSTRUCTED: u8 = 0x20;
/// In the first byte of what has a number of more than one byte, which nothing in a token has.
const LONG_TAG: u8 = 0x1f;

/// The same with each length in its shortest form. What has no parts is left as it is: what is signed of a
/// token stands in there.
///
/// # Errors
/// Where it is cut off, nested too deep, or has an end in the place of a length.
pub(super) fn shortest(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut written = Vec::with_capacity(bytes.len());
    write_all(bytes, 0, &mut written)?;
    Ok(written)
}

fn write_all(mut bytes: &[u8], depth: usize, written: &mut Vec<u8>) -> Result<(), String> {
    if depth > DEEPEST {
        return Err(format!("it is nested deeper than {DEEPEST} levels"));
    }
    while let Some((&tag, rest)) = bytes.split_first() {
        if tag & LONG_TAG == LONG_TAG {
            return Err("it has a tag of more than one byte".to_owned());
        }
        let (length, rest) = ber::length(rest).ok_or_else(cut_off)?;
        let length = length.ok_or_else(|| {
            "asn1: structure error: decoding BER length octets: indefinite length not supported"
                .to_owned()
        })?;
        let (content, rest) = rest.split_at_checked(length).ok_or_else(cut_off)?;
        written.push(tag);
        if tag & CONSTRUCTED == 0 {
            ber::push_length(content.len(), written);
            written.extend_from_slice(content);
        } else {
            let mut parts = Vec::new();
            write_all(content, depth + 1, &mut parts)?;
            ber::push_length(parts.len(), written);
            written.append(&mut parts);
        }
        bytes = rest;
    }
    Ok(())
}

fn cut_off() -> String {
    "it ends before its length".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_become_the_shortest_and_contents_stay() {
        // A sequence of a byte string that looks like a long length, and an empty set.
        let long = [0x30, 0x83, 0, 0, 11, 4, 0x81, 4, 0x30, 0x81, 1, 7, 0x31, 0x82, 0, 0];
        let short = [0x30, 8, 4, 4, 0x30, 0x81, 1, 7, 0x31, 0];
        assert_eq!(shortest(&long).unwrap(), short);
        assert_eq!(shortest(&short).unwrap(), short);
        for length in [0, 1, 127, 128, 255, 256, 65_536] {
            let mut whole = vec![4];
            ber::push_length(length, &mut whole);
            whole.resize(whole.len() + length, 0x80);
            assert_eq!(shortest(&whole).unwrap(), whole, "{length}");
        }
    }

    #[test]
    fn what_is_no_length_is_refused_and_nothing_is_too_deep_for_the_stack() {
        for (bytes, reason) in [
            (&[0x30, 0x80, 4, 1, 7, 0, 0][..], "indefinite length not supported"),
            (&[0x30], "ends before"),
            (&[0x30, 0x82, 1], "ends before"),
            (&[0x30, 5, 4, 1, 7], "ends before"),
            (&[0x30, 3, 4, 9, 7], "ends before"),
            (&[4, 0xff], "ends before"),
            (&[0x1f, 0x81, 1, 0], "more than one byte"),
        ] {
            assert!(shortest(bytes).unwrap_err().contains(reason), "{bytes:?}");
        }
        let mut long = vec![4, 0x89];
        long.extend([0xff; 9]);
        assert!(shortest(&long).unwrap_err().contains("ends before"));
        let mut deep = vec![5, 0];
        for _ in 0..1000 {
            let mut outer = vec![0x30];
            ber::push_length(deep.len(), &mut outer);
            outer.append(&mut deep);
            deep = outer;
        }
        assert!(shortest(&deep).unwrap_err().contains("nested deeper"));
    }
}
