//! [`named_digest`]: what image a payload is about that cosign signs ("simple signing"; cosign,
//! `specs/SIGNATURE_SPEC.md`).

use std::borrow::Cow;

use serde_json::{Error, Value};

use crate::{
    go_json,
    strict_json::{self, Names},
};

/// The media type of such a payload.
pub const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Where it names the image.
const PLACE: [&str; 3] = ["critical", "image", "docker-manifest-digest"];

/// The digest of the image, as it is written, where the payload names one.
///
/// # Errors
/// When it is malformed, or means one thing to one reader and something else to another: Go takes
/// `Critical` for `critical`, and the last of both.
pub fn named_digest(payload: &[u8]) -> Result<Option<String>, Error> {
    let document: Value = strict_json::read_by(payload, &check_spelling)?;
    let named = PLACE.iter().try_fold(&document, |value, key| value.get(key));
    Ok(named.and_then(Value::as_str).map(str::to_owned))
}

fn check_spelling(within: &[Cow<'_, str>], names: &Names<'_>) -> Result<(), String> {
    let key = PLACE.get(within.len()).filter(|_| *within == PLACE[..within.len()]);
    let is_another = |name: &&Cow<'_, str>| key.is_some_and(|key| go_json::is_misspelt(name, key));
    match (key, names.iter().find(is_another)) {
        (Some(key), Some(name)) => Err(format!("the name {name:?} is not written {key:?}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str =
        r#"{"critical":{"image":{"docker-manifest-digest":"d"},"type":"t"},"optional":null}"#;

    fn named(payload: &str) -> Result<Option<String>, String> {
        named_digest(payload.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_image_is_named_in_one_place() {
        assert_eq!(named(OWN), Ok(Some("d".to_owned())));
        for other in [
            "{}",
            "[]",
            r#"{"critical":{}}"#,
            r#"{"critical":{"image":"d"}}"#,
            r#"{"critical":{"image":{"docker-manifest-digest":1}}}"#,
            // serde takes the members of a list for those of an object.
            r#"[[["d"]]]"#,
            r#"{"critical":[{"image":{"docker-manifest-digest":"d"}}]}"#,
            r#"{"image":{"docker-manifest-digest":"d"}}"#,
        ] {
            assert_eq!(named(other), Ok(None), "{other}");
        }
    }

    #[test]
    fn a_payload_means_one_thing() {
        for (key, spelling) in [
            ("critical", "Critical"),
            ("image", "IMAGE"),
            ("docker-manifest-digest", "Docker-manifest-digest"),
            ("docker-manifest-digest", "doc\u{212a}er-manifest-digest"),
        ] {
            let at = OWN.find(&format!("\"{key}\"")).unwrap();
            let both = format!("{}\"{spelling}\":0,{}", &OWN[..at], &OWN[at..]);
            let refused = named(&both).unwrap_err();
            let reason = format!("the name {spelling:?} is not written {key:?} at line 1");
            assert!(refused.starts_with(&reason), "{refused}");
            let twice = both.replacen(spelling, key, 1);
            assert!(named(&twice).unwrap_err().starts_with("the key "), "{twice}");
        }
        let elsewhere = OWN.replace("null", r#"{"Critical":0,"Image":0}"#);
        assert_eq!(named(&elsewhere), Ok(Some("d".to_owned())));
        for malformed in [String::new(), format!("{OWN}{OWN}")] {
            assert!(named(&malformed).is_err(), "{malformed}");
        }
    }
}
