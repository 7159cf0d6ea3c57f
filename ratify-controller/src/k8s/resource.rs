//! [`Resource`]: an object of the API server as the manager sees it. Reading one cannot fail: what
//! is wrong with its spec is part of the value, so that a broken object stops no list.

use std::{fmt, str::FromStr as _, sync::Arc};

use kube::{ResourceExt as _, api::DynamicObject};
use ratify_core::Digest;
use serde_json::{Map, Value};

use super::{crd::PluginStatus, kind::Kind};

/// Which resource. Ordered by kind, then namespace, then name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for a resource of the whole cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One state of a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Which resource.
    pub key: Key,
    /// The identity of this incarnation.
    pub uid: String,
    /// Counts the changes of the spec.
    pub generation: i64,
    /// The state on the API server, to write against.
    pub resource_version: String,
    /// The spec as it was written; empty where there is none.
    pub spec: Arc<Map<String, Value>>,
    /// The status as it was last seen; empty where there is none.
    pub status: Arc<Map<String, Value>>,
}

/// Which digest a resource's source stands for, until its spec changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The incarnation it belongs to.
    pub uid: String,
    /// The generation of the spec that it was resolved for.
    pub generation: i64,
    /// The digest of the index or manifest.
    pub digest: Digest,
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.kind.name())?;
        if !self.namespace.is_empty() {
            write!(formatter, "{}/", self.namespace)?;
        }
        formatter.write_str(&self.name)
    }
}

impl Key {
    /// v1's name of a resource in its texts: with the namespace in front where it has one.
    pub fn qualified_name(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

impl Resource {
    /// Reads an object. What is no object where one is expected reads as an empty one; what that
    /// means is said when it is tried.
    pub fn read(kind: Kind, object: DynamicObject) -> Self {
        let key = Key {
            kind,
            namespace: if kind.namespaced {
                object.namespace().unwrap_or_default()
            } else {
                String::new()
            },
            name: object.name_any(),
        };
        let mut data = object.data;
        let mut part = |name: &str| match data.get_mut(name).map(Value::take) {
            Some(Value::Object(fields)) => Arc::new(fields),
            _ => Arc::default(),
        };
        Self {
            key,
            uid: object.metadata.uid.unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            resource_version: object.metadata.resource_version.unwrap_or_default(),
            spec: part("spec"),
            status: part("status"),
        }
    }

    /// What the status says about the plugin, whichever generation it is about.
    pub fn plugin_status(&self) -> Option<PluginStatus> {
        serde_json::from_value(self.status.get("plugin")?.clone()).ok()
    }

    /// The pin in the status, if it is one of the present spec.
    pub fn pin(&self) -> Option<Pin> {
        let plugin = self.plugin_status()?;
        let digest = Digest::from_str(&plugin.digest).ok()?;
        let pin = Pin { uid: self.uid.clone(), generation: plugin.generation, digest };
        (pin.generation == self.generation).then_some(pin)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::k8s::kind::Role;

    const VERIFIER: Kind = Kind { role: Role::Verifier, namespaced: false };

    fn read(object: Value) -> Resource {
        Resource::read(VERIFIER, serde_json::from_value(object).unwrap())
    }

    fn object(spec: Value, status: Value) -> Value {
        json!({
            "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "Verifier",
            "metadata": {"name": "v", "uid": "u", "generation": 3, "resourceVersion": "9"},
            "spec": spec, "status": status,
        })
    }

    #[test]
    fn an_object_of_any_shape_is_read() {
        for spec in [json!(null), json!("x"), json!([1]), json!({"name": {"a": 1}})] {
            let resource = read(object(spec, json!(7)));
            assert_eq!(resource.key.name, "v");
            assert_eq!(resource.pin(), None);
        }
        assert_eq!(read(json!({"metadata": {"name": "bare"}})).generation, 0);
    }

    #[test]
    fn a_pin_counts_only_for_the_generation_it_was_made_for() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let with = |generation: i64, digest: &str| {
            let plugin = json!({"digest": digest, "generation": generation});
            read(object(json!({}), json!({"issuccess": true, "plugin": plugin}))).pin()
        };
        assert_eq!(with(3, &digest).unwrap().digest.to_string(), digest);
        assert_eq!(with(2, &digest), None);
        assert_eq!(with(3, "sha256:beef"), None);
    }

    #[test]
    fn a_key_reads_as_people_name_it() {
        let namespaced = Kind { role: Role::Store, namespaced: true };
        let key = Key { kind: namespaced, namespace: "team".into(), name: "s".into() };
        assert_eq!(key.to_string(), "NamespacedStore team/s");
        assert_eq!(key.qualified_name(), "team/s");
    }
}
