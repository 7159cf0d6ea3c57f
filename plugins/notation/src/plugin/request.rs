//! What a plugin is asked by `verify-signature`: the signature, and whom its verifier trusts. Each field is
//! there, or missing, as notation-go has it, for plugins are tried with that.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ratify_core::{Context, capped_line, go_json};
use serde_json::{Map, Value, json};

use super::{CONTRACT, Capability, PluginCall};
use crate::{
    envelope::{Attribute, Envelope, PAYLOAD, SigningScheme},
    go,
    moment::Moment,
    refusal::Result,
};

/// The time that Go writes where there is none. A plugin may rely on that one is there.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Asks about an envelope. `attributes` are those that only the plugin understands.
pub(crate) fn verify_signature<'a>(
    envelope: &Envelope,
    attributes: &[&Attribute],
    identities: &[String],
    capabilities: &[Capability],
    config: &Value,
    context: &'a Context,
) -> Result<PluginCall<'a>> {
    let mut critical = json!({
        "contentType": PAYLOAD,
        "signingScheme": envelope.scheme.name(),
        "expiry": envelope.expiry.map_or(NO_TIME.to_owned(), Moment::rfc3339_nano),
    });
    if envelope.scheme == SigningScheme::SigningAuthority {
        critical["authenticSigningTime"] = envelope.signing_time.rfc3339_nano().into();
    }
    if !attributes.is_empty() {
        critical["extendedAttributes"] = Value::Object(values(attributes)?);
    }
    let unprocessed: Vec<&str> = attributes.iter().map(|one| one.key.as_str()).collect();
    let chain = envelope.certificates.iter().map(|one| STANDARD.encode(one.der()));
    let capabilities = capabilities.iter().map(|capability| capability.name());
    let mut request = json!({
        "contractVersion": CONTRACT,
        "signature": {
            "criticalAttributes": critical,
            // An empty list of Go's.
            "unprocessedAttributes": if unprocessed.is_empty() { Value::Null } else { unprocessed.into() },
            "certificateChain": chain.collect::<Vec<_>>(),
        },
        "trustPolicy": {
            "trustedIdentities": identities,
            "signatureVerification": capabilities.collect::<Vec<_>>(),
        },
    });
    if !config.is_null() {
        request["pluginConfig"] = config.clone();
    }
    let stdin = go_json::to_string(&request).map_err(|error| error.to_string())?;
    Ok(PluginCall { command: "verify-signature", stdin, context })
}

fn values(attributes: &[&Attribute]) -> Result<Map<String, Value>> {
    let mut values = Map::new();
    for attribute in attributes {
        let Some(value) = &attribute.value else {
            let shown = go::quoted(&capped_line(&attribute.key, 200));
            let text = format!("the value of the attribute {shown} has no form in JSON");
            return Err(text.into());
        };
        values.insert(attribute.key.clone(), value.clone());
    }
    Ok(values)
}
