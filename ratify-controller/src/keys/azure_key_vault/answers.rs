//! What a key vault's answers hold (Azure Key Vault REST API reference), and what is wrong with them in
//! v1's words.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ratify_core::{ComponentType, Error, ErrorCode, Result};
use serde::Deserialize;

use super::{
    super::{pem, pkcs12, spki::JsonWebKey},
    Entry, NAME, VaultAnswer,
};

/// What a vault calls the two forms of a certificate with its chain.
const PKCS12: &str = "application/x-pkcs12";
const PEM: &str = "application/x-pem-file";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretBundle {
    value: Option<String>,
    content_type: Option<String>,
    id: Option<String>,
    attributes: Option<Attributes>,
}

#[derive(Deserialize)]
struct KeyBundle {
    key: Option<Key>,
    attributes: Option<Attributes>,
}

#[derive(Deserialize)]
struct Key {
    kid: Option<String>,
    #[serde(flatten)]
    key: JsonWebKey,
}

#[derive(Deserialize)]
struct CertificateBundle {
    kid: Option<String>,
    id: Option<String>,
    attributes: Option<Attributes>,
}

#[derive(Deserialize)]
struct Attributes {
    enabled: Option<bool>,
}

/// An error of the interface, as far as it tells a disabled secret from a forbidden one.
#[derive(Deserialize)]
struct Refusal {
    error: Refused,
}

#[derive(Deserialize)]
struct Refused {
    code: String,
    innererror: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    code: String,
}

/// Whether a secret is there, and may not be read since it is disabled.
pub(super) fn is_disabled(answer: &VaultAnswer) -> bool {
    let refusal = || serde_json::from_slice::<Refusal>(&answer.body).ok();
    answer.status == 403
        && refusal().is_some_and(|refusal| {
            let inner = refusal.error.innererror.map(|inner| inner.code);
            refusal.error.code == "Forbidden" && inner.as_deref() == Some("SecretDisabled")
        })
}

/// What a secret holds.
pub(super) struct SecretRead {
    pub(super) version: String,
    pub(super) enabled: bool,
    pub(super) certificates: Vec<Bytes>,
}

/// The certificates of a secret.
///
/// # Errors
/// With v1's texts: what is wrong with it.
pub(super) fn read_secret(body: &[u8], entry: &Entry) -> Result<SecretRead> {
    let name = entry.name.as_str();
    let bundle: SecretBundle = answered(body)?;
    let SecretBundle {
        value: Some(value),
        content_type: Some(content_type),
        id: Some(id),
        attributes,
    } = bundle
    else {
        return Err(unusable(format!(
            "found invalid secret bundle for certificate {name}, contentType, value, and id must not be nil"
        )));
    };
    let version = version_of(&id);
    let certificates = match content_type.as_str() {
        PKCS12 => of_pkcs12(&value, name, &version),
        PEM => of_pem(&value, name, &version),
        other => {
            let other = ratify_core::capped_line(other, 100);
            Err(unusable(format!(
                "certificate {name} version {version}, unsupported secret content type {other}, supported type are {PKCS12} and {PEM}"
            )))
        }
    };
    Ok(SecretRead { version, enabled: is_enabled(attributes), certificates: certificates? })
}

fn of_pkcs12(value: &str, name: &str, version: &str) -> Result<Vec<Bytes>> {
    let archive = STANDARD.decode(value).map_err(|_| {
        unusable(format!(
            "azure keyvault key management provider: failed to decode PKCS12 Value. Certificate {name}, version {version}"
        ))
    })?;
    let (certificates, has_key) = pkcs12::certificates(&archive).map_err(|why| {
        unusable(format!(
            "azure keyvault key management provider: failed to convert PKCS12 Value to PEM. Certificate {name}, version {version}"
        ))
        .with_source(why)
    })?;
    if has_key {
        warn_of_key(name, version);
    }
    for certificate in &certificates {
        check(certificate, name, version)?;
    }
    Ok(certificates.into_iter().map(Bytes::from).collect())
}

fn of_pem(value: &str, name: &str, version: &str) -> Result<Vec<Bytes>> {
    let blocks = pem::blocks(value).ok_or_else(|| {
        unusable(format!(
            "certificate '{name}', version '{version}': azure keyvault key management provider error, block is nil and remaining block to parse > 0"
        ))
    })?;
    let mut certificates = Vec::new();
    for block in blocks {
        match block.label.as_str() {
            "CERTIFICATE" => {
                check(&block.der, name, version)?;
                certificates.push(block.der.into());
            }
            "PRIVATE KEY" => warn_of_key(name, version),
            label => tracing::warn!(
                "certificate '{name}', version '{version}': azure keyvault key management provider detected unknown block type {}",
                ratify_core::capped_line(label, 100)
            ),
        }
    }
    Ok(certificates)
}

fn check(der: &[u8], name: &str, version: &str) -> Result<()> {
    pem::check_certificate(der).map_err(|error| {
        unusable(format!(
            "azure keyvault key management provider: failed to decode Certificate {name}, version {version}"
        ))
        .with_source(error)
    })
}

fn warn_of_key(name: &str, version: &str) {
    tracing::warn!(
        "azure keyvault key management provider: certificate {name}, version {version} private key skipped. Please see doc to learn how to create a new certificate in keyvault with non exportable keys. https://learn.microsoft.com/en-us/azure/key-vault/certificates/how-to-export-certificate?tabs=azure-cli#exportable-and-non-exportable-keys"
    );
}

/// The version, whether it is enabled, and the key where it is.
///
/// # Errors
/// Where the answer holds no key that signs.
pub(super) fn read_key(body: &[u8]) -> Result<(String, bool, Option<Bytes>)> {
    let bundle: KeyBundle = answered(body)?;
    let invalid = |why: &str| {
        ErrorCode::KeyInvalid
            .detail(format!("found invalid key bundle, {why}"))
            .from_component(ComponentType::KeyManagementProvider, NAME)
    };
    let key = bundle.key.ok_or_else(|| invalid("key must not be nil"))?;
    let version = version_of(key.kid.as_deref().unwrap_or_default());
    if !is_enabled(bundle.attributes) {
        return Ok((version, false, None));
    }
    let spki = key.key.to_spki().map_err(invalid)?;
    Ok((version, true, Some(spki.into())))
}

/// The version of a certificate, and whether it is enabled.
///
/// # Errors
/// Where the answer is none.
pub(super) fn read_certificate(body: &[u8], entry: &Entry) -> Result<(String, bool)> {
    let bundle: CertificateBundle = answered(body)?;
    let id = bundle.kid.or(bundle.id).unwrap_or_default();
    let version = version_of(&id);
    let version = if version.is_empty() { entry.version.clone() } else { version };
    Ok((version, is_enabled(bundle.attributes)))
}

/// The last part of an identifier.
fn version_of(id: &str) -> String {
    let version = id.rsplit('/').next().unwrap_or_default();
    ratify_core::capped_line(version, 127)
}

/// What is not said to be enabled is not.
fn is_enabled(attributes: Option<Attributes>) -> bool {
    attributes.and_then(|attributes| attributes.enabled).unwrap_or(false)
}

fn answered<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|_| {
        // The library's text may hold what was sent.
        ErrorCode::DataDecodingFailure
            .detail("the vault's answer is not what its interface promises")
            .from_component(ComponentType::KeyManagementProvider, NAME)
    })
}

fn unusable(detail: String) -> Error {
    ErrorCode::CertInvalid.detail(detail).from_component(ComponentType::KeyManagementProvider, NAME)
}
