//! [`InForce`]: the installed plugins that resources in force bring. They come and go with the snapshot,
//! as whole: what is being built, and may never be agreed on, is not among them, and neither is what a
//! verification still holds of one that is deleted, or may not run any more.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use crate::plugin::inventory::InstalledPlugin;

/// An installed plugin, and the resource, or entry of the configuration file, that brings it.
#[derive(Debug, Clone)]
pub(crate) struct Brought {
    /// The namespace of the resource; empty where it is the cluster's.
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) plugin: Arc<InstalledPlugin>,
}

/// Those of the snapshot in force.
#[derive(Debug, Default)]
pub(crate) struct InForce(RwLock<Arc<[Brought]>>);

impl InForce {
    /// From now on these are, and no others.
    pub(crate) fn put(&self, brought: Arc<[Brought]>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = brought;
    }

    fn now(&self) -> Arc<[Brought]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The one that is shown at a path, `<plugins>/<type>`. Of several the cluster's counts, and of
    /// those the one whose resource is first by name, as with the file there.
    pub(crate) fn at(&self, path: &Path) -> Option<Arc<InstalledPlugin>> {
        let now = self.now();
        let here = now.iter().filter(|one| one.plugin.argv0() == path);
        let first = here.min_by_key(|one| (&one.namespace, &one.name));
        first.map(|one| Arc::clone(&one.plugin))
    }

    /// The names of those that are shown in a directory.
    pub(crate) fn names_in(&self, directory: &Path) -> Vec<String> {
        let now = self.now();
        let here = now.iter().filter(|one| one.plugin.argv0().parent() == Some(directory));
        here.map(|one| one.plugin.record().type_.clone()).collect()
    }
}
