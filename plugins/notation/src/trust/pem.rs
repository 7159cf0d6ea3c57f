//! Blocks of PEM (RFC 7468) in a file. Text between them is left out, as Go leaves it out.

use base64::{Engine as _, engine::general_purpose::STANDARD};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// The bytes of each block, whatever it is called.
///
/// # Errors
/// When a block has no end, or holds something else than Base64.
pub(super) fn blocks(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    // A file in DER is no text.
    let Ok(text) = std::str::from_utf8(bytes) else { return Ok(Vec::new()) };
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        let label = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES));
        let Some(label) = label else { continue };
        let end = format!("{END}{label}{DASHES}");
        let mut encoded = String::new();
        loop {
            match lines.next() {
                Some(line) if line == end => break,
                Some(line) => encoded.push_str(line.trim()),
                None => return Err("a PEM block has no end".to_owned()),
            }
        }
        let decoded = STANDARD.decode(&encoded);
        blocks.push(decoded.map_err(|error| format!("a PEM block is no Base64: {error}"))?);
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_text() {
        let text = "subject=x\n-----BEGIN CERTIFICATE-----\r\nAQI=\r\n-----END CERTIFICATE-----\nmore\n-----BEGIN X-----\nAw==\n-----END X-----";
        assert_eq!(blocks(text.as_bytes()).unwrap(), [vec![1, 2], vec![3]]);
        assert_eq!(blocks(b"\xff\xfe").unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_block_that_is_cut_or_no_base64_is_refused() {
        for text in [
            "-----BEGIN A-----\nAQI=\n",
            "-----BEGIN A-----\nAQI=\n-----END B-----\n",
            "-----BEGIN A-----\n!\n-----END A-----",
        ] {
            assert!(blocks(text.as_bytes()).is_err(), "{text}");
        }
    }
}
