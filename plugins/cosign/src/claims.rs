//! Whether what was signed is the image: its digest stands in the payload.

use ratify_core::{Digest, simple_signing};

/// Why a payload is not about the image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    /// It is of another shape, or means more than one thing.
    #[error("the payload is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It names another image, or none.
    #[error("invalid or missing digest in claim: {0}")]
    Digest(String),
}

/// Whether what was signed is this image. Under which name does not matter: the digest is the image,
/// wherever it was copied to.
///
/// # Errors
/// Where the payload names another digest.
pub(crate) fn check(payload: &[u8], image: &Digest) -> Result<(), ClaimError> {
    let claimed = simple_signing::named_digest(payload)?.unwrap_or_default();
    if claimed == image.as_str() {
        return Ok(());
    }
    Err(ClaimError::Digest(ratify_core::capped_line(&claimed, 200)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(payload: &str) -> Result<(), String> {
        let image: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        check(payload.as_bytes(), &image).map_err(|error| error.to_string())
    }

    fn of_digest(digest: &str) -> String {
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":""}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
        )
    }

    #[test]
    fn only_the_image_itself_is_claimed() {
        let own = format!("sha256:{}", "ab".repeat(32));
        claim(&of_digest(&own)).unwrap();
        let others = [
            format!("sha256:{}", "ac".repeat(32)),
            format!("SHA256:{}", "ab".repeat(32)),
            "ab".repeat(32),
            format!("{own} "),
            String::new(),
        ];
        for digest in others {
            let refused = claim(&of_digest(&digest)).unwrap_err();
            assert_eq!(refused, format!("invalid or missing digest in claim: {digest}"));
        }
        for none in ["{}", "[]", r#"{"critical":{}}"#] {
            assert_eq!(claim(none).unwrap_err(), "invalid or missing digest in claim: ");
        }
        let both = of_digest(&own).replacen("\"image\":", "\"Image\":{},\"image\":", 1);
        for malformed in [String::new(), both] {
            let refused = claim(&malformed).unwrap_err();
            assert!(refused.starts_with("the payload is malformed: "), "{refused}");
        }
    }
}
