//! [`KeyRings`]: what key management providers hold, as plain data, and who may use which.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;

use crate::{Basis, ComponentType, Error, ErrorCode, Result};

/// The public material of one key management provider, as it was had last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRing {
    /// Certificates, in the order in which the provider gives them.
    pub certificates: Arc<[RingCertificate]>,
    /// Public keys, in the same order.
    pub keys: Arc<[RingKey]>,
}

/// A certificate of a key management provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingCertificate {
    /// What the provider calls it; empty where its provider holds one thing only.
    pub name: String,
    /// The version that the configuration names; empty for the latest.
    pub version: String,
    /// X.509, in DER.
    pub der: Bytes,
}

/// A public key of a key management provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingKey {
    /// What the provider calls it; empty where its provider holds one thing only.
    pub name: String,
    /// The version that the provider gave.
    pub version: String,
    /// The type of the provider: `inline`, `azurekeyvault`. How a signature by the key is hashed
    /// depends on it.
    pub provider_type: String,
    /// SubjectPublicKeyInfo (RFC 5280, section 4.1), in DER.
    pub spki: Bytes,
}

/// All key management providers and legacy certificate stores, by resource: `name` for the cluster,
/// `namespace/name` for a namespace.
#[derive(Debug, Clone, Default)]
pub struct KeyRings {
    providers: BTreeMap<String, Result<Arc<KeyRing>, Arc<Error>>>,
    stores: BTreeMap<String, Result<Arc<[RingCertificate]>, Arc<Error>>>,
    own_namespace: String,
}

impl KeyRings {
    /// None yet. A certificate store that is named without a namespace is one of `own_namespace`,
    /// where Ratify runs; empty where that is not known.
    pub fn new(own_namespace: impl Into<String>) -> Self {
        Self { own_namespace: own_namespace.into(), ..Self::default() }
    }

    /// What a key management provider holds, or why nothing was ever had of it.
    pub fn insert(&mut self, resource: impl Into<String>, ring: Result<KeyRing>) {
        self.providers.insert(resource.into(), ring.map(Arc::new).map_err(Arc::new));
    }

    /// What a legacy certificate store holds, or why nothing was ever had of it.
    pub fn insert_store(
        &mut self,
        resource: impl Into<String>,
        certificates: Result<Vec<RingCertificate>>,
    ) {
        self.stores.insert(resource.into(), certificates.map(Arc::from).map_err(Arc::new));
    }

    /// There is no such key management provider any more.
    pub fn remove(&mut self, resource: &str) {
        self.providers.remove(resource);
    }

    /// There is no such certificate store any more.
    pub fn remove_store(&mut self, resource: &str) {
        self.stores.remove(resource);
    }

    /// The certificates of a key management provider, for who asks in a namespace (empty: nobody's).
    ///
    /// # Errors
    /// As v1: where the namespace has no access, where there is no such provider, or what kept the
    /// provider from having anything.
    pub fn certificates(&self, resource: &str, namespace: &str) -> Result<Arc<[RingCertificate]>> {
        let no_access = || {
            ErrorCode::OperationForbidden
                .detail(format!("Resources in namespace [{namespace}] do not have access to key management provider [{resource}]"))
                .with_remediation(format!("Make sure the key management provider: {resource} is created in the namespace: [{namespace}] or as a cluster-wide resource."))
        };
        let ring = self.provider(resource, namespace, no_access)?;
        Ok(Arc::clone(&ring.certificates))
    }

    /// The public keys of a key management provider, for who asks in a namespace.
    ///
    /// # Errors
    /// As [`KeyRings::certificates`].
    pub fn keys(&self, resource: &str, namespace: &str) -> Result<Arc<[RingKey]>> {
        let no_access = || {
            ErrorCode::OperationForbidden
                .detail(format!("The resources in namespace [{namespace}] do not have access to key management provider [{resource}]"))
                .with_remediation(format!("Make sure the key management provider [{resource}] is created in the namespace [{namespace}] or as a cluster-wide resource."))
        };
        let ring = self.provider(resource, namespace, no_access)?;
        Ok(Arc::clone(&ring.keys))
    }

    /// The certificates of a legacy certificate store. A bare name is one of the namespace that
    /// Ratify runs in; who asks in a namespace has its own stores only, and names them in full.
    ///
    /// # Errors
    /// As v1: where the name is bare and there is no such namespace, where the namespace has no
    /// access, where there is no such store, or what kept it from having anything.
    pub fn certificate_store(&self, name: &str, namespace: &str) -> Result<Arc<[RingCertificate]>> {
        let of_store = |error: Error| error.from_component(ComponentType::CertProvider, name);
        if !namespace.is_empty() && !is_of(name, namespace) {
            return Err(of_store(
                ErrorCode::OperationForbidden
                    .detail(format!(
                        "namespace: [{namespace}] does not have access to certificate store: {name}"
                    ))
                    .with_remediation(format!("Ensure the certificate store: {name} is created under namespace: [{namespace}]")),
            ));
        }
        let resource = match (name.contains('/'), self.own_namespace.as_str()) {
            (true, _) => name.to_owned(),
            (false, "") => {
                let text = format!("The given store name {name} is not namespaced");
                return Err(of_store(ErrorCode::ResourceNotFound.detail(text)));
            }
            (false, own) => format!("{own}/{name}"),
        };
        match self.stores.get(&resource) {
            Some(Ok(certificates)) => Ok(Arc::clone(certificates)),
            Some(Err(error)) => Err(again(error)),
            None => Err(of_store(
                ErrorCode::ResourceNotFound
                    .detail(format!("failed to access non-existent certificate store: {resource}")),
            )),
        }
    }

    /// Adds all keys that verdicts rest on which use those of a name, or any where there is none.
    pub fn add_basis(&self, name: Option<&str>, basis: &mut Basis) {
        let in_own = name.map(|name| format!("{}/{name}", self.own_namespace));
        let is_meant = |resource: &str| {
            name.is_none_or(|name| resource == name) || in_own.as_deref() == Some(resource)
        };
        basis.add("keys of", name.unwrap_or("*"));
        for (resource, ring) in self.providers.iter().filter(|(name, _)| is_meant(name)) {
            basis.add("key management provider", resource);
            match ring {
                Ok(ring) => {
                    ring.certificates.iter().for_each(|one| one.add_basis(basis));
                    ring.keys.iter().for_each(|one| one.add_basis(basis));
                }
                Err(error) => basis.add("error", error.to_string()),
            }
        }
        for (resource, certificates) in self.stores.iter().filter(|(name, _)| is_meant(name)) {
            basis.add("certificate store", resource);
            match certificates {
                Ok(certificates) => certificates.iter().for_each(|one| one.add_basis(basis)),
                Err(error) => basis.add("error", error.to_string()),
            }
        }
        basis.add("namespace of bare names", &self.own_namespace);
    }

    /// v1's order: access, then what went wrong, then what is there.
    fn provider(
        &self,
        resource: &str,
        namespace: &str,
        no_access: impl FnOnce() -> Error,
    ) -> Result<&KeyRing> {
        let of_provider =
            |error: Error| error.from_component(ComponentType::KeyManagementProvider, resource);
        if resource.contains('/') && !is_of(resource, namespace) {
            return Err(of_provider(no_access()));
        }
        match self.providers.get(resource) {
            Some(Ok(ring)) => Ok(ring),
            Some(Err(error)) => Err(again(error)),
            None => Err(of_provider(
                ErrorCode::ResourceNotFound
                    .detail(format!("The key management provider [{resource}] does not exist"))
                    .with_remediation(format!("Make sure the key management provider: {resource} is created in the namespace: [{namespace}] or as a cluster-wide resource.")),
            )),
        }
    }
}

impl RingCertificate {
    fn add_basis(&self, basis: &mut Basis) {
        basis.add("certificate", &self.name);
        basis.add(&self.version, &self.der);
    }
}

impl RingKey {
    fn add_basis(&self, basis: &mut Basis) {
        basis.add("key", &self.name);
        basis.add(&self.version, &self.provider_type);
        basis.add("spki", &self.spki);
    }
}

/// Whether a resource's name says that it is of the namespace, which is nobody's where it is empty.
fn is_of(resource: &str, namespace: &str) -> bool {
    let owner = resource.split_once('/').map(|(owner, _)| owner);
    !namespace.is_empty() && owner == Some(namespace)
}

/// The same error, for one more who asked.
fn again(error: &Arc<Error>) -> Error {
    Error::new(error.root().code()).with_source(Shared(Arc::clone(error)))
}

/// An error that several are told.
#[derive(Debug)]
struct Shared(Arc<Error>);

impl fmt::Display for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.0.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rings() -> KeyRings {
        let mut rings = KeyRings::new("gatekeeper-system");
        let certificate =
            RingCertificate { name: String::new(), version: String::new(), der: "c".into() };
        let key = RingKey {
            name: "k".into(),
            version: "1".into(),
            provider_type: "inline".into(),
            spki: "s".into(),
        };
        let ring = KeyRing { certificates: [certificate.clone()].into(), keys: [key].into() };
        rings.insert("shared", Ok(ring.clone()));
        rings.insert("team/own", Ok(ring));
        rings.insert(
            "broken",
            Err(ErrorCode::KeyManagementProviderFailure
                .detail("d")
                .with_source(ErrorCode::CertInvalid.detail("no PEM").with_remediation("r"))),
        );
        rings.insert_store("gatekeeper-system/certs", Ok(vec![certificate.clone()]));
        rings.insert_store("team/certs", Ok(vec![certificate]));
        rings
    }

    #[test]
    fn a_namespace_has_what_is_the_clusters_and_its_own() {
        let rings = rings();
        for (resource, namespace) in [("shared", ""), ("shared", "team"), ("team/own", "team")] {
            assert_eq!(rings.certificates(resource, namespace).unwrap().len(), 1);
            assert_eq!(rings.keys(resource, namespace).unwrap()[0].name, "k");
        }
        for (resource, namespace) in [("team/own", ""), ("team/own", "tea"), ("/own", "")] {
            let error = rings.certificates(resource, namespace).unwrap_err();
            assert_eq!(error.code(), ErrorCode::OperationForbidden, "{resource} {namespace}");
        }
    }

    #[test]
    fn refusals_have_v1s_texts() {
        let rings = rings();
        let certificates = rings.certificates("team/own", "b").unwrap_err();
        insta::assert_snapshot!(certificates, @"OPERATION_FORBIDDEN: Resources in namespace [b] do not have access to key management provider [team/own]: Make sure the key management provider: team/own is created in the namespace: [b] or as a cluster-wide resource.");
        let keys = rings.keys("team/own", "b").unwrap_err();
        insta::assert_snapshot!(keys, @"OPERATION_FORBIDDEN: The resources in namespace [b] do not have access to key management provider [team/own]: Make sure the key management provider [team/own] is created in the namespace [b] or as a cluster-wide resource.");
        let absent = rings.keys("absent", "b").unwrap_err();
        insta::assert_snapshot!(absent, @"RESOURCE_NOT_FOUND: The key management provider [absent] does not exist: Make sure the key management provider: absent is created in the namespace: [b] or as a cluster-wide resource.");
    }

    #[test]
    fn what_went_wrong_is_told_to_each_who_asks() {
        let rings = rings();
        for _ in 0..2 {
            let error = rings.keys("broken", "").unwrap_err();
            assert_eq!(error.to_string(), "CERT_INVALID: d: no PEM: r");
            assert_eq!(error.root().code(), ErrorCode::CertInvalid);
        }
    }

    #[test]
    fn certificate_stores_are_a_namespaces_own_and_bare_names_are_ratifys() {
        let rings = rings();
        let found = |name, namespace| rings.certificate_store(name, namespace).map(|all| all.len());
        assert_eq!(found("certs", "").unwrap(), 1);
        assert_eq!(found("team/certs", "").unwrap(), 1, "any namespace's, for who asks in none");
        assert_eq!(found("team/certs", "team").unwrap(), 1);
        let bare = found("certs", "team").unwrap_err();
        insta::assert_snapshot!(bare, @"OPERATION_FORBIDDEN: namespace: [team] does not have access to certificate store: certs: Ensure the certificate store: certs is created under namespace: [team]");
        let absent = found("absent", "").unwrap_err();
        insta::assert_snapshot!(absent, @"RESOURCE_NOT_FOUND: failed to access non-existent certificate store: gatekeeper-system/absent");
        let nowhere = KeyRings::default().certificate_store("certs", "").unwrap_err();
        insta::assert_snapshot!(nowhere, @"RESOURCE_NOT_FOUND: The given store name certs is not namespaced");
    }

    fn basis_of(rings: &KeyRings, name: Option<&str>) -> Vec<u8> {
        let mut basis = Basis::default();
        rings.add_basis(name, &mut basis);
        basis.bytes().unwrap().to_vec()
    }

    #[test]
    fn who_names_keys_rests_on_those_and_on_no_others() {
        let (before, mut after) = (rings(), rings());
        after.insert("team/own", Ok(KeyRing::default()));
        after.insert_store("gatekeeper-system/certs", Ok(Vec::new()));
        let is_same = |after: &KeyRings, name| basis_of(&before, name) == basis_of(after, name);
        for name in ["shared", "team/certs", "absent"] {
            assert!(is_same(&after, Some(name)), "{name}");
        }
        for name in [Some("team/own"), Some("certs"), Some("gatekeeper-system/certs"), None] {
            assert!(!is_same(&after, name), "{name:?}");
        }
        after.remove("shared");
        after.remove_store("team/certs");
        assert!(!is_same(&after, Some("shared")) && !is_same(&after, Some("team/certs")));
    }

    #[test]
    fn every_key_and_every_error_is_part_of_what_decides() {
        let basis_of = |rings: &KeyRings| basis_of(rings, None);
        let mut seen = vec![basis_of(&rings()), basis_of(&KeyRings::default())];
        let changes: [fn(&mut KeyRings); 4] = [
            |rings| rings.insert("shared", Ok(KeyRing::default())),
            |rings| rings.insert("broken", Err(ErrorCode::CertInvalid.detail("another"))),
            |rings| rings.insert_store("team/certs", Ok(Vec::new())),
            |rings| rings.own_namespace = "other".into(),
        ];
        for change in changes {
            let mut rings = rings();
            change(&mut rings);
            seen.push(basis_of(&rings));
        }
        for (index, one) in seen.iter().enumerate() {
            assert!(!seen[index + 1..].contains(one), "{index}");
        }
    }
}
