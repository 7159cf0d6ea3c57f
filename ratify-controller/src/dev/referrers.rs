//! The Referrers API: what is attached to a manifest, filtered and in pages
//! (OCI distribution specification, "Listing Referrers").

use std::collections::BTreeMap;

use http::{StatusCode, header};
use ratify_core::{Descriptor, Digest, media_type};
use serde_json::{Value, json};

use super::{
    answer::{Answer, OCI_FILTERS, Refusal, set, with_bytes},
    storage::Storage,
    upload::value,
};

/// What a listing needs to know of a manifest.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) subject: Option<Digest>,
    pub(super) artifact_type: String,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Facts {
    /// Takes the facts out of a manifest; a document without any has none.
    pub(super) fn read(media_type: &str, bytes: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let subject = document["subject"]["digest"].as_str().and_then(|text| text.parse().ok());
        // The config stands in for the artifact type in image manifests only.
        let config = match media_type {
            media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => {
                &document["config"]["mediaType"]
            }
            _ => &Value::Null,
        };
        let own = document["artifactType"].as_str().filter(|text| !text.is_empty());
        let artifact_type = own.or(config.as_str()).unwrap_or_default().to_owned();
        let annotations = document["annotations"].as_object().into_iter().flatten();
        let annotations = annotations
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        Self { subject, artifact_type, annotations }
    }
}

/// end-12: one page of the referrers of a digest. `page_size` is the registry's; the query may
/// ask for fewer.
pub(super) fn list(
    storage: &Storage,
    name: &str,
    subject: &Digest,
    query: &[(String, String)],
    page_size: usize,
) -> Answer {
    let filter = value(query, "artifactType").filter(|filter| !filter.is_empty());
    let page_size = page_length(query, page_size)?;
    let last = value(query, "last").unwrap_or_default();
    let mut found: Vec<Descriptor> = storage
        .with_subject(name)
        .into_iter()
        .filter(|manifest| manifest.facts.subject.as_ref() == Some(subject))
        .map(|manifest| manifest.descriptor())
        .filter(|descriptor| filter.is_none_or(|filter| descriptor.artifact_type == filter))
        .filter(|descriptor| descriptor.digest.as_str() > last)
        .collect();
    let more = found.len() > page_size;
    found.truncate(page_size);
    let mut response = with_bytes(StatusCode::OK, media_type::OCI_INDEX, index(&found).into());
    let headers = response.headers_mut();
    if filter.is_some() {
        set(headers, OCI_FILTERS, "artifactType");
    }
    if let Some(last) = found.last().filter(|_| more) {
        let mut next = url::form_urlencoded::Serializer::new(String::new());
        if let Some(filter) = filter {
            next.append_pair("artifactType", filter);
        }
        next.append_pair("n", &page_size.to_string()).append_pair("last", last.digest.as_str());
        let link = format!("</v2/{name}/referrers/{subject}?{}>; rel=\"next\"", next.finish());
        set(headers, header::LINK, &link);
    }
    Ok(response)
}

/// An image index over descriptors, as the Referrers API answers and the tag schema keeps it.
pub(super) fn index(manifests: &[Descriptor]) -> Vec<u8> {
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests})
        .to_string()
        .into_bytes()
}

/// How many entries a page has: `n` of the query, at most the registry's own size.
pub(super) fn page_length(query: &[(String, String)], own: usize) -> Result<usize, Refusal> {
    let Some(text) = value(query, "n") else { return Ok(own) };
    match text.parse::<usize>() {
        Ok(asked) => Ok(asked.min(own)),
        Err(_) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "PAGINATION_NUMBER_INVALID",
            "the number of entries, n, is a whole number",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_artifact_type_is_the_documents_own_or_that_of_its_config() {
        let facts = |media_type, text: &str| Facts::read(media_type, text.as_bytes()).artifact_type;
        let both = r#"{"artifactType":"a","config":{"mediaType":"c"}}"#;
        let config = r#"{"config":{"mediaType":"c"}}"#;
        assert_eq!(facts(media_type::OCI_MANIFEST, both), "a");
        assert_eq!(facts(media_type::OCI_MANIFEST, config), "c");
        assert_eq!(facts(media_type::OCI_INDEX, config), "");
        assert_eq!(facts(media_type::OCI_ARTIFACT, both), "a");
    }

    #[test]
    fn a_document_that_is_no_manifest_has_no_facts() {
        for text in ["", "[]", "<html>", r#"{"subject":"x","annotations":3}"#] {
            assert_eq!(Facts::read(media_type::OCI_MANIFEST, text.as_bytes()), Facts::default());
        }
    }
}
