//! The provider `inline`: certificates or a key that stand in the resource.

use ratify_core::{KeyRing, Result, RingCertificate, RingKey};
use serde::Deserialize;
use serde_json::Value;

use super::{config_invalid, parse, pem};

/// The type's name.
pub(super) const NAME: &str = "inline";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Parameters {
    content_type: Option<String>,
    value: Option<String>,
}

/// What the parameters hold. It has neither a name nor a version.
///
/// # Errors
/// With v1's texts: a parameter is missing, or is none.
pub(super) fn read(parameters: &Value) -> Result<KeyRing> {
    let Parameters { content_type, value } = parse(parameters)?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let content_type =
        given(content_type).ok_or_else(|| config_invalid("contentType parameter is not set"))?;
    let value = given(value).ok_or_else(|| config_invalid("value parameter is not set"))?;
    let mut ring = KeyRing::default();
    match content_type.as_str() {
        "certificate" => {
            let unnamed =
                |der| RingCertificate { name: String::new(), version: String::new(), der };
            ring.certificates = pem::certificates(&value)?.into_iter().map(unnamed).collect();
        }
        "key" => {
            let key = RingKey {
                name: String::new(),
                version: String::new(),
                provider_type: NAME.into(),
                spki: pem::public_key(&value)?,
            };
            ring.keys = [key].into();
        }
        other => {
            let other = ratify_core::capped_line(other, 100);
            return Err(config_invalid(format!("content type {other} is not supported")));
        }
    }
    Ok(ring)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(parameters: Value) -> String {
        read(&parameters).unwrap_err().to_string()
    }

    #[test]
    fn certificates_or_a_key_have_no_name() {
        let made = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
        let twice = format!("{0}{0}", made.cert.pem());
        let ring = read(&json!({"contentType": "certificate", "value": twice, "x": 1})).unwrap();
        assert_eq!((ring.certificates.len(), ring.keys.len()), (2, 0));
        assert_eq!(ring.certificates[0].der, made.cert.der().as_ref());
        let pem = made.signing_key.public_key_pem();
        let ring = read(&json!({"contentType": "key", "value": pem})).unwrap();
        assert_eq!((ring.certificates.len(), ring.keys.len()), (0, 1));
        let key = &ring.keys[0];
        let told = (key.name.as_str(), key.version.as_str(), key.provider_type.as_str());
        assert_eq!(told, ("", "", "inline"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_refused_in_v1s_words() {
        insta::assert_snapshot!(refused(json!({"value": "x"})), @"CONFIG_INVALID: contentType parameter is not set");
        insta::assert_snapshot!(refused(json!({"contentType": "key", "value": ""})), @"CONFIG_INVALID: value parameter is not set");
        insta::assert_snapshot!(refused(json!({"contentType": "Key", "value": "x"})), @"CONFIG_INVALID: content type Key is not supported");
        insta::assert_snapshot!(refused(json!({"contentType": "certificate", "value": "x"})), @"CERT_INVALID: failed to decode pem block");
        insta::assert_snapshot!(refused(json!({"contentType": "key", "value": "x"})), @"KEY_INVALID: error parsing public key: PEM decoding failed");
        insta::assert_snapshot!(refused(json!({"contentType": 7})), @r"CONFIG_INVALID: failed to parse AKV key management provider configuration: invalid type: integer `7`, expected a string");
    }
}
