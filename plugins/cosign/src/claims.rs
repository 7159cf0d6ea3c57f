//! What a signature says: the payload of a simple signing document (cosign, `specs/SIGNATURE_SPEC.md`).

use ratify_core::Digest;
use serde::Deserialize;
use serde_json::Value;

use crate::json;

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

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(default)]
    image: Image,
}

#[derive(Deserialize, Default)]
struct Image {
    #[serde(default, rename = "docker-manifest-digest")]
    digest: String,
}

/// Whether what was signed is this image. Under which name does not matter: the digest is the image,
/// wherever it was copied to.
///
/// # Errors
/// Where the payload names another digest.
pub(crate) fn check(payload: &[u8], image: &Digest) -> Result<(), ClaimError> {
    let document: Value = json::read(payload)?;
    json::check_spelling(Some(&document), "critical")?;
    json::check_spelling(document.get("critical"), "image")?;
    json::check_spelling(document.pointer("/critical/image"), "docker-manifest-digest")?;
    let claimed = Payload::deserialize(document)?.critical.image.digest;
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
        assert_eq!(
            claim(r#"{"critical":{}}"#).unwrap_err(),
            "invalid or missing digest in claim: "
        );
    }

    #[test]
    fn a_payload_means_one_thing() {
        let own = of_digest(&format!("sha256:{}", "ab".repeat(32)));
        let twice = own.replacen("\"image\":", "\"image\":{},\"image\":", 1);
        let other = format!("\"docker-manifest-digest\":\"sha256:{}\"", "cd".repeat(32));
        for (key, spelling) in [
            ("critical", "Critical"),
            ("image", "IMAGE"),
            ("docker-manifest-digest", "Docker-manifest-digest"),
        ] {
            let at = own.find(&format!("\"{key}\"")).unwrap();
            let value = if key == "docker-manifest-digest" {
                format!("\"sha256:{}\"", "cd".repeat(32))
            } else {
                format!("{{\"image\":{{{other}}},{other}}}")
            };
            let both = format!("{}\"{spelling}\":{value},{}", &own[..at], &own[at..]);
            assert_eq!(
                claim(&both).unwrap_err(),
                format!("the payload is malformed: the name {spelling:?} is not written {key:?}"),
            );
        }
        let whole_twice = own.replacen("{\"critical\":", "{\"critical\":{},\"critical\":", 1);
        for payload in
            [twice, whole_twice, format!("{own}{own}"), "[]".into(), String::new(), "{}".into()]
        {
            assert!(
                claim(&payload).unwrap_err().starts_with("the payload is malformed: "),
                "{payload}"
            );
        }
    }
}
