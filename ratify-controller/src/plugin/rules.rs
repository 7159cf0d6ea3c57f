//! [`RulesInForce`]: what administrators allow of plugins, now. Whatever runs a program asks before
//! it starts and when it has ended, and hears of a change in between, so that a program that is
//! denied ends at once, whoever still holds it: [`Gate`].

mod known;

use std::{path::Path, sync::Arc};

use ratify_core::{
    Algorithm, Digest, Error,
    config::{Config, Denial, NamespaceRules, PluginRules, RegistryRules},
};
use tokio::sync::watch;

use super::{exec::ProgramError, install::InstallError};
pub(super) use known::Known;

/// The rules of one configuration.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Rules {
    /// About plugins.
    pub plugins: Arc<PluginRules>,
    /// About namespaces.
    pub namespaces: NamespaceRules,
    /// About registries.
    pub registries: RegistryRules,
}

/// The rules that hold now. Clones are the same rules.
#[derive(Debug, Clone)]
pub struct RulesInForce(Arc<watch::Sender<Arc<Rules>>>);

/// Lets programs run, or does not.
pub struct Gate {
    rules: RulesInForce,
    known: known::Files,
}

impl Rules {
    /// The rules in a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            plugins: Arc::new(config.plugins.clone()),
            namespaces: config.namespaces,
            registries: config.registries.clone(),
        }
    }
}

impl Default for RulesInForce {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Arc::default())))
    }
}

impl RulesInForce {
    /// The rules now. Two answers are one pointer as long as nothing changed.
    pub fn now(&self) -> Arc<Rules> {
        Arc::clone(&self.0.borrow())
    }

    /// Puts other rules in force, for everybody at once. The same rules again are no change.
    pub fn put(&self, next: Rules) {
        self.0.send_if_modified(|rules| {
            let is_other = **rules != next;
            if is_other {
                *rules = Arc::new(next);
            }
            is_other
        });
    }

    /// Told of each change from now on.
    pub fn changes(&self) -> watch::Receiver<Arc<Rules>> {
        self.0.subscribe()
    }
}

impl Gate {
    /// A gate that goes by these rules.
    pub fn new(rules: RulesInForce) -> Self {
        Self { rules, known: known::Files::default() }
    }

    /// The rules now.
    pub(super) fn rules(&self) -> Arc<Rules> {
        self.rules.now()
    }

    /// Whether a program may run.
    ///
    /// # Errors
    /// Which rule forbids it, or that nothing could be told about it.
    pub(super) fn check(&self, program: &Known) -> Result<(), Denial> {
        let rules = self.rules.now();
        if rules.plugins.limit_programs() || rules.plugins.require_digest {
            return program.check(&rules.plugins, &self.known);
        }
        Ok(())
    }

    /// The digest of a file, read only where it is not as it was last seen.
    pub(super) fn digest(&self, path: &Path) -> Result<Digest, Denial> {
        self.known.digest(path, Algorithm::Sha256)
    }

    /// Ends when the program is denied, and else never.
    pub(super) async fn denial(&self, program: &Known) -> Denial {
        let mut changes = self.rules.changes();
        loop {
            if let Err(denial) = self.check(program) {
                return denial;
            }
            // The sender is ours and lives as long.
            let _ = changes.changed().await;
        }
    }
}

/// Whether it was that nobody signed it who is trusted. Somebody may.
pub fn is_untrusted(error: &Error) -> bool {
    let of_installer = match error.find() {
        Some(InstallError::Denied(denial)) => Some(denial),
        _ => None,
    };
    matches!(of_installer.or_else(|| error.find()), Some(Denial::Untrusted { .. }))
}

/// Whether it was a rule that made something fail: what is denied is not kept, whatever was in
/// force before.
pub fn is_denial(error: &Error) -> bool {
    let of_installer = matches!(error.find(), Some(InstallError::Denied(_)));
    let of_program = matches!(error.find(), Some(ProgramError::Denied(_)));
    of_installer || of_program || error.find::<Denial>().is_some()
}
