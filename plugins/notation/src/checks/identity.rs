//! Whether the certificate that signed is of somebody whom the statement names.

use crate::{
    certificate::DistinguishedName,
    envelope::Envelope,
    go::quoted,
    policy::{Statement, X509_SUBJECT},
    refusal::Result,
};

/// Compares the subject of the leaf with each identity of the statement.
pub(super) fn check(statement: &Statement, envelope: &Envelope) -> Result<()> {
    if statement.identities.iter().any(|identity| identity == "*") {
        return Ok(());
    }
    let policy = quoted(&statement.name);
    let names = statement.identities.iter().filter_map(|identity| {
        let (prefix, value) = identity.split_once(':')?;
        (prefix == X509_SUBJECT).then(|| DistinguishedName::parse(value))
    });
    let names: Vec<DistinguishedName> = names.collect::<Result<_, _>>()?;
    if names.is_empty() {
        let text =
            format!("no x509 trusted identities are configured in the trust policy {policy}");
        return Err(text.into());
    }
    let subject = envelope.leaf().map(|leaf| leaf.subject.as_str()).unwrap_or_default();
    let subject = DistinguishedName::parse(subject).map_err(|error| {
        format!(
            "error while parsing the certificate subject from the digital signature. error : {}",
            quoted(&error)
        )
    })?;
    if names.iter().any(|name| name.is_part_of(&subject)) {
        return Ok(());
    }
    let shown: Vec<String> = names.iter().map(DistinguishedName::quoted).collect();
    Err(format!(
        "signing certificate from the digital signature does not match the X.509 trusted identities [{}] defined in the trust policy {policy}",
        shown.join(" ")
    )
    .into())
}
