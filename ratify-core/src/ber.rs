//! Lengths in BER (X.690, section 8.1.3), of which DER has one form: the shortest.

/// The length that bytes begin with, and what is behind it; no length where only an end says it. `None`
/// where the bytes end before, or no memory is so long.
pub fn length(bytes: &[u8]) -> Option<(Option<usize>, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    match first {
        0..0x80 => Some((Some(usize::from(*first)), rest)),
        0x80 => Some((None, rest)),
        _ => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = octets.iter().try_fold(0_usize, |length, octet| {
                length.checked_mul(256)?.checked_add(usize::from(*octet))
            });
            Some((Some(length?), rest))
        }
    }
}

/// Writes a length as DER has it.
pub fn push_length(length: usize, to: &mut Vec<u8>) {
    let octets = length.to_be_bytes();
    let octets = &octets[length.leading_zeros() as usize / 8..];
    match octets {
        [] => to.push(0),
        [short @ 0..0x80] => to.push(*short),
        _ => {
            // They are eight at most.
            to.push(0x80 | u8::try_from(octets.len()).unwrap_or(8));
            to.extend_from_slice(octets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_read_as_it_is_written() {
        for known in [0, 1, 127, 128, 255, 256, 65_535, 65_536, usize::MAX] {
            let mut written = Vec::new();
            push_length(known, &mut written);
            written.push(7);
            assert_eq!(length(&written), Some((Some(known), &[7][..])), "{known}");
        }
    }

    #[test]
    fn a_length_may_be_longer_than_it_needs_be_or_be_none() {
        for (bytes, expected) in [
            (&[0x81, 1, 7][..], Some((Some(1), &[7][..]))),
            (&[0x83, 0, 0, 11], Some((Some(11), &[]))),
            (&[0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3], Some((Some(3), &[]))),
            (&[0x80, 7], Some((None, &[7]))),
            (&[], None),
            (&[0x81], None),
            (&[0x82, 1], None),
            (&[0xff; 9], None),
            (&[0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0], None),
        ] {
            assert_eq!(length(bytes), expected, "{bytes:?}");
        }
    }
}
