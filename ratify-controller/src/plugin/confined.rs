//! [`Confinement`]: a plugin directory that belongs to a namespace, below the root of all plugins.
//! No link on the way to it, and none in it, leads anywhere else.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use ratify_core::{capped_line, config::Denial};

/// The folder of what namespaces have of their own. Types may not begin with a dot.
const NAMESPACES: &str = ".namespaces";

/// A directory below the plugin root, from which nothing leads out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    root: PathBuf,
    own: PathBuf,
}

impl Confinement {
    /// The directory that a namespace has: `<plugins>/.namespaces/<namespace>`.
    ///
    /// # Errors
    /// When the namespace cannot name a directory, which the API server does not let happen.
    pub fn of_namespace(root: &Path, namespace: &str) -> Result<Self, Denial> {
        let is_plain = !namespace.is_empty()
            && !namespace.starts_with('.')
            && namespace.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_plain {
            let namespace = capped_line(namespace, 100);
            return Err(elsewhere(&format!("{namespace:?} is no name of a namespace")));
        }
        Ok(Self { root: root.to_owned(), own: root.join(NAMESPACES).join(namespace) })
    }

    /// The directory that a resource of a namespace names by its address: the namespace's own or
    /// one below it, the root, or one below that which begins with no dot.
    ///
    /// # Errors
    /// When it is elsewhere, or could be.
    pub fn of_address(root: &Path, namespace: &str, address: &str) -> Result<Self, Denial> {
        let own = Self::of_namespace(root, namespace)?;
        let path = Path::new(address);
        let shown = capped_line(address, 100);
        let is_plain = |component| matches!(component, Component::RootDir | Component::Normal(_));
        if !path.is_absolute() || !path.components().all(is_plain) || address.contains("/./") {
            return Err(elsewhere(&format!("{shown:?} is no plain absolute path")));
        }
        let below = path.strip_prefix(&own.own).or_else(|_| path.strip_prefix(root));
        let Ok(below) = below else {
            let root = root.display();
            return Err(elsewhere(&format!("{shown:?} is not below the plugin directory {root}")));
        };
        let is_hidden = |part: Component<'_>| {
            part.as_os_str().as_encoded_bytes().first().is_none_or(|first| *first == b'.')
        };
        if below.components().any(is_hidden) {
            return Err(elsewhere(&format!("{shown:?} leads into a hidden folder")));
        }
        Ok(Self { root: own.root, own: path.to_owned() })
    }

    /// Whether the directory is the namespace's own and not one that others use too: only there
    /// may it put anything.
    pub fn is_own(&self) -> bool {
        self.own.strip_prefix(&self.root).is_ok_and(|below| below.starts_with(NAMESPACES))
    }

    /// The directories that namespaces have below a root, by name.
    pub fn all(root: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(root.join(NAMESPACES)).into_iter().flatten().flatten();
        let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        let mut all: Vec<PathBuf> = entries.filter(is_folder).map(|entry| entry.path()).collect();
        all.sort();
        all
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.own
    }

    /// Whether the way from the root to the directory is free of links, as far as it exists.
    ///
    /// # Errors
    /// When there is a link, or it cannot be told.
    pub fn check_directory(&self) -> Result<(), Denial> {
        let mut at = self.root.clone();
        // Made of the root and of plain names by the constructors.
        for name in self.own.strip_prefix(&self.root).unwrap_or(Path::new("")) {
            at.push(name);
            match fs::symlink_metadata(&at) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => return Err(elsewhere(&format!("{} is no directory", at.display()))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(elsewhere(&format!("{}: {error}", at.display()))),
            }
        }
        Ok(())
    }

    /// Whether a file that was found is where it seems to be: one in the directory must not be a
    /// link out of it. In other directories links are the administrator's.
    ///
    /// # Errors
    /// When it is elsewhere, or it cannot be told.
    pub fn check_file(&self, path: &Path) -> Result<(), Denial> {
        if self.own == self.root || !path.starts_with(&self.own) {
            return Ok(());
        }
        self.check_directory()?;
        let real = |path: &Path| {
            fs::canonicalize(path)
                .map_err(|error| elsewhere(&format!("{}: {error}", path.display())))
        };
        if real(path)?.starts_with(real(&self.own)?) {
            return Ok(());
        }
        Err(elsewhere(&format!("{} is a link that leads out of its directory", path.display())))
    }
}

fn elsewhere(why: &str) -> Denial {
    Denial::NamespacedAddress { why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn address(text: &str) -> Result<PathBuf, String> {
        let found = Confinement::of_address(Path::new("/r/plugins"), "team", text);
        found.map(|found| found.own).map_err(|denial| denial.to_string())
    }

    #[test]
    fn an_address_is_below_the_root_and_in_no_other_namespace() {
        for good in [
            "/r/plugins",
            "/r/plugins/",
            "/r/plugins/more",
            "/r/plugins/.namespaces/team",
            "/r/plugins/.namespaces/team/a",
        ] {
            assert_eq!(address(good), Ok(good.into()));
        }
        for bad in [
            "",
            "plugins",
            "/",
            "/bin",
            "/r",
            "/r/plugins2",
            "/r/plugins/..",
            "/r/plugins/../plugins",
            "/r/plugins/x/../../../bin",
            "/r/plugins/./x",
            "/r/plugins/.store",
            "/r/plugins/.namespaces",
            "/r/plugins/.namespaces/other",
            "/r/plugins/.namespaces/team/.store/sha256",
            "/r/plugins/.namespaces/team2",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_namespace_cannot_name_anything_but_a_folder_of_its_own() {
        for bad in ["", ".", "..", ".store", "a/b", "../x", "a\0b", "a b", "a.b"] {
            assert!(Confinement::of_namespace(Path::new("/r"), bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_link_leads_out() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("plugins"), folder.path().join("outside"));
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("p"), "").unwrap();
        let confinement = Confinement::of_namespace(&root, "team").unwrap();
        assert_eq!(confinement.check_directory(), Ok(()), "nothing is there yet");
        fs::create_dir_all(root.join(".namespaces")).unwrap();
        symlink(&outside, confinement.directory()).unwrap();
        assert!(confinement.check_directory().is_err());
        assert!(confinement.check_file(&confinement.directory().join("p")).is_err());
        fs::remove_file(confinement.directory()).unwrap();
        fs::create_dir_all(confinement.directory().join("sub")).unwrap();
        fs::write(confinement.directory().join("sub/own"), "").unwrap();
        for (name, target, is_good) in [
            ("inside", confinement.directory().join("sub/own"), true),
            ("relative", "sub/own".into(), true),
            ("out", outside.join("p"), false),
            ("up", "../../../outside/p".into(), false),
            ("nowhere", "nothing".into(), false),
        ] {
            let link = confinement.directory().join(name);
            symlink(target, &link).unwrap();
            assert_eq!(confinement.check_file(&link).is_ok(), is_good, "{name}");
        }
        // What the administrator links in the root is the administrator's.
        symlink(outside.join("p"), root.join("shared")).unwrap();
        assert_eq!(confinement.check_file(&root.join("shared")), Ok(()));
    }
}
