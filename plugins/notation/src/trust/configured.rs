//! [`CertificateStores`]: `verificationCertStores`, which names the key management providers of each
//! trust store, in its form by type or in the legacy one without types.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{go, policy::TrustStoreType};

/// Resources by the type and name of a trust store.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CertificateStores(BTreeMap<(&'static str, String), Vec<String>>);

/// What is wrong with the key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StoresError {
    /// Types beside names that are none.
    Mixed,
    /// Not names of stores with lists of resources; with what was made of it, as v1 shows it.
    Shape(String),
}

impl CertificateStores {
    /// Reads the value of the key. The names of types are taken to the letter; any other name makes it
    /// the legacy form, which is for authorities.
    pub(crate) fn read(stores: &Map<String, Value>) -> Result<Self, StoresError> {
        let of_types = stores.keys().filter(|key| TrustStoreType::of(key).is_some()).count();
        let by_type = match of_types {
            _ if stores.is_empty() => return Ok(Self::default()),
            0 => Map::from_iter([("ca".to_owned(), Value::Object(stores.clone()))]),
            all if all == stores.len() => stores.clone(),
            _ => return Err(StoresError::Mixed),
        };
        let wrong = || StoresError::Shape(go::map(&by_type));
        let mut groups = BTreeMap::new();
        for (type_, named) in &by_type {
            let type_ = TrustStoreType::of(type_).ok_or_else(wrong)?;
            for (name, resources) in named.as_object().ok_or_else(wrong)? {
                let resources = resources.as_array().ok_or_else(wrong)?;
                let texts = resources.iter().map(|one| one.as_str().map(str::to_owned));
                let texts: Option<Vec<String>> = texts.collect();
                groups.insert((type_.name(), name.clone()), texts.ok_or_else(wrong)?);
            }
        }
        Ok(Self(groups))
    }

    /// Every resource that is named.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &str> {
        self.0.values().flatten().map(String::as_str)
    }

    /// The resources of a trust store; none where nothing is said of it.
    pub(crate) fn group(&self, type_: TrustStoreType, name: &str) -> &[String] {
        self.0.get(&(type_.name(), name.to_owned())).map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(stores: &Value) -> Result<CertificateStores, StoresError> {
        CertificateStores::read(stores.as_object().unwrap())
    }

    #[test]
    fn both_forms_are_read() {
        let by_type =
            json!({"ca": {"certs": ["a", "b"]}, "tsa": {"certs": ["c"]}, "signingAuthority": {}});
        let by_type = read(&by_type).unwrap();
        assert_eq!(by_type.group(TrustStoreType::Ca, "certs"), ["a", "b"]);
        assert_eq!(by_type.group(TrustStoreType::Tsa, "certs"), ["c"]);
        assert_eq!(by_type.resources().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(by_type.group(TrustStoreType::SigningAuthority, "certs").is_empty());
        let legacy = read(&json!({"certs": ["a"], "more": []})).unwrap();
        assert_eq!(legacy.group(TrustStoreType::Ca, "certs"), ["a"]);
        assert!(legacy.group(TrustStoreType::Ca, "more").is_empty());
        assert!(legacy.group(TrustStoreType::Tsa, "certs").is_empty());
    }

    #[test]
    fn what_is_neither_is_refused() {
        assert_eq!(read(&json!({"ca": {"a": []}, "b": []})), Err(StoresError::Mixed));
        let shape = |stores: &Value| match read(stores) {
            Err(StoresError::Shape(shown)) => shown,
            other => panic!("{other:?}"),
        };
        // What v1's chart renders without certificates.
        assert_eq!(shape(&json!({"certs": null})), "map[ca:map[certs:<nil>]]");
        assert_eq!(shape(&json!({"ca": ["a"]})), "map[ca:[a]]");
        assert_eq!(shape(&json!({"tsa": {"a": [1]}})), "map[tsa:map[a:[1]]]");
        assert_eq!(
            shape(&json!({"signingauthority": {"a": ["b"]}})),
            "map[ca:map[signingauthority:map[a:[b]]]]"
        );
    }
}
