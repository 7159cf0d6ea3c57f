//! [`SecretSource`]: where the secrets of a cluster are read, and whose may be read. This crate
//! knows no Kubernetes; the controller reads them from the API server, tests from a map.

use std::{collections::BTreeMap, fmt, sync::Arc};

use ratify_core::{BoxFuture, capped_line};

/// Longer names and namespaces are none (RFC 1123, as Kubernetes has it).
const MAX_NAME_BYTES: usize = 253;
const MAX_NAMESPACE_BYTES: usize = 63;

/// Reads single objects of a cluster, each time anew.
pub trait SecretSource: Send + Sync {
    /// A secret; `None` where there is none of that name.
    fn secret<'a>(
        &'a self,
        at: &'a ObjectName,
    ) -> BoxFuture<'a, Result<Option<ClusterSecret>, SecretError>>;

    /// The names in a service account's `imagePullSecrets`, in their order; `None` where there is
    /// no such account.
    fn service_account<'a>(
        &'a self,
        at: &'a ObjectName,
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, SecretError>>;
}

/// The place of a namespaced object. Both parts are names as Kubernetes allows them, so that
/// neither can lead a URL elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectName {
    namespace: String,
    name: String,
}

/// A secret of a cluster. `Debug` shows its type alone.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ClusterSecret {
    /// Its `type`: `kubernetes.io/dockerconfigjson`.
    pub kind: String,
    /// Its `data`, decoded.
    pub data: BTreeMap<String, Vec<u8>>,
}

/// Why a source could not be read: a clause that holds neither a secret nor the body of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(String);

/// Whose secrets a provider may read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SecretScope {
    /// Those of any namespace that the configuration names: a cluster's resource, or a file.
    #[default]
    Cluster,
    /// Those of this namespace alone: a resource of a namespace.
    Namespace(String),
}

impl SecretScope {
    /// Whose work is done in this scope; empty for the cluster's.
    pub fn tenant(&self) -> Arc<str> {
        match self {
            Self::Cluster => "".into(),
            Self::Namespace(name) => name.as_str().into(),
        }
    }
}

impl ObjectName {
    /// The name of an object in a namespace.
    ///
    /// # Errors
    /// When either is no name that Kubernetes allows.
    pub fn new(namespace: &str, name: &str) -> Result<Self, SecretError> {
        let is_namespace = namespace.len() <= MAX_NAMESPACE_BYTES && is_label(namespace);
        if !is_namespace {
            let namespace = capped_line(namespace, 100);
            return Err(SecretError::new(format!("{namespace:?} is no name of a namespace")));
        }
        if name.len() > MAX_NAME_BYTES || !name.split('.').all(is_label) {
            let name = capped_line(name, 100);
            return Err(SecretError::new(format!("{name:?} is no name of an object")));
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClusterSecret")
            .field("kind", &self.kind)
            .field("data", &format_args!("<redacted>"))
            .finish()
    }
}

impl SecretError {
    /// An error that says why, in one line of at most 300 bytes.
    pub fn new(why: impl AsRef<str>) -> Self {
        Self(capped_line(why.as_ref(), 300))
    }
}

/// A label of RFC 1123: lower-case letters, digits, and dashes within.
fn is_label(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str) -> ObjectName {
        ObjectName::new("team", name).unwrap()
    }

    #[test]
    fn a_name_cannot_lead_a_url_elsewhere() {
        assert_eq!(at("regcred.v2-a").to_string(), "team/regcred.v2-a");
        let long = "a".repeat(254);
        for name in ["", ".", "..", "../x", "a/b", "a?b", "a#b", "a%2fb", "A", "-a", "a-", &long] {
            assert!(ObjectName::new("team", name).is_err(), "{name}");
        }
        let long = "a".repeat(64);
        for namespace in ["", "..", "a.b", "team/secrets/x", "team?", "T", &long] {
            assert!(ObjectName::new(namespace, "a").is_err(), "{namespace}");
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        let data = BTreeMap::from([(".dockercfg".to_owned(), b"hunter2".to_vec())]);
        let secret = ClusterSecret { kind: "kubernetes.io/dockercfg".into(), data };
        assert_eq!(
            format!("{secret:?}"),
            r#"ClusterSecret { kind: "kubernetes.io/dockercfg", data: <redacted> }"#
        );
    }
}
