//! What the manager puts in force and takes out of it.

use ratify_core::{Error, Result, capped_line};

use super::Manager;
use crate::k8s::{
    kind::Role,
    log,
    parts::Part,
    resource::{Key, Resource},
};

/// What is wrong with a resource is cut to this in the log: its text is its author's.
const MAX_LOGGED: usize = 2000;

impl Manager {
    /// Puts what was built in force, or a stand-in, unless what was before is kept.
    ///
    /// # Errors
    /// Why it was not built, for the status.
    pub(super) fn put_in_force(
        &mut self,
        resource: &Resource,
        part: Result<Option<Part>>,
        stand_in: Option<Part>,
        kept: bool,
    ) -> Result<(), Error> {
        let key = &resource.key;
        match part {
            Ok(None) => Ok(()),
            Ok(Some(part)) => {
                self.parts.insert(&key.namespace, &key.name, part);
                self.swap(key);
                log::added(resource);
                Ok(())
            }
            Err(error) => {
                tracing::error!("{}", capped_line(&error.to_string(), MAX_LOGGED));
                match stand_in {
                    _ if kept => {}
                    Some(stand_in) => self.parts.insert(&key.namespace, &key.name, stand_in),
                    // What an earlier resource of this name left.
                    None => self.take_away(key),
                }
                self.swap(key);
                Err(error)
            }
        }
    }

    pub(super) fn take_away(&mut self, key: &Key) {
        match key.kind.role {
            Role::Verifier => self.parts.remove_verifier(&key.namespace, &key.name),
            Role::Store => self.parts.remove_store(&key.namespace, &key.name),
            Role::Policy => self.parts.remove_policy(&key.namespace, &key.name),
            Role::Keys => self.parts.remove_keys(&key.namespace, &key.name),
            Role::CertificateStore => self.parts.remove_certificates(&key.namespace, &key.name),
        }
    }

    pub(super) fn swap(&mut self, changed: &Key) {
        let next = match changed.kind.role {
            // Whose verifiers use keys is not known here.
            Role::Keys | Role::CertificateStore => {
                self.shared.runtime.put_key_rings(self.parts.key_rings());
                self.judge_plugins_again();
                self.parts.snapshot(self.composition)
            }
            Role::Store | Role::Policy | Role::Verifier => {
                let previous = self.active.snapshot();
                self.parts.snapshot_after(&previous, &changed.namespace, self.composition)
            }
        };
        self.active.swap(next);
    }
}
